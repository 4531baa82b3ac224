//! Lists over HTTP, and the effect of their entries on decisions.

mod bulk;
mod kinds;
mod memory;
mod revisions;
mod upgrade;

use futures::future::join_all;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::support::database::TestDatabase;
use crate::support::decisions::now_ms;
use crate::support::lists::{until_ended, until_valid};
use crate::support::service::{Caller, Node, payment, payment_with, send};

async fn list(caller: &Caller, name: &str, kind: &str) {
    let body = json!({"name": name, "kind": kind, "description": "of a test"});
    let (status, list) = caller.post("/lists", &body).await;
    assert_eq!(status, StatusCode::CREATED, "{list}");
}

async fn add(caller: &Caller, list: &str, value: &str) -> (StatusCode, Value) {
    caller.post(&format!("/lists/{list}/entries"), &json!({"value": value, "reason": "a test"})).await
}

async fn close(caller: &Caller, list: &str, entry: &Value) -> (StatusCode, Value) {
    let path = format!("/lists/{list}/entries/{}", entry["id"].as_str().unwrap());
    send(caller.request(Method::DELETE, &path)).await
}

/// Adds an entry and waits until it is valid.
async fn add_now(caller: &Caller, list: &str, value: &str) -> Value {
    let (status, entry) = add(caller, list, value).await;
    assert_eq!(status, StatusCode::CREATED, "{value}: {entry}");
    until_valid(&entry).await;
    entry
}

/// Closes an entry and waits until it has ended.
async fn close_now(caller: &Caller, list: &str, entry: &Value) {
    let (status, closed) = close(caller, list, entry).await;
    assert_eq!(status, StatusCode::OK, "{closed}");
    until_ended(&closed).await;
}

async fn outcome(caller: &Caller, key: &str, body: &Value) -> Value {
    let (status, response) = caller.pay(key, body).await;
    assert_eq!(status, StatusCode::CREATED, "{response}");
    response["outcome"].clone()
}

