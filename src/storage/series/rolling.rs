//! Rolls up what is left: the days that were sealed, payments that came late, and the history of
//! series that became by day.
//!
//! Nothing waits for it: until it is done, long windows are read payment by payment. Each step is a
//! short transaction, and it may be cut off anywhere.

use std::collections::BTreeSet;

use sqlx::types::Json;
use sqlx::{PgConnection, Row};
use uuid::Uuid;

use super::days::{KeyDay, LATE, roll_up_days};
use super::keys::aggregate_key;
use crate::domain::series::Series;
use crate::domain::tenant::TenantId;
use crate::storage::advisory_locks::DatabaseLock;
use crate::storage::pool::SystemPool;
use crate::storage::time_limit::TimeLimit;
use crate::storage::values::day_of;
use crate::storage::{StorageError, evidence};

/// Postgres may have no statistics yet, and would then read whole tables.
const SETTINGS: &str = "set local enable_seqscan = off; set local jit = off";

/// What a call of [`roll_up`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rolling {
    /// All is rolled up, or another node does it.
    NothingToDo,
    /// A page was rolled up; there may be more.
    Page,
}

struct Progress {
    sealed_day: i32,
    rolled_day: i32,
    /// The last key of the day after `rolled_day` that is rolled up.
    rolling_key: Option<Uuid>,
    page: u16,
}

/// Rolls up a page of what is left: of this many rows, or of this many decisions of a history. A day of
/// a busy value is computed once for each page of the history that has it, so small pages cost more.
pub async fn roll_up(system: &SystemPool, page: u16) -> Result<Rolling, StorageError> {
    system
        .transaction_within(TimeLimit::PAGE, move |connection| {
            Box::pin(async move {
                if !DatabaseLock::RollUps.try_in_transaction(connection).await? {
                    return Ok(Rolling::NothingToDo);
                }
                sqlx::raw_sql(SETTINGS).execute(&mut *connection).await?;
                let row = sqlx::query("select sealed_day, rolled_day, rolling_key from value_series_log")
                    .fetch_one(&mut *connection)
                    .await?;
                let progress = Progress {
                    sealed_day: row.try_get("sealed_day")?,
                    rolled_day: row.try_get("rolled_day")?,
                    rolling_key: row.try_get("rolling_key")?,
                    page,
                };
                // Before the first day is sealed, rows may still be added under any day.
                if progress.sealed_day <= LATE {
                    return Ok(Rolling::NothingToDo);
                }
                if progress.rolled_day < progress.sealed_day {
                    progress.roll_up_day(connection).await?;
                    return Ok(Rolling::Page);
                }
                if progress.roll_up_late(connection).await? {
                    return Ok(Rolling::Page);
                }
                match RollingSeries::next(connection).await? {
                    Some(series) => series.roll_up_page(connection, &progress).await,
                    None => Ok(Rolling::NothingToDo),
                }
            })
        })
        .await
}

impl Progress {
    async fn roll_up_day(&self, connection: &mut PgConnection) -> Result<(), StorageError> {
        let day = self.rolled_day + 1;
        let keys: Vec<Uuid> = sqlx::query_scalar(
            "select a.value_key from aggregate_values a
             where a.received_day = $1 and a.by_day and a.value_key > coalesce($2, '00000000-0000-0000-0000-000000000000')
               and a.received_at_ms >= $1 * 86400000::bigint and a.received_at_ms < ($1 + 1) * 86400000::bigint
               and exists (select from value_series s where s.by_day)
             order by a.value_key
             limit $3",
        )
        .bind(day)
        .bind(self.rolling_key)
        .bind(i64::from(self.page))
        .fetch_all(&mut *connection)
        .await?;
        let is_last = keys.len() < usize::from(self.page);
        let reached = keys.last().copied().filter(|_| !is_last);
        roll_up_days(connection, keys.into_iter().map(|key| (key, day)).collect()).await?;
        sqlx::query("update value_series_log set rolled_day = $1, rolling_key = $2")
            .bind(if is_last { day } else { self.rolled_day })
            .bind(reached)
            .execute(connection)
            .await?;
        Ok(())
    }

    /// Moves payments that came late to their days. One statement sees them either before or after.
    async fn roll_up_late(&self, connection: &mut PgConnection) -> Result<bool, StorageError> {
        let days: Vec<KeyDay> = sqlx::query_as(
            "update aggregate_values a set received_day = (a.received_at_ms / 86400000)::int
             from (select value_key, received_at_ms, payment_id from aggregate_values
                   where received_day = $1 and received_at_ms >= 86400000
                   limit $2) late
             where a.received_day = $1 and a.value_key = late.value_key
               and a.received_at_ms = late.received_at_ms and a.payment_id = late.payment_id
             returning a.value_key, a.received_day",
        )
        .bind(LATE)
        .bind(i64::from(self.page))
        .fetch_all(&mut *connection)
        .await?;
        let found = !days.is_empty();
        roll_up_days(connection, days.into_iter().collect()).await?;
        Ok(found)
    }
}

