//! Workers that die, vanish and come back while payments are decided.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures::future::join_all;
use reqwest::StatusCode;
use rustix::process::Signal;
use serde_json::{Value, json};

use super::{Socket, Worker, process_asking, replay_without_workers, series};
use crate::support::components::component;
use crate::support::database::TestDatabase;
use crate::support::program::{Program, TEST_TIMEOUT};
use crate::support::service::{Caller, payment_with};

const CLIENTS: usize = 6;

/// Rules that let the payments of this test pass.
fn rules() -> [(&'static str, Value); 2] {
    let limit =
        json!({"selector": "customer", "window_seconds": 3_600, "max_count": 1_000_000, "verdict": "review"});
    [
        ("velocity", json!({"limits": [limit]})),
        ("amount-limits", json!({"limits": [{"review_above_minor": 50_000}]})),
    ]
}

/// What clients were told, by their keys.
struct Load {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicUsize>,
    clients: Vec<tokio::task::JoinHandle<Vec<(String, Value)>>>,
}

impl Load {
    fn start(caller: &Caller, name: &str) -> Self {
        let (stop, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let clients = (0..CLIENTS).map(|client| {
            let (caller, stop, answered) = (caller.clone(), stop.clone(), answered.clone());
            let name = format!("{name}-{client}");
            tokio::spawn(async move {
                let mut told = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    let key = format!("{name}-{}", told.len());
                    let (status, decision) =
                        caller.pay(&key, &payment_with(&json!({"reference": key}))).await;
                    assert_eq!(status, StatusCode::CREATED, "{decision}");
                    told.push((key, decision));
                    answered.fetch_add(1, Ordering::Relaxed);
                }
                told
            })
        });
        let clients = clients.collect();
        Self { stop, answered, clients }
    }

    /// Waits for so many more answers.
    async fn goes_on(&self, more: usize) {
        let (before, begun) = (self.answered.load(Ordering::Relaxed), Instant::now());
        while self.answered.load(Ordering::Relaxed) < before + more {
            assert!(begun.elapsed() < TEST_TIMEOUT, "payments are no longer answered");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    async fn end(self) -> Vec<(String, Value)> {
        self.stop.store(true, Ordering::Relaxed);
        join_all(self.clients).await.into_iter().flat_map(Result::unwrap).collect()
    }
}

/// Waits until the worker at this address was found ready so many times.
async fn until_ready(node: &Program, address: &str, times: usize) {
    until_told(node, &["a rule worker is ready"], address, times).await;
}

/// Waits until the node has said one of these about the worker so many times.
async fn until_told(node: &Program, said: &[&str], address: &str, times: usize) {
    let is_about = |line: &&str| line.contains(address) && said.iter().any(|said| line.contains(said));
    let begun = Instant::now();
    while node.log().lines().filter(is_about).count() < times {
        assert!(begun.elapsed() < TEST_TIMEOUT, "{address}: not {said:?} {times} times:\n{}", node.log());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Two workers, and a node that asks them and knows no other engine.
struct Pair {
    database: TestDatabase,
    addresses: Vec<String>,
    workers: [Option<Worker>; 2],
    node: Program,
    caller: Caller,
    _sockets: [Socket; 2],
}

impl Pair {
    async fn start() -> Self {
        let (database, sockets) = (TestDatabase::create().await, [Socket::new(), Socket::new()]);
        let addresses: Vec<String> = sockets.iter().map(Socket::address).collect();
        let workers = [Some(Worker::at(&addresses[0]).await), Some(Worker::at(&addresses[1]).await)];
        // A rule that nobody ran would be reviewed, so an approval shows that a worker ran it.
        let node = process_asking(&database, "api,background", &addresses, "failure_outcome").await;
        for address in &addresses {
            until_ready(&node, address, 1).await;
        }
        let caller = node.caller_of_new_tenant(&database, "acme").await;
        caller.activate(&rules()).await;
        Self { database, addresses, workers, node, caller, _sockets: sockets }
    }

    /// Stops, and checks that each key has one decision for which every rule ran.
    async fn end(self, told: Vec<(String, Value)>) {
        assert_each_was_decided_once(&self.database, &self.caller, &told).await;
        self.node.stop().await;
        assert_eq!(crate::journal::chain::verify(&self.database).await, told.len());
        replay_without_workers(&self.database).await;
    }
}

/// Each key has one decision, and every rule ran for it.
async fn assert_each_was_decided_once(database: &TestDatabase, caller: &Caller, told: &[(String, Value)]) {
    let rows: i64 = sqlx::query_scalar("select count(*) from decisions")
        .fetch_one(&mut database.superuser().await)
        .await
        .unwrap();
    let keys: BTreeSet<&str> = told.iter().map(|(key, _)| key.as_str()).collect();
    assert_eq!((rows as usize, keys.len()), (told.len(), told.len()), "one decision for each key");
    for (key, decision) in told {
        assert_eq!(decision["outcome"], "approve", "{key}: {decision}");
        let again = caller.pay(key, &payment_with(&json!({"reference": key}))).await;
        assert_eq!(again, (StatusCode::OK, decision.clone()), "{key}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_killed_under_load_lose_no_payment() {
    let mut pair = Pair::start().await;
    let load = Load::start(&pair.caller, "kill");
    for round in 0..3 {
        load.goes_on(20 + 13 * round).await;
        let (place, times) = (round % 2, 2 + round / 2);
        let killed = pair.workers[place].take().unwrap();
        pair.workers[place] = Some(killed.kill_and_start(&pair.addresses[place]).await);
        load.goes_on(10).await;
        until_ready(&pair.node, &pair.addresses[place], times).await;
    }
    let told = load.end().await;
    pair.end(told).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn payments_of_a_worker_that_vanishes_are_decided_by_another() {
    let pair = Pair::start().await;
    let load = Load::start(&pair.caller, "vanish");
    load.goes_on(20).await;
    // Its connection stays open and says nothing. It goes on only after the payments are answered.
    let vanished = pair.workers[0].as_ref().unwrap();
    vanished.program.signal(Signal::STOP);
    let unwell = ["a rule worker failed", "a rule worker cannot be used"];
    until_told(&pair.node, &unwell, &pair.addresses[0], 1).await;
    load.goes_on(100).await;
    vanished.program.signal(Signal::CONT);
    until_ready(&pair.node, &pair.addresses[0], 2).await;
    load.goes_on(20).await;
    let told = load.end().await;
    pair.end(told).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_worker_the_chosen_fallback_decides() {
    let strict = json!({"limits": [{"review_above_minor": 50_000}]});
    for (fallback, outcome, result) in
        [("in_process", "approve", "pass"), ("failure_outcome", "reject", "unavailable")]
    {
        let (database, socket) = (TestDatabase::create().await, Socket::new());
        let mut worker = Worker::at(&socket.address()).await;
        let node = process_asking(&database, "api,background", &[socket.address()], fallback).await;
        let caller = node.caller_of_new_tenant(&database, "acme").await;
        let plugin = caller.plugin("amount-limits").await;
        let entry = json!({"name": "limits", "plugin": plugin, "settings": strict, "on_failure": "reject"});
        caller.activate_entries(&json!([entry])).await;
        until_ready(&node, &socket.address(), 1).await;
        let (status, decision) = caller.pay("by-worker", &payment_with(&json!({}))).await;
        assert_eq!((status, &decision["outcome"]), (StatusCode::CREATED, &json!("approve")), "{decision}");

        worker.kill().await;
        let (status, decision) = caller.pay("by-fallback", &payment_with(&json!({}))).await;
        assert_eq!((status, &decision["outcome"]), (StatusCode::CREATED, &json!(outcome)), "{decision}");
        let (_, whole) = caller.get(&format!("/decisions/{}", decision["id"].as_str().unwrap())).await;
        assert!(whole["rules"][0]["result"].to_string().contains(result), "{whole}");
        assert!(series(&node.url, "tollgate_rule_worker_calls_total{result=\"fallback\"}").await >= 1.0);

        // Another one in its place has nothing, and is given what it needs.
        let _worker = Worker::at(&socket.address()).await;
        until_ready(&node, &socket.address(), 2).await;
        let (_, decision) = caller.pay("by-worker-again", &payment_with(&json!({}))).await;
        assert_eq!(decision["outcome"], "approve", "{decision}");
        node.stop().await;
    }
}

/// The log of another process arrives when it does.
async fn is_given_once(worker: &Worker, digest: &str) {
    let begun = Instant::now();
    let given = || {
        let log = worker.program.log();
        log.lines().filter(|line| line.contains("plugin added") && line.contains(digest)).count()
    };
    while given() == 0 {
        assert!(begun.elapsed() < TEST_TIMEOUT, "not given:\n{}", worker.program.log());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(given(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_worker_is_given_every_plugin_once_and_one_that_joins_late_is_not_asked_before() {
    let mut pair = Pair::start().await;
    let digest = pair.caller.upload_fixture("good").await;
    for worker in pair.workers.iter().flatten() {
        is_given_once(worker, &digest).await;
    }
    let good = json!([{"name": "good", "plugin": digest, "settings": {}}]);
    pair.caller.activate_entries(&good).await;
    pair.node.stop().await;

    let late = Socket::new();
    let all = [&pair.addresses[..], &[late.address()]].concat();
    let node = process_asking(&pair.database, "api,background", &all, "failure_outcome").await;
    let caller = pair.caller.at(&node.url);
    let joined = Worker::at(&late.address()).await;
    until_ready(&node, &late.address(), 1).await;
    is_given_once(&joined, &digest).await;
    for worker in pair.workers.iter_mut().flatten() {
        worker.kill().await;
    }
    for number in 0..20 {
        let (status, decision) = caller.pay(&format!("late-{number}"), &payment_with(&json!({}))).await;
        assert_eq!((status, &decision["outcome"]), (StatusCode::CREATED, &json!("approve")), "{decision}");
    }

    // A worker refuses what is at fault, and says why.
    let (status, upload) = caller.submit_plugin(component("bad_description")).await;
    assert_eq!(status, StatusCode::ACCEPTED, "{upload}");
    let plugin = caller.wait_for_plugin(upload["digest"].as_str().unwrap()).await;
    assert_eq!(plugin["state"], "refused", "{plugin}");
    assert!(plugin.to_string().contains("describe"), "{plugin}");
    node.stop().await;
}
