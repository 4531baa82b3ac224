//! Backtests: created by tenants, and run by nodes, which claim them.
//!
//! A report and its position in the history must be written in one statement, so that no decision
//! is counted twice after a crash.

mod claims;

use sqlx::postgres::PgRow;
use sqlx::types::Json;
use sqlx::{PgConnection, Row};
use thiserror::Error;
use uuid::Uuid;

pub use claims::{
    BacktestClaim, BacktestProgress, ClaimedBacktest, checkpoint, claim, fail, finish, release, set_total,
};

use super::advisory_locks::TenantLock;
use super::columns::{bigint, ms, named};
use super::pool::AppPool;
use super::query_error::OfStatement;
use super::{StorageError, audit};
use crate::domain::audit::{Act, Action};
use crate::domain::backtest::report::BacktestReport;
use crate::domain::backtest::{Backtest, BacktestSelection, BacktestState, Baseline, PENDING_MAX};
use crate::domain::ruleset::DecisionPoint;
use crate::domain::tenant::TenantId;

const WHAT: &str = "backtest";

#[derive(Debug, Clone)]
pub struct NewBacktest {
    pub id: Uuid,
    pub point: DecisionPoint,
    pub revision: i32,
    pub baseline: Baseline,
    pub selection: BacktestSelection,
    pub actor: String,
    pub now_ms: u64,
}

