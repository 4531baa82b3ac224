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
#[derive(Debug)]
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

    /// Goes on from there, whosever link it is: a batch that was taken for lost may
    /// be found after a new chain has begun.
    pub fn advance(&mut self, committed: &Link) {
        self.writer = committed.writer;
        self.sequence = committed.sequence;
        self.tip = committed.hash;
    }

    pub fn tip(&self) -> Tip {
        Tip { writer: self.writer, sequence: self.sequence, hash: self.tip }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_goes_on_from_the_link_that_was_found_committed_even_of_the_writer_before() {
        let before = Chain::new();
        let found = before.next(vec![1; 32]);
        let mut chain = Chain::new();
        chain.advance(&found);
        assert_eq!(chain.tip(), Tip { writer: before.writer, sequence: 1, hash: found.hash });
        let next = chain.next(vec![2; 32]);
        assert_eq!((next.writer, next.sequence, next.previous), (before.writer, 2, found.hash));
    }
}
