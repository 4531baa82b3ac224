//! The cost of a decision with growing numbers of stored payments, tenants and rules.
//!
//! The cost is the processor time of server and Postgres. It is reliable on a shared machine if the
//! batches have similar sizes: a decision is cheaper in a larger batch.
//!
//! `cargo bench --features jemalloc --bench growth -- --full` goes on to ten million payments,
//! which need 25 GB of disk, and to ten thousand tenants. An argument chooses one of `payments`,
//! `tenants`, `windows`, `kinds` and `rules`.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark may fail and prints")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};
use sqlx::{ConnectOptions, PgConnection};
use tollgate::domain::payment::{Payment, PaymentId};
use tollgate::domain::selector::{Counting, FactQuery, Selector};
use tollgate::domain::tenant::{ClientId, TenantId};
use tollgate::storage::databases::Databases;
use tollgate::storage::facts::{FactReader, FactRequest, KnownFacts};
use tollgate::storage::pool::DatabaseSettings;
use tollgate::storage::private_server::PrivateServer;
use uuid::Uuid;

#[path = "../tests/suite/support/decisions.rs"]
#[allow(dead_code, reason = "the tests use the rest")]
mod decisions;
#[path = "parts/fact_kinds.rs"]
mod fact_kinds;
#[path = "parts/history.rs"]
mod history;
#[path = "parts/memory.rs"]
#[allow(dead_code, reason = "other benches use the rest of it")]
mod memory;
#[path = "parts/payers.rs"]
#[allow(dead_code, reason = "other benches use the rest of it")]
mod payers;
#[path = "parts/population.rs"]
mod population;
#[path = "parts/postgres.rs"]
mod postgres;
#[path = "parts/processor_time.rs"]
mod processor_time;
#[path = "parts/server.rs"]
#[allow(dead_code, reason = "other benches use the rest of it")]
mod server;
#[path = "parts/windows.rs"]
mod windows;
#[path = "parts/wire.rs"]
mod wire;

use memory::Memory;
use payers::{Load, Target, Window, closed_loop};
use processor_time::ProcessTree;
use server::Tollgate;

const WINDOW: Window = Window { warm_up: Duration::from_secs(4), measured: Duration::from_secs(8) };
/// A tenant's first payment loads its rules, and its lists a moment later.
const WINDOW_OF_TENANTS: Window = Window { warm_up: Duration::from_secs(40), ..WINDOW };
const PAYMENTS: [i64; 4] = [10_000, 100_000, 1_000_000, 10_000_000];
const TENANTS: [i32; 4] = [1, 100, 1_000, 10_000];
const RULES: [usize; 5] = [1, 5, 10, 25, 50];
/// The number of stored payments while tenants and rules grow, spread over the tenants.
const STORED_MEANWHILE: i64 = 100_000;

#[tokio::main]
async fn main() {
    let chosen: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let full = chosen.iter().any(|word| word == "--full");
    let is_chosen = |part: &str| chosen.iter().all(|word| word == "--full" || word == part);
    let sizes = if full { 4 } else { 3 };
    if is_chosen("payments") {
        let mut bench = Bench::start().await;
        bench.payments(&PAYMENTS[..sizes]).await;
        bench.stop().await;
    }
    if is_chosen("tenants") {
        let mut bench = Bench::start().await;
        bench.tenants(&TENANTS[..sizes]).await;
        bench.stop().await;
    }
    if is_chosen("windows") {
        let mut bench = Bench::start().await;
        let (_, clients) = bench.target().await;
        // Its background work would roll up in between.
        bench.tollgate.stop();
        windows::measure(&bench.databases, &mut bench.superuser, clients[0].0).await;
        bench.stop_database().await;
    }
    if is_chosen("kinds") {
        let mut bench = Bench::start().await;
        let (_, clients) = bench.target().await;
        let postgres = processor_time::postgres(&bench.postgres);
        bench.tollgate.stop();
        fact_kinds::measure(&bench.databases, &mut bench.superuser, postgres, clients[0].0).await;
        bench.stop_database().await;
    }
    if is_chosen("rules") {
        let mut bench = Bench::start().await;
        bench.rules().await;
        bench.stop().await;
    }
}

struct Bench {
    postgres: PrivateServer,
    superuser: PgConnection,
    databases: Databases,
    tollgate: Tollgate,
    folder: tempfile::TempDir,
}

/// The cost per decision.
struct Cost {
    server_us: f64,
    postgres_us: f64,
    /// Decisions per batch.
    batched: f64,
    /// The write-ahead log of Postgres. The first change of a page after a checkpoint logs the
    /// whole page, so more pages mean a larger log.
    log_kb: f64,
}

impl Cost {
    fn us(&self) -> f64 {
        self.server_us + self.postgres_us
    }
}

