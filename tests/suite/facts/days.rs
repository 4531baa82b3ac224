//! Long windows, which are answered from roll-ups of days, held against a plain scan of the history.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use sqlx::PgConnection;
use tollgate::domain::aggregate::{AggregateQuery, PaymentFilter};
use tollgate::domain::decision::Decision;
use tollgate::domain::selector::{Counting, Fact, FactQuery, Selector};
use tollgate::domain::series::{AskedSeries, Series};
use tollgate::domain::tenant::TenantId;
use tollgate::domain::verdict::Outcome;
use tollgate::storage::databases::Databases;
use tollgate::storage::facts::FactReader;
use tollgate::storage::reference::ReferenceMemory;
use tollgate::storage::series::{self, Backfill, Rolling};

use super::aggregates::{
    DAY_MS, Draws, drawn_decision, drawn_query, fill_in, memory, plain_scan, store_by_fifty_clients,
    store_rates,
};
use super::windows::once_changed;
use super::{NOW_MS, declare, facts, payment_of, request, tenant, velocity};
use crate::support::database::TestDatabase;
use crate::support::decisions::{decision_on, journal, order};

const WINDOWS_MS: [u64; 12] = [
    3_600_000,
    DAY_MS,
    2 * DAY_MS,
    2 * DAY_MS + 1,
    3 * DAY_MS,
    30 * DAY_MS,
    33 * DAY_MS,
    64 * DAY_MS,
    100 * DAY_MS,
    200 * DAY_MS,
    365 * DAY_MS,
    400 * DAY_MS,
];

/// Small, so that most work takes several pages.
const PAGE: u16 = 40;

/// Rolls up until nothing is left.
async fn roll_up(databases: &Databases) {
    while series::roll_up(&databases.system, PAGE).await.unwrap() == Rolling::Page {}
}

/// Rolls up on two nodes at once, and is cut off at any point.
async fn roll_up_and_be_cut_off(databases: &Databases, memory: &Arc<ReferenceMemory>, draws: &mut Draws) {
    for _ in 0..10 {
        let both = async {
            tokio::join!(
                series::roll_up(&databases.system, PAGE),
                series::roll_up(&databases.system, PAGE),
                series::fill_in(&databases.system, memory, 1)
            )
        };
        drop(tokio::time::timeout(Duration::from_millis(1 + draws.below(12)), both).await);
    }
}

/// The time at which this many days before now are the last that is sealed.
fn sealing_ms(days_before: u64) -> u64 {
    NOW_MS - NOW_MS % DAY_MS + 6 * 3_600_000 - (days_before - 1) * DAY_MS
}

/// Payments come in the order of the draw, so most of them are late once their days are sealed.
struct LongHistory {
    databases: Databases,
    /// With connections of its own: what is cut off may still hold others for a moment.
    memory: Arc<ReferenceMemory>,
    tenant: TenantId,
    draws: Draws,
    queries: Vec<AggregateQuery>,
    asked: Vec<AskedSeries>,
}

impl LongHistory {
    /// A stage of the life of a database, while payments are stored.
    async fn stage(&mut self, stage: u64) {
        let Self { databases, memory, tenant, draws, asked, .. } = self;
        let (app, system) = (&databases.app, &databases.system);
        match stage {
            // Nothing is sealed.
            0 => {}
            1 => series::seal_days(system, sealing_ms(300)).await.unwrap(),
            2 => {
                // Some series become by day; the others are not yet.
                series::declare(app, *tenant, &asked[..asked.len() / 2], NOW_MS).await.unwrap();
            }
            3 => series::declare(app, *tenant, asked, NOW_MS).await.unwrap(),
            4 | 5 => {
                for days_before in (60 + (5 - stage) * 120..300 - (stage - 4) * 120).rev().step_by(7) {
                    series::seal_days(system, sealing_ms(days_before)).await.unwrap();
                    series::roll_up(system, PAGE).await.unwrap();
                }
            }
            6 => {
                let removed = series::remove_unused(system, &BTreeMap::new(), NOW_MS + 1).await.unwrap();
                assert!(removed > 0);
                series::declare(app, *tenant, asked, NOW_MS).await.unwrap();
            }
            _ => {
                let days_before = 62 - 7 * (stage - 6);
                series::seal_days(system, sealing_ms(days_before)).await.unwrap();
            }
        }
        roll_up_and_be_cut_off(databases, memory, draws).await;
    }

