//! Claims: a node runs a backtest under a lease, and writes checkpoints and the result.
//!
//! Every write checks the claim and the state. So a node that has lost its lease, or whose backtest
//! was cancelled, changes nothing.

use sqlx::postgres::PgArguments;
use sqlx::query::Query;
use sqlx::types::Json;
use sqlx::{PgConnection, Postgres, Row};
use uuid::Uuid;

use super::read;
use crate::domain::backtest::Backtest;
use crate::domain::backtest::report::BacktestReport;
use crate::domain::payment::PaymentId;
use crate::domain::tenant::TenantId;
use crate::storage::StorageError;
use crate::storage::advisory_locks::DatabaseLock;
use crate::storage::columns::bigint;
use crate::storage::pool::SystemPool;

/// The right to work on a backtest for one turn. A node's next turn is another claim.
#[derive(Debug, Clone, Copy)]
pub struct BacktestClaim {
    pub tenant: TenantId,
    pub backtest: Uuid,
    pub by: Uuid,
}

#[derive(Debug)]
pub struct ClaimedBacktest {
    pub claim: BacktestClaim,
    pub backtest: Backtest,
    /// The oldest decision that was counted. The run continues below it.
    pub reached: Option<PaymentId>,
}

/// The progress of a run, written in one statement.
#[derive(Debug, Clone)]
pub struct BacktestProgress {
    pub done: u64,
    pub reached: Option<PaymentId>,
    pub report: BacktestReport,
}

/// Claims the oldest backtest of the tenant whose last turn was longest ago. A tenant has at most
/// one running backtest. A backtest with an expired lease can be claimed, too.
pub async fn claim(
    system: &SystemPool,
    by: Uuid,
    now_ms: u64,
) -> Result<Option<ClaimedBacktest>, StorageError> {
    system
        .transaction(move |connection| {
            Box::pin(async move {
                if !DatabaseLock::BacktestClaims.try_in_transaction(connection).await? {
                    return Ok(None);
                }
                let row = sqlx::query(
                    "update backtests
                 set state = 'running', started_at_ms = coalesce(started_at_ms, $2), claimed_by = $1,
                     claimed_until = now() + interval '10 seconds'
                 where (tenant_id, id) = (
                     select b.tenant_id, b.id
                     from backtests b
                     where b.state in ('waiting', 'running')
                       and (b.claimed_until is null or b.claimed_until <= now())
                       and not exists (select from backtests other
                                       where other.tenant_id = b.tenant_id and other.state = 'running'
                                         and other.id <> b.id)
                     order by (select max(other.claimed_until) from backtests other
                               where other.tenant_id = b.tenant_id) nulls first,
                              b.created_at_ms, b.id
                     limit 1
                     for update of b skip locked)
                 returning tenant_id, id, point, revision, baseline_revision, selection, state, why, total,
                           done, reached, report, created_by, created_at_ms, started_at_ms, finished_at_ms",
                )
                .bind(by)
                .bind(bigint(now_ms))
                .fetch_optional(&mut *connection)
                .await?;
                let Some(row) = row else { return Ok(None) };
                let claim = BacktestClaim {
                    tenant: TenantId(row.try_get("tenant_id")?),
                    backtest: row.try_get("id")?,
                    by,
                };
                let reached: Option<Uuid> = row.try_get("reached")?;
                match read(&row) {
                    Ok(backtest) => {
                        Ok(Some(ClaimedBacktest { claim, backtest, reached: reached.map(PaymentId) }))
                    }
                    // An unreadable backtest ends as failed. Otherwise it would be claimed first
                    // again and again.
                    Err(error) => {
                        failed(connection, claim, error.to_string(), now_ms).await?;
                        Ok(None)
                    }
                }
            })
        })
        .await
}

