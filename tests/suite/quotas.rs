//! The quotas of a tenant, also with concurrent requests.

use futures::future::join_all;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::support::database::TestDatabase;
use crate::support::service::{Caller, Node, payment, send};

/// How many of these concurrent requests succeeded. The others must be refused because of the
/// quota, with advice.
fn count_accepted(responses: &[(StatusCode, Value)], what_to_do: &str) -> usize {
    for (status, problem) in responses.iter().filter(|(status, _)| !status.is_success()) {
        assert_eq!(*status, StatusCode::TOO_MANY_REQUESTS, "{problem}");
        assert_eq!(problem["type"], "/problems/quota-exceeded", "{problem}");
        assert!(problem["detail"].as_str().unwrap().contains(what_to_do), "{problem}");
    }
    responses.iter().filter(|(status, _)| status.is_success()).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_and_entries_are_bounded_and_closing_makes_room() {
    let database = TestDatabase::create().await;
    let settings = [("tenant_lists_max", json!(3)), ("list_entries_max", json!(4))];
    let node = Node::start_with(&database, &settings).await;
    let caller = Caller::of_new_tenant(&node, "acme").await;
    let make = async |name: String| caller.post("/lists", &json!({"name": name, "kind": "text"})).await;
    let made = join_all((0..8).map(|place| make(format!("l-{place}")))).await;
    assert_eq!(count_accepted(&made, "Close lists that are no longer used"), 3);
    let own: Vec<String> = made
        .iter()
        .filter(|(status, _)| status.is_success())
        .map(|(_, list)| list["name"].as_str().unwrap().to_owned())
        .collect();
    let closed = send(caller.request(Method::DELETE, &format!("/lists/{}", own[0]))).await;
    assert_eq!(closed.0, StatusCode::NO_CONTENT);
    assert_eq!(make("another".to_owned()).await.0, StatusCode::CREATED, "closing makes room");
    let stranger = Caller::of_new_tenant(&node, "other").await;
    let theirs = stranger.post("/lists", &json!({"name": "theirs", "kind": "text"})).await;
    assert_eq!(theirs.0, StatusCode::CREATED, "of one tenant");

    let entries = format!("/lists/{}/entries", own[1]);
    // An entry with an end counts until it has ended.
    let far_ms = crate::support::decisions::now_ms() + 3_600_000;
    let ends = json!({"value": "ends", "reason": "r", "valid_to_ms": far_ms});
    assert_eq!(caller.post(&entries, &ends).await.0, StatusCode::CREATED);
    let add = async |value: String| caller.post(&entries, &json!({"value": value, "reason": "r"})).await;
    let added = join_all((0..8).map(|place| add(format!("v-{place}")))).await;
    assert_eq!(count_accepted(&added, "list_entries_max"), 3);
    let lines = caller.request(Method::POST, &entries).header("Content-Type", "text/csv");
    let (status, problem) = send(lines.body("value,reason\nx,r\ny,r\n")).await;
    assert_eq!(status, StatusCode::TOO_MANY_REQUESTS, "many at once as well: {problem}");
    let open = added.iter().find(|(status, _)| status.is_success()).unwrap();
    let path = format!("{entries}/{}", open.1["id"].as_str().unwrap());
    assert_eq!(send(caller.request(Method::DELETE, &path)).await.0, StatusCode::OK);
    assert_eq!(add("after".to_owned()).await.0, StatusCode::CREATED);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn repeated_creation_and_closing_is_bounded() {
    let database = TestDatabase::create().await;
    let settings = [("tenant_lists_max", json!(2)), ("list_entries_max", json!(3))];
    let node = Node::start_with(&database, &settings).await;
    let caller = Caller::of_new_tenant(&node, "acme").await;
    let refused = |(status, problem): (StatusCode, Value), responses: &str| {
        assert_eq!(status, StatusCode::TOO_MANY_REQUESTS, "{problem}");
        assert_eq!(problem["type"], "/problems/quota-exceeded", "{problem}");
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.contains(responses) && detail.contains("closed"), "{detail}");
    };
    for place in 0..20 {
        let name = format!("l-{place}");
        let made = caller.post("/lists", &json!({"name": name, "kind": "text"})).await;
        assert_eq!(made.0, StatusCode::CREATED, "{name}: {}", made.1);
        // The last list stays for the entries below.
        if place < 19 {
            let closed = send(caller.request(Method::DELETE, &format!("/lists/{name}"))).await;
            assert_eq!(closed.0, StatusCode::NO_CONTENT);
        }
    }
    let another = caller.post("/lists", &json!({"name": "another", "kind": "text"})).await;
    refused(another, "20 lists");

    let entries = "/lists/l-19/entries";
    for place in 0..30 {
        let value = json!({"value": format!("v-{}", place % 7), "reason": "r"});
        let (status, entry) = caller.post(entries, &value).await;
        assert_eq!(status, StatusCode::CREATED, "{place}: {entry}");
        let path = format!("{entries}/{}", entry["id"].as_str().unwrap());
        assert_eq!(send(caller.request(Method::DELETE, &path)).await.0, StatusCode::OK);
    }
    refused(caller.post(entries, &json!({"value": "more", "reason": "r"})).await, "30 entries");
    let lines = caller.request(Method::POST, entries).header("Content-Type", "text/csv");
    refused(send(lines.body("value,reason\nx,r\n")).await, "30 entries");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn revisions_of_a_ruleset_are_bounded() {
    let database = TestDatabase::create().await;
    let node = Node::start_with(&database, &[("ruleset_revisions_max", json!(3))]).await;
    let caller = Caller::of_new_tenant(&node, "acme").await;
    let settings = json!({"limits": [{"currency": "EUR", "maximum_minor": 100}]});
    let rules =
        json!([{"name": "limits", "plugin": caller.plugin("amount-limits").await, "settings": settings}]);
    let body = json!({"rules": rules});
    let made = join_all((0..8).map(|_| caller.post("/rulesets/payment/revisions", &body))).await;
    assert_eq!(count_accepted(&made, "dry runs"), 3);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn events_of_a_payment_are_bounded_and_repetitions_do_not_count() {
    let database = TestDatabase::create().await;
    let node = Node::start_with(&database, &[("payment_events_max", json!(3))]).await;
    let caller = Caller::of_new_tenant(&node, "acme").await;
    let (_, paid) = caller.pay("k", &payment()).await;
    let at_ms = paid["received_at_ms"].as_u64().unwrap();
    let events = format!("/payments/{}/events", paid["id"].as_str().unwrap());
    let report =
        async |place: u64| caller.post(&events, &json!({"kind": "settled", "at_ms": at_ms + place})).await;
    let responses = join_all((0..8).map(report)).await;
    assert_eq!(count_accepted(&responses, "payment_events_max"), 3);
    let (place, _) = responses.iter().enumerate().find(|(_, (status, _))| status.is_success()).unwrap();
    assert_eq!(report(place as u64).await.0, StatusCode::OK, "the first is reported again");
    let (_, other) = caller.pay("k2", &payment()).await;
    let events = format!("/payments/{}/events", other["id"].as_str().unwrap());
    assert_eq!(
        caller.post(&events, &json!({"kind": "settled"})).await.0,
        StatusCode::CREATED,
        "of one payment"
    );
    node.stop().await;
}
