//! Aggregates of earlier payments, held against a plain scan of the history.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures::future::join_all;
use tollgate::decisions::counted_store;
use tollgate::domain::aggregate::{
    AggregateFact, AggregateQuery, AggregateTally, Conversion, PaymentFilter, SeenPayment,
};
use tollgate::domain::comparison::ValueKind;
use tollgate::domain::decision::Decision;
use tollgate::domain::millionths::Millionths;
use tollgate::domain::money::Currency;
use tollgate::domain::party::Country;
use tollgate::domain::payment::{Method, Payment, PaymentId};
use tollgate::domain::payment_event::EventKind;
use tollgate::domain::rates::Rates;
use tollgate::domain::selector::{Cell, Fact, FactQuery, Selector, TableLookup};
use tollgate::domain::series::Series;
use tollgate::domain::table::{CellKind, Column, ColumnName, TableSchema};
use tollgate::domain::tenant::TenantId;
use tollgate::domain::verdict::Outcome;
use tollgate::storage::databases::Databases;
use tollgate::storage::facts::look_up_many;
use tollgate::storage::journal::Journal;
use tollgate::storage::payment_events::{self, NewPaymentEvent};
use tollgate::storage::reference::ReferenceMemory;
use tollgate::storage::series::{self, Backfill};
use uuid::Uuid;

use super::reference::{create, upload_to};
use super::{NOW_MS, declare, facts, payment_of, request, tenant};
use crate::support::database::TestDatabase;
use crate::support::decisions::{decision_on, journal, now_ms, order};

pub(super) const DAY_MS: u64 = 86_400_000;

/// Numbers that look random and are the same in every run.
pub(super) struct Draws(pub u64);

impl Draws {
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }

    pub fn one_of<T: Clone>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len() as u64) as usize].clone()
    }
}

pub(super) fn drawn_decision(draws: &mut Draws, tenant: TenantId, number: u64, days: u64) -> Decision {
    let received_at_ms = NOW_MS - draws.below(days * DAY_MS);
    let amount = draws.one_of(&[1, 99, 100, 9_999, 1_000_000]);
    let mut order =
        order(&format!("c-{}", draws.below(3)), amount, draws.one_of(&["EUR", "EUR", "USD", "CHF"]));
    order.merchant = draws.one_of(&[None, Some("m-1".to_owned()), Some("m-2".to_owned())]);
    let device = format!("d-{}", draws.below(9));
    order.device = draws.one_of(&[None, Some(device)]);
    order.method = draws.one_of(&Method::ALL);
    order.creditor.country = Country::parse(draws.one_of(&["DE", "FR"])).ok();
    let outcome = draws.one_of(&[Outcome::Approve, Outcome::Review, Outcome::Reject]);
    let mut decision = decision_on(tenant, &format!("key-{number}"), outcome, received_at_ms, order);
    let payment = Arc::make_mut(&mut decision.evidence.payment);
    // The ids of one millisecond have an order, as those of a node do.
    payment.id = PaymentId(Uuid::from_u128(u128::from(received_at_ms) << 80 | u128::from(number)));
    decision
}

fn into(currency: &str) -> Conversion {
    Conversion { table: "rates".to_owned(), currency: Currency::parse(currency).unwrap() }
}

/// Thousandths for one unit of the currency. There is none for CHF, and none for dollars at first.
const RATES: [(u64, &[(&str, i64)]); 3] = [
    (0, &[("EUR", 1_250)]),
    (NOW_MS - 2 * DAY_MS, &[("EUR", 1_250), ("USD", 900)]),
    (NOW_MS - DAY_MS, &[("EUR", 1_111), ("USD", 1_005)]),
];

/// The table of `RATES`.
pub(super) async fn store_rates(database: &TestDatabase, databases: &Databases, tenant: TenantId) {
    let column = Column { name: ColumnName::parse("rate").unwrap(), kind: CellKind::Number };
    let schema = TableSchema::new(TableLookup::Exact, ValueKind::Text, vec![column]).unwrap();
    create(databases, tenant, "rates", schema.clone()).await;
    for (number, (valid_from_ms, rates)) in (1..).zip(RATES) {
        let row = |(currency, thousandths): &(&'static str, i64)| {
            (*currency, vec![Some(Cell::Number(Millionths(thousandths * 1_000)))])
        };
        upload_to(databases, tenant, "rates", schema.clone(), rates.iter().map(row).collect()).await;
        // As if it had been uploaded then.
        sqlx::query("update table_activations set valid_from_ms = $1 where version = $2")
            .bind(valid_from_ms as i64)
            .bind(number)
            .execute(&mut database.superuser().await)
            .await
            .unwrap();
    }
}

