//! A Postgres of Tollgate's own, for a machine where none is configured.
//!
//! Owns one data directory: making the cluster, starting, watching and stopping
//! its server. The server listens on a Unix socket that only its user can
//! reach, on no port, and commits durably unless a test asks otherwise. Must
//! never touch a database that somebody configured, and never two at once.

mod account;
mod cluster;
mod logins;
mod orphans;
mod running;
mod shim;
mod socket;
mod watch;

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::mpsc::Receiver;
use std::time::Duration;

use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, Connection};
use thiserror::Error;

use super::binaries::BinariesError;
use super::pool::DatabaseSettings;
use super::query_error::QueryError;
pub use shim::{SHIM_COMMAND, become_program};
use watch::Watch;

/// The cluster's superuser, and the database that Tollgate uses.
const NAME: &str = "tollgate";

#[derive(Debug, Clone)]
pub struct PrivateServerSettings {
    /// Made when missing. Root may get another one: see `PrivateServer::data_dir`.
    pub data_dir: PathBuf,
    /// The program that answers to `SHIM_COMMAND`: Tollgate itself. In a test
    /// the running program is the harness, so it has to be told.
    pub shim_exe: PathBuf,
    /// False only where losing everything at a crash does not matter.
    pub durable: bool,
}

#[derive(Debug, Error)]
pub enum PrivateServerError {
    #[error(transparent)]
    Binaries(#[from] BinariesError),
    #[error("{action} {}", path.display())]
    Files { action: &'static str, path: PathBuf, source: std::io::Error },
    #[error(
        "another Tollgate (process {holder}) is already running the private Postgres in {}; stop it, or use \
         a different folder",
        data_dir.display()
    )]
    AlreadyRunning { data_dir: PathBuf, holder: String },
    #[error(
        "{} was created by PostgreSQL {stored}, but PostgreSQL {installed} is installed. Install version \
         {stored} or set PG_BIN to it, or move the folder away to start with an empty database",
        data_dir.display()
    )]
    VersionMismatch { data_dir: PathBuf, stored: u32, installed: u32 },
    #[error("initdb failed:\n{0}")]
    Initdb(String),
    #[error("the private Postgres did not start:\n{0}")]
    DidNotStart(String),
    #[error("process {0} of an earlier private Postgres does not exit; stop it manually")]
    OrphanRemains(i32),
    #[error(
        "Postgres refuses to run as root, and there is neither a user `postgres` nor a user `nobody` to run \
         it as; run Tollgate as another user"
    )]
    NoAccount,
    #[error("{} belongs to another user; remove it or choose a different folder", .0.display())]
    FolderTaken(PathBuf),
    #[error("the private Postgres did not stop")]
    DidNotStop,
    #[error("the private Postgres refused its first connection: {0}")]
    FirstConnection(QueryError),
    #[error("the thread of the private Postgres ended unexpectedly")]
    ThreadEnded,
}

/// A running server. Dropping it asks the server to stop without waiting; it
/// also stops when the process dies, however that happens.
#[derive(Debug)]
pub struct PrivateServer {
    data_dir: PathBuf,
    socket_dir: PathBuf,
    watch: Watch,
    /// Closed when the thread that watches the server has ended.
    ended: Mutex<Receiver<()>>,
}

impl PrivateServer {
    /// Makes the cluster where it is missing, starts it and returns once it takes connections.
    pub async fn start(settings: PrivateServerSettings) -> Result<Self, PrivateServerError> {
        let (answer, started) = tokio::sync::oneshot::channel();
        let (end, ended) = std::sync::mpsc::channel::<()>();
        let watch = Watch::default();
        let thread_watch = watch.clone();
        // The death signal of the server follows the thread that spawned it, so
        // this thread stays until the server has ended.
        std::thread::Builder::new()
            .name("private-postgres".to_owned())
            .spawn(move || {
                let _end = end;
                watch::run(&settings, &thread_watch, answer);
            })
            .map_err(|source| files_error("cannot start a thread for", Path::new("postgres"), source))?;
        // From here on a dropped future drops the server, which stops it.
        let mut server =
            Self { data_dir: PathBuf::new(), socket_dir: PathBuf::new(), watch, ended: Mutex::new(ended) };
        let places = started.await.map_err(|_| PrivateServerError::ThreadEnded)??;
        server.data_dir = places.data_dir;
        server.socket_dir = places.socket_dir;
        server.create_database().await.map_err(|error| PrivateServerError::FirstConnection(error.into()))?;
        Ok(server)
    }

