//! What slow clients cost: a thousand connections that send nothing, or a head or a body byte by
//! byte, or do not take their answers, or with TLS stop in the middle of the handshake or after it.
//! The server's memory for each of a second thousand, and the latencies of another client's
//! payments, in turns without and beside one thousand. Beside slow clients with TLS, the payments
//! use TLS too.
//!
//! A connection that the server closes is opened again.
//!
//! `cargo bench --features jemalloc --bench slow_clients`. Arguments choose the kinds:
//! `-- TlsHandshake TlsIdle`. All slow clients have one address, which usually may hold fewer
//! connections: `ROCKET_TOLLGATE_LISTENER='{address_connections_max=4000}'` lets all of them stay.
//! `TOLLGATE_PROGRAM` names another program to measure. `--folder /dev/shm` keeps Postgres in
//! memory, which excludes stalls of a disk. The limit of open files must be at least 6,000.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark may fail and prints")]

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_rustls::rustls::pki_types::ServerName;

#[path = "../tests/suite/support/certificates.rs"]
#[allow(dead_code, reason = "tests use the rest of it")]
mod certificates;
#[path = "parts/memory.rs"]
#[allow(dead_code, reason = "other benches use the rest of it")]
mod memory;
#[path = "parts/payers.rs"]
#[allow(dead_code, reason = "other benches use the rest of it")]
mod payers;
#[path = "parts/postgres.rs"]
mod postgres;
#[path = "parts/processor_time.rs"]
mod processor_time;
#[path = "parts/server.rs"]
#[allow(dead_code, reason = "other benches use the rest of it")]
mod server;
#[path = "parts/tls.rs"]
mod tls;
#[path = "parts/wire.rs"]
mod wire;

use memory::Memory;
use payers::{Load, Target, Window, open_loop};
use processor_time::ProcessTree;
use server::Tollgate;
use tls::Tls;

const SLOW: usize = 1_000;
const PAYMENTS_PER_SECOND: f64 = 200.0;
const TURNS: usize = 5;
const WINDOW: Window = Window { warm_up: Duration::from_secs(1), measured: Duration::from_secs(5) };
const BETWEEN_BYTES: Duration = Duration::from_secs(1);
/// By then all connections are open and have sent their first bytes.
const SETTLED: Duration = Duration::from_secs(4);
/// As long as a server may wait for a client that does not take its answer.
const UNREAD: Duration = Duration::from_secs(30);

#[derive(Debug, Clone, Copy)]
enum Slow {
    Idle,
    Head,
    Body,
    UnreadAnswer,
    TlsHandshake,
    TlsIdle,
}

const KINDS: [Slow; 6] =
    [Slow::Idle, Slow::Head, Slow::Body, Slow::UnreadAnswer, Slow::TlsHandshake, Slow::TlsIdle];

#[tokio::main]
async fn main() {
    let Arguments { kinds, kept_in } = Arguments::read();
    let folder = tempfile::Builder::new().prefix("bench").tempdir_in(kept_in).unwrap();
    let tls = Arc::new(Tls::make(folder.path()));
    let postgres = postgres::start(folder.path()).await;
    println!(
        "{SLOW} slow clients      held  kB of each    p50 ms: alone  beside    p99 ms: alone  beside  ratio    server us: alone  beside"
    );
    for kind in kinds {
        // Memory that an earlier kind left behind would count for nothing here.
        let mut tollgate = if kind.has_tls() {
            let settings = [("ROCKET_TOLLGATE_TLS", tls.setting.as_str())];
            let authority = tls.authority.clone();
            Tollgate::start_with_tls(&postgres.url(), folder.path(), &settings, authority).await
        } else {
            Tollgate::start(&postgres.url(), folder.path()).await
        };
        measure(kind, &tollgate, &tls).await;
        tollgate.stop();
    }
    postgres.stop().await.unwrap();
}

struct Arguments {
    kinds: Vec<Slow>,
    kept_in: String,
}

impl Arguments {
    fn read() -> Self {
        let mut arguments = Self { kinds: Vec::new(), kept_in: "/var/tmp".to_owned() };
        let mut words = std::env::args().skip(1);
        while let Some(word) = words.next() {
            if word == "--folder" {
                arguments.kept_in = words.next().expect("a folder");
            } else if !word.starts_with("--") {
                let named = KINDS.into_iter().find(|kind| format!("{kind:?}") == word);
                arguments.kinds.push(named.unwrap_or_else(|| panic!("{word} is none of {KINDS:?}")));
            }
        }
        if arguments.kinds.is_empty() {
            arguments.kinds = KINDS.into();
        }
        arguments
    }
}

