//! Rulesets over HTTP: revisions, activations, rollbacks, and the members of an entry.

use std::time::Instant;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::support::database::TestDatabase;
use crate::support::lists::until_valid;
use crate::support::program::TEST_TIMEOUT;
use crate::support::service::{Caller, FullResponse, Node, payment, payment_with, send};

const REVISIONS: &str = "/rulesets/payment/revisions";
const ACTIVATIONS: &str = "/rulesets/payment/activations";
const ACTIVE: &str = "/rulesets/payment";
const ROLLBACK: &str = "/rulesets/payment/rollback";

fn limit(maximum_minor: i64) -> Value {
    json!({"limits": [{"currency": "EUR", "maximum_minor": maximum_minor}]})
}

async fn limits_entry(caller: &Caller, maximum_minor: i64) -> Value {
    json!({"name": "limits", "plugin": caller.plugin("amount-limits").await, "settings": limit(maximum_minor)})
}

async fn post_matching(caller: &Caller, path: &str, tag: &str, body: &Value) -> (StatusCode, Value) {
    send(caller.request(Method::POST, path).header("If-Match", tag).json(body)).await
}

async fn active_tag(caller: &Caller) -> String {
    FullResponse::of(caller.request(Method::GET, ACTIVE)).await.header("ETag").to_owned()
}

