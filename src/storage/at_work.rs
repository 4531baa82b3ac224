//! Work of which nobody knows how long it takes, and the end of the wait for it.
//!
//! Owns the question whether the server is still at it. A migration may take hours, so no limit
//! of time can tell it from an answer that got lost; the server itself can.

use std::time::Duration;

use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, Connection};
use tokio::time::sleep;

use super::line;

/// How often the server is asked, on a connection of its own.
const LOOKS_EVERY: Duration = Duration::from_secs(5);
/// Looks in a row that find the session idle. Between two statements it is, for a moment.
const IDLE_LOOKS_MAX: u32 = 3;
/// Looks in a row that fail: ten minutes of them. The server may have no connection to spare
/// while a migration holds others up, and the migration goes on.
const FAILED_LOOKS_MAX: u32 = 120;
const LOOK_MAX: Duration = Duration::from_secs(5);

/// Waits for `work`, which the session `process` of the server does. `None` once the server
/// does nothing for it any more: its answer was lost. `login` must be that of the session.
pub(super) async fn while_at_work<T>(
    login: &PgConnectOptions,
    process: i32,
    work: impl Future<Output = T>,
) -> Option<T> {
    let lost = async {
        let (mut idle_looks, mut failed_looks) = (0, 0);
        while idle_looks < IDLE_LOOKS_MAX && failed_looks < FAILED_LOOKS_MAX {
            sleep(LOOKS_EVERY).await;
            match line::within(LOOK_MAX, is_active(login, process)).await {
                Ok(true) => (idle_looks, failed_looks) = (0, 0),
                Ok(false) => (idle_looks, failed_looks) = (idle_looks + 1, 0),
                Err(_) => failed_looks += 1,
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
