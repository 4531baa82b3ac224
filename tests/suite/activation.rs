//! Activations during payments, and while processes are killed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures::future::join_all;
use reqwest::StatusCode;
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::database::TestDatabase;
use crate::support::program::{Program, TEST_TIMEOUT};
use crate::support::service::{Caller, Node, payment};

const REVISIONS: &str = "/rulesets/payment/revisions";
const ACTIVATIONS: &str = "/rulesets/payment/activations";

/// Creates a revision of two rules. Either both reject the test payment or both pass it.
async fn revision(caller: &Caller, speaks: bool) -> i64 {
    let plugin = caller.plugin("amount-limits").await;
    let maximum_minor = if speaks { 1 } else { 1_000_000 };
    let settings = json!({"limits": [{"currency": "EUR", "maximum_minor": maximum_minor}]});
    let rule = |name: &str| json!({"name": name, "plugin": plugin, "settings": settings});
    let rules = json!({"rules": [rule("one"), rule("other")]});
    let (status, made) = caller.post(REVISIONS, &rules).await;
    assert_eq!(status, StatusCode::CREATED, "{made}");
    made["number"].as_i64().unwrap()
}

async fn activate(caller: &Caller, number: i64) {
    let (status, response) = caller.post(ACTIVATIONS, &json!({"revision": number})).await;
    assert_eq!(status, StatusCode::CREATED, "{response}");
}

#[tokio::test(flavor = "multi_thread")]
async fn activations_under_load_drop_no_payment_and_each_is_decided_by_one_revision() {
    let database = TestDatabase::create().await;
    let node = Node::start(&database).await;
    let caller = Caller::of_new_tenant(&node, "acme").await;
    let (loud, silent) = (revision(&caller, true).await, revision(&caller, false).await);
    activate(&caller, loud).await;

    let (stop, paid) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let acknowledged = Arc::new(AtomicI64::new(loud));
    let payers = (0..6).map(|payer| {
        let (caller, stop, paid) = (caller.clone(), stop.clone(), paid.clone());
        tokio::spawn(async move {
            let mut seen = [0, 0];
            for attempt in 0.. {
                if stop.load(Ordering::SeqCst) {
                    break;
                }
                let (status, response) = caller.pay(&format!("{payer}-{attempt}"), &payment()).await;
                assert_eq!(status, StatusCode::CREATED, "{response}");
                let is_silent = response["revision"] == silent;
                let reasons = response["reasons"].as_array().unwrap().len();
                assert_eq!(reasons, if is_silent { 0 } else { 2 }, "half a revision: {response}");
                seen[usize::from(is_silent)] += 1;
                paid.fetch_add(1, Ordering::SeqCst);
            }
            seen
        })
    });
    let payers: Vec<_> = payers.collect();
    let mut delay_ms = Vec::new();
    for turn in 0..12 {
        let enough = paid.load(Ordering::SeqCst) + 5;
        let begun = Instant::now();
        while paid.load(Ordering::SeqCst) < enough {
            assert!(begun.elapsed() < TEST_TIMEOUT, "no load");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let next = if turn % 2 == 0 { silent } else { loud };
        let begun = Instant::now();
        activate(&caller, next).await;
        delay_ms.push(begun.elapsed().as_millis());
        acknowledged.store(next, Ordering::SeqCst);
        // The activation is in effect when its response arrives.
        let (_, response) = caller.pay(&format!("after-{turn}"), &payment()).await;
        assert_eq!(response["revision"], next, "{response}");
    }
    stop.store(true, Ordering::SeqCst);
    let seen = join_all(payers).await.into_iter().map(Result::unwrap);
    let seen = seen.fold([0, 0], |all, own| [all[0] + own[0], all[1] + own[1]]);
    assert!(seen[0] > 0 && seen[1] > 0, "both decided: {seen:?}");
    eprintln!("{seen:?} payments; activations took {delay_ms:?} ms");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_is_killed_during_activations_restarts_with_a_complete_activation() {
    let database = TestDatabase::create().await;
    let mut program = Program::serve(&database).await;
    let mut caller = program.caller_of_new_tenant(&database, "acme").await;
    let revisions = [revision(&caller, true).await, revision(&caller, false).await];
    activate(&caller, revisions[0]).await;
    for round in 0..3_usize {
        let acknowledged = Arc::new(AtomicUsize::new(0));
        let (activating, count) = (caller.clone(), acknowledged.clone());
        let activator = tokio::spawn(async move {
            for attempt in 0.. {
                let body = json!({"revision": revisions[attempt % 2]});
                let request = activating.request(reqwest::Method::POST, ACTIVATIONS).json(&body);
                let Ok(response) = request.send().await else { return attempt };
                assert_eq!(response.status(), StatusCode::CREATED);
                count.fetch_add(1, Ordering::SeqCst);
            }
            unreachable!("it ends when the line breaks")
        });
        let begun = Instant::now();
        while acknowledged.load(Ordering::SeqCst) < 3 + 2 * round {
            assert!(begun.elapsed() < TEST_TIMEOUT, "no activation");
            tokio::task::yield_now().await;
        }
        program.signal(Signal::KILL);
        let attempted = activator.await.unwrap();
        assert!(!program.wait().await.success());
        program = Program::serve(&database).await;
        caller = caller.at(&program.url);

        let active = caller.get("/rulesets/payment").await.1["activation"]["revision"].clone();
        // The last acknowledged activation, or the one whose response was lost.
        let last = revisions[(acknowledged.load(Ordering::SeqCst) - 1) % 2];
        let unheard = revisions[attempted % 2];
        assert!(active == last || active == unheard, "{active}: {last} or {unheard}");
        let (_, response) = caller.pay(&format!("round-{round}"), &payment()).await;
        assert_eq!(response["revision"], active, "{response}");
    }
    // Every activation has an audit record, and every such record an activation.
    let counts: (i64, i64) = sqlx::query_as(
        "select (select count(*) from activations),
                (select count(*) from audit_events where action = 'revision.activated')",
    )
    .fetch_one(&mut database.superuser().await)
    .await
    .unwrap();
    assert_eq!(counts.0, counts.1);
    program.stop().await;
}

/// Also prints how long the other node takes to follow.
#[tokio::test(flavor = "multi_thread")]
async fn another_node_follows_an_activation_by_polling_alone() {
    let database = TestDatabase::create().await;
    let (first, second) = (Node::start(&database).await, Node::start(&database).await);
    let caller = Caller::of_new_tenant(&first, "acme").await;
    let there = caller.at(&second.url);
    let (loud, silent) = (revision(&caller, true).await, revision(&caller, false).await);
    activate(&caller, loud).await;
    // Tollgate's sessions do not use LISTEN, so no notification can be lost.
    let listening: i64 =
        sqlx::query_scalar("select count(*) from pg_stat_activity where query ilike 'listen%'")
            .fetch_one(&mut database.superuser().await)
            .await
            .unwrap();
    assert_eq!(listening, 0);
    let mut delays_ms = Vec::new();
    for (turn, next) in [silent, loud, silent, loud].into_iter().enumerate() {
        activate(&caller, next).await;
        let begun = Instant::now();
        for attempt in 0.. {
            let (_, response): (_, Value) = there.pay(&format!("{turn}-{attempt}"), &payment()).await;
            if response["revision"] == next {
                break;
            }
            assert!(begun.elapsed() < TEST_TIMEOUT, "{response}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        delays_ms.push(begun.elapsed().as_millis());
    }
    eprintln!("another node followed after {delays_ms:?} ms");
    first.stop().await;
    second.stop().await;
}
