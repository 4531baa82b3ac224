//! Plugins: taking one in, describing and handing out.
//!
//! Owns their JSON shape and the digest headers of RFC 9530. Must never trust
//! what a plugin says of itself further than to show it as text.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rocket::http::{ContentType, MediaType, Status};
use rocket::request::{FromRequest, Outcome};
use rocket::{Request, Route, get, post, routes};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::answer::{Answer, Items};
use super::body::WasmBody;
use super::context::RequestContext;
use super::documented::{Listing, Reading, Uploading};
use super::guard::{Client, PluginsRead, PluginsWrite};
use super::problem::{Kind, Problem};
use super::query::Query;
use super::services::Shared;
use crate::domain::plugin::{Digest, Plugin};
use crate::domain::tenant::TenantId;
use crate::storage::plugins;

/// Of a tenant at once; they are compiled one after the other anyway.
const UPLOADS_OF_TENANT_MAX: usize = 4;
/// Of all tenants at once.
const UPLOADS_MAX: usize = 12;

pub fn routes() -> Vec<Route> {
    routes![list, one, download]
}

/// Apart from the rest: a body of megabytes and a compiler need longer.
pub fn upload_routes() -> Vec<Route> {
    routes![upload]
}

/// What was found in a plugin.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Plugin)]
pub struct PluginShape {
    /// SHA-256 of its bytes: the plugin's name everywhere.
    pub digest: String,
    pub size_bytes: u64,
    /// Version of the rule contract.
    #[schema(example = "1.0.0")]
    pub contract: String,
    /// The limits it runs under: `small` or `large`.
    pub profile: &'static str,
    pub name: String,
    pub version: String,
    pub summary: String,
    /// JSON Schema of its settings.
    #[schema(value_type = Object)]
    pub settings_schema: Value,
    pub compile_ms: u64,
}

impl From<Plugin> for PluginShape {
    fn from(plugin: Plugin) -> Self {
        let description = plugin.description;
        Self {
            digest: plugin.digest.to_string(),
            size_bytes: plugin.size_bytes,
            contract: plugin.contract,
            profile: plugin.profile.name(),
            name: description.name,
            version: description.version,
            summary: description.summary,
            settings_schema: serde_json::from_str(&description.settings_schema)
                .unwrap_or(Value::String(description.settings_schema)),
            compile_ms: plugin.compile_ms,
        }
    }
}

/// The SHA-256 that Content-Digest or Repr-Digest promises. The body has no
/// content coding here, so that both mean the same.
#[derive(Debug)]
pub struct PromisedDigest(Option<Digest>);

#[rocket::async_trait]
impl<'r> FromRequest<'r> for PromisedDigest {
    type Error = Kind;

    async fn from_request(request: &'r Request<'_>) -> Outcome<Self, Kind> {
        let headers = request.headers();
        let mut promised = None;
        for text in headers.get("Content-Digest").chain(headers.get("Repr-Digest")) {
            match sha256_of(text) {
                Ok(None) => {}
                Ok(Some(digest)) if promised.is_none_or(|earlier| earlier == digest) => {
                    promised = Some(digest);
                }
                _ => {
                    let detail = "Content-Digest and Repr-Digest must agree and read sha-256=:<base64>:.";
                    return Problem::new(Kind::MalformedRequest, detail).refuse(request);
                }
            }
        }
        Outcome::Success(Self(promised))
    }
}

/// A dictionary of algorithms (RFC 9530); those that are not ours say nothing to us.
fn sha256_of(header: &str) -> Result<Option<Digest>, ()> {
    for member in header.split(',') {
        let (algorithm, value) = member.trim().split_once('=').ok_or(())?;
        if algorithm == "sha-256" {
            let encoded = value.strip_prefix(':').and_then(|value| value.strip_suffix(':')).ok_or(())?;
            let bytes = STANDARD.decode(encoded).map_err(|_| ())?;
            return Ok(Some(Digest(bytes.try_into().map_err(|_| ())?)));
        }
    }
    Ok(None)
}

/// Uploads under way: each holds a body of megabytes several times, then waits
/// for the compiler. Bounded for each tenant, so that one cannot keep another out.
#[derive(Debug, Default)]
pub struct Uploads(Mutex<HashMap<TenantId, usize>>);

/// The place of one upload; free again when it is dropped.
#[derive(Debug)]
pub struct UploadTurn {
    uploads: Arc<Uploads>,
    tenant: TenantId,
}

impl Uploads {
    fn enter(self: &Arc<Self>, tenant: TenantId) -> Option<UploadTurn> {
        let mut under_way = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let all: usize = under_way.values().sum();
        let own = under_way.get(&tenant).copied().unwrap_or_default();
        if own >= UPLOADS_OF_TENANT_MAX || all >= UPLOADS_MAX {
            return None;
        }
        under_way.insert(tenant, own + 1);
        Some(UploadTurn { uploads: self.clone(), tenant })
    }
}

impl Drop for UploadTurn {
    fn drop(&mut self) {
        let mut under_way = self.uploads.0.lock().unwrap_or_else(PoisonError::into_inner);
        match under_way.get_mut(&self.tenant) {
            Some(own) if *own > 1 => *own -= 1,
            _ => _ = under_way.remove(&self.tenant),
        }
    }
}

