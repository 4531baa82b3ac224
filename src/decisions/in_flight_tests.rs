//! Tests of what payments in flight count, and when they stop being counted.

use super::*;
use crate::domain::aggregate::AggregateQuery;
use crate::domain::fixtures;
use crate::domain::money::{Currency, Money};
use crate::domain::selector::{Counting, Selector};

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
    let (entered, _, mut ahead) =
        registry.enter(tenant, order, &velocity(counting), &[], &Rates::default(), || (1_000_000, id));
    (entered, ahead.remove(0))
}

#[test]
fn each_payment_counts_exactly_those_that_entered_before_it() {
    let registry = Arc::new(PaymentsInFlight::default());
    let mut places = Vec::new();
    for id in 0..5_u64 {
        let (place, ahead) = enter(&registry, id.into(), order("c1", "EUR"), Counting::Submitted);
        assert_eq!((ahead.tally.count, ahead.tally.total), (id, 100 * i128::from(id)));
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
        let (place, ahead) = enter(&registry, expected.into(), order(spelling, "EUR"), Counting::Submitted);
        assert_eq!(ahead.tally.count, expected, "{spelling:?}");
        places.push(place);
    }
    assert_eq!(enter(&registry, 9, order("C 1", "EUR"), Counting::Submitted).1.tally.count, 0);
}

#[test]
fn the_ids_of_one_millisecond_rise_in_the_order_of_entering() {
    let registry = Arc::new(PaymentsInFlight::default());
    let entered = [7, 3, 9, 9, 8].map(|id| enter(&registry, id, order("c", "EUR"), Counting::Submitted).0);
    let ids = entered.iter().map(|place| place.own.payment.id.0.as_u128()).collect::<Vec<_>>();
    assert_eq!(ids, [7, 8, 9, 10, 11]);
}

#[test]
fn a_payment_that_was_not_approved_no_longer_counts_as_approved() {
    let registry = Arc::new(PaymentsInFlight::default());
    let (undecided, _) = enter(&registry, 1, order("c", "EUR"), Counting::Approved);
    let (rejected, _) = enter(&registry, 2, order("c", "EUR"), Counting::Approved);
    rejected.set_outcome(Outcome::Reject);
    let (_, ahead) = enter(&registry, 3, order("c", "EUR"), Counting::Approved);
    assert_eq!(ahead.tally.count, 1);
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
        assert!(!ahead.has_changed());
        places.remove(0).stored();
        assert!(!ahead.has_changed(), "a stored payment still counts");
        drop(behind);
        assert!(!ahead.has_changed(), "payments behind it do not matter");
        drop(places.remove(0));
        assert!(ahead.has_changed());
        let again = own.ahead(&velocity(counting), &Rates::default()).remove(0);
        assert_eq!((again.tally.count, again.ids.len(), again.has_changed()), (2, 2, false));
        places[0].set_outcome(Outcome::Reject);
        assert_eq!(again.has_changed(), counting == Counting::Approved);
    }
}

fn by_customer(filter: PaymentFilter) -> AggregateQuery {
    AggregateQuery {
        selectors: vec![Selector::Customer],
        window_ms: 60_000,
        filter,
        conversion: None,
        distinct: Some(Selector::Device),
        first_and_last: true,
    }
}

#[test]
fn an_aggregate_counts_payments_in_flight_that_pass_its_filter() {
    let registry = Arc::new(PaymentsInFlight::default());
    let tenant = TenantId(Uuid::from_u128(9));
    let filter =
        PaymentFilter { amount_at_least: Some(100), amount_below: Some(200), ..PaymentFilter::default() };
    let query = by_customer(filter);
    let series = [Series::of(&query)];
    let query = [FactQuery::Aggregate(Box::new(query))];
    let enter = |id: u128, amount_minor: i64, device: &str, queries: &[FactQuery], series: &[Series]| {
        let amount = Money::new(amount_minor, Currency::parse("EUR").expect("currency")).expect("amount");
        let order = PaymentOrder { amount, device: Some(device.into()), ..order("c", "EUR") };
        let id = PaymentId(Uuid::from_u128(id));
        let (entered, _, ahead) =
            registry.enter(tenant, order, queries, series, &Rates::default(), || (1_000_000, id));
        (entered, ahead)
    };
    // A payment is counted if its node knows the series, or if its own rules ask about it.
    let entered = [
        enter(1, 100, "d-1", &[], &series).0,
        enter(2, 199, "d-2", &query, &[]).0,
        enter(3, 199, "d-2", &query, &series).0,
        enter(4, 99, "d-3", &query, &[]).0,
        enter(5, 200, "d-4", &query, &[]).0,
    ];
    let ahead = enter(6, 150, "d-5", &query, &[]).1.remove(0);
    assert_eq!(ahead.ids.len(), 5, "all of them are left out of what is stored");
    let fact = ahead.tally.into_fact();
    assert_eq!((fact.count, fact.total_minor), (3, 498));
    assert_eq!(fact.distinct.map(|distinct| distinct.count), Some(2));
    assert!(fact.first.is_some() && fact.last.is_some());
    drop(entered);
    assert!(registry.lock().values.is_empty(), "payments that leave are removed");
}

#[test]
fn an_aggregate_of_rejected_payments_counts_one_in_flight_only_once_it_is_rejected() {
    let registry = Arc::new(PaymentsInFlight::default());
    let tenant = TenantId(Uuid::from_u128(9));
    let filter = PaymentFilter { outcomes: vec![Outcome::Reject], ..PaymentFilter::default() };
    let query = [FactQuery::Aggregate(Box::new(by_customer(filter)))];
    let enter = |id: u128| {
        let id = PaymentId(Uuid::from_u128(id));
        registry.enter(tenant, order("c", "EUR"), &query, &[], &Rates::default(), || (1_000_000, id))
    };
    let (first, _, _) = enter(1);
    let (second, _, ahead) = enter(2);
    assert_eq!(ahead[0].tally.count, 0);
    first.set_outcome(Outcome::Reject);
    assert_eq!(second.ahead(&query, &Rates::default())[0].tally.count, 1);
    drop(first);
    assert_eq!(second.ahead(&query, &Rates::default())[0].tally.count, 0, "it failed");
}
