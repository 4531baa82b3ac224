//! Clients of many tenants that submit payments over HTTP. Payers and shops are those of the stored
//! history, with the same frequencies.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};
use tokio_rustls::TlsConnector;
use uuid::Uuid;

use super::processor_time::ProcessTree;
use super::wire::Wire;

pub const PAYERS: u64 = 50_000;
pub const SHOPS: u64 = 2_000;

/// The address for payments, and the tokens to use in turn.
#[derive(Clone)]
pub struct Target {
    pub address: String,
    pub tokens: Arc<[String]>,
    /// For a server with TLS.
    pub tls: Option<TlsConnector>,
}

#[derive(Clone, Copy)]
pub struct Window {
    pub warm_up: Duration,
    pub measured: Duration,
}

/// Counts of the measured period.
pub struct Load {
    pub decided: u64,
    /// Responses that were not a decision.
    pub refused: u64,
    pub seconds: f64,
    /// Processor time of each process tree, per decision.
    pub used_us: Vec<f64>,
    sorted: Vec<Duration>,
}

impl Load {
    pub fn per_second(&self) -> f64 {
        self.decided as f64 / self.seconds
    }

    pub fn at_ms(&self, share: f64) -> f64 {
        let place = (self.sorted.len().saturating_sub(1) as f64 * share) as usize;
        self.sorted.get(place).map_or(f64::NAN, |latency| latency.as_secs_f64() * 1e3)
    }
}

/// Measures the peak rate: each client sends its next payment when it has the last response.
pub async fn closed_loop(target: &Target, connections: u64, window: Window, trees: &[ProcessTree]) -> Load {
    load(target, connections, window, trees, None).await
}

/// Sends payments at fixed times, independent of responses. Latencies are measured from the
/// scheduled time.
pub async fn open_loop(target: &Target, rate: f64, window: Window, trees: &[ProcessTree]) -> Load {
    const CONNECTIONS: u64 = 64;
    let between = Duration::from_secs_f64(CONNECTIONS as f64 / rate);
    load(target, CONNECTIONS, window, trees, Some(between)).await
}

#[derive(Default)]
struct Counts {
    decided: AtomicU64,
    refused: AtomicU64,
    measuring: AtomicBool,
    ended: AtomicBool,
}

async fn load(
    target: &Target,
    connections: u64,
    window: Window,
    trees: &[ProcessTree],
    between: Option<Duration>,
) -> Load {
    let counts = Arc::new(Counts::default());
    let starts = Instant::now();
    let clients: Vec<_> = (0..connections)
        .map(|connection| {
            let first =
                between.map(|between| starts + between.mul_f64(connection as f64 / connections as f64));
            tokio::spawn(run(Client::new(target, connection), counts.clone(), first, between))
        })
        .collect();
    sleep(window.warm_up).await;
    let read = || (trees.iter().map(|tree| tree.used()).collect::<Vec<_>>(), Instant::now());
    let count = || (counts.decided.load(Ordering::Relaxed), counts.refused.load(Ordering::Relaxed));
    let (before, begun) = read();
    let (decided, refused) = count();
    counts.measuring.store(true, Ordering::Relaxed);
    sleep(window.measured).await;
    let (after, over) = read();
    let (decided, refused) = (count().0 - decided, count().1 - refused);
    counts.measuring.store(false, Ordering::Relaxed);
    counts.ended.store(true, Ordering::Relaxed);
    let mut sorted = Vec::new();
    for client in clients {
        sorted.extend(client.await.unwrap());
    }
    sorted.sort_unstable();
    let used = after.iter().zip(before).map(|(after, before)| (*after - before).as_secs_f64() * 1e6);
    let used_us = used.map(|us| us / decided as f64).collect();
    Load { decided, refused, seconds: (over - begun).as_secs_f64(), used_us, sorted }
}

async fn run(
    mut client: Client,
    counts: Arc<Counts>,
    mut due: Option<Instant>,
    between: Option<Duration>,
) -> Vec<Duration> {
    let mut latencies = Vec::new();
    client.connect().await;
    while !counts.ended.load(Ordering::Relaxed) {
        if let Some(due) = due {
            sleep_until(due).await;
        }
        let begun = due.unwrap_or_else(Instant::now);
        let measured = counts.measuring.load(Ordering::Relaxed);
        if client.pay().await {
            counts.decided.fetch_add(1, Ordering::Relaxed);
        } else {
            counts.refused.fetch_add(1, Ordering::Relaxed);
        }
        if measured {
            latencies.push(begun.elapsed());
        }
        due = due.zip(between).map(|(due, between)| due + between);
    }
    latencies
}

struct Client {
    target: Target,
    number: u64,
    wire: Option<Wire>,
}

impl Client {
    fn new(target: &Target, connection: u64) -> Self {
        // No other client and no other run has these numbers.
        let number = (u64::from(rand_seed()) << 32) + (connection << 24);
        Self { target: target.clone(), number, wire: None }
    }

    async fn connect(&mut self) {
        self.wire = Some(Wire::connect(&self.target.address, self.target.tls.as_ref()).await);
    }

    /// Submits a payment. Returns whether it was decided.
    async fn pay(&mut self) -> bool {
        self.number += 1;
        let tokens = &self.target.tokens;
        let token = &tokens[scattered(self.number ^ 0xff) as usize % tokens.len()];
        let key = Uuid::from_u64_pair(scattered(self.number), scattered(self.number ^ 0xffff));
        self.wire.as_mut().unwrap().pay(token, key, &body(self.number)).await == 201
    }
}

fn rand_seed() -> u32 {
    Uuid::now_v7().as_u128() as u32
}

/// Pseudo-random numbers (splitmix64).
fn scattered(number: u64) -> u64 {
    let mut mixed = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// A number below `count`. Lower numbers are more frequent, as in the history: a uniform number
/// from 0 to 1 is raised to this power.
fn skewed(number: u64, count: u64, power: i32) -> u64 {
    let share = (scattered(number) >> 11) as f64 / (1u64 << 53) as f64;
    (count as f64 * share.powi(power)) as u64
}

fn body(number: u64) -> String {
    // As digits alone, one in a hundred would pass for a card number.
    let (high, low) = (number >> 32, number & 0xffff_ffff);
    let (payer, shop) = (skewed(number, PAYERS, 2), skewed(!number, SHOPS, 3));
    format!(
        r#"{{"reference":"order-{high:x}x{low:x}","amount_minor":{},"currency":"EUR","method":"credit_transfer",
"debtor":{{"name":"Payer {payer}","account":{{"other":"acct-{payer}"}}}},
"creditor":{{"name":"Shop {shop}","account":{{"other":"shop-{shop}"}}}},
"customer":"customer-{payer}","merchant":"merchant-{shop}"}}"#,
        1_000 + number % 500
    )
}
