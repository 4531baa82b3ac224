//! The values of payments that nodes of the release before count by.
//!
//! A database that has any goes on writing them until those nodes are gone. Nothing here may read
//! them.

use crate::storage::StorageError;
use crate::storage::pool::SystemPool;

/// Whether batches still write the values: the database is being upgraded.
pub async fn are_values_written(system: &SystemPool) -> Result<bool, StorageError> {
    system
        .transaction(|connection| {
            Box::pin(async move {
                Ok(sqlx::query_scalar("select writes_values from value_series_log")
                    .fetch_one(connection)
                    .await?)
            })
        })
        .await
}

/// Takes a step to get rid of the values. Does nothing while a node of the release before is alive.
/// Returns whether nothing is left to do.
pub async fn retire_values(system: &SystemPool) -> Result<bool, StorageError> {
    system
        .transaction(|connection| {
            Box::pin(async move {
                Ok(sqlx::query_scalar("select retire_payment_values()").fetch_one(connection).await?)
            })
        })
        .await
}
