//! Complete decisions over HTTP (token, four rules, durable) per second, and their latencies. They
//! are compared with plain inserts of rows of the same size, one per transaction, into the same
//! Postgres in the same run.
//!
//! Server, Postgres and clients share the machine, so only the ratio is meaningful.
//!
//! `cargo bench --features jemalloc --bench decisions -- 64,256` measures only with these numbers
//! of connections. `-- --chart docs/decisions.svg` draws the results. `-- --peers` compares Tollgate
//! with `benches/peers/by-hand` instead, and `-- --beside journal_writers=2` with a Tollgate that has
//! this setting, `-- --beside program=PATH` with another program, or `-- --beside rules=worker` with
//! one that asks a worker process for its rules; with numbers of connections as well, only with these.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark may fail and prints")]

use std::borrow::Borrow;
use std::path::PathBuf;
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use tollgate::storage::private_server::PrivateServer;

#[path = "parts/bare.rs"]
mod bare;
#[path = "parts/beside_another.rs"]
mod beside_another;
#[path = "parts/beside_by_hand.rs"]
mod beside_by_hand;
#[path = "parts/by_hand.rs"]
mod by_hand;
#[path = "parts/chart.rs"]
mod chart;
#[path = "parts/latencies.rs"]
mod latencies;
#[path = "parts/load.rs"]
mod load;
#[path = "parts/postgres.rs"]
mod postgres;
#[path = "parts/processor_time.rs"]
mod processor_time;
#[path = "parts/rule_worker.rs"]
mod rule_worker;
#[path = "parts/server.rs"]
mod server;
#[path = "parts/stages.rs"]
mod stages;
#[path = "parts/stored_bytes.rs"]
mod stored_bytes;
#[path = "parts/wire.rs"]
mod wire;

use beside_another::Difference;
use latencies::Latencies;
use load::{Endpoint, Load, Request, closed_loop, open_loop};
use processor_time::ProcessTree;
use server::Tollgate;
use stages::Stages;

const MEASURED: Duration = Duration::from_secs(8);
const CONNECTIONS: [usize; 4] = [1, 16, 64, 256];
const CONNECTIONS_COMPARED: [usize; 2] = [64, 256];
const TURNS: usize = 7;
const TURN: Duration = Duration::from_secs(4);
/// The number of connections for measurements that are compared with each other.
const COMPARED_AT: usize = 64;

#[tokio::main]
async fn main() {
    let options = BenchOptions::from_command_line();
    let by_hand = options.peers.then(by_hand::build);
    let folder = tempfile::Builder::new().prefix("bench").tempdir_in("/var/tmp").unwrap();
    let postgres = postgres::start(folder.path()).await;
    postgres::settle(&postgres).await;
    let mut tollgate = Tollgate::start(&postgres.url(), folder.path()).await;
    if let Some(by_hand) = by_hand {
        beside_by_hand::compare(&by_hand, &tollgate, &postgres, &options.connections).await;
    } else if let Some(difference) = &options.beside {
        let chosen = (!options.everything).then_some(&options.connections[..]);
        beside_another::compare(difference, &tollgate, &postgres, folder.path(), chosen).await;
    } else {
        by_itself(&options, &tollgate, &postgres).await;
    }
    tollgate.stop();
    postgres.stop().await.unwrap();
}

async fn by_itself(options: &BenchOptions, tollgate: &Tollgate, postgres: &PrivateServer) {
    println!(
        "connections  decisions/s   p50 ms   p99 ms  p99.9 ms   pgbench/s   ratio  us of server, Postgres"
    );
    let mut measured = Vec::new();
    for connections in &options.connections {
        measured.push(Measurement::at(*connections, tollgate, postgres).await);
    }
    http_alone(tollgate, postgres).await;
    let peak = measured.iter().map(|one| one.decisions.per_second()).fold(0.0, f64::max);
    for (rate, what) in [(peak / 2.0, "half of the peak"), (peak / 10.0, "a tenth of the peak")] {
        beyond_a_bare_commit(tollgate, postgres, rate, what).await;
    }
    println!("resident after the load: {:.1} MB", tollgate.resident_mb());
    if let Some(path) = &options.chart {
        draw(path, &measured);
    }
    if options.everything {
        with_a_shadow(tollgate).await;
    }
}

struct BenchOptions {
    connections: Vec<usize>,
    everything: bool,
    peers: bool,
    beside: Option<Difference>,
    chart: Option<PathBuf>,
}

impl BenchOptions {
    fn from_command_line() -> Self {
        let arguments: Vec<String> = std::env::args().skip(1).collect();
        let value_of = |name: &str| arguments.iter().skip_while(|argument| *argument != name).nth(1);
        let chart = value_of("--chart").map(PathBuf::from);
        let beside = value_of("--beside").map(|text| Difference::parse(text));
        let peers = arguments.iter().any(|argument| argument == "--peers");
        let listed = arguments.iter().find_map(|argument| {
            argument.split(',').map(|number| number.parse().ok()).collect::<Option<Vec<usize>>>()
        });
        let everything = listed.is_none();
        let usual = if peers { &CONNECTIONS_COMPARED[..] } else { &CONNECTIONS };
        Self { connections: listed.unwrap_or(usual.to_vec()), everything, peers, beside, chart }
    }
}

struct Measurement {
    connections: usize,
    decisions: Latencies,
    bare_per_second: Option<f64>,
}

