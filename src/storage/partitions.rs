//! Creates the monthly partitions of decisions and of aggregates ahead of time, and drops those in
//! which retention left nothing.
//!
//! Each takes a lock of the whole table, so neither may wait for it long.

use super::StorageError;
use super::pool::SystemPool;
use super::query_error::OfStatement;
use super::time_limit::TimeLimit;
use crate::domain::time::Month;

/// How many months ahead partitions are created, so that the background task may fail for weeks
/// before a decision is stored in the default partition.
const MONTHS_AHEAD: i32 = 2;

/// The functions that create the partition of a month. Each runs in a transaction of its own, so
/// that it locks only its table.
const TABLES: [&str; 2] = ["select ensure_decision_partition($1::text::date)", ENSURE_AGGREGATES];

const ENSURE_AGGREGATES: &str = "select ensure_aggregate_partition($1::text::date)";

/// Creates missing partitions for this month and the next `MONTHS_AHEAD` months, and returns how
/// many it created.
pub async fn ensure_partitions(system: &SystemPool) -> Result<u32, StorageError> {
    let coming = "select ((now() at time zone 'utc') + make_interval(months => ahead))::date::text
                  from generate_series(0, $1) as ahead";
    let months = months(system, coming).await?;
    ensure_all(system, &months, &TABLES).await
}

/// Creates the partitions of a month that are missing. Fails if a default partition already has
/// rows of that month.
pub async fn ensure_month(system: &SystemPool, month: Month) -> Result<bool, StorageError> {
    let mut made = false;
    for function in TABLES {
        made |= ensure(system, function, format!("{month}-01")).await?;
    }
    Ok(made)
}

/// Creates a partition of aggregates for each month that has one of decisions, before the
/// aggregates of old decisions are filled in.
pub async fn ensure_aggregates_of_history(system: &SystemPool) -> Result<u32, StorageError> {
    let existing = "select to_date(right(relname, 7), 'YYYY_MM')::text
                    from pg_inherits join pg_class on pg_class.oid = inhrelid
                    where inhparent = 'tollgate.decisions'::regclass and relname ~ '_\\d{4}_\\d{2}$'
                      and $1 is not null";
    let months = months(system, existing).await?;
    ensure_all(system, &months, &[ENSURE_AGGREGATES]).await
}

async fn months(system: &SystemPool, query: &'static str) -> Result<Vec<String>, StorageError> {
    system
        .transaction(move |connection| {
            Box::pin(async move {
                sqlx::query_scalar(query).bind(MONTHS_AHEAD).fetch_all(connection).await.of_statement()
            })
        })
        .await
}

async fn ensure_all(
    system: &SystemPool,
    months: &[String],
    functions: &[&'static str],
) -> Result<u32, StorageError> {
    let mut made = 0;
    let mut first_error = None;
    for month in months {
        for function in functions {
            // A month with rows in the default partition is refused, and must not prevent the
            // others.
            match ensure(system, function, month.clone()).await {
                Ok(is_new) => made += u32::from(is_new),
                Err(error) => {
                    tracing::error!(month, %error, "the partition for a month could not be created");
                    first_error.get_or_insert(error);
                }
            }
        }
    }
    first_error.map_or(Ok(made), Err)
}

async fn ensure(system: &SystemPool, function: &'static str, day: String) -> Result<bool, StorageError> {
    system
        .transaction_within(TimeLimit::LONG, move |connection| {
            Box::pin(async move {
                sqlx::query_scalar(function).bind(day).fetch_one(connection).await.of_statement()
            })
        })
        .await
}

/// Drops the partitions of past months in which nothing is left. A partition that is in use is tried
/// again at the next call.
pub async fn drop_empty(system: &SystemPool) -> Result<(), StorageError> {
    let candidates: Vec<(String, String)> = system
        .transaction(|connection| {
            Box::pin(async move {
                sqlx::query_as(
                    "select parent, month::text
                     from (select distinct month from removals
                           where month < date_trunc('month', now() at time zone 'utc')) removed,
                          unnest(array['decisions', 'aggregate_values']) as parent
                     where to_regclass('tollgate.' || parent || '_' || to_char(month, 'YYYY_MM')) is not null
                       and not exists (select from removals r
                                       where r.month = removed.month and r.state <> 'removed')",
                )
                .fetch_all(connection)
                .await
                .of_statement()
            })
        })
        .await?;
    for (parent, month) in candidates {
        let dropped = system
            .transaction(move |connection| {
                Box::pin(async move {
                    sqlx::query("select drop_empty_partition($1, $2::text::date)")
                        .bind(parent)
                        .bind(month)
                        .execute(connection)
                        .await
                        .of_statement()
                })
            })
            .await;
        match dropped {
            Err(error) if !error.is_lock_timeout() => return Err(error),
            _ => {}
        }
    }
    Ok(())
}
