//! The claims of a verified access token.

use uuid::Uuid;

use super::scope::ScopeSet;
use crate::domain::tenant::{ClientId, TenantId};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VerifiedToken {
    pub tenant: TenantId,
    pub client: ClientId,
    pub scopes: ScopeSet,
    pub expires_at_ms: u64,
    /// The client's own rate. `None` means the node's setting, and zero means no limit.
    pub requests_per_s: Option<u32>,
    pub id: Uuid,
}
