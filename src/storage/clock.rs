//! Reads the database's clock.
//!
//! Between the two readings of the monotonic clock, only the database's response may be awaited:
//! any other wait makes the sample less precise.

use std::sync::Arc;

use sqlx::Row;

use super::StorageError;
use super::pool::SystemPool;
use super::time_limit::TimeLimit;
use crate::domain::corrected_time::Sample;
use crate::domain::time::Monotonic;

const WHAT: &str = "clock";

pub async fn read(system: &SystemPool, monotonic: Arc<dyn Monotonic>) -> Result<Sample, StorageError> {
    system
        .transaction_within(TimeLimit::SHORT, move |connection| {
            Box::pin(async move {
                let before_us = monotonic.now_us();
                // A simple query takes one round trip; a prepared one would take two the first time.
                let row = sqlx::raw_sql("select (extract(epoch from clock_timestamp()) * 1000000)::bigint")
                    .fetch_one(connection)
                    .await?;
                let after_us = monotonic.now_us();
                let database_us: i64 = row.try_get(0)?;
                let database_us =
                    u64::try_from(database_us).map_err(|_| StorageError::Unreadable { what: WHAT })?;
                Ok(Sample { before_us, database_us, after_us })
            })
        })
        .await
}
