//! Clients that submit payments over HTTP and require a stored decision. Other clients send the
//! cheapest request, to measure HTTP alone.

use std::thread;
use std::time::Duration;

use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use uuid::Uuid;

use super::latencies::Latencies;
use super::server::Tollgate;
use super::wire::Wire;

const WARM_UP: Duration = Duration::from_secs(2);

/// Where requests go, and as whom.
#[derive(Clone)]
pub struct Endpoint {
    pub address: String,
    pub token: String,
}

impl Endpoint {
    pub fn of(tollgate: &Tollgate) -> Self {
        Self { address: tollgate.address.clone(), token: tollgate.token.clone() }
    }
}

/// What was measured under load.
pub struct Load {
    pub latencies: Latencies,
    /// All responses, with those of the warm-up.
    pub answered: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Request {
    Payment,
    Health,
}

/// Measures the peak rate: each client sends its next request when it has the last response.
pub async fn closed_loop(
    endpoint: &Endpoint,
    connections: usize,
    measured: Duration,
    request: Request,
) -> Load {
    let begun = Instant::now() + WARM_UP;
    let clients = (0..connections).map(|connection| {
        let mut client = Client::new(endpoint, connection);
        tokio::spawn(async move {
            let mut latencies = Vec::new();
            client.connect().await;
            while begun.elapsed() < measured {
                let sent = Instant::now();
                match request {
                    Request::Payment => client.pay().await,
                    Request::Health => client.ask_for_health().await,
                }
                if sent > begun {
                    latencies.push(sent.elapsed());
                }
            }
            (latencies, client.number)
        })
    });
    collect(clients.collect(), measured).await
}

/// Sends payments at fixed times, independent of responses. Latencies are measured from the
/// scheduled time (no coordinated omission).
pub async fn open_loop(endpoint: &Endpoint, connections: usize, rate: f64, measured: Duration) -> Load {
    let (starts, begun) = (Instant::now(), Instant::now() + WARM_UP);
    let (timetables, dues): (Vec<_>, Vec<_>) =
        (0..connections).map(|_| unbounded_channel::<Instant>()).unzip();
    let clients = (0..).zip(dues).map(|(connection, mut dues)| {
        let mut client = Client::new(endpoint, connection);
        tokio::spawn(async move {
            let mut latencies = Vec::new();
            client.connect().await;
            while let Some(due) = dues.recv().await {
                client.pay().await;
                if due > begun {
                    latencies.push(due.elapsed());
                }
            }
            (latencies, client.number)
        })
    });
    let clients: Vec<_> = clients.collect();
    let between = Duration::from_secs_f64(1.0 / rate);
    thread::spawn(move || keep_time(&timetables, starts, between, begun + measured));
    collect(clients, measured).await
}

/// Lets the clients send in turn. The timers of tokio are up to a millisecond late, which is longer
/// than a commit takes.
fn keep_time(timetables: &[UnboundedSender<Instant>], starts: Instant, between: Duration, ends: Instant) {
    for (number, timetable) in (0..).zip(timetables.iter().cycle()) {
        let due = starts + between * number;
        if due >= ends {
            return;
        }
        thread::sleep(due.saturating_duration_since(Instant::now()));
        let _ = timetable.send(due);
    }
}

async fn collect(clients: Vec<JoinHandle<(Vec<Duration>, u64)>>, measured: Duration) -> Load {
    let (mut all, mut answered) = (Vec::new(), 0);
    for client in clients {
        let (latencies, requests) = client.await.unwrap();
        all.extend(latencies);
        answered += requests;
    }
    Load { latencies: Latencies::of(all, measured), answered }
}

struct Client {
    endpoint: Endpoint,
    connection: usize,
    /// How many requests were sent.
    number: u64,
    wire: Option<Wire>,
}

impl Client {
    fn new(endpoint: &Endpoint, connection: usize) -> Self {
        Self { endpoint: endpoint.clone(), connection, number: 0, wire: None }
    }

    async fn connect(&mut self) {
        self.wire = Some(Wire::connect(&self.endpoint.address, None).await);
    }

    async fn pay(&mut self) {
        let body = body(self.connection, self.number);
        self.number += 1;
        let status = self.wire.as_mut().unwrap().pay(&self.endpoint.token, Uuid::now_v7(), &body).await;
        assert_eq!(status, 201);
    }

    async fn ask_for_health(&mut self) {
        self.number += 1;
        assert_eq!(self.wire.as_mut().unwrap().get("/health").await, 200);
    }
}

/// A payment of one of many payers, so that the counts of velocity rules stay limited.
fn body(connection: usize, number: u64) -> String {
    let payer = (connection as u64 * 7_919 + number) % 50_000;
    format!(
        r#"{{"reference":"order-{number}","amount_minor":{},"currency":"EUR","method":"credit_transfer",
"debtor":{{"name":"Payer {payer}","account":{{"other":"acct-{payer}"}}}},
"creditor":{{"name":"Blue Bikes","account":{{"iban":"NL91ABNA0417164300"}},"bank":"ABNANL2A"}},
"customer":"customer-{payer}"}}"#,
        1_000 + number % 500
    )
}
