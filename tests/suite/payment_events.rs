//! Events that clients report after a decision.

use reqwest::StatusCode;
use serde_json::{Value, json};
use tollgate::domain::tenant::Scope;

use crate::support::database::TestDatabase;
use crate::support::decisions::now_ms;
use crate::support::service::{Caller, Node, payment};

async fn pay(caller: &Caller, key: &str) -> (String, u64) {
    let (status, response) = caller.pay(key, &payment()).await;
    assert_eq!(status, StatusCode::CREATED, "{response}");
    (format!("/payments/{}", response["id"].as_str().unwrap()), response["received_at_ms"].as_u64().unwrap())
}

async fn report(caller: &Caller, payment: &str, body: &Value) -> (StatusCode, Value) {
    caller.post(&format!("{payment}/events"), body).await
}

fn kinds(page: &Value) -> Vec<&str> {
    page["items"].as_array().unwrap().iter().map(|event| event["kind"].as_str().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn events_are_stored_once_and_the_latest_defines_the_state() {
    let database = TestDatabase::create().await;
    let node = Node::start(&database).await;
    let caller = Caller::of_new_tenant(&node, "acme").await;
    let (payment, received_at_ms) = pay(&caller, "k1").await;
    assert_eq!(caller.get(&payment).await.1.get("state"), None);
    assert_eq!(caller.get(&format!("{payment}/events")).await.1, json!({"items": []}));

    let settled = json!({"kind": "settled", "at_ms": received_at_ms, "note": "batch 7"});
    let (status, first) = report(&caller, &payment, &settled).await;
    assert_eq!(status, StatusCode::CREATED, "{first}");
    assert_eq!((&first["kind"], &first["note"]), (&json!("settled"), &json!("batch 7")));
    assert_eq!(first["actor"], format!("client:{}", caller.client_id));
    assert!(first["recorded_at_ms"].as_u64().unwrap() >= received_at_ms);
    // The same event with another note is the same event.
    let again = json!({"kind": "settled", "at_ms": received_at_ms, "note": "another note"});
    assert_eq!(report(&caller, &payment, &again).await, (StatusCode::OK, first));
    // Concurrent reports too.
    let fraud = json!({"kind": "fraud", "at_ms": received_at_ms});
    let responses = futures::future::join_all((0..6).map(|_| report(&caller, &payment, &fraud))).await;
    let made = responses.iter().filter(|(status, _)| *status == StatusCode::CREATED).count();
    assert_eq!(made, 1, "{responses:?}");
    assert!(responses.iter().all(|(_, event)| event["id"] == responses[0].1["id"]), "{responses:?}");

    let (status, refunded) = report(&caller, &payment, &json!({"kind": "refunded"})).await;
    assert_eq!(status, StatusCode::CREATED, "{refunded}");
    assert!(refunded["at_ms"].as_u64().unwrap() >= received_at_ms, "now when nothing is said");
    assert_eq!(refunded.get("note"), None);
    assert_eq!(caller.get(&payment).await.1["state"], "refunded");
    // Reported last, but it happened earlier.
    report(&caller, &payment, &json!({"kind": "claimed", "at_ms": received_at_ms})).await;
    assert_eq!(caller.get(&payment).await.1["state"], "refunded");

    let events = format!("{payment}/events");
    assert_eq!(kinds(&caller.get(&events).await.1), ["settled", "fraud", "refunded", "claimed"]);
    let (_, page) = caller.get(&format!("{events}?limit=3")).await;
    let cursor = page["next_cursor"].as_str().unwrap();
    assert_eq!(kinds(&caller.get(&format!("{events}?limit=3&cursor={cursor}")).await.1), ["claimed"]);

    let (other, other_ms) = pay(&caller, "k2").await;
    for kind in ["claimed", "approved", "rejected", "expired", "cancelled", "settled", "failed"] {
        let (status, event) = report(&caller, &other, &json!({"kind": kind, "at_ms": other_ms})).await;
        assert_eq!((status, &event["kind"]), (StatusCode::CREATED, &json!(kind)), "{event}");
    }
    assert_eq!(caller.get(&events).await.1["items"].as_array().unwrap().len(), 4, "each has its own");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn impossible_events_and_events_of_other_tenants_payments_are_refused() {
    let database = TestDatabase::create().await;
    let node = Node::start(&database).await;
    let caller = Caller::of_new_tenant(&node, "acme").await;
    let stranger = Caller::of_new_tenant(&node, "other").await;
    let reader = Caller::of_tenant(&node, "acme", [Scope::PaymentsRead].into_iter().collect()).await;
    let (payment, received_at_ms) = pay(&caller, "k1").await;
    for (body, pointer) in [
        (json!({"kind": "settled", "at_ms": received_at_ms - 1}), "/at_ms"),
        (json!({"kind": "settled", "at_ms": now_ms() + 120_000}), "/at_ms"),
        (json!({"kind": "settled", "at_ms": -1}), "/at_ms"),
        (json!({"kind": "paid"}), "/kind"),
        (json!({}), "/kind"),
        (json!({"kind": "settled", "note": "n".repeat(501)}), "/note"),
        (json!({"kind": "settled", "colour": 1}), "/colour"),
    ] {
        let (status, problem) = report(&caller, &payment, &body).await;
        assert_eq!(
            (status, &problem["errors"][0]["pointer"]),
            (StatusCode::UNPROCESSABLE_ENTITY, &json!(pointer)),
            "{body}: {problem}"
        );
    }
    let ahead = json!({"kind": "settled", "at_ms": now_ms() + 30_000});
    assert_eq!(report(&caller, &payment, &ahead).await.0, StatusCode::CREATED, "clocks may differ a little");

    let body = json!({"kind": "fraud"});
    let nowhere = format!("/payments/{}", uuid::Uuid::now_v7());
    for (caller, payment) in
        [(&stranger, &payment), (&caller, &nowhere), (&caller, &"/payments/x".to_owned())]
    {
        assert_eq!(report(caller, payment, &body).await.0, StatusCode::NOT_FOUND, "{payment}");
        assert_eq!(caller.get(&format!("{payment}/events")).await.0, StatusCode::NOT_FOUND, "{payment}");
    }
    assert_eq!(report(&reader, &payment, &body).await.0, StatusCode::FORBIDDEN);
    assert_eq!(kinds(&reader.get(&format!("{payment}/events")).await.1), ["settled"]);
    node.stop().await;
}