    /// Where the data is; for root it can differ from the settings, since the
    /// server runs as another user that has to reach it.
    pub fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    pub fn connect_options(&self) -> PgConnectOptions {
        PgConnectOptions::new_without_pgpass().socket(&self.socket_dir).username(NAME).database(NAME)
    }

    /// For configuration and for psql. The socket's path needs no escapes.
    pub fn url(&self) -> String {
        url(&self.socket_dir)
    }

    /// For Tollgate itself: see `settings_at`.
    pub async fn settings(&self) -> Result<DatabaseSettings, PrivateServerError> {
        Self::settings_at(&self.url()).await
    }

    /// Each role's sessions log in as a user of their own, so that none of them
    /// is one `SET ROLE NONE` away from the superuser. Makes what is missing: the
    /// cluster may be older than the logins.
    pub async fn settings_at(url: &str) -> Result<DatabaseSettings, PrivateServerError> {
        logins::ensure(url).await.map_err(|error| PrivateServerError::FirstConnection(error.into()))?;
        Ok(logins::settings(url))
    }

    /// The URL of the server that another Tollgate runs for this data directory,
    /// once it takes connections; nothing where none runs.
    pub async fn running(data_dir: &Path) -> Result<Option<String>, PrivateServerError> {
        Ok(running::socket_dir(data_dir).await?.map(|socket_dir| url(&socket_dir)))
    }

    /// Ends all sessions and waits until the server has stopped.
    pub async fn stop(self) -> Result<(), PrivateServerError> {
        tokio::task::spawn_blocking(move || self.stop_blocking())
            .await
            .unwrap_or(Err(PrivateServerError::ThreadEnded))
    }

    fn stop_blocking(&self) -> Result<(), PrivateServerError> {
        use rustix::process::Signal;
        // Fast shutdown writes a checkpoint; immediate shutdown leaves recovery to the next start.
        for (signal, patience) in
            [(Signal::INT, Duration::from_secs(30)), (Signal::QUIT, Duration::from_secs(10))]
        {
            self.watch.stop(signal);
            let ended = self.ended.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            if let Err(std::sync::mpsc::RecvTimeoutError::Disconnected) = ended.recv_timeout(patience) {
                return Ok(());
            }
            tracing::warn!(?signal, ?patience, "the private Postgres is taking long to stop");
        }
        Err(PrivateServerError::DidNotStop)
    }

    async fn create_database(&self) -> Result<(), sqlx::Error> {
        let mut connection = self.connect_options().database("postgres").connect().await?;
        let exists: bool = sqlx::query_scalar("select exists (select from pg_database where datname = $1)")
            .bind(NAME)
            .fetch_one(&mut connection)
            .await?;
        if !exists {
            sqlx::query("create database tollgate").execute(&mut connection).await?;
        }
        connection.close().await
    }
}

impl Drop for PrivateServer {
    fn drop(&mut self) {
        self.watch.stop(rustix::process::Signal::INT);
    }
}

fn url(socket_dir: &Path) -> String {
    format!("postgres://{NAME}@localhost/{NAME}?host={}", socket_dir.display())
}

fn files_error(action: &'static str, path: &Path, source: std::io::Error) -> PrivateServerError {
    PrivateServerError::Files { action, path: path.to_owned(), source }
}
