//! Facts with a real Postgres: list membership and velocity.

use std::sync::Arc;

use tollgate::domain::comparison::ValueKind;
use tollgate::domain::list::ListKinds;
use tollgate::domain::payment::{Payment, PaymentId, PaymentOrder};
use tollgate::domain::selector::{Counting, Fact, FactQuery, Matching, Selector};
use tollgate::domain::series::{AskedSeries, Series};
use tollgate::domain::tenant::TenantId;
use tollgate::domain::verdict::Outcome;
use tollgate::storage::databases::Databases;
use tollgate::storage::facts::{FactRequest, KnownFacts, look_up, look_up_many};
use tollgate::storage::lists::{self, NewEntry, NewList};
use tollgate::storage::series;
use tollgate::storage::tenants::create_tenant;
use uuid::Uuid;

use crate::support::database::TestDatabase;
use crate::support::decisions::{decision_on, journal, now_ms, order};
use crate::support::lists::write_as_before;

mod aggregates;
mod days;
mod listed;
mod memory;
mod reader;
mod reference;
mod upgrade;
mod windows;

const NOW_MS: u64 = 1_790_000_000_000;

async fn tenant(databases: &Databases) -> TenantId {
    let tenant = TenantId(Uuid::now_v7());
    let name = format!("t{}", tenant.0.simple());
    create_tenant(&databases.system, tenant, &name, now_ms(), "test").await.unwrap();
    tenant
}

/// A tenant whose payments are counted by each of these selectors.
async fn counting_tenant(databases: &Databases) -> TenantId {
    let tenant = tenant(databases).await;
    let series: Vec<Series> = [
        Selector::Customer,
        Selector::DebtorName,
        Selector::DebtorAccount,
        Selector::DebtorBank,
        Selector::Ip,
        Selector::Card,
    ]
    .map(single)
    .to_vec();
    declare(databases, tenant, &series, NOW_MS).await;
    tenant
}

/// Declares series that no long window asks about.
async fn declare(databases: &Databases, tenant: TenantId, series: &[Series], now_ms: u64) {
    let asked = |series: &Series| AskedSeries { series: series.clone(), by_day: false };
    let asked: Vec<AskedSeries> = series.iter().map(asked).collect();
    series::declare(&databases.app, tenant, &asked, now_ms).await.unwrap();
}

/// What velocities of a selector count.
fn single(selector: Selector) -> Series {
    Series { selectors: vec![selector], conversion: None, distinct: None }
}

fn request(tenant: TenantId, order: PaymentOrder, queries: Vec<FactQuery>) -> FactRequest {
    FactRequest {
        tenant,
        payment: Arc::new(Payment { id: PaymentId(Uuid::now_v7()), received_at_ms: NOW_MS, order }),
        queries: queries.into(),
        in_flight: vec![],
        key: None,
        known: KnownFacts::default(),
    }
}

fn payment_of(request: &mut FactRequest) -> &mut Payment {
    Arc::make_mut(&mut request.payment)
}

fn list_query(list: &str, selector: Selector, matching: Matching) -> FactQuery {
    FactQuery::Listed { list: list.to_owned(), selector, matching }
}

fn velocity(selector: Selector, window_ms: u64, counting: Counting) -> FactQuery {
    FactQuery::Velocity { selector, window_ms, counting }
}

async fn facts(databases: &Databases, request: FactRequest) -> Vec<Fact> {
    look_up(&databases.app, request).await.unwrap().facts
}

async fn list_with(
    database: &TestDatabase,
    tenant: TenantId,
    name: &str,
    entries: &[(&str, u64, Option<u64>)],
) {
    empty_list(&database.databases(), tenant, ValueKind::Text, name).await;
    // With several kinds, like lists from before lists had a kind.
    let kinds = ListKinds::of([ValueKind::Account, ValueKind::Name, ValueKind::Text]).unwrap();
    for (value, valid_from_ms, valid_to_ms) in entries {
        add_long_ago(database, tenant, name, entry(&kinds, value, *valid_from_ms, *valid_to_ms)).await;
    }
}

async fn list_of(database: &TestDatabase, tenant: TenantId, kind: ValueKind, name: &str, value: &str) {
    empty_list(&database.databases(), tenant, kind, name).await;
    add_long_ago(database, tenant, name, entry(&ListKinds::one(kind), value, 0, None)).await;
}

/// Adds an entry with the times that it would have if it had been added before they began.
async fn add_long_ago(database: &TestDatabase, tenant: TenantId, list: &str, entry: NewEntry) {
    let (id, from_ms, to_ms) = (entry.id, entry.valid_from_ms, entry.valid_to_ms);
    lists::add_entry(&database.databases().app, tenant, list, entry, u32::MAX, "alice".into(), 0)
        .await
        .unwrap();
    let mut superuser = database.superuser().await;
    write_as_before(&mut superuser).await;
    sqlx::query("update list_entries set valid_from_ms = $2, valid_to_ms = $3 where id = $1")
        .bind(id)
        .bind(from_ms.cast_signed())
        .bind(to_ms.map(u64::cast_signed))
        .execute(&mut superuser)
        .await
        .unwrap();
}

async fn empty_list(databases: &Databases, tenant: TenantId, kind: ValueKind, name: &str) {
    let new = NewList {
        name: name.to_owned(),
        description: String::new(),
        kind,
        created_by: "admin".to_owned(),
        created_at_ms: 0,
    };
    lists::create(&databases.app, tenant, new, u32::MAX).await.unwrap();
}

