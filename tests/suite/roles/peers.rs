//! Who may ask a worker over the network, and whom a node believes.

use std::path::Path;
use std::time::{Duration, Instant};

use reqwest::StatusCode;
use serde_json::json;

use super::Worker;
use crate::support::certificates::{Authority, Issued};
use crate::support::database::TestDatabase;
use crate::support::program::{Program, TEST_TIMEOUT, tollgate_on};
use crate::support::service::{Caller, payment_with};

/// The files of one side, as the setting.
fn files(folder: &Path, name: &str, own: &Issued, trusted: &Authority) -> String {
    let (certificates, key) = (folder.join(format!("{name}.crt")), folder.join(format!("{name}.key")));
    own.write(&certificates, &key);
    format!("{{certificates={certificates:?},key={key:?},authorities={:?}}}", trusted.path())
}

/// A node that asks this worker, and a client of it.
async fn node_asking(database: &TestDatabase, name: &str, port: u16, tls: &str) -> (Program, Caller) {
    let mut command = tollgate_on(database, &["serve", "--roles", "api,background"]);
    let rules = format!("{{workers=[\"https://{name}:{port}\"],fallback=\"failure_outcome\",tls={tls}}}");
    command.env("ROCKET_TOLLGATE_RULES", rules);
    let node = Program::start(command).await;
    let caller = node.caller_of_new_tenant(database, "acme").await;
    (node, caller)
}

/// Without a worker, no plugin can be loaded.
async fn has_plugins(caller: &Caller) -> bool {
    let (_, plugins) = caller.get("/plugins").await;
    plugins["items"].as_array().unwrap().iter().any(|plugin| plugin["name"] == "amount-limits")
}

async fn until(what: &str, holds: impl AsyncFn() -> bool) {
    let begun = Instant::now();
    while !holds().await {
        assert!(begun.elapsed() < TEST_TIMEOUT, "{what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn worker_and_node_ask_each_other_for_certificates() {
    let folder = tempfile::tempdir().unwrap();
    let (ours, others) = (Authority::new("ours"), Authority::new("others"));
    let worker_files = files(folder.path(), "worker", &ours.issue("DNS:localhost"), &ours);
    let worker = Worker::start(&format!("{{listen=\"127.0.0.1:0\",tls={worker_files}}}")).await;
    let port = worker.rules_at().rsplit(':').next().unwrap().parse().unwrap();

    let node_certificate = ours.issue("DNS:node.internal");
    let right = files(folder.path(), "right", &node_certificate, &ours);
    let database = TestDatabase::create().await;
    let (node, caller) = node_asking(&database, "localhost", port, &right).await;
    until("the plugins are loaded", async || has_plugins(&caller).await).await;
    caller.activate(&[("amount-limits", json!({"limits": [{"review_above_minor": 50_000}]}))]).await;
    let (status, decision) = caller.pay("one", &payment_with(&json!({}))).await;
    assert_eq!((status, &decision["outcome"]), (StatusCode::CREATED, &json!("approve")), "{decision}");
    node.stop().await;

    let unknown = files(folder.path(), "unknown", &others.issue("DNS:node.internal"), &ours);
    let distrusting = files(folder.path(), "distrusting", &node_certificate, &others);
    for (name, tls, why) in [
        // The worker does not know who issued the node's certificate.
        ("localhost", &unknown, "UnknownCA"),
        // The node does not know who issued the worker's.
        ("localhost", &distrusting, "UnknownIssuer"),
        // The worker's certificate is for another name.
        ("127.0.0.1", &right, "not valid for name"),
    ] {
        let database = TestDatabase::create().await;
        let (node, caller) = node_asking(&database, name, port, tls).await;
        until(why, async || node.log().contains(why)).await;
        assert!(!has_plugins(&caller).await, "{why}");
        node.stop().await;
    }
    worker.program.stop().await;
}
