//! Answers of the database that never come: the line stays open and says nothing.

mod readiness;
mod starting;
mod stopping;

use std::time::{Duration, Instant};

use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::support::components::{component_of, good_rule};
use crate::support::database::TestDatabase;
use crate::support::program::PATIENCE;
use crate::support::service::{Caller, Node, payment};
use crate::support::swallow::{Asked, Swallower};

/// A node behind a line that can fall silent, and two of its tenants, whose
/// rules ask for facts.
struct Behind {
    database: TestDatabase,
    line: Swallower,
    node: Node,
    tenants: [Caller; 2],
    asked: u32,
}

/// A rule that asks for facts, and one that has a say.
fn rules(maximum_minor: u32) -> [(&'static str, Value); 2] {
    let limit =
        json!({"selector": "customer", "window_seconds": 3_600, "max_count": 100_000, "verdict": "reject"});
    let maximum = json!({"limits": [{"currency": "EUR", "maximum_minor": maximum_minor}]});
    [("velocity", json!({"limits": [limit]})), ("amount-limits", maximum)]
}

impl Behind {
    async fn start() -> Self {
        let database = TestDatabase::create().await;
        let line = Swallower::start(database.databases().journal.options());
        let node = Node::start_at(&database, &line.url(&database.url), &[]).await;
        let one = Caller::of_new_tenant(&node, "one").await;
        let two = Caller::of_new_tenant(&node, "two").await;
        for caller in [&one, &two] {
            caller.activate(&rules(1_000_000)).await;
            caller.pay("before", &payment()).await;
        }
        Self { database, line, node, tenants: [one, two], asked: 0 }
    }

    /// Retries under one key while the outcome is unknown, as a client should.
    async fn decides(&mut self) {
        self.asked += 1;
        for caller in &self.tenants {
            let (key, begun) = (format!("asked-{}", self.asked), Instant::now());
            loop {
                let (status, answer) = caller.pay(&key, &payment()).await;
                if status.is_success() {
                    assert_eq!(answer["outcome"], "approve", "{answer}");
                    assert_eq!(caller.pay(&key, &payment()).await, (StatusCode::OK, answer));
                    break;
                }
                assert!(status.is_server_error() || status == StatusCode::CONFLICT, "{status} {answer}");
                assert!(begun.elapsed() < PATIENCE, "never decided again: {answer}");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }

    /// What becomes active at the database is followed by this node.
    async fn follows(&mut self) {
        let [caller, _] = &self.tenants;
        for (maximum, expected) in [(100, "reject"), (1_000_000, "approve")] {
            let begun = Instant::now();
            while let Err(answer) = activate(caller, rules(maximum)).await {
                assert!(begun.elapsed() < PATIENCE, "nothing can be activated: {answer}");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            loop {
                self.asked += 1;
                let (_, answer) = caller.pay(&format!("follows-{}", self.asked), &payment()).await;
                if answer["outcome"] == expected {
                    break;
                }
                assert!(begun.elapsed() < PATIENCE, "not followed: {answer}");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }

    async fn reads(&self) {
        for caller in &self.tenants {
            let begun = Instant::now();
            while caller.get("/payments?limit=1").await.0 != StatusCode::OK {
                assert!(begun.elapsed() < PATIENCE, "no requests are answered");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }

    async fn beats(&self) {
        let begun = Instant::now();
        let mut superuser = self.database.superuser().await;
        let first: String = sqlx::query_scalar("select now()::text").fetch_one(&mut superuser).await.unwrap();
        let seen = "select exists (select from nodes where seen_at > $1::timestamptz)";
        while !sqlx::query_scalar::<_, bool>(seen).bind(&first).fetch_one(&mut superuser).await.unwrap() {
            assert!(begun.elapsed() < PATIENCE, "its heart beats no more");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// One line of each tenant, all the time, so that many wait at once.
    async fn everything(&mut self) {
        self.decides().await;
        self.reads().await;
        self.follows().await;
        self.beats().await;
    }
}

async fn activate(caller: &Caller, rules: [(&str, Value); 2]) -> Result<(), Value> {
    let (_, plugins) = caller.get("/plugins").await;
    let items = plugins["items"].as_array().ok_or(plugins.clone())?;
    let entry = |(name, settings)| {
        let plugin = items.iter().find(|plugin| plugin["name"] == name).expect(name);
        json!({"name": name, "plugin": plugin["digest"], "settings": settings})
    };
    let entries = json!({"rules": rules.map(entry)});
    let (status, revision) = caller.post("/rulesets/payment/revisions", &entries).await;
    if status != StatusCode::CREATED {
        return Err(revision);
    }
    let body = json!({"revision": revision["number"]});
    let (status, answer) = caller.post("/rulesets/payment/activations", &body).await;
    if status == StatusCode::CREATED { Ok(()) } else { Err(answer) }
}

#[tokio::test(flavor = "multi_thread")]
async fn after_an_answer_to_the_decision_path_that_never_comes_all_tenants_are_decided_again() {
    let mut behind = Behind::start().await;
    for asked in ["from payment_values v", "with claimed as", "set app.tenants"] {
        behind.line.swallow_next(Asked::Statement(asked));
        behind.decides().await;
        behind.line.until_swallowed().await;
        behind.everything().await;
    }
    behind.node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_an_answer_to_a_follower_that_never_comes_the_node_follows_again() {
    let mut behind = Behind::start().await;
    for asked in
        ["where sequence > $1", "insert into nodes", "from quarantines where lifted", "from plugins p"]
    {
        behind.line.swallow_next(Asked::Statement(asked));
        behind.line.until_swallowed().await;
        behind.everything().await;
    }
    behind.node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_an_answer_to_a_request_that_never_comes_requests_are_answered_again() {
    let mut behind = Behind::start().await;
    for asked in ["begin; set local app.tenant_id", "from payment_values", "commit", "find_client"] {
        behind.line.swallow_next(Asked::Statement(asked));
        let [caller, _] = behind.tenants.clone();
        let begun = Instant::now();
        let requests = async {
            loop {
                caller.get("/payments?customer=customer-1&limit=1").await;
                let _ = reqwest::Client::new()
                    .post(format!("{}/oauth/token", caller.url))
                    .basic_auth(&caller.client_id, Some(&caller.client_secret))
                    .form(&[("grant_type", "client_credentials")])
                    .send()
                    .await;
                assert!(begun.elapsed() < PATIENCE, "{asked}");
            }
        };
        tokio::select! {
            () = behind.line.until_swallowed() => {}
            () = requests => {}
        }
        behind.everything().await;
    }
    behind.node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn looks_and_connections_that_get_no_answer_hold_up_nobody() {
    let mut behind = Behind::start().await;
    for _ in 0..8 {
        behind.line.swallow_next(Asked::Look);
        behind.line.until_swallowed().await;
        behind.line.swallow_next(Asked::Statement("select now() = statement_timestamp()"));
        behind.line.until_swallowed().await;
    }
    behind.everything().await;
    for _ in 0..8 {
        behind.line.swallow_next(Asked::Connection);
        let [caller, _] = &behind.tenants;
        let reading = || async { caller.get("/payments?limit=1").await };
        let many = async { while futures::future::join_all((0..24).map(|_| reading())).await.len() == 24 {} };
        tokio::select! {
            () = behind.line.until_swallowed() => {}
            () = many => {}
        }
    }
    behind.everything().await;
    behind.node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn background_work_whose_claim_gets_no_answer_is_done_nevertheless() {
    let mut behind = Behind::start().await;
    let [caller, _] = behind.tenants.clone();
    behind.line.swallow_next(Asked::Statement("update plugin_uploads u"));
    let plugin = caller.upload(component_of(&good_rule("Waits for 1"))).await;
    assert_eq!(plugin["state"], "ready");
    behind.line.until_swallowed().await;

    for asked in ["update backtests", "pg_try_advisory_xact_lock"] {
        behind.line.swallow_next(Asked::Statement(asked));
        let order = json!({"revision": 1, "newest": 100});
        let (status, created) = caller.post("/rulesets/payment/backtests", &order).await;
        assert_eq!(status, StatusCode::ACCEPTED, "{created}");
        let path = format!("/rulesets/payment/backtests/{}", created["id"].as_str().unwrap());
        let begun = Instant::now();
        loop {
            let (_, backtest) = caller.get(&path).await;
            if backtest["state"] == "finished" {
                break;
            }
            assert!(begun.elapsed() < PATIENCE, "{backtest}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        behind.line.until_swallowed().await;
    }
    behind.everything().await;
    behind.node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_falls_silent_and_comes_back_is_used_again() {
    let mut behind = Behind::start().await;
    behind.line.fall_silent();
    for caller in &behind.tenants {
        let (status, answer) = caller.pay("in-silence", &payment()).await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{answer}");
    }
    assert_eq!(behind.tenants[0].get("/payments").await.0, StatusCode::SERVICE_UNAVAILABLE);
    behind.line.answer_again();
    behind.everything().await;
    behind.node.stop().await;
}