impl Bench {
    async fn start() -> Self {
        let folder = tempfile::Builder::new().prefix("bench").tempdir_in("/var/tmp").unwrap();
        let postgres = postgres::start(folder.path()).await;
        let tollgate = Tollgate::start(&postgres.url(), folder.path()).await;
        let databases = Databases::connect_lazily(&DatabaseSettings::for_url(postgres.url())).unwrap();
        let mut superuser = postgres.connect_options().connect().await.unwrap();
        history::prepare(&mut superuser).await;
        // Otherwise background work would be added to the measured cost.
        for statement in ["alter system set autovacuum = off", "select pg_reload_conf()"] {
            sqlx::raw_sql(statement).execute(&mut superuser).await.unwrap();
        }
        Self { postgres, superuser, databases, tollgate, folder }
    }

    async fn stop(mut self) {
        self.tollgate.stop();
        self.stop_database().await;
    }

    async fn stop_database(self) {
        self.databases.close().await;
        drop(self.superuser);
        self.postgres.stop().await.unwrap();
    }

    async fn restart(&mut self) {
        self.tollgate.stop();
        self.tollgate = Tollgate::start(&self.postgres.url(), self.folder.path()).await;
    }

    async fn target(&mut self) -> (Target, Vec<(TenantId, ClientId)>) {
        let clients = population::clients(&mut self.superuser).await;
        let tokens = population::tokens(&self.databases, self.folder.path(), &clients).await;
        (Target { address: self.tollgate.address.clone(), tokens, tls: None }, clients)
    }

    async fn measure(&mut self, target: &Target, window: Window) -> (Load, Cost) {
        let trees = [ProcessTree::of(self.tollgate.id()), processor_time::postgres(&self.postgres)];
        let before = history::journal_volume(&mut self.superuser).await;
        let load = closed_loop(target, 64, window, &trees).await;
        let after = history::journal_volume(&mut self.superuser).await;
        assert_eq!(load.refused, 0, "every payment is decided");
        let decisions = after.decisions - before.decisions;
        let cost = Cost {
            server_us: load.used_us[0],
            postgres_us: load.used_us[1],
            batched: decisions / (after.batches - before.batches),
            log_kb: (after.log_kb - before.log_kb) / decisions,
        };
        (load, cost)
    }

    async fn payments(&mut self, sizes: &[i64]) {
        println!("\nstored payments, one tenant, four rules");
        println!(
            "    stored  tables MB  index MB | 64: decisions/s  p99 ms | 1: p50 ms | cost: server us  postgres us  \
             of first  batched  log kB | a look-up us  a question us  hottest shop's day us"
        );
        let (mut stored, mut first) = (0, None);
        for size in sizes {
            let (_, clients) = self.target().await;
            history::add(&mut self.superuser, &[clients[0].0], stored, *size).await;
            stored = *size;
            let (target, clients) = self.target().await;
            let (many, cost) = self.measure(&target, WINDOW).await;
            let one = closed_loop(&target, 1, WINDOW, &[]).await;
            let (tables_mb, index_mb) = history::sizes_mb(&mut self.superuser).await;
            let velocity =
                velocity(&self.databases, processor_time::postgres(&self.postgres), clients[0].0).await;
            let first_us = *first.get_or_insert(cost.us());
            println!(
                "{size:10}  {tables_mb:9}  {index_mb:8} | {:15.0}  {:6.1} | {:9.2} | {:15.0}  {:11.0}  {:8.2}  {:7.1}  {:6.1} | \
                 {:12.0}  {:13.1}  {:10.0}",
                many.per_second(),
                many.at_ms(0.99),
                one.at_ms(0.5),
                cost.server_us,
                cost.postgres_us,
                cost.us() / first_us,
                cost.batched,
                cost.log_kb,
                velocity.alone_us,
                velocity.question_us,
                velocity.hottest_us,
            );
        }
    }

    async fn tenants(&mut self, sizes: &[i32]) {
        println!("\ntenants with four active rules each, {STORED_MEANWHILE} payments over all of them");
        println!(
            "tenants  ready ms  resident MB at rest, under load | 64: decisions/s  p99 ms | cost: server us  \
             postgres us  of first  batched  log kB"
        );
        let (mut stored, mut first) = (0, None);
        for size in sizes {
            population::grow_to(&mut self.superuser, *size).await;
            let (_, clients) = self.target().await;
            let tenants: Vec<TenantId> = clients.iter().map(|(tenant, _)| *tenant).collect();
            history::add(&mut self.superuser, &tenants, stored, stored + STORED_MEANWHILE).await;
            stored += STORED_MEANWHILE;
            self.restart().await;
            tokio::time::sleep(Duration::from_secs(1)).await;
            let rest = Memory::of(self.tollgate.id());
            let (target, _) = self.target().await;
            let (load, cost) = self.measure(&target, WINDOW_OF_TENANTS).await;
            let first_us = *first.get_or_insert(cost.us());
            println!(
                "{size:7}  {:8}  {:19.1}  {:10.1} | {:15.0}  {:6.1} | {:15.0}  {:11.0}  {:8.2}  {:7.1}  {:6.1}",
                self.tollgate.ready_ms,
                rest.resident_mb,
                Memory::of(self.tollgate.id()).resident_mb,
                load.per_second(),
                load.at_ms(0.99),
                cost.server_us,
                cost.postgres_us,
                cost.us() / first_us,
                cost.batched,
                cost.log_kb,
            );
        }
    }

