//! Why a rule failed: told to its author, and to nobody who submits payments.

use reqwest::StatusCode;
use serde_json::{Value, json};
use tollgate::auth::scope::ScopeSet;
use tollgate::domain::tenant::Scope;

use crate::support::database::TestDatabase;
use crate::support::service::{Caller, Node, payment};

const SAID: &str = "panicked at src/lib.rs:7:9: the list is empty [31m";

/// Asks until an answer can be had: compiling may take longer than one waits.
async fn told(caller: &Caller, path: &str) -> Value {
    loop {
        let (status, answer) = caller.get(path).await;
        match status {
            StatusCode::OK => return answer,
            StatusCode::SERVICE_UNAVAILABLE => {}
            _ => panic!("{status}: {answer}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_rule_of_a_decision_tells_its_last_words_to_who_may_read_decisions() {
    let database = TestDatabase::create().await;
    let node = Node::start_with(&database, &[("deadline_ms", json!(60_000))]).await;
    let caller = Caller::of_new_tenant(&node, "acme").await;
    let plugin = caller.upload_fixture("last_words").await;
    let good = caller.upload_fixture("good").await;
    let entry = |name: &str, plugin: &str| json!({"name": name, "plugin": plugin, "settings": {}, "on_failure": "review"});
    caller.activate_entries(&json!([entry("first", &good), entry("broken", &plugin)])).await;
    let (status, answer) = caller.pay("k1", &payment()).await;
    assert_eq!(status, StatusCode::CREATED, "{answer}");
    assert!(!answer.to_string().contains("panicked"), "the client who pays: {answer}");
    let id = answer["id"].as_str().expect("an id");

    let path = format!("/decisions/{id}/rules/broken/diagnosis");
    let found = told(&caller, &path).await;
    assert_eq!((&found["rule"], &found["class"]), (&json!("broken"), &json!("unreachable")), "{found}");
    assert_eq!(found["diagnosis"]["said"], SAID, "{found}");
    assert!(!found["diagnosis"]["frames"].as_array().expect("frames").is_empty(), "{found}");
    let evidence = caller.get(&format!("/decisions/{id}")).await.1;
    assert!(!evidence.to_string().contains("panicked"), "the evidence: {evidence}");
    assert_eq!(caller.get(&format!("/decisions/{id}/replay")).await.1["identical"], true);

    for other in [
        format!("/decisions/{id}/rules/first/diagnosis"),
        format!("/decisions/{id}/rules/nobody/diagnosis"),
        "/decisions/nonsense/rules/broken/diagnosis".to_owned(),
    ] {
        let (status, problem) = caller.get(&other).await;
        assert_eq!(status, StatusCode::NOT_FOUND, "{other}: {problem}");
    }
    let stranger = Caller::of_new_tenant(&node, "other").await;
    assert_eq!(stranger.get(&path).await.0, StatusCode::NOT_FOUND);
    let scopes: ScopeSet = [Scope::PaymentsRead, Scope::PaymentsWrite].into_iter().collect();
    let payer = Caller::of_tenant(&node, "acme", scopes).await;
    assert_eq!(payer.get(&path).await.0, StatusCode::FORBIDDEN);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_tells_why_a_rule_failed() {
    let database = TestDatabase::create().await;
    let node = Node::start_with(&database, &[("deadline_ms", json!(60_000))]).await;
    let caller = Caller::of_new_tenant(&node, "acme").await;
    let plugin = caller.upload_fixture("last_words").await;
    let rules = json!([{"name": "broken", "plugin": plugin, "settings": {}, "on_failure": "review"}]);
    let body = json!({"rules": rules, "payment": payment()});
    let rule = loop {
        let (status, run) = caller.post("/rulesets/payment/dry-runs", &body).await;
        assert_eq!(status, StatusCode::OK, "{run}");
        // Compiling may take longer than a dry run waits for it.
        if run["rules"][0]["diagnosis"].is_object() {
            break run["rules"][0].clone();
        }
    };
    assert_eq!(rule["diagnosis"]["said"], SAID, "{rule}");
    node.stop().await;
}
