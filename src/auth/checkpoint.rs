//! The Ed25519 key that signs checkpoints, and records of removals.
//!
//! It is derived from the root secret: every node has the same key, and the database has none.
//! It must never sign anything else. The first line of a signed text says what it is.

use std::fmt;

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::AuthError;
use super::root_secret::{Purpose, RootSecret};
use super::signing_key::{Jwk, thumbprint};
use crate::domain::checkpoint::{Checkpoint, SignedCheckpoint};
use crate::domain::removal::{Removal, SignedRemoval};

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
        let signature = self.signature_of(&checkpoint.text());
        SignedCheckpoint { checkpoint, kid: self.kid.clone(), signature }
    }

    pub fn sign_removal(&self, removal: Removal) -> SignedRemoval {
        let signature = self.signature_of(&removal.text());
        SignedRemoval { removal, kid: self.kid.clone(), signature }
    }

    pub fn has_signed(&self, signed: &SignedCheckpoint) -> bool {
        self.is_own(&signed.checkpoint.text(), &signed.kid, &signed.signature)
    }

    pub fn has_signed_removal(&self, signed: &SignedRemoval) -> bool {
        self.is_own(&signed.removal.text(), &signed.kid, &signed.signature)
    }

    fn signature_of(&self, text: &str) -> String {
        URL_SAFE_NO_PAD.encode(self.pair.sign(text.as_bytes()))
    }

    fn is_own(&self, text: &str, kid: &str, signature: &str) -> bool {
        let key = UnparsedPublicKey::new(&ED25519, self.pair.public_key().as_ref());
        let signature = URL_SAFE_NO_PAD.decode(signature);
        kid == self.kid && signature.is_ok_and(|signature| key.verify(text.as_bytes(), &signature).is_ok())
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

    /// As for checkpoints.
    #[test]
    fn the_text_of_a_removal_never_changes_and_each_part_of_it_is_signed() {
        use crate::domain::removal::RemovalId;
        use crate::domain::tenant::TenantId;
        use crate::domain::time::Month;
        let id = RemovalId {
            tenant: TenantId(Uuid::from_u128(7)),
            month: Month { year: 2025, number: 3 },
            number: 1,
        };
        let removal = Removal { id, decisions: 12, hash: Digest([9; 32]), at_ms: 5 };
        let hash = "09".repeat(32);
        assert_eq!(
            removal.text(),
            format!("tollgate removal 1\n00000000-0000-0000-0000-000000000007\n2025-03\n1\n12\n{hash}\n5\n")
        );
        let (own, other) = (key("01"), key("02"));
        let signed = own.sign_removal(removal);
        assert!(own.has_signed_removal(&signed) && !other.has_signed_removal(&signed));
        for changed in [
            Removal { decisions: 13, ..removal },
            Removal { hash: Digest([8; 32]), ..removal },
            Removal { id: RemovalId { number: 2, ..id }, ..removal },
        ] {
            assert!(!own.has_signed_removal(&SignedRemoval { removal: changed, ..signed.clone() }));
        }
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
