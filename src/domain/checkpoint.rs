//! A checkpoint: how far the chain of a writer has come.

use uuid::Uuid;

use super::plugin::Digest;

/// Kept outside of the database, it proves that a batch was there: the end of
/// a chain that was cut off leaves no other trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Checkpoint {
    pub writer: Uuid,
    /// Of its last batch.
    pub sequence: i64,
    pub hash: Digest,
    pub at_ms: u64,
}

impl Checkpoint {
    /// What is signed. Published, so that others can check: never changed.
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