/// Halves are rounded up. All currencies have cents.
fn converted(query: &AggregateQuery, payment: &Payment) -> Option<i64> {
    let amount = payment.order.amount;
    let Some(conversion) = &query.conversion else { return Some(amount.minor()) };
    if conversion.currency == amount.currency() {
        return Some(amount.minor());
    }
    let (_, rates) = RATES.iter().rfind(|(from_ms, _)| *from_ms <= payment.received_at_ms)?;
    let (_, thousandths) = rates.iter().find(|(code, _)| *code == amount.currency().code())?;
    Some((amount.minor() * thousandths + 500) / 1_000)
}

pub(super) fn drawn_query(draws: &mut Draws, windows_ms: &[u64]) -> AggregateQuery {
    use Selector::{Customer, Device, Merchant};
    let mut filter = PaymentFilter::default();
    if draws.below(3) == 0 {
        filter.amount_at_least = Some(draws.one_of(&[0, 99, 100]));
    }
    if draws.below(3) == 0 {
        filter.amount_below = Some(draws.one_of(&[100, 10_000]));
    }
    if draws.below(3) == 0 {
        filter.methods = draws.one_of(&[vec![Method::Card], vec![Method::Card, Method::Instant]]);
    }
    if draws.below(3) == 0 {
        filter.outcomes = draws.one_of(&[vec![Outcome::Reject], vec![Outcome::Approve, Outcome::Review]]);
    }
    AggregateQuery {
        selectors: draws.one_of(&[
            vec![Customer],
            vec![Customer, Merchant],
            vec![Customer, Merchant, Device],
        ]),
        window_ms: draws.one_of(windows_ms),
        filter,
        conversion: draws.one_of(&[None, None, Some(into("EUR")), Some(into("USD"))]),
        distinct: draws.one_of(&[None, Some(Device)]),
        first_and_last: draws.below(2) == 0,
    }
}

/// The answer by looking at every payment.
pub(super) fn plain_scan(history: &[Decision], payment: &Payment, query: &AggregateQuery) -> Fact {
    let series = Series::of(query);
    let Some(forms) = series.forms(&payment.order) else { return Fact::Absent };
    let filter = &query.filter;
    let mut counted: Vec<&Decision> = history
        .iter()
        .filter(|decision| {
            let earlier = &decision.evidence.payment;
            let (amount, at_ms) = (converted(query, earlier), earlier.received_at_ms);
            let is_same_currency = earlier.order.amount.currency() == payment.order.amount.currency();
            at_ms <= payment.received_at_ms
                && at_ms + query.window_ms > payment.received_at_ms
                && (query.conversion.is_some() || is_same_currency)
                && series.forms(&earlier.order).as_ref() == Some(&forms)
                && filter.amount_at_least.is_none_or(|least| amount.is_some_and(|amount| amount >= least))
                && filter.amount_below.is_none_or(|bound| amount.is_some_and(|amount| amount < bound))
                && (filter.methods.is_empty() || filter.methods.contains(&earlier.order.method))
                && (filter.outcomes.is_empty() || filter.outcomes.contains(&decision.outcome))
        })
        .collect();
    counted.sort_by_key(|decision| (decision.evidence.payment.received_at_ms, decision.id()));
    let mut tally = AggregateTally::new(query.distinct.is_some());
    for decision in &counted {
        let order = &decision.evidence.payment.order;
        // Any number that tells the values apart.
        let value = series.distinct_form(order).map(|form| form.bytes().map(i64::from).sum());
        tally.count(converted(query, &decision.evidence.payment), value);
    }
    if query.first_and_last {
        tally.first = counted.first().map(|decision| seen(decision));
        tally.last = counted.last().map(|decision| seen(decision));
    }
    Fact::Aggregate(Box::new(tally.into_fact()))
}

fn seen(decision: &Decision) -> SeenPayment {
    let payment = &decision.evidence.payment;
    SeenPayment {
        received_at_ms: payment.received_at_ms,
        amount: payment.order.amount,
        outcome: decision.outcome,
        debtor_country: payment.order.debtor.country.clone(),
        creditor_country: payment.order.creditor.country.clone(),
    }
}

/// Fills in until nothing is left.
pub(super) async fn fill_in(databases: &Databases) {
    let memory = memory(databases);
    while series::fill_in(&databases.system, &memory, now_ms()).await.unwrap() == Backfill::Page {}
}

pub(super) fn memory(databases: &Databases) -> Arc<ReferenceMemory> {
    Arc::new(ReferenceMemory::new(databases, 1 << 20))
}

