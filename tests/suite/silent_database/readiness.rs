//! `/ready` reports everything that decisions lack, and recovers.

use std::time::{Duration, Instant};

use reqwest::StatusCode;
use serde_json::{Value, json};
use tollgate::domain::plugin::Digest;

use super::{NodeBehindProxy, TEST_TIMEOUT};
use crate::support::components::{component_of, good_rule};
use crate::support::database::TestDatabase;
use crate::support::service::{Node, payment};
use crate::support::silent_proxy::{DatabaseRequest, SilentProxy};

/// Why the node is not ready. Empty if it is ready.
async fn reasons(node: &Node) -> Vec<String> {
    let response = reqwest::get(format!("{}/ready", node.url)).await.unwrap();
    if response.status() == StatusCode::OK {
        return Vec::new();
    }
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    let problem: Value = response.json().await.unwrap();
    assert_eq!(problem["type"], "/problems/unavailable");
    let errors = problem["errors"].as_array().expect("the reasons");
    assert_eq!(problem["detail"], errors[0]["detail"]);
    errors.iter().map(|error| error["detail"].as_str().unwrap().to_owned()).collect()
}

async fn wait_until_ready(node: &Node) {
    let begun = Instant::now();
    loop {
        let reasons = reasons(node).await;
        if reasons.is_empty() {
            return;
        }
        assert!(begun.elapsed() < TEST_TIMEOUT, "never ready again: {reasons:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn wait_until_not_ready_for(node: &Node, part: &str) {
    let begun = Instant::now();
    loop {
        let reasons = reasons(node).await;
        if reasons.iter().any(|reason| reason.contains(part)) {
            return;
        }
        assert!(begun.elapsed() < TEST_TIMEOUT, "{part} is never reported: {reasons:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_responses_are_reported_until_there_are_responses_again() {
    let mut setup = NodeBehindProxy::start().await;
    wait_until_ready(&setup.node).await;
    for (statement, reported) in [
        ("where sequence > $1", "cannot read new activations"),
        ("set app.tenants", "Facts cannot be read"),
        ("from aggregate_values where false", "Facts cannot be read"),
    ] {
        setup.proxy.silence_all(DatabaseRequest::Statement(statement));
        wait_until_not_ready_for(&setup.node, reported).await;
        setup.proxy.resume();
        wait_until_ready(&setup.node).await;
    }
    setup.proxy.silence_everything();
    wait_until_not_ready_for(&setup.node, "database cannot be reached").await;
    wait_until_not_ready_for(&setup.node, "cannot read new activations").await;
    setup.proxy.resume();
    wait_until_ready(&setup.node).await;
    setup.assert_everything_works().await;
    setup.node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_journal_that_cannot_write_is_reported_even_without_payments() {
    let mut setup = NodeBehindProxy::start().await;
    wait_until_ready(&setup.node).await;
    // Simulates a full disk: Postgres refuses writes but works otherwise.
    let mut superuser = setup.database.superuser().await;
    sqlx::raw_sql(
        "create function tollgate.no_room() returns trigger language plpgsql as
         $$ begin raise exception 'could not extend file' using errcode = '53100'; end $$;
         create trigger no_room before insert on tollgate.decisions for each row execute function tollgate.no_room()",
    )
    .execute(&mut superuser)
    .await
    .unwrap();
    let [caller, _] = setup.tenants.clone();
    let (status, response) = caller.pay("no-room", &payment()).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{response}");
    wait_until_not_ready_for(&setup.node, "journal cannot store").await;
    for sample in 0..100 {
        assert!(!reasons(&setup.node).await.is_empty(), "sample {sample}");
        if sample % 20 == 19 {
            let (status, response) = caller.pay("no-room", &payment()).await;
            assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{response}");
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    sqlx::raw_sql("drop trigger no_room on tollgate.decisions").execute(&mut superuser).await.unwrap();
    wait_until_ready(&setup.node).await;
    let (status, response) = caller.pay("no-room", &payment()).await;
    assert_eq!(status, StatusCode::CREATED, "tried, and taken back: {response}");
    setup.assert_everything_works().await;
    crate::journal::chain::verify(&setup.database).await;
    setup.node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_is_not_ready_until_it_has_the_rules_of_active_rulesets() {
    let setup = NodeBehindProxy::start().await;
    let [one, two] = &setup.tenants;
    let bytes = component_of(&good_rule("Waits for 2"));
    let digest = Digest::of(&bytes).0.to_vec();
    for caller in [one, two] {
        let plugin = caller.upload(bytes.clone()).await;
        let rules = json!([{"name": "own", "plugin": plugin["digest"], "settings": {}}]);
        caller.activate_entries(&rules).await;
    }
    let mut superuser = setup.database.superuser().await;
    let store = "update plugins set bytes = $2 where digest = $1";
    sqlx::query(store).bind(&digest).bind(b"damaged".as_slice()).execute(&mut superuser).await.unwrap();

    let folder = tempfile::tempdir().unwrap();
    let other = Node::start_with(&setup.database, &[("data_dir", json!(folder.path()))]).await;
    wait_until_not_ready_for(&other, "are not loaded").await;
    assert_eq!(one.at(&other.url).pay("there", &payment()).await.0, StatusCode::SERVICE_UNAVAILABLE);
    assert!(reasons(&setup.node).await.is_empty(), "the first one has them");

    sqlx::query(store).bind(&digest).bind(&bytes).execute(&mut superuser).await.unwrap();
    wait_until_ready(&other).await;
    assert_eq!(one.at(&other.url).pay("there", &payment()).await.0, StatusCode::CREATED);
    other.stop().await;
    setup.node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_reasons_are_reported_with_any_request_deadline() {
    let database = TestDatabase::create().await;
    let proxy = SilentProxy::start(database.databases().journal.options());
    let node = Node::start_at(&database, &proxy.url(&database.url), &[("deadline_ms", json!(100))]).await;
    wait_until_ready(&node).await;
    proxy.silence_everything();
    wait_until_not_ready_for(&node, "database cannot be reached").await;
    proxy.resume();
    wait_until_ready(&node).await;
    node.stop().await;
}