#[rocket::async_trait]
impl<'r> FromRequest<'r> for UploadTurn {
    type Error = Kind;

    /// Stands behind the client in a handler's parameters, which knows the tenant,
    /// and before the body, which is not read without a turn.
    async fn from_request(request: &'r Request<'_>) -> Outcome<Self, Kind> {
        let uploads = request.rocket().state::<Arc<Uploads>>();
        let tenant = RequestContext::of(request).tenant.get();
        let Some((uploads, tenant)) = uploads.zip(tenant) else {
            tracing::error!("an upload has no tenant, or uploads are not managed");
            let detail = "The failure is logged under the request id.";
            return Problem::new(Kind::Internal, detail).refuse(request);
        };
        match uploads.enter(*tenant) {
            Some(turn) => Outcome::Success(turn),
            None => Problem::new(Kind::Busy, "Too many plugins are being taken in.").refuse(request),
        }
    }
}

/// Takes a plugin in: it is inspected, compiled and asked to describe itself.
/// The same bytes twice are one plugin.
#[utoipa::path(
    tag = "plugins",
    params(("Content-Digest" = Option<String>, Header, description = "RFC 9530, `sha-256=:<base64>:`; Repr-Digest is read as well")),
    request_body(content = Vec<u8>, content_type = "application/wasm"),
    responses((status = 201, body = PluginShape, headers(("Location"))), Uploading),
    security(("oauth" = ["plugins:write"]))
)]
#[post("/plugins", data = "<body>")]
pub async fn upload(
    client: Client<PluginsWrite>,
    promised: PromisedDigest,
    _turn: UploadTurn,
    services: &Shared,
    body: WasmBody,
) -> Result<Answer, Problem> {
    let plugin = services.plugins.upload(client.tenant, &client.actor(), body.0, promised.0).await?;
    let location = format!("/api/v1/plugins/{}", plugin.digest);
    Ok(Answer::json(Status::Created, &PluginShape::from(plugin))?.with("Location", location))
}

/// The plugins this tenant may use: its own and the shared ones.
#[utoipa::path(
    tag = "plugins",
    responses((status = 200, body = Items<PluginShape>), Listing),
    security(("oauth" = ["plugins:read"]))
)]
#[get("/plugins")]
pub async fn list(client: Client<PluginsRead>, query: Query, services: &Shared) -> Result<Answer, Problem> {
    query.finish()?;
    let found = plugins::list(&services.app, client.tenant).await?;
    let items: Vec<PluginShape> = found.into_iter().map(PluginShape::from).collect();
    Answer::json(Status::Ok, &Items { items })
}

/// One plugin.
#[utoipa::path(
    tag = "plugins",
    responses((status = 200, body = PluginShape), Reading),
    security(("oauth" = ["plugins:read"]))
)]
#[get("/plugins/<digest>")]
pub async fn one(client: Client<PluginsRead>, digest: &str, services: &Shared) -> Result<Answer, Problem> {
    let digest = Digest::parse(digest).map_err(|_| Problem::not_found("plugin"))?;
    let plugin = plugins::get(&services.app, client.tenant, digest).await?;
    Answer::json(Status::Ok, &PluginShape::from(plugin.ok_or(Problem::not_found("plugin"))?))
}

/// The bytes of a plugin.
#[utoipa::path(
    tag = "plugins",
    responses((status = 200, body = Vec<u8>, content_type = "application/wasm", headers(("Repr-Digest"))), Reading),
    security(("oauth" = ["plugins:read"]))
)]
#[get("/plugins/<digest>/wasm")]
pub async fn download(
    client: Client<PluginsRead>,
    digest: &str,
    services: &Shared,
) -> Result<Answer, Problem> {
    let digest = Digest::parse(digest).map_err(|_| Problem::not_found("plugin"))?;
    let bytes = plugins::bytes(&services.app, client.tenant, digest).await?;
    let bytes = bytes.ok_or(Problem::not_found("plugin"))?;
    let wasm = ContentType(MediaType::new("application", "wasm"));
    Ok(Answer::bytes(wasm, bytes)
        .with("Repr-Digest", format!("sha-256=:{}:", STANDARD.encode(digest.0)))
        .with("Content-Disposition", format!("attachment; filename=\"{digest}.wasm\"")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_promised_digest_is_read_among_other_algorithms() {
        let encoded = STANDARD.encode([7; 32]);
        for (header, expected) in [
            (format!("sha-256=:{encoded}:"), Ok(Some(Digest([7; 32])))),
            (format!("sha-512=:AAAA:, sha-256=:{encoded}:"), Ok(Some(Digest([7; 32])))),
            ("sha-512=:AAAA:".to_owned(), Ok(None)),
            ("sha-256=:AAAA:".to_owned(), Err(())),
            (format!("sha-256={encoded}"), Err(())),
            ("".to_owned(), Err(())),
        ] {
            assert_eq!(sha256_of(&header), expected, "{header}");
        }
    }
}
