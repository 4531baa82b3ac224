//! Checks at start how the database can be reached: with or without TLS, and whether a pooler in
//! front of it keeps sessions.
//!
//! Must never weaken `sslmode`: only `prefer` allows a connection without TLS.

use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgSslMode};
use sqlx::{ConnectOptions, Connection, PgConnection, Row};
use thiserror::Error;

use super::StorageError;
use super::database_url::{self, DatabaseUrlError};
use super::pool::DatabaseSettings;
use super::query_error::describe;
use super::time_limit;

/// A pooler that assigns its servers in turn is detected only by repeated checks.
const CHECKS: u32 = 3;

#[derive(Debug, Error)]
pub enum ReachError {
    #[error(transparent)]
    Url(#[from] DatabaseUrlError),
    #[error("cannot connect to `databases.main.{key}`")]
    Connect { key: &'static str, source: StorageError },
    #[error(
        "`databases.main.{key}` leads to a pooler that does not keep sessions, so a role or a tenant could \
         leak from one client to another; expected session mode (in PgBouncer: pool_mode = session) or a \
         direct connection to the server"
    )]
    SessionsNotKept { key: &'static str },
    #[error(
        "`databases.main.{key}` did not provide two connections at the same time within {within:?}; expected \
         a server, or a pooler in session mode, with as many connections as described in docs/OPERATING.md"
    )]
    Crowded { key: &'static str, within: Duration },
}

/// The settings, with each URL changed as needed to connect.
pub(super) async fn reached(settings: &DatabaseSettings) -> Result<DatabaseSettings, ReachError> {
    let within = Duration::from_secs(settings.connect_timeout.max(1));
    let mut settings = settings.clone();
    let mut known: Vec<(String, String)> = Vec::new();
    let own_urls = [
        ("app_url", settings.app_url.as_mut()),
        ("journal_url", settings.journal_url.as_mut()),
        ("system_url", settings.system_url.as_mut()),
    ];
    let urls = [("url", Some(&mut settings.url))].into_iter().chain(own_urls);
    for (key, url) in urls.filter_map(|(key, url)| Some((key, url?))) {
        let earlier = known.iter().find(|(asked, _)| asked == url).map(|(_, usable)| usable.clone());
        let usable = match earlier {
            Some(usable) => usable,
            None => reach(key, url, within).await?,
        };
        known.push((std::mem::replace(url, usable.clone()), usable));
    }
    Ok(settings)
}

async fn reach(key: &'static str, text: &str, within: Duration) -> Result<String, ReachError> {
    let url = database_url::parse(key, text)?;
    if !url.unused.is_empty() {
        tracing::warn!(
            key,
            parameters = url.unused.join(", "),
            "some parameters of a database URL have no effect"
        );
    }
    let connect = |error: sqlx::Error| ReachError::Connect { key, source: error.into() };
    let (usable, options, mut connection) = match time_limit::within(within, url.options.connect()).await {
        Ok(connection) => (text.to_owned(), url.options, connection),
        Err(error) if may_go_without_tls(&url.options, &error) => {
            let options = url.options.ssl_mode(PgSslMode::Disable);
            // If that fails as well, the error of TLS is more helpful.
            let Ok(connection) = time_limit::within(within, options.connect()).await else {
                return Err(connect(error));
            };
            tracing::warn!(
                key,
                cause = describe(&error),
                "TLS with the database failed, and `sslmode` is `prefer`, so connections are not encrypted. \
                 Set `sslmode=verify-full` once the server has an X.509 version 3 certificate, or \
                 `sslmode=disable`"
            );
            (database_url::without_tls(text), options, connection)
        }
        Err(error) => return Err(connect(error)),
    };
    let looked = tokio::time::timeout(within, keeps_sessions(&mut connection, &options)).await;
    let _ = connection.close().await;
    match looked {
        Ok(Ok(true)) => Ok(usable),
        Ok(Ok(false)) => Err(ReachError::SessionsNotKept { key }),
        // The error of PgBouncer for a transaction in statement mode.
        Ok(Err(sqlx::Error::Database(error))) if error.code().as_deref() == Some("08P01") => {
            Err(ReachError::SessionsNotKept { key })
        }
        Ok(Err(error)) => Err(connect(error)),
        Err(_) => Err(ReachError::Crowded { key, within }),
    }
}

/// As in libpq, a handshake that fails under `prefer` is repeated without TLS. This happens with
/// X.509 version 1 certificates, which rustls does not accept even if it does not verify them.
fn may_go_without_tls(options: &PgConnectOptions, error: &sqlx::Error) -> bool {
    let handshake = match error {
        sqlx::Error::Tls(_) => true,
        sqlx::Error::Io(error) => error.kind() == std::io::ErrorKind::InvalidData,
        _ => false,
    };
    handshake && matches!(options.get_ssl_mode(), PgSslMode::Prefer)
}

/// Whether this session stays on its server connection while another one is used beside it.
async fn keeps_sessions(
    connection: &mut PgConnection,
    options: &PgConnectOptions,
) -> Result<bool, sqlx::Error> {
    let own = server_process(connection, "select pg_backend_pid()").await?;
    let mut other = options.connect().await?;
    for _ in 0..CHECKS {
        // The other session stays in a transaction, so that this session cannot get its server
        // connection.
        let others = server_process(&mut other, "begin; select pg_backend_pid()").await?;
        let now = server_process(connection, "select pg_backend_pid()").await?;
        sqlx::raw_sql("commit").execute(&mut other).await?;
        if others == own || now != own {
            let _ = other.close().await;
            return Ok(false);
        }
    }
    other.close().await?;
    Ok(true)
}

async fn server_process(connection: &mut PgConnection, statements: &'static str) -> Result<i32, sqlx::Error> {
    let rows = sqlx::raw_sql(statements).fetch_all(connection).await?;
    rows.last().ok_or(sqlx::Error::RowNotFound)?.try_get(0)
}
