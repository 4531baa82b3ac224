//! Concurrent payments on one node.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use reqwest::StatusCode;
use serde_json::json;
use sqlx::{Connection, PgConnection};

use crate::support::database::TestDatabase;
use crate::support::program::TEST_TIMEOUT;
use crate::support::service::{Caller, Node, payment};

const LIMIT: usize = 10;

/// Cancels look-ups of facts until this many payments have failed.
async fn cancel_until(database: &TestDatabase, failed: &AtomicUsize, expected: usize) {
    let mut connection = database.superuser().await;
    let begun = Instant::now();
    while failed.load(Ordering::SeqCst) < expected {
        sqlx::query(
            "select pg_cancel_backend(pid) from pg_stat_activity
             where datname = current_database() and wait_event_type = 'Lock' and pid <> pg_backend_pid()",
        )
        .execute(&mut connection)
        .await
        .unwrap();
        assert!(begun.elapsed() < TEST_TIMEOUT, "{failed:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn failed_payments_are_not_counted_by_later_payments() {
    let database = TestDatabase::create().await;
    let node = Node::start_with(&database, &[("deadline_ms", json!(60_000))]).await;
    let caller = Caller::of_new_tenant(&node, "acme").await;
    let limit =
        json!({"selector": "customer", "window_seconds": 3_600, "max_count": LIMIT, "verdict": "reject"});
    caller.activate(&[("velocity", json!({"limits": [limit]}))]).await;

    // No facts are looked up while this lock is held, so all payments are in flight.
    let mut locking: PgConnection = database.superuser().await;
    let mut lock = locking.begin().await.unwrap();
    sqlx::query("lock table aggregate_values in access exclusive mode").execute(&mut *lock).await.unwrap();
    let failed = Arc::new(AtomicUsize::new(0));
    let paying: Vec<_> = (0..2 * LIMIT)
        .map(|place| {
            let (caller, failed) = (caller.clone(), failed.clone());
            tokio::spawn(async move {
                let (status, response) = caller.pay(&format!("k{place}"), &payment()).await;
                if status.is_server_error() {
                    failed.fetch_add(1, Ordering::SeqCst);
                    return None;
                }
                assert_eq!(status, StatusCode::CREATED, "{response}");
                Some(response)
            })
        })
        .collect();
    cancel_until(&database, &failed, LIMIT).await;
    lock.rollback().await.unwrap();

    let mut answered = Vec::new();
    for payment in paying {
        answered.extend(payment.await.unwrap());
    }
    assert!((1..=LIMIT).contains(&answered.len()), "{}", answered.len());
    for response in answered {
        assert_eq!(response["outcome"], "approve", "{response}");
    }
    // Each decision replays with the facts of its last look-up.
    node.stop().await;
}
