//! Whole decisions over HTTP (token, four rules, durable) a second, with their
//! latencies; and in the same run what the same Postgres does with one bare
//! insert of an equally large row per transaction.
//!
//! Server, Postgres and the clients share the machine, so the ratio is what counts.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a bench prints and may fail")]

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use tollgate::storage::private_server::{PrivateServer, PrivateServerSettings};

#[path = "parts/bare.rs"]
mod bare;
#[path = "parts/load.rs"]
mod load;
#[path = "parts/server.rs"]
mod server;

use load::{Latencies, closed_loop, open_loop};
use server::Tollgate;

const MEASURED: Duration = Duration::from_secs(8);
const CONNECTIONS: [usize; 4] = [1, 16, 64, 256];
/// For what is compared with itself.
const COMPARED_AT: usize = 64;

#[tokio::main]
async fn main() {
    let folder = tempfile::Builder::new().prefix("bench").tempdir_in("/var/tmp").unwrap();
    let settings = PrivateServerSettings {
        data_dir: folder.path().join("postgres"),
        shim_exe: env!("CARGO_BIN_EXE_tollgate").into(),
        durable: true,
    };
    let postgres = PrivateServer::start(settings).await.unwrap();
    let mut tollgate = Tollgate::start(&postgres.url(), folder.path()).await;
    println!("ready after {} ms with plugins to compile", tollgate.ready_ms);
    tollgate.stop();
    tollgate = Tollgate::start(&postgres.url(), folder.path()).await;
    println!("ready after {} ms with plugins compiled before", tollgate.ready_ms);
    println!("resident at rest: {:.1} MB", tollgate.resident_mb());

    println!("connections  decisions/s   p50 ms   p99 ms  p99.9 ms   pgbench/s   ratio");
    let mut peak = 0.0_f64;
    for connections in CONNECTIONS {
        let latencies = closed_loop(&tollgate, connections, MEASURED).await;
        peak = peak.max(latencies.per_second());
        let bare = bare::pgbench(&postgres, connections, MEASURED).await;
        let ratio = bare.map_or("  (no pgbench)".to_owned(), |bare| {
            format!("{bare:10.0}  {:6.2}", latencies.per_second() / bare)
        });
        println!("{connections:11}  {}  {ratio}", row(&latencies));
    }
    let half = open_loop(&tollgate, COMPARED_AT, peak / 2.0, MEASURED).await;
    println!("  open loop  {}  at half of the peak", row(&half));
    println!("resident after the load: {:.1} MB", tollgate.resident_mb());
    with_a_shadow(&tollgate).await;
    tollgate.stop();
    postgres.stop().await.unwrap();
}

fn row(latencies: &Latencies) -> String {
    let at = |share| latencies.at_ms(share);
    format!("{:11.0}  {:7.2}  {:7.2}  {:8.2}", latencies.per_second(), at(0.5), at(0.99), at(0.999))
}

/// What live payments pay for a revision that runs beside them: one of the same
/// rules, and one with three of four rules changed.
async fn with_a_shadow(tollgate: &Tollgate) {
    let ruleset = "/rulesets/payment";
    let first = tollgate.call(Method::GET, &format!("{ruleset}/revisions/1"), &json!({})).await;
    let mut alone = 0.0;
    for (what, changed) in [("no shadow", None), ("the same rules", Some(false)), ("other rules", Some(true))]
    {
        if let Some(changed) = changed {
            let revision = json!({"rules": rules(&first, changed)});
            let made = tollgate.call(Method::POST, &format!("{ruleset}/revisions"), &revision).await;
            let shadow = json!({"revision": made["number"]});
            tollgate.call(Method::PUT, &format!("{ruleset}/shadow"), &shadow).await;
        }
        let latencies = closed_loop(tollgate, COMPARED_AT, MEASURED).await;
        if changed.is_none() {
            alone = latencies.per_second();
        }
        println!("{what:>14}  {}  {:.2} of without", row(&latencies), latencies.per_second() / alone);
        if changed.is_some() {
            // What waits is finished; the coverage says how much found no room.
            tokio::time::sleep(Duration::from_secs(2)).await;
            let shadow = tollgate.call(Method::GET, &format!("{ruleset}/shadow"), &json!({})).await;
            println!("                {}", shadow["report"]["coverage"]);
        }
    }
}

fn rules(revision: &Value, changed: bool) -> Value {
    let mut rules = revision["rules"].clone();
    for rule in rules.as_array_mut().unwrap() {
        let rule = rule.as_object_mut().unwrap();
        rule.remove("profile");
        rule.remove("queries");
    }
    if changed {
        rules[1]["settings"]["limits"][0]["review_above_minor"] = json!(1_000_001);
        rules[2]["settings"]["lists"][1]["verdict"] = json!("reject");
        rules[3]["settings"]["limits"][0]["max_count"] = json!(21);
    }
    rules
}
