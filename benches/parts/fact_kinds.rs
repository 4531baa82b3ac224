//! What each kind of question about earlier payments and lists costs, over a million payments of
//! thirty days. Each kind is asked in turn with the others.

use std::time::{Duration, Instant};

use futures::future::try_join_all;
use sqlx::PgConnection;
use tollgate::domain::aggregate::{AggregateQuery, PaymentFilter};
use tollgate::domain::payment_event::EventKind;
use tollgate::domain::selector::{Counting, FactQuery, Matching, Selector};
use tollgate::domain::series::Series;
use tollgate::domain::tenant::TenantId;
use tollgate::domain::verdict::Outcome;
use tollgate::storage::databases::Databases;
use tollgate::storage::facts::{FactReader, FactRequest, KnownFacts};
use tollgate::storage::series::aggregate_key;
use uuid::Uuid;

use super::history;
use super::payers::PAYERS;
use super::processor_time::ProcessTree;

const STORED: i64 = 1_000_000;
const LISTED: i32 = 30_000;
const ROUNDS: u64 = 100;
/// As many payments as a batch may have.
const TOGETHER: u64 = 64;
const DAY_MS: u64 = 86_400_000;

/// Rows of another series: the payments of each customer with the shop of each.
const DISTINCT: &str = "
    insert into aggregate_values (tenant_id, value_key, received_day, received_at_ms, payment_id,
                                  amount_minor, method, outcome, distinct_key, by_day)
    select v.tenant_id, other.value_key, v.received_day, v.received_at_ms, v.payment_id,
           v.amount_minor, v.method, v.outcome, hashtext(v.payment_id::text) % 1000, false
    from aggregate_values v
    join unnest($1::uuid[], $2::uuid[]) as other (known, value_key) on other.known = v.value_key";

const LIST: &str = "
    with made as (
        insert into lists (tenant_id, name, description, kinds, created_by, created_at_ms)
        values ($1, 'measured', '', '{account}', 'bench', 0) returning name)
    insert into list_entries (tenant_id, list, id, value, comparable, normalized_name, reason, valid_from_ms,
                              added_by, comparison_version)
    select $1, made.name, gen_random_uuid(), 'listed-' || n, 'listed-' || n, 'listed ' || n, 'bench', 0, 'bench', 2
    from made, generate_series(1, $2) n";

/// One in a hundred payments was reported as fraud.
const EVENTS: &str = "
    insert into payment_events (tenant_id, id, payment_id, kind, at_ms, recorded_at_ms, actor, note)
    select tenant_id, gen_random_uuid(), id, 'fraud', received_at_ms, received_at_ms, 'bench', ''
    from decisions where batch_position = 7 and tenant_id = $1";

struct Kind {
    name: &'static str,
    query: FactQuery,
    alone: Vec<Duration>,
    together_us: Vec<f64>,
    postgres_us: Vec<f64>,
}

pub async fn measure(
    databases: &Databases,
    superuser: &mut PgConnection,
    postgres: ProcessTree,
    tenant: TenantId,
) {
    history::add(superuser, &[tenant], 0, STORED).await;
    store_the_rest(superuser, tenant).await;
    let mut kinds = kinds();
    let reader = FactReader::start(databases.facts.clone());
    for round in 0..ROUNDS {
        for kind in &mut kinds {
            let begun = Instant::now();
            ask(&reader, tenant, round, kind.query.clone()).await;
            kind.alone.push(begun.elapsed());
        }
        for kind in &mut kinds {
            let (begun, used) = (Instant::now(), postgres.used());
            let asked = (0..TOGETHER).map(|place| {
                let request = request(tenant, round * TOGETHER + place, kind.query.clone());
                reader.look_up(request)
            });
            try_join_all(asked).await.unwrap();
            kind.together_us.push(begun.elapsed().as_secs_f64() * 1e6 / TOGETHER as f64);
            kind.postgres_us.push((postgres.used() - used).as_secs_f64() * 1e6 / TOGETHER as f64);
        }
    }
    reader.stop().await;
    println!("\none question of each kind, {STORED} payments of 30 days, {ROUNDS} rounds");
    println!("{:42} | alone: median us | of {TOGETHER} together: median us  mean us of Postgres", "");
    for Kind { name, mut alone, mut together_us, postgres_us, .. } in kinds {
        alone.sort_unstable();
        together_us.sort_unstable_by(f64::total_cmp);
        let mean = postgres_us.iter().sum::<f64>() / postgres_us.len() as f64;
        let (alone, together) = (alone[alone.len() / 2].as_micros(), together_us[together_us.len() / 2]);
        println!("{name:42} | {alone:16} | {together:25.1}  {mean:19.1}");
    }
}

