//! The Postgres cluster of all tests.
//!
//! Each test may be a separate process, so no test can own the cluster. The first test starts a
//! supervisor, a detached process that owns the cluster and ends when no test has used it for a
//! minute. Every test process holds a shared lock on `users.lock`. The supervisor takes the
//! exclusive lock before it ends, so no test uses the cluster while it stops.

use std::fs::File;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use sqlx::{AssertSqlSafe, ConnectOptions, Connection, PgConnection};
use tollgate::storage::binaries::Binaries;
use tollgate::storage::migrate::fingerprint;
use tollgate::storage::private_server::{PrivateServer, PrivateServerError};

use super::subprocess::{server_settings, subprocess, subprocess_folder};

const IDLE_BEFORE_END: Duration = Duration::from_secs(60);
const SUPERVISOR: &str = "support::cluster::supervisor";

struct ClusterUse {
    url: String,
    /// Held shared until this process ends.
    _users: File,
}

/// The URL of the cluster. Starts it if necessary.
pub async fn url() -> String {
    static USE: OnceLock<ClusterUse> = OnceLock::new();
    tokio::task::spawn_blocking(|| USE.get_or_init(join).url.clone()).await.unwrap()
}

fn join() -> ClusterUse {
    let major = Binaries::find(None).unwrap_or_else(|error| panic!("{error}")).major;
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("postgres-{major}"));
    std::fs::create_dir_all(&folder).unwrap();
    let users = open(&folder.join("users.lock"));
    // Waits if a supervisor is ending.
    users.lock_shared().unwrap();
    let starting = open(&folder.join("starting.lock"));
    starting.lock().unwrap();
    let url = running(&folder).unwrap_or_else(|| start_supervisor(&folder));
    ClusterUse { url, _users: users }
}

fn running(folder: &Path) -> Option<String> {
    let url = std::fs::read_to_string(folder.join("url")).ok()?;
    let socket = url.split("host=").nth(1)?;
    UnixStream::connect(Path::new(socket).join(".s.PGSQL.5432")).ok()?;
    Some(url)
}

#[allow(clippy::zombie_processes, reason = "the supervisor outlives this process")]
fn start_supervisor(folder: &Path) -> String {
    let log = folder.join("supervisor.log");
    let _ = std::fs::remove_file(folder.join("url"));
    let mut supervisor = subprocess(SUPERVISOR, folder, &log).spawn().unwrap();
    let begun = Instant::now();
    loop {
        if let Some(url) = running(folder) {
            return url;
        }
        let ended = supervisor.try_wait().unwrap().is_some();
        if ended || begun.elapsed() > Duration::from_secs(120) {
            panic!("the test cluster did not start:\n{}", std::fs::read_to_string(&log).unwrap_or_default());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn open(path: &Path) -> File {
    File::options().read(true).write(true).create(true).truncate(false).open(path).unwrap()
}

#[test]
#[ignore = "runs only as a separate process that the first test starts"]
fn supervisor() {
    let Some(folder) = subprocess_folder() else { return };
    tokio::runtime::Runtime::new().unwrap().block_on(supervise(&folder));
}

async fn supervise(folder: &Path) {
    let server = start_server(&folder.join("data")).await;
    drop_unused_databases(&server).await;
    std::fs::write(folder.join("url.new"), server.url()).unwrap();
    std::fs::rename(folder.join("url.new"), folder.join("url")).unwrap();
    let users = open(&folder.join("users.lock"));
    let mut last_used = Instant::now();
    while last_used.elapsed() < IDLE_BEFORE_END {
        tokio::time::sleep(Duration::from_secs(1)).await;
        match users.try_lock() {
            Ok(()) => users.unlock().unwrap(),
            Err(_) => last_used = Instant::now(),
        }
    }
    // A test that starts now waits until this process has ended, and starts another supervisor.
    users.lock().unwrap();
    let _ = std::fs::remove_file(folder.join("url"));
    server.stop().await.unwrap();
}

/// The cluster need not survive a crash of the machine.
async fn start_server(data_dir: &Path) -> PrivateServer {
    match PrivateServer::start(server_settings(data_dir.to_owned(), false)).await {
        Ok(server) => server,
        Err(PrivateServerError::DidNotStart(log)) => {
            eprintln!("the test cluster is created again, since it did not start:\n{log}");
            std::fs::remove_dir_all(data_dir).unwrap();
            PrivateServer::start(server_settings(data_dir.to_owned(), false)).await.unwrap()
        }
        Err(error) => panic!("{error}"),
    }
}

/// Drops the databases of tests that were killed, and templates of other migrations.
async fn drop_unused_databases(server: &PrivateServer) {
    let mut connection: PgConnection = server.connect_options().connect().await.unwrap();
    let left: Vec<String> = sqlx::query_scalar(
        "select datname::text from pg_database
         where datname like 'test\\_%' or (datname like 'template\\_%' and datname <> $1)",
    )
    .bind(format!("template_{}", fingerprint()))
    .fetch_all(&mut connection)
    .await
    .unwrap();
    for name in left {
        let statement = AssertSqlSafe(format!("drop database if exists {name} with (force)"));
        sqlx::raw_sql(statement).execute(&mut connection).await.unwrap();
    }
    connection.close().await.unwrap();
}
