//! Shadow rules and revisions: no effect on decisions, and reports of what they would have decided.

use std::time::{Duration, Instant};

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tollgate::domain::decision::EngineId;
use tollgate::domain::money::{Currency, Money};
use tollgate::domain::payment::PaymentId;
use tollgate::domain::shadow::{ShadowEvidence, ShadowKind, ShadowRun};
use tollgate::domain::tenant::TenantId;
use tollgate::domain::verdict::Outcome;
use tollgate::storage::shadow_runs::{delete_older, insert};
use tollgate::storage::tenants::create_tenant;
use uuid::Uuid;

use crate::support::database::TestDatabase;
use crate::support::program::TEST_TIMEOUT;
use crate::support::service::{Caller, Node, payment, payment_with, send};

const SHADOW: &str = "/rulesets/payment/shadow";

fn limit(maximum_minor: i64) -> Value {
    json!({"limits": [{"currency": "EUR", "maximum_minor": maximum_minor}]})
}

async fn entry(caller: &Caller, plugin: &str, settings: Value) -> Value {
    json!({"name": plugin, "plugin": caller.plugin(plugin).await, "settings": settings})
}

async fn new_revision(caller: &Caller, rules: Value) -> i64 {
    let (status, revision) = caller.post("/rulesets/payment/revisions", &json!({"rules": rules})).await;
    assert_eq!(status, StatusCode::CREATED, "{revision}");
    revision["number"].as_i64().unwrap()
}

async fn put_in_shadow(caller: &Caller, revision: i64) {
    let request = caller.request(Method::PUT, SHADOW).json(&json!({"revision": revision}));
    let (status, deployed) = send(request).await;
    assert_eq!(status, StatusCode::OK, "{deployed}");
}

