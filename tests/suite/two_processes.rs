//! Two processes on one database.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use futures::future::join_all;
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::support::database::TestDatabase;
use crate::support::program::{Program, TEST_TIMEOUT};
use crate::support::service::{Caller, payment, payment_with};

async fn start_two(database: &TestDatabase) -> [Program; 2] {
    let (first, second) = tokio::join!(Program::serve(database), Program::serve(database));
    [first, second]
}

fn velocity(max_count: u64) -> (&'static str, Value) {
    let limit = json!({
        "selector": "customer", "window_seconds": 3_600, "max_count": max_count, "verdict": "reject"
    });
    ("velocity", json!({"limits": [limit]}))
}

/// Waits until a new payment at this node has this outcome.
async fn wait_for_outcome(caller: &Caller, what: &str, outcome: &str) {
    let begun = Instant::now();
    for attempt in 0.. {
        let body = payment_with(&json!({"customer": format!("{what}-{attempt}")}));
        let (status, response) = caller.pay(&format!("{what}-{attempt}"), &body).await;
        assert_eq!(status, StatusCode::CREATED, "{response}");
        if response["outcome"] == outcome {
            return;
        }
        assert!(begun.elapsed() < TEST_TIMEOUT, "{what}: {response}");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

async fn fifty_retries(callers: &[Caller; 2], key: &str) -> Vec<(StatusCode, Value)> {
    let body = payment_with(&json!({"customer": key}));
    join_all((0..50).map(|place| callers[place % 2].pay(key, &body))).await
}

async fn rows_of_key(database: &TestDatabase, key: &str) -> (i64, i64) {
    let mut superuser = database.superuser().await;
    sqlx::query_as(
        "select (select count(*) from decisions where idempotency_key = $1),
                (select count(*) from idempotency_keys where key = $1)",
    )
    .bind(key)
    .fetch_one(&mut superuser)
    .await
    .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_concurrent_retries_of_a_key_on_two_processes_give_one_decision() {
    let database = TestDatabase::create().await;
    let programs = start_two(&database).await;
    let caller = programs[0].caller_of_new_tenant(&database, "acme").await;
    let callers = [caller.clone(), caller.at(&programs[1].url)];
    for with_velocity in [false, true] {
        if with_velocity {
            // The limit is one payment. If retries were counted, the payment would be rejected.
            caller.activate(&[velocity(1)]).await;
            wait_for_outcome(&callers[1], "follows", "approve").await;
        }
        for round in 0..4 {
            let key = format!("key-{with_velocity}-{round}");
            let responses = fifty_retries(&callers, &key).await;
            let bodies: BTreeSet<String> = responses.iter().map(|(_, body)| body.to_string()).collect();
            assert_eq!(bodies.len(), 1, "{bodies:#?}");
            let mut statuses = BTreeMap::new();
            for (status, _) in &responses {
                *statuses.entry(status.as_u16()).or_insert(0) += 1;
            }
            assert_eq!(statuses, BTreeMap::from([(200, 49), (201, 1)]), "{bodies:#?}");
            let expected = if with_velocity { "approve" } else { "review" };
            assert_eq!(responses[0].1["outcome"], expected, "{bodies:#?}");
            assert_eq!(rows_of_key(&database, &key).await, (1, 1));
        }
    }
    crate::journal::chain::verify(&database).await;
    for program in programs {
        program.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn different_keys_on_two_processes_get_different_decisions() {
    let database = TestDatabase::create().await;
    let programs = start_two(&database).await;
    let caller = programs[0].caller_of_new_tenant(&database, "acme").await;
    let callers = [caller.clone(), caller.at(&programs[1].url)];
    let body = payment();
    let responses = join_all((0..100).map(|place| {
        let (caller, body) = (&callers[place % 2], &body);
        async move { caller.pay(&format!("key-{place}"), body).await }
    }))
    .await;
    let ids: BTreeSet<&str> = responses.iter().filter_map(|(_, body)| body["id"].as_str()).collect();
    assert!(responses.iter().all(|(status, _)| *status == StatusCode::CREATED), "{responses:#?}");
    assert_eq!(ids.len(), 100);
    // Each process finds the payments that the other has stored.
    for (place, (_, response)) in responses.iter().enumerate() {
        let path = format!("/payments/{}", response["id"].as_str().unwrap());
        let (status, mut found) = callers[(place + 1) % 2].get(&path).await;
        // What became of it is not part of the response to the submission.
        found.as_object_mut().unwrap().remove("review");
        assert_eq!((status, &found), (StatusCode::OK, response));
    }
    assert_eq!(crate::journal::chain::verify(&database).await, 100);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_activation_on_one_process_takes_effect_on_the_other() {
    let database = TestDatabase::create().await;
    let programs = start_two(&database).await;
    let caller = programs[0].caller_of_new_tenant(&database, "acme").await;
    let other = caller.at(&programs[1].url);
    wait_for_outcome(&other, "before", "review").await;
    let maximum =
        |minor: u64| ("amount-limits", json!({"limits": [{"currency": "EUR", "maximum_minor": minor}]}));
    caller.activate(&[maximum(1_000_000)]).await;
    wait_for_outcome(&other, "approved", "approve").await;
    other.activate(&[maximum(1)]).await;
    wait_for_outcome(&caller, "rejected", "reject").await;
}