/// Renews the lease, and writes the progress if it has changed. Returns `false` if the claim is
/// lost or the backtest was cancelled.
pub async fn checkpoint(
    system: &SystemPool,
    claim: BacktestClaim,
    progress: Option<BacktestProgress>,
) -> Result<bool, StorageError> {
    system
        .transaction(move |connection| {
            Box::pin(async move {
                let Some(BacktestProgress { done, reached, report }) = progress else {
                    let renewing = sqlx::query(
                        "update backtests
                     set claimed_until = now() + interval '10 seconds'
                     where tenant_id = $1 and id = $2 and claimed_by = $3 and state = 'running'",
                    );
                    return guarded(connection, renewing, claim, |query| query).await;
                };
                let writing = sqlx::query(
                    "update backtests
                 set done = $4, reached = $5, report = $6, claimed_until = now() + interval '10 seconds'
                 where tenant_id = $1 and id = $2 and claimed_by = $3 and state = 'running'",
                );
                let reached = reached.map(|reached| reached.0);
                guarded(connection, writing, claim, |query| {
                    query.bind(bigint(done)).bind(reached).bind(Json(report))
                })
                .await
            })
        })
        .await
}

pub async fn set_total(system: &SystemPool, claim: BacktestClaim, total: u64) -> Result<bool, StorageError> {
    system
        .transaction(move |connection| {
            Box::pin(async move {
                let setting = sqlx::query(
                    "update backtests set total = $4
                 where tenant_id = $1 and id = $2 and claimed_by = $3 and state = 'running'",
                );
                guarded(connection, setting, claim, |query| query.bind(bigint(total))).await
            })
        })
        .await
}

/// Releases the claim, so that any node may continue at once.
pub async fn release(system: &SystemPool, claim: BacktestClaim) -> Result<bool, StorageError> {
    system
        .transaction(move |connection| {
            Box::pin(async move {
                let releasing = sqlx::query(
                    "update backtests set claimed_until = now(), claimed_by = null
                 where tenant_id = $1 and id = $2 and claimed_by = $3 and state = 'running'",
                );
                guarded(connection, releasing, claim, |query| query).await
            })
        })
        .await
}

pub async fn finish(
    system: &SystemPool,
    claim: BacktestClaim,
    progress: BacktestProgress,
    now_ms: u64,
) -> Result<bool, StorageError> {
    system.transaction(move |connection| {
        Box::pin(async move {
            let BacktestProgress { done, reached, report } = progress;
            let finishing = sqlx::query(
                "update backtests
                 set done = $4, total = $4, reached = $5, report = $6, state = 'finished', finished_at_ms = $7,
                     claimed_until = now(), claimed_by = null
                 where tenant_id = $1 and id = $2 and claimed_by = $3 and state = 'running'",
            );
            let reached = reached.map(|reached| reached.0);
            guarded(connection, finishing, claim, |query| {
                query.bind(bigint(done)).bind(reached).bind(Json(report)).bind(bigint(now_ms))
            })
            .await
        })
    })
    .await
}

/// Ends the backtest as failed. The tenant can read `why`.
pub async fn fail(
    system: &SystemPool,
    claim: BacktestClaim,
    why: String,
    now_ms: u64,
) -> Result<bool, StorageError> {
    system.transaction(move |connection| Box::pin(failed(connection, claim, why, now_ms))).await
}

async fn failed(
    connection: &mut PgConnection,
    claim: BacktestClaim,
    why: String,
    now_ms: u64,
) -> Result<bool, StorageError> {
    let failing = sqlx::query(
        "update backtests
         set state = 'failed', why = $4, finished_at_ms = $5, claimed_until = now(), claimed_by = null
         where tenant_id = $1 and id = $2 and claimed_by = $3 and state = 'running'",
    );
    guarded(connection, failing, claim, |query| query.bind(why).bind(bigint(now_ms))).await
}

type Update<'q> = Query<'q, Postgres, PgArguments>;

/// Returns whether the claim still holds, and so whether the row was changed.
async fn guarded<'q>(
    connection: &mut PgConnection,
    update: Update<'q>,
    claim: BacktestClaim,
    bind: impl FnOnce(Update<'q>) -> Update<'q>,
) -> Result<bool, StorageError> {
    let update = update.bind(claim.tenant.0).bind(claim.backtest).bind(claim.by);
    Ok(bind(update).execute(connection).await?.rows_affected() == 1)
}
