//! The payments that this node is deciding. Velocity facts count them, since they are not stored
//! yet.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use uuid::Uuid;

use crate::domain::money::Currency;
use crate::domain::payment::{Payment, PaymentId, PaymentOrder};
use crate::domain::selector::{Counting, FactQuery, Selector};
use crate::domain::tenant::TenantId;
use crate::domain::verdict::Outcome;
use crate::storage::values::selector_keys;

#[derive(Debug, Default)]
pub struct PaymentsInFlight {
    registry: Mutex<Registry>,
}

#[derive(Debug)]
struct Registry {
    /// By the key under which the database stores the value. It is different for each tenant.
    values: HashMap<Uuid, Vec<PendingPayment>>,
    last_id: PaymentId,
}

impl Default for Registry {
    fn default() -> Self {
        let last_id = PaymentId(Uuid::nil());
        Self { values: HashMap::new(), last_id }
    }
}

#[derive(Debug, Clone)]
struct PendingPayment {
    id: PaymentId,
    received_at_ms: u64,
    amount_minor: i64,
    currency: Currency,
    status: Arc<PendingStatus>,
}

/// The status of a payment, shared with the payments that counted it.
#[derive(Debug, Default)]
struct PendingStatus {
    /// Whether its outcome is review or reject.
    not_approved: AtomicBool,
    /// Whether it left without being stored: it failed, or was a retry.
    left: AtomicBool,
}

/// The payments in flight that a velocity query counts. The stored count must leave them out, since
/// they may be committed before it is read.
#[derive(Debug, Default)]
pub struct PaymentsAhead {
    /// The key of the counted value. `None` if the payment has no such value.
    pub value_key: Option<Uuid>,
    pub ids: Vec<PaymentId>,
    pub count: u64,
    pub total_minor: i64,
    /// The status of each payment that was counted.
    statuses: Vec<Arc<PendingStatus>>,
    approved_only: bool,
}

impl PaymentsAhead {
    /// Whether a payment that was counted would not be counted now.
    pub fn has_shrunk(&self) -> bool {
        self.statuses.iter().any(|status| !status.counts(self.approved_only))
    }
}

impl PendingStatus {
    /// An undecided payment counts as approved, so a limit may refuse one payment too many but
    /// never lets one too many through.
    fn counts(&self, approved_only: bool) -> bool {
        let left = self.left.load(Ordering::Acquire);
        let not_approved = self.not_approved.load(Ordering::Acquire);
        !left && (!approved_only || !not_approved)
    }
}

impl PaymentsInFlight {
    /// Gives the payment its time and counts the payments ahead of it in one step. Of two payments,
    /// one is therefore always ahead of the other. `now` returns the time and an id; its clock must
    /// never go back.
    pub fn enter(
        self: &Arc<Self>,
        tenant: TenantId,
        order: PaymentOrder,
        queries: &[FactQuery],
        now: impl FnOnce() -> (u64, PaymentId),
    ) -> (InFlightPayment, Arc<Payment>, Vec<PaymentsAhead>) {
        let keys = selector_keys(tenant, &order);
        let mut registry = self.lock();
        // Under the lock, so that payments enter in the order of their times.
        let (received_at_ms, id) = now();
        // Ids order the payments of one millisecond. Otherwise a payment that entered later and is
        // stored first would be counted by the one ahead of it.
        let id = id.max(PaymentId(Uuid::from_u128(registry.last_id.0.as_u128().saturating_add(1))));
        registry.last_id = id;
        let pending = PendingPayment {
            id,
            received_at_ms,
            amount_minor: order.amount.minor(),
            currency: order.amount.currency(),
            status: Arc::default(),
        };
        let ahead = queries.iter().map(|query| registry.ahead(&pending, query, &keys)).collect();
        for (_, key) in &keys {
            registry.values.entry(*key).or_default().push(pending.clone());
        }
        drop(registry);
        let payment = Arc::new(Payment { id, received_at_ms, order });
        (InFlightPayment { registry: self.clone(), own: pending, keys }, payment, ahead)
    }

    fn lock(&self) -> MutexGuard<'_, Registry> {
        // A panic leaves no change half made, so a poisoned lock can be used.
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Registry {
    fn ahead(&self, own: &PendingPayment, query: &FactQuery, keys: &[(Selector, Uuid)]) -> PaymentsAhead {
        let FactQuery::Velocity { selector, window_ms, counting } = query else {
            return PaymentsAhead::default();
        };
        let Some((_, key)) = keys.iter().find(|(known, _)| known == selector) else {
            return PaymentsAhead::default();
        };
        let approved_only = *counting == Counting::Approved;
        let mut ahead = PaymentsAhead { value_key: Some(*key), approved_only, ..PaymentsAhead::default() };
        for pending in self.values.get(key).into_iter().flatten() {
            if pending.currency != own.currency || pending.id >= own.id {
                continue;
            }
            ahead.ids.push(pending.id);
            let counts = pending.status.counts(approved_only);
            if counts && pending.received_at_ms > own.received_at_ms.saturating_sub(*window_ms) {
                ahead.count += 1;
                ahead.total_minor = ahead.total_minor.saturating_add(pending.amount_minor);
                ahead.statuses.push(pending.status.clone());
            }
        }
        ahead
    }
}

/// A payment in the registry, until this is dropped. Unless it was stored, the payments behind it
/// then see that it no longer counts.
#[derive(Debug)]
pub struct InFlightPayment {
    registry: Arc<PaymentsInFlight>,
    own: PendingPayment,
    keys: Vec<(Selector, Uuid)>,
}

impl InFlightPayment {
    /// Counts the payments ahead again. Payments that entered after this one are never ahead.
    pub fn ahead(&self, queries: &[FactQuery]) -> Vec<PaymentsAhead> {
        let registry = self.registry.lock();
        queries.iter().map(|query| registry.ahead(&self.own, query, &self.keys)).collect()
    }

