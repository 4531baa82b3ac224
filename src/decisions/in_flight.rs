//! Payments that this node is deciding at the moment.
//!
//! Owns two promises: a concurrent duplicate joins the first submission of its
//! key, and velocity facts count the payments that are not stored yet. Must
//! never decide anything, and never hold its lock across an await.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;
use uuid::Uuid;

use super::submit::{SubmitError, Submitted};
use crate::domain::decision::IdempotencyKey;
use crate::domain::money::Currency;
use crate::domain::payment::{Payment, PaymentId, PaymentOrder};
use crate::domain::selector::{Counting, FactQuery, Selector};
use crate::domain::tenant::{ClientId, TenantId};
use crate::domain::verdict::Outcome;
use crate::storage::values::selector_keys;

/// Nothing until the first submission has its answer.
pub type Answer = watch::Receiver<Option<Result<Submitted, SubmitError>>>;

/// Whose name for which submission.
pub type KeyOwner = (TenantId, ClientId, IdempotencyKey);

#[derive(Debug, Default)]
pub struct InFlight {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    answers: HashMap<KeyOwner, Answer>,
    /// By the keys under which the values are stored, which differ between tenants.
    values: HashMap<Uuid, Vec<Pending>>,
    last_id: PaymentId,
}

impl Default for State {
    fn default() -> Self {
        let last_id = PaymentId(Uuid::nil());
        Self { answers: HashMap::new(), values: HashMap::new(), last_id }
    }
}

#[derive(Debug, Clone, Copy)]
struct Pending {
    id: PaymentId,
    received_at_ms: u64,
    amount_minor: i64,
    currency: Currency,
    /// Nothing until the rules have spoken.
    outcome: Option<Outcome>,
}

/// What a submission of a key found.
#[derive(Debug)]
pub enum Turn {
    First(watch::Sender<Option<Result<Submitted, SubmitError>>>),
    Join(Answer),
}

/// The payments in flight that a velocity query counts, and that the stored
/// count must leave out: they may be committed between the two looks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ahead {
    /// Of the value that is counted; nothing where there is nothing to count.
    pub value_key: Option<Uuid>,
    pub ids: Vec<PaymentId>,
    pub count: u64,
    pub total_minor: i64,
}

impl InFlight {
    pub fn take_turn(&self, owner: &KeyOwner) -> Turn {
        let mut state = self.state();
        if let Some(answer) = state.answers.get(owner) {
            return Turn::Join(answer.clone());
        }
        let (sender, receiver) = watch::channel(None);
        state.answers.insert(owner.clone(), receiver);
        Turn::First(sender)
    }

    pub fn end_turn(&self, owner: &KeyOwner) {
        self.state().answers.remove(owner);
    }

