//! The chain of a writer: each batch names the batch before it.
//!
//! Owns the hash of a batch and the writer's place. Must never move on before
//! the batch is known to be committed.

use uuid::Uuid;

use crate::domain::plugin::Digest;
use crate::storage::canonical::CanonicalHash;

/// Stands before the first batch of every writer.
pub const GENESIS: Digest = Digest([0; 32]);

/// Over the writer, the sequence, the hash of the batch before, the number of
/// decisions and their digests one after the other, as fields of the canonical
/// hash; numbers are big-endian.
pub fn batch_hash(writer: Uuid, sequence: i64, previous: &Digest, decision_digests: &[u8]) -> Digest {
    let count = (decision_digests.len() / 32) as u64;
    CanonicalHash::new("tollgate batch 1")
        .field(writer.as_bytes())
        .field(&sequence.to_be_bytes())
        .field(&previous.0)
        .field(&count.to_be_bytes())
        .field(decision_digests)
        .finish()
}

/// A batch in its place, before it is known whether it was committed there.
#[derive(Debug, Clone)]
pub(super) struct Link {
    pub writer: Uuid,
    pub sequence: i64,
    pub previous: Digest,
    pub decision_digests: Vec<u8>,
    pub hash: Digest,
}

/// The last batch of a writer that is known to be committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tip {
    pub writer: Uuid,
    pub sequence: i64,
    pub hash: Digest,
}

#[derive(Debug)]
pub(super) struct Chain {
    pub writer: Uuid,
    sequence: i64,
    tip: Digest,
}

impl Chain {
    /// A new writer's.
    pub fn new() -> Self {
        Self { writer: Uuid::now_v7(), sequence: 0, tip: GENESIS }
    }

    pub fn next(&self, decision_digests: Vec<u8>) -> Link {
        let (writer, sequence, previous) = (self.writer, self.sequence + 1, self.tip);
        let hash = batch_hash(writer, sequence, &previous, &decision_digests);
        Link { writer, sequence, previous, decision_digests, hash }
    }

    pub fn advance(&mut self, committed: &Link) {
        self.sequence = committed.sequence;
        self.tip = committed.hash;
    }

    pub fn tip(&self) -> Tip {
        Tip { writer: self.writer, sequence: self.sequence, hash: self.tip }
    }
}
