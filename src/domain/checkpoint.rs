//! A checkpoint: the tip of a writer's chain.

use uuid::Uuid;

use super::plugin::Digest;

/// A checkpoint that is kept outside the database proves that a batch existed. Without it, the end
/// of a chain could be removed undetected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Checkpoint {
    pub writer: Uuid,
    /// The sequence of the last batch.
    pub sequence: i64,
    pub hash: Digest,
    pub at_ms: u64,
}

impl Checkpoint {
    /// The text that is signed. It is published so that others can verify it, and must never
    /// change.
    pub fn text(&self) -> String {
        let Self { writer, sequence, hash, at_ms } = self;
        format!("tollgate checkpoint 1\n{writer}\n{sequence}\n{hash}\n{at_ms}\n")
    }
}

/// A checkpoint with its Ed25519 signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedCheckpoint {
    pub checkpoint: Checkpoint,
    /// The RFC 7638 thumbprint of the public key.
    pub kid: String,
    /// In base64url without padding.
    pub signature: String,
}
