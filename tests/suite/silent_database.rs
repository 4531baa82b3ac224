//! A database that stops responding while its connections stay open.

mod readiness;
mod starting;
mod stopping;

use std::time::{Duration, Instant};

use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::support::components::{component_of, good_rule};
use crate::support::database::TestDatabase;
use crate::support::program::TEST_TIMEOUT;
use crate::support::service::{Caller, Node, payment};
use crate::support::silent_proxy::{DatabaseRequest, SilentProxy};

/// A node that reaches its database through a silent proxy, with two tenants whose rules ask for
/// facts.
struct NodeBehindProxy {
    database: TestDatabase,
    proxy: SilentProxy,
    node: Node,
    tenants: [Caller; 2],
    payments: u32,
}

/// A rule that asks for facts, and one that decides.
fn rules(maximum_minor: u32) -> [(&'static str, Value); 2] {
    let limit =
        json!({"selector": "customer", "window_seconds": 3_600, "max_count": 100_000, "verdict": "reject"});
    let maximum = json!({"limits": [{"currency": "EUR", "maximum_minor": maximum_minor}]});
    [("velocity", json!({"limits": [limit]})), ("amount-limits", maximum)]
}

impl NodeBehindProxy {
    async fn start() -> Self {
        let database = TestDatabase::create().await;
        let proxy = SilentProxy::start(database.databases().journal.options());
        let node = Node::start_at(&database, &proxy.url(&database.url), &[]).await;
        let one = Caller::of_new_tenant(&node, "one").await;
        let two = Caller::of_new_tenant(&node, "two").await;
        for caller in [&one, &two] {
            caller.activate(&rules(1_000_000)).await;
            caller.pay("before", &payment()).await;
        }
        Self { database, proxy, node, tenants: [one, two], payments: 0 }
    }

    /// Retries with one key while the outcome is unknown, as clients should.
    async fn assert_decides(&mut self) {
        self.payments += 1;
        for caller in &self.tenants {
            let (key, begun) = (format!("decides-{}", self.payments), Instant::now());
            loop {
                let (status, response) = caller.pay(&key, &payment()).await;
                if status.is_success() {
                    assert_eq!(response["outcome"], "approve", "{response}");
                    assert_eq!(caller.pay(&key, &payment()).await, (StatusCode::OK, response));
                    break;
                }
                assert!(status.is_server_error() || status == StatusCode::CONFLICT, "{status} {response}");
                assert!(begun.elapsed() < TEST_TIMEOUT, "never decided again: {response}");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }

    /// Asserts that this node follows activations.
    async fn assert_follows(&mut self) {
        let [caller, _] = &self.tenants;
        for (maximum, expected) in [(100, "reject"), (1_000_000, "approve")] {
            let begun = Instant::now();
            while let Err(response) = activate(caller, rules(maximum)).await {
                assert!(begun.elapsed() < TEST_TIMEOUT, "nothing can be activated: {response}");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            loop {
                self.payments += 1;
                let (_, response) = caller.pay(&format!("follows-{}", self.payments), &payment()).await;
                if response["outcome"] == expected {
                    break;
                }
                assert!(begun.elapsed() < TEST_TIMEOUT, "not followed: {response}");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }

    async fn assert_reads(&self) {
        for caller in &self.tenants {
            let begun = Instant::now();
            while caller.get("/payments?limit=1").await.0 != StatusCode::OK {
                assert!(begun.elapsed() < TEST_TIMEOUT, "no requests are answered");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }

    async fn assert_heartbeat(&self) {
        let begun = Instant::now();
        let mut superuser = self.database.superuser().await;
        let first: String = sqlx::query_scalar("select now()::text").fetch_one(&mut superuser).await.unwrap();
        let seen = "select exists (select from nodes where seen_at > $1::timestamptz)";
        while !sqlx::query_scalar::<_, bool>(seen).bind(&first).fetch_one(&mut superuser).await.unwrap() {
            assert!(begun.elapsed() < TEST_TIMEOUT, "its heart beats no more");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Asserts that everything works for both tenants.
    async fn assert_everything_works(&mut self) {
        self.assert_decides().await;
        self.assert_reads().await;
        self.assert_follows().await;
        self.assert_heartbeat().await;
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
    let (status, response) = caller.post("/rulesets/payment/activations", &body).await;
    if status == StatusCode::CREATED { Ok(()) } else { Err(response) }
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_missing_response_to_the_decision_path_all_tenants_are_decided_again() {
    let mut setup = NodeBehindProxy::start().await;
    for statement in ["from aggregate_values v", "with claimed as", "set app.tenants"] {
        setup.proxy.silence_next(DatabaseRequest::Statement(statement));
        setup.assert_decides().await;
        setup.proxy.wait_until_silenced().await;
        setup.assert_everything_works().await;
    }
    setup.node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_missing_response_to_a_poller_the_node_follows_again() {
    let mut setup = NodeBehindProxy::start().await;
    for statement in [
        "where sequence > $1",
        "insert into nodes",
        "from quarantines where lifted",
        "from plugins p",
        "from review_settings",
    ] {
        setup.proxy.silence_next(DatabaseRequest::Statement(statement));
        setup.proxy.wait_until_silenced().await;
        setup.assert_everything_works().await;
    }
    setup.node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_missing_response_to_a_request_requests_work_again() {
    let mut setup = NodeBehindProxy::start().await;
    for statement in ["begin; set local app.tenant_id", "from search_segments", "commit", "client_sign_in"] {
        setup.proxy.silence_next(DatabaseRequest::Statement(statement));
        let [caller, _] = setup.tenants.clone();
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
                assert!(begun.elapsed() < TEST_TIMEOUT, "{statement}");
            }
        };
        tokio::select! {
            () = setup.proxy.wait_until_silenced() => {}
            () = requests => {}
        }
        setup.assert_everything_works().await;
    }
    setup.node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn probes_and_connections_without_a_response_delay_no_request() {
    let mut setup = NodeBehindProxy::start().await;
    for _ in 0..8 {
        setup.proxy.silence_next(DatabaseRequest::Probe);
        setup.proxy.wait_until_silenced().await;
        setup.proxy.silence_next(DatabaseRequest::Statement("select now() = statement_timestamp()"));
        setup.proxy.wait_until_silenced().await;
    }
    setup.assert_everything_works().await;
    for _ in 0..8 {
        setup.proxy.silence_next(DatabaseRequest::Connection);
        let [caller, _] = &setup.tenants;
        let reading = || async { caller.get("/payments?limit=1").await };
        let many = async { while futures::future::join_all((0..24).map(|_| reading())).await.len() == 24 {} };
        tokio::select! {
            () = setup.proxy.wait_until_silenced() => {}
            () = many => {}
        }
    }
    setup.assert_everything_works().await;
    setup.node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn background_work_is_done_even_if_its_claim_gets_no_response() {
    let mut setup = NodeBehindProxy::start().await;
    let [caller, _] = setup.tenants.clone();
    setup.proxy.silence_next(DatabaseRequest::Statement("update plugin_uploads u"));
    let plugin = caller.upload(component_of(&good_rule("Waits for 1"))).await;
    assert_eq!(plugin["state"], "ready");
    setup.proxy.wait_until_silenced().await;

    for statement in ["update backtests", "pg_try_advisory_xact_lock"] {
        setup.proxy.silence_next(DatabaseRequest::Statement(statement));
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
            assert!(begun.elapsed() < TEST_TIMEOUT, "{backtest}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        setup.proxy.wait_until_silenced().await;
    }
    setup.assert_everything_works().await;
    setup.node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_goes_silent_and_recovers_is_used_again() {
    let mut setup = NodeBehindProxy::start().await;
    setup.proxy.silence_everything();
    for caller in &setup.tenants {
        let (status, response) = caller.pay("in-silence", &payment()).await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{response}");
    }
    assert_eq!(setup.tenants[0].get("/payments").await.0, StatusCode::SERVICE_UNAVAILABLE);
    setup.proxy.resume();
    setup.assert_everything_works().await;
    setup.node.stop().await;
}