async fn store_the_rest(superuser: &mut PgConnection, tenant: TenantId) {
    let customer = Series { selectors: vec![Selector::Customer], conversion: None, distinct: None };
    let with_shops = Series { distinct: Some(Selector::Merchant), ..customer.clone() };
    let key = |series: &Series, payer: u64| {
        aggregate_key(tenant, series, &history::order_of(payer, payer)).unwrap()
    };
    let known: Vec<Uuid> = (0..PAYERS).map(|payer| key(&customer, payer)).collect();
    let others: Vec<Uuid> = (0..PAYERS).map(|payer| key(&with_shops, payer)).collect();
    sqlx::query(DISTINCT).bind(known).bind(others).execute(&mut *superuser).await.unwrap();
    // Without triggers, since the entries are to be valid since ever and not in two seconds.
    sqlx::raw_sql("set session_replication_role = replica").execute(&mut *superuser).await.unwrap();
    sqlx::query(LIST).bind(tenant.0).bind(LISTED).execute(&mut *superuser).await.unwrap();
    sqlx::raw_sql("reset session_replication_role").execute(&mut *superuser).await.unwrap();
    sqlx::query(EVENTS).bind(tenant.0).execute(&mut *superuser).await.unwrap();
    history::settle(superuser).await;
}

async fn ask(reader: &FactReader, tenant: TenantId, payer: u64, query: FactQuery) {
    reader.look_up(request(tenant, payer, query)).await.unwrap();
}

fn request(tenant: TenantId, payer: u64, query: FactQuery) -> FactRequest {
    let payment = super::payment(payer * 7_919 % PAYERS).into();
    FactRequest {
        tenant,
        payment,
        queries: vec![query].into(),
        in_flight: vec![],
        key: None,
        known: KnownFacts::default(),
    }
}

fn kinds() -> Vec<Kind> {
    let velocity = |days: u64| FactQuery::Velocity {
        selector: Selector::Customer,
        window_ms: days * DAY_MS,
        counting: Counting::Submitted,
    };
    let numbers = |days: u64| AggregateQuery {
        selectors: vec![Selector::Customer],
        window_ms: days * DAY_MS,
        filter: PaymentFilter::default(),
        conversion: None,
        distinct: None,
        first_and_last: false,
    };
    let aggregate = |query: AggregateQuery| FactQuery::Aggregate(Box::new(query));
    let filtered = |filter: PaymentFilter| aggregate(AggregateQuery { filter, ..numbers(30) });
    let listed = |matching: Matching| FactQuery::Listed {
        list: "measured".to_owned(),
        selector: Selector::DebtorAccount,
        matching,
    };
    let all = [
        ("velocity of a day", velocity(1)),
        ("velocity of 30 days", velocity(30)),
        ("count, sum, extremes, squares; 30 days", aggregate(numbers(30))),
        (
            "... of amounts in a range",
            filtered(PaymentFilter {
                amount_at_least: Some(1_100),
                amount_below: Some(1_300),
                ..PaymentFilter::default()
            }),
        ),
        (
            "... of one outcome",
            filtered(PaymentFilter { outcomes: vec![Outcome::Approve], ..PaymentFilter::default() }),
        ),
        (
            "... with a later event",
            filtered(PaymentFilter { event: Some(EventKind::Fraud), ..PaymentFilter::default() }),
        ),
        (
            "... and distinct values",
            aggregate(AggregateQuery { distinct: Some(Selector::Merchant), ..numbers(30) }),
        ),
        ("... and first and last payment", aggregate(AggregateQuery { first_and_last: true, ..numbers(30) })),
        ("list of 30,000, in the database", listed(Matching::Exact)),
    ];
    let kind = |(name, query)| {
        let (alone, together_us, postgres_us) = (Vec::new(), Vec::new(), Vec::new());
        Kind { name, query, alone, together_us, postgres_us }
    };
    all.into_iter().map(kind).collect()
}
