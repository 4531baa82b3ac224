//! Backtests: decisions per second, compared with reading the same rows from the same Postgres.
//! Also the effect of a backtest on live payments.
//!
//! The history has the four shipped rules with recorded facts. An argument sets the number of
//! decisions: `cargo bench --features jemalloc --bench backtest -- 1000000`.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark may fail and prints")]

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::TryStreamExt;
use serde_json::{Value, json};
use sqlx::{ConnectOptions, PgConnection};
use tollgate::app::tenants::{ClientRequest, create_client, create_tenant};
use tollgate::app::{self, IgnitedServer};
use tollgate::config::Config;
use tollgate::decisions::replay::Replay;
use tollgate::decisions::replay::history::{HistoryReplays, ReplaySelection};
use tollgate::domain::backtest::BacktestSelection;
use tollgate::domain::decision::{Decision, EvidenceVersion, IdempotencyKey, Origin};
use tollgate::domain::payment::PaymentId;
use tollgate::domain::plugin::Digest;
use tollgate::domain::tenant::{ClientId, Scope, TenantId};
use tollgate::domain::time::FixedClock;
use tollgate::storage::databases::Databases;
use tollgate::storage::decisions;
use tollgate::storage::decisions::history::{self, PageSize};
use tollgate::storage::journal::{Journal, JournalSettings};
use tollgate::world::with_clock;
use uuid::Uuid;

#[path = "parts/allocator.rs"]
mod allocator;
#[path = "parts/postgres.rs"]
mod postgres;

const DECISIONS: usize = 20_000;
/// The number of different payments in the history.
const PATTERNS: usize = 500;
/// Turns in which a replay and a backtest alternate.
const REPLAY_TURNS: usize = 3;
const LIVE: Duration = Duration::from_secs(10);
/// The time between two live payments.
const LIVE_EVERY: Duration = Duration::from_millis(10);

