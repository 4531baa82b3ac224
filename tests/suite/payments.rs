//! Payments over HTTP: decisions, retries and search.

use std::collections::BTreeSet;

use reqwest::StatusCode;
use serde_json::{Value, json};
use tollgate::domain::tenant::Scope;

use crate::support::database::TestDatabase;
use crate::support::service::{Caller, Node, payment, payment_with};

fn limits() -> (&'static str, Value) {
    let limit = json!({"currency": "EUR", "review_above_minor": 1_000_000, "maximum_minor": 5_000_000});
    ("amount-limits", json!({"limits": [limit]}))
}

#[tokio::test(flavor = "multi_thread")]
async fn payments_are_approved_reviewed_and_rejected_with_the_reasons_of_every_rule() {
    let database = TestDatabase::create().await;
    let node = Node::start(&database).await;
    let caller = Caller::of_new_tenant(&node, "acme").await;
    caller.activate(&[limits(), ("account-check", json!({}))]).await;

    let (status, approved) = caller.pay("k1", &payment()).await;
    assert_eq!((status, &approved["outcome"]), (StatusCode::CREATED, &json!("approve")), "{approved}");

    let (_, reviewed) = caller.pay("k2", &payment_with(&json!({"amount_minor": 1_000_001}))).await;
    assert_eq!(reviewed["outcome"], "review", "{reviewed}");

    let mut bad = payment_with(&json!({"amount_minor": 5_000_001}));
    bad["debtor"]["account"]["iban"] = json!("DE00370400440532013000");
    let (_, rejected) = caller.pay("k3", &bad).await;
    assert_eq!(rejected["outcome"], "reject", "{rejected}");
    let reasons = rejected["reasons"].as_array().expect("reasons");
    let rules: BTreeSet<&str> = reasons.iter().filter_map(|reason| reason["rule"].as_str()).collect();
    assert_eq!(rules, BTreeSet::from(["account-check", "amount-limits"]), "{rejected}");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_an_active_ruleset_the_outcome_is_review() {
    let database = TestDatabase::create().await;
    let node = Node::start(&database).await;
    let caller = Caller::of_new_tenant(&node, "acme").await;
    let (status, response) = caller.pay("k", &payment()).await;
    assert_eq!((status, &response["outcome"]), (StatusCode::CREATED, &json!("review")), "{response}");
    assert_eq!(response["reasons"][0]["code"], "no-active-ruleset");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_cannot_load_the_active_rules_does_not_decide_without_them() {
    let database = TestDatabase::create().await;
    let node = Node::start(&database).await;
    let caller = Caller::of_new_tenant(&node, "acme").await;
    caller.activate(&[limits()]).await;
    let mut superuser = database.superuser().await;
    let damage = "with kept as (select digest, bytes from plugins)
                  update plugins set bytes = '\\x00' from kept where kept.digest = plugins.digest
                  returning kept.digest, kept.bytes";
    let kept: Vec<(Vec<u8>, Vec<u8>)> = sqlx::query_as(damage).fetch_all(&mut superuser).await.unwrap();

    let no_plugins = crate::private_server::folder();
    let late = Node::start_with(&database, &[("plugins_dir", json!(no_plugins.path()))]).await;
    let there = caller.at(&late.url);
    let (status, response) = there.pay("k", &payment()).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{response}");
    let stranger = Caller::of_new_tenant(&late, "other").await;
    assert_eq!(stranger.pay("k", &payment()).await.0, StatusCode::CREATED, "others are served");

    for (digest, bytes) in kept {
        let repair = sqlx::query("update plugins set bytes = $2 where digest = $1").bind(digest).bind(bytes);
        repair.execute(&mut superuser).await.unwrap();
    }
    let mut decided = there.pay("k", &payment()).await;
    for _ in 0..100 {
        if decided.0 == StatusCode::CREATED {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        decided = there.pay("k", &payment()).await;
    }
    assert_eq!((decided.0, &decided.1["outcome"]), (StatusCode::CREATED, &json!("approve")));
    late.stop().await;
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_with_the_same_key_returns_the_first_decision() {
    let database = TestDatabase::create().await;
    let node = Node::start(&database).await;
    let caller = Caller::of_new_tenant(&node, "acme").await;
    let (first_status, first) = caller.pay("k", &payment()).await;
    // The first decision is returned even if the rules have changed.
    caller.activate(&[limits()]).await;
    let (again_status, again) = caller.pay("k", &payment()).await;
    assert_eq!((first_status, again_status), (StatusCode::CREATED, StatusCode::OK));
    assert_eq!(first, again);

    let (status, problem) = caller.pay("k", &payment_with(&json!({"amount_minor": 1}))).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(problem["type"], "/problems/idempotency-key-reused");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_request_frees_its_key() {
    let database = TestDatabase::create().await;
    let node = Node::start(&database).await;
    let caller = Caller::of_new_tenant(&node, "acme").await;
    let (status, _) = caller.pay("k", &payment_with(&json!({"amount_minor": -1}))).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    let (status, _) = caller.pay("k", &payment()).await;
    assert_eq!(status, StatusCode::CREATED);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_errors_of_a_body_are_reported_at_once_and_no_value_is_echoed() {
    let database = TestDatabase::create().await;
    let node = Node::start(&database).await;
    let caller = Caller::of_new_tenant(&node, "acme").await;
    let body = json!({
        "reference": "", "amount_minor": 0.5, "currency": "EURO", "method": "cheque", "surprise": 1,
        "debtor": {"name": 7, "account": {"iban": "nonsense"}},
        "card": {"fingerprint": "4111 1111 1111 1111"}
    });
    let (status, problem) = caller.pay("k", &body).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    let reported: BTreeSet<&str> =
        problem["errors"].as_array().expect("errors").iter().filter_map(|e| e["pointer"].as_str()).collect();
    for pointer in [
        "/reference",
        "/amount_minor",
        "/currency",
        "/method",
        "/surprise",
        "/debtor/name",
        "/debtor/account/iban",
        "/card/fingerprint",
        "/creditor",
    ] {
        assert!(reported.contains(pointer), "{pointer} is missing: {problem}");
    }
    assert!(!problem.to_string().contains("4111"), "{problem}");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payment_is_found_by_key_reference_account_and_outcome() {
    let database = TestDatabase::create().await;
    let node = Node::start(&database).await;
    let caller = Caller::of_new_tenant(&node, "acme").await;
    caller.activate(&[limits()]).await;
    let mut ids = Vec::new();
    for place in 0..5 {
        let amount = if place == 3 { 2_000_000 } else { 100 + place };
        let changes = json!({"reference": format!("order-{place}"), "amount_minor": amount});
        let (_, response) = caller.pay(&format!("k{place}"), &payment_with(&changes)).await;
        ids.push(response["id"].as_str().expect("id").to_owned());
    }
    for (query, expected) in [
        ("idempotency_key=k2", vec![2]),
        ("reference=order-4", vec![4]),
        ("outcome=review", vec![3]),
        ("account=NL91ABNA0417164300", vec![4, 3, 2, 1, 0]),
        ("customer=customer-1&outcome=approve", vec![4, 2, 1, 0]),
        ("customer=nobody", vec![]),
    ] {
        let (status, page) = caller.get(&format!("/payments?{query}")).await;
        assert_eq!(status, StatusCode::OK, "{query}: {page}");
        let found: Vec<&str> =
            page["items"].as_array().expect("items").iter().filter_map(|item| item["id"].as_str()).collect();
        let expected: Vec<&str> = expected.into_iter().map(|place: usize| ids[place].as_str()).collect();
        assert_eq!(found, expected, "{query}");
    }
    let (status, problem) = caller.get("/payments?colour=red").await;
    assert_eq!(status, StatusCode::BAD_REQUEST, "{problem}");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_have_no_gap_or_overlap() {
    let database = TestDatabase::create().await;
    let node = Node::start(&database).await;
    let caller = Caller::of_new_tenant(&node, "acme").await;
    let mut expected = Vec::new();
    for place in 0..7 {
        let (_, response) = caller.pay(&format!("k{place}"), &payment()).await;
        expected.insert(0, response["id"].clone());
    }
    let mut found = Vec::new();
    let mut path = "/payments?limit=3".to_owned();
    loop {
        let (status, page) = caller.get(&path).await;
        assert_eq!(status, StatusCode::OK, "{page}");
        found.extend(page["items"].as_array().expect("items").iter().map(|item| item["id"].clone()));
        match page["next_cursor"].as_str() {
            Some(cursor) => path = format!("/payments?limit=3&cursor={cursor}"),
            None => break,
        }
    }
    assert_eq!(found, expected);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn evidence_has_the_input_of_each_rule_and_replay_is_identical() {
    let database = TestDatabase::create().await;
    let node = Node::start(&database).await;
    let caller = Caller::of_new_tenant(&node, "acme").await;
    let limit = json!({"selector": "customer", "window_seconds": 3_600, "max_count": 1, "verdict": "review"});
    caller.activate(&[("velocity", json!({"limits": [limit]}))]).await;
    caller.pay("k1", &payment()).await;
    let (_, second) = caller.pay("k2", &payment()).await;
    assert_eq!(second["outcome"], "review", "{second}");

    let id = second["id"].as_str().expect("id");
    let (status, evidence) = caller.get(&format!("/decisions/{id}")).await;
    assert_eq!(status, StatusCode::OK, "{evidence}");
    let rule = &evidence["rules"][0];
    assert_eq!(rule["name"], "velocity", "{evidence}");
    assert_eq!(rule["facts"][0]["velocity"]["count"], 1, "{evidence}");
    assert_eq!(evidence["payment"]["amount_minor"], 2_500, "{evidence}");

    let (status, replay) = caller.get(&format!("/decisions/{id}/replay")).await;
    assert_eq!((status, &replay["identical"]), (StatusCode::OK, &json!(true)), "{replay}");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tenants_and_scopes_limit_what_a_client_sees() {
    let database = TestDatabase::create().await;
    let node = Node::start(&database).await;
    let caller = Caller::of_new_tenant(&node, "acme").await;
    let stranger = Caller::of_new_tenant(&node, "other").await;
    let (_, response) = caller.pay("k", &payment()).await;
    let path = format!("/payments/{}", response["id"].as_str().expect("id"));

    assert_eq!(caller.get(&path).await.0, StatusCode::OK);
    assert_eq!(stranger.get(&path).await.0, StatusCode::NOT_FOUND);
    assert_eq!(stranger.pay("k", &payment()).await.0, StatusCode::CREATED, "keys are per tenant");

    let writer = Caller::of_tenant(&node, "acme", [Scope::PaymentsWrite].into_iter().collect()).await;
    let (status, problem) = writer.get(&path).await;
    assert_eq!(status, StatusCode::FORBIDDEN, "{problem}");
    let (_, without_reading) = writer.pay("k9", &payment()).await;
    assert!(without_reading["reasons"][0].get("message").is_none(), "{without_reading}");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_of_ten_approves_ten_of_fifty_concurrent_payments() {
    let database = TestDatabase::create().await;
    let node = Node::start(&database).await;
    let caller = Caller::of_new_tenant(&node, "acme").await;
    let limit =
        json!({"selector": "customer", "window_seconds": 3_600, "max_count": 10, "verdict": "reject"});
    caller.activate(&[("velocity", json!({"limits": [limit]}))]).await;
    let body = payment();
    let submissions = (0..50).map(|place| {
        let (caller, body) = (caller.clone(), body.clone());
        async move { caller.pay(&format!("k{place}"), &body).await.1 }
    });
    let responses = futures::future::join_all(submissions).await;
    let approved = responses.iter().filter(|response| response["outcome"] == "approve").count();
    assert_eq!(approved, 10, "{responses:#?}");
    node.stop().await;
}
