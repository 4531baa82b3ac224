//! The report on the rules of a revision.

use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::support::database::TestDatabase;
use crate::support::service::{Caller, Node, payment, payment_with};

#[tokio::test(flavor = "multi_thread")]
async fn the_report_on_rules_counts_their_verdicts_and_has_the_last_failure() {
    let database = TestDatabase::create().await;
    let node = Node::start(&database).await;
    let caller = Caller::of_new_tenant(&node, "acme").await;
    let (limits, bad) = (caller.plugin("amount-limits").await, caller.upload_fixture("unreachable").await);
    let settings = json!({"limits": [{"currency": "EUR", "review_above_minor": 50_000}]});
    let rules = json!([
        {"name": "limits", "plugin": limits, "settings": settings},
        {"name": "broken", "plugin": bad, "settings": {}, "on_failure": "pass"},
        {"name": "aside", "plugin": limits, "settings": settings, "mode": "shadow"},
    ]);
    let number = caller.activate_entries(&rules).await;
    let path = format!("/rulesets/payment/revisions/{number}/rules");
    let (status, before) = caller.get(&path).await;
    assert_eq!(status, StatusCode::OK, "{before}");
    assert_eq!((&before["sampled"], &before["rules"]), (&json!(0), &json!([])), "{before}");

    let mut last = Value::Null;
    for (key, amount_minor) in [("k1", 100), ("k2", 60_000), ("k3", 200)] {
        last = caller.pay(key, &payment_with(&json!({"amount_minor": amount_minor}))).await.1;
    }
    let (_, report) = caller.get(&path).await;
    let counts = |pass, review, failed| json!({"pass": pass, "allow": 0, "review": review, "reject": 0, "failed": failed});
    let rules = report["rules"].as_array().expect("rules");
    assert_eq!((&report["sampled"], rules.len()), (&json!(3), 2), "without rules in shadow: {report}");
    assert_eq!(rules[0]["rule"], "limits", "{report}");
    assert_eq!(rules[0]["verdicts"], counts(2, 1, 0), "{report}");
    assert_eq!(rules[0].get("last_failure"), None, "{report}");
    assert!(rules[0]["fuel_p99"].as_u64() >= rules[0]["fuel_p50"].as_u64(), "{report}");
    assert_eq!(rules[1]["verdicts"], counts(0, 0, 3), "{report}");
    let failure = &rules[1]["last_failure"];
    assert_eq!((&failure["payment"], &failure["class"]), (&last["id"], &json!("unreachable")), "{report}");

    // Another revision has a report of its own, and another tenant has none.
    let second = caller.activate(&[("account-check", json!({}))]).await;
    caller.pay("k4", &payment()).await;
    let (_, other) = caller.get(&format!("/rulesets/payment/revisions/{second}/rules")).await;
    assert_eq!((&other["sampled"], &other["rules"][0]["rule"]), (&json!(1), &json!("account-check")));
    let stranger = Caller::of_new_tenant(&node, "other").await;
    assert_eq!(stranger.get(&path).await.0, StatusCode::NOT_FOUND);
    node.stop().await;
}
