//! Nodes of two releases side by side: one writes version 2 of the evidence, the other version 3.

use reqwest::StatusCode;
use serde_json::{Value, json};
use tollgate::domain::payment::Uetr;

use crate::support::database::TestDatabase;
use crate::support::service::{Caller, Node, payment, payment_with};
use crate::verify::{copy_data_dir, run_verify};

const UETR: &str = "eb6305c9-1f7f-49de-aed0-16487c27b42d";

fn newer() -> Value {
    let mut newer = payment_with(&json!({
        "reference": "order-2", "end_to_end_id": "e2e-7", "uetr": UETR, "charge_bearer": "SHAR",
        "ultimate_debtor": {"name": "Eve"}, "intermediary_agents": ["DEUTDEFF"], "merchant_category": "5411",
        "payee_verification": {"outcome": "CMTC", "suggested_name": "Blue Bikes Ltd"},
        "signals": {"label": "high", "score": 0.87}
    }));
    newer["creditor"]["address"] = json!({"town_name": "Amsterdam", "country": "NL"});
    newer
}

/// The stored versions of all decisions, in the order of their references.
async fn stored_versions(database: &TestDatabase) -> Vec<i16> {
    let statement = "select payload_version from decisions order by reference";
    sqlx::query_scalar(statement).fetch_all(&mut database.superuser().await).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_version_2_cannot_hold_is_refused_by_name_and_its_key_stays_free() {
    let database = TestDatabase::create().await;
    let old = Node::start_with(&database, &[("evidence_version", json!(2))]).await;
    let caller = Caller::of_new_tenant(&old, "acme").await;
    caller.activate(&[("account-check", json!({}))]).await;

    let (status, problem) = caller.pay("k", &newer()).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{problem}");
    let errors = problem["errors"].as_array().unwrap();
    let pointers: Vec<&str> = errors.iter().filter_map(|error| error["pointer"].as_str()).collect();
    let expected = [
        "/creditor/address",
        "/ultimate_debtor",
        "/intermediary_agents",
        "/merchant_category",
        "/end_to_end_id",
        "/uetr",
        "/charge_bearer",
        "/payee_verification",
        "/signals",
    ];
    assert_eq!(pointers, expected);
    assert!(errors[0]["detail"].as_str().unwrap().contains("being upgraded"), "{problem}");

    let (status, stored) = caller.pay("k", &payment()).await;
    assert_eq!((status, &stored["outcome"]), (StatusCode::CREATED, &json!("approve")), "{stored}");
    assert_eq!(stored_versions(&database).await, [2]);
    old.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn decisions_of_both_versions_are_found_replayed_verified_and_backtested() {
    let (database, folder) = (TestDatabase::create().await, copy_data_dir());
    let data_dir = ("data_dir", json!(folder.path()));
    let old = Node::start_with(&database, &[("evidence_version", json!(2)), data_dir.clone()]).await;
    let at_old = Caller::of_new_tenant(&old, "acme").await;
    let revision = at_old.activate(&[("account-check", json!({}))]).await;
    let new = Node::start_with(&database, &[data_dir]).await;
    let at_new = at_old.at(&new.url);
    assert_eq!(at_old.pay("k1", &payment()).await.0, StatusCode::CREATED);
    let (status, stored) = at_new.pay("k2", &newer()).await;
    assert_eq!((status, &stored["payment"]), (StatusCode::CREATED, &newer()), "{stored}");
    assert_eq!(stored_versions(&database).await, [2, 3]);

    // A retry at the other node gets what was stored.
    let (status, repeated) = at_old.pay("k2", &newer()).await;
    assert_eq!((status, &repeated), (StatusCode::OK, &stored));
    let (status, problem) = at_new.pay("k2", &payment_with(&json!({"reference": "order-2"}))).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{problem}");
    assert_eq!(problem["type"], "/problems/idempotency-key-reused", "{problem}");

    let upper = UETR.to_uppercase();
    for query in
        [&format!("uetr={UETR}"), &format!("uetr={upper}"), "end_to_end_id=e2e-7", "reference=order-2"]
    {
        let (_, page) = at_new.get(&format!("/payments?{query}")).await;
        let found: Vec<&Value> = page["items"].as_array().unwrap().iter().map(|item| &item["id"]).collect();
        assert_eq!(found, [&stored["id"]], "{query}");
    }
    let (status, problem) = at_new.get("/payments?uetr=7").await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert_eq!(problem["errors"][0]["detail"], Uetr::parse("7").unwrap_err(), "{problem}");

    let report = super::backtests::report(&at_new, &json!({"revision": revision})).await;
    assert_eq!((&report["compared"], &report["changed"]), (&json!(2), &json!(0)), "{report}");
    // Both nodes replay everything when they stop.
    old.stop().await;
    new.stop().await;
    let (well, output) = run_verify(&database, folder.path(), &[]);
    assert!(well && output.contains("2 decisions (0 erased)"), "{output}");
}
