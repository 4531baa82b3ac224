//! What the same Postgres does bare, in the same run.

use std::process::Command;
use std::time::Duration;

use sqlx::{ConnectOptions, Connection};
use tollgate::storage::binaries::Binaries;
use tollgate::storage::private_server::PrivateServer;

/// One insert of a row as wide as a decision per transaction; nothing where
/// pgbench is not installed. Postgres has no more connections than that.
pub async fn pgbench(postgres: &PrivateServer, clients: usize, measured: Duration) -> Option<f64> {
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
        .args(["-T", &measured.as_secs().to_string(), "-f"])
        .arg(&script)
        .arg("tollgate")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let rate = text.lines().find_map(|line| line.strip_prefix("tps = ")?.split(' ').next()?.parse().ok());
    Some(rate.unwrap_or_else(|| panic!("{text}{}", String::from_utf8_lossy(&output.stderr))))
}
