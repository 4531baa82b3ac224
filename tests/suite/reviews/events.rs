//! Reviews that events of payments open, and what the feed tells of reviews.

use std::time::Duration;

use reqwest::StatusCode;
use serde_json::{Value, json};
use tollgate::auth::scope::ScopeSet;
use tollgate::domain::tenant::Scope;

use super::{Scene, decide};
use crate::support::feed_client::FeedClient;
use crate::support::program::TEST_TIMEOUT;
use crate::support::service::{Caller, payment};

/// Longer than the time between two reads.
const QUIET: Duration = Duration::from_millis(1_500);

async fn report(scene: &Scene, payment: &str, kind: &str, at_ms: &Value) -> Value {
    let body = json!({"kind": kind, "at_ms": at_ms, "note": kind});
    let (status, event) = scene.admin.post(&format!("/payments/{payment}/events"), &body).await;
    assert!(status.is_success(), "{event}");
    event["id"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn events_of_chosen_kinds_open_one_review_of_a_payment_at_most() {
    let scene = Scene::new().await;
    scene.admin.activate(&[("account-check", json!({}))]).await;
    let (_, paid) = scene.admin.pay("approved", &payment()).await;
    let (id, at_ms) = (paid["id"].as_str().unwrap(), paid["received_at_ms"].as_u64().unwrap());
    let at = |later: u64| json!(at_ms + later);
    report(&scene, id, "fraud", &at(0)).await;
    assert_eq!(scene.rita.get("/reviews").await.1["items"], json!([]), "no kind is chosen");

    scene.set(json!({"event_kinds": ["fraud", "refunded"]})).await;
    let first = report(&scene, id, "fraud", &at(1)).await;
    assert_eq!(report(&scene, id, "fraud", &at(1)).await, first, "the same report");
    report(&scene, id, "settled", &at(1)).await;
    let second = report(&scene, id, "refunded", &at(2)).await;
    let (_, page) = scene.rita.get("/reviews?cause=event&state=open").await;
    let items = page["items"].as_array().unwrap();
    assert_eq!((items.len(), &items[0]["payment_id"]), (1, &json!(id)), "{page}");
    let review = items[0]["id"].as_str().unwrap();
    let (_, one) = scene.rita.get(&format!("/reviews/{review}")).await;
    let events: Vec<&Value> = one["events"].as_array().unwrap().iter().map(|event| &event["id"]).collect();
    assert_eq!(events, [&first, &second], "{one}");

    assert_eq!(decide(&scene.rita, review, "reject", "It was fraud.").await.0, StatusCode::OK);
    assert_eq!(scene.admin.get(&format!("/payments/{id}")).await.1["review"]["outcome"], "reject");
    report(&scene, id, "fraud", &at(3)).await;
    let (_, page) = scene.rita.get("/reviews?state=open").await;
    assert_eq!(page["items"].as_array().unwrap().len(), 1, "a new one: {page}");
    assert_ne!(page["items"][0]["id"], json!(review));
    assert_eq!(scene.admin.get(&format!("/payments/{id}")).await.1["review"]["state"], "open");
    scene.node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_joins_the_open_review_of_its_decision() {
    let scene = Scene::new().await;
    scene.set(json!({"event_kinds": ["fraud"]})).await;
    let id = scene.review("k").await;
    let event = report(&scene, &id, "fraud", &Value::Null).await;
    let (_, page) = scene.rita.get("/reviews").await;
    assert_eq!(page["items"].as_array().unwrap().len(), 1, "{page}");
    let (_, one) = scene.rita.get(&format!("/reviews/{id}")).await;
    assert_eq!((&one["cause"], &one["events"][0]["id"]), (&json!("decision"), &event), "{one}");
    scene.node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_feed_tells_whoever_sees_decisions_that_a_review_has_ended() {
    let scene = Scene::new().await;
    let id = scene.review("k").await;
    let scopes: ScopeSet = [Scope::DecisionsRead].into_iter().collect();
    let shop = Caller::of_tenant(&scene.node, "acme", scopes).await;
    let stranger = Caller::of_new_tenant(&scene.node, "other").await;
    let (mut hears, mut strange) = (FeedClient::open(&shop).await, FeedClient::open(&stranger).await);
    let begun = hears.last_id.clone();
    let (_, decided) = decide(&scene.rita, &id, "approve", "A secret note.").await;
    let heard = hears.next_within(TEST_TIMEOUT).await.expect("the review");
    let expected = json!({
        "sequence": heard.data["sequence"], "id": id, "payment_id": id, "outcome": "approve", "expired": false,
        "decided_by": decided["decided_by"], "decided_at_ms": decided["decided_at_ms"],
        "decided_at": decided["decided_at"],
    });
    assert_eq!((heard.name.as_str(), &heard.data), ("review", &expected));
    assert_eq!(strange.rest(QUIET).await, []);

    // Whoever was away learns of it, and nobody who was told hears it again.
    let mut resumed = FeedClient::open_after(&shop, Some(&begun)).await;
    let heard_again = resumed.rest(QUIET).await;
    assert!(heard_again.iter().any(|event| event.name == "review"), "{heard_again:?}");
    let mut told = FeedClient::open_after(&shop, Some(&heard.id)).await;
    assert!(told.rest(QUIET).await.iter().all(|event| event.name != "review"));
    let mut auditor = FeedClient::open_after(&scene.admin, Some(&begun)).await;
    let names: Vec<String> = auditor.rest(QUIET).await.into_iter().map(|event| event.name).collect();
    assert!(names.contains(&"review".to_owned()) && names.contains(&"audit".to_owned()), "{names:?}");
    scene.node.stop().await;
}
