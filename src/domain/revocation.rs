//! What makes access tokens invalid before their end.

use crate::domain::tenant::ClientId;
use crate::domain::user::SignInId;

/// Whose tokens are refused from now on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Revocation {
    SignIn(SignInId),
    /// Those that were requested with a secret of an earlier generation.
    Client {
        id: ClientId,
        generation: u32,
    },
}
