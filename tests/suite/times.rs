//! Times in both forms: milliseconds, and the notation of RFC 3339.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tollgate::http::rfc3339;

use crate::support::database::TestDatabase;
use crate::support::decisions::now_ms;
use crate::support::service::{Caller, Node, payment_with, send};

/// 2026-11-29T08:30:00.123Z.
const REQUESTED_MS: u64 = 1_795_941_000_123;

fn errors(problem: &Value, member: &str) -> Vec<(String, String)> {
    let all = problem["errors"].as_array().expect("errors");
    let text = |value: &Value| value.as_str().expect("text").to_owned();
    all.iter().map(|error| (text(&error[member]), text(&error["detail"]))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payment_may_have_its_time_in_either_form_and_is_shown_with_both() {
    let database = TestDatabase::create().await;
    let node = Node::start(&database).await;
    let caller = Caller::of_new_tenant(&node, "acme").await;
    let (status, first) =
        caller.pay("k", &payment_with(&json!({"requested_at": "2026-11-29T10:00:00.123999+01:30"}))).await;
    assert_eq!(status, StatusCode::CREATED, "{first}");
    let payment = &first["payment"];
    assert_eq!(
        (&payment["requested_at_ms"], &payment["requested_at"]),
        (&json!(REQUESTED_MS), &json!("2026-11-29T08:30:00.123Z"))
    );
    let received_at_ms = first["received_at_ms"].as_u64().expect("a number");
    assert_eq!(first["received_at"].as_str(), rfc3339::written(received_at_ms).as_deref());

    // The same payment, also as it was shown.
    for same in [payment.clone(), payment_with(&json!({"requested_at_ms": REQUESTED_MS}))] {
        let (status, again) = caller.pay("k", &same).await;
        assert_eq!((status, &again["id"]), (StatusCode::OK, &first["id"]), "{again}");
    }
    let other = payment_with(&json!({"requested_at": "2026-11-29T08:30:00.124Z"}));
    assert_eq!(caller.pay("k", &other).await.0, StatusCode::UNPROCESSABLE_ENTITY);

    for (times, pointer, told) in [
        (json!({"requested_at": "2016-12-31T23:59:60Z"}), "/requested_at", "leap second"),
        (json!({"requested_at": "2026-02-30T00:00:00Z"}), "/requested_at", "RFC 3339"),
        (json!({"requested_at": REQUESTED_MS}), "/requested_at", "expected text"),
        (json!({"requested_at_ms": "2026-11-29T08:30:00Z"}), "/requested_at_ms", "whole number"),
        (
            json!({"requested_at_ms": REQUESTED_MS, "requested_at": "2026-11-29T08:30:00Z"}),
            "/requested_at",
            "the same time as requested_at_ms",
        ),
    ] {
        let (status, problem) = caller.pay("other", &payment_with(&times)).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{problem}");
        let [(place, detail)] = &errors(&problem, "pointer")[..] else { panic!("{problem}") };
        assert!(place == pointer && detail.contains(told), "{times}: {problem}");
    }
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_may_have_its_times_in_either_form() {
    let database = TestDatabase::create().await;
    let node = Node::start(&database).await;
    let caller = Caller::of_new_tenant(&node, "acme").await;
    let mut times = Vec::new();
    for key in ["a", "b", "c"] {
        let (_, paid) = caller.pay(key, &payment_with(&json!({}))).await;
        times.push(paid["received_at"].as_str().expect("a time").to_owned());
    }
    let all = format!("from={}&to=9999-12-31T23:59:59Z", times[0]);
    let (status, found) = caller.get(&format!("/payments?{all}")).await;
    assert_eq!((status, found["items"].as_array().map(Vec::len)), (StatusCode::OK, Some(3)), "{found}");
    let (_, none) = caller.get(&format!("/payments?to={}", times[0])).await;
    assert_eq!(none["items"], json!([]), "{none}");

    // A cursor is of the same query in both forms.
    let from_ms = rfc3339::parse(&times[0]).expect("a time");
    let (_, page) = caller.get(&format!("/payments?limit=2&from={}", times[0])).await;
    let cursor = page["next_cursor"].as_str().expect("a cursor");
    let (status, rest) = caller.get(&format!("/payments?limit=2&from_ms={from_ms}&cursor={cursor}")).await;
    assert_eq!((status, rest["items"].as_array().map(Vec::len)), (StatusCode::OK, Some(1)), "{rest}");

    for (query, parameter, told) in [
        ("from=yesterday", "from", "RFC 3339"),
        ("from=2016-12-31T23:59:60Z", "from", "leap second"),
        ("from=2026-11-29T08:30:00+01:00", "from", "%2B"),
        ("to=2026-11-31T08:30:00Z", "to", "RFC 3339"),
        ("to_ms=2026-11-29T08:30:00Z", "to_ms", "to takes RFC 3339"),
        ("from_ms=1&from=1970-01-01T00:00:00.002Z", "from", "the same time as from_ms"),
    ] {
        let (status, problem) = caller.get(&format!("/payments?{query}")).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{problem}");
        let [(place, detail)] = &errors(&problem, "parameter")[..] else { panic!("{problem}") };
        assert!(place == parameter && detail.contains(told), "{query}: {problem}");
    }
    let offset = "from=1970-01-01T01:00:00%2B01:00&from_ms=0";
    assert_eq!(caller.get(&format!("/payments?{offset}")).await.0, StatusCode::OK);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_a_time_is_told_at_the_member_that_was_sent() {
    let database = TestDatabase::create().await;
    let node = Node::start(&database).await;
    let caller = Caller::of_new_tenant(&node, "acme").await;
    caller.post("/lists", &json!({"name": "watched", "kind": "text"})).await;
    for (member, time) in [("valid_from_ms", json!(1)), ("valid_from", json!("1970-01-01T00:00:00.001Z"))] {
        let entry = json!({"value": "x", "reason": "r", member: time});
        let (status, problem) = caller.post("/lists/watched/entries", &entry).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{problem}");
        let told = errors(&problem, "pointer");
        assert_eq!(told, [(format!("/{member}"), "is in the past".to_owned())]);
    }
    let later_ms = now_ms() + 3_600_000;
    let later = rfc3339::written(later_ms).expect("a time");
    let csv = format!("value,reason,valid_from\nx,r,{later}\n");
    let lines = caller.request(Method::POST, "/lists/watched/entries").header("Content-Type", "text/csv");
    let (status, added) = send(lines.body(csv)).await;
    assert_eq!(status, StatusCode::CREATED, "{added}");
    let (_, page) = caller.get("/lists/watched/entries").await;
    let entry = &page["items"][0];
    assert_eq!((&entry["valid_from_ms"], &entry["valid_from"]), (&json!(later_ms), &json!(later)), "{page}");
    node.stop().await;
}
