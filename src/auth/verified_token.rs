//! The claims of a verified access token.

use uuid::Uuid;

use super::scope::ScopeSet;
use crate::domain::client_certificate::CertificateThumbprint;
use crate::domain::tenant::{ClientId, TenantId};
use crate::domain::user::{SignInId, UserId};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VerifiedToken {
    pub tenant: TenantId,
    pub subject: Subject,
    pub scopes: ScopeSet,
    pub expires_at_ms: u64,
    /// The client's own rate. `None` means the node's setting, and zero means no limit.
    pub requests_per_s: Option<u32>,
    /// The certificate without which the token is refused.
    pub certificate: Option<CertificateThumbprint>,
    pub id: Uuid,
}

/// Whose token it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Subject {
    Client {
        id: ClientId,
        /// Of the client's secret, with which the token was requested.
        generation: u32,
    },
    User {
        id: UserId,
        sign_in: SignInId,
    },
}

impl Subject {
    pub fn uuid(self) -> Uuid {
        match self {
            Self::Client { id, .. } => id.0,
            Self::User { id, .. } => id.0,
        }
    }
}
