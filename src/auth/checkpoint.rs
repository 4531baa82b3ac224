//! The Ed25519 key that signs checkpoints.
//!
//! It is derived from the root secret: every node has the same key, and the database has none.
//! It must never sign anything else.

use std::fmt;

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::AuthError;
use super::root_secret::{Purpose, RootSecret};
use super::signing_key::{Jwk, thumbprint};
use crate::domain::checkpoint::{Checkpoint, SignedCheckpoint};

pub struct CheckpointKey {
    pair: Ed25519KeyPair,
    kid: String,
}

impl CheckpointKey {
    pub fn new(root: &RootSecret) -> Result<Self, AuthError> {
        let seed = root.derive(Purpose::Checkpoints)?;
        let pair = Ed25519KeyPair::from_seed_unchecked(seed.expose())
            .map_err(|_| AuthError::Cryptography("make the key of checkpoints"))?;
        let kid = thumbprint(pair.public_key().as_ref());
        Ok(Self { pair, kid })
    }

    pub fn sign(&self, checkpoint: Checkpoint) -> SignedCheckpoint {
        let signature = self.pair.sign(checkpoint.text().as_bytes());
        let signature = URL_SAFE_NO_PAD.encode(signature);
        SignedCheckpoint { checkpoint, kid: self.kid.clone(), signature }
    }

    pub fn has_signed(&self, signed: &SignedCheckpoint) -> bool {
        let key = UnparsedPublicKey::new(&ED25519, self.pair.public_key().as_ref());
        let text = signed.checkpoint.text();
        signed.kid == self.kid
            && URL_SAFE_NO_PAD
                .decode(&signed.signature)
                .is_ok_and(|signature| key.verify(text.as_bytes(), &signature).is_ok())
    }

    /// The public key, which verifies signatures.
    pub fn public_key(&self) -> Jwk {
        Jwk::of_public_key(self.pair.public_key().as_ref(), self.kid.clone())
    }
}

impl fmt::Debug for CheckpointKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CheckpointKey").field("kid", &self.kid).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::domain::plugin::Digest;

    fn key(root: &str) -> CheckpointKey {
        let root = format!("{root}{}", "ab".repeat(31));
        CheckpointKey::new(&RootSecret::from_text(&root).expect("a root secret")).expect("a key")
    }

    fn checkpoint() -> Checkpoint {
        Checkpoint {
            writer: Uuid::from_u128(7),
            sequence: 3,
            hash: Digest([9; 32]),
            at_ms: 1_732_000_000_123,
        }
    }

    /// If this fails, the checkpoints that auditors keep can no longer be verified.
    #[test]
    fn the_signed_text_and_its_signature_never_change() {
        let text = checkpoint().text();
        let hash = "09".repeat(32);
        let expected = format!(
            "tollgate checkpoint 1\n00000000-0000-0000-0000-000000000007\n3\n{hash}\n1732000000123\n"
        );
        assert_eq!(text, expected);
        let signed = key("01").sign(checkpoint());
        assert_eq!(
            signed.signature,
            "FvodyHqPJm19pl2pEsLuAtIyW_Sk9VAUPFUOyupHLafLC51BeKN7vcuRH-9o9K-hfZyGfeA83Il3pAaJAk7eAg"
        );
    }

    #[test]
    fn a_signature_holds_for_its_own_checkpoint_and_key_only() {
        let (own, other) = (key("01"), key("02"));
        let signed = own.sign(checkpoint());
        assert!(own.has_signed(&signed) && !other.has_signed(&signed));
        let renamed = SignedCheckpoint { kid: other.kid.clone(), ..signed.clone() };
        assert!(!other.has_signed(&renamed), "another key of the same name");
        for changed in [
            Checkpoint { writer: Uuid::from_u128(8), ..checkpoint() },
            Checkpoint { sequence: 4, ..checkpoint() },
            Checkpoint { hash: Digest([8; 32]), ..checkpoint() },
            Checkpoint { at_ms: 0, ..checkpoint() },
        ] {
            assert!(
                !own.has_signed(&SignedCheckpoint { checkpoint: changed, ..signed.clone() }),
                "{changed:?}"
            );
        }
        assert!(!own.has_signed(&SignedCheckpoint { signature: "?".to_owned(), ..signed }));
    }
}
