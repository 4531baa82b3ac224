//! The payments that this node is deciding. Velocities and aggregates count them, since they are not
//! stored yet.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use uuid::Uuid;

use crate::domain::aggregate::{AggregateTally, PaymentFilter, SeenPayment};
use crate::domain::payment::{Payment, PaymentId, PaymentOrder};
use crate::domain::rates::Rates;
use crate::domain::selector::FactQuery;
use crate::domain::series::Series;
use crate::domain::tenant::TenantId;
use crate::domain::verdict::Outcome;
use crate::storage::series::{aggregate_key, distinct_key};

#[derive(Debug, Default)]
pub struct PaymentsInFlight {
    registry: Mutex<Registry>,
}

#[derive(Debug)]
struct Registry {
    /// By the key under which the database stores the values. It is different for each tenant.
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
    payment: Arc<Payment>,
    status: Arc<PendingStatus>,
}

/// The status of a payment, shared with the payments that counted it.
#[derive(Debug, Default)]
struct PendingStatus {
    /// Its outcome by [`OUTCOMES`]. An undecided payment counts as approved. This is cautious for
    /// limits, but not for rules that trust a payer because of earlier payments.
    outcome: AtomicU8,
    /// Whether it left without being stored: it failed, or was a retry.
    left: AtomicBool,
}

const OUTCOMES: [Outcome; 3] = [Outcome::Approve, Outcome::Review, Outcome::Reject];

/// The payments in flight that a query counts. The stored count must leave them out, since they may
/// be committed before it is read.
#[derive(Debug)]
pub struct PaymentsAhead {
    /// The key of the counted values. `None` if the payment has no such values.
    pub value_key: Option<Uuid>,
    pub ids: Vec<PaymentId>,
    pub tally: AggregateTally,
    /// Each payment that passes the filter, whatever its outcome, and whether it was counted.
    statuses: Vec<(Arc<PendingStatus>, bool)>,
    /// The outcomes that count. All if empty.
    outcomes: Vec<Outcome>,
}

impl PaymentsAhead {
    /// Whether a payment that was counted would not be counted now, or the other way round.
    pub fn has_changed(&self) -> bool {
        self.statuses.iter().any(|(status, counted)| status.counts(&self.outcomes) != *counted)
    }

    fn none(counts_distinct: bool) -> Self {
        let tally = AggregateTally::new(counts_distinct);
        Self { value_key: None, ids: Vec::new(), tally, statuses: Vec::new(), outcomes: Vec::new() }
    }
}

impl PendingStatus {
    fn counts(&self, outcomes: &[Outcome]) -> bool {
        let left = self.left.load(Ordering::Acquire);
        !left && (outcomes.is_empty() || outcomes.contains(&self.outcome()))
    }

    fn outcome(&self) -> Outcome {
        OUTCOMES[usize::from(self.outcome.load(Ordering::Acquire))]
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
        series: &[Series],
        rates: &Rates,
        now: impl FnOnce() -> (u64, PaymentId),
    ) -> (InFlightPayment, Arc<Payment>, Vec<PaymentsAhead>) {
        let keys = ValueKeys::of(tenant, &order, queries, series);
        let mut registry = self.lock();
        // Under the lock, so that payments enter in the order of their times.
        let (received_at_ms, id) = now();
        // Ids order the payments of one millisecond. Otherwise a payment that entered later and is
        // stored first would be counted by the one ahead of it.
        let id = id.max(PaymentId(Uuid::from_u128(registry.last_id.0.as_u128().saturating_add(1))));
        registry.last_id = id;
        let payment = Arc::new(Payment { id, received_at_ms, order });
        let pending = PendingPayment { payment: payment.clone(), status: Arc::default() };
        let ahead = queries.iter().map(|query| registry.ahead(&pending, query, &keys, rates)).collect();
        for key in keys.all() {
            registry.values.entry(key).or_default().push(pending.clone());
        }
        drop(registry);
        (InFlightPayment { registry: self.clone(), own: pending, keys }, payment, ahead)
    }

    fn lock(&self) -> MutexGuard<'_, Registry> {
        // A panic leaves no change half made, so a poisoned lock can be used.
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The keys under which a payment in flight is counted.
#[derive(Debug)]
struct ValueKeys {
    tenant: TenantId,
    series: Vec<(Series, Uuid)>,
}

impl ValueKeys {
    /// `series` are those that the node knows. Those that the queries ask about are added, since a
    /// payment that is decided by the same revision may ask about this one.
    fn of(tenant: TenantId, order: &PaymentOrder, queries: &[FactQuery], series: &[Series]) -> Self {
        let asked = Series::asked(queries);
        let all = series.iter().chain(asked.iter().filter(|asked| !series.contains(asked)));
        let keyed = all.filter_map(|series| Some((series.clone(), aggregate_key(tenant, series, order)?)));
        Self { tenant, series: keyed.collect() }
    }

    fn all(&self) -> impl Iterator<Item = Uuid> {
        self.series.iter().map(|(_, key)| *key)
    }

