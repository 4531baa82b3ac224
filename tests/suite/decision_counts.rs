//! Counts of decisions by outcome and time: each decision once, whoever counts it and however late.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use reqwest::StatusCode;
use serde_json::Value;
use tokio_util::sync::CancellationToken;
use tollgate::app::tenants::tenant_of;
use tollgate::decisions::search_index::SearchIndex;
use tollgate::domain::decision::{Decision, Origin};
use tollgate::domain::outcome_counts::{OutcomeCounts, SpanCounts, Step};
use tollgate::domain::tenant::TenantId;
use tollgate::domain::verdict::Outcome;
use tollgate::storage::databases::Databases;
use tollgate::storage::decision_counts::read;
use tollgate::storage::journal::Journal;
use tollgate::storage::search::are_all_counted;
use uuid::Uuid;

use crate::retention::OldHistory;
use crate::search::model::{DAY_MS, Random};
use crate::support::database::TestDatabase;
use crate::support::decisions::{decision_on, index_everything, journal, now_ms, order};
use crate::support::feed_client::FeedClient;
use crate::support::program::TEST_TIMEOUT;
use crate::support::service::{Caller, Node, payment};

const MINUTE_MS: u64 = 60_000;

fn decided(tenant: TenantId, at_ms: u64, outcome: Outcome) -> Decision {
    decision_on(tenant, &Uuid::now_v7().to_string(), outcome, at_ms, order("c-1", 100, "EUR"))
}

async fn counts(databases: &Databases, tenant: TenantId, step: Step) -> OutcomeCounts {
    read(&databases.app, tenant, (0, 30_000 * DAY_MS), step).await.unwrap()
}

/// What should be counted, from the decisions themselves.
fn expected(stored: &[Decision], tenant: TenantId, step: Step) -> Vec<SpanCounts> {
    let mut spans: BTreeMap<u64, SpanCounts> = BTreeMap::new();
    for decision in stored.iter().filter(|one| one.tenant == tenant && one.origin == Origin::Api) {
        let from_ms = decision.id().at_ms() / step.ms() * step.ms();
        let span = spans.entry(from_ms).or_insert(SpanCounts { from_ms, ..SpanCounts::default() });
        match decision.outcome {
            Outcome::Approve => span.approve += 1,
            Outcome::Review => span.review += 1,
            Outcome::Reject => span.reject += 1,
        }
    }
    spans.into_values().collect()
}

async fn assert_counted(databases: &Databases, stored: &[Decision], tenants: &[TenantId]) {
    for tenant in tenants {
        for step in Step::ALL {
            let found = counts(databases, *tenant, step).await.spans;
            assert_eq!(found, expected(stored, *tenant, step), "{step:?} of {tenant}");
        }
    }
}

