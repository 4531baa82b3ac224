//! Rules that loop, trap, use too much memory or return invalid results, uploaded over HTTP.

use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::support::database::TestDatabase;
use crate::support::service::{Caller, Node, payment};

/// Each fixture with its failure class and the message for clients.
const HOSTILE: [(&str, &str, &str); 8] = [
    ("endless_loop", "out-of-fuel", "used up its computing budget"),
    ("unreachable", "unreachable", "stopped itself in the middle of its work"),
    ("out_of_bounds", "trap", "did something the sandbox forbids"),
    ("memory_bomb", "memory-limit", "asked for more memory than it may have"),
    ("deep_recursion", "stack-overflow", "called itself too deeply"),
    ("bad_code", "invalid-answer", "gave an answer that the rule contract does not allow"),
    ("bad_utf8", "invalid-answer", "gave an answer that the rule contract does not allow"),
    ("huge_error", "rule-error", "reported that it cannot judge this payment"),
];

fn entry(name: &str, plugin: &str, on_failure: &str) -> Value {
    json!({"name": name, "plugin": plugin, "settings": {}, "on_failure": on_failure})
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_rule_has_the_effect_of_its_entry_and_its_cause_is_reported() {
    let database = TestDatabase::create().await;
    let node = Node::start(&database).await;
    let caller = Caller::of_new_tenant(&node, "acme").await;
    let good = caller.upload_fixture("good").await;
    let other = Caller::of_new_tenant(&node, "other").await;
    other.activate(&[("account-check", json!({}))]).await;
    let mut wrong = Vec::new();
    for (fixture, class, why) in HOSTILE {
        let plugin = caller.upload_fixture(fixture).await;
        for (on_failure, expected) in [("pass", "approve"), ("review", "review"), ("reject", "reject")] {
            let rules = json!([
                entry("first", &good, "reject"),
                entry("bad-one", &plugin, on_failure),
                entry("last", &good, "reject")
            ]);
            caller.activate_entries(&rules).await;
            let key = format!("{fixture}-{on_failure}");
            let (status, response) = caller.pay(&key, &payment()).await;
            assert_eq!(status, StatusCode::CREATED, "{key}: {response}");
            let reported = json!({"rule": "bad-one", "code": "rule-failed", "message": format!("The rule bad-one {why}.")});
            let reasons = response["reasons"].as_array().expect("reasons");
            let reported = reasons.iter().any(|reason| {
                reported.as_object().unwrap().iter().all(|(member, value)| reason[member] == *value)
            });
            let (_, evidence) = caller.get(&format!("/decisions/{}", response["id"].as_str().unwrap())).await;
            let result = &evidence["rules"][1]["result"];
            if response["outcome"] != expected || reasons.len() != 1 || !reported || result["class"] != class
            {
                wrong.push(format!("{key}: {response} {result}"));
            }
            let (_, next) = other.pay(&key, &payment()).await;
            assert_eq!(next["outcome"], "approve", "after {key}: {next}");
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    // With other rules the next payment of the same tenant is decided normally.
    caller.activate_entries(&json!([entry("only", &good, "reject")])).await;
    assert_eq!(caller.pay("after", &payment()).await.1["outcome"], "approve");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_that_fails_on_its_settings_cannot_be_part_of_a_revision() {
    let database = TestDatabase::create().await;
    let node = Node::start(&database).await;
    let caller = Caller::of_new_tenant(&node, "acme").await;
    let plugin = caller.upload_fixture("prepare_bomb").await;
    let rules = json!({"rules": [entry("bomb", &plugin, "review")]});
    let (status, problem) = caller.post("/rulesets/payment/revisions", &rules).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{problem}");
    assert_eq!(problem["errors"][0]["pointer"], "/rules/0/settings", "{problem}");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_that_burns_all_its_fuel_does_not_delay_other_tenants() {
    let database = TestDatabase::create().await;
    let node = Node::start_with(&database, &[("tenant_concurrency", json!(2))]).await;
    let burner = Caller::of_new_tenant(&node, "burner").await;
    let neighbour = Caller::of_new_tenant(&node, "neighbour").await;
    let loops = burner.upload_fixture("endless_loop").await;
    let rules: Vec<Value> = (0..50).map(|place| entry(&format!("loop-{place}"), &loops, "review")).collect();
    burner.activate_entries(&json!(rules)).await;
    neighbour.activate(&[("account-check", json!({}))]).await;

    let burning = (0..6).map(|place| {
        let burner = burner.clone();
        tokio::spawn(async move { burner.pay(&format!("burn-{place}"), &payment()).await })
    });
    let burning: Vec<_> = burning.collect();
    for place in 0..40 {
        let (status, response) = neighbour.pay(&format!("k{place}"), &payment()).await;
        assert_eq!((status, &response["outcome"]), (StatusCode::CREATED, &json!("approve")), "{response}");
        if place == 0 {
            assert!(burning.iter().any(|payment| !payment.is_finished()), "it did not wait for them");
        }
    }
    for payment in burning {
        let (status, response) = payment.await.unwrap();
        assert_eq!((status, &response["outcome"]), (StatusCode::CREATED, &json!("review")), "{response}");
    }
    node.stop().await;
}
