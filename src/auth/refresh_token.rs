//! Refresh tokens of users (RFC 6749 section 6), which live in a cookie.
//!
//! A token names a sign-in and its number within it, under a MAC. So the successor of a token can be
//! made again, and no token is stored. Whether a number is still good is decided by the sign-in's
//! row, never here.

use std::fmt;

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use uuid::Uuid;

use super::root_secret::DerivedKey;
use crate::domain::tenant::TenantId;
use crate::domain::user::SignInId;

/// Lets secret scanners recognise a leaked token.
const PREFIX: &str = "tgr_";
const CLAIMS_BYTES: usize = 16 + 16 + 8;
const MAC_BYTES: usize = 32;

#[derive(Clone, Copy, PartialEq, Eq)]
pub struct RefreshToken {
    pub tenant: TenantId,
    pub sign_in: SignInId,
    /// The first token of a sign-in has zero.
    pub generation: u64,
}

impl fmt::Debug for RefreshToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RefreshToken").field("sign_in", &self.sign_in).finish_non_exhaustive()
    }
}

/// Writes and reads refresh tokens.
#[derive(Debug)]
pub struct RefreshTokens(hmac::Key);

impl RefreshTokens {
    pub fn new(key: &DerivedKey) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, key.expose()))
    }

    pub fn write(&self, token: RefreshToken) -> String {
        let mut bytes = Vec::with_capacity(CLAIMS_BYTES + MAC_BYTES);
        bytes.extend_from_slice(token.tenant.0.as_bytes());
        bytes.extend_from_slice(token.sign_in.0.as_bytes());
        bytes.extend_from_slice(&token.generation.to_be_bytes());
        let mac = hmac::sign(&self.0, &bytes);
        bytes.extend_from_slice(mac.as_ref());
        format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes))
    }

    /// `None` if this server did not write the text.
    pub fn read(&self, text: &str) -> Option<RefreshToken> {
        let bytes = URL_SAFE_NO_PAD.decode(text.strip_prefix(PREFIX)?).ok()?;
        if bytes.len() != CLAIMS_BYTES + MAC_BYTES {
            return None;
        }
        let (claims, mac) = bytes.split_at(CLAIMS_BYTES);
        hmac::verify(&self.0, claims, mac).ok()?;
        let uuid = |at: usize| Uuid::from_slice(&claims[at..at + 16]).ok();
        let generation = claims[32..].try_into().ok().map(u64::from_be_bytes)?;
        Some(RefreshToken { tenant: TenantId(uuid(0)?), sign_in: SignInId(uuid(16)?), generation })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::root_secret::{Purpose, RootSecret};

    fn tokens(secret: &str) -> RefreshTokens {
        let root = RootSecret::from_text(&format!("{secret}{}", "0".repeat(62))).expect("a secret");
        RefreshTokens::new(&root.derive(Purpose::RefreshTokens).expect("a key"))
    }

    const TOKEN: RefreshToken = RefreshToken {
        tenant: TenantId(Uuid::from_u128(1)),
        sign_in: SignInId(Uuid::from_u128(2)),
        generation: 3,
    };

    #[test]
    fn a_token_is_read_back_by_every_node_with_the_same_root_secret() {
        let text = tokens("a1").write(TOKEN);
        assert_eq!(tokens("a1").read(&text), Some(TOKEN));
        assert_eq!(tokens("a2").read(&text), None);
    }

    #[test]
    fn a_token_with_any_character_changed_is_not_read() {
        let tokens = tokens("a1");
        let text = tokens.write(TOKEN);
        for at in 0..text.len() {
            let mut changed = text.clone().into_bytes();
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(changed).expect("ASCII");
            assert_eq!(tokens.read(&changed), None, "{at}");
        }
        for text in ["", "tgr_", "tgr_AAAA", &text[..text.len() - 1]] {
            assert_eq!(tokens.read(text), None, "{text}");
        }
    }
}