async fn follower(database: &TestDatabase, journal: &Arc<Journal>) -> SearchIndex {
    let databases = database.databases();
    let (system, app) = (databases.system, databases.app);
    SearchIndex::open(system, app, journal.clone(), tollgate::world::system()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn decisions_of_several_writers_are_counted_by_their_time_and_imported_ones_are_not() {
    let database = TestDatabase::create().await;
    let databases = database.databases();
    let mut random = Random::new(21);
    let journals = [journal(databases.journal.clone()).await, journal(databases.journal.clone()).await];
    let mut stored = Vec::new();
    for round in 0..6 {
        for _ in 0..20 {
            let decision = random.decision();
            journals[random.below(2) as usize].store(decision.clone()).await.unwrap();
            stored.push(decision);
        }
        // Later batches have earlier times too.
        index_everything(&databases.system).await;
        assert!(are_all_counted(&databases.system).await.unwrap(), "round {round}");
        assert_counted(&databases, &stored, &random.tenants).await;
    }
}

/// The work is dropped at a random moment, its connections are killed by the server, and another
/// process goes on.
#[tokio::test(flavor = "multi_thread")]
async fn a_follower_that_is_killed_again_and_again_counts_each_decision_once() {
    let database = TestDatabase::create().await;
    let mut random = Random::new(22);
    let journal = Arc::new(journal(database.databases().journal).await);
    let mut stored = Vec::new();
    for _ in 0..15 {
        let follower = follower(&database, &journal).await;
        let working = tokio::spawn(async move { follower.work(CancellationToken::new()).await });
        for _ in 0..8 {
            let decision = random.decision();
            journal.store(decision.clone()).await.unwrap();
            stored.push(decision);
        }
        tokio::time::sleep(Duration::from_millis(random.below(30))).await;
        working.abort();
        let killed = "select count(pg_terminate_backend(pid)) from pg_stat_activity
                      where datname = current_database() and usename = 'tollgate_system'";
        sqlx::query(killed).execute(&mut database.superuser().await).await.unwrap();
    }
    let databases = database.databases();
    index_everything(&databases.system).await;
    assert_counted(&databases, &stored, &random.tenants).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_release_without_counts_has_indexed_is_counted_later_beside_new_decisions() {
    let database = TestDatabase::create().await;
    let databases = database.databases();
    let mut random = Random::new(23);
    let journal = Arc::new(journal(databases.journal.clone()).await);
    let mut stored = Vec::new();
    for _ in 0..30 {
        let decision = random.decision();
        journal.store(decision.clone()).await.unwrap();
        stored.push(decision);
    }
    index_everything(&databases.system).await;
    let as_before = "delete from decision_counts; update search_progress set counted = 0";
    sqlx::raw_sql(as_before).execute(&mut database.superuser().await).await.unwrap();
    assert!(!are_all_counted(&databases.system).await.unwrap());

    let (follower, end) = (follower(&database, &journal).await, CancellationToken::new());
    let working = tokio::spawn({
        let end = end.clone();
        async move { follower.work(end).await }
    });
    for _ in 0..30 {
        let decision = random.decision();
        journal.store(decision.clone()).await.unwrap();
        stored.push(decision);
    }
    let begun = Instant::now();
    while counts(&databases, random.tenants[0], Step::Day).await.spans
        != expected(&stored, random.tenants[0], Step::Day)
    {
        assert!(begun.elapsed() < TEST_TIMEOUT, "not counted");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    end.cancel();
    working.await.unwrap();
    index_everything(&databases.system).await;
    assert_counted(&databases, &stored, &random.tenants).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_time_from_receiving_to_storing_is_counted_by_the_node_that_stored() {
    let database = TestDatabase::create().await;
    let databases = database.databases();
    let tenant = TenantId(Uuid::from_u128(5));
    let journal = Arc::new(journal(databases.journal.clone()).await);
    let (follower, end) = (follower(&database, &journal).await, CancellationToken::new());
    assert!(journal.take_committed().is_empty(), "from now on batches are kept");
    let now_ms = now_ms();
    for ago_ms in [0, 0, 60_000] {
        journal.store(decided(tenant, now_ms - ago_ms, Outcome::Approve)).await.unwrap();
    }
    let working = tokio::spawn({
        let end = end.clone();
        async move { follower.work(end).await }
    });
    let begun = Instant::now();
    let counted = loop {
        let found = counts(&databases, tenant, Step::Day).await;
        if found.durations.total() == 3 {
            break found;
        }
        assert!(begun.elapsed() < TEST_TIMEOUT, "{found:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    assert_eq!(counted.durations.percentile(99), Some(10_000), "the longest bound");
    assert_ne!(counted.durations.percentile(50), Some(10_000));
    end.cancel();
    working.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_counts_what_is_settled_and_the_feed_goes_on_from_there_without_a_gap() {
    let database = TestDatabase::create().await;
    let node = Node::start_with(&database, &[("deadline_ms", serde_json::json!(20_000))]).await;
    let caller = Caller::of_new_tenant(&node, "acme").await;
    let tenant = tenant_of(&node.databases.system, "acme").await.unwrap();
    let journal = journal(node.databases.journal.clone()).await;
    let long_ago_ms = now_ms() - 5 * MINUTE_MS;
    for place in 0..4 {
        let mut decision = decided(tenant, long_ago_ms + place, Outcome::Review);
        decision.evidence.reasons = decision.evidence.fold().reasons;
        journal.store(decision).await.unwrap();
    }
    index_everything(&node.databases.system).await;
    let (status, paid) = caller.pay("k", &payment()).await;
    assert_eq!(status, StatusCode::CREATED, "{paid}");

    let (status, counts) = caller.get("/decisions/counts").await;
    assert_eq!((status, &counts["complete"]), (StatusCode::OK, &Value::Bool(true)), "{counts}");
    let sum = |name: &str| -> u64 {
        counts["items"].as_array().unwrap().iter().filter_map(|item| item[name].as_u64()).sum()
    };
    assert_eq!(["approve", "review", "reject"].map(sum), [0, 4, 0]);
    let to_ms = counts["to_ms"].as_u64().unwrap();
    assert!(to_ms > long_ago_ms && to_ms <= now_ms() && to_ms % 10_000 == 0);
    let items = counts["items"].as_array().unwrap();
    let from: Vec<u64> = items.iter().filter_map(|item| item["from_ms"].as_u64()).collect();
    assert!(from.iter().all(|from_ms| from_ms % MINUTE_MS == 0) && from.len() >= 60, "{from:?}");
    assert!(from.windows(2).all(|pair| pair[1] - pair[0] == MINUTE_MS));

    let mut feed = FeedClient::open_after(&caller, counts["last_event_id"].as_str()).await;
    let event = loop {
        let event = feed.next_within(TEST_TIMEOUT).await.expect("an event");
        if event.name == "decision" && event.data["received_at_ms"].as_u64().unwrap() >= to_ms {
            break event;
        }
    };
    assert_eq!(event.data["id"], paid["id"], "what is not counted comes from the feed");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_time_in_too_many_steps_is_refused_and_a_longer_one_is_cut() {
    let database = TestDatabase::create().await;
    let node = Node::start(&database).await;
    let caller = Caller::of_new_tenant(&node, "acme").await;
    let day_ms = now_ms() - DAY_MS;
    for (query, parameter) in [
        ("step=1w".to_owned(), "step"),
        (format!("from_ms={day_ms}&step=10s"), "step"),
        ("from_ms=0".to_owned(), "step"),
    ] {
        let (status, problem) = caller.get(&format!("/decisions/counts?{query}")).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{query}");
        assert_eq!(problem["errors"][0]["parameter"], parameter, "{problem}");
    }
    let (_, counts) = caller.get("/decisions/counts?from_ms=0&step=1d").await;
    assert!((7..=8).contains(&counts["items"].as_array().unwrap().len()), "seven days: {counts}");
    for query in [format!("from_ms={day_ms}&step=15m"), "to_ms=1000".to_owned(), String::new()] {
        let (status, counts) = caller.get(&format!("/decisions/counts?{query}")).await;
        assert_eq!(status, StatusCode::OK, "{query}: {counts}");
    }
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_counts_of_removed_months_are_removed() {
    let history = OldHistory::new().await;
    let databases = history.database.databases();
    index_everything(&databases.system).await;
    let sum = async |tenant| -> u64 {
        let found = counts(&databases, tenant, Step::Day).await;
        found.spans.iter().map(|span| span.approve + span.review + span.reject).sum()
    };
    assert_eq!((sum(history.limited).await, sum(history.unlimited).await), (6, 6));
    history.keep(Some(1)).await;
    history.remove_all().await;
    assert_eq!((sum(history.limited).await, sum(history.unlimited).await), (2, 6));
}