fn values(page: &Value) -> Vec<&str> {
    page["items"].as_array().unwrap().iter().map(|entry| entry["value"].as_str().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn entries_are_opened_found_closed_and_opened_again() {
    let database = TestDatabase::create().await;
    let node = Node::start(&database).await;
    let caller = Caller::of_new_tenant(&node, "acme").await;
    let stranger = Caller::of_new_tenant(&node, "other").await;
    list(&caller, "blocked", "account").await;
    let (status, problem) = caller.post("/lists", &json!({"name": "blocked", "kind": "text"})).await;
    assert_eq!((status, &problem["type"]), (StatusCode::CONFLICT, &json!("/problems/conflict")));
    for body in [
        json!({"name": "Not A Slug", "kind": "text"}),
        json!({"name": "", "kind": "text"}),
        json!({"name": "a"}),
        json!({"name": "a", "kind": "colour"}),
        json!({}),
        json!({"name": "a", "kind": "text", "colour": 1}),
    ] {
        let (status, problem) = caller.post("/lists", &body).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{body}: {problem}");
    }

    let before_ms = now_ms();
    let (status, entry) = add(&caller, "blocked", "DE89 3704 0044 0532 0130 00").await;
    assert_eq!(status, StatusCode::CREATED, "{entry}");
    let from_ms = entry["valid_from_ms"].as_u64().unwrap();
    assert!(from_ms >= before_ms + 1_900, "valid from {from_ms}, added after {before_ms}");
    // The printed and the electronic form are the same value.
    for value in ["DE89 3704 0044 0532 0130 00", "DE89370400440532013000"] {
        let (status, problem) = add(&caller, "blocked", value).await;
        assert_eq!(
            (status, &problem["type"]),
            (StatusCode::CONFLICT, &json!("/problems/conflict")),
            "{value}"
        );
        let (_, page) =
            caller.get(&format!("/lists/blocked/entries?value={}", value.replace(' ', "%20"))).await;
        assert_eq!(values(&page), ["DE89 3704 0044 0532 0130 00"], "{value}");
    }
    let (_, lists) = caller.get("/lists").await;
    assert_eq!(
        (&lists["items"][0]["name"], &lists["items"][0]["open_entries"]),
        (&json!("blocked"), &json!(1))
    );

    let closing_ms = now_ms();
    let (status, closed) = close(&caller, "blocked", &entry).await;
    assert_eq!(status, StatusCode::OK, "{closed}");
    assert_eq!(close(&caller, "blocked", &entry).await.0, StatusCode::NOT_FOUND, "closed is closed");
    let (_, page) = caller.get("/lists/blocked/entries").await;
    assert_eq!(page["items"][0], closed);
    let closed_ms = closed["valid_to_ms"].as_u64().expect("its end");
    assert!(closed_ms >= closing_ms + 1_900, "ends at {closed_ms}, closed after {closing_ms}");
    assert_eq!(page["items"][0]["closed_by"], page["items"][0]["added_by"]);
    for (at_ms, expected) in [(before_ms - 1, 0), (from_ms, 1), (closed_ms - 1, 1), (closed_ms, 0)] {
        let (_, page) = caller.get(&format!("/lists/blocked/entries?at_ms={at_ms}")).await;
        let expected = if from_ms == closed_ms { 0 } else { expected };
        assert_eq!(values(&page).len(), expected, "at {at_ms}, valid from {from_ms} to {closed_ms}");
    }
    let (status, again) = add(&caller, "blocked", "DE89370400440532013000").await;
    assert_eq!(status, StatusCode::CREATED, "{again}");
    assert_ne!(again["id"], entry["id"]);
    let (_, page) = caller.get("/lists/blocked/entries?value=DE89370400440532013000").await;
    assert_eq!(values(&page).len(), 2, "the closed one is kept");

    let too_soon = json!({"value": "x", "reason": "r", "valid_to_ms": now_ms() + 1_000});
    let past = json!({"value": "x", "reason": "r", "valid_from_ms": 1});
    let backwards =
        json!({"value": "x", "reason": "r", "valid_from_ms": now_ms() + 60_000, "valid_to_ms": now_ms() + 1});
    for (body, pointer) in [
        (past, "/valid_from_ms"),
        (backwards, "/valid_to_ms"),
        (too_soon, "/valid_to_ms"),
        (json!({"value": "", "reason": "r"}), "/value"),
        (json!({"value": "x"}), "/reason"),
        (json!({"value": "x".repeat(201), "reason": "r"}), "/value"),
        (json!({"value": "x", "reason": "r", "colour": 1}), "/colour"),
    ] {
        let (status, problem) = caller.post("/lists/blocked/entries", &body).await;
        assert_eq!(
            (status, &problem["errors"][0]["pointer"]),
            (StatusCode::UNPROCESSABLE_ENTITY, &json!(pointer)),
            "{problem}"
        );
    }

    for path in ["/lists/blocked/entries", "/lists/nowhere/entries"] {
        assert_eq!(stranger.get(path).await.0, StatusCode::NOT_FOUND, "{path}");
        let body = json!({"value": "x", "reason": "r"});
        assert_eq!(stranger.post(path, &body).await.0, StatusCode::NOT_FOUND, "{path}");
    }
    assert_eq!(close(&stranger, "blocked", &again).await.0, StatusCode::NOT_FOUND);
    assert_eq!(stranger.get("/lists").await.1, json!({"items": []}));
    list(&stranger, "blocked", "account").await;
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_entries_are_consecutive_and_a_cursor_is_valid_only_for_its_list() {
    let database = TestDatabase::create().await;
    let node = Node::start(&database).await;
    let caller = Caller::of_new_tenant(&node, "acme").await;
    let stranger = Caller::of_new_tenant(&node, "other").await;
    for name in ["many", "others"] {
        list(&caller, name, "text").await;
        list(&stranger, name, "text").await;
    }
    let expected: Vec<String> = (0..7).map(|place| format!("value-{place}")).collect();
    for value in &expected {
        add(&caller, "many", value).await;
    }
    let mut found = Vec::new();
    let mut path = "/lists/many/entries?limit=3".to_owned();
    let mut first_cursor = None;
    loop {
        let (status, page) = caller.get(&path).await;
        assert_eq!(status, StatusCode::OK, "{page}");
        found.extend(values(&page).into_iter().map(str::to_owned));
        let Some(cursor) = page["next_cursor"].as_str() else { break };
        first_cursor.get_or_insert(cursor.to_owned());
        path = format!("/lists/many/entries?limit=3&cursor={cursor}");
    }
    assert_eq!(found, expected);
    let cursor = first_cursor.unwrap();
    for (caller, path) in [
        (&caller, format!("/lists/others/entries?cursor={cursor}")),
        (&caller, format!("/lists/many/entries?value=value-1&cursor={cursor}")),
        (&caller, format!("/lists/many/entries?cursor={cursor}x")),
        (&caller, "/lists/many/entries?cursor=".to_owned()),
        (&caller, "/lists/many/entries?limit=0".to_owned()),
        (&caller, "/lists/many/entries?limit=201".to_owned()),
        (&caller, "/lists/many/entries?at_ms=soon".to_owned()),
        (&stranger, format!("/lists/many/entries?cursor={cursor}")),
    ] {
        let (status, problem) = caller.get(&path).await;
        assert_eq!(
            (status, &problem["type"]),
            (StatusCode::BAD_REQUEST, &json!("/problems/invalid-query")),
            "{path}"
        );
    }
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_decision_uses_the_list_as_it_is_at_that_time() {
    let database = TestDatabase::create().await;
    let node = Node::start(&database).await;
    let cases = [
        (
            ("account", "debtor_account", "exact"),
            "DE89 3704 0044 0532 0130 00",
            payment(),
            payment_with(&json!({"debtor": {"name": "a", "account": {"iban": "NL91ABNA0417164300"}}})),
        ),
        (
            ("name", "creditor_name", "normalized_name"),
            "QUICK  Cásh, Ltd",
            payment_with(&json!({"creditor": {"name": "quick cash ltd."}})),
            payment_with(&json!({"creditor": {"name": "quick cash limited"}})),
        ),
        (
            ("customer", "customer", "prefix"),
            "fraud-ring-",
            payment_with(&json!({"customer": "fraud-ring-7"})),
            payment_with(&json!({"customer": "fraud-rin"})),
        ),
    ];
    join_all(cases.into_iter().map(async |((kind, selector, matching), value, matched, not_matched)| {
        let caller = Caller::of_new_tenant(&node, kind).await;
        list(&caller, kind, kind).await;
        let check = json!({"list": kind, "selector": selector, "matching": matching, "verdict": "reject"});
        caller.activate(&[("party-lists", json!({"lists": [check]}))]).await;
        let (_, before) = caller.pay("before", &matched).await;
        assert_eq!(before["outcome"], "approve", "{value}");
        let entry = add_now(&caller, kind, value).await;
        assert_eq!(outcome(&caller, "on", &matched).await, "reject", "{value}");
        assert_eq!(outcome(&caller, "other", &not_matched).await, "approve", "{value}");
        close_now(&caller, kind, &entry).await;
        assert_eq!(outcome(&caller, "closed", &matched).await, "approve", "{value}");
        add_now(&caller, kind, value).await;
        assert_eq!(outcome(&caller, "again", &matched).await, "reject", "{value}");
        // Earlier decisions do not change.
        let id = before["id"].as_str().unwrap();
        assert_eq!(caller.get(&format!("/decisions/{id}/replay")).await.1["identical"], true);
    }))
    .await;
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_is_valid_from_its_beginning_until_its_end() {
    let database = TestDatabase::create().await;
    let node = Node::start(&database).await;
    let caller = Caller::of_new_tenant(&node, "acme").await;
    list(&caller, "customers", "customer").await;
    let check = json!({"list": "customers", "selector": "customer", "verdict": "reject"});
    caller.activate(&[("party-lists", json!({"lists": [check]}))]).await;
    let (from_ms, to_ms) = (now_ms() + 2_700, now_ms() + 3_400);
    let body = json!({"value": "customer-9", "reason": "r", "valid_from_ms": from_ms, "valid_to_ms": to_ms});
    let (status, entry) = caller.post("/lists/customers/entries", &body).await;
    assert_eq!(status, StatusCode::CREATED, "{entry}");
    assert_eq!((&entry["valid_from_ms"], &entry["valid_to_ms"]), (&json!(from_ms), &json!(to_ms)));
    let customer = payment_with(&json!({"customer": "customer-9"}));
    let mut seen = Vec::new();
    for place in 0.. {
        let (_, response) = caller.pay(&format!("timed-{place}"), &customer).await;
        let at_ms = response["received_at_ms"].as_u64().unwrap();
        let expected = if (from_ms..to_ms).contains(&at_ms) { "reject" } else { "approve" };
        assert_eq!(response["outcome"], expected, "at {at_ms} of {from_ms} to {to_ms}");
        if seen.last() != Some(&expected) {
            seen.push(expected);
        }
        if at_ms >= to_ms {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(60)).await;
    }
    assert_eq!(seen, ["approve", "reject", "approve"]);
    node.stop().await;
}
