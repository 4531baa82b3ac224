//! The token of a link with which a person sets a password, once.
//!
//! Only the digest of its secret is stored. Whether the link was used already, its row says.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use uuid::Uuid;
use zeroize::Zeroizing;

use crate::domain::plugin::Digest;
use crate::domain::tenant::TenantId;
use crate::domain::time::Randomness;
use crate::domain::user::UserId;

/// Lets secret scanners recognise a leaked link.
const PREFIX: &str = "tgl_";
const SECRET_BYTES: usize = 32;

pub struct OneTimeLink {
    pub tenant: TenantId,
    pub user: UserId,
    secret: Zeroizing<[u8; SECRET_BYTES]>,
}

impl fmt::Debug for OneTimeLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OneTimeLink").field("user", &self.user).finish_non_exhaustive()
    }
}

impl OneTimeLink {
    pub fn generate(tenant: TenantId, user: UserId, randomness: &dyn Randomness) -> Self {
        let mut secret = Zeroizing::new([0; SECRET_BYTES]);
        randomness.fill(secret.as_mut_slice());
        Self { tenant, user, secret }
    }

    /// What is stored.
    pub fn digest(&self) -> Digest {
        Digest::of(self.secret.as_slice())
    }

    pub fn token(&self) -> Zeroizing<String> {
        let bytes = [self.tenant.0.as_bytes(), self.user.0.as_bytes(), self.secret.as_slice()].concat();
        Zeroizing::new(format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(Zeroizing::new(bytes).as_slice())))
    }

    pub fn read(token: &str) -> Option<Self> {
        let bytes = Zeroizing::new(URL_SAFE_NO_PAD.decode(token.strip_prefix(PREFIX)?).ok()?);
        let (tenant, rest) = bytes.split_at_checked(16)?;
        let (user, secret) = rest.split_at_checked(16)?;
        Some(Self {
            tenant: TenantId(Uuid::from_slice(tenant).ok()?),
            user: UserId(Uuid::from_slice(user).ok()?),
            secret: Zeroizing::new(secret.try_into().ok()?),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::fixtures::CountingRandomness;

    #[test]
    fn a_link_is_read_back_from_its_token() {
        let (tenant, user) = (TenantId(Uuid::from_u128(1)), UserId(Uuid::from_u128(2)));
        let link = OneTimeLink::generate(tenant, user, &CountingRandomness::default());
        let read = OneTimeLink::read(&link.token()).expect("reads");
        assert_eq!((read.tenant, read.user, read.digest()), (tenant, user, link.digest()));
        assert!(!format!("{link:?}").contains("secret"));
    }

    #[test]
    fn what_is_not_a_link_is_not_read() {
        for text in ["", "tgl_", "tgl_AAAA", &format!("tgl_{}", "A".repeat(87)), "tgl_ä"] {
            assert!(OneTimeLink::read(text).is_none(), "{text}");
        }
    }
}
