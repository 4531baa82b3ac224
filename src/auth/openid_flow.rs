//! A sign-in that is under way at a provider of OpenID Connect. It is sealed in a cookie of the
//! browser that began it, so that no other browser can end it.
//!
//! The server keeps nothing of it: whoever begins many sign-ins must not use its memory.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

use super::AuthError;
use super::sealed::Sealer;
use crate::domain::tenant::TenantId;
use crate::domain::time::Randomness;

/// How long a person has at the provider.
pub const FLOW_LIFETIME_S: u32 = 600;

const BOUND_TO: &str = "openid flow";

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenidFlow {
    pub tenant: TenantId,
    /// Where the person was sent, so that settings which change meanwhile are noticed.
    pub issuer: String,
    pub client_id: String,
    pub state: String,
    pub nonce: String,
    pub pkce_verifier: String,
    /// Where the person wants to be in the page.
    pub place: String,
    pub expires_at_ms: u64,
}

/// Shows no secret.
impl std::fmt::Debug for OpenidFlow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("OpenidFlow")
    }
}

#[derive(Debug)]
pub struct OpenidFlows(Sealer);

impl OpenidFlows {
    pub fn new(sealer: Sealer) -> Self {
        Self(sealer)
    }

    pub fn write(&self, flow: &OpenidFlow, randomness: &dyn Randomness) -> Result<String, AuthError> {
        let text = serde_json::to_vec(flow).map_err(|_| AuthError::Sealed)?;
        Ok(URL_SAFE_NO_PAD.encode(self.0.seal(&text, BOUND_TO, randomness)?))
    }

    /// `None` if this server did not write the text, or long ago.
    pub fn read(&self, text: &str, now_ms: u64) -> Option<OpenidFlow> {
        let sealed = URL_SAFE_NO_PAD.decode(text).ok()?;
        let text = self.0.open(&sealed, BOUND_TO).ok()?;
        let flow: OpenidFlow = serde_json::from_slice(&text).ok()?;
        (now_ms < flow.expires_at_ms).then_some(flow)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::fixtures::{CountingRandomness, sealer};

    #[test]
    fn a_flow_is_read_back_until_its_end_by_servers_with_the_same_root_secret() {
        let flow = OpenidFlow {
            tenant: TenantId(uuid::Uuid::from_u128(1)),
            issuer: "https://login.example.com".to_owned(),
            client_id: "tollgate".to_owned(),
            state: "a".to_owned(),
            nonce: "b".to_owned(),
            pkce_verifier: "c".to_owned(),
            place: "decisions".to_owned(),
            expires_at_ms: 10,
        };
        let flows = OpenidFlows::new(sealer(1));
        let text = flows.write(&flow, &CountingRandomness::default()).expect("sealed");
        assert_eq!(flows.read(&text, 9), Some(flow));
        assert_eq!(flows.read(&text, 10), None);
        assert_eq!(flows.read(&text[1..], 9), None);
        assert_eq!(OpenidFlows::new(sealer(2)).read(&text, 9), None);
    }
}