pub(super) async fn store_by_fifty_clients(
    journal: &Journal,
    memory: &Arc<ReferenceMemory>,
    payments: &[Decision],
) {
    let writing = payments.chunks(payments.len().div_ceil(50)).map(|share| {
        let (journal, memory, share) = (journal.clone(), memory.clone(), share.to_vec());
        tokio::spawn(async move {
            for decision in share {
                let stored =
                    counted_store::store(&journal, &memory, Arc::new(decision), Rates::default()).await;
                drop(stored.unwrap());
            }
        })
    });
    for writer in join_all(writing.collect::<Vec<_>>()).await {
        writer.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn aggregates_equal_a_plain_scan_while_fifty_clients_write() {
    let database = TestDatabase::create().await;
    let databases = database.databases();
    let tenant = tenant(&databases).await;
    let mut draws = Draws(0x9e37_79b9_7f4a_7c15);
    let history: Vec<Decision> =
        (0..1_500).map(|number| drawn_decision(&mut draws, tenant, number, 3)).collect();
    let queries: Vec<AggregateQuery> =
        (0..80).map(|_| drawn_query(&mut draws, &[1, 3_600_000, DAY_MS, 4 * DAY_MS])).collect();
    let asked: Vec<FactQuery> =
        queries.iter().map(|query| FactQuery::Aggregate(Box::new(query.clone()))).collect();
    let series = Series::asked(&asked);

    // The writers know no series. Some payments are stored before the series are declared, and some
    // at the same time.
    let journal = journal(databases.journal.clone()).await;
    let (before, meanwhile) = history.split_at(600);
    for decision in before {
        drop(journal.store(decision.clone()).await.unwrap());
    }
    store_rates(&database, &databases, tenant).await;
    let memory = memory(&databases);
    let declaring = async {
        for one in &series {
            declare(&databases, tenant, std::slice::from_ref(one), NOW_MS).await;
            fill_in(&databases).await;
        }
    };
    tokio::join!(declaring, store_by_fifty_clients(&journal, &memory, meanwhile));
    fill_in(&databases).await;
    let progress = series::progress(&databases.app, tenant, series).await.unwrap();
    assert_eq!(progress.unknown, []);

    let mut counted = 0;
    for number in 0..20 {
        let mut asking = request(
            tenant,
            drawn_decision(&mut draws, tenant, 0, 3).evidence.payment.order.clone(),
            asked.clone(),
        );
        payment_of(&mut asking).received_at_ms = NOW_MS - draws.below(2 * DAY_MS);
        let expected: Vec<Fact> =
            queries.iter().map(|query| plain_scan(&history, &asking.payment, query)).collect();
        let found = facts(&databases, asking.clone()).await;
        for (query, (found, expected)) in queries.iter().zip(found.iter().zip(&expected)) {
            assert_eq!(found, expected, "{number}: {query:?}");
            counted += u64::from(matches!(found, Fact::Aggregate(fact) if fact.count > 1));
        }
        let together = look_up_many(&databases.system, vec![asking]).await.unwrap();
        assert_eq!(together[0].facts, expected);
    }
    assert!(counted > 300, "{counted}");
}

fn by_customer() -> AggregateQuery {
    AggregateQuery {
        selectors: vec![Selector::Customer],
        window_ms: DAY_MS,
        filter: PaymentFilter::default(),
        conversion: None,
        distinct: None,
        first_and_last: false,
    }
}

async fn count(
    databases: &Databases,
    tenant: TenantId,
    query: AggregateQuery,
    customer: &str,
) -> AggregateFact {
    let asking = request(tenant, order(customer, 5, "EUR"), vec![FactQuery::Aggregate(Box::new(query))]);
    match facts(databases, asking).await.remove(0) {
        Fact::Aggregate(fact) => *fact,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn an_event_counts_from_its_own_time() {
    let database = TestDatabase::create().await;
    let databases = database.databases();
    let tenant = tenant(&databases).await;
    let query = AggregateQuery {
        filter: PaymentFilter { event: Some(EventKind::Fraud), ..PaymentFilter::default() },
        ..by_customer()
    };
    declare(&databases, tenant, &[Series::of(&query)], NOW_MS).await;
    let journal = journal(databases.journal.clone()).await;
    for (number, recorded_at_ms, kind) in [
        (1, NOW_MS - 1, EventKind::Fraud),
        (2, NOW_MS, EventKind::Fraud),
        (3, NOW_MS - 1, EventKind::Refunded),
    ] {
        let decision = decision_on(
            tenant,
            &format!("key-{number}"),
            Outcome::Approve,
            NOW_MS - 1_000,
            order("c-1", number, "EUR"),
        );
        let payment = decision.id();
        drop(journal.store(decision).await.unwrap());
        let event = NewPaymentEvent {
            review_id: Uuid::now_v7(),
            id: Uuid::now_v7(),
            payment,
            kind,
            at_ms: Some(NOW_MS - 500),
            recorded_at_ms,
            actor: "client".to_owned(),
            note: String::new(),
        };
        payment_events::record(&databases.app, tenant, event, u32::MAX).await.unwrap();
    }
    let fact = count(&databases, tenant, query, "c-1").await;
    assert_eq!((fact.count, fact.total_minor), (1, 1));
}

#[tokio::test]
async fn nothing_counted_has_no_minimum_and_a_tenant_sees_only_its_own_payments() {
    let database = TestDatabase::create().await;
    let databases = database.databases();
    let (one, other) = (tenant(&databases).await, tenant(&databases).await);
    for tenant in [one, other] {
        declare(&databases, tenant, &[Series::of(&by_customer())], NOW_MS).await;
    }
    let journal = journal(databases.journal.clone()).await;
    let decision = decision_on(one, "key", Outcome::Approve, NOW_MS - 1, order("c-1", 7, "EUR"));
    drop(journal.store(decision).await.unwrap());
    assert_eq!(count(&databases, one, by_customer(), "c-1").await.count, 1);
    for fact in [
        count(&databases, other, by_customer(), "c-1").await,
        count(&databases, one, by_customer(), "c-2").await,
    ] {
        assert_eq!(fact, AggregateFact::default());
    }
}

#[tokio::test]
async fn a_backfill_that_is_interrupted_goes_on_and_counts_nothing_twice() {
    let database = TestDatabase::create().await;
    let databases = database.databases();
    let tenant = tenant(&databases).await;
    let journal = journal(databases.journal.clone()).await;
    let stored = (0..2_500).map(|number| {
        let journal = journal.clone();
        let order = order("c-1", 1, "EUR");
        let decision = decision_on(tenant, &format!("key-{number}"), Outcome::Approve, NOW_MS - 1, order);
        async move { journal.store(decision).await.unwrap() }
    });
    drop(join_all(stored).await);
    declare(&databases, tenant, &[Series::of(&by_customer())], NOW_MS).await;
    let memory = memory(&databases);
    for _ in 0..20 {
        // Two at once, and some of them cut off at any point.
        let both = async {
            tokio::join!(
                series::fill_in(&databases.system, &memory, 1),
                series::fill_in(&databases.system, &memory, 1)
            )
        };
        drop(tokio::time::timeout(std::time::Duration::from_millis(3), both).await);
    }
    // A transaction that was cut off may still hold the series for a moment.
    let series = vec![Series::of(&by_customer())];
    while !series::progress(&databases.app, tenant, series.clone()).await.unwrap().unknown.is_empty() {
        fill_in(&databases).await;
    }
    assert_eq!(count(&databases, tenant, by_customer(), "c-1").await.count, 2_500);
}

#[tokio::test]
async fn a_series_that_nobody_asks_about_is_removed_and_can_be_declared_again() {
    let database = TestDatabase::create().await;
    let databases = database.databases();
    let tenant = tenant(&databases).await;
    let by_customer_and_amount =
        AggregateQuery { selectors: vec![Selector::Customer, Selector::Amount], ..by_customer() };
    let both = [Series::of(&by_customer()), Series::of(&by_customer_and_amount)];
    declare(&databases, tenant, &both, NOW_MS).await;
    let journal = journal(databases.journal.clone()).await;
    let store = async |number: u64| {
        let decision = decision_on(
            tenant,
            &format!("key-{number}"),
            Outcome::Approve,
            NOW_MS - 1,
            order("c-1", 5, "EUR"),
        );
        drop(journal.store(decision).await.unwrap());
    };
    store(1).await;
    fill_in(&databases).await;

    // One is in use, and then both have been asked about since.
    let in_use = BTreeMap::from([(tenant, BTreeSet::from([both[1].clone()]))]);
    let remove =
        async |in_use, before_ms| series::remove_unused(&databases.system, in_use, before_ms).await.unwrap();
    assert_eq!(remove(&in_use, NOW_MS).await, 0);
    assert_eq!(remove(&in_use, NOW_MS + 1).await, 1);
    declare(&databases, tenant, &both[1..], NOW_MS + 7_200_000).await;
    assert_eq!(remove(&BTreeMap::new(), NOW_MS + 7_200_000).await, 0);

    store(2).await;
    let rows = async || -> i64 {
        let counting = sqlx::query_scalar("select count(*) from aggregate_values");
        counting.fetch_one(&mut database.superuser().await).await.unwrap()
    };
    assert_eq!(rows().await, 3, "the removed series has no row of the second payment");

    declare(&databases, tenant, &both[..1], NOW_MS).await;
    store(3).await;
    fill_in(&databases).await;
    assert_eq!(rows().await, 6);
    assert_eq!(count(&databases, tenant, by_customer(), "c-1").await.count, 3);
    assert_eq!(count(&databases, tenant, by_customer_and_amount, "c-1").await.count, 3);
}
