//! How the transactions of `AppPool` and `SystemPool` run. The journal begins its own.
//!
//! The work runs in a spawned task, which continues even if the caller is dropped. Otherwise a
//! dropped `begin` would return a connection to the pool inside an open transaction, and a later
//! caller's writes could be rolled back with it. `time_limit.rs` limits the waits.

use futures::future::BoxFuture;
use sqlx::{AssertSqlSafe, Connection, PgConnection, PgPool};
use tokio::sync::OwnedSemaphorePermit;

use super::StorageError;
use super::query_error::OfStatement;
use super::time_limit::{LimitedConnection, TimeLimit};
use super::waiting::WaitingCaller;

/// The statements of one transaction.
pub trait Work<T, E>:
    for<'c> FnOnce(&'c mut PgConnection) -> BoxFuture<'c, Result<T, E>> + Send + 'static
{
}

impl<T, E, F> Work<T, E> for F where
    F: for<'c> FnOnce(&'c mut PgConnection) -> BoxFuture<'c, Result<T, E>> + Send + 'static
{
}

/// Sends `begin`, which may include settings of the transaction, runs `work`, and commits.
pub(super) async fn in_transaction<T, E>(
    pool: &PgPool,
    turn: Option<OwnedSemaphorePermit>,
    begin: String,
    limit: TimeLimit,
    work: impl Work<T, E>,
) -> Result<T, E>
where
    T: Send + 'static,
    E: From<StorageError> + Send + 'static,
{
    on_connection(pool, turn, limit, |connection| {
        Box::pin(async move {
            let begun = connection.begin_with(AssertSqlSafe(begin)).await;
            let mut transaction = begun.of_statement()?;
            match work(&mut transaction).await {
                Ok(value) => {
                    transaction.commit().await.of_statement()?;
                    Ok(value)
                }
                Err(error) => {
                    // A rollback that fails closes the connection, which rolls back too.
                    let _ = transaction.rollback().await;
                    Err(error)
                }
            }
        })
    })
    .await
}

/// Runs `work` on a connection of the pool. The turn is held from before the connection is acquired
/// until the work has ended, even if the caller is dropped.
pub(super) async fn on_connection<T, E>(
    pool: &PgPool,
    turn: Option<OwnedSemaphorePermit>,
    limit: TimeLimit,
    work: impl Work<T, E>,
) -> Result<T, E>
where
    T: Send + 'static,
    E: From<StorageError> + Send + 'static,
{
    let pool = pool.clone();
    let task = tokio::spawn(async move {
        let _turn = turn;
        let waiting = WaitingCaller::of(&pool);
        let connection = LimitedConnection::acquire(&pool).await;
        drop(waiting);
        let mut connection = connection?;
        let result = connection.run(limit, work).await;
        connection.give_back();
        result
    });
    task.await.unwrap_or_else(|_| Err(StorageError::Abandoned.into()))
}
