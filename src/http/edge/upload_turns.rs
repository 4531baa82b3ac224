//! How many large bodies are received at once: plugins, and thousands of entries of a list.
//!
//! Owns the turns. Each may fill a file of megabytes, so no body is read without one.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use rocket::Request;
use rocket::request::{FromRequest, Outcome};

use crate::domain::tenant::TenantId;
use crate::http::edge::context::RequestContext;
use crate::http::response::problem::{Kind, Problem};

/// Of a tenant at once.
const UPLOADS_OF_TENANT_MAX: usize = 4;
/// Of all tenants at once.
const UPLOADS_MAX: usize = 12;

/// Bodies under way. Bounded for each tenant, so that one cannot keep another out.
#[derive(Debug, Default)]
pub struct UploadTurns(Mutex<HashMap<TenantId, usize>>);

/// The place of one upload; free again when it is dropped.
#[derive(Debug)]
pub struct UploadTurn {
    uploads: Arc<UploadTurns>,
    tenant: TenantId,
}

impl UploadTurns {
    fn enter(self: &Arc<Self>, tenant: TenantId) -> Result<UploadTurn, Problem> {
        let mut under_way = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let all: usize = under_way.values().sum();
        let own = under_way.get(&tenant).copied().unwrap_or_default();
        if own >= UPLOADS_OF_TENANT_MAX {
            let detail = format!("A tenant can send at most {UPLOADS_OF_TENANT_MAX} large bodies at a time.");
            return Err(Problem {
                retry_after_seconds: Some(1),
                ..Problem::new(Kind::QuotaExceeded, detail)
            });
        }
        if all >= UPLOADS_MAX {
            return Err(Problem::new(Kind::Busy, "Too many large bodies are being received at the moment."));
        }
        under_way.insert(tenant, own + 1);
        Ok(UploadTurn { uploads: self.clone(), tenant })
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
        let uploads = request.rocket().state::<Arc<UploadTurns>>();
        let tenant = RequestContext::of(request).tenant.get();
        let Some((uploads, tenant)) = uploads.zip(tenant) else {
            tracing::error!("an upload has no tenant, or uploads are not managed");
            let detail = "The cause is logged under this request id.";
            return Problem::new(Kind::Internal, detail).refuse(request);
        };
        match uploads.enter(*tenant) {
            Ok(turn) => Outcome::Success(turn),
            Err(problem) => problem.refuse(request),
        }
    }
}
