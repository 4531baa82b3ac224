//! Whole decisions over HTTP (token, four rules, durable) a second, in a closed
//! loop, with their latencies; and in the same run what the same Postgres does
//! with one bare insert of an equally large row per transaction.
//!
//! Server, Postgres and the clients share the machine, so the ratio is what counts.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a bench prints and may fail")]

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use sqlx::{ConnectOptions, Connection};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tollgate::storage::binaries::Binaries;
use tollgate::storage::private_server::{PrivateServer, PrivateServerSettings};
use uuid::Uuid;

const MEASURED: Duration = Duration::from_secs(8);
const WARM_UP: Duration = Duration::from_secs(2);
const CONNECTIONS: [usize; 4] = [1, 32, 64, 256];

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
    for connections in CONNECTIONS {
        let mut latencies = load(&tollgate, connections).await;
        latencies.sort_unstable();
        let rate = latencies.len() as f64 / MEASURED.as_secs_f64();
        let bare = pgbench(&postgres, connections).await;
        let at = |share: f64| latencies[((latencies.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e3;
        println!(
            "{connections:11}  {rate:11.0}  {:7.2}  {:7.2}  {:8.2}  {}",
            at(0.5),
            at(0.99),
            at(0.999),
            bare.map_or("  (no pgbench)".to_owned(), |bare| format!("{bare:10.0}  {:6.2}", rate / bare)),
        );
    }
    println!("resident after the load: {:.1} MB", tollgate.resident_mb());
    tollgate.stop();
    postgres.stop().await.unwrap();
}

/// The real program, on a database of its own.
struct Tollgate {
    process: Child,
    address: String,
    token: String,
    ready_ms: u128,
}

impl Tollgate {
    async fn start(database_url: &str, folder: &Path) -> Self {
        let begun = Instant::now();
        let log = folder.join("tollgate.log");
        let file = std::fs::File::create(&log).unwrap();
        let process = Command::new(env!("CARGO_BIN_EXE_tollgate"))
            .env("ROCKET_PROFILE", "release")
            .env("ROCKET_ADDRESS", "127.0.0.1")
            .env("ROCKET_PORT", "0")
            .env("ROCKET_DATABASES", format!("{{main={{url=\"{database_url}\"}}}}"))
            .env("ROCKET_TOLLGATE_DATA_DIR", folder.join("data"))
            .env("ROCKET_TOLLGATE_DEMO", "true")
            // Every second start finds the tenant made; a client comes from the command line.
            .env("ROCKET_TOLLGATE_PLUGINS_DIR", Path::new(env!("CARGO_MANIFEST_DIR")).join("plugins"))
            .stdout(Stdio::null())
            .stderr(file)
            .spawn()
            .unwrap();
        let address = address_in(&log).await;
        let ready_ms = begun.elapsed().as_millis();
        let (id, secret) = new_client(database_url);
        let token = token(&address, &id, &secret).await;
        Self { process, address, token, ready_ms }
    }

    fn resident_mb(&self) -> f64 {
        let status =
            std::fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap_or_default();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap_or("0 0");
        line.split_whitespace().nth(1).and_then(|kib| kib.parse::<f64>().ok()).unwrap_or(0.0) / 1024.0
    }

    fn stop(&mut self) {
        let pid = rustix::process::Pid::from_child(&self.process);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        self.process.wait().unwrap();
    }
}

impl Drop for Tollgate {
    fn drop(&mut self) {
        let _ = self.process.kill();
    }
}

/// From the line that says the server is ready.
async fn address_in(log: &PathBuf) -> String {
    for _ in 0..3_000 {
        let text = std::fs::read_to_string(log).unwrap();
        if let Some(rest) = text.split("\"address\":\"").nth(1) {
            return rest.split('"').next().unwrap().to_owned();
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("not ready:\n{}", std::fs::read_to_string(log).unwrap());
}

fn new_client(database_url: &str) -> (String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_tollgate"))
        .args(["client", "create", "--tenant", "demo", "--name", "bench"])
        .env("ROCKET_DATABASES", format!("{{main={{url=\"{database_url}\"}}}}"))
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let value = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap_or_else(|| panic!("{text}{}", String::from_utf8_lossy(&output.stderr))).to_owned()
    };
    (value("client_id="), value("client_secret="))
}

async fn token(address: &str, id: &str, secret: &str) -> String {
    let answer: serde_json::Value = reqwest::Client::new()
        .post(format!("http://{address}/oauth/token"))
        .basic_auth(id, Some(secret))
        .form(&[("grant_type", "client_credentials")])
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    answer["access_token"].as_str().unwrap().to_owned()
}

/// Latencies of what was answered in the measured time.
async fn load(tollgate: &Tollgate, connections: usize) -> Vec<Duration> {
    let begun = Instant::now() + WARM_UP;
    let tasks: Vec<_> = (0..connections)
        .map(|connection| {
            let (address, token) = (tollgate.address.clone(), tollgate.token.clone());
            tokio::spawn(async move {
                let mut stream = TcpStream::connect(address).await.unwrap();
                stream.set_nodelay(true).unwrap();
                let mut latencies = Vec::new();
                let mut buffer = vec![0; 16 << 10];
                let mut number = 0_u64;
                while begun.elapsed() < MEASURED {
                    let request = request(&token, connection, number);
                    number += 1;
                    let sent = Instant::now();
                    stream.write_all(request.as_bytes()).await.unwrap();
                    read_answer(&mut stream, &mut buffer).await;
                    if Instant::now() > begun && begun.elapsed() < MEASURED {
                        latencies.push(sent.elapsed());
                    }
                }
                latencies
            })
        })
        .collect();
    let mut all = Vec::new();
    for task in tasks {
        all.extend(task.await.unwrap());
    }
    all
}

/// A payment of one of many payers, so that no velocity grows without bound.
fn request(token: &str, connection: usize, number: u64) -> String {
    let payer = (connection as u64 * 7_919 + number) % 50_000;
    let body = format!(
        r#"{{"reference":"order-{number}","amount_minor":{},"currency":"EUR","method":"credit_transfer",
"debtor":{{"name":"Payer {payer}","account":{{"other":"acct-{payer}"}}}},
"creditor":{{"name":"Blue Bikes","account":{{"iban":"NL91ABNA0417164300"}},"bank":"ABNANL2A"}},
"customer":"customer-{payer}"}}"#,
        1_000 + number % 500
    );
    format!(
        "POST /api/v1/payments HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {token}\r\n\
         Idempotency-Key: {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        Uuid::now_v7(),
        body.len()
    )
}

/// Reads one answer to its end and insists on 201.
async fn read_answer(stream: &mut TcpStream, buffer: &mut [u8]) {
    let mut filled = 0;
    loop {
        let read = stream.read(&mut buffer[filled..]).await.unwrap();
        assert!(read > 0, "the connection was cut");
        filled += read;
        let Some(head_end) = buffer[..filled].windows(4).position(|window| window == b"\r\n\r\n") else {
            continue;
        };
        let head = std::str::from_utf8(&buffer[..head_end]).unwrap();
        assert!(head.starts_with("HTTP/1.1 201"), "{}", String::from_utf8_lossy(&buffer[..filled]));
        let length = head.lines().find_map(|line| {
            line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse::<usize>().ok()
        });
        if filled >= head_end + 4 + length.unwrap() {
            return;
        }
    }
}

/// One insert of a row as wide as a decision per transaction; nothing where
/// pgbench is not installed. Postgres has no more connections than that.
async fn pgbench(postgres: &PrivateServer, clients: usize) -> Option<f64> {
    let clients = clients.min(80);
    let program = Binaries::find(None).unwrap().postgres.with_file_name("pgbench");
    if !program.exists() {
        return None;
    }
    let mut connection = postgres.connect_options().connect().await.unwrap();
    let wide: i32 = sqlx::query_scalar("select coalesce(avg(pg_column_size(d)), 800)::int from (select * from tollgate.decisions limit 1000) d")
        .fetch_one(&mut connection)
        .await
        .unwrap();
    sqlx::raw_sql("create table if not exists public.bare (id bigserial primary key, filler text)")
        .execute(&mut connection)
        .await
        .unwrap();
    connection.close().await.unwrap();
    let script = std::env::temp_dir().join(format!("bare-{}.sql", std::process::id()));
    std::fs::write(&script, format!("insert into bare (filler) values (repeat('x', {wide}));\n")).unwrap();
    let url = postgres.url();
    let socket = url.split("host=").nth(1).unwrap();
    let output = Command::new(program)
        .args(["-n", "-M", "prepared", "-h", socket, "-U", "tollgate", "-c", &clients.to_string(), "-j", "2"])
        .args(["-T", &MEASURED.as_secs().to_string(), "-f"])
        .arg(&script)
        .arg("tollgate")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let rate = text.lines().find_map(|line| line.strip_prefix("tps = ")?.split(' ').next()?.parse().ok());
    Some(rate.unwrap_or_else(|| panic!("{text}{}", String::from_utf8_lossy(&output.stderr))))
}
