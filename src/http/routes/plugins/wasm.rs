//! Downloads of plugins. Only a part of the bytes is kept in memory at a time, since clients may
//! read slowly.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures::stream;
use rocket::Request;
use rocket::http::{ContentType, Header, MediaType};
use rocket::response::stream::ByteStream;
use rocket::response::{self, Responder};

use crate::domain::plugin::{Digest, Plugin};
use crate::domain::tenant::TenantId;
use crate::storage::plugins;
use crate::storage::pool::AppPool;

const PART_BYTES: u32 = 512 << 10;

#[derive(Debug)]
pub struct PluginDownload {
    app: AppPool,
    tenant: TenantId,
    digest: Digest,
    size_bytes: u64,
    sent_bytes: u32,
}

impl PluginDownload {
    pub fn new(app: AppPool, tenant: TenantId, plugin: &Plugin) -> Self {
        Self { app, tenant, digest: plugin.digest, size_bytes: plugin.size_bytes, sent_bytes: 0 }
    }

    /// `None` at the end, and after a failure: the length was announced, so the client notices a
    /// failure by the short body.
    async fn next_part(mut self) -> Option<(Vec<u8>, Self)> {
        if u64::from(self.sent_bytes) >= self.size_bytes {
            return None;
        }
        match plugins::part(&self.app, self.tenant, self.digest, self.sent_bytes, PART_BYTES).await {
            Ok(part) => {
                let part = part.filter(|part| !part.is_empty())?;
                self.sent_bytes = self.sent_bytes.saturating_add(u32::try_from(part.len()).ok()?);
                Some((part, self))
            }
            Err(error) => {
                tracing::warn!(digest = %self.digest, ?error, "a plugin download was interrupted");
                None
            }
        }
    }
}

impl<'r> Responder<'r, 'r> for PluginDownload {
    fn respond_to(self, request: &'r Request<'_>) -> response::Result<'r> {
        let (digest, size_bytes) = (self.digest, self.size_bytes);
        let mut response = ByteStream::from(stream::unfold(self, Self::next_part)).respond_to(request)?;
        response.set_header(ContentType(MediaType::new("application", "wasm")));
        for (name, value) in [
            ("Content-Length", size_bytes.to_string()),
            ("Repr-Digest", format!("sha-256=:{}:", STANDARD.encode(digest.0))),
            ("Content-Disposition", format!("attachment; filename=\"{digest}.wasm\"")),
        ] {
            response.set_header(Header::new(name, value));
        }
        Ok(response)
    }
}
