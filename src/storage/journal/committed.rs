//! Committed batches on their way to the search index of this process, so that it need not read
//! them from the database.
//!
//! Nothing may depend on a batch being here: the queue is bounded, and a process may die. The chain
//! in the database shows what is missing.

use std::sync::{Mutex, PoisonError};

use crate::storage::search::CommittedBatch;

/// Some 30 MB of ordinary decisions. At three thousand a second they are taken long before.
const DECISIONS_MAX: usize = 8_192;

#[derive(Debug, Default)]
pub(super) struct CommittedQueue(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    batches: Vec<CommittedBatch>,
    decisions: usize,
    /// Without a search index in this process nothing is kept.
    is_read: bool,
}

impl CommittedQueue {
    /// Drops the batch if the queue is full.
    pub fn add(&self, batch: impl FnOnce() -> CommittedBatch) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !state.is_read || state.decisions >= DECISIONS_MAX {
            return;
        }
        let batch = batch();
        state.decisions += batch.decisions.len();
        state.batches.push(batch);
    }

    /// Takes all batches. From the first call on they are kept.
    pub fn take(&self) -> Vec<CommittedBatch> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        (state.is_read, state.decisions) = (true, 0);
        std::mem::take(&mut state.batches)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use uuid::Uuid;

    use super::*;
    use crate::domain::decision::{Decision, EngineId, Evidence, IdempotencyKey, Origin};
    use crate::domain::fixtures::order;
    use crate::domain::payment::{Payment, PaymentId};
    use crate::domain::plugin::Digest;
    use crate::domain::tenant::{ClientId, TenantId};
    use crate::domain::verdict::Outcome;

    fn decision() -> Decision {
        let payment = Payment { id: PaymentId(Uuid::nil()), received_at_ms: 0, order: order() };
        Decision {
            tenant: TenantId(Uuid::nil()),
            client: ClientId(Uuid::nil()),
            key: IdempotencyKey::parse("k").expect("a key"),
            request_hash: Digest([0; 32]),
            origin: Origin::Api,
            outcome: Outcome::Approve,
            evidence: Evidence {
                payment: Arc::new(payment),
                revision: None,
                rules: vec![],
                engine: EngineId(String::new()),
                fold_version: 2,
                reasons: vec![],
                comparison_version: 1,
            },
        }
    }

    #[test]
    fn batches_are_kept_once_they_are_read_and_up_to_a_number_of_decisions() {
        let queue = CommittedQueue::default();
        let decision = Arc::new(decision());
        let batch = |sequence| CommittedBatch {
            writer: Uuid::nil(),
            sequence,
            stored_at_ms: 0,
            decisions: vec![decision.clone(); DECISIONS_MAX / 2],
        };
        queue.add(|| batch(1));
        assert!(queue.take().is_empty());
        for sequence in 2..6 {
            queue.add(|| batch(sequence));
        }
        let sequences = |batches: Vec<CommittedBatch>| -> Vec<i64> {
            batches.iter().map(|batch| batch.sequence).collect()
        };
        assert_eq!(sequences(queue.take()), [2, 3]);
        queue.add(|| batch(6));
        assert_eq!(sequences(queue.take()), [6]);
    }
}
