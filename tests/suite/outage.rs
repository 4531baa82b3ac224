//! Outages of the database while a node runs.

use std::time::{Duration, Instant};

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tollgate::storage::StorageError;
use tollgate::storage::databases::Databases;
use tollgate::storage::pool::DatabaseSettings;
use tollgate::storage::private_server::PrivateServer;

use crate::support::database::TestDatabase;
use crate::support::faulty_proxy::{Fault, FaultyProxy};
use crate::support::program::TEST_TIMEOUT;
use crate::support::service::{Caller, Node, payment};
use crate::support::subprocess::server_settings;

#[tokio::test(flavor = "multi_thread")]
async fn a_pool_reports_an_outage_and_works_again_without_a_restart() {
    let folder = crate::private_server::folder();
    let settings = server_settings(folder.path().join("postgres"), false);
    let server = PrivateServer::start(settings.clone()).await.unwrap();
    let database = DatabaseSettings { connect_timeout: 1, ..DatabaseSettings::for_url(server.url()) };
    Databases::open(&database).await.unwrap().close().await;
    server.stop().await.unwrap();

    let app = Databases::connect_lazily(&database).unwrap().app;
    for _ in 0..2 {
        assert!(matches!(app.check().await, Err(StorageError::Unavailable(_))));
        let server = PrivateServer::start(settings.clone()).await.unwrap();
        app.check().await.unwrap();
        let role: String =
            sqlx::query_scalar("select current_user::text").fetch_one(app.sqlx_pool()).await.unwrap();
        assert_eq!(role, "tollgate_app");
        server.stop().await.unwrap();
    }
    assert!(matches!(app.check().await, Err(StorageError::Unavailable(_))));
}

/// The status of a path outside the API.
async fn status(node: &Node, path: &str) -> StatusCode {
    reqwest::get(format!("{}{path}", node.url)).await.unwrap().status()
}

async fn wait_until_ready(node: &Node) {
    wait_for_ready_status(node, StatusCode::OK).await;
}

/// Repeats the request, since readiness results are cached for a moment.
async fn wait_for_ready_status(node: &Node, expected: StatusCode) {
    let begun = Instant::now();
    while status(node, "/ready").await != expected {
        assert!(begun.elapsed() < TEST_TIMEOUT, "/ready never answers {expected}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Retries while the outcome is unknown, as clients should.
async fn pay_until_answered(caller: &Caller, key: &str) -> (StatusCode, Value) {
    let begun = Instant::now();
    loop {
        let (status, decision) = caller.pay(key, &payment()).await;
        if !status.is_server_error() && status != StatusCode::CONFLICT {
            return (status, decision);
        }
        assert!(begun.elapsed() < TEST_TIMEOUT, "{status} {decision}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn rows(database: &TestDatabase) -> (i64, i64, i64) {
    let statement = "select (select count(*) from decisions), (select count(*) from idempotency_keys),
                            (select coalesce(sum(length(decision_digests)) / 32, 0)::bigint from journal_batches)";
    sqlx::query_as(statement).fetch_one(&mut database.superuser().await).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payment_during_an_outage_gets_503_and_is_decided_once_after_it() {
    let database = TestDatabase::create().await;
    let proxy = FaultyProxy::start(&database.databases().journal);
    let node = Node::start_at(&database, &proxy.url(&database.url), &[("deadline_ms", json!(3_000))]).await;
    let caller = Caller::of_new_tenant(&node, "acme").await;
    let limit = json!({"selector": "customer", "window_seconds": 3_600, "max_count": 9, "verdict": "reject"});
    for with_facts in [false, true] {
        if with_facts {
            caller.activate(&[("velocity", json!({"limits": [limit]}))]).await;
        }
        let before = rows(&database).await;
        let key = format!("during-{with_facts}");
        proxy.inject(Fault::Everything);
        // The second attempt finds that the outage is already known.
        for _ in 0..2 {
            let request =
                caller.request(Method::POST, "/payments").header("Idempotency-Key", &key).json(&payment());
            let response = request.send().await.unwrap();
            assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
            let seconds = response.headers()["Retry-After"].to_str().unwrap().parse::<u32>().unwrap();
            assert!((1..=60).contains(&seconds), "{seconds}");
            assert_eq!(response.headers()["Content-Type"], "application/problem+json");
            let problem: Value = response.json().await.unwrap();
            let kind = problem["type"].as_str().unwrap();
            assert!(["/problems/unavailable", "/problems/deadline"].contains(&kind), "{problem}");
            assert!(!problem.to_string().contains("PGSQL"), "{problem}");
        }
        assert_eq!(caller.get("/payments").await.0, StatusCode::SERVICE_UNAVAILABLE);
        wait_for_ready_status(&node, StatusCode::SERVICE_UNAVAILABLE).await;
        assert_eq!(status(&node, "/health").await, StatusCode::OK);
        assert_eq!(status(&node, "/metrics").await, StatusCode::OK);
        assert_eq!(rows(&database).await, before, "nothing was written, and nothing by half");

        proxy.inject(Fault::Nothing);
        wait_until_ready(&node).await;
        let (status, decision) = pay_until_answered(&caller, &key).await;
        assert_eq!(status, StatusCode::CREATED, "{decision}");
        assert_eq!(decision["outcome"], if with_facts { "approve" } else { "review" });
        assert_eq!(caller.pay(&key, &payment()).await, (StatusCode::OK, decision));
        let after = before.0 + 1;
        assert_eq!(rows(&database).await, (after, after, after));
    }
    assert_eq!(crate::journal::chain::verify(&database).await, 2);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn payments_interrupted_by_an_outage_are_decided_once() {
    let database = TestDatabase::create().await;
    let proxy = FaultyProxy::start(&database.databases().journal);
    let node = Node::start_at(&database, &proxy.url(&database.url), &[]).await;
    let caller = Caller::of_new_tenant(&node, "acme").await;
    let answered: Vec<_> = (0..8)
        .map(|client| {
            let caller = caller.clone();
            tokio::spawn(async move {
                let mut ids = Vec::new();
                for place in 0..40 {
                    let (_, decision) = pay_until_answered(&caller, &format!("{client}-{place}")).await;
                    ids.push(decision["id"].as_str().unwrap().to_owned());
                }
                ids
            })
        })
        .collect();
    for (stored, cut) in [(20, Fault::AfterCommit), (60, Fault::WithCommit), (120, Fault::Everything)] {
        let begun = Instant::now();
        while rows(&database).await.0 < stored {
            assert!(begun.elapsed() < TEST_TIMEOUT, "no load");
            tokio::task::yield_now().await;
        }
        proxy.inject(cut);
    }
    while status(&node, "/ready").await == StatusCode::OK {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    proxy.inject(Fault::Nothing);
    let mut ids = Vec::new();
    for client in answered {
        ids.extend(client.await.unwrap());
    }
    ids.sort();
    let stored: Vec<String> = sqlx::query_scalar("select id::text from decisions order by 1")
        .fetch_all(&mut database.superuser().await)
        .await
        .unwrap();
    assert_eq!(ids, stored);
    assert_eq!(crate::journal::chain::verify(&database).await, 320);
    node.stop().await;
}
