//! Creates the monthly partitions of the decisions ahead of time.

use super::StorageError;
use super::pool::SystemPool;
use super::query_error::OfStatement;
use super::time_limit::TimeLimit;
use crate::domain::time::Month;

/// How many months ahead partitions are created, so that the background task may fail for weeks
/// before a decision is stored in the default partition.
const MONTHS_AHEAD: i32 = 2;

/// Creates missing partitions for this month and the next `MONTHS_AHEAD` months, and returns how
/// many it created.
pub async fn ensure_decision_partitions(system: &SystemPool) -> Result<u32, StorageError> {
    let mut made = 0;
    let mut first_error = None;
    for months_ahead in 0..=MONTHS_AHEAD {
        // Each month has its own transaction: a month with decisions in the default partition is
        // refused, and must not prevent the others.
        match ensure_month(system, months_ahead).await {
            Ok(true) => made += 1,
            Ok(false) => {}
            Err(error) => {
                tracing::error!(months_ahead, %error, "the partition for a month could not be created");
                first_error.get_or_insert(error);
            }
        }
    }
    first_error.map_or(Ok(made), Err)
}

async fn ensure_month(system: &SystemPool, months_ahead: i32) -> Result<bool, StorageError> {
    system.transaction_within(TimeLimit::LONG, move |connection| {
        Box::pin(async move {
            sqlx::query_scalar(
                "select ensure_decision_partition(((now() at time zone 'utc') + make_interval(months => $1))::date)",
            )
            .bind(months_ahead)
            .fetch_one(connection)
            .await
            .of_statement()
        })
    })
    .await
}

/// Creates the partition of a month if it is missing. Fails if the default partition already has
/// decisions of that month.
pub async fn ensure_decision_partition(system: &SystemPool, month: Month) -> Result<bool, StorageError> {
    system
        .transaction_within(TimeLimit::LONG, move |connection| {
            Box::pin(async move {
                sqlx::query_scalar("select ensure_decision_partition($1::text::date)")
                    .bind(format!("{month}-01"))
                    .fetch_one(connection)
                    .await
                    .of_statement()
            })
        })
        .await
}
