//! How long decisions are kept, as administrators set it.

use std::time::{Duration, Instant};

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tollgate::app::tenants::tenant_of;
use tollgate::domain::time::Month;
use tollgate::domain::verdict::Outcome;
use tollgate::storage::partitions;
use uuid::Uuid;

use super::kind;
use crate::support::database::TestDatabase;
use crate::support::decisions::{decision_on, journal, now_ms, order};
use crate::support::people::{create_user, sign_in};
use crate::support::program::TEST_TIMEOUT;
use crate::support::service::{Caller, Node};

const DAY_MS: u64 = 86_400_000;

/// Decisions of so many days ago.
async fn decide(node: &Node, tenant: &str, days: &[u64]) {
    let tenant = tenant_of(&node.databases.system, tenant).await.unwrap();
    let journal = journal(node.databases.journal.clone()).await;
    for days in days {
        let at_ms = now_ms() - days * DAY_MS;
        partitions::ensure_month(&node.databases.system, Month::of(at_ms)).await.unwrap();
        let key = Uuid::now_v7().to_string();
        let mut decision = decision_on(tenant, &key, Outcome::Review, at_ms, order("c-1", 100, "EUR"));
        decision.evidence.reasons = decision.evidence.fold().reasons;
        journal.store(decision).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_sees_what_a_change_would_remove_and_then_what_was_removed() {
    let database = TestDatabase::create().await;
    let node = Node::start(&database).await;
    let client = Caller::of_new_tenant(&node, "acme").await;
    let user = create_user(&client, "ann@example.com", &["admin"]).await;
    let ann = sign_in(&node, "acme", "ann@example.com").await;
    let month_ago = |months| Month::of(now_ms()).earlier_by(months).to_string();
    assert_eq!(ann.get("/settings/retention").await, (StatusCode::OK, json!({"months_kept": null})));
    let (_, removals) = ann.get("/settings/retention/removals").await;
    assert_eq!(removals, json!({"items": []}));
    decide(&node, "acme", &[100, 100, 70, 0]).await;

    let (_, nothing) = ann.get("/settings/retention/preview").await;
    assert_eq!((&nothing["months_kept"], &nothing["decisions"]), (&Value::Null, &json!(0)));
    let (status, preview) = ann.get("/settings/retention/preview?months_kept=1").await;
    assert_eq!(status, StatusCode::OK, "{preview}");
    let oldest = Month::of(now_ms() - 100 * DAY_MS).to_string();
    assert_eq!(preview["first_month_kept"], month_ago(1).as_str());
    assert_eq!(preview["first_month_removed"], oldest.as_str());
    assert_eq!((&preview["decisions"], &preview["more"]), (&json!(3), &json!(false)));

    let one = json!({"months_kept": 1});
    let (status, kept) = ann.send(Method::PUT, "/settings/retention", &one).await;
    assert_eq!((status, &kept["months_kept"]), (StatusCode::OK, &json!(1)), "{kept}");
    let (_, acts) = ann.get("/audit?action=retention.changed").await;
    let act = &acts["items"][0];
    assert_eq!(act["actor"], format!("user:{user}").as_str());
    assert_eq!((&act["before"], &act["after"]), (&json!({"months": null}), &json!({"months": 1})));
    let (_, removals) = removed(&ann, 2).await;
    let total: u64 =
        removals["items"].as_array().unwrap().iter().map(|it| it["decisions"].as_u64().unwrap()).sum();
    assert_eq!(total, 3, "{removals}");
    let (_, first) = ann.get("/settings/retention/removals?limit=1").await;
    let cursor = first["next_cursor"].as_str().expect("a second page");
    let (_, second) = ann.get(&format!("/settings/retention/removals?limit=1&cursor={cursor}")).await;
    assert_eq!(second["items"][0]["month"], oldest.as_str(), "the latest month comes first");

    let all = json!({"months_kept": null});
    assert_eq!(ann.send(Method::PUT, "/settings/retention", &all).await.1, all);
    node.stop().await;
}

/// Waits until so many months are removed.
async fn removed(ann: &crate::support::people::SignedIn, months: usize) -> (StatusCode, Value) {
    let begun = Instant::now();
    loop {
        let (status, removals) = ann.get("/settings/retention/removals").await;
        let items = removals["items"].as_array().unwrap();
        if items.len() == months && items.iter().all(|it| it["finished"] == true) {
            return (status, removals);
        }
        assert!(begun.elapsed() < TEST_TIMEOUT, "{removals}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test]
async fn the_setting_needs_its_scope_and_a_number_of_months_or_null() {
    let database = TestDatabase::create().await;
    let node = Node::start(&database).await;
    let client = Caller::of_new_tenant(&node, "acme").await;
    create_user(&client, "bob@example.com", &["auditor"]).await;
    let bob = sign_in(&node, "acme", "bob@example.com").await;
    assert_eq!(bob.get("/settings/retention").await.0, StatusCode::OK);
    let body = json!({"months_kept": 3});
    let (status, problem) = bob.send(Method::PUT, "/settings/retention", &body).await;
    assert_eq!((status, kind(&problem)), (StatusCode::FORBIDDEN, "insufficient-scope"));
    for body in
        [json!({}), json!({"months_kept": 0}), json!({"months_kept": 1201}), json!({"months_kept": "1"})]
    {
        let response = client.request(Method::PUT, "/settings/retention").json(&body).send().await.unwrap();
        assert_eq!(response.status(), StatusCode::UNPROCESSABLE_ENTITY, "{body}");
    }
    assert_eq!(client.get("/settings/retention").await.1, json!({"months_kept": null}));
    node.stop().await;
}