impl Measurement {
    /// Measures a closed loop, then pgbench with the same number of connections.
    async fn at(connections: usize, tollgate: &Tollgate, postgres: &PrivateServer) -> Self {
        let trees = [ProcessTree::of(tollgate.id()), processor_time::postgres(postgres)];
        let stages = Stages::of(tollgate).await;
        let before = trees.map(ProcessTree::used);
        let Load { latencies: decisions, answered } =
            closed_loop(&Endpoint::of(tollgate), connections, MEASURED, Request::Payment).await;
        let after = trees.map(ProcessTree::used);
        let stages = Stages::of(tollgate).await.since(&stages);
        let each_us = |place: usize| (after[place] - before[place]).as_secs_f64() * 1e6 / answered as f64;
        let bare_per_second = bare::pgbench(postgres, connections, MEASURED).await;
        let ratio = bare_per_second.map_or("  (no pgbench)".to_owned(), |bare| {
            format!("{bare:10.0}  {:6.2}", decisions.per_second() / bare)
        });
        println!("{connections:11}  {}  {ratio}  {:.0}, {:.0}", row(&decisions), each_us(0), each_us(1));
        println!("             {stages}");
        Self { connections, decisions, bare_per_second }
    }
}

/// Payments at a fixed rate, and plain commits at the same rate, in turns. Sometimes the disk
/// stalls for longer than everything else takes. The median is not affected if this happens in
/// fewer than half of the turns.
async fn beyond_a_bare_commit(tollgate: &Tollgate, postgres: &PrivateServer, rate: f64, what: &str) {
    let (mut open, mut bare) = (Vec::new(), Vec::new());
    let stages = Stages::of(tollgate).await;
    for _ in 0..TURNS {
        open.push(open_loop(&Endpoint::of(tollgate), COMPARED_AT, rate, TURN).await.latencies);
        bare.extend(bare::pgbench_at(postgres, COMPARED_AT, rate, TURN).await);
    }
    println!("  open loop  {}  at {what}; medians of {TURNS} turns", row_of_turns(&open));
    println!("             {}", Stages::of(tollgate).await.since(&stages));
    if !bare.is_empty() {
        let more = median_ms(&open, 0.99) - median_ms(&bare, 0.99);
        println!("bare commit  {}  {more:.1} ms less at p99", row_of_turns(&bare));
    }
    let p99s = |turns: &[Latencies]| {
        turns.iter().map(|turn| format!("{:.0}", turn.at_ms(0.99))).collect::<Vec<_>>().join(" ")
    };
    println!("             p99 of each turn: {}; bare {}", p99s(&open), p99s(&bare));
}

fn median_ms<L: Borrow<Latencies>>(turns: &[L], share: f64) -> f64 {
    median(turns.iter().map(|turn| turn.borrow().at_ms(share)).collect())
}

fn median(mut of_turns: Vec<f64>) -> f64 {
    of_turns.sort_unstable_by(f64::total_cmp);
    of_turns[of_turns.len() / 2]
}

fn row_of_turns<L: Borrow<Latencies>>(turns: &[L]) -> String {
    let per_second = median(turns.iter().map(|turn| turn.borrow().per_second()).collect());
    let at = |share| median_ms(turns, share);
    format!("{per_second:11.0}  {:7.2}  {:7.2}  {:8.2}", at(0.5), at(0.99), at(0.999))
}

/// The cost of the cheapest request: no decision can be cheaper.
async fn http_alone(tollgate: &Tollgate, postgres: &PrivateServer) {
    let all = ProcessTree::of(std::process::id());
    let trees = [ProcessTree::of(tollgate.id()), processor_time::postgres(postgres), all];
    let before = trees.map(ProcessTree::used);
    let Load { latencies, answered } =
        closed_loop(&Endpoint::of(tollgate), COMPARED_AT, MEASURED, Request::Health).await;
    let mut used = trees.map(ProcessTree::used);
    used.iter_mut().zip(before).for_each(|(used, before)| *used -= before);
    let [server, postgres, all] = used;
    // Server and Postgres are child processes of the clients' process.
    let clients = all.saturating_sub(server).saturating_sub(postgres);
    let us = |used: Duration| used.as_secs_f64() * 1e6 / answered as f64;
    println!(" HTTP alone  {}  us of server {:.0}, clients {:.0}", row(&latencies), us(server), us(clients));
}

fn draw(path: &std::path::Path, measured: &[Measurement]) {
    let groups: Vec<String> = measured.iter().map(|one| format!("{} connections", one.connections)).collect();
    let ratio = |one: &Measurement| {
        one.bare_per_second.map_or(String::new(), |bare| format!("{:.2}", one.decisions.per_second() / bare))
    };
    let notes: Vec<String> = measured.iter().map(ratio).collect();
    let series = [
        chart::Series {
            name: "whole decisions a second",
            colour: "#2f6f9f",
            values: measured.iter().map(|one| Some(one.decisions.per_second())).collect(),
        },
        chart::Series {
            name: "pgbench, one bare insert each",
            colour: "#c9ced6",
            values: measured.iter().map(|one| one.bare_per_second).collect(),
        },
    ];
    chart::write(
        path,
        "Durable decisions beside bare inserts on the same Postgres",
        &groups,
        &notes,
        &series,
    );
}

fn row(latencies: &Latencies) -> String {
    let at = |share| latencies.at_ms(share);
    format!("{:11.0}  {:7.2}  {:7.2}  {:8.2}", latencies.per_second(), at(0.5), at(0.99), at(0.999))
}

/// How much a shadow revision slows down live payments. One shadow revision has the same rules, and
/// another differs in three of four rules.
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
        let latencies =
            closed_loop(&Endpoint::of(tollgate), COMPARED_AT, MEASURED, Request::Payment).await.latencies;
        if changed.is_none() {
            alone = latencies.per_second();
        }
        println!("{what:>14}  {}  {:.2} of without", row(&latencies), latencies.per_second() / alone);
        if changed.is_some() {
            // By then the queue is empty. The coverage shows how many payments were skipped.
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