    /// Leaves none behind.
    fn take(&mut self) -> Vec<Uuid> {
        self.series.drain(..).map(|(_, key)| key).collect()
    }
}

/// What a query counts.
struct CountedPayments<'q> {
    tenant: TenantId,
    series: &'q Series,
    rates: &'q Rates,
    window_ms: u64,
    filter: &'q PaymentFilter,
    first_and_last: bool,
}

impl CountedPayments<'_> {
    fn ahead_of(&self, own: &PendingPayment, key: Uuid, pending: &[PendingPayment]) -> PaymentsAhead {
        let mut ahead = PaymentsAhead::none(self.series.distinct.is_some());
        ahead.value_key = Some(key);
        ahead.outcomes.clone_from(&self.filter.outcomes);
        for pending in pending {
            let payment = &pending.payment;
            if payment.id >= own.payment.id {
                continue;
            }
            ahead.ids.push(payment.id);
            let begins_ms = own.payment.received_at_ms.saturating_sub(self.window_ms);
            let amount_minor = self.series.amount_of(payment, self.rates);
            if payment.received_at_ms <= begins_ms || !self.filter_lets_through(payment, amount_minor) {
                continue;
            }
            let counts = pending.status.counts(&ahead.outcomes);
            ahead.statuses.push((pending.status.clone(), counts));
            if counts {
                self.count(pending, amount_minor, &mut ahead.tally);
            }
        }
        ahead
    }

    fn count(&self, pending: &PendingPayment, amount_minor: Option<i64>, tally: &mut AggregateTally) {
        tally.count(amount_minor, distinct_key(self.tenant, self.series, &pending.payment.order));
        if self.first_and_last {
            let seen = Some(pending.seen());
            tally.add(AggregateTally { first: seen.clone(), last: seen, ..AggregateTally::new(false) });
        }
    }

    /// Whatever its outcome. No event of a payment in flight can have been reported.
    fn filter_lets_through(&self, payment: &Payment, amount_minor: Option<i64>) -> bool {
        let PaymentFilter { amount_at_least, amount_below, methods, outcomes: _, event } = self.filter;
        event.is_none()
            && amount_at_least.is_none_or(|least| amount_minor.is_some_and(|amount| amount >= least))
            && amount_below.is_none_or(|bound| amount_minor.is_some_and(|amount| amount < bound))
            && (methods.is_empty() || methods.contains(&payment.order.method))
    }
}

impl PendingPayment {
    fn seen(&self) -> SeenPayment {
        let Payment { received_at_ms, order, .. } = self.payment.as_ref();
        SeenPayment {
            received_at_ms: *received_at_ms,
            amount: order.amount,
            outcome: self.status.outcome(),
            debtor_country: order.debtor.country.clone(),
            creditor_country: order.creditor.country.clone(),
        }
    }
}

impl Registry {
    fn ahead(
        &self,
        own: &PendingPayment,
        query: &FactQuery,
        keys: &ValueKeys,
        rates: &Rates,
    ) -> PaymentsAhead {
        let Some(query) = query.counted() else { return PaymentsAhead::none(false) };
        let asked = Series::of(&query);
        let Some((series, key)) = keys.series.iter().find(|(series, _)| *series == asked) else {
            return PaymentsAhead::none(false);
        };
        let counted = CountedPayments {
            tenant: keys.tenant,
            series,
            rates,
            window_ms: query.window_ms,
            filter: &query.filter,
            first_and_last: query.first_and_last,
        };
        counted.ahead_of(own, *key, self.values.get(key).map_or(&[], Vec::as_slice))
    }
}

/// A payment in the registry, until this is dropped. Unless it was stored, the payments behind it
/// then see that it no longer counts.
#[derive(Debug)]
pub struct InFlightPayment {
    registry: Arc<PaymentsInFlight>,
    own: PendingPayment,
    keys: ValueKeys,
}

impl InFlightPayment {
    /// Counts the payments ahead again. Payments that entered after this one are never ahead.
    pub fn ahead(&self, queries: &[FactQuery], rates: &Rates) -> Vec<PaymentsAhead> {
        let registry = self.registry.lock();
        queries.iter().map(|query| registry.ahead(&self.own, query, &self.keys, rates)).collect()
    }

    pub fn set_outcome(&self, outcome: Outcome) {
        let number = OUTCOMES.iter().position(|known| *known == outcome).unwrap_or_default();
        self.own.status.outcome.store(u8::try_from(number).unwrap_or_default(), Ordering::Release);
    }

    /// The payment is stored: from now on the stored count includes it.
    pub fn stored(mut self) {
        self.leave(false);
    }

    fn leave(&mut self, unstored: bool) {
        let mut registry = self.registry.lock();
        for key in self.keys.take() {
            if let Some(pending) = registry.values.get_mut(&key) {
                pending.retain(|other| other.payment.id != self.own.payment.id);
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
        let unstored = self.keys.all().next().is_some();
        self.leave(unstored);
    }
}

#[cfg(test)]
#[path = "in_flight_tests.rs"]
mod tests;
