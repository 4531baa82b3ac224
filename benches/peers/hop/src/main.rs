//! What a listener of one's own before Rocket costs. One small Rocket application is served in
//! three ways, each in a process of its own, and the ways take turns under the same load:
//!
//! - `plain`: Rocket's own server. A patched copy of Rocket would cost at least this.
//! - `forwarded`: hyper in front, and a second HTTP request to Rocket's own server on the loopback
//!   interface, over connections that are kept.
//! - `handed-over`: hyper in front, and Rocket is called in the process by its public local client.
//!
//! `cargo run --release --manifest-path benches/peers/Cargo.toml --package hop`, in the folder of
//! Tollgate, whose configuration of Cargo has the allocator's settings.
//!
//! It must not measure Tollgate: its application does nothing, so that the ways are all that differs.

mod application;
mod load;
mod ways;

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use load::{Latencies, closed_loop};

/// Memory is often freed by another thread than the one that allocated it.
#[cfg(target_os = "linux")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

const WAYS: [&str; 3] = ["plain", "forwarded", "handed-over"];
const CONNECTIONS: [usize; 2] = [64, 1];
const TURNS: usize = 9;
const TURN: Duration = Duration::from_secs(3);
const WARM_UP: Duration = Duration::from_millis(500);

#[tokio::main]
async fn main() {
    match std::env::args().nth(1).as_deref() {
        Some("plain") => ways::plain().await,
        Some("forwarded") => ways::forwarded().await,
        Some("handed-over") => ways::handed_over().await,
        _ => compare().await,
    }
}

/// Killed when dropped.
struct Server {
    process: Child,
    address: String,
}

impl Server {
    fn start(way: &str) -> Self {
        let program = std::env::current_exe().unwrap();
        let mut process = Command::new(program).arg(way).stdout(Stdio::piped()).spawn().unwrap();
        let mut address = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut address).unwrap();
        Self { process, address: address.trim().to_owned() }
    }

    /// Processor time so far. The unit in `/proc` is fixed on Linux.
    fn used(&self) -> Duration {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.process.id())).unwrap();
        // The name is in brackets and may contain anything.
        let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
        let ticks: u64 = fields[11..13].iter().map(|field| field.parse::<u64>().unwrap()).sum();
        Duration::from_millis(ticks * 10)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

struct Turn {
    latencies: Latencies,
    server_us: f64,
}

async fn compare() {
    let servers = WAYS.map(Server::start);
    println!("medians of {TURNS} turns; in brackets the ratio to plain in neighbouring turns");
    for connections in CONNECTIONS {
        println!("{connections} connections  requests/s         p50 us    p99 us   server us of a request");
        let mut turns = WAYS.map(|_| Vec::new());
        for round in 0..TURNS {
            // None is always the first.
            for place in (0..WAYS.len()).map(|place| (place + round) % WAYS.len()) {
                turns[place].push(take_turn(&servers[place], connections).await);
            }
        }
        print(&turns);
    }
}

async fn take_turn(server: &Server, connections: usize) -> Turn {
    closed_loop(&server.address, connections, WARM_UP).await;
    let before = server.used();
    let latencies = closed_loop(&server.address, connections, TURN).await;
    let server_us = (server.used() - before).as_secs_f64() * 1e6 / latencies.count() as f64;
    Turn { latencies, server_us }
}

fn print(turns: &[Vec<Turn>; WAYS.len()]) {
    let [plain, ..] = turns;
    for (way, turns) in WAYS.iter().zip(turns) {
        let of = |what: fn(&Turn) -> f64| median(turns.iter().map(what));
        let ratio = |what: fn(&Turn) -> f64| {
            median(turns.iter().zip(plain).map(|(turn, plain)| what(turn) / what(plain)))
        };
        let rate: fn(&Turn) -> f64 = |turn| turn.latencies.count() as f64 / TURN.as_secs_f64();
        let p50: fn(&Turn) -> f64 = |turn| turn.latencies.at_us(0.5);
        let p99: fn(&Turn) -> f64 = |turn| turn.latencies.at_us(0.99);
        let server: fn(&Turn) -> f64 = |turn| turn.server_us;
        println!(
            "{way:>14}  {:7.0} ({:.2})  {:8.0}  {:8.0}  {:6.1} ({:.2})",
            of(rate),
            ratio(rate),
            of(p50),
            of(p99),
            of(server),
            ratio(server)
        );
    }
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut sorted: Vec<f64> = values.collect();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}
