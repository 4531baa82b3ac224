//! What people see of retention: what a setting would remove, and what was removed.
//!
//! Nothing is removed from here.

use sqlx::Row;
use sqlx::postgres::PgRow;
use uuid::Uuid;

use super::{first_day, first_id, month_of};
use crate::domain::tenant::TenantId;
use crate::domain::time::Month;
use crate::storage::StorageError;
use crate::storage::columns::ms;
use crate::storage::pool::AppPool;

const WHAT: &str = "record of a removal";

/// Decisions are counted up to this number, so that the question takes a moment only.
const COUNTED_MAX: i64 = 100_000;

/// The decisions of before a month.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Beyond {
    /// `None` if there are no decisions.
    pub oldest: Option<Month>,
    pub decisions: u64,
    /// Whether there are more than were counted.
    pub are_more: bool,
}

pub async fn beyond(app: &AppPool, tenant: TenantId, first_kept: Month) -> Result<Beyond, StorageError> {
    app.transaction(tenant, move |connection| {
        Box::pin(async move {
            let oldest: Option<Uuid> = sqlx::query_scalar(
                "select id from decisions where tenant_id = $1 and id < $2 order by id limit 1",
            )
            .bind(tenant.0)
            .bind(first_id(first_kept))
            .fetch_optional(&mut *connection)
            .await?;
            let decisions: i64 = sqlx::query_scalar(
                "select count(*) from (select from decisions where tenant_id = $1 and id < $2 limit $3) as beyond",
            )
            .bind(tenant.0)
            .bind(first_id(first_kept))
            .bind(COUNTED_MAX + 1)
            .fetch_one(connection)
            .await?;
            Ok(Beyond {
                oldest: oldest.map(month_of),
                decisions: decisions.min(COUNTED_MAX).unsigned_abs(),
                are_more: decisions > COUNTED_MAX,
            })
        })
    })
    .await
}

/// A removal, finished or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordedRemoval {
    pub position: RemovalPosition,
    pub decisions: u64,
    pub is_finished: bool,
    /// When its record was signed; from then on decisions are removed.
    pub signed_at_ms: Option<u64>,
}

/// A month, and which of its removals.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RemovalPosition {
    pub month: Month,
    pub number: i32,
}

/// The latest months first. With `before`, only what follows that.
pub async fn list(
    app: &AppPool,
    tenant: TenantId,
    before: Option<RemovalPosition>,
    limit: u32,
) -> Result<Vec<RecordedRemoval>, StorageError> {
    app.transaction(tenant, move |connection| {
        Box::pin(async move {
            let rows = sqlx::query(
                "select to_char(month, 'YYYY-MM') as name, number, decisions, state = 'removed' as is_finished,
                        signed_at_ms
                 from removals
                 where tenant_id = $1 and ($2::text is null or (month, number) < ($2::text::date, $3))
                 order by month desc, number desc
                 limit $4",
            )
            .bind(tenant.0)
            .bind(before.map(|before| first_day(before.month)))
            .bind(before.map_or(0, |before| before.number))
            .bind(i64::from(limit))
            .fetch_all(connection)
            .await?;
            rows.iter().map(read).collect()
        })
    })
    .await
}

fn read(row: &PgRow) -> Result<RecordedRemoval, StorageError> {
    let month = Month::parse(row.try_get("name")?).ok_or(StorageError::Unreadable { what: WHAT })?;
    let signed: Option<i64> = row.try_get("signed_at_ms")?;
    Ok(RecordedRemoval {
        position: RemovalPosition { month, number: row.try_get("number")? },
        decisions: row.try_get::<i64, _>("decisions")?.unsigned_abs(),
        is_finished: row.try_get("is_finished")?,
        signed_at_ms: signed.map(|at_ms| ms(at_ms, WHAT)).transpose()?,
    })
}
