//! Revisions that use lists, and lists that are closed.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::{add, add_now, list};
use crate::support::database::TestDatabase;
use crate::support::service::{Caller, Node, payment_with, send};

const REVISIONS: &str = "/rulesets/payment/revisions";

async fn entries_with_lists(caller: &Caller, checks: &[(&str, Value)]) -> Value {
    let plugin = caller.plugin("party-lists").await;
    let lists: Vec<Value> = checks
        .iter()
        .map(|(list, selector)| json!({"list": list, "selector": selector, "verdict": "reject"}))
        .collect();
    json!([{"name": "lists", "plugin": plugin, "settings": {"lists": lists}}])
}

async fn close(caller: &Caller, list: &str) -> (StatusCode, Value) {
    send(caller.request(Method::DELETE, &format!("/lists/{list}"))).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_for_a_missing_list_is_refused_at_its_setting() {
    let database = TestDatabase::create().await;
    let node = Node::start(&database).await;
    let caller = Caller::of_new_tenant(&node, "acme").await;
    for (name, kind) in [("names", "name"), ("texts", "text"), ("merchants", "merchant"), ("old", "text")] {
        list(&caller, name, kind).await;
    }
    assert_eq!(close(&caller, "old").await.0, StatusCode::NO_CONTENT);
    for (list, selector, pointer, reported) in [
        (
            "names",
            json!("debtor_account"),
            "selector",
            &["names", "kind name", "debtor_account", "kind account"][..],
        ),
        ("texts", json!("ip"), "selector", &["texts", "kind text", "kind ip"]),
        ("merchants", json!("customer"), "selector", &["merchants", "kind merchant", "kind customer"]),
        ("missing", json!("customer"), "list", &["there is no list missing"]),
        ("old", json!("customer"), "list", &["the list old is closed"]),
    ] {
        let rules =
            entries_with_lists(&caller, &[("texts", json!("customer")), (list, selector.clone())]).await;
        for (path, body) in [
            (REVISIONS, json!({"rules": rules})),
            ("/rulesets/payment/dry-runs", json!({"rules": rules, "payment": payment_with(&json!({}))})),
        ] {
            let (status, problem) = caller.post(path, &body).await;
            assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{list} {selector}: {problem}");
            let errors = problem["errors"].as_array().unwrap();
            let expected = format!("/rules/0/settings/lists/1/{pointer}");
            assert_eq!((errors.len(), &errors[0]["pointer"]), (1, &json!(expected)), "{problem}");
            let detail = errors[0]["detail"].as_str().unwrap();
            assert!(reported.iter().all(|part| detail.contains(part)), "{detail}");
        }
    }
    for selector in ["customer", "merchant", "device", "card"]
        .map(|name| json!(name))
        .into_iter()
        .chain([json!({"metadata": "shop"})])
    {
        let rules = entries_with_lists(&caller, &[("texts", selector.clone())]).await;
        let (status, revision) = caller.post(REVISIONS, &json!({"rules": rules})).await;
        assert_eq!(status, StatusCode::CREATED, "a list of text serves {selector}: {revision}");
    }
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_matching_that_does_not_apply_to_the_lists_kind_is_refused_at_its_setting() {
    let database = TestDatabase::create().await;
    let node = Node::start(&database).await;
    let caller = Caller::of_new_tenant(&node, "acme").await;
    for kind in ["account", "bank", "country", "ip", "name", "text"] {
        list(&caller, kind, kind).await;
    }
    let plugin = caller.plugin("party-lists").await;
    for (list, selector, matching, is_taken) in [
        ("account", "creditor_account", "normalized_name", false),
        ("account", "creditor_account", "prefix", true),
        ("bank", "debtor_bank", "normalized_name", false),
        ("bank", "debtor_bank", "prefix", true),
        ("country", "debtor_country", "normalized_name", false),
        ("country", "debtor_country", "prefix", false),
        ("ip", "ip", "normalized_name", false),
        ("ip", "ip", "prefix", false),
        ("name", "debtor_name", "normalized_name", true),
        ("name", "debtor_name", "prefix", true),
        ("text", "merchant", "normalized_name", true),
    ] {
        let checks = json!([
            {"list": "text", "selector": "customer", "matching": matching, "verdict": "reject"},
            {"list": list, "selector": selector, "matching": matching, "verdict": "reject"},
        ]);
        let rules = json!([{"name": "lists", "plugin": plugin, "settings": {"lists": checks}}]);
        let (status, response) = caller.post(REVISIONS, &json!({"rules": rules})).await;
        if is_taken {
            assert_eq!(status, StatusCode::CREATED, "{list} {matching}: {response}");
            continue;
        }
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{list} {matching}: {response}");
        let errors = response["errors"].as_array().unwrap();
        assert_eq!(
            (errors.len(), &errors[0]["pointer"]),
            (1, &json!("/rules/0/settings/lists/1/matching")),
            "{response}"
        );
        let detail = errors[0]["detail"].as_str().unwrap();
        assert!(detail.contains(matching) && detail.contains("exact"), "{detail}");
    }
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_metadata_key_that_no_payment_can_have_is_refused_in_every_query() {
    let database = TestDatabase::create().await;
    let node = Node::start(&database).await;
    let caller = Caller::of_new_tenant(&node, "acme").await;
    list(&caller, "texts", "text").await;
    let velocity = |key: &str| {
        let limit =
            json!({"selector": {"metadata": key}, "window_seconds": 60, "max_count": 1, "verdict": "review"});
        json!({"limits": [limit]})
    };
    let listed =
        |key: &str| json!({"lists": [{"list": "texts", "selector": {"metadata": key}, "verdict": "review"}]});
    let long = "k".repeat(41);
    for key in ["Shop", "shop id", "", "shöp", &long] {
        for (plugin, settings) in [("velocity", velocity(key)), ("party-lists", listed(key))] {
            let rules = json!([{"name": "r", "plugin": caller.plugin(plugin).await, "settings": settings}]);
            let (status, problem) = caller.post(REVISIONS, &json!({"rules": rules})).await;
            assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{plugin} {key:?}: {problem}");
            let pointer = problem["errors"][0]["pointer"].as_str().unwrap();
            assert!(pointer.starts_with("/rules/0/settings"), "{plugin} {key:?}: {problem}");
        }
    }
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_shows_the_queries_and_their_canonical_values() {
    let database = TestDatabase::create().await;
    let node = Node::start(&database).await;
    let caller = Caller::of_new_tenant(&node, "acme").await;
    list(&caller, "banks", "bank").await;
    list(&caller, "devices", "device").await;
    add_now(&caller, "banks", "deutdeff").await;
    let rules =
        entries_with_lists(&caller, &[("banks", json!("creditor_bank")), ("devices", json!("device"))]).await;
    let payment = payment_with(&json!({"creditor": {"name": "a", "bank": "DEUT DE FF"}}));
    let (status, run) =
        caller.post("/rulesets/payment/dry-runs", &json!({"rules": rules, "payment": payment})).await;
    assert_eq!((status, &run["outcome"]), (StatusCode::OK, &json!("reject")), "{run}");
    assert_eq!(
        run["rules"][0]["comparisons"],
        json!([
            {"list": "banks", "kinds": ["bank"], "value": "DEUT DE FF", "compared_as": "DEUTDEFFXXX"},
            {"list": "devices", "kinds": ["device"]}
        ]),
        "{run}"
    );
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_can_be_closed_when_no_deployed_rule_uses_it() {
    let database = TestDatabase::create().await;
    let node = Node::start(&database).await;
    let caller = Caller::of_new_tenant(&node, "acme").await;
    list(&caller, "blocked", "customer").await;
    add_now(&caller, "blocked", "customer-1").await;
    let limits = json!({"limits": [{"currency": "EUR", "maximum_minor": 9_000}]});
    let without = caller.activate(&[("amount-limits", limits)]).await;
    let rules = entries_with_lists(&caller, &[("blocked", json!("customer"))]).await;
    let (_, revision) = caller.post(REVISIONS, &json!({"rules": rules})).await;
    let with = revision["number"].as_i64().unwrap();

    let put = async |path: &str, body: Value| {
        let (status, response) = send(caller.request(Method::PUT, path).json(&body)).await;
        assert!(status.is_success(), "{response}");
    };
    let end = async |path: &str| assert!(send(caller.request(Method::DELETE, path)).await.0.is_success());
    let refused = async || {
        let (status, problem) = close(&caller, "blocked").await;
        assert_eq!(status, StatusCode::CONFLICT, "{problem}");
        let reported = format!("revision {with} is deployed");
        assert!(problem["detail"].as_str().unwrap().contains(&reported), "{problem}");
    };
    put("/rulesets/payment/shadow", json!({"revision": with})).await;
    refused().await;
    end("/rulesets/payment/shadow").await;
    put("/rulesets/payment/canary", json!({"revision": with, "share_percent": 10})).await;
    refused().await;
    end("/rulesets/payment/canary").await;
    let activate = async |revision: i64| {
        caller.post("/rulesets/payment/activations", &json!({"revision": revision})).await
    };
    assert_eq!(activate(with).await.0, StatusCode::CREATED);
    refused().await;
    let decided = caller.pay("k", &payment_with(&json!({}))).await.1;
    assert_eq!(decided["outcome"], "reject", "{decided}");
    assert_eq!(activate(without).await.0, StatusCode::CREATED);

    assert_eq!(close(&caller, "blocked").await.0, StatusCode::NO_CONTENT);
    assert_eq!(close(&caller, "blocked").await.0, StatusCode::NOT_FOUND, "closed is closed");
    let (status, problem) = add(&caller, "blocked", "customer-2").await;
    assert_eq!(status, StatusCode::CONFLICT, "it takes no entries: {problem}");
    let (status, problem) = activate(with).await;
    assert_eq!(status, StatusCode::CONFLICT, "{problem}");
    assert!(problem["detail"].as_str().unwrap().contains("blocked"), "{problem}");
    let (_, page) = caller.get("/lists").await;
    assert_eq!(page["items"][0]["closed_by"], page["items"][0]["created_by"], "{page}");
    assert!(page["items"][0]["closed_at_ms"].is_u64(), "{page}");
    // Earlier decisions keep their evidence, and a rollback is always possible.
    let path = format!("/decisions/{}/replay", decided["id"].as_str().unwrap());
    assert_eq!(caller.get(&path).await.1["identical"], true);
    let (status, back) = caller.post("/rulesets/payment/rollback", &json!({})).await;
    assert!(status.is_success(), "{back}");
    let (_, acts) = caller.get("/audit?action=list.closed").await;
    assert_eq!(
        (&acts["items"][0]["subject"], acts["items"].as_array().unwrap().len()),
        (&json!("blocked"), 1)
    );
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_are_paginated() {
    let database = TestDatabase::create().await;
    let node = Node::start(&database).await;
    let caller = Caller::of_new_tenant(&node, "acme").await;
    for place in [3, 1, 4, 0, 2] {
        list(&caller, &format!("l-{place}"), "text").await;
    }
    let (mut found, mut path) = (Vec::new(), "/lists?limit=2".to_owned());
    loop {
        let (status, page) = caller.get(&path).await;
        assert_eq!(status, StatusCode::OK, "{page}");
        found.extend(page["items"].as_array().unwrap().iter().map(|list| list["name"].clone()));
        let Some(cursor) = page["next_cursor"].as_str() else { break };
        path = format!("/lists?limit=2&cursor={cursor}");
    }
    assert_eq!(found, ["l-0", "l-1", "l-2", "l-3", "l-4"]);
    node.stop().await;
}
