//! The monthly partitions of the decisions.
//!
//! Owns making them ahead of time. Must never drop one: that is retention's,
//! behind a signed checkpoint.

use super::StorageError;
use super::pool::SystemPool;
use super::query_error::OfStatement;
use super::time_limit::TimeLimit;
use crate::domain::time::Month;

/// How many months after the current one are made ahead, so that a background
/// task may fail for weeks before a decision lands in the default partition.
const MONTHS_AHEAD: i32 = 2;

/// Makes the partitions of this month and the next two where they are missing,
/// and returns how many were made.
pub async fn ensure_decision_partitions(system: &SystemPool) -> Result<u32, StorageError> {
    let mut made = 0;
    let mut first_error = None;
    for months_ahead in 0..=MONTHS_AHEAD {
        // A transaction each: a month whose decisions already lie in the default
        // partition is refused, and must not keep the next ones from being made.
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

/// Makes the partition of any month where it is missing. Refused for a month
/// that the default partition holds decisions of.
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
