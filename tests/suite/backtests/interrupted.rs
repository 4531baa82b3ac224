//! Backtests that are interrupted by a kill or a stop.

use std::time::Duration;

use reqwest::StatusCode;
use rustix::process::Signal;
use serde_json::{Value, json};
use tollgate::domain::verdict::Outcome;

use super::{candidate, review_above, start, tenant_of, wait_until};
use crate::support::components::component_of;
use crate::support::database::TestDatabase;
use crate::support::decisions::{decision_on, journal, now_ms, order};
use crate::support::program::Program;
use crate::support::service::{Caller, Node};

/// A revision with a slow first rule.
pub async fn slow_candidate(caller: &Caller) -> Value {
    let good = std::fs::read_to_string("tests/hostile/good.wat").unwrap();
    let counting = "(local $n i32)
        (loop $again
          (br_if $again
            (i32.lt_u (local.tee $n (i32.add (local.get $n) (i32.const 1))) (i32.const 400000))))
        i32.const 0x700";
    let slow = caller.upload(component_of(&good.replace("i32.const 0x700", counting))).await;
    let limits = caller.plugin("amount-limits").await;
    let rules = json!([
        {"name": "slow", "plugin": slow["digest"], "settings": {}},
        {"name": "amount-limits", "plugin": limits, "settings": review_above(5_000)},
    ]);
    let (status, revision) = caller.post("/rulesets/payment/revisions", &json!({"rules": rules})).await;
    assert_eq!(status, StatusCode::CREATED, "{revision}");
    revision["number"].clone()
}

/// Stores approved payments of 100, 200, ... for the tenant `acme`.
async fn store(databases: &tollgate::storage::databases::Databases, database: &TestDatabase, count: usize) {
    let tenant = tenant_of(database, "acme").await;
    let journal = journal(databases.journal.clone()).await;
    let storing = (0..count).map(|place| {
        let order = order(&format!("c-{}", place % 7), 100 + 100 * place as i64, "EUR");
        let decision = decision_on(tenant, &format!("k{place}"), Outcome::Approve, now_ms(), order);
        journal.store(decision)
    });
    for stored in futures::future::join_all(storing).await {
        stored.unwrap();
    }
}

pub async fn fill(node: &Node, database: &TestDatabase, count: usize) {
    store(&node.databases, database, count).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backtest_that_is_interrupted_by_a_kill_counts_every_decision_once() {
    const COUNT: usize = 3_000;
    let database = TestDatabase::create().await;
    let mut program = Program::serve(&database).await;
    let mut caller = program.caller_of_new_tenant(&database, "acme").await;
    let slow = slow_candidate(&caller).await;
    store(&database.databases(), &database, COUNT).await;
    let body = json!({"revision": slow, "newest": COUNT});

    let undisturbed = start(&caller, &body).await;
    let undisturbed = wait_until(&caller, &undisturbed, |backtest| backtest["state"] == "finished").await;
    assert_eq!(undisturbed["report"]["rules"]["slow"]["candidate"]["pass"], COUNT);

    let path = start(&caller, &body).await;
    let part_done = |backtest: &Value| backtest["done"].as_u64() > Some(0);
    let at_kill = wait_until(&caller, &path, part_done).await;
    program.signal(Signal::KILL);
    assert!(!program.wait().await.success());
    program = Program::serve(&database).await;
    caller = caller.at(&program.url);
    let left = wait_until(&caller, &path, |_| true).await;
    assert_eq!(left["state"], "running", "{left}");
    assert!(left["done"].as_u64() < Some(COUNT as u64), "it was killed in the middle: {left}");
    assert_eq!(left["report"]["compared"], left["done"], "what is counted is what is done");
    assert!(left["done"].as_u64() >= at_kill["done"].as_u64());

    let goes_on = |backtest: &Value| backtest["done"].as_u64() > left["done"].as_u64();
    let going_on = wait_until(&caller, &path, goes_on).await;
    if going_on["state"] == "running" {
        // A node that stops releases its lease, so the next node need not wait until the lease
        // expires.
        program.stop().await;
        program = Program::serve(&database).await;
        caller = caller.at(&program.url);
    }
    let finished = wait_until(&caller, &path, |backtest| backtest["state"] == "finished").await;
    assert_eq!(finished["report"], undisturbed["report"]);
    assert_eq!((&finished["total"], &finished["done"]), (&json!(COUNT), &json!(COUNT)));
    program.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_is_renewed_while_facts_take_long() {
    let database = TestDatabase::create().await;
    let node = Node::start(&database).await;
    let caller = Caller::of_new_tenant(&node, "acme").await;
    fill(&node, &database, 2_000).await;
    let limit = json!({"selector": "customer", "window_seconds": 60, "max_count": 5, "verdict": "review"});
    let velocity = candidate(&caller, &[("velocity", json!({"limits": [limit]}))]).await;
    let mut superuser = database.superuser().await;
    let waiting = "select count(*) from value_series where complete_at_ms is null";
    while sqlx::query_scalar::<_, i64>(waiting).fetch_one(&mut superuser).await.unwrap() > 0 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    sqlx::raw_sql("begin; lock table aggregate_values").execute(&mut superuser).await.unwrap();
    let path = start(&caller, &json!({"revision": velocity})).await;
    wait_until(&caller, &path, |backtest| backtest["total"].is_u64()).await;
    tokio::time::sleep(Duration::from_secs(4)).await;
    let left_s: i32 = sqlx::query_scalar(
        "select extract(epoch from claimed_until - clock_timestamp())::int from backtests",
    )
    .fetch_one(&mut superuser)
    .await
    .unwrap();
    assert!(left_s >= 8, "{left_s}");
    sqlx::raw_sql("rollback").execute(&mut superuser).await.unwrap();
    let finished = wait_until(&caller, &path, |backtest| backtest["state"] == "finished").await;
    assert_eq!(finished["report"]["compared"], 2_000, "{finished}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backtest_that_cannot_be_read_fails_and_delays_no_other() {
    let database = TestDatabase::create().await;
    let node = Node::start(&database).await;
    let damaged = Caller::of_new_tenant(&node, "damaged").await;
    candidate(&damaged, &[("account-check", json!({}))]).await;
    let mut superuser = database.superuser().await;
    let statement = "insert into backtests (tenant_id, id, point, revision, selection, state, created_by, created_at_ms)
        select tenant_id, gen_random_uuid(), point, number, '{\"to_ms\": \"x\"}', 'waiting', '', 0 from revisions";
    sqlx::raw_sql(statement).execute(&mut superuser).await.unwrap();
    let caller = Caller::of_new_tenant(&node, "acme").await;
    let revision = candidate(&caller, &[("account-check", json!({}))]).await;
    let path = start(&caller, &json!({"revision": revision})).await;
    wait_until(&caller, &path, |backtest| backtest["state"] == "finished").await;
    let (state, why): (String, String) =
        sqlx::query_as("select state, why from backtests where created_at_ms = 0")
            .fetch_one(&mut superuser)
            .await
            .unwrap();
    assert_eq!((state.as_str(), why.as_str()), ("failed", "stored backtest cannot be read"));
}
