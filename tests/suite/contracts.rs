//! Rules of both versions of the contract decide side by side.

use serde_json::{Value, json};

use crate::support::database::TestDatabase;
use crate::support::lists::until_valid;
use crate::support::service::{Caller, Node, payment};

/// Each shipped rule with settings by which it has something to say about `payment()`.
fn rules() -> [(&'static str, Value); 4] {
    let limit = json!({"selector": "customer", "window_seconds": 3_600, "max_count": 1, "verdict": "review"});
    let list = json!({"list": "watched", "selector": "creditor_name", "verdict": "review",
        "matching": "normalized_name"});
    [
        ("account-check", json!({})),
        ("amount-limits", json!({"limits": [{"currency": "EUR", "review_above_minor": 1_000}]})),
        ("party-lists", json!({"lists": [list]})),
        ("velocity", json!({"limits": [limit]})),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_released_rule_decides_and_replays_as_its_newest_version_does() {
    let database = TestDatabase::create().await;
    let node = Node::start(&database).await;
    let caller = Caller::of_new_tenant(&node, "acme").await;
    caller.post("/lists", &json!({"name": "watched", "kind": "name"})).await;
    let entry = json!({"value": "blue bikes", "reason": "a test"});
    let (status, added) = caller.post("/lists/watched/entries", &entry).await;
    assert!(status.is_success(), "{added}");
    until_valid(&added).await;
    let mut entries = Vec::new();
    for (name, settings) in rules() {
        let newest = caller.plugin(name).await;
        entries.push(json!({"name": name, "plugin": newest, "settings": settings}));
    }
    for (name, settings) in rules() {
        let bytes = std::fs::read(format!("tests/released/1.0.0/{name}.wasm")).expect(name);
        let plugin = caller.upload(bytes).await;
        assert_eq!(plugin["contract"], "1.0.0", "{plugin}");
        let entry =
            json!({"name": format!("{name}-released"), "plugin": plugin["digest"], "settings": settings});
        entries.push(entry);
    }
    caller.activate_entries(&json!(entries)).await;
    caller.pay("k1", &payment()).await;
    let (_, decided) = caller.pay("k2", &payment()).await;
    assert_eq!(decided["outcome"], "review", "{decided}");

    let id = decided["id"].as_str().expect("an id");
    let (_, evidence) = caller.get(&format!("/decisions/{id}")).await;
    let evidence_of = |name: &str| {
        let rules = evidence["rules"].as_array().expect("rules");
        rules.iter().find(|rule| rule["name"] == name).expect(name)
    };
    for (name, _) in rules() {
        let (newest, released) = (evidence_of(name), evidence_of(&format!("{name}-released")));
        assert_eq!(newest["result"], released["result"], "{evidence}");
        assert_eq!(newest["facts"], released["facts"], "{evidence}");
        let expected = if name == "account-check" { "pass" } else { "review" };
        assert_eq!(released["result"]["verdict"], expected, "{evidence}");
    }
    let (_, replay) = caller.get(&format!("/decisions/{id}/replay")).await;
    assert_eq!(replay["identical"], true, "{replay}");
    node.stop().await;
}
