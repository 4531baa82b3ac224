//! Measures the same Postgres without Tollgate.

use std::process::Command;
use std::time::Duration;

use sqlx::{ConnectOptions, Connection};
use tollgate::storage::binaries::Binaries;
use tollgate::storage::private_server::PrivateServer;

use super::latencies::Latencies;

/// Inserts rows of the size of a decision, one per transaction. Returns the rate, or `None` if
/// pgbench is not installed.
pub async fn pgbench(postgres: &PrivateServer, clients: usize, measured: Duration) -> Option<f64> {
    let text = run(postgres, clients, measured, &[]).await?;
    let rate = text.lines().find_map(|line| line.strip_prefix("tps = ")?.split(' ').next()?.parse().ok());
    Some(rate.unwrap_or_else(|| panic!("{text}")))
}

/// Like `pgbench`, at a fixed rate. Returns the time of each commit from its scheduled start.
/// Commits before the measured time are a warm-up, as for payments.
pub async fn pgbench_at(
    postgres: &PrivateServer,
    clients: usize,
    rate: f64,
    measured: Duration,
) -> Option<Latencies> {
    let folder = tempfile::tempdir().unwrap();
    let prefix = folder.path().join("commit").display().to_string();
    let rate = format!("{rate:.0}");
    let warm_up = Duration::from_secs(2);
    run(postgres, clients, warm_up + measured, &["-R", &rate, "-l", "--log-prefix", &prefix]).await?;
    let mut commits = Vec::new();
    for file in std::fs::read_dir(folder.path()).unwrap() {
        // Columns: client, transaction, microseconds from the scheduled time, script, seconds and
        // microseconds of the end, microseconds of delay at the start.
        for line in std::fs::read_to_string(file.unwrap().path()).unwrap().lines() {
            let fields: Vec<u64> = line.split(' ').map(|field| field.parse().unwrap()).collect();
            commits.push((fields[4] * 1_000_000 + fields[5], Duration::from_micros(fields[2])));
        }
    }
    let begun = commits.iter().map(|(ended_us, _)| *ended_us).min().unwrap_or_default();
    let counted_from = begun + warm_up.as_micros() as u64;
    let counted = commits.into_iter().filter(|(ended_us, _)| *ended_us > counted_from);
    Some(Latencies::of(counted.map(|(_, took)| took).collect(), measured))
}

async fn run(postgres: &PrivateServer, clients: usize, measured: Duration, more: &[&str]) -> Option<String> {
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
        .args(["-T", &measured.as_secs().to_string()])
        .args(more)
        .arg("-f")
        .arg(&script)
        .arg("tollgate")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}