    /// Returns how many answers counted more than one payment.
    async fn assert_equals_a_plain_scan(&mut self, stage: u64, history: &[Decision]) -> u64 {
        let queries: Vec<FactQuery> =
            self.queries.iter().map(|query| FactQuery::Aggregate(Box::new(query.clone()))).collect();
        let mut counted = 0;
        for number in 0..6 {
            let order = drawn_decision(&mut self.draws, self.tenant, 0, 1).evidence.payment.order.clone();
            let mut asking = request(self.tenant, order, queries.clone());
            let days = self.draws.one_of(&[1, 2, 50, 300]);
            let at_midnight = self.draws.below(3) == 0;
            let at_ms = NOW_MS - self.draws.below(days * DAY_MS);
            payment_of(&mut asking).received_at_ms =
                if at_midnight { at_ms - at_ms % DAY_MS - self.draws.below(2) } else { at_ms };
            let found = facts(&self.databases, asking.clone()).await;
            for (query, found) in self.queries.iter().zip(&found) {
                assert_eq!(
                    *found,
                    plain_scan(history, &asking.payment, query),
                    "stage {stage}, payment {number} at {}: {query:?}",
                    asking.payment.received_at_ms
                );
                counted += u64::from(matches!(found, Fact::Aggregate(fact) if fact.count > 1));
            }
        }
        counted
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn long_windows_equal_a_plain_scan_at_every_stage_while_fifty_clients_write() {
    const STAGES: u64 = 10;
    let database = TestDatabase::create().await;
    let databases = database.databases();
    let tenant = tenant(&databases).await;
    let mut draws = Draws(0x2545_f491_4f6c_dd1d);
    let queries: Vec<AggregateQuery> = (0..40).map(|_| drawn_query(&mut draws, &WINDOWS_MS)).collect();
    let asked: Vec<FactQuery> =
        queries.iter().map(|query| FactQuery::Aggregate(Box::new(query.clone()))).collect();
    let series = Series::asked(&asked);
    let asked = AskedSeries::of(&asked);
    let history: Vec<Decision> =
        (0..2_000).map(|number| drawn_decision(&mut draws, tenant, number, 400)).collect();
    let journal = journal(databases.journal.clone()).await;
    let memory = memory(&database.databases());
    store_rates(&database, &databases, tenant).await;
    declare(&databases, tenant, &series, NOW_MS).await;
    let mut long = LongHistory { databases, memory: memory.clone(), tenant, draws, queries, asked };
    let share = history.len() / STAGES as usize;
    let mut counted = 0;
    for stage in 0..STAGES {
        let stored = share * stage as usize;
        let writing = store_by_fifty_clients(&journal, &memory, &history[stored..stored + share]);
        tokio::join!(long.stage(stage), writing);
        while series::fill_in(&long.databases.system, &memory, NOW_MS).await.unwrap() == Backfill::Page {}
        counted += long.assert_equals_a_plain_scan(stage, &history[..stored + share]).await;
    }
    assert!(counted > 600, "{counted}");
    roll_up(&long.databases).await;
    long.assert_equals_a_plain_scan(STAGES, &history).await;

    let left = "select (select count(*) from aggregate_values where received_day = 0),
                       (select count(*) from value_series where by_day and not is_rolled),
                       (select count(*) from aggregate_days)";
    let left: (i64, i64, i64) =
        sqlx::query_as(left).fetch_one(&mut database.superuser().await).await.unwrap();
    assert_eq!((left.0, left.1), (0, 0), "all is rolled up");
    assert!(left.2 > 600, "{left:?}");
}

fn by_customer(window_ms: u64) -> AggregateQuery {
    AggregateQuery {
        selectors: vec![Selector::Customer],
        window_ms,
        filter: PaymentFilter::default(),
        conversion: None,
        distinct: None,
        first_and_last: true,
    }
}

/// A tenant whose payments are rolled up by customer, up to yesterday.
async fn tenant_by_day(databases: &Databases) -> TenantId {
    let tenant = tenant(databases).await;
    let by_day = AskedSeries { series: Series::of(&by_customer(1)), by_day: true };
    series::declare(&databases.app, tenant, &[by_day], NOW_MS).await.unwrap();
    fill_in(databases).await;
    tenant
}

#[tokio::test]
async fn a_window_is_split_at_its_days_and_blocks_of_days_and_nothing_is_counted_twice() {
    let database = TestDatabase::create().await;
    let databases = database.databases();
    let tenant = tenant_by_day(&databases).await;
    let today = NOW_MS / DAY_MS;
    let journal = journal(databases.journal.clone()).await;
    // The first and the last payment of each of eighty days.
    let moments_ms: Vec<u64> =
        (today - 80..today).flat_map(|day| [day * DAY_MS, (day + 1) * DAY_MS - 1]).collect();
    let stored = moments_ms.iter().map(|at_ms| {
        let decision =
            decision_on(tenant, &at_ms.to_string(), Outcome::Approve, *at_ms, order("c-1", 1, "EUR"));
        async { journal.store(decision).await.unwrap() }
    });
    drop(join_all(stored).await);
    let received_ms = [NOW_MS, today * DAY_MS, today * DAY_MS - 1, (today - 40) * DAY_MS + 5];
    for sealed_before in [75, 33, 32, 31, 2, 1] {
        series::seal_days(&databases.system, sealing_ms(sealed_before)).await.unwrap();
        roll_up(&databases).await;
        for received_at_ms in received_ms {
            let begins_ms: Vec<u64> = (today - 81..today - 1)
                .flat_map(|day| [day * DAY_MS - 1, day * DAY_MS, day * DAY_MS + 1])
                .filter(|begin_ms| *begin_ms < received_at_ms)
                .collect();
            let queries = begins_ms
                .iter()
                .map(|begin_ms| velocity(Selector::Customer, received_at_ms - begin_ms, Counting::Submitted));
            let mut asked = request(tenant, order("c-1", 5, "EUR"), queries.collect());
            payment_of(&mut asked).received_at_ms = received_at_ms;
            for (begin_ms, fact) in begins_ms.iter().zip(facts(&databases, asked).await) {
                let is_counted = |at_ms: &&u64| **at_ms > *begin_ms && **at_ms <= received_at_ms;
                let count = moments_ms.iter().filter(is_counted).count() as u64;
                let expected = Fact::Velocity { count, total_minor: count.cast_signed() };
                assert_eq!(fact, expected, "sealed {sealed_before}, from {begin_ms} to {received_at_ms}");
            }
        }
    }
}

/// Row security keeps some conditions out of an index, and whole tables would be read.
#[tokio::test]
async fn a_long_window_is_read_from_the_index_of_roll_ups() {
    const LOOKUPS: i64 = 20;
    const PAGES: &str = "select sum(idx_blks_hit + idx_blks_read)::bigint from pg_statio_user_indexes
                         where relname ~ '^aggregate_(values_rest|days)'";
    let database = TestDatabase::create().await;
    let databases = database.databases();
    let tenant = tenant_by_day(&databases).await;
    let queries: Vec<FactQuery> =
        [30, 365].map(|days| FactQuery::Aggregate(Box::new(by_customer(days * DAY_MS)))).to_vec();
    let asked = request(tenant, order("c-1", 5, "EUR"), queries);
    let reader = FactReader::start(databases.facts.clone());
    // Postgres plans the statement while the tables are empty, as on the first day.
    reader.look_up(asked.clone()).await.unwrap();
    let mut superuser = database.superuser().await;
    let key = series::aggregate_key(tenant, &Series::of(&by_customer(1)), &asked.payment.order);
    let values = "insert into aggregate_values (tenant_id, value_key, received_day, received_at_ms,
                      payment_id, amount_minor, method, outcome, by_day)
                  select $1, case when n % 2 = 0 then $3 else md5(n::text)::uuid end,
                         ($2 - n * 500000::bigint) / 86400000, $2 - n * 500000::bigint, gen_random_uuid(), 1, 0, 0, true
                  from generate_series(1, 60000) n";
    sqlx::query(values).bind(tenant.0).bind(NOW_MS as i64).bind(key).execute(&mut superuser).await.unwrap();
    for statement in [
        // As after years in which day after day was sealed.
        "update value_series_log set sealed_day = 20300, rolled_day = 20300",
        "update value_series set is_rolled = true",
    ] {
        sqlx::raw_sql(statement).execute(&mut superuser).await.unwrap();
    }
    series::seal_days(&databases.system, sealing_ms(1)).await.unwrap();
    while series::roll_up(&databases.system, 5_000).await.unwrap() == Rolling::Page {}
    databases.system.close().await;
    databases.app.close().await;
    sqlx::raw_sql("select pg_stat_force_next_flush()").execute(&mut superuser).await.unwrap();
    // Connections tell their pages when they end: only that of the reader is left.
    let others = "select count(*) from pg_stat_activity
                  where pid <> pg_backend_pid() and datname = current_database()
                    and backend_type = 'client backend'";
    while sqlx::query_scalar::<_, i64>(others).fetch_one(&mut superuser).await.unwrap() > 1 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let pages = async |superuser: &mut PgConnection| -> i64 {
        sqlx::query_scalar(PAGES).fetch_one(superuser).await.unwrap()
    };
    let before = pages(&mut superuser).await;

    // Planning reads the ends of indexes once, so the statement is run more often.
    for _ in 1..LOOKUPS {
        reader.look_up(asked.clone()).await.unwrap();
    }
    let response = reader.look_up(asked).await.unwrap().facts;
    for (fact, days) in response.iter().zip([30, 365]) {
        let Fact::Aggregate(fact) = fact else { panic!("{fact:?}") };
        assert_eq!(
            fact.count,
            (1..=60_000).filter(|n| n % 2 == 0 && n * 500_000 < days * DAY_MS).count() as u64
        );
    }
    // Postgres updates the statistics of a connection soon after it ends.
    reader.stop().await;
    databases.facts.close().await;
    let after = once_changed(before, async || pages(&mut superuser).await).await;
    assert!((1..400 * LOOKUPS).contains(&(after - before)), "{before} {after}");
}
