//! How reviews end by themselves: by expiry, by erasure and by retention.

use std::time::Instant;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use sqlx::AssertSqlSafe;
use uuid::Uuid;

use super::{Scene, act, decide};
use crate::retention::OldHistory;
use crate::support::database::TestDatabase;
use crate::support::program::TEST_TIMEOUT;
use crate::support::service::Node;

#[tokio::test(flavor = "multi_thread")]
async fn reviews_that_nobody_decides_expire_once_with_two_nodes() {
    let scene = Scene::new().await;
    let second = Node::start(&scene.database).await;
    let old: Vec<String> = {
        let mut made = Vec::new();
        for place in 0..8 {
            made.push(scene.review(&format!("old-{place}")).await);
        }
        made
    };
    // Somebody works on one of them, which does not keep it from expiring.
    assert_eq!(act(&scene.rita, &old[0], "claim").await.0, StatusCode::OK);
    let fresh = scene.review("fresh").await;
    // As if the others had waited for two hours: their ids carry the time.
    let older = format!(
        "update reviews set id = encode(overlay(uuid_send(id) placing substring(
            int8send((('x' || encode(substring(uuid_send(id) for 6), 'hex'))::bit(48)::bigint) - 7200000) from 3)
            from 1 for 6), 'hex')::uuid, opened_at_ms = opened_at_ms - 7200000
         where id <> '{fresh}'"
    );
    sqlx::raw_sql(AssertSqlSafe(older)).execute(&mut scene.database.superuser().await).await.unwrap();
    scene.set(json!({"expires_after_min": 60, "expires_to": "reject"})).await;
    let begun = Instant::now();
    let expired = loop {
        let (_, page) = scene.rita.get("/reviews?state=expired").await;
        if page["items"].as_array().unwrap().len() == old.len() {
            break page;
        }
        assert!(begun.elapsed() < TEST_TIMEOUT, "{page}");
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    };
    let one = &expired["items"][0];
    assert_eq!((&one["outcome"], one.get("claimed_by")), (&json!("reject"), None), "{one}");
    assert!(one["decided_by"].as_str().unwrap().starts_with("expiry on node "), "{one}");
    let (_, acts) = scene.admin.get("/audit?action=review.expired").await;
    let mut subjects: Vec<&str> =
        acts["items"].as_array().unwrap().iter().filter_map(|act| act["subject"].as_str()).collect();
    subjects.sort_unstable();
    subjects.dedup();
    assert_eq!((acts["items"].as_array().unwrap().len(), subjects.len()), (old.len(), old.len()), "{acts}");
    let (_, waiting) = scene.rita.get("/reviews?state=open").await;
    assert_eq!(waiting["items"][0]["id"], json!(fresh), "{waiting}");
    assert!(waiting["items"][0]["expires_at_ms"].is_u64(), "{waiting}");
    let (status, problem) = decide(&scene.rita, one["id"].as_str().unwrap(), "approve", "n").await;
    assert_eq!(status, StatusCode::CONFLICT);
    assert!(problem["detail"].as_str().unwrap().contains("expired"), "{problem}");
    second.stop().await;
    scene.node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_are_kept_recorded_and_checked() {
    let scene = Scene::new().await;
    let (_, defaults) = scene.admin.get("/settings/reviews").await;
    assert_eq!(defaults, json!({"lease_min": 15, "event_kinds": []}));
    let settings =
        json!({"lease_min": 5, "expires_after_min": 60, "expires_to": "approve", "event_kinds": ["fraud"]});
    for _ in 0..2 {
        scene.set(settings.clone()).await;
    }
    assert_eq!(scene.admin.get("/settings/reviews").await.1, settings);
    let (_, acts) = scene.admin.get("/audit?action=review_settings.changed").await;
    assert_eq!(acts["items"].as_array().unwrap().len(), 1, "{acts}");
    assert_eq!(acts["items"][0]["after"], settings);
    for (wrong, pointer) in [
        (json!({"expires_after_min": 60}), "/expires_to"),
        (json!({"expires_to": "reject"}), "/expires_after_min"),
        (json!({"lease_min": 0}), "/lease_min"),
        (json!({"event_kinds": ["nothing"]}), "/event_kinds/0"),
    ] {
        let request = scene.admin.request(Method::PUT, "/settings/reviews").json(&wrong).send();
        let problem: Value = request.await.unwrap().json().await.unwrap();
        assert_eq!(problem["errors"][0]["pointer"], pointer, "{problem}");
    }
    let (status, _) = scene.rita.send(Method::PUT, "/settings/reviews", &settings).await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    let id = scene.review("k").await;
    let (_, claimed) = act(&scene.rita, &id, "claim").await;
    let lease_ms = claimed["claimed_until_ms"].as_u64().unwrap() - claimed["opened_at_ms"].as_u64().unwrap();
    assert!((300_000..900_000).contains(&lease_ms), "{claimed}");
    scene.node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_erasure_takes_the_note_and_the_reference() {
    let scene = Scene::new().await;
    let id = scene.review("reference-to-erase").await;
    let note = "Wilhelmina called about it";
    assert_eq!(decide(&scene.rita, &id, "approve", note).await.0, StatusCode::OK);
    let erasure = json!({"reason": "asked to"});
    assert_eq!(scene.admin.post(&format!("/decisions/{id}/erasure"), &erasure).await.0, StatusCode::OK);
    let (_, one) = scene.rita.get(&format!("/reviews/{id}")).await;
    for gone in ["note", "reference", "reasons"] {
        assert_eq!(one.get(gone), None, "{one}");
    }
    assert_eq!((&one["outcome"], &one["amount_minor"]), (&json!("approve"), &json!(2_500)), "{one}");
    assert_eq!(scene.admin.get(&format!("/payments/{id}")).await.1["review"]["outcome"], "approve");
    let left: bool =
        sqlx::query_scalar("select exists (select from reviews r where r::text like '%Wilhelmina%')")
            .fetch_one(&mut scene.database.superuser().await)
            .await
            .unwrap();
    assert!(!left);
    scene.node.stop().await;
}

async fn reviews_of(database: &TestDatabase, tenant: Uuid) -> i64 {
    sqlx::query_scalar("select count(*) from reviews where tenant_id = $1")
        .bind(tenant)
        .fetch_one(&mut database.superuser().await)
        .await
        .unwrap()
}

#[tokio::test]
async fn retention_removes_the_reviews_of_a_month_with_its_decisions() {
    let history = OldHistory::new().await;
    let old = history.decide(history.limited, 70).await;
    history
        .tamper(format!(
            "insert into reviews (tenant_id, id, payment_id, opened_at_ms, amount_minor, currency)
             values ('{}', gen_random_uuid(), '{old}', 0, 1, 'EUR')",
            history.limited
        ))
        .await;
    assert_eq!(reviews_of(&history.database, history.limited.0).await, 8);
    history.keep(Some(1)).await;
    history.remove_all().await;
    assert_eq!(reviews_of(&history.database, history.limited.0).await, 2, "those of today");
    assert_eq!(reviews_of(&history.database, history.unlimited.0).await, 6);
}
