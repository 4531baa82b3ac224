//! How much a tenant whose rules never end affects a quiet tenant. The quiet tenant's payments are
//! sent at a steady rate, in turns with and without the other tenant.
//!
//! The other tenant keeps 64 connections busy with a ruleset that uses up its fuel. The
//! configuration prevents a quarantine.
//!
//! Arguments choose the cases: `cargo bench --features jemalloc --bench neighbour -- 50` for fifty
//! rules. `--folder /dev/shm` keeps Postgres in memory, which excludes stalls of a disk. Postgres
//! still waits for each commit.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark may fail and prints")]

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use sqlx::{ConnectOptions, PgConnection};
use tollgate::storage::databases::Databases;
use tollgate::storage::pool::DatabaseSettings;
use tollgate::storage::private_server::PrivateServer;

#[path = "../tests/sandbox/components.rs"]
#[allow(dead_code, reason = "tests use the rest of it")]
mod components;
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
#[path = "parts/wire.rs"]
mod wire;

use payers::{Load, Target, Window, closed_loop, open_loop};
use processor_time::ProcessTree;
use server::Tollgate;

const QUIET_PER_SECOND: f64 = 200.0;
const NEIGHBOURS: u64 = 64;
const TURNS: usize = 4;
/// The number of rules in the other tenant's ruleset: a few milliseconds, and the largest possible.
const CASES: [usize; 3] = [1, 10, 50];
const WINDOW: Window = Window { warm_up: Duration::from_secs(2), measured: Duration::from_secs(10) };

#[tokio::main]
async fn main() {
    let words: Vec<String> = std::env::args().collect();
    let chosen: Vec<usize> = words.iter().filter_map(|word| word.parse().ok()).collect();
    let kept_in = words.iter().skip_while(|word| *word != "--folder").nth(1);
    let kept_in = kept_in.map_or("/var/tmp", String::as_str);
    let folder = tempfile::Builder::new().prefix("bench").tempdir_in(kept_in).unwrap();
    let postgres = postgres::start(folder.path()).await;
    let settings = [("ROCKET_TOLLGATE_QUARANTINE_FAILURES_MIN", "1000000")];
    let mut quiet = Tollgate::start_with(&postgres.url(), folder.path(), &settings).await;
    let trees = [ProcessTree::of(quiet.id()), processor_time::postgres(&postgres)];
    let neighbour = neighbour(&postgres, &quiet, folder.path()).await;

    println!(
        "the quiet tenant, {QUIET_PER_SECOND} payments a second, beside {NEIGHBOURS} connections of the other"
    );
    println!(
        "rules of the other            quiet: p50 ms   p99 ms  p99.9 ms   other: decisions/s  turned away/s"
    );
    for rules in if chosen.is_empty() { CASES.to_vec() } else { chosen } {
        activate(&quiet, &neighbour, rules).await;
        let (mut alone, mut beside) = (Vec::new(), Vec::new());
        for _ in 0..TURNS {
            let own = target_of(&quiet, &quiet.token);
            let load = open_loop(&own, QUIET_PER_SECOND, WINDOW, &trees).await;
            println!("{:18}  {}", "alone", row(&load));
            alone.push(load.at_ms(0.99));
            let other = target_of(&quiet, &neighbour);
            let (load, burning) = tokio::join!(
                open_loop(&own, QUIET_PER_SECOND, WINDOW, &trees),
                closed_loop(&other, NEIGHBOURS, WINDOW, &trees)
            );
            println!(
                "{rules:11} beside  {}   {:18.0}  {:13.0}",
                row(&load),
                burning.per_second(),
                burning.refused as f64 / burning.seconds,
            );
            assert_eq!(load.refused, 0, "the quiet tenant is always answered");
            beside.push(load.at_ms(0.99));
        }
        let (alone, beside) = (median(alone), median(beside));
        println!("median p99: {alone:.1} ms alone, {beside:.1} ms beside, {:.2} of it", beside / alone);
    }
    quiet.stop();
    postgres.stop().await.unwrap();
}

fn row(load: &Load) -> String {
    format!("{:22.2}  {:7.1}  {:8.1}", load.at_ms(0.5), load.at_ms(0.99), load.at_ms(0.999))
}

fn median(mut all: Vec<f64>) -> f64 {
    all.sort_unstable_by(f64::total_cmp);
    all[all.len() / 2]
}

fn target_of(tollgate: &Tollgate, token: &str) -> Target {
    Target { address: tollgate.address.clone(), tokens: [token.to_owned()].into(), tls: None }
}

/// Creates a second tenant with a rule that never ends. Returns its token.
async fn neighbour(postgres: &PrivateServer, quiet: &Tollgate, folder: &std::path::Path) -> String {
    let mut superuser: PgConnection = postgres.connect_options().connect().await.unwrap();
    sqlx::raw_sql("set search_path = tollgate").execute(&mut superuser).await.unwrap();
    population::grow_to(&mut superuser, 2).await;
    let own: uuid::Uuid = sqlx::query_scalar("select id from tenants where name <> 'demo'")
        .fetch_one(&mut superuser)
        .await
        .unwrap();
    let clients = population::clients(&mut superuser).await;
    let clients: Vec<_> = clients.into_iter().filter(|(tenant, _)| tenant.0 == own).collect();
    let databases = Databases::connect_lazily(&DatabaseSettings::for_url(postgres.url())).unwrap();
    let token = population::tokens(&databases, folder, &clients).await[0].clone();
    databases.close().await;
    let url = format!("http://{}/api/v1/plugins", quiet.address);
    let upload =
        reqwest::Client::new().post(url).bearer_auth(&token).header("Content-Type", "application/wasm");
    let answer = upload.body(components::component("endless_loop")).send().await.unwrap();
    assert_eq!(answer.status(), 202, "{}", answer.text().await.unwrap());
    while hostile(quiet, &token).await["state"] != "ready" {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    token
}

/// The plugin that the tenant uploaded. Null before it is accepted, since it has no name until
/// then.
async fn hostile(quiet: &Tollgate, token: &str) -> Value {
    let plugins = quiet.call_as(token, Method::GET, "/plugins", &json!({})).await;
    let mut plugins = plugins["items"].as_array().unwrap().iter();
    plugins.find(|plugin| plugin["name"] == "hostile").cloned().unwrap_or_default()
}

async fn activate(quiet: &Tollgate, token: &str, rules: usize) {
    let digest = hostile(quiet, token).await["digest"].clone();
    let rules: Vec<_> = (0..rules)
        .map(|place| json!({"name": format!("endless-{place}"), "plugin": digest, "settings": {}}))
        .collect();
    let revisions = "/rulesets/payment/revisions";
    let made = quiet.call_as(token, Method::POST, revisions, &json!({"rules": rules})).await;
    let activation = json!({"revision": made["number"]});
    quiet.call_as(token, Method::POST, "/rulesets/payment/activations", &activation).await;
}
