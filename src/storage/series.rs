//! Series: which values of payments are stored for aggregates.
//!
//! A declared series is carried by every later batch of the journal (`admit_batch` in the
//! migration), and decisions from before are filled in (`backfill`). A series must not be asked
//! before it is complete.

mod backfill;
mod days;
mod earlier_values;
mod keys;
mod known;
mod removal;
mod rolling;

use std::time::Duration;

use backon::{ExponentialBuilder, Retryable};
use sqlx::types::Json;
use sqlx::{PgConnection, Row};
use thiserror::Error;
use uuid::Uuid;

use super::StorageError;
use super::columns::bigint;
use super::pool::{AppPool, SystemPool};
use crate::domain::series::{AskedSeries, Series};
use crate::domain::tenant::TenantId;

pub use backfill::{Backfill, WaitingCount, fill_in, waiting};
pub(super) use days::LATE;
pub use days::seal_days;
pub use earlier_values::{are_values_written, retire_values};
pub(super) use keys::series_digest;
pub use keys::{AggregateRow, aggregate_key, distinct_key, method_number, outcome_number, rows_of};
pub(super) use known::SeriesRegistry;
pub use known::{KnownSeries, TenantSeries};
pub use removal::remove_unused;
pub use rolling::{Rolling, roll_up};

/// The function gives up waiting for a slow batch, so that no other batch waits behind it.
const LOCK_BACKOFF: ExponentialBuilder =
    ExponentialBuilder::new().with_min_delay(Duration::from_millis(20)).with_max_times(6);

/// What `declare_series` raises.
const TOO_MANY: &str = "TG002";

/// A tenant may have this many series: each is a row of every payment.
pub const SERIES_MAX: u32 = 256;
/// Dry runs leave the rest to revisions, since what they ask about is kept for thirty days.
const SERIES_OF_DRY_RUNS_MAX: i64 = 192;

#[derive(Debug, Error)]
pub enum DeclareError {
    #[error("the tenant would have more than {SERIES_MAX} series")]
    TooMany,
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// Declares the series that the tenant does not have yet, or not by day.
pub async fn declare(
    app: &AppPool,
    tenant: TenantId,
    series: &[AskedSeries],
    now_ms: u64,
) -> Result<(), DeclareError> {
    if series.is_empty() {
        return Ok(());
    }
    let attempt = || declare_once(app, tenant, series, now_ms);
    let declared = attempt.retry(LOCK_BACKOFF).when(StorageError::is_lock_timeout).await;
    declared.map_err(|error| if error.has_code(TOO_MANY) { DeclareError::TooMany } else { error.into() })
}

/// Whether a dry run may declare these series.
pub async fn have_room_in_dry_run(
    app: &AppPool,
    tenant: TenantId,
    asked: &[AskedSeries],
) -> Result<bool, StorageError> {
    let digests: Vec<Uuid> = asked.iter().map(|asked| keys::series_digest(&asked.series)).collect();
    app.transaction(tenant, move |connection| {
        Box::pin(async move {
            let (declared, wanted): (i64, i64) = sqlx::query_as(
                "select count(*), cardinality($2) - count(*) filter (where digest = any ($2))
                 from value_series where tenant_id = $1",
            )
            .bind(tenant.0)
            .bind(digests)
            .fetch_one(connection)
            .await?;
            Ok(wanted == 0 || declared + wanted <= SERIES_OF_DRY_RUNS_MAX)
        })
    })
    .await
}

async fn declare_once(
    app: &AppPool,
    tenant: TenantId,
    asked: &[AskedSeries],
    now_ms: u64,
) -> Result<(), StorageError> {
    let digests: Vec<Uuid> = asked.iter().map(|asked| keys::series_digest(&asked.series)).collect();
    let definitions: Vec<Json<Series>> = asked.iter().map(|asked| Json(asked.series.clone())).collect();
    let by_days: Vec<bool> = asked.iter().map(|asked| asked.by_day).collect();
    app.transaction(tenant, move |connection| {
        Box::pin(async move {
            // All batches wait for this transaction. If the node hangs in it, the database ends it.
            sqlx::raw_sql("set local idle_in_transaction_session_timeout = '1s'")
                .execute(&mut *connection)
                .await?;
            sqlx::query("select declare_series($1, $2, $3, $4, $5)")
                .bind(tenant.0)
                .bind(digests)
                .bind(definitions)
                .bind(by_days)
                .bind(bigint(now_ms))
                .execute(connection)
                .await?;
            Ok(())
        })
    })
    .await
}

/// All series by which a tenant's payments were ever stored, in the caller's transaction.
pub(super) async fn of_tenant(
    connection: &mut PgConnection,
    tenant: TenantId,
) -> Result<Vec<Series>, StorageError> {
    let statement = "select definition from value_series where tenant_id = $1
                     union select definition from removed_series where tenant_id = $1";
    let definitions: Vec<Json<Series>> =
        sqlx::query_scalar(statement).bind(tenant.0).fetch_all(connection).await?;
    Ok(definitions.into_iter().map(|Json(series)| series).collect())
}

/// How far a tenant's series are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SeriesProgress {
    /// Those that cannot be asked yet: unknown, or not complete.
    pub unknown: Vec<Series>,
    /// Up to which time the earliest of them is filled in. `None` if that has not begun.
    pub reached_ms: Option<u64>,
}

/// Which of the series cannot be asked yet.
pub async fn progress(
    app: &AppPool,
    tenant: TenantId,
    series: Vec<Series>,
) -> Result<SeriesProgress, StorageError> {
    if series.is_empty() {
        return Ok(SeriesProgress::default());
    }
    app.transaction(tenant, move |connection| Box::pin(progress_of(connection, tenant, series))).await
}

/// As `progress`, for background work.
pub async fn progress_in_background(
    system: &SystemPool,
    tenant: TenantId,
    series: Vec<Series>,
) -> Result<SeriesProgress, StorageError> {
    system.transaction(move |connection| Box::pin(progress_of(connection, tenant, series))).await
}

async fn progress_of(
    connection: &mut PgConnection,
    tenant: TenantId,
    series: Vec<Series>,
) -> Result<SeriesProgress, StorageError> {
    let digests: Vec<Uuid> = series.iter().map(keys::series_digest).collect();
    let rows = sqlx::query(
        "select digest, reached, complete_at_ms is not null as complete
         from value_series
         where tenant_id = $1 and digest = any ($2)",
    )
    .bind(tenant.0)
    .bind(&digests)
    .fetch_all(connection)
    .await?;
    let (mut complete, mut reached_ms) = (Vec::new(), None);
    for row in rows {
        if row.try_get("complete")? {
            complete.push(row.try_get::<Uuid, _>("digest")?);
        } else if let Some(id) = row.try_get::<Option<Uuid>, _>("reached")? {
            let at_ms = id.as_u64_pair().0 >> 16;
            reached_ms = Some(reached_ms.map_or(at_ms, |earliest: u64| earliest.min(at_ms)));
        }
    }
    let unknown = series.into_iter().zip(digests).filter(|(_, digest)| !complete.contains(digest));
    Ok(SeriesProgress { unknown: unknown.map(|(series, _)| series).collect(), reached_ms })
}