/// Waits until this many payments have been compared.
async fn wait_for_comparisons(caller: &Caller, query: &str, count: u64) -> Value {
    let begun = Instant::now();
    loop {
        let (status, shadow) = caller.get(&format!("{SHADOW}{query}")).await;
        assert_eq!(status, StatusCode::OK, "{shadow}");
        if shadow["report"]["coverage"]["compared"] == count {
            return shadow;
        }
        assert!(begun.elapsed() < TEST_TIMEOUT, "{shadow}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn approved(caller: &Caller, key: &str, payment: &Value) -> Value {
    let (status, decided) = caller.pay(key, payment).await;
    assert_eq!((status, &decided["outcome"]), (StatusCode::CREATED, &json!("approve")), "{decided}");
    decided
}

async fn stored_runs(database: &TestDatabase) -> i64 {
    let mut superuser = database.superuser().await;
    sqlx::query_scalar("select count(*) from shadow_runs").fetch_one(&mut superuser).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_in_shadow_mode_is_compared_on_current_facts() {
    let database = TestDatabase::create().await;
    let node = Node::start(&database).await;
    let caller = Caller::of_new_tenant(&node, "acme").await;
    assert_eq!(caller.get(SHADOW).await.1, json!({"point": "payment"}));
    let velocity = json!({"limits": [
        {"selector": "customer", "window_seconds": 3_600, "max_count": 1, "verdict": "reject"}]});
    let mut tried = entry(&caller, "velocity", velocity).await;
    tried["mode"] = json!("shadow");
    caller.activate_entries(&json!([entry(&caller, "amount-limits", limit(1_000_000)).await, tried])).await;
    let ids = [
        approved(&caller, "k0", &payment()).await["id"].clone(),
        approved(&caller, "k1", &payment()).await["id"].clone(),
        approved(&caller, "k2", &payment()).await["id"].clone(),
    ];

    let shadow = wait_for_comparisons(&caller, "", 3).await;
    assert_eq!(shadow["rules"]["rules"], json!(["velocity"]), "{shadow}");
    assert!(shadow["rules"]["since_ms"].is_u64() && shadow.get("revision").is_none(), "{shadow}");
    let report = &shadow["report"];
    assert_eq!((&report["kind"], &report["revision"]), (&json!("rules"), &json!(1)), "{report}");
    assert_eq!(report["coverage"], json!({"decided": 3, "compared": 3, "percent": 100.0}), "{report}");
    assert_eq!(report["changed_percent"], 66.67, "{report}");
    let eur = |total_minor: i64| json!([{"currency": "EUR", "total_minor": total_minor}]);
    let change = |to: &str, payments: i64| json!({"decided": "approve", "would_be": to, "payments": payments, "amounts": eur(2_500 * payments)});
    assert_eq!(report["outcomes"], json!([change("approve", 1), change("reject", 2)]), "{report}");
    let output = json!([{"rule": "velocity", "said": {"pass": 1, "reject": 2}}]);
    assert_eq!(report["rules"], output, "{report}");

    let (_, page) = caller.get(&format!("{SHADOW}/examples?decided=approve&would_be=reject&limit=1")).await;
    assert_eq!(page["items"][0]["id"], ids[2], "{page}");
    let facts = |item: &Value| item["rules"][0]["facts"][0]["velocity"]["count"].clone();
    assert_eq!(facts(&page["items"][0]), 2, "as many as there were then: {page}");
    assert_eq!(page["items"][0]["reasons"][0]["rule"], "velocity", "{page}");
    let cursor = page["next_cursor"].as_str().unwrap();
    let next = format!("{SHADOW}/examples?decided=approve&would_be=reject&limit=1&cursor={cursor}");
    let (_, page) = caller.get(&next).await;
    assert_eq!((&page["items"][0]["id"], facts(&page["items"][0])), (&ids[1], json!(1)), "{page}");
    assert!(page.get("next_cursor").is_none(), "{page}");
    let (_, page) = caller.get(&format!("{SHADOW}/examples?decided=approve&would_be=approve")).await;
    assert_eq!(page["items"][0]["id"], ids[0], "{page}");

    // The decisions are unchanged, and a retry is not compared again.
    let (_, again) = caller.pay("k2", &payment()).await;
    assert_eq!((&again["id"], &again["outcome"]), (&ids[2], &json!("approve")), "{again}");
    approved(&caller, "k3", &payment_with(&json!({"customer": "customer-2"}))).await;
    wait_for_comparisons(&caller, "", 4).await;
    assert_eq!(stored_runs(&database).await, 4);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shadow_revision_is_reported_while_it_runs_and_afterwards() {
    let database = TestDatabase::create().await;
    let node = Node::start(&database).await;
    let caller = Caller::of_new_tenant(&node, "acme").await;
    let check = entry(&caller, "account-check", json!({})).await;
    caller.activate_entries(&json!([entry(&caller, "amount-limits", limit(1_000_000)).await, check])).await;
    approved(&caller, "before", &payment()).await;
    let stricter = json!([entry(&caller, "amount-limits", limit(3_000)).await, check]);
    let candidate = new_revision(&caller, stricter).await;
    put_in_shadow(&caller, candidate).await;
    approved(&caller, "small", &payment()).await;
    let large = approved(&caller, "large", &payment_with(&json!({"amount_minor": 5_000}))).await;
    let (_, evidence) = caller.get(&format!("/decisions/{}", large["id"].as_str().unwrap())).await;
    assert_eq!(evidence["rules"].as_array().map(Vec::len), Some(2), "{evidence}");
    assert_eq!(evidence["revision"]["number"], 1, "{evidence}");

    let shadow = wait_for_comparisons(&caller, "", 2).await;
    assert_eq!(shadow["revision"]["revision"], candidate, "{shadow}");
    let report = &shadow["report"];
    assert_eq!(
        (&report["kind"], &report["looked_at"], &report["changed"]),
        (&json!("revision"), &json!(2), &json!(1))
    );
    assert_eq!(report["coverage"]["decided"], 2, "the one before is not of its time: {report}");
    let rules = json!([
        {"rule": "account-check", "said": {"pass": 2}},
        {"rule": "amount-limits", "said": {"pass": 1, "reject": 1}}
    ]);
    assert_eq!(report["rules"], rules, "{report}");
    let (_, page) = caller.get(&format!("{SHADOW}/examples")).await;
    assert_eq!((&page["items"][0]["id"], page["items"].as_array().map(Vec::len)), (&large["id"], Some(1)));
    assert_eq!(page["items"][0]["reasons"][0]["rule"], "amount-limits", "{page}");
    let late = large["received_at_ms"].as_u64().unwrap() + 1;
    let (_, none) = caller.get(&format!("{SHADOW}?from_ms={late}")).await;
    assert_eq!(none["report"]["looked_at"], 0, "{none}");
    let (_, all) = caller.get(&format!("{SHADOW}?from_ms=0&to_ms={late}")).await;
    assert_eq!(all["report"]["looked_at"], 2, "{all}");

    assert_eq!(send(caller.request(Method::DELETE, SHADOW)).await.0, StatusCode::OK);
    approved(&caller, "after", &payment()).await;
    assert_eq!(caller.get(SHADOW).await.1, json!({"point": "payment"}));
    let (_, ended) = caller.get(&format!("{SHADOW}?revision={candidate}")).await;
    assert_eq!(ended["report"]["looked_at"], 2, "{ended}");
    let coverage = json!({"decided": 2, "compared": 2, "percent": 100.0});
    assert_eq!(ended["report"]["coverage"], coverage, "nothing was missed while it ran: {ended}");
    let (status, problem) = caller.get(&format!("{SHADOW}?revision=0&kind=both&colour=red")).await;
    assert_eq!((status, problem["errors"].as_array().map(Vec::len)), (StatusCode::BAD_REQUEST, Some(3)));
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shadow_that_burns_all_its_fuel_fails_no_payment_and_skipped_ones_are_counted() {
    let database = TestDatabase::create().await;
    let node = Node::start_with(&database, &[("shadow_queue_max", json!(4))]).await;
    let caller = Caller::of_new_tenant(&node, "acme").await;
    caller.activate(&[("amount-limits", limit(1_000_000))]).await;
    let burner = caller.upload_fixture("endless_loop").await;
    let rules: Vec<Value> = (0..20)
        .map(|place| json!({"name": format!("burner-{place}"), "plugin": burner, "settings": {}}))
        .collect();
    let candidate = new_revision(&caller, json!(rules)).await;
    put_in_shadow(&caller, candidate).await;
    let paying = (0..60).map(|place| {
        let caller = caller.clone();
        tokio::spawn(async move { approved(&caller, &format!("k{place}"), &payment()).await })
    });
    for paid in paying.collect::<Vec<_>>() {
        paid.await.unwrap();
    }
    let begun = Instant::now();
    let report = loop {
        let report = caller.get(SHADOW).await.1["report"].clone();
        if report["looked_at"].as_u64() > Some(0) {
            break report;
        }
        assert!(begun.elapsed() < TEST_TIMEOUT, "{report}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    assert_eq!(report["coverage"]["decided"], 60, "{report}");
    assert!(report["coverage"]["compared"].as_u64() < Some(60), "{report}");
    assert_eq!(report["rules"][0]["said"]["out-of-fuel"], report["looked_at"], "{report}");
    assert_eq!(report["outcomes"][0]["would_be"], "review", "{report}");
    let metrics = reqwest::get(format!("{}/metrics", node.url)).await.unwrap().text().await.unwrap();
    let skipped = metrics.lines().find_map(|line| line.strip_prefix("tollgate_shadow_skipped_total "));
    assert!(skipped.is_some_and(|count| count.parse::<u64>().unwrap() > 0), "{metrics}");
    node.stop().await;
}

#[tokio::test]
async fn old_shadow_runs_are_deleted_in_batches() {
    let database = TestDatabase::create().await;
    let databases = database.databases();
    let tenant = TenantId(Uuid::now_v7());
    create_tenant(&databases.system, tenant, "acme", 0, "test").await.unwrap();
    let run = |at_ms: u64| ShadowRun {
        tenant,
        kind: ShadowKind::Revision,
        revision: 1,
        payment: PaymentId(Uuid::now_v7()),
        decided_revision: 1,
        received_at_ms: at_ms,
        decided: Outcome::Approve,
        would_be: Outcome::Review,
        amount: Money::new(1, Currency::parse("EUR").unwrap()).unwrap(),
        evidence: ShadowEvidence {
            engine: EngineId("e".to_owned()),
            fold_version: 2,
            rules: vec![],
            reasons: vec![],
        },
    };
    let runs: Vec<ShadowRun> = (0..10).map(run).collect();
    insert(&databases.system, runs.clone()).await.unwrap();
    // Repeats the insert, as after a commit with an unknown result.
    insert(&databases.system, runs).await.unwrap();
    assert_eq!(stored_runs(&database).await, 10);
    for (portion, deleted, left) in [(4, 4, 6), (4, 3, 3), (4, 0, 3)] {
        assert_eq!(delete_older(&databases.system, 7, portion).await.unwrap(), deleted);
        assert_eq!(stored_runs(&database).await, left);
    }
}