async fn outcome(caller: &Caller, key: &str) -> Value {
    caller.pay(key, &payment()).await.1["outcome"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn revisions_are_numbered_shown_activated_and_rolled_back() {
    let database = TestDatabase::create().await;
    let node = Node::start(&database).await;
    let caller = Caller::of_new_tenant(&node, "acme").await;

    let (status, problem) = caller.post(ROLLBACK, &json!({})).await;
    assert_eq!((status, &problem["type"]), (StatusCode::CONFLICT, &json!("/problems/conflict")), "{problem}");
    assert_eq!(active_tag(&caller).await, "\"none\"");
    assert_eq!(caller.get(ACTIVE).await.1, json!({"point": "payment"}));

    for (number, maximum_minor) in [(1, 1_000_000), (2, 100), (3, 1_000_000)] {
        let body =
            json!({"note": format!("no. {number}"), "rules": [limits_entry(&caller, maximum_minor).await]});
        let made = FullResponse::of(caller.request(Method::POST, REVISIONS).json(&body)).await;
        assert_eq!(made.status, 201, "{}", made.text);
        let location = format!("/api/v1{REVISIONS}/{number}");
        assert_eq!(made.header("Location"), location);
        let shown = FullResponse::of(caller.request(Method::GET, &format!("{REVISIONS}/{number}"))).await;
        assert_eq!((shown.status, shown.json()), (200, made.json()), "what was made is what is shown");
        assert_eq!(shown.header("ETag"), made.header("ETag"));
        let revision = shown.json();
        assert_eq!(revision["number"], number);
        assert_eq!(revision["rules"][0]["settings"], limit(maximum_minor));
        assert_eq!(
            (
                &revision["rules"][0]["on_failure"],
                &revision["rules"][0]["overridable"],
                &revision["rules"][0]["mode"]
            ),
            (&json!("review"), &json!(false), &json!("live"))
        );
    }
    let (_, listed) = caller.get(&format!("{REVISIONS}?limit=2")).await;
    let numbers = |page: &Value| {
        page["items"].as_array().unwrap().iter().map(|r| r["number"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(numbers(&listed), [3, 2]);
    let cursor = listed["next_cursor"].as_str().unwrap();
    let (_, rest) = caller.get(&format!("{REVISIONS}?limit=2&cursor={cursor}")).await;
    assert_eq!((numbers(&rest), rest.get("next_cursor")), (vec![json!(1)], None));

    for (number, expected) in [(1, "approve"), (2, "reject")] {
        let (status, activation) = caller.post(ACTIVATIONS, &json!({"revision": number})).await;
        assert_eq!((status, &activation["revision"]), (StatusCode::CREATED, &json!(number)), "{activation}");
        assert_eq!(active_tag(&caller).await, format!("\"{number}\""));
        assert_eq!(caller.get(ACTIVE).await.1["revision"]["number"], number);
        assert_eq!(outcome(&caller, &format!("under-{number}")).await, expected);
    }
    let (status, back) = caller.post(ROLLBACK, &json!({})).await;
    assert_eq!((status, &back["revision"]), (StatusCode::CREATED, &json!(1)), "{back}");
    assert_eq!(outcome(&caller, "rolled-back").await, "approve");
    let (_, log) = caller.get(ACTIVATIONS).await;
    let log: Vec<Value> =
        log["items"].as_array().unwrap().iter().map(|line| line["revision"].clone()).collect();
    assert_eq!(log, [1, 2, 1], "newest first; nothing of the log is lost");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_concurrent_activations_the_second_is_refused() {
    let database = TestDatabase::create().await;
    let node = Node::start(&database).await;
    let caller = Caller::of_new_tenant(&node, "acme").await;
    let entry = limits_entry(&caller, 1_000_000).await;
    for _ in 0..2 {
        caller.post(REVISIONS, &json!({"rules": [entry]})).await;
    }
    let body = |number: i32| json!({"revision": number});
    let refused = |(status, problem): (StatusCode, Value)| {
        assert_eq!(status, StatusCode::PRECONDITION_FAILED, "{problem}");
        assert_eq!(problem["type"], "/problems/precondition-failed");
    };
    // Both expect that no revision is active.
    assert_eq!(post_matching(&caller, ACTIVATIONS, "\"none\"", &body(1)).await.0, StatusCode::CREATED);
    refused(post_matching(&caller, ACTIVATIONS, "\"none\"", &body(2)).await);
    // Both expect revision 1.
    let seen = active_tag(&caller).await;
    assert_eq!(post_matching(&caller, ACTIVATIONS, &seen, &body(2)).await.0, StatusCode::CREATED);
    refused(post_matching(&caller, ACTIVATIONS, &seen, &body(1)).await);
    refused(post_matching(&caller, ROLLBACK, &seen, &json!({})).await);
    let left = active_tag(&caller).await;
    assert_ne!(left, seen);
    assert_eq!(post_matching(&caller, ROLLBACK, &left, &json!({})).await.0, StatusCode::CREATED);
    // The same revision is active again, but there were activations in between.
    refused(post_matching(&caller, ACTIVATIONS, &seen, &body(2)).await);

    // Of concurrent activations, one succeeds.
    let (seen, second) = (active_tag(&caller).await, body(2));
    let attempts = (0..8).map(|_| post_matching(&caller, ACTIVATIONS, &seen, &second));
    let responses = futures::future::join_all(attempts).await;
    let won = responses.iter().filter(|(status, _)| *status == StatusCode::CREATED).count();
    assert_eq!(won, 1, "{responses:?}");
    let seen = active_tag(&caller).await;
    let attempts = (0..8).map(|_| post_matching(&caller, ROLLBACK, &seen, &Value::Null));
    let responses = futures::future::join_all(attempts).await;
    let won = responses.iter().filter(|(status, _)| *status == StatusCode::CREATED).count();
    assert_eq!(won, 1, "{responses:?}");

    let seen = active_tag(&caller).await;
    for (tag, body, status, slug) in [
        ("1", body(1), 400, "malformed-request"),
        ("\"-1\"", body(1), 412, "precondition-failed"),
        (&seen, body(99), 422, "invalid-body"),
        (&seen, json!({"revision": 0}), 422, "invalid-body"),
        (&seen, json!({"revision": "1"}), 422, "invalid-body"),
        (&seen, json!({}), 422, "invalid-body"),
    ] {
        let (found, problem) = post_matching(&caller, ACTIVATIONS, tag, &body).await;
        assert_eq!(
            (found.as_u16(), &problem["type"]),
            (status, &json!(format!("/problems/{slug}"))),
            "{tag} {body}"
        );
    }
    for path in [
        "/rulesets/refund",
        "/rulesets/payment/revisions/99",
        "/rulesets/payment/revisions/x",
        "/rulesets/payment/revisions/-1",
    ] {
        assert_eq!(caller.get(path).await.0, StatusCode::NOT_FOUND, "{path}");
    }
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_errors_of_a_revision_are_reported_with_pointers() {
    let database = TestDatabase::create().await;
    let node = Node::start(&database).await;
    let caller = Caller::of_new_tenant(&node, "acme").await;
    let limits = caller.plugin("amount-limits").await;
    let lists = caller.plugin("party-lists").await;
    let entry = |name: &str, plugin: &str, settings: Value| json!({"name": name, "plugin": plugin, "settings": settings});
    let fine = entry("fine", &limits, limit(5));
    let changed = |member: &str, value: Value| {
        let mut entry = fine.clone();
        entry[member] = value;
        json!([entry])
    };
    let many: Vec<Value> = (0..51).map(|place| entry(&format!("rule-{place}"), &limits, limit(5))).collect();
    let listed = json!({"lists": [{"list": "nobody-made-it", "selector": "customer", "verdict": "reject"}]});
    let twice =
        json!({"limits": [{"currency": "EUR", "maximum_minor": 5}, {"currency": "EUR", "maximum_minor": 6}]});
    for (what, rules, pointer, words) in [
        (
            "a bound that is text",
            json!([entry("a", &limits, json!({"limits": [{"maximum_minor": "x"}]}))]),
            "/rules/0/settings",
            "",
        ),
        (
            "no limit",
            json!([entry("a", &limits, json!({"limits": []}))]),
            "/rules/0/settings/limits",
            "limit",
        ),
        ("twice the same", json!([fine, entry("a", &limits, twice)]), "/rules/1/settings/limits/1", "limit"),
        (
            "an unknown setting",
            json!([entry("a", &limits, json!({"limits": [], "colour": "red"}))]),
            "/rules/0/settings",
            "colour",
        ),
        (
            "an unknown plugin",
            json!([entry("a", &"0".repeat(64), json!({}))]),
            "/rules/0/plugin",
            "there is no plugin",
        ),
        ("no digest", json!([entry("a", "amount-limits", json!({}))]), "/rules/0/plugin", ""),
        ("an unknown list", json!([entry("a", &lists, listed)]), "/rules/0/settings", "nobody-made-it"),
        ("a name twice", json!([fine, fine]), "/rules/1/name", "another rule"),
        ("a bad name", changed("name", json!("Not A Slug")), "/rules/0/name", "lower-case"),
        ("51 rules", Value::Array(many), "/rules", "50"),
        ("an unknown member", changed("colour", json!(1)), "/rules/0/colour", ""),
        (
            "an unknown failure outcome",
            changed("on_failure", json!("shrug")),
            "/rules/0/on_failure",
            "pass, review or reject",
        ),
        ("an unknown mode", changed("mode", json!("dead")), "/rules/0/mode", "live or shadow"),
        ("a flag that is none", changed("overridable", json!("yes")), "/rules/0/overridable", ""),
        ("settings that are none", changed("settings", json!([])), "/rules/0/settings", "object"),
        ("no rules", Value::Null, "/rules", "required"),
    ] {
        let (status, problem) = caller.post(REVISIONS, &json!({"rules": rules})).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{what}: {problem}");
        assert_eq!(problem["type"], "/problems/invalid-body", "{what}");
        let errors = problem["errors"].as_array().expect("errors");
        let reported = errors.iter().any(|error| {
            let (at, detail) = (error["pointer"].as_str().unwrap(), error["detail"].as_str().unwrap());
            at.starts_with(pointer) && detail.contains(words)
        });
        assert!(reported, "{what}: {pointer} {words}: {problem}");
    }
    // All errors in one request.
    let rules =
        json!([entry("a", &limits, json!({"limits": []})), fine, entry("b", &"0".repeat(64), json!({}))]);
    let (_, problem) = caller.post(REVISIONS, &json!({"rules": rules})).await;
    assert_eq!(problem["errors"].as_array().map(Vec::len), Some(2), "{problem}");
    assert_eq!(caller.get(REVISIONS).await.1, json!({"items": []}));
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_rules_that_fail_on_their_settings_are_reported_and_some_are_diagnosed() {
    let database = TestDatabase::create().await;
    let node = Node::start(&database).await;
    let caller = Caller::of_new_tenant(&node, "acme").await;
    let plugin = caller.upload_fixture("panics_over_settings").await;
    let rules: Vec<Value> = (0..6)
        .map(|place| json!({"name": format!("rule-{place}"), "plugin": plugin, "settings": {}}))
        .collect();
    let begun = Instant::now();
    loop {
        let (status, problem) = caller.post(REVISIONS, &json!({"rules": rules})).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{problem}");
        let flaws = problem["errors"].as_array().expect("errors");
        assert_eq!(flaws.len(), rules.len(), "{problem}");
        let details = || flaws.iter().map(|flaw| flaw["detail"].as_str().expect("a text"));
        assert!(details().all(|detail| detail.contains("failed while reading its settings")), "{problem}");
        let looked_into = details().filter(|detail| detail.contains("the list is empty")).count();
        assert!(looked_into <= 3, "{problem}");
        // Compilation for the first diagnosis may take longer than the request waits.
        if looked_into > 0 {
            break;
        }
        assert!(begun.elapsed() < TEST_TIMEOUT, "{problem}");
    }
    node.stop().await;
}

/// Two lists with one rule each: `friends` allows, `foes` reviews or rejects.
async fn friends_and_foes(caller: &Caller, foes: Value) -> Value {
    let plugin = caller.plugin("party-lists").await;
    let settings = |list: &str, selector: &str, verdict: &str| json!({"lists": [{"list": list, "selector": selector, "verdict": verdict}]});
    let mut foe = json!({"name": "foes", "plugin": plugin, "settings": settings("foes", "customer", foes["verdict"].as_str().unwrap())});
    foe["overridable"] = foes["overridable"].clone();
    json!([{"name": "friends", "plugin": plugin, "settings": settings("friends", "merchant", "allow")}, foe])
}

#[tokio::test(flavor = "multi_thread")]
async fn allow_cancels_only_the_findings_of_overridable_rules() {
    let database = TestDatabase::create().await;
    let node = Node::start(&database).await;
    let caller = Caller::of_new_tenant(&node, "acme").await;
    for (list, value) in [("friends", "merchant-1"), ("foes", "customer-1")] {
        caller.post("/lists", &json!({"name": list, "kind": "text"})).await;
        let (status, entry) =
            caller.post(&format!("/lists/{list}/entries"), &json!({"value": value, "reason": "r"})).await;
        assert_eq!(status, StatusCode::CREATED, "{entry}");
        until_valid(&entry).await;
    }
    let of_a_friend = payment_with(&json!({"merchant": "merchant-1"}));
    for (verdict, overridable, alone, with_friend) in [
        ("review", true, "review", "approve"),
        ("reject", true, "reject", "approve"),
        ("review", false, "review", "review"),
        ("reject", false, "reject", "reject"),
    ] {
        let foes = json!({"verdict": verdict, "overridable": overridable});
        caller.activate_entries(&friends_and_foes(&caller, foes).await).await;
        let (_, response) =
            caller.pay(&format!("{verdict} {overridable}").replace(' ', "-"), &payment()).await;
        assert_eq!(response["outcome"], alone, "{verdict} {overridable}: {response}");
        let (_, response) = caller.pay(&format!("friend-{verdict}-{overridable}"), &of_a_friend).await;
        assert_eq!(response["outcome"], with_friend, "{verdict} {overridable}: {response}");
        // The overridden reason is still reported.
        let reasons = response["reasons"].as_array().unwrap();
        let foe = reasons.iter().find(|reason| reason["rule"] == "foes").expect("its reason");
        assert_eq!(foe["overridden"].as_bool().unwrap_or(false), overridable, "{response}");
    }
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_in_shadow_mode_gets_its_facts_and_has_no_effect() {
    let database = TestDatabase::create().await;
    let node = Node::start(&database).await;
    let caller = Caller::of_new_tenant(&node, "acme").await;
    let velocity = json!({"limits": [{"selector": "customer", "window_seconds": 3_600, "max_count": 1, "verdict": "reject"}]});
    let entry = json!({"name": "tried", "plugin": caller.plugin("velocity").await, "settings": velocity, "mode": "shadow"});
    caller.activate_entries(&json!([limits_entry(&caller, 1_000_000).await, entry])).await;
    caller.pay("k1", &payment()).await;
    let (_, second) = caller.pay("k2", &payment()).await;
    assert_eq!((&second["outcome"], &second["reasons"]), (&json!("approve"), &json!([])), "{second}");
    let (_, evidence) = caller.get(&format!("/decisions/{}", second["id"].as_str().unwrap())).await;
    let shadow = &evidence["rules"][1];
    assert_eq!((&shadow["name"], &shadow["mode"]), (&json!("tried"), &json!("shadow")), "{evidence}");
    assert_eq!(shadow["facts"][0]["velocity"]["count"], 1, "{evidence}");
    assert_eq!(shadow.get("result"), None, "{evidence}");
    node.stop().await;
}
