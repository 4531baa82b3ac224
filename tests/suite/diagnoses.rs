//! Diagnoses of failed rules: for administrators, not for clients that submit payments.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Instant;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tollgate::auth::scope::ScopeSet;
use tollgate::domain::tenant::Scope;

use crate::support::components::{component, with_section};
use crate::support::database::TestDatabase;
use crate::support::program::TEST_TIMEOUT;
use crate::support::service::{Caller, Node, payment, send};

const SAID: &str = "panicked at src/lib.rs:7:9: the list is empty [31m";

/// Repeats the request while the plugin is being compiled.
async fn get_when_compiled(caller: &Caller, path: &str) -> Value {
    let begun = Instant::now();
    loop {
        let (status, response) = caller.get(path).await;
        assert!(begun.elapsed() < TEST_TIMEOUT, "{response}");
        match status {
            StatusCode::OK => return response,
            StatusCode::SERVICE_UNAVAILABLE => {}
            _ => panic!("{status}: {response}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_diagnosis_of_a_failed_rule_needs_the_scope_for_decisions() {
    let database = TestDatabase::create().await;
    let node = Node::start_with(&database, &[("deadline_ms", json!(60_000))]).await;
    let caller = Caller::of_new_tenant(&node, "acme").await;
    let plugin = caller.upload_fixture("panic_message").await;
    let good = caller.upload_fixture("good").await;
    let entry = |name: &str, plugin: &str| json!({"name": name, "plugin": plugin, "settings": {}, "on_failure": "review"});
    caller.activate_entries(&json!([entry("first", &good), entry("broken", &plugin)])).await;
    let (status, response) = caller.pay("k1", &payment()).await;
    assert_eq!(status, StatusCode::CREATED, "{response}");
    assert!(!response.to_string().contains("panicked"), "the client who pays: {response}");
    let id = response["id"].as_str().expect("an id");

    let path = format!("/decisions/{id}/rules/broken/diagnosis");
    let found = get_when_compiled(&caller, &path).await;
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
async fn a_dry_run_explains_why_a_rule_failed() {
    let database = TestDatabase::create().await;
    let node = Node::start_with(&database, &[("deadline_ms", json!(60_000))]).await;
    let caller = Caller::of_new_tenant(&node, "acme").await;
    let plugin = caller.upload_fixture("panic_message").await;
    let rules = json!([{"name": "broken", "plugin": plugin, "settings": {}, "on_failure": "review"}]);
    let body = json!({"rules": rules, "payment": payment()});
    let rule = loop {
        let (status, run) = caller.post("/rulesets/payment/dry-runs", &body).await;
        assert_eq!(status, StatusCode::OK, "{run}");
        // Compilation may take longer than a dry run waits.
        if run["rules"][0]["diagnosis"].is_object() {
            break run["rules"][0].clone();
        }
    };
    assert_eq!(rule["diagnosis"]["said"], SAID, "{rule}");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_diagnoses_of_a_tenant_do_not_delay_other_tenants() {
    let database = TestDatabase::create().await;
    let folder = tempfile::tempdir().unwrap();
    let held = folder.path().join("held");
    let node =
        Node::start_with_compiler(&database, folder.path(), &slow_compiler(folder.path(), &held)).await;
    let slow = Caller::of_new_tenant(&node, "slow").await;
    let quick = Caller::of_new_tenant(&node, "quick").await;
    let mut paths = Vec::new();
    for (caller, pad_bytes) in [(&slow, vec![5 << 20, 6 << 20]), (&quick, vec![1])] {
        let mut rules = Vec::new();
        for pad_bytes in pad_bytes {
            let plugin = caller.upload(with_section(component("panic_message"), &vec![0; pad_bytes])).await;
            rules.push(
                json!({"name": format!("pad-{pad_bytes}"), "plugin": plugin["digest"], "settings": {}}),
            );
        }
        caller.activate_entries(&json!(rules)).await;
        let (status, response) = caller.pay("k1", &payment()).await;
        assert_eq!(status, StatusCode::CREATED, "{response}");
        let id = response["id"].as_str().expect("an id").to_owned();
        let path =
            |rule: &Value| format!("/decisions/{id}/rules/{}/diagnosis", rule["name"].as_str().unwrap());
        paths.push(rules.iter().map(path).collect::<Vec<_>>());
    }
    // From now on the compiler blocks on large plugins.
    std::fs::write(&held, "").unwrap();
    for path in &paths[0] {
        let (status, problem) = send(slow.request(Method::GET, path)).await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{problem}");
    }
    let found = get_when_compiled(&quick, &paths[1][0]).await;
    assert_eq!(found["diagnosis"]["said"], SAID, "{found}");
    let (status, problem) = send(slow.request(Method::GET, &paths[0][0])).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "it is still held up: {problem}");
    std::fs::remove_file(&held).unwrap();
    for path in &paths[0] {
        assert_eq!(get_when_compiled(&slow, path).await["diagnosis"]["said"], SAID);
    }
    node.stop().await;
}

/// A compiler that blocks on large plugins while the file `held` exists.
fn slow_compiler(folder: &Path, held: &Path) -> String {
    let path = folder.join("compiler");
    let script = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o700).open(&path);
    let (exe, held) = (env!("CARGO_BIN_EXE_tollgate"), held.display());
    let lines = format!(
        "#!/bin/sh\nif [ \"$3\" = 2048 ]; then while [ -e {held} ]; do sleep 0.05; done; fi\nexec {exe} \"$@\"\n"
    );
    script.unwrap().write_all(lines.as_bytes()).unwrap();
    path.to_str().unwrap().to_owned()
}
