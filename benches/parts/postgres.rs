//! The Postgres under test: a private server that waits for the disk.

use std::path::Path;

use sqlx::{ConnectOptions, Connection};
use tollgate::storage::private_server::{PrivateServer, PrivateServerSettings};

pub async fn start(folder: &Path) -> PrivateServer {
    let settings = PrivateServerSettings {
        data_dir: folder.join("postgres"),
        shim_exe: env!("CARGO_BIN_EXE_tollgate").into(),
        durable: true,
    };
    PrivateServer::start(settings).await.unwrap()
}

/// Brings the server into the state of one that has run for a while and writes its log into
/// existing files. Under load, a new server creates a file of 16 MB about twice a second and waits
/// for it.
#[allow(dead_code, reason = "some benches measure no commits")]
pub async fn settle(server: &PrivateServer) {
    let mut connection = server.connect_options().connect().await.unwrap();
    let log = "select count(pg_logical_emit_message(false, 'settle', repeat('x', 1000000)))
               from generate_series(1, 3000)";
    sqlx::raw_sql(log).execute(&mut connection).await.unwrap();
    sqlx::raw_sql("checkpoint").execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
}
