//! Nodes that answer from lists in memory: exactly, whatever happens to a list meanwhile.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures::future::join_all;
use reqwest::StatusCode;
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, PgConnection};

use super::{add, close, list};
use crate::support::database::TestDatabase;
use crate::support::lists::{until, until_ended, until_valid};
use crate::support::program::TEST_TIMEOUT;
use crate::support::service::{Caller, Node, payment_with};

/// A tenant whose payments are rejected if their customer is on the list.
async fn blocking_tenant(node: &Node) -> Caller {
    let caller = Caller::of_new_tenant(node, "acme").await;
    list(&caller, "blocked", "customer").await;
    caller.activate(&[("party-lists", blocked_by("exact"))]).await;
    caller
}

async fn node_that_knows_a_list() -> (TestDatabase, Node, Caller, PgConnection, Payments) {
    let database = TestDatabase::create().await;
    let node = Node::start(&database).await;
    let caller = blocking_tenant(&node).await;
    let (mut superuser, payments) = (database.superuser().await, Payments::new());
    payments.until_known(&caller, &mut superuser, true).await;
    (database, node, caller, superuser, payments)
}

fn blocked_by(matching: &str) -> Value {
    json!({"lists": [{"list": "blocked", "selector": "customer", "matching": matching, "verdict": "reject"}]})
}

/// Payments of one customer, sent one after another, with what was decided.
struct Payments {
    keys: AtomicUsize,
    ended: AtomicBool,
}

impl Payments {
    fn new() -> Self {
        Self { keys: AtomicUsize::new(0), ended: AtomicBool::new(false) }
    }

    /// `None` if the payment could not be decided.
    async fn pay(&self, caller: &Caller, customer: &str) -> Option<(u64, Value)> {
        let key = format!("{customer}-{}", self.keys.fetch_add(1, Ordering::Relaxed));
        let (status, decided) = caller.pay(&key, &payment_with(&json!({"customer": customer}))).await;
        let at_ms = (status == StatusCode::CREATED).then(|| decided["received_at_ms"].as_u64().unwrap());
        Some((at_ms?, decided["outcome"].clone()))
    }

    async fn pay_until_ended(&self, caller: &Caller, customer: &str) -> Vec<(u64, Value)> {
        let mut decided = Vec::new();
        while !self.ended.load(Ordering::Relaxed) {
            decided.push(self.pay(caller, customer).await.expect("a decision"));
        }
        decided
    }

