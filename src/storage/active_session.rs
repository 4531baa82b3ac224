//! Waits for database work of unknown length, such as a migration.
//!
//! A migration may take hours, so a time limit cannot tell a long one from a lost response.
//! Postgres can: it shows whether the session is still active.

use std::time::Duration;

use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, Connection};
use tokio::time::sleep;

use super::time_limit;

/// How often a separate connection checks whether the session is active.
const CHECK_EVERY: Duration = Duration::from_secs(5);
/// After this many consecutive checks that find the session idle, it counts as lost. One is not
/// enough: between two statements the session is idle for a moment.
const IDLE_CHECKS_MAX: u32 = 3;
/// After this many consecutive failed checks, at least ten minutes, the session counts as lost.
/// While a migration blocks other sessions, Postgres may have no connection left for a check, and
/// the migration still makes progress.
const FAILED_CHECKS_MAX: u32 = 120;
const CHECK_MAX: Duration = Duration::from_secs(5);

/// Waits for `work`, which runs in the session with the server process `process`. Returns `None`
/// once the session is no longer active, which means that the response was lost. `login` must be
/// the login of that session.
pub(super) async fn while_active<T>(
    login: &PgConnectOptions,
    process: i32,
    work: impl Future<Output = T>,
) -> Option<T> {
    let lost = async {
        let (mut idle_checks, mut failed_checks) = (0, 0);
        while idle_checks < IDLE_CHECKS_MAX && failed_checks < FAILED_CHECKS_MAX {
            sleep(CHECK_EVERY).await;
            match time_limit::within(CHECK_MAX, is_active(login, process)).await {
                Ok(true) => (idle_checks, failed_checks) = (0, 0),
                Ok(false) => (idle_checks, failed_checks) = (idle_checks + 1, 0),
                Err(_) => failed_checks += 1,
            }
        }
    };
    tokio::select! {
        biased;
        done = work => Some(done),
        () = lost => None,
    }
}

async fn is_active(login: &PgConnectOptions, process: i32) -> sqlx::Result<bool> {
    let mut connection = login.connect().await?;
    let active = sqlx::query_scalar(
        "select exists (select from pg_stat_activity where pid = $1 and state not like 'idle%')",
    )
    .bind(process)
    .persistent(false)
    .fetch_one(&mut connection)
    .await?;
    connection.close().await?;
    Ok(active)
}
