//! A process that is killed under load.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures::future::join_all;
use reqwest::{Method, StatusCode};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::database::TestDatabase;
use crate::support::program::{Program, TEST_TIMEOUT};
use crate::support::service::{Caller, payment_with};

const ROUNDS: usize = 3;
const CLIENTS: usize = 8;

/// Each key of a client with its decision, or `None` if the response was lost.
type DecisionsByKey = HashMap<String, Option<Value>>;

fn body(key: &str) -> Value {
    let customer = key.rsplit_once('-').unwrap().0;
    payment_with(&json!({"customer": customer, "reference": key}))
}

/// Submits payments until the connection breaks.
async fn pay_until_it_breaks(caller: Caller, name: String, acknowledged: Arc<AtomicUsize>) -> DecisionsByKey {
    let mut known = DecisionsByKey::new();
    loop {
        let key = format!("{name}-{}", known.len());
        known.insert(key.clone(), None);
        let request =
            caller.request(Method::POST, "/payments").header("Idempotency-Key", &key).json(&body(&key));
        let Ok(response) = request.send().await else { return known };
        let status = response.status();
        let Ok(decision) = response.json::<Value>().await else { return known };
        assert_eq!(status, StatusCode::CREATED, "{decision}");
        known.insert(key, Some(decision));
        acknowledged.fetch_add(1, Ordering::Relaxed);
    }
}

async fn rows(database: &TestDatabase) -> i64 {
    sqlx::query_scalar("select count(*) from decisions")
        .fetch_one(&mut database.superuser().await)
        .await
        .unwrap()
}

/// Decisions for review that opened none, and reviews of other decisions.
async fn decisions_without_one_review(database: &TestDatabase) -> i64 {
    sqlx::query_scalar(
        "select count(*)
         from (select tenant_id, id from decisions where outcome = 'review') d
         full join reviews r using (tenant_id, id)
         where d.id is null or r.id is null",
    )
    .fetch_one(&mut database.superuser().await)
    .await
    .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_process_loses_no_acknowledged_decision() {
    let database = TestDatabase::create().await;
    let mut program = Program::serve(&database).await;
    let mut caller = program.caller_of_new_tenant(&database, "acme").await;
    let limit =
        json!({"selector": "customer", "window_seconds": 3_600, "max_count": 12, "verdict": "review"});
    caller.activate(&[("velocity", json!({"limits": [limit]}))]).await;

    let mut known = DecisionsByKey::new();
    for round in 0..ROUNDS {
        let acknowledged = Arc::new(AtomicUsize::new(0));
        let clients: Vec<_> = (0..CLIENTS)
            .map(|client| {
                let name = format!("round-{round}-client-{client}");
                tokio::spawn(pay_until_it_breaks(caller.clone(), name, acknowledged.clone()))
            })
            .collect();
        // A different time in each round and each run.
        let begun = Instant::now();
        while acknowledged.load(Ordering::Relaxed) < 20 + 37 * round {
            assert!(begun.elapsed() < TEST_TIMEOUT, "no load");
            tokio::task::yield_now().await;
        }
        program.signal(Signal::KILL);
        for client in join_all(clients).await {
            known.extend(client.unwrap());
        }
        assert!(!program.wait().await.success());
        program = Program::serve(&database).await;
        caller = caller.at(&program.url);
    }

    let unanswered = known.values().filter(|decision| decision.is_none()).count();
    assert!((1..=ROUNDS * CLIENTS).contains(&unanswered), "{unanswered}");
    for (key, decision) in &known {
        let (status, again) = caller.pay(key, &body(key)).await;
        if let Some(decision) = decision {
            assert_eq!((status, &again), (StatusCode::OK, decision), "{key}");
            let (status, mut found) =
                caller.get(&format!("/payments/{}", decision["id"].as_str().unwrap())).await;
            let review = found.as_object_mut().unwrap().remove("review");
            assert_eq!(review.is_some(), decision["outcome"] == "review", "{key}");
            assert_eq!((status, &found), (StatusCode::OK, decision), "{key}");
        } else {
            assert!(matches!(status, StatusCode::OK | StatusCode::CREATED), "{key}: {again}");
            assert_eq!(caller.pay(key, &body(key)).await, (StatusCode::OK, again), "{key}");
        }
    }
    assert_eq!(rows(&database).await as usize, known.len(), "one decision per key");
    assert_eq!(decisions_without_one_review(&database).await, 0);
    let (_, summary) = caller.get("/reviews/summary").await;
    assert!(summary["open"].as_u64().unwrap() > 0, "{summary}");
    assert_eq!(crate::journal::chain::verify(&database).await, known.len());
    program.stop().await;
}

/// A payment is decided once even if its client does not wait for the response.
#[tokio::test(flavor = "multi_thread")]
async fn clients_that_hang_up_and_retry_get_one_decision_per_key() {
    let database = TestDatabase::create().await;
    let program = Program::serve(&database).await;
    let caller = program.caller_of_new_tenant(&database, "acme").await;
    let hasty = (0..40).map(|place| {
        let caller = caller.clone();
        async move {
            let key = format!("hasty-{place}");
            let request =
                caller.request(Method::POST, "/payments").header("Idempotency-Key", &key).json(&body(&key));
            let _ = request.timeout(Duration::from_millis(place)).send().await;
            caller.pay(&key, &body(&key)).await
        }
    });
    for (status, decision) in join_all(hasty).await {
        assert!(matches!(status, StatusCode::OK | StatusCode::CREATED), "{decision}");
    }
    assert_eq!(rows(&database).await, 40);
    assert_eq!(crate::journal::chain::verify(&database).await, 40);
    program.stop().await;
}