    async fn rules(&mut self) {
        println!("\nrules of a ruleset, one tenant, {STORED_MEANWHILE} payments stored");
        println!(
            "rules | 64: decisions/s  p99 ms | cost: server us  postgres us  of first  batched  us a rule more"
        );
        let (_, clients) = self.target().await;
        history::add(&mut self.superuser, &[clients[0].0], 0, STORED_MEANWHILE).await;
        let mut before: Option<(usize, f64, f64)> = None;
        for count in RULES {
            self.activate(count).await;
            let (target, _) = self.target().await;
            let (load, cost) = self.measure(&target, WINDOW).await;
            let slope = before.map_or(f64::NAN, |(rules, us, _)| (cost.us() - us) / (count - rules) as f64);
            let first_us = before.map_or(cost.us(), |(_, _, first)| first);
            before = Some((count, cost.us(), first_us));
            println!(
                "{count:5} | {:15.0}  {:6.1} | {:15.0}  {:11.0}  {:8.2}  {:7.1}  {slope:14.1}",
                load.per_second(),
                load.at_ms(0.99),
                cost.server_us,
                cost.postgres_us,
                cost.us() / first_us,
                cost.batched,
            );
        }
    }

    /// Activates copies of the demonstration's four rules with different names and settings.
    async fn activate(&self, count: usize) {
        let ruleset = "/rulesets/payment";
        let shipped = self.tollgate.call(Method::GET, &format!("{ruleset}/revisions/1"), &json!({})).await;
        let shipped = shipped["rules"].as_array().unwrap();
        let rules: Vec<Value> = (0..count)
            .map(|place| {
                let (mut rule, round) = (shipped[place % 4].clone(), place / 4);
                let fields = rule.as_object_mut().unwrap();
                fields.remove("profile");
                fields.remove("queries");
                fields["name"] = json!(format!("{}-{round}", fields["name"].as_str().unwrap()));
                if let Some(limits) = fields["settings"].get_mut("limits") {
                    for limit in limits.as_array_mut().unwrap() {
                        if let Some(seconds) = limit.get_mut("window_seconds") {
                            *seconds = json!(seconds.as_u64().unwrap() + 60 * round as u64);
                        }
                    }
                }
                rule
            })
            .collect();
        let revision =
            self.tollgate.call(Method::POST, &format!("{ruleset}/revisions"), &json!({"rules": rules})).await;
        let activation = json!({"revision": revision["number"]});
        self.tollgate.call(Method::POST, &format!("{ruleset}/activations"), &activation).await;
    }
}

struct Velocity {
    /// The time to look up the two queries of a single payment.
    alone_us: f64,
    /// Processor time of Postgres per query if many payments are looked up together.
    question_us: f64,
    hottest_us: f64,
}

/// Measures the statement that reads facts, as the server sends it.
async fn velocity(databases: &Databases, postgres: ProcessTree, tenant: TenantId) -> Velocity {
    const ROUNDS: u64 = 200;
    const TOGETHER: u64 = 64;
    let reader = FactReader::start(databases.facts.clone());
    let ask = |payer: u64, selector: Selector, hours: [u64; 2]| {
        let window = |hours: u64| FactQuery::Velocity {
            selector: selector.clone(),
            window_ms: hours * 3_600_000,
            counting: Counting::Submitted,
        };
        let payment = payment(payer * 7_919 % payers::PAYERS);
        reader.look_up(FactRequest {
            tenant,
            payment: Arc::new(payment),
            queries: hours.map(window).to_vec().into(),
            in_flight: vec![],
            key: None,
            known: KnownFacts::default(),
        })
    };
    for round in 0..ROUNDS {
        ask(round, Selector::DebtorAccount, [1, 24]).await.unwrap();
    }
    let begun = Instant::now();
    for round in 0..ROUNDS {
        ask(round, Selector::DebtorAccount, [1, 24]).await.unwrap();
    }
    let alone_us = begun.elapsed().as_secs_f64() * 1e6 / ROUNDS as f64;
    let used = postgres.used();
    for round in 0..ROUNDS {
        let asked =
            (0..TOGETHER).map(|place| ask(round * TOGETHER + place, Selector::DebtorAccount, [1, 24]));
        futures::future::try_join_all(asked).await.unwrap();
    }
    let question_us = (postgres.used() - used).as_secs_f64() * 1e6 / (ROUNDS * TOGETHER * 2) as f64;
    let used = postgres.used();
    for _ in 0..ROUNDS {
        ask(0, Selector::CreditorAccount, [23, 24]).await.unwrap();
    }
    let hottest_us = (postgres.used() - used).as_secs_f64() * 1e6 / (ROUNDS * 2) as f64;
    reader.stop().await;
    Velocity { alone_us, question_us, hottest_us }
}

/// A payment of one payer to the busiest shop.
fn payment(payer: u64) -> Payment {
    let id = Uuid::now_v7();
    Payment {
        id: PaymentId(id),
        received_at_ms: (id.as_u128() >> 80) as u64,
        order: history::order_of(payer, 0),
    }
}