    /// Waits until payments are approved or not while the look-up of facts may not read entries: until
    /// the node knows the list, or no longer does.
    async fn until_known(&self, caller: &Caller, superuser: &mut PgConnection, is_known: bool) {
        change_right(superuser, "revoke", "from tollgate_journal").await;
        let begun = Instant::now();
        let approved =
            |decided: Option<(u64, Value)>| decided.is_some_and(|(_, outcome)| outcome == "approve");
        while approved(self.pay(caller, "somebody").await) != is_known {
            assert!(begun.elapsed() < TEST_TIMEOUT, "known: {is_known}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        change_right(superuser, "grant", "to tollgate_journal").await;
    }
}

async fn change_right(superuser: &mut PgConnection, change: &str, role: &str) {
    // With entries alone a node would still see that no list has changed.
    let what = if role.ends_with("tollgate_system") { "list_entries, list_changes" } else { "list_entries" };
    let statement = AssertSqlSafe(format!("{change} select on {what} {role}"));
    sqlx::raw_sql(statement).execute(superuser).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn every_node_obeys_a_change_from_exactly_the_time_that_was_told() {
    let database = TestDatabase::create().await;
    let (node, other) = (Node::start(&database).await, Node::start(&database).await);
    let here = blocking_tenant(&node).await;
    let there = here.at(&other.url);
    let mut superuser = database.superuser().await;
    let payments = Payments::new();
    for caller in [&here, &there] {
        payments.until_known(caller, &mut superuser, true).await;
    }
    let changing = async {
        let (_, entry) = add(&here, "blocked", "mallory").await;
        until_valid(&entry).await;
        let (_, closed) = close(&there, "blocked", &entry).await;
        until_ended(&closed).await;
        payments.ended.store(true, Ordering::Relaxed);
        closed
    };
    let paying = [&here, &there].map(|caller| payments.pay_until_ended(caller, "mallory"));
    let (closed, decided) = tokio::join!(changing, join_all(paying));
    let times = ["valid_from_ms", "valid_to_ms"].map(|member| closed[member].as_u64().unwrap());
    for decided in &decided {
        for (at_ms, outcome) in decided {
            let expected = if (times[0]..times[1]).contains(at_ms) { "reject" } else { "approve" };
            assert_eq!(outcome, expected, "at {at_ms}, valid {times:?}");
        }
        let rejected = decided.iter().filter(|(_, outcome)| outcome == "reject").count();
        assert!(rejected > 0 && rejected + 1 < decided.len(), "{rejected} of {}", decided.len());
    }
    // The same question in other words is asked in the database, as of the payments' times.
    let rules = [("party-lists", blocked_by("prefix"))];
    let candidate = crate::backtests::candidate(&here, &rules).await;
    let report = crate::backtests::report(&here, &json!({"revision": candidate})).await;
    assert_eq!(report["rules"]["party-lists"]["changed"], json!(0), "{report}");
    assert!(report["partly_computed"].as_u64() > Some(0), "{report}");
    other.stop().await;
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_is_being_changed_is_asked_in_the_database_until_the_change_has_ended() {
    let (database, node, caller, mut superuser, payments) = node_that_knows_a_list().await;

    let mut writer = database.superuser().await;
    sqlx::raw_sql("begin").execute(&mut writer).await.unwrap();
    let valid_from_ms: i64 = sqlx::query_scalar(
        "insert into list_entries (tenant_id, list, id, value, comparable, normalized_name, reason,
                                   valid_from_ms, added_by, comparison_version)
         select tenant_id, name, gen_random_uuid(), 'mallory', 'mallory', 'mallory', 'r', 0, 'alice', 2
         from lists returning valid_from_ms",
    )
    .fetch_one(&mut writer)
    .await
    .unwrap();
    // It does not know whether, and from when, the entry is valid.
    payments.until_known(&caller, &mut superuser, false).await;
    assert_eq!(payments.pay(&caller, "mallory").await.expect("a decision").1, "approve");
    until(valid_from_ms.cast_unsigned()).await;
    let late = sqlx::raw_sql("commit").execute(&mut writer).await.unwrap_err();
    assert_eq!(late.as_database_error().and_then(|error| error.code()).as_deref(), Some("40001"));
    payments.until_known(&caller, &mut superuser, true).await;
    assert_eq!(payments.pay(&caller, "mallory").await.expect("a decision").1, "approve");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_cannot_read_a_change_asks_the_database_and_recovers() {
    let (_database, node, caller, mut superuser, payments) = node_that_knows_a_list().await;
    let right = |change: &str| AssertSqlSafe(format!("{change} tollgate_system"));
    sqlx::raw_sql(right("revoke select on list_entries from")).execute(&mut superuser).await.unwrap();
    let (_, entry) = add(&caller, "blocked", "mallory").await;
    until_valid(&entry).await;
    assert_eq!(payments.pay(&caller, "mallory").await.expect("a decision").1, "reject");
    sqlx::raw_sql(right("grant select on list_entries to")).execute(&mut superuser).await.unwrap();
    payments.until_known(&caller, &mut superuser, true).await;
    assert_eq!(payments.pay(&caller, "mallory").await.expect("a decision").1, "reject");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_cannot_follow_lists_asks_the_database_and_recovers() {
    let (_database, node, caller, mut superuser, payments) = node_that_knows_a_list().await;

    change_right(&mut superuser, "revoke", "from tollgate_system").await;
    payments.until_known(&caller, &mut superuser, false).await;
    let (_, entry) = add(&caller, "blocked", "mallory").await;
    until_valid(&entry).await;
    assert_eq!(payments.pay(&caller, "mallory").await.expect("a decision").1, "reject");

    change_right(&mut superuser, "grant", "to tollgate_system").await;
    payments.until_known(&caller, &mut superuser, true).await;
    assert_eq!(payments.pay(&caller, "mallory").await.expect("a decision").1, "reject");
    let (_, closed) = close(&caller, "blocked", &entry).await;
    until_ended(&closed).await;
    assert_eq!(payments.pay(&caller, "mallory").await.expect("a decision").1, "approve");
    node.stop().await;
}
