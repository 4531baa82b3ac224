//! The chain of a writer: each batch contains the hash of the previous one.
//!
//! A chain must advance only after the batch is known to be committed.

use uuid::Uuid;

use super::row::PreparedDecision;
use crate::domain::plugin::Digest;
use crate::storage::canonical::CanonicalHash;

/// The previous hash of every writer's first batch.
pub const GENESIS: Digest = Digest([0; 32]);

/// The canonical hash of these fields: writer, sequence, previous hash, number of decisions, and
/// their concatenated digests. Numbers are big-endian.
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

/// The lists of a batch: for each decision its digest, and its tenant and id.
#[derive(Debug)]
pub(super) struct BatchLists {
    pub digests: Vec<u8>,
    pub ids: Vec<u8>,
}

impl BatchLists {
    pub fn of(rows: &[&PreparedDecision]) -> Self {
        let ids = rows.iter().flat_map(|row| [row.decision.tenant.0, row.decision.id().0]);
        Self {
            digests: rows.iter().flat_map(|row| row.digest.0).collect(),
            ids: ids.flat_map(Uuid::into_bytes).collect(),
        }
    }
}

/// A batch's place in the chain, before it is known whether it was committed.
#[derive(Debug)]
pub(super) struct ChainLink {
    pub writer: Uuid,
    pub sequence: i64,
    pub previous: Digest,
    pub lists: BatchLists,
    pub hash: Digest,
}

/// The last batch of a writer that is known to be committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChainTip {
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
    /// The empty chain of a new writer.
    pub fn of(writer: Uuid) -> Self {
        Self { writer, sequence: 0, tip: GENESIS }
    }

    pub fn next(&self, lists: BatchLists) -> ChainLink {
        let (writer, sequence, previous) = (self.writer, self.sequence + 1, self.tip);
        let hash = batch_hash(writer, sequence, &previous, &lists.digests);
        ChainLink { writer, sequence, previous, lists, hash }
    }

    /// Continues from `committed`, even if it belongs to another writer: a batch that was
    /// presumed lost may be found after a new chain has begun.
    pub fn advance(&mut self, committed: &ChainLink) {
        self.writer = committed.writer;
        self.sequence = committed.sequence;
        self.tip = committed.hash;
    }

    pub fn tip(&self) -> ChainTip {
        ChainTip { writer: self.writer, sequence: self.sequence, hash: self.tip }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_continues_from_a_committed_link_even_of_the_previous_writer() {
        let lists = |byte| BatchLists { digests: vec![byte; 32], ids: vec![byte; 32] };
        let before = Chain::of(Uuid::from_u128(1));
        let found = before.next(lists(1));
        let mut chain = Chain::of(Uuid::from_u128(2));
        chain.advance(&found);
        assert_eq!(chain.tip(), ChainTip { writer: before.writer, sequence: 1, hash: found.hash });
        let next = chain.next(lists(2));
        assert_eq!((next.writer, next.sequence, next.previous), (before.writer, 2, found.hash));
    }
}