    /// Gives the payment its time and counts who is ahead of it, in one step:
    /// of two payments one is always ahead of the other. `now` draws time and id,
    /// by a clock that never goes back.
    pub fn enter(
        self: &Arc<Self>,
        tenant: TenantId,
        order: PaymentOrder,
        queries: &[FactQuery],
        now: impl FnOnce() -> (u64, PaymentId),
    ) -> (Entered, Arc<Payment>, Vec<Ahead>) {
        let keys = selector_keys(tenant, &order);
        let mut state = self.state();
        // Under the lock: a later payment must not stand before an earlier one.
        let (received_at_ms, id) = now();
        // Ids order the payments of one millisecond: without that, one behind
        // that is stored first would be counted by the one ahead as well.
        let id = id.max(PaymentId(Uuid::from_u128(state.last_id.0.as_u128().saturating_add(1))));
        state.last_id = id;
        let pending = Pending {
            id,
            received_at_ms,
            amount_minor: order.amount.minor(),
            currency: order.amount.currency(),
            outcome: None,
        };
        let ahead = queries.iter().map(|query| state.ahead(&pending, query, &keys)).collect();
        for (_, key) in &keys {
            state.values.entry(*key).or_default().push(pending);
        }
        drop(state);
        let payment = Arc::new(Payment { id, received_at_ms, order });
        let keys = keys.into_iter().map(|(_, key)| key).collect();
        (Entered { registry: self.clone(), id, keys }, payment, ahead)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every change under the lock is complete in itself, so a panic elsewhere spoils nothing.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn ahead(&self, own: &Pending, query: &FactQuery, keys: &[(Selector, Uuid)]) -> Ahead {
        let FactQuery::Velocity { selector, window_ms, counting } = query else {
            return Ahead::default();
        };
        let Some((_, key)) = keys.iter().find(|(known, _)| known == selector) else {
            return Ahead::default();
        };
        let mut ahead = Ahead { value_key: Some(*key), ..Ahead::default() };
        for pending in self.values.get(key).into_iter().flatten() {
            if pending.currency != own.currency {
                continue;
            }
            ahead.ids.push(pending.id);
            // Undecided counts as approved: a limit may turn one too many away, never let one through.
            let counts = match counting {
                Counting::Submitted => true,
                Counting::Approved => pending.outcome.is_none_or(|outcome| outcome == Outcome::Approve),
            };
            if counts && pending.received_at_ms > own.received_at_ms.saturating_sub(*window_ms) {
                ahead.count += 1;
                ahead.total_minor = ahead.total_minor.saturating_add(pending.amount_minor);
            }
        }
        ahead
    }
}

/// A payment's place in the registry; dropping it gives the place up.
#[derive(Debug)]
pub struct Entered {
    registry: Arc<InFlight>,
    id: PaymentId,
    keys: Vec<Uuid>,
}

impl Entered {
    pub fn decided(&self, outcome: Outcome) {
        let mut state = self.registry.state();
        for key in &self.keys {
            for pending in state.values.get_mut(key).into_iter().flatten() {
                if pending.id == self.id {
                    pending.outcome = Some(outcome);
                }
            }
        }
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        let mut state = self.registry.state();
        for key in &self.keys {
            if let Some(pending) = state.values.get_mut(key) {
                pending.retain(|other| other.id != self.id);
                if pending.is_empty() {
                    state.values.remove(key);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::money::Money;
    use crate::domain::party::Party;
    use crate::domain::payment::Method;

    fn order(customer: &str, currency: &str) -> PaymentOrder {
        let party = Party { name: "Ann".into(), account: None, bank: None, country: None };
        PaymentOrder {
            reference: "r".into(),
            amount: Money::new(100, Currency::parse(currency).expect("currency")).expect("amount"),
            debtor: party.clone(),
            creditor: party,
            method: Method::Wallet,
            customer: Some(customer.into()),
            merchant: None,
            card: None,
            device: None,
            ip: None,
            requested_at_ms: None,
            purpose: None,
            remittance: None,
            metadata: vec![],
        }
    }

    fn velocity(counting: Counting) -> [FactQuery; 1] {
        [FactQuery::Velocity { selector: Selector::Customer, window_ms: 60_000, counting }]
    }

    fn enter(
        registry: &Arc<InFlight>,
        id: u128,
        order: PaymentOrder,
        counting: Counting,
    ) -> (Entered, Ahead) {
        let id = PaymentId(Uuid::from_u128(id));
        let tenant = TenantId(Uuid::from_u128(9));
        let (entered, _, mut ahead) = registry.enter(tenant, order, &velocity(counting), || (1_000_000, id));
        (entered, ahead.remove(0))
    }

    #[test]
    fn each_payment_counts_exactly_those_that_entered_before_it() {
        let registry = Arc::new(InFlight::default());
        let mut places = Vec::new();
        for id in 0..5_u64 {
            let (place, ahead) = enter(&registry, id.into(), order("c1", "EUR"), Counting::Submitted);
            assert_eq!((ahead.count, ahead.total_minor), (id, 100 * id.cast_signed()));
            places.push(place);
        }
        assert_eq!(enter(&registry, 50, order("c1", "USD"), Counting::Submitted).1.ids, []);
        assert_eq!(enter(&registry, 51, order("c2", "EUR"), Counting::Submitted).1.ids, []);
        drop(places);
        assert!(registry.state().values.is_empty(), "places that are given up leave nothing behind");
    }

    #[test]
    fn a_value_is_one_value_however_it_is_written() {
        let registry = Arc::new(InFlight::default());
        let spellings = ["c 1", " c 1", "c\u{a0}1", "c  1", "\u{200b}c 1"];
        let mut places = Vec::new();
        for (spelling, expected) in spellings.into_iter().zip(0_u64..) {
            let (place, ahead) =
                enter(&registry, expected.into(), order(spelling, "EUR"), Counting::Submitted);
            assert_eq!(ahead.count, expected, "{spelling:?}");
            places.push(place);
        }
        assert_eq!(enter(&registry, 9, order("C 1", "EUR"), Counting::Submitted).1.count, 0);
    }

    #[test]
    fn the_ids_of_one_millisecond_rise_in_the_order_of_entering() {
        let registry = Arc::new(InFlight::default());
        let entered =
            [7, 3, 9, 9, 8].map(|id| enter(&registry, id, order("c", "EUR"), Counting::Submitted).0);
        let ids = entered.iter().map(|place| place.id.0.as_u128()).collect::<Vec<_>>();
        assert_eq!(ids, [7, 8, 9, 10, 11]);
    }

    #[test]
    fn a_payment_that_was_turned_away_no_longer_counts_as_approved() {
        let registry = Arc::new(InFlight::default());
        let (undecided, _) = enter(&registry, 1, order("c", "EUR"), Counting::Approved);
        let (rejected, _) = enter(&registry, 2, order("c", "EUR"), Counting::Approved);
        rejected.decided(Outcome::Reject);
        let (_, ahead) = enter(&registry, 3, order("c", "EUR"), Counting::Approved);
        assert_eq!(ahead.count, 1);
        assert_eq!(ahead.ids.len(), 2, "the stored count leaves both out, whatever they count for");
        drop(undecided);
    }

    #[test]
    fn the_second_submission_of_a_key_joins_the_first() {
        let registry = InFlight::default();
        let owner = (TenantId(Uuid::nil()), ClientId(Uuid::nil()), IdempotencyKey::parse("k").expect("key"));
        let Turn::First(_sender) = registry.take_turn(&owner) else { panic!("not first") };
        assert!(matches!(registry.take_turn(&owner), Turn::Join(_)));
        registry.end_turn(&owner);
        assert!(matches!(registry.take_turn(&owner), Turn::First(_)));
    }
}