async fn measure(kind: Slow, tollgate: &Tollgate, tls: &Arc<Tls>) {
    let target = Target {
        address: tollgate.address.clone(),
        tokens: [tollgate.token.clone()].into(),
        tls: kind.has_tls().then(|| tls.connector.clone()),
    };
    let trees = [ProcessTree::of(tollgate.id())];
    open_loop(&target, PAYMENTS_PER_SECOND, WINDOW, &trees).await;
    // The first crowd takes the memory that the payments have left free, which would count for nothing.
    let first = Crowd::gather(kind, tollgate, tls);
    sleep(SETTLED).await;
    let before = Memory::of(tollgate.id());
    let second = Crowd::gather(kind, tollgate, tls);
    sleep(SETTLED).await;
    let (held, after) = (first.held().min(second.held()), Memory::of(tollgate.id()));
    drop((first, second));
    let each_kb = (after.anonymous_mb - before.anonymous_mb) * 1024.0 / held as f64;

    let (mut alone, mut beside) = (Vec::new(), Vec::new());
    for _ in 0..TURNS {
        alone.push(open_loop(&target, PAYMENTS_PER_SECOND, WINDOW, &trees).await);
        let crowd = Crowd::gather(kind, tollgate, tls);
        beside.push(open_loop(&target, PAYMENTS_PER_SECOND, WINDOW, &trees).await);
        drop(crowd);
    }
    let refused: u64 = alone.iter().chain(&beside).map(|load| load.refused).sum();
    let of = |loads: &[Load], what: fn(&Load) -> f64| median(loads.iter().map(what).collect());
    let (p50, p99) = (|load: &Load| load.at_ms(0.5), |load: &Load| load.at_ms(0.99));
    let ratio = median(alone.iter().zip(&beside).map(|(alone, beside)| p99(beside) / p99(alone)).collect());
    println!(
        "{:>17}  {held:8}  {each_kb:10.1}  {:15.2}  {:6.2}  {:15.1}  {:6.1}  {ratio:5.2}  {:18.0}  {:6.0}",
        format!("{kind:?}"),
        of(&alone, p50),
        of(&beside, p50),
        of(&alone, p99),
        of(&beside, p99),
        of(&alone, |load| load.used_us[0]),
        of(&beside, |load| load.used_us[0]),
    );
    if refused > 0 {
        println!("{refused} payments were not decided");
    }
}

fn median(mut all: Vec<f64>) -> f64 {
    all.sort_unstable_by(f64::total_cmp);
    all[all.len() / 2]
}

/// Slow clients, which leave when dropped.
struct Crowd {
    held: Arc<AtomicUsize>,
    _clients: JoinSet<()>,
}

impl Crowd {
    fn gather(kind: Slow, tollgate: &Tollgate, tls: &Arc<Tls>) -> Self {
        let held = Arc::new(AtomicUsize::new(0));
        let mut clients = JoinSet::new();
        for _ in 0..SLOW {
            let (address, held, tls) = (tollgate.address.clone(), held.clone(), tls.clone());
            clients.spawn(async move {
                loop {
                    let stream = connect(&address).await.unwrap();
                    held.fetch_add(1, Ordering::Relaxed);
                    // It ends in many ways, all of which are the server's right.
                    let _ = kind.stay(stream, &tls).await;
                    held.fetch_sub(1, Ordering::Relaxed);
                    sleep(BETWEEN_BYTES).await;
                }
            });
        }
        Self { held, _clients: clients }
    }

    fn held(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }
}

/// The system takes little of an answer that is not read.
async fn connect(address: &str) -> io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.set_recv_buffer_size(4 << 10)?;
    socket.connect(address.parse().unwrap()).await
}

impl Slow {
    fn has_tls(self) -> bool {
        matches!(self, Self::TlsHandshake | Self::TlsIdle)
    }

    async fn stay(self, mut stream: TcpStream, tls: &Tls) -> io::Result<()> {
        match self {
            Self::Idle => wait_for_the_end(stream).await,
            Self::Head => dribble(stream, "POST /api/v1/payments HTTP/1.1\r\nHost: bench\r\nX-Slow: ").await,
            Self::Body => {
                let head = "POST /oauth/token HTTP/1.1\r\nHost: bench\r\n\
                            Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 1000\r\n\r\n";
                dribble(stream, head).await
            }
            Self::UnreadAnswer => {
                let requests = "GET /api/v1/openapi.json HTTP/1.1\r\nHost: bench\r\n\r\n".repeat(20);
                stream.write_all(requests.as_bytes()).await?;
                sleep(UNREAD).await;
                Ok(())
            }
            Self::TlsHandshake => {
                stream.write_all(&tls.half_hello).await?;
                wait_for_the_end(stream).await
            }
            Self::TlsIdle => {
                let name = ServerName::from(stream.peer_addr()?.ip());
                wait_for_the_end(tls.connector.connect(name, stream).await?).await
            }
        }
    }
}

async fn wait_for_the_end(mut stream: impl AsyncRead + Unpin) -> io::Result<()> {
    stream.read_u8().await?;
    Ok(())
}

/// Sends the beginning, then a byte from time to time, until the server closes.
async fn dribble(mut stream: TcpStream, beginning: &str) -> io::Result<()> {
    stream.write_all(beginning.as_bytes()).await?;
    let mut answer = [0; 1 << 10];
    loop {
        match timeout(BETWEEN_BYTES, stream.read(&mut answer)).await {
            Ok(Ok(0)) => return Ok(()),
            Ok(Err(error)) => return Err(error),
            Ok(_) => {}
            Err(_) => stream.write_all(b"x").await?,
        }
    }
}