fn entry(kinds: &ListKinds, value: &str, valid_from_ms: u64, valid_to_ms: Option<u64>) -> NewEntry {
    NewEntry {
        id: Uuid::now_v7(),
        value: value.to_owned(),
        forms: kinds.forms(value).unwrap(),
        reason: "test".to_owned(),
        valid_from_ms,
        valid_to_ms,
        added_by: "admin".to_owned(),
    }
}

/// Stores payments of customer c-1: (milliseconds before now, amount, currency, outcome).
async fn store(
    databases: &Databases,
    tenant: TenantId,
    payments: &[(u64, i64, &str, Outcome)],
) -> Vec<PaymentId> {
    let journal = journal(databases.journal.clone()).await;
    let mut ids = Vec::new();
    for (n, (before_ms, amount_minor, currency, outcome)) in payments.iter().enumerate() {
        let order = order("c-1", *amount_minor, currency);
        let decision = decision_on(tenant, &format!("key-{n}"), *outcome, NOW_MS - before_ms, order);
        ids.push(decision.id());
        journal.store(decision).await.unwrap();
    }
    journal.flush_and_stop().await;
    ids
}

#[tokio::test]
async fn a_bound_key_is_found_together_with_the_facts() {
    let database = TestDatabase::create().await;
    let databases = database.databases();
    let tenant = counting_tenant(&databases).await;
    let journal = journal(databases.journal.clone()).await;
    let decision = decision_on(tenant, "key", Outcome::Approve, NOW_MS, order("c-1", 5, "EUR"));
    journal.store(decision.clone()).await.unwrap();
    let mut asked = request(tenant, order("c-1", 5, "EUR"), vec![]);
    asked.key = Some((decision.client, decision.key.clone()));
    let bound = look_up(&databases.app, asked.clone()).await.unwrap().bound.unwrap();
    assert_eq!((bound.decision, bound.request_hash), (decision.id(), decision.request_hash));
    asked.tenant = self::counting_tenant(&databases).await;
    assert_eq!(look_up(&databases.app, asked).await.unwrap().bound, None, "another tenant's key");
}

/// Together the payments need more than one statement, since each prefix is a value to look up.
#[tokio::test]
async fn many_payments_in_one_query_get_the_same_facts_as_single_payments() {
    use Outcome::{Approve, Review};
    let database = TestDatabase::create().await;
    let databases = database.databases();
    let tenant = counting_tenant(&databases).await;
    let stored: Vec<_> =
        (0..30).map(|n| (n * 37, 10 + n as i64, "EUR", if n % 3 == 0 { Review } else { Approve })).collect();
    let ids = store(&databases, tenant, &stored).await;
    let entries = [
        ("c-1", NOW_MS - 500, None),
        ("c-2", NOW_MS - 900, Some(NOW_MS - 100)),
        ("José García", NOW_MS - 300, None),
    ];
    list_with(&database, tenant, "watched", &entries).await;
    let queries = [
        list_query("watched", Selector::Customer, Matching::Exact),
        velocity(Selector::Customer, 300, Counting::Submitted),
        list_query("watched", Selector::DebtorName, Matching::NormalizedName),
        velocity(Selector::Merchant, 300, Counting::Submitted),
        velocity(Selector::DebtorAccount, 5_000, Counting::Approved),
        list_query("watched", Selector::Metadata("long".to_owned()), Matching::Prefix),
    ];
    let requests: Vec<FactRequest> = (0..90)
        .map(|n: u64| {
            let mut order =
                order(&format!("c-{}", n % 3), 100, if n.is_multiple_of(7) { "USD" } else { "EUR" });
            order.metadata = vec![("long".to_owned(), "x".repeat(130))];
            let skipped = usize::try_from(n % 4).unwrap();
            let mut asked = request(tenant, order, queries[skipped..].to_vec());
            payment_of(&mut asked).received_at_ms = NOW_MS - n / 3 * 37;
            if n.is_multiple_of(2) {
                payment_of(&mut asked).id = ids[usize::try_from(n / 3).unwrap()];
            }
            asked
        })
        .collect();
    let mut one_by_one = Vec::new();
    for asked in &requests {
        one_by_one.push(facts(&databases, asked.clone()).await);
    }
    let at_once = look_up_many(&databases.system, requests).await.unwrap();
    let at_once: Vec<Vec<Fact>> = at_once.into_iter().map(|response| response.facts).collect();
    assert_eq!(at_once, one_by_one);
    let counted = at_once.iter().flatten().filter(|fact| matches!(fact, Fact::Velocity { count: 1.., .. }));
    assert!(counted.count() > 60);
    assert!(at_once.iter().flatten().filter(|fact| **fact == Fact::Listed(true)).count() > 20);
}

#[tokio::test]
async fn without_queries_the_database_is_not_used() {
    let database = TestDatabase::create().await;
    let databases = database.databases();
    databases.app.close().await;
    let query = velocity(Selector::Card, 1, Counting::Submitted);
    let asked = request(TenantId(Uuid::now_v7()), order("c-1", 5, "EUR"), vec![query]);
    let response = look_up(&databases.app, asked).await.unwrap();
    assert_eq!((response.facts, response.bound), (vec![Fact::Absent], None));
}
