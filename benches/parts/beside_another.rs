//! Two Tollgates in turns, on databases of their own in the same Postgres: one has another setting,
//! is another program, or asks a worker for its rules. Only ratios of neighbouring turns count.

use std::path::{Path, PathBuf};
use std::time::Duration;

use sqlx::ConnectOptions;
use tollgate::storage::private_server::PrivateServer;

use super::latencies::Latencies;
use super::load::{Endpoint, Request, closed_loop, open_loop};
use super::processor_time::{self, ProcessTree};
use super::rule_worker::RuleWorker;
use super::server::Tollgate;
use super::{COMPARED_AT, CONNECTIONS_COMPARED, TURN, TURNS, median, row_of_turns};

const DATABASE: &str = "another";

/// What the other one has: a setting of the configuration, or the path of its program.
pub enum Difference {
    Setting {
        key: String,
        value: String,
    },
    Program(PathBuf),
    /// Its rules run in a worker process on the same machine.
    RulesInWorker,
}

impl Difference {
    /// `program=PATH`, `rules=worker`, or `KEY=VALUE`.
    pub fn parse(text: &str) -> Self {
        let (key, value) = text.split_once('=').expect("a key and a value");
        match key {
            "program" => Self::Program(value.into()),
            "rules" => Self::RulesInWorker,
            key => Self::Setting { key: key.to_owned(), value: value.to_owned() },
        }
    }

    /// The other one, and its worker.
    async fn start(&self, database_url: &str, folder: &Path) -> (Tollgate, Option<RuleWorker>) {
        let alone = match self {
            Self::Setting { key, value } => {
                let name = format!("ROCKET_TOLLGATE_{}", key.to_uppercase());
                Tollgate::start_with(database_url, folder, &[(&name, value)]).await
            }
            Self::Program(path) => Tollgate::start_program(path, database_url, folder, &[]).await,
            Self::RulesInWorker => {
                let worker = RuleWorker::start(folder).await;
                let rules = worker.setting();
                let settings =
                    [("ROCKET_TOLLGATE_ROLES", r#"["api","background"]"#), ("ROCKET_TOLLGATE_RULES", &rules)];
                return (Tollgate::start_with(database_url, folder, &settings).await, Some(worker));
            }
        };
        (alone, None)
    }
}

struct Contender {
    name: &'static str,
    endpoint: Endpoint,
    /// The process, and its worker.
    server: Vec<ProcessTree>,
}

struct Turn {
    latencies: Latencies,
    server_us: f64,
    postgres_us: f64,
}

pub async fn compare(
    difference: &Difference,
    tollgate: &Tollgate,
    postgres: &PrivateServer,
    folder: &Path,
    chosen: Option<&[usize]>,
) {
    let mut superuser = postgres.connect_options().connect().await.unwrap();
    sqlx::raw_sql(sqlx::AssertSqlSafe(format!("create database {DATABASE}")))
        .execute(&mut superuser)
        .await
        .unwrap();
    let url = postgres.url().replace("/tollgate?", &format!("/{DATABASE}?"));
    let own = folder.join(DATABASE);
    std::fs::create_dir(&own).unwrap();
    let (mut other, worker) = difference.start(&url, &own).await;
    let contender = |name, tollgate: &Tollgate, worker: Option<&RuleWorker>| {
        let processes = [Some(tollgate.id()), worker.map(RuleWorker::id)];
        let server = processes.into_iter().flatten().map(ProcessTree::of).collect();
        Contender { name, endpoint: Endpoint::of(tollgate), server }
    };
    let contenders = [contender("as it is", tollgate, None), contender("the other", &other, worker.as_ref())];
    println!("medians of {TURNS} turns  decisions/s   p50 ms   p99 ms  p99.9 ms  us of server, Postgres");
    let mut peak = f64::MAX;
    for connections in chosen.unwrap_or(&CONNECTIONS_COMPARED) {
        println!("{connections} connections");
        let turns = take_turns(&contenders, *connections, None, postgres).await;
        peak = turns.iter().map(|turns| median_rate(turns)).fold(peak, f64::min);
    }
    let shares = [(0.5, "half of the peak"), (0.1, "a tenth of the peak")];
    for (share, what) in shares.into_iter().filter(|_| chosen.is_none()) {
        println!("{what}");
        take_turns(&contenders, COMPARED_AT, Some(peak * share), postgres).await;
    }
    other.stop();
}

fn median_rate(turns: &[Turn]) -> f64 {
    median(turns.iter().map(|turn| turn.latencies.per_second()).collect())
}

/// Without a rate, as many payments as they can decide.
async fn take_turns(
    contenders: &[Contender; 2],
    connections: usize,
    rate: Option<f64>,
    postgres: &PrivateServer,
) -> [Vec<Turn>; 2] {
    let mut turns = [Vec::new(), Vec::new()];
    for round in 0..TURNS {
        // Neither is always the first.
        for place in [round % 2, 1 - round % 2] {
            let Contender { endpoint, server, .. } = &contenders[place];
            let postgres = processor_time::postgres(postgres);
            let used_by_server = || server.iter().map(|tree| tree.used()).sum::<Duration>();
            let before = (used_by_server(), postgres.used());
            let load = match rate {
                None => closed_loop(endpoint, connections, TURN, Request::Payment).await,
                Some(rate) => open_loop(endpoint, connections, rate, TURN).await,
            };
            let each_us = |used: Duration| used.as_secs_f64() * 1e6 / load.answered as f64;
            let server_us = each_us(used_by_server() - before.0);
            let postgres_us = each_us(postgres.used() - before.1);
            turns[place].push(Turn { latencies: load.latencies, server_us, postgres_us });
        }
    }
    print(contenders, rate, &turns);
    turns
}

fn print(contenders: &[Contender; 2], rate: Option<f64>, turns: &[Vec<Turn>; 2]) {
    let [ours, others] = turns;
    for (contender, turns) in contenders.iter().zip(turns) {
        let us = |of: fn(&Turn) -> f64| median(turns.iter().map(of).collect());
        let latencies: Vec<&Latencies> = turns.iter().map(|turn| &turn.latencies).collect();
        let (server, postgres) = (us(|turn| turn.server_us), us(|turn| turn.postgres_us));
        println!("{:>18}  {}  {server:.0}, {postgres:.0}", contender.name, row_of_turns(&latencies));
    }
    let of_turn = |turn: &Turn| match rate {
        None => turn.latencies.per_second(),
        Some(_) => turn.latencies.at_ms(0.5),
    };
    let ratios: Vec<f64> =
        others.iter().zip(ours).map(|(other, own)| of_turn(other) / of_turn(own)).collect();
    let what = if rate.is_none() { "decisions/s" } else { "p50" };
    let listed: Vec<String> = ratios.iter().map(|ratio| format!("{ratio:.2}")).collect();
    println!("{:>18}  {:.2} of {what} (each turn: {})", "ratio", median(ratios), listed.join(" "));
    let ratio = |of: fn(&Turn) -> f64| {
        median(others.iter().zip(ours).map(|(other, own)| of(other) / of(own)).collect())
    };
    let (server, p99) = (ratio(|turn| turn.server_us), ratio(|turn| turn.latencies.at_ms(0.99)));
    println!("{:>18}  {server:.3} of the server's time, {p99:.2} of p99", "");
}
