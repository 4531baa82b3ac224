//! The client of a verified access token.

use uuid::Uuid;

use super::scope::ScopeSet;
use crate::domain::tenant::{ClientId, TenantId};

/// The claims of a token that was verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VerifiedToken {
    pub tenant: TenantId,
    pub client: ClientId,
    pub scopes: ScopeSet,
    pub expires_at_ms: u64,
    /// The client's own rate; `None` follows the node's setting, zero is no limit.
    pub requests_per_s: Option<u32>,
    pub id: Uuid,
}