    pub fn set_outcome(&self, outcome: Outcome) {
        self.own.status.not_approved.store(outcome != Outcome::Approve, Ordering::Release);
    }

    /// The payment is stored: from now on the stored count includes it.
    pub fn stored(mut self) {
        self.leave(false);
    }

    fn leave(&mut self, unstored: bool) {
        let mut registry = self.registry.lock();
        for (_, key) in self.keys.drain(..) {
            if let Some(pending) = registry.values.get_mut(&key) {
                pending.retain(|other| other.id != self.own.id);
                if pending.is_empty() {
                    registry.values.remove(&key);
                }
            }
        }
        // Set under the lock, so that a payment that sees it counts again without this one.
        self.own.status.left.fetch_or(unstored, Ordering::Release);
    }
}

impl Drop for InFlightPayment {
    fn drop(&mut self) {
        let unstored = !self.keys.is_empty();
        self.leave(unstored);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::fixtures;
    use crate::domain::money::Money;

    fn order(customer: &str, currency: &str) -> PaymentOrder {
        let amount = Money::new(100, Currency::parse(currency).expect("currency")).expect("amount");
        PaymentOrder { amount, customer: Some(customer.into()), ..fixtures::order() }
    }

    fn velocity(counting: Counting) -> [FactQuery; 1] {
        [FactQuery::Velocity { selector: Selector::Customer, window_ms: 60_000, counting }]
    }

    fn enter(
        registry: &Arc<PaymentsInFlight>,
        id: u128,
        order: PaymentOrder,
        counting: Counting,
    ) -> (InFlightPayment, PaymentsAhead) {
        let id = PaymentId(Uuid::from_u128(id));
        let tenant = TenantId(Uuid::from_u128(9));
        let (entered, _, mut ahead) = registry.enter(tenant, order, &velocity(counting), || (1_000_000, id));
        (entered, ahead.remove(0))
    }

    #[test]
    fn each_payment_counts_exactly_those_that_entered_before_it() {
        let registry = Arc::new(PaymentsInFlight::default());
        let mut places = Vec::new();
        for id in 0..5_u64 {
            let (place, ahead) = enter(&registry, id.into(), order("c1", "EUR"), Counting::Submitted);
            assert_eq!((ahead.count, ahead.total_minor), (id, 100 * id.cast_signed()));
            places.push(place);
        }
        assert_eq!(enter(&registry, 50, order("c1", "USD"), Counting::Submitted).1.ids, []);
        assert_eq!(enter(&registry, 51, order("c2", "EUR"), Counting::Submitted).1.ids, []);
        drop(places);
        assert!(registry.lock().values.is_empty(), "payments that leave are removed");
    }

    #[test]
    fn a_value_is_one_value_however_it_is_written() {
        let registry = Arc::new(PaymentsInFlight::default());
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
        let registry = Arc::new(PaymentsInFlight::default());
        let entered =
            [7, 3, 9, 9, 8].map(|id| enter(&registry, id, order("c", "EUR"), Counting::Submitted).0);
        let ids = entered.iter().map(|place| place.own.id.0.as_u128()).collect::<Vec<_>>();
        assert_eq!(ids, [7, 8, 9, 10, 11]);
    }

    #[test]
    fn a_payment_that_was_not_approved_no_longer_counts_as_approved() {
        let registry = Arc::new(PaymentsInFlight::default());
        let (undecided, _) = enter(&registry, 1, order("c", "EUR"), Counting::Approved);
        let (rejected, _) = enter(&registry, 2, order("c", "EUR"), Counting::Approved);
        rejected.set_outcome(Outcome::Reject);
        let (_, ahead) = enter(&registry, 3, order("c", "EUR"), Counting::Approved);
        assert_eq!(ahead.count, 1);
        assert_eq!(ahead.ids.len(), 2, "the stored count leaves both out, whether they count or not");
        drop(undecided);
    }

    #[test]
    fn a_payment_that_counted_one_that_failed_counts_again_without_it() {
        for counting in [Counting::Submitted, Counting::Approved] {
            let registry = Arc::new(PaymentsInFlight::default());
            let mut places: Vec<InFlightPayment> =
                (1..=4).map(|id| enter(&registry, id, order("c", "EUR"), counting).0).collect();
            let (own, ahead) = enter(&registry, 5, order("c", "EUR"), counting);
            let (behind, _) = enter(&registry, 6, order("c", "EUR"), counting);
            assert!(!ahead.has_shrunk());
            places.remove(0).stored();
            assert!(!ahead.has_shrunk(), "a stored payment still counts");
            drop(behind);
            assert!(!ahead.has_shrunk(), "payments behind it do not matter");
            drop(places.remove(0));
            assert!(ahead.has_shrunk());
            let again = own.ahead(&velocity(counting)).remove(0);
            assert_eq!((again.count, again.ids.len(), again.has_shrunk()), (2, 2, false));
            places[0].set_outcome(Outcome::Reject);
            assert_eq!(again.has_shrunk(), counting == Counting::Approved);
        }
    }
}