#[tokio::main]
async fn main() {
    let count = std::env::args().filter_map(|argument| argument.parse().ok()).next().unwrap_or(DECISIONS);
    let folder = tempfile::Builder::new().prefix("bench").tempdir_in("/var/tmp").unwrap();
    let postgres = postgres::start(folder.path()).await;
    let bench = Bench::start(&postgres.url(), folder.path()).await;
    bench.activate(&rules([0; 4])).await;
    let quiet = bench.live(LIVE).await;
    let begun = Instant::now();
    bench.fill(count).await;
    println!("{count} decisions written in {:.1} s", begun.elapsed().as_secs_f64());

    let mut superuser = postgres.connect_options().connect().await.unwrap();
    // The first read of a row marks it as committed, which is a write.
    read_plainly(&mut superuser, bench.tenant).await;
    let plain = rate(count, || read_plainly(&mut superuser, bench.tenant)).await;
    println!("reading the rows alone:          {plain:8.0} decisions/s");
    let paged = rate(count, || read_pages(&bench.databases, bench.tenant, count)).await;
    println!("reading them as a backtest does: {paged:8.0} decisions/s, {:.2} of reading", paged / plain);
    for (what, changed) in [
        ("four rules changed", [1, 1, 1, 1]),
        ("one rule changed", [1, 0, 0, 0]),
        ("nothing changed", [0, 0, 0, 0]),
        ("a velocity never asked for", [0, 0, 0, 2]),
    ] {
        let revision = bench.revision(&rules(changed)).await;
        let found = count as f64 / bench.backtest(&revision, count).await.as_secs_f64();
        println!("{what:32} {found:8.0} decisions/s, {:.2} of reading", found / plain);
    }

    let revision = bench.revision(&rules([1; 4])).await;
    for _ in 0..REPLAY_TURNS {
        let tested = count as f64 / bench.backtest(&revision, count).await.as_secs_f64();
        let replayed = rate(count, || bench.replay(count)).await;
        println!(
            "{:32} {replayed:8.0} decisions/s, {:.2} of four changed rules at {tested:.0}",
            "replay",
            replayed / tested
        );
    }
    let end = tokio_util::sync::CancellationToken::new();
    let busy = tokio::join!(
        async {
            let latencies = bench.live(LIVE).await;
            end.cancel();
            latencies
        },
        async { while end.run_until_cancelled(bench.backtest(&revision, count)).await.is_some() {} }
    );
    for (what, latencies) in [("live payments alone", quiet), ("live payments beside a backtest", busy.0)] {
        let at = |share: f64| latencies[((latencies.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e3;
        println!("{what:32} p50 {:.2} ms, p99 {:.2} ms, of {}", at(0.5), at(0.99), latencies.len());
    }
    bench.app.stop().await;
    postgres.stop().await.unwrap();
}

async fn rate<F: Future<Output = ()>>(count: usize, work: impl FnOnce() -> F) -> f64 {
    let begun = Instant::now();
    work().await;
    count as f64 / begun.elapsed().as_secs_f64()
}

/// The four rules. Each number changes the settings of one.
fn rules(changed: [u64; 4]) -> Vec<(&'static str, Value)> {
    let [limits, check, lists, velocity] = changed;
    let limit = |seconds: u64, max_count: u64| json!({"selector": "customer", "window_seconds": seconds, "max_count": max_count, "verdict": "review"});
    let window = if velocity == 2 { 7_200 } else { 3_600 };
    vec![
        ("amount-limits", json!({"limits": [{"review_above_minor": 90_000 - 30_000 * limits}]})),
        ("account-check", json!({"bic": if check > 0 { "reject" } else { "review" }})),
        (
            "party-lists",
            json!({"lists": [{"list": "blocked", "selector": "customer",
                "verdict": if lists > 0 { "review" } else { "reject" }}]}),
        ),
        ("velocity", json!({"limits": [limit(window, 100_000 - velocity), limit(60, 100_000)]})),
    ]
}

struct Bench {
    app: Arc<app::App>,
    databases: Databases,
    tenant: TenantId,
    url: String,
    token: String,
    http: reqwest::Client,
}

impl Bench {
    /// Starts a whole server in this process, so that a profile of the process shows the backtest.
    async fn start(database_url: &str, folder: &Path) -> Self {
        let figment = rocket::Config::figment()
            .select("release")
            .merge(("address", "127.0.0.1"))
            .merge(("port", 0))
            .merge(("log_level", "off"))
            .merge(("databases.main.url", database_url))
            .merge(("tollgate.data_dir", folder.join("data")))
            .merge(("tollgate.plugins_dir", Path::new(env!("CARGO_MANIFEST_DIR")).join("plugins")));
        let config = Config::from_figment(figment).unwrap();
        let settings = tollgate::storage::pool::DatabaseSettings::for_url(database_url);
        let databases = Databases::open(&settings).await.unwrap();
        let program = env!("CARGO_BIN_EXE_tollgate").into();
        let IgnitedServer { server, app } = app::ignite(&config, &settings, program).await.unwrap();
        let listening = server.listen().await.unwrap();
        let url = format!("http://{}", listening.address());
        tokio::spawn(listening.serve());
        create_tenant(&databases.system, "bench", "bench").await.unwrap();
        let scopes = Scope::ALL.into_iter().collect();
        let order = ClientRequest {
            tenant: "bench".to_owned(),
            name: "bench".to_owned(),
            scopes,
            created_by: "bench".to_owned(),
        };
        let client = create_client(&databases.system, order).await.unwrap();
        let http = reqwest::Client::new();
        let token: Value = http
            .post(format!("{url}/oauth/token"))
            .basic_auth(client.id.to_string(), Some(client.secret.expose()))
            .form(&[("grant_type", "client_credentials")])
            .send()
            .await
            .unwrap()
            .json()
            .await
            .unwrap();
        let token = token["access_token"].as_str().unwrap().to_owned();
        let bench = Self { app, databases, tenant: TenantId(Uuid::nil()), url, token, http };
        bench.post("/lists", &json!({"name": "blocked", "kind": "customer"})).await;
        let (_, id) = bench.pay(0).await;
        let first = decisions::since_in_pages(&bench.databases.system, None, 0, None, 1).await.unwrap();
        assert_eq!(first[0].id, id);
        Self { tenant: first[0].tenant, ..bench }
    }

    async fn replay(&self, count: usize) {
        let replays = Arc::new(HistoryReplays::new(self.app.services.replays.clone()));
        let selection = ReplaySelection { tenant: Some(self.tenant), since_ms: 0 };
        let replayed = replays.replay_all(self.databases.system.clone(), selection);
        let results: Vec<_> = replayed.try_concat().await.unwrap();
        assert!(results.len() >= count);
        assert!(results.iter().all(|(_, result)| result.as_ref().is_ok_and(Replay::is_identical)));
    }

    async fn post(&self, path: &str, body: &Value) -> Value {
        let request =
            self.http.post(format!("{}/api/v1{path}", self.url)).bearer_auth(&self.token).json(body);
        let response = request.send().await.unwrap();
        let status = response.status();
        let answer: Value = response.json().await.unwrap();
        assert!(status.is_success(), "{answer}");
        answer
    }

    async fn get(&self, path: &str) -> Value {
        let request = self.http.get(format!("{}/api/v1{path}", self.url)).bearer_auth(&self.token);
        request.send().await.unwrap().json().await.unwrap()
    }

    async fn revision(&self, rules: &[(&str, Value)]) -> Value {
        let plugins = self.get("/plugins").await;
        let digest = |name: &str| {
            let found = plugins["items"].as_array().unwrap().iter().find(|plugin| plugin["name"] == name);
            found.unwrap()["digest"].clone()
        };
        let entry = |(name, settings): &(&str, Value)| json!({"name": name, "plugin": digest(name), "settings": settings});
        let entries: Vec<Value> = rules.iter().map(entry).collect();
        self.post("/rulesets/payment/revisions", &json!({"rules": entries})).await["number"].clone()
    }

    async fn activate(&self, rules: &[(&str, Value)]) {
        let number = self.revision(rules).await;
        self.post("/rulesets/payment/activations", &json!({"revision": number})).await;
    }

    async fn pay(&self, number: usize) -> (Duration, PaymentId) {
        let body = json!({
            "reference": format!("order-{number}"), "amount_minor": 1_000 + number * 211 % 110_000, "currency": "EUR",
            "method": "credit_transfer", "customer": format!("customer-{:05}", number % 50_000),
            "debtor": {"name": format!("Payer {number}"), "account": {"other": format!("acct-{number}")}},
            "creditor": {"name": "Blue Bikes", "account": {"iban": "NL91ABNA0417164300"}, "bank": "ABNANL2A"},
        });
        let request = self
            .http
            .post(format!("{}/api/v1/payments", self.url))
            .bearer_auth(&self.token)
            .header("Idempotency-Key", Uuid::now_v7().to_string())
            .json(&body);
        let begun = Instant::now();
        let response = request.send().await.unwrap();
        assert!(response.status().is_success(), "{}", response.text().await.unwrap());
        let answer: Value = response.json().await.unwrap();
        (begun.elapsed(), PaymentId(answer["id"].as_str().unwrap().parse().unwrap()))
    }

    /// Submits payments at a fixed rate, independent of responses. Returns the sorted latencies.
    async fn live(&self, time: Duration) -> Vec<Duration> {
        let mut every = tokio::time::interval(LIVE_EVERY);
        let begun = Instant::now();
        let mut payments = futures::stream::FuturesUnordered::new();
        let mut latencies = Vec::new();
        let mut number = 0;
        while begun.elapsed() < time || !payments.is_empty() {
            tokio::select! {
                _ = every.tick(), if begun.elapsed() < time => {
                    number += 1;
                    payments.push(self.pay(number));
                }
                Some((latency, _)) = futures::StreamExt::next(&mut payments) => latencies.push(latency),
            }
        }
        latencies.sort_unstable();
        latencies
    }

    /// Stores copies of real decisions with new ids and customers.
    async fn fill(&self, count: usize) {
        let mut patterns = Vec::new();
        for number in 0..PATTERNS {
            let (_, id) = self.pay(number).await;
            let stored = decisions::get(&self.databases.app, self.tenant, id).await.unwrap().unwrap();
            patterns.push(stored.decision);
        }
        let settings = JournalSettings {
            sessions: self.databases.journal.clone(),
            queue_max: 10_000,
            batch_max: 1_024,
            writers: 2,
            evidence_version: EvidenceVersion::V3,
            node: "bench".to_owned(),
            world: with_clock(Arc::new(FixedClock::at(0))),
        };
        let (journal, _task) = Journal::start(settings).await.unwrap();
        let numbers: Vec<usize> = (0..count - PATTERNS.min(count)).collect();
        for part in numbers.chunks(8_192) {
            let storing =
                part.iter().map(|number| journal.store(again(&patterns[number % PATTERNS], *number)));
            for stored in futures::future::join_all(storing).await {
                stored.unwrap();
            }
        }
        journal.flush_and_stop().await;
    }

    /// Runs a backtest. Returns the time from its first claim to its end.
    async fn backtest(&self, revision: &Value, count: usize) -> Duration {
        let body = json!({"revision": revision, "newest": count});
        let begun = self.post("/rulesets/payment/backtests", &body).await;
        let path = format!("/rulesets/payment/backtests/{}", begun["id"].as_str().unwrap());
        loop {
            let backtest = self.get(&path).await;
            match backtest["state"].as_str().unwrap() {
                "finished" => {
                    assert_eq!(backtest["report"]["compared"], count, "{backtest}");
                    let at = |name: &str| backtest[name].as_u64().unwrap();
                    return Duration::from_millis(at("finished_at_ms") - at("started_at_ms"));
                }
                "failed" => panic!("{backtest}"),
                _ => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    }
}

fn again(pattern: &Decision, number: usize) -> Decision {
    let mut decision = pattern.clone();
    decision.key = IdempotencyKey::parse(&format!("fill-{number}")).unwrap();
    decision.client = ClientId(Uuid::from_u128(1));
    decision.request_hash = Digest([0; 32]);
    decision.origin = Origin::Api;
    let payment = Arc::make_mut(&mut decision.evidence.payment);
    payment.id = PaymentId(Uuid::now_v7());
    payment.received_at_ms = (payment.id.0.as_u128() >> 80) as u64;
    // As long as that of the pattern, so that a replay uses the same fuel.
    payment.order.customer = Some(format!("customer-{:05}", number % 50_000));
    decision
}

/// Reads the rows without Tollgate: one statement, row by row.
async fn read_plainly(connection: &mut PgConnection, tenant: TenantId) {
    let statement = "select id, outcome, payload from tollgate.decisions where tenant_id = $1";
    let mut rows = sqlx::query_as::<_, (Uuid, String, Vec<u8>)>(statement).bind(tenant.0).fetch(connection);
    while rows.try_next().await.unwrap().is_some() {}
}

async fn read_pages(databases: &Databases, tenant: TenantId, count: usize) {
    let selection = BacktestSelection { to_ms: u64::MAX >> 17, ..BacktestSelection::default() };
    let size = PageSize { decisions: 2_048, bytes: u64::MAX >> 1 };
    let (mut before, mut read) = (None, 0);
    while read < count {
        let page = history::page(&databases.system, tenant, &selection, 0, before, size).await.unwrap();
        let Some(last) = page.last() else { return };
        (before, read) = (Some(last.id), read + page.len());
    }
}
