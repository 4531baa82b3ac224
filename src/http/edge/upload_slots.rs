//! Limits how many large bodies are received at once: plugins, and lists of many entries.
//!
//! Each may fill a file of megabytes, so no large body is read without a slot.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use rocket::Request;
use rocket::request::{FromRequest, Outcome};

use crate::domain::tenant::TenantId;
use crate::http::edge::context::RequestContext;
use crate::http::response::problem::{Problem, ProblemKind};

/// The limit for one tenant. Smaller than the total, so that one tenant cannot keep out others.
const TENANT_UPLOADS_MAX: usize = 4;
/// The limit for all tenants together.
const UPLOADS_MAX: usize = 12;

/// The number of bodies that each tenant is sending.
#[derive(Debug, Default)]
pub struct UploadSlots(Mutex<HashMap<TenantId, usize>>);

/// The right to receive one large body, until it is dropped.
#[derive(Debug)]
pub struct UploadSlot {
    uploads: Arc<UploadSlots>,
    tenant: TenantId,
}

impl UploadSlots {
    fn enter(self: &Arc<Self>, tenant: TenantId) -> Result<UploadSlot, Problem> {
        let mut under_way = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let all: usize = under_way.values().sum();
        let own = under_way.get(&tenant).copied().unwrap_or_default();
        if own >= TENANT_UPLOADS_MAX {
            let detail = format!("A tenant can send at most {TENANT_UPLOADS_MAX} large bodies at a time.");
            return Err(Problem {
                retry_after_seconds: Some(1),
                ..Problem::new(ProblemKind::QuotaExceeded, detail)
            });
        }
        if all >= UPLOADS_MAX {
            return Err(Problem::new(
                ProblemKind::Busy,
                "Too many large bodies are being received at the moment.",
            ));
        }
        under_way.insert(tenant, own + 1);
        Ok(UploadSlot { uploads: self.clone(), tenant })
    }
}

impl Drop for UploadSlot {
    fn drop(&mut self) {
        let mut under_way = self.uploads.0.lock().unwrap_or_else(PoisonError::into_inner);
        match under_way.get_mut(&self.tenant) {
            Some(own) if *own > 1 => *own -= 1,
            _ => _ = under_way.remove(&self.tenant),
        }
    }
}

#[rocket::async_trait]
impl<'r> FromRequest<'r> for UploadSlot {
    type Error = ProblemKind;

    /// In a handler's parameters the slot must come after the client, which sets the tenant,
    /// and before the body, which must not be read without a slot.
    async fn from_request(request: &'r Request<'_>) -> Outcome<Self, ProblemKind> {
        let uploads = request.rocket().state::<Arc<UploadSlots>>();
        let tenant = RequestContext::of(request).tenant.get();
        let Some((uploads, tenant)) = uploads.zip(tenant) else {
            tracing::error!("an upload has no tenant, or uploads are not managed");
            let detail = "The cause is logged under this request id.";
            return Problem::new(ProblemKind::Internal, detail).refuse(request);
        };
        match uploads.enter(*tenant) {
            Ok(slot) => Outcome::Success(slot),
            Err(problem) => problem.refuse(request),
        }
    }
}
