//! The private server: a Postgres that Tollgate starts itself if no database is configured.
//!
//! Creates the cluster in a data directory, and starts, watches and stops its server. The server
//! listens only on a Unix socket that only its user can reach.

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
    /// Created if missing. Root may get another folder: see `PrivateServer::data_dir`.
    pub data_dir: PathBuf,
    /// The program that implements `SHIM_COMMAND`: Tollgate itself. In tests it is not the current
    /// executable.
    pub shim_exe: PathBuf,
    /// `false` only where all data may be lost in a crash.
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

/// A running server. Dropping it asks the server to stop, without waiting. The server also stops
/// if this process dies.
#[derive(Debug)]
pub struct PrivateServer {
    data_dir: PathBuf,
    socket_dir: PathBuf,
    watch: Watch,
    /// Closed once the thread that watches the server has ended.
    ended: Mutex<Receiver<()>>,
}

impl PrivateServer {
    /// Creates the cluster if it is missing, starts its server, and returns once it accepts
    /// connections.
    pub async fn start(settings: PrivateServerSettings) -> Result<Self, PrivateServerError> {
        let (result, started) = tokio::sync::oneshot::channel();
        let (end, ended) = std::sync::mpsc::channel::<()>();
        let watch = Watch::default();
        let thread_watch = watch.clone();
        // The server's death signal is sent when the thread that spawned it ends, so this thread
        // must run until the server has ended.
        std::thread::Builder::new()
            .name("private-postgres".to_owned())
            .spawn(move || {
                let _end = end;
                watch::run(&settings, &thread_watch, result);
            })
            .map_err(|source| files_error("cannot start a thread for", Path::new("postgres"), source))?;
        // From here on, dropping this future stops the server.
        let mut server =
            Self { data_dir: PathBuf::new(), socket_dir: PathBuf::new(), watch, ended: Mutex::new(ended) };
        let folders = started.await.map_err(|_| PrivateServerError::ThreadEnded)??;
        server.data_dir = folders.data_dir;
        server.socket_dir = folders.socket_dir;
        server.create_database().await.map_err(|error| PrivateServerError::FirstConnection(error.into()))?;
        Ok(server)
    }

    /// The folder of the data. For root it can differ from the settings: the server runs as
    /// another user, which must be able to reach it.
    pub fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    pub fn connect_options(&self) -> PgConnectOptions {
        PgConnectOptions::new_without_pgpass().socket(&self.socket_dir).username(NAME).database(NAME)
    }

    /// The URL for configuration and for psql. The socket's path needs no escapes.
    pub fn url(&self) -> String {
        url(&self.socket_dir)
    }

    /// The settings for Tollgate itself: see `settings_at`.
    pub async fn settings(&self) -> Result<DatabaseSettings, PrivateServerError> {
        Self::settings_at(&self.url()).await
    }

    /// Each role has its own login, so that no session can become the superuser by `SET ROLE
    /// NONE`. Creates missing logins: the cluster may be older than they are.
    pub async fn settings_at(url: &str) -> Result<DatabaseSettings, PrivateServerError> {
        logins::ensure(url).await.map_err(|error| PrivateServerError::FirstConnection(error.into()))?;
        Ok(logins::settings(url))
    }

    /// The URL of the server that another Tollgate runs for this data directory, once it accepts
    /// connections. `None` if none runs.
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
