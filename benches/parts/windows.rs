//! The cost of short and long windows, with and without roll-ups, in alternating turns.
//!
//! A million payments of a year, stored in SQL in the form that the journal writes: a thousand
//! payers, of whom the first has a tenth of all payments.

use std::sync::Arc;
use std::time::{Duration, Instant};

use sqlx::{AssertSqlSafe, PgConnection};
use tollgate::domain::selector::{Counting, FactQuery, Selector};
use tollgate::domain::series::{AskedSeries, Series};
use tollgate::domain::tenant::TenantId;
use tollgate::storage::databases::Databases;
use tollgate::storage::facts::{FactReader, FactRequest, KnownFacts};
use tollgate::storage::reference::ReferenceMemory;
use tollgate::storage::series::{self, Backfill, Rolling, aggregate_key};
use uuid::Uuid;

use super::history;

const STORED: i64 = 1_000_000;
const PAYERS: u64 = 1_000;
const ROUNDS: u64 = 200;
const WINDOWS_DAYS: [u64; 3] = [1, 30, 365];
const DAY_MS: u64 = 86_400_000;

const VALUES: &str = "
    insert into aggregate_values (tenant_id, value_key, received_day, received_at_ms, payment_id,
                                  amount_minor, method, outcome, by_day)
    select $1, ($2::uuid[])[case when n % 10 = 0 then 1 else 1 + n * 7919 % cardinality($2) end],
           at_ms / 86400000, at_ms, gen_random_uuid(), 1000 + n % 500, n % 3, n % 2, true
    from (select n, $3 - 60000 - n * (365 * 86400000::bigint / $4) as at_ms from generate_series(1, $4) n) numbers";

pub async fn measure(databases: &Databases, superuser: &mut PgConnection, tenant: TenantId) {
    let series = Series { selectors: vec![Selector::Customer], conversion: None, distinct: None };
    let key = |payer: u64| aggregate_key(tenant, &series, &history::order_of(payer, 0)).unwrap();
    let keys: Vec<Uuid> = (0..PAYERS).map(key).collect();
    let now_ms = super::payment(0).received_at_ms;
    for days in (0..13).map(|month| month * 30) {
        let partition = format!("select ensure_aggregate_partition((now() - interval '{days} days')::date)");
        sqlx::raw_sql(AssertSqlSafe(partition)).execute(&mut *superuser).await.unwrap();
    }
    sqlx::query(VALUES)
        .bind(tenant.0)
        .bind(keys)
        .bind(now_ms as i64)
        .bind(STORED)
        .execute(&mut *superuser)
        .await
        .unwrap();
    // So that all of its days are rolled up as days that are over are.
    run(superuser, "update value_series_log set (sealed_day, rolled_day) = (now()::date - '1970-01-01'::date - 367, now()::date - '1970-01-01'::date - 367)").await;
    let asked = AskedSeries { series: series.clone(), by_day: true };
    series::declare(&databases.app, tenant, &[asked], now_ms).await.unwrap();
    let memory = Arc::new(ReferenceMemory::new(databases, 1 << 20));
    while series::fill_in(&databases.system, &memory, now_ms).await.unwrap() == Backfill::Page {}
    series::seal_days(&databases.system, now_ms).await.unwrap();
    let begun = Instant::now();
    while series::roll_up(&databases.system, 5_000).await.unwrap() == Rolling::Page {}
    println!("\nrolling up {STORED} payments of a year: {:.1} s", begun.elapsed().as_secs_f64());
    history::settle(superuser).await;
    let sizes: (i64, i64, i64) = sqlx::query_as(
        "select count(*), pg_table_size('aggregate_days'), pg_indexes_size('aggregate_days') from aggregate_days",
    )
    .fetch_one(&mut *superuser)
    .await
    .unwrap();
    println!("{} roll-ups; table {} kB, indexes {} kB", sizes.0, sizes.1 / 1024, sizes.2 / 1024);
    println!("median us of a look-up | 1 day  30 days  365 days | busiest payer: 1 day  30 days  365 days");
    for turn in 0..4 {
        let is_rolled = turn % 2 == 1;
        run(superuser, &format!("update value_series set is_rolled = {is_rolled} where by_day")).await;
        let reader = FactReader::start(databases.facts.clone());
        let mut medians = Vec::new();
        for busiest in [false, true] {
            medians.extend(turns(&reader, tenant, busiest).await);
        }
        reader.stop().await;
        let what = if is_rolled { "rolled up" } else { "one by one" };
        let us: Vec<String> = medians.iter().map(|median| format!("{:8}", median.as_micros())).collect();
        println!("{what:22} | {}", us.join(" "));
    }
}

/// The median time of each window, asked in turn.
async fn turns(reader: &FactReader, tenant: TenantId, busiest: bool) -> Vec<Duration> {
    let mut times: Vec<Vec<Duration>> = vec![Vec::new(); WINDOWS_DAYS.len()];
    for round in 0..ROUNDS {
        for (times, days) in times.iter_mut().zip(WINDOWS_DAYS) {
            let payer = if busiest { 0 } else { 1 + round * 37 % (PAYERS - 1) };
            let query = FactQuery::Velocity {
                selector: Selector::Customer,
                window_ms: days * DAY_MS,
                counting: Counting::Submitted,
            };
            let request = FactRequest {
                tenant,
                payment: super::payment(payer).into(),
                queries: vec![query].into(),
                in_flight: vec![],
                key: None,
                known: KnownFacts::default(),
            };
            let begun = Instant::now();
            reader.look_up(request).await.unwrap();
            times.push(begun.elapsed());
        }
    }
    let median = |times: &mut Vec<Duration>| {
        times.sort_unstable();
        times[times.len() / 2]
    };
    times.iter_mut().map(median).collect()
}

async fn run(superuser: &mut PgConnection, statement: &str) {
    sqlx::raw_sql(AssertSqlSafe(statement.to_owned())).execute(superuser).await.unwrap();
}