#[derive(Debug, Error)]
pub enum CreateBacktestError {
    #[error("there is no such revision")]
    UnknownRevision,
    #[error("there is no such revision to compare with")]
    UnknownBaseline,
    #[error("there is no active revision to compare with")]
    NothingActive,
    #[error("the maximum number of backtests is already waiting or running")]
    TooMany,
    #[error(transparent)]
    Storage(#[from] StorageError),
}

#[derive(Debug, Error)]
pub enum CancelBacktestError {
    #[error("there is no such backtest")]
    NotFound,
    #[error("the backtest has ended")]
    Ended,
    #[error(transparent)]
    Storage(#[from] StorageError),
}

pub async fn create(
    app: &AppPool,
    tenant: TenantId,
    new: NewBacktest,
) -> Result<Backtest, CreateBacktestError> {
    app.transaction(tenant, move |connection| {
        Box::pin(async move {
            TenantLock::Backtests(tenant).take_in_transaction(connection).await.of_statement()?;
            if pending(connection, tenant).await? >= i64::from(PENDING_MAX) {
                return Err(CreateBacktestError::TooMany);
            }
            if !exists(connection, tenant, new.point, new.revision).await? {
                return Err(CreateBacktestError::UnknownRevision);
            }
            let baseline_revision = baseline_revision(connection, tenant, &new).await?;
            insert(connection, tenant, &new, baseline_revision).await?;
            let NewBacktest { id, point, revision, selection, actor, now_ms, .. } = new;
            let told = serde_json::json!({"revision": revision, "baseline_revision": baseline_revision});
            audit::record(connection, tenant, &act(Action::BacktestStarted, id, &actor, now_ms, Some(told)))
                .await?;
            Ok(Backtest {
                id,
                point,
                revision,
                baseline_revision,
                selection,
                state: BacktestState::Waiting,
                why: None,
                total: None,
                done: 0,
                report: None,
                created_by: actor,
                created_at_ms: now_ms,
                started_at_ms: None,
                finished_at_ms: None,
            })
        })
    })
    .await
}

async fn pending(connection: &mut PgConnection, tenant: TenantId) -> Result<i64, StorageError> {
    let pending = sqlx::query_scalar(
        "select count(*) from backtests where tenant_id = $1 and state in ('waiting', 'running')",
    )
    .bind(tenant.0)
    .fetch_one(connection)
    .await?;
    Ok(pending)
}

async fn exists(
    connection: &mut PgConnection,
    tenant: TenantId,
    point: DecisionPoint,
    revision: i32,
) -> Result<bool, StorageError> {
    let exists = sqlx::query_scalar(
        "select exists (select from revisions where tenant_id = $1 and point = $2 and number = $3)",
    )
    .bind(tenant.0)
    .bind(point.name())
    .bind(revision)
    .fetch_one(connection)
    .await?;
    Ok(exists)
}

async fn baseline_revision(
    connection: &mut PgConnection,
    tenant: TenantId,
    new: &NewBacktest,
) -> Result<Option<i32>, CreateBacktestError> {
    match new.baseline {
        Baseline::Recorded => Ok(None),
        Baseline::Revision(number) if exists(connection, tenant, new.point, number).await? => {
            Ok(Some(number))
        }
        Baseline::Revision(_) => Err(CreateBacktestError::UnknownBaseline),
        Baseline::Active => {
            let active: Option<i32> = sqlx::query_scalar(
                "select revision from activations
                 where tenant_id = $1 and point = $2
                 order by sequence desc
                 limit 1",
            )
            .bind(tenant.0)
            .bind(new.point.name())
            .fetch_optional(connection)
            .await
            .of_statement()?;
            active.map(Some).ok_or(CreateBacktestError::NothingActive)
        }
    }
}

async fn insert(
    connection: &mut PgConnection,
    tenant: TenantId,
    new: &NewBacktest,
    baseline_revision: Option<i32>,
) -> Result<(), StorageError> {
    sqlx::query(
        "insert into backtests (tenant_id, id, point, revision, baseline_revision, selection, state,
                                created_by, created_at_ms)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
    )
    .bind(tenant.0)
    .bind(new.id)
    .bind(new.point.name())
    .bind(new.revision)
    .bind(baseline_revision)
    .bind(Json(&new.selection))
    .bind(BacktestState::Waiting.name())
    .bind(&new.actor)
    .bind(bigint(new.now_ms))
    .execute(connection)
    .await?;
    Ok(())
}

fn act(action: Action, id: Uuid, actor: &str, now_ms: u64, after: Option<serde_json::Value>) -> Act {
    let (actor, after) = (actor.into(), after.map(|after| after.to_string()));
    Act { at_ms: now_ms, actor, action, subject: id.to_string(), before: None, after }
}

pub async fn get(
    app: &AppPool,
    tenant: TenantId,
    point: DecisionPoint,
    id: Uuid,
) -> Result<Option<Backtest>, StorageError> {
    app.transaction(tenant, move |connection| Box::pin(find(connection, tenant, point, id))).await
}

async fn find(
    connection: &mut PgConnection,
    tenant: TenantId,
    point: DecisionPoint,
    id: Uuid,
) -> Result<Option<Backtest>, StorageError> {
    let row = sqlx::query(
        "select id, point, revision, baseline_revision, selection, state, why, total, done, report,
                created_by, created_at_ms, started_at_ms, finished_at_ms
         from backtests
         where tenant_id = $1 and point = $2 and id = $3",
    )
    .bind(tenant.0)
    .bind(point.name())
    .bind(id)
    .fetch_optional(connection)
    .await?;
    row.as_ref().map(read).transpose()
}

/// The newest first. With `before`, only backtests with lower ids. Reports are left out.
pub async fn list(
    app: &AppPool,
    tenant: TenantId,
    point: DecisionPoint,
    before: Option<Uuid>,
    limit: u32,
) -> Result<Vec<Backtest>, StorageError> {
    app.transaction(tenant, move |connection| {
        Box::pin(async move {
            let rows = sqlx::query(
                "select id, point, revision, baseline_revision, selection, state, why, total, done,
                        null::jsonb as report, created_by, created_at_ms, started_at_ms, finished_at_ms
                 from backtests
                 where tenant_id = $1 and point = $2 and ($3::uuid is null or id < $3)
                 order by id desc
                 limit $4",
            )
            .bind(tenant.0)
            .bind(point.name())
            .bind(before)
            .bind(i64::from(limit))
            .fetch_all(connection)
            .await?;
            rows.iter().map(read).collect()
        })
    })
    .await
}

/// Cancels a backtest that waits or runs. The node that runs it notices at the next checkpoint.
pub async fn cancel(
    app: &AppPool,
    tenant: TenantId,
    point: DecisionPoint,
    id: Uuid,
    actor: String,
    now_ms: u64,
) -> Result<Backtest, CancelBacktestError> {
    app.transaction(tenant, move |connection| {
        Box::pin(async move {
            let cancelled = sqlx::query(
                "update backtests
                 set state = 'cancelled', finished_at_ms = $4
                 where tenant_id = $1 and point = $2 and id = $3 and state in ('waiting', 'running')",
            )
            .bind(tenant.0)
            .bind(point.name())
            .bind(id)
            .bind(bigint(now_ms))
            .execute(&mut *connection)
            .await
            .of_statement()?;
            let backtest = find(connection, tenant, point, id).await?.ok_or(CancelBacktestError::NotFound)?;
            if cancelled.rows_affected() == 1 {
                let cancelled = act(Action::BacktestCancelled, id, &actor, now_ms, None);
                audit::record(connection, tenant, &cancelled).await?;
            } else if backtest.state != BacktestState::Cancelled {
                return Err(CancelBacktestError::Ended);
            }
            Ok(backtest)
        })
    })
    .await
}

fn read(row: &PgRow) -> Result<Backtest, StorageError> {
    let unreadable = |_| StorageError::Unreadable { what: WHAT };
    let Json(selection) = row.try_get::<Json<BacktestSelection>, _>("selection").map_err(unreadable)?;
    let report = row.try_get::<Option<Json<BacktestReport>>, _>("report").map_err(unreadable)?;
    let time = |column| -> Result<Option<u64>, StorageError> {
        let at: Option<i64> = row.try_get(column)?;
        at.map(|at| ms(at, WHAT)).transpose()
    };
    Ok(Backtest {
        id: row.try_get("id")?,
        point: named(DecisionPoint::parse(row.try_get("point")?), WHAT)?,
        revision: row.try_get("revision")?,
        baseline_revision: row.try_get("baseline_revision")?,
        selection,
        state: named(BacktestState::parse(row.try_get("state")?), WHAT)?,
        why: row.try_get("why")?,
        total: time("total")?,
        done: ms(row.try_get("done")?, WHAT)?,
        report: report.map(|Json(report)| report),
        created_by: row.try_get("created_by")?,
        created_at_ms: ms(row.try_get("created_at_ms")?, WHAT)?,
        started_at_ms: time("started_at_ms")?,
        finished_at_ms: time("finished_at_ms")?,
    })
}
