//! Payments that wait for their shadow runs.
//!
//! Owns the order, in turns of the tenants, and the bounds. Must never wait.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use super::super::active::{Course, Deployed};
use crate::domain::decision::RuleEvidence;
use crate::domain::selector::Fact;
use crate::domain::tenant::TenantId;
use crate::domain::verdict::{OutcomeReason, Reason, RuleResult};
use crate::storage::decisions::StoredDecision;

/// A decision that is stored, and what was deployed when it was made.
#[derive(Debug)]
pub struct Due {
    pub decision: Arc<StoredDecision>,
    pub deployed: Arc<Deployed>,
    /// From the payment's key: chooses the course.
    pub drawn: u64,
    /// The answers to the queries of the course.
    pub facts: Vec<Fact>,
}

impl Due {
    pub fn course(&self) -> &Course {
        self.deployed.course(self.drawn)
    }

    pub fn tenant(&self) -> TenantId {
        self.decision.decision.tenant
    }

    /// What it holds in memory, by estimate: its texts count, most of which rules wrote.
    pub fn bytes(&self) -> usize {
        let evidence = &self.decision.decision.evidence;
        let metadata = evidence.payment.order.metadata.iter().map(|(key, value)| key.len() + value.len());
        let fixed = size_of::<StoredDecision>() + size_of_val(self.facts.as_slice());
        fixed + metadata.sum::<usize>() + bytes_of(&evidence.rules, &evidence.reasons)
    }
}

pub fn bytes_of(rules: &[RuleEvidence], reasons: &[OutcomeReason]) -> usize {
    let reason = |reason: &Reason| size_of::<Reason>() + reason.code.len() + reason.message.len();
    let said = |result: &RuleResult| match result {
        RuleResult::Ran(evaluation) => {
            let notes: usize = evaluation.notes.iter().map(String::len).sum();
            notes + evaluation.verdict.reasons().iter().map(reason).sum::<usize>()
        }
        RuleResult::Failed { detail, .. } => detail.len(),
        RuleResult::Quarantined | RuleResult::Unavailable => 0,
    };
    let rules = rules.iter().map(|rule| {
        size_of::<RuleEvidence>() + size_of_val(rule.facts.as_slice()) + rule.result.as_ref().map_or(0, said)
    });
    rules.sum::<usize>() + reasons.iter().map(|given| reason(&given.reason)).sum::<usize>()
}

/// So many items of so many bytes together, by estimate.
#[derive(Debug, Clone, Copy, Default)]
pub struct Load {
    pub items: usize,
    pub bytes: usize,
}

impl Load {
    /// Whether one more of these bytes stays within `most`.
    fn has_room(self, bytes: usize, most: Self) -> bool {
        self.items < most.items && self.bytes.saturating_add(bytes) <= most.bytes
    }

    fn add(&mut self, bytes: usize) {
        self.items += 1;
        self.bytes = self.bytes.saturating_add(bytes);
    }
}

#[derive(Debug)]
pub struct Queue<T> {
    room: Load,
    of_one_tenant_max: Load,
    waiting: Load,
    by_tenant: HashMap<TenantId, Own<T>>,
    /// Each tenant with something that waits, once.
    turns: VecDeque<TenantId>,
}

/// What waits of one tenant, each with its bytes.
#[derive(Debug)]
struct Own<T> {
    items: VecDeque<(T, usize)>,
    load: Load,
}

impl<T> Queue<T> {
    pub fn new(room: Load) -> Self {
        let (by_tenant, turns) = (HashMap::new(), VecDeque::new());
        let of_one_tenant_max = Load { items: (room.items / 4).max(1), bytes: room.bytes / 4 };
        Self { room, of_one_tenant_max, waiting: Load::default(), by_tenant, turns }
    }

    /// False when there is no room, or none for this tenant.
    pub fn put(&mut self, tenant: TenantId, item: T, bytes: usize) -> bool {
        let load = self.by_tenant.get(&tenant).map(|own| own.load).unwrap_or_default();
        if !self.waiting.has_room(bytes, self.room) || !load.has_room(bytes, self.of_one_tenant_max) {
            return false;
        }
        if load.items == 0 {
            self.turns.push_back(tenant);
        }
        let new = || Own { items: VecDeque::new(), load: Load::default() };
        let own = self.by_tenant.entry(tenant).or_insert_with(new);
        own.items.push_back((item, bytes));
        own.load.add(bytes);
        self.waiting.add(bytes);
        true
    }

    /// The oldest of the tenant whose turn it is.
    pub fn take(&mut self, most: usize) -> Vec<T> {
        let Some(tenant) = self.turns.pop_front() else { return Vec::new() };
        let Some(own) = self.by_tenant.get_mut(&tenant) else { return Vec::new() };
        let mut taken = Vec::new();
        for (item, bytes) in own.items.drain(..own.items.len().min(most)) {
            for load in [&mut own.load, &mut self.waiting] {
                load.items -= 1;
                load.bytes = load.bytes.saturating_sub(bytes);
            }
            taken.push(item);
        }
        if own.items.is_empty() {
            self.by_tenant.remove(&tenant);
        } else {
            self.turns.push_back(tenant);
        }
        taken
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn tenant(number: u128) -> TenantId {
        TenantId(Uuid::from_u128(number))
    }

    #[test]
    fn one_tenant_has_a_quarter_of_the_room_and_all_together_have_all_of_it() {
        let mut queue = Queue::new(Load { items: 8, bytes: 1_000 });
        for number in 1..=5 {
            let taken_in = (0..4).filter(|place| queue.put(tenant(number), *place, 1)).count();
            assert_eq!(taken_in, if number < 5 { 2 } else { 0 }, "tenant {number}");
        }
        assert_eq!(queue.take(9), [0, 1], "what was taken makes room");
        assert!(queue.put(tenant(5), 7, 1));
    }

    #[test]
    fn large_payments_fill_the_room_before_they_are_many() {
        let mut queue = Queue::new(Load { items: 100, bytes: 400 });
        assert!(!queue.put(tenant(1), 0, 101), "more than a quarter");
        let taken_in = (0..9).filter(|place| queue.put(tenant(1), *place, 30)).count();
        assert_eq!(taken_in, 3, "the quarter of one tenant");
        for number in 2..=5 {
            assert_eq!(queue.put(tenant(number), 0, 80), number < 5, "tenant {number}");
        }
        assert_eq!(queue.take(2), [0, 1]);
        assert!(queue.put(tenant(5), 0, 80), "what was taken makes room");
    }

    #[test]
    fn tenants_take_turns_whatever_one_of_them_has_waiting() {
        let mut queue = Queue::new(Load { items: 100, bytes: 1_000 });
        for place in 0..5 {
            queue.put(tenant(1), (1, place), 1);
        }
        queue.put(tenant(2), (2, 0), 1);
        let taken: Vec<Vec<(u8, i32)>> = (0..4).map(|_| queue.take(2)).collect();
        assert_eq!(taken, [vec![(1, 0), (1, 1)], vec![(2, 0)], vec![(1, 2), (1, 3)], vec![(1, 4)]]);
        assert!(queue.take(2).is_empty());
    }
}