/// A series by day whose history is not rolled up. It is complete, so its rows are there.
struct RollingSeries {
    tenant: TenantId,
    digest: Uuid,
    series: Series,
    reached: Uuid,
}

/// A row of the series.
struct SeriesRow {
    value_key: Uuid,
    received_at_ms: i64,
    payment: Uuid,
}

impl RollingSeries {
    async fn next(connection: &mut PgConnection) -> Result<Option<Self>, StorageError> {
        let row = sqlx::query(
            "select tenant_id, digest, definition, rolled_to from value_series
             where by_day and not is_rolled and complete_at_ms is not null
             order by rolled_to nulls first, sequence
             limit 1
             for no key update skip locked",
        )
        .fetch_optional(connection)
        .await?;
        let Some(row) = row else { return Ok(None) };
        let Json(series) = row.try_get("definition")?;
        Ok(Some(Self {
            tenant: TenantId(row.try_get("tenant_id")?),
            digest: row.try_get("digest")?,
            series,
            reached: row.try_get::<Option<Uuid>, _>("rolled_to")?.unwrap_or_default(),
        }))
    }

    async fn roll_up_page(
        self,
        connection: &mut PgConnection,
        progress: &Progress,
    ) -> Result<Rolling, StorageError> {
        let decisions = sqlx::query(
            "select id, received_at_ms, payload_version, payload from decisions
             where tenant_id = $1 and id > $2
             order by id
             limit $3",
        )
        .bind(self.tenant.0)
        .bind(self.reached)
        .bind(i64::from(progress.page))
        .fetch_all(&mut *connection)
        .await?;
        // What is stored from now on is known to be by day, so a page that is not full is the last.
        let is_last = decisions.len() < usize::from(progress.page);
        let reached = decisions.last().map(|last| last.try_get::<Uuid, _>("id")).transpose()?;
        let mut rows = Vec::new();
        for decision in &decisions {
            rows.extend(self.row_of(decision)?);
        }
        let day = |row: &SeriesRow| day_of(row.received_at_ms);
        let to_mark: Vec<&SeriesRow> = rows.iter().filter(|row| day(row) > progress.rolled_day).collect();
        mark(connection, &to_mark).await?;
        let sealed = rows.iter().map(|row| (row.value_key, day(row)));
        let sealed: BTreeSet<KeyDay> =
            sealed.filter(|(_, day)| *day > LATE && *day <= progress.sealed_day).collect();
        roll_up_days(connection, sealed).await?;
        sqlx::query(
            "update value_series set rolled_to = coalesce($3, rolled_to), is_rolled = $4
             where tenant_id = $1 and digest = $2",
        )
        .bind(self.tenant.0)
        .bind(self.digest)
        .bind(reached)
        .bind(is_last)
        .execute(connection)
        .await?;
        Ok(Rolling::Page)
    }

    /// `None` if the payment was erased, cannot be read, or lacks one of the values.
    fn row_of(&self, decision: &sqlx::postgres::PgRow) -> sqlx::Result<Option<SeriesRow>> {
        let Some(payload) = decision.try_get::<Option<&[u8]>, _>("payload")? else { return Ok(None) };
        let Ok(evidence) = evidence::decode(decision.try_get("payload_version")?, payload) else {
            return Ok(None);
        };
        let key = aggregate_key(self.tenant, &self.series, &evidence.payment.order);
        let (received_at_ms, payment) = (decision.try_get("received_at_ms")?, decision.try_get("id")?);
        Ok(key.map(|value_key| SeriesRow { value_key, received_at_ms, payment }))
    }
}

/// Marks rows of days that are not rolled up yet, so that they are, together with their day.
async fn mark(connection: &mut PgConnection, rows: &[&SeriesRow]) -> Result<(), StorageError> {
    sqlx::query(
        "update aggregate_values a set by_day = true
         from unnest($1::uuid[], $2::bigint[], $3::uuid[]) as wanted (value_key, received_at_ms, payment_id)
         where a.received_day = (wanted.received_at_ms / 86400000)::int
           and a.value_key = wanted.value_key and a.received_at_ms = wanted.received_at_ms
           and a.payment_id = wanted.payment_id and a.by_day is not true",
    )
    .bind(rows.iter().map(|row| row.value_key).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.received_at_ms).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.payment).collect::<Vec<_>>())
    .execute(connection)
    .await?;
    Ok(())
}
