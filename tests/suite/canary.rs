//! Canaries: which payments they decide, and their reports.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use futures::{StreamExt, stream};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::support::database::TestDatabase;
use crate::support::service::{Caller, Node, payment, send};

const CANARY: &str = "/rulesets/payment/canary";
const KEYS: u32 = 200;

fn limit(maximum_minor: i64) -> Value {
    json!({"limits": [{"currency": "EUR", "maximum_minor": maximum_minor}]})
}

/// Revision 1 approves and is active, revision 2 rejects.
async fn two_revisions(caller: &Caller) {
    caller.activate(&[("amount-limits", limit(1_000_000))]).await;
    let plugin = caller.plugin("amount-limits").await;
    let rules = json!({"rules": [{"name": "amount-limits", "plugin": plugin, "settings": limit(100)}]});
    assert_eq!(caller.post("/rulesets/payment/revisions", &rules).await.0, StatusCode::CREATED);
}

async fn start(caller: &Caller, share_percent: f64) -> i64 {
    let body = json!({"revision": 2, "share_percent": share_percent});
    let (status, deployed) = send(caller.request(Method::PUT, CANARY).json(&body)).await;
    assert_eq!(status, StatusCode::OK, "{deployed}");
    deployed["sequence"].as_i64().unwrap()
}

/// The revision that decides each key.
async fn revisions(caller: &Caller) -> HashMap<String, i64> {
    let pay = |number: u32| async move {
        let key = format!("key-{number}");
        let (status, decided) = caller.pay(&key, &payment()).await;
        assert!(status.is_success(), "{decided}");
        (key, decided["revision"].as_i64().unwrap())
    };
    stream::iter(0..KEYS).map(pay).buffer_unordered(8).collect().await
}

fn in_canary(revisions: &HashMap<String, i64>) -> usize {
    revisions.values().filter(|revision| **revision == 2).count()
}

/// Deletes all payments, so that the keys are free again.
async fn forget_payments(database: &TestDatabase) {
    sqlx::raw_sql("truncate idempotency_keys, decisions")
        .execute(&mut database.superuser().await)
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_gets_the_same_revision_on_every_node_and_keeps_it_as_the_share_grows() {
    let database = TestDatabase::create().await;
    let (first, second) = (Node::start(&database).await, Node::start(&database).await);
    let here = Caller::of_new_tenant(&first, "acme").await;
    let there = here.at(&second.url);
    two_revisions(&here).await;
    start(&here, 30.0).await;
    let small = revisions(&here).await;
    let share = in_canary(&small) as f64 / f64::from(KEYS);
    assert!((0.17..0.43).contains(&share), "{share}");
    assert_eq!(revisions(&there).await, small, "a retry anywhere is answered with the first decision");

    forget_payments(&database).await;
    // The second node polls twice a second, so it follows within this time.
    tokio::time::sleep(Duration::from_millis(1_200)).await;
    assert_eq!(revisions(&there).await, small, "the choice is in the key, not in the node");

    forget_payments(&database).await;
    start(&here, 60.0).await;
    let large = revisions(&here).await;
    assert!(in_canary(&large) > in_canary(&small), "{} {}", in_canary(&large), in_canary(&small));
    let left = small.iter().filter(|(key, revision)| **revision == 2 && large[*key] == 1).count();
    assert_eq!(left, 0, "who was in stays in");

    forget_payments(&database).await;
    start(&here, 100.0).await;
    assert_eq!(in_canary(&revisions(&here).await), KEYS as usize);
    second.stop().await;
    first.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_report_has_the_outcomes_and_events_of_each_revision() {
    let database = TestDatabase::create().await;
    let node = Node::start(&database).await;
    let caller = Caller::of_new_tenant(&node, "acme").await;
    assert_eq!(caller.get(CANARY).await.0, StatusCode::NOT_FOUND);
    two_revisions(&caller).await;
    assert_eq!(caller.get(CANARY).await.0, StatusCode::NOT_FOUND, "nothing stands beside it");
    caller.pay("before", &payment()).await;
    // Ids have a precision of one millisecond.
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_millis(3) {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    start(&caller, 40.0).await;
    let decided = revisions(&caller).await;
    start(&caller, 50.0).await;

    let (status, report) = caller.get(CANARY).await;
    assert_eq!(status, StatusCode::OK, "{report}");
    assert_eq!((&report["revision"], &report["share_percent"]), (&json!(2), &json!(50.0)), "{report}");
    assert_eq!(report["looked_at"], KEYS, "what was decided before it began is not of it: {report}");
    let canary = in_canary(&decided) as u64;
    let rest = u64::from(KEYS) - canary;
    for (part, revision, payments, place, outcome) in
        [("decided_by_canary", 2, canary, 2, "reject"), ("decided_by_active", 1, rest, 0, "approve")]
    {
        let part = &report[part];
        assert_eq!((&part["revision"], &part["payments"]), (&json!(revision), &json!(payments)), "{report}");
        let expected = json!({"outcome": outcome, "payments": payments, "percent": 100.0,
            "amounts": [{"currency": "EUR", "total_minor": payments * 2_500}]});
        assert_eq!(part["outcomes"][place], expected, "{report}");
        assert_eq!(part["outcomes"][1]["payments"], 0, "{report}");
        assert_eq!((&part["reasons_sampled"], &part["became"]), (&json!(payments), &json!([])), "{report}");
    }
    assert_eq!(report["decided_by_canary"]["reasons"][0]["payments"], canary, "{report}");
    assert_eq!(report["decided_by_active"]["reasons"], json!([]), "{report}");

    // The parts of its time have all its payments, each once. What came before it is not of it.
    let looked_at = async |query: String| {
        let (status, report) = caller.get(&format!("{CANARY}?{query}")).await;
        assert_eq!(status, StatusCode::OK, "{report}");
        report["looked_at"].as_u64().unwrap()
    };
    let since_ms = report["since_ms"].as_u64().unwrap();
    for split_ms in [since_ms, since_ms + 1, since_ms + 20, since_ms + 1_000_000] {
        let parts = [format!("to_ms={split_ms}"), format!("from_ms={split_ms}")].map(&looked_at);
        let [before, after] = parts;
        assert_eq!(before.await + after.await, u64::from(KEYS), "{split_ms}");
    }
    assert_eq!(looked_at("from_ms=0".to_owned()).await, u64::from(KEYS));
    assert_eq!(caller.get(&format!("{CANARY}?from_ms=soon")).await.0, StatusCode::BAD_REQUEST);

    // Two payments of the canary were fraud; one of them was reported twice.
    sqlx::raw_sql(
        "insert into payment_events
         select tenant_id, id, gen_random_uuid(), 'fraud', at_ms, 0, 'bank', ''
         from (select tenant_id, id, row_number() over (order by id) as place from decisions where revision = 2) d,
              generate_series(1, 2) at_ms
         where d.place = 1 or (d.place = 2 and at_ms = 1)",
    )
    .execute(&mut database.superuser().await)
    .await
    .unwrap();
    let (_, report) = caller.get(CANARY).await;
    let became = &report["decided_by_canary"]["became"];
    assert_eq!((&became[0]["event"], &became[0]["payments"]), (&json!("fraud"), &json!(2)), "{report}");
    assert_eq!(became[0]["outcomes"][2]["payments"], 2, "{report}");
    assert_eq!(report["decided_by_active"]["became"], json!([]), "{report}");

    assert_eq!(send(caller.request(Method::DELETE, CANARY)).await.0, StatusCode::OK);
    assert_eq!(caller.get(CANARY).await.0, StatusCode::NOT_FOUND);
    node.stop().await;
}
