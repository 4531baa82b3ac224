//! Nodes on machines whose clocks are wrong.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use reqwest::StatusCode;
use serde_json::json;
use tollgate::domain::time::{Clock, Machine, Monotonic};
use tollgate::world::{MonotonicClock, SystemClock};

use crate::support::database::TestDatabase;
use crate::support::program::TEST_TIMEOUT;
use crate::support::service::{Caller, Node, payment};

const HOUR_MS: i64 = 3_600_000;

/// A clock with an adjustable offset from the real one.
#[derive(Debug, Default)]
struct AdjustableClock(AtomicI64);

impl AdjustableClock {
    fn ms(ahead_ms: i64) -> Arc<Self> {
        Arc::new(Self(AtomicI64::new(ahead_ms)))
    }

    fn set_ms(&self, ahead_ms: i64) {
        self.0.store(ahead_ms, Ordering::SeqCst);
    }
}

impl Clock for AdjustableClock {
    fn now_ms(&self) -> u64 {
        SystemClock.now_ms().saturating_add_signed(self.0.load(Ordering::SeqCst))
    }
}

impl Monotonic for AdjustableClock {
    fn now_us(&self) -> u64 {
        MonotonicClock.now_us().saturating_add_signed(self.0.load(Ordering::SeqCst) * 1_000)
    }
}

async fn wait_for_ready_status(node: &Node, expected: StatusCode) {
    let begun = Instant::now();
    while reqwest::get(format!("{}/ready", node.url)).await.unwrap().status() != expected {
        assert!(begun.elapsed() < TEST_TIMEOUT, "/ready never answers {expected}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn received_at_ms(database: &TestDatabase) -> Vec<i64> {
    sqlx::query_scalar("select distinct received_at_ms from decisions order by 1")
        .fetch_all(&mut database.superuser().await)
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_holds_across_nodes_if_one_has_a_wrong_clock() {
    let database = TestDatabase::create().await;
    let right = Node::start(&database).await;
    // The monotonic clock of that machine is a day ahead.
    let (wrong_clock, monotonic) = (AdjustableClock::ms(2_000), AdjustableClock::ms(24 * HOUR_MS));
    let machine = Machine { system: wrong_clock.clone(), monotonic };
    let wrong = Node::start_on(&database, machine).await;
    let here = Caller::of_new_tenant(&right, "acme").await;
    let there = here.at(&wrong.url);
    let limit =
        json!({"selector": "customer", "window_seconds": 3_600, "max_count": 10, "verdict": "reject"});
    here.activate(&[("velocity", json!({"limits": [limit]}))]).await;
    let begun = Instant::now();
    while there.pay(&format!("follows-{:?}", begun.elapsed()), &payment()).await.1["revision"] != 1 {
        assert!(begun.elapsed() < TEST_TIMEOUT);
    }

    for (round, jumped_ms) in [2_000, HOUR_MS, -HOUR_MS, 2_000].into_iter().enumerate() {
        wrong_clock.set_ms(jumped_ms);
        let mut outcomes = Vec::new();
        let mut body = payment();
        body["customer"] = json!(format!("payer-{round}"));
        for place in 0..15 {
            let caller = if place % 2 == 0 { &there } else { &here };
            let (status, response) = caller.pay(&format!("{round}-{place}"), &body).await;
            assert_eq!(status, StatusCode::CREATED, "{response}");
            outcomes.push(response["outcome"].as_str().unwrap().to_owned());
        }
        let approved = outcomes.iter().filter(|outcome| *outcome == "approve").count();
        assert_eq!(approved, 10, "{jumped_ms} ms ahead: {outcomes:?}");
    }
    let times = received_at_ms(&database).await;
    let (first, last) = (times[0], times[times.len() - 1]);
    assert!(last - first < begun.elapsed().as_millis() as i64 + 1_000, "{first} {last}");

    let metrics = reqwest::get(format!("{}/metrics", wrong.url)).await.unwrap().text().await.unwrap();
    for name in ["tollgate_clock_offset_seconds", "tollgate_clock_error_seconds"] {
        assert!(metrics.contains(&format!("\n{name} ")), "{metrics}");
    }
    wrong.stop().await;
    right.stop().await;
}

/// This happens after a failover to a server whose clock is behind.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_ahead_of_its_database_is_not_ready_until_the_database_has_caught_up() {
    let database = TestDatabase::create().await;
    let monotonic = AdjustableClock::ms(0);
    let machine = Machine { system: Arc::new(SystemClock), monotonic: monotonic.clone() };
    let node = Node::start_on(&database, machine).await;
    let caller = Caller::of_new_tenant(&node, "acme").await;
    wait_for_ready_status(&node, StatusCode::OK).await;

    // The database is behind now: payments keep their order, and the node is not ready.
    monotonic.set_ms(3_000);
    caller.pay("ahead", &payment()).await;
    wait_for_ready_status(&node, StatusCode::SERVICE_UNAVAILABLE).await;
    let reported = reqwest::get(format!("{}/ready", node.url)).await.unwrap().text().await.unwrap();
    assert!(reported.contains("database time"), "{reported}");
    caller.pay("waiting", &payment()).await;
    wait_for_ready_status(&node, StatusCode::OK).await;
    caller.pay("after", &payment()).await;
    let by_id: Vec<i64> = sqlx::query_scalar("select received_at_ms from decisions order by id")
        .fetch_all(&mut database.superuser().await)
        .await
        .unwrap();
    assert!(by_id.is_sorted(), "{by_id:?}");
    assert_eq!(by_id.len(), 3);
    node.stop().await;
}
