//! Backtests use recorded data: stops by the host, later events, and results of shadow rules.

use std::sync::Arc;
use std::time::{Duration, Instant};

use reqwest::StatusCode;
use serde_json::{Value, json};
use tollgate::domain::payment::PaymentId;
use tollgate::domain::verdict::Outcome;

use super::{candidate, cells, pay, report, review_above, tenant_of};
use crate::support::database::TestDatabase;
use crate::support::decisions::{decision_on, journal, now_ms, order};
use crate::support::program::TEST_TIMEOUT;
use crate::support::service::{Caller, Node, payment_with};

const DAY_MS: u64 = 86_400_000;

/// The rule always fails, and its failure outcome is pass. So outcomes only change when it is
/// quarantined.
#[tokio::test(flavor = "multi_thread")]
async fn a_backtest_of_the_same_revision_reports_no_change_of_decisions_under_quarantine() {
    let database = TestDatabase::create().await;
    let node = Node::start_with(&database, &[("quarantine_failures_min", json!(5))]).await;
    let caller = Caller::of_new_tenant(&node, "acme").await;
    let broken = caller.upload_fixture("unreachable").await;
    let fixed = caller.upload_fixture("good").await;
    let entry =
        |plugin: &str| json!([{"name": "rule", "plugin": plugin, "settings": {}, "on_failure": "pass"}]);
    let active = caller.activate_entries(&entry(&broken)).await;
    let (begun, mut approved, mut reviewed) = (Instant::now(), 0, 0);
    while reviewed < 3 {
        let (status, decided) =
            caller.pay(&format!("k-{approved}-{reviewed}"), &payment_with(&json!({}))).await;
        assert_eq!(status, StatusCode::CREATED, "{decided}");
        if decided["outcome"] == "review" {
            reviewed += 1
        } else {
            approved += 1
        }
        assert!(begun.elapsed() < TEST_TIMEOUT, "{decided}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let count_of = |cell: &str, found: &Value| cells(&found["matrix"])[cell][0].clone();

    let found = report(&caller, &json!({"revision": active})).await;
    assert_eq!((&found["compared"], &found["changed"]), (&json!(approved + 3), &json!(0)), "{found}");
    assert_eq!(count_of("review>review", &found), 3);
    // A different rule is not in quarantine, so its result counts. With the baseline `active`, the
    // broken rule runs again as well.
    let (_, repaired) = caller.post("/rulesets/payment/revisions", &json!({"rules": entry(&fixed)})).await;
    let found = report(&caller, &json!({"revision": repaired["number"]})).await;
    assert_eq!(count_of("review>approve", &found), 3, "{found}");
    let found = report(&caller, &json!({"revision": repaired["number"], "baseline": "active"})).await;
    assert_eq!(
        (&found["changed"], count_of("approve>approve", &found)),
        (&json!(0), json!(approved + 3)),
        "{found}"
    );
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn events_reported_after_the_selected_time_count_for_a_backtest() {
    let database = TestDatabase::create().await;
    let node = Node::start(&database).await;
    let caller = Caller::of_new_tenant(&node, "acme").await;
    let tenant = tenant_of(&database, "acme").await;
    let at_ms = now_ms() - 40 * DAY_MS;
    let order = order("c-1", 1_000, "EUR");
    let mut decision = decision_on(tenant, "k", Outcome::Approve, at_ms, order);
    let id = uuid::Builder::from_unix_timestamp_millis(at_ms, &[7; 10]).into_uuid();
    Arc::make_mut(&mut decision.evidence.payment).id = PaymentId(id);
    journal(node.databases.journal.clone()).await.store(decision.clone()).await.unwrap();
    // A chargeback is reported weeks later.
    let reported = sqlx::query(
        "insert into payment_events values ($1, $2, gen_random_uuid(), 'fraud', $3, $4, 't', '')",
    )
    .bind(tenant.0)
    .bind(decision.id().0)
    .bind((at_ms + DAY_MS) as i64)
    .bind((now_ms() - DAY_MS) as i64);
    reported.execute(&mut database.superuser().await).await.unwrap();
    let any = candidate(&caller, &[("account-check", json!({}))]).await;
    let body = json!({"revision": any, "from_ms": at_ms - DAY_MS, "to_ms": at_ms + DAY_MS});
    let found = report(&caller, &body).await;
    assert_eq!(
        cells(&found["by_label"]["fraud"]),
        json!({"approve>approve": [1, {"EUR": [1, 1_000]}]}),
        "{found}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shadow_rule_of_a_candidate_asks_for_no_facts() {
    let database = TestDatabase::create().await;
    let node = Node::start(&database).await;
    let caller = Caller::of_new_tenant(&node, "acme").await;
    caller.activate(&[("amount-limits", review_above(10_000))]).await;
    pay(&caller, &[(1_000, "EUR"), (20_000, "EUR")]).await;
    let limit = json!({"selector": "customer", "window_seconds": 60, "max_count": 5, "verdict": "reject"});
    let rules = json!([
        {"name": "amount-limits", "plugin": caller.plugin("amount-limits").await, "settings": review_above(10_000)},
        {"name": "velocity", "plugin": caller.plugin("velocity").await, "settings": {"limits": [limit]}, "mode": "shadow"},
    ]);
    let (status, revision) = caller.post("/rulesets/payment/revisions", &json!({"rules": rules})).await;
    assert_eq!(status, StatusCode::CREATED, "{revision}");
    let found = report(&caller, &json!({"revision": revision["number"]})).await;
    assert_eq!(
        (&found["compared"], &found["changed"], &found["partly_computed"]),
        (&json!(2), &json!(0), &json!(0))
    );
    assert_eq!(found["rules"].as_object().unwrap().len(), 1, "{found}");
    node.stop().await;
}
