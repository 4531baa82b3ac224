//! The log of activations: rows are appended and never changed.
//!
//! A row must only be appended under the lock `ActivationSequence`, held until the commit. So
//! sequences rise in commit order, and a node that polls for later ones misses none.

use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row};

use super::super::StorageError;
use super::super::columns::{bigint, ms, named};
use super::super::pool::AppPool;
use crate::domain::ruleset::{
    ActivatedDeployment, Activation, ActivationKind, Canary, DecisionPoint, Deployment, Share,
};
use crate::domain::tenant::TenantId;

pub(super) const WHAT: &str = "activation";

/// Appends an activation, and returns it with its sequence.
pub(super) async fn append(
    connection: &mut PgConnection,
    tenant: TenantId,
    activation: Activation,
) -> Result<Activation, StorageError> {
    let Deployment { revision, canary, shadow } = activation.deployment;
    let sequence = sqlx::query_scalar(
        "insert into activations (tenant_id, point, kind, revision, canary_revision, canary_share,
                                  shadow_revision, guard_backtest, activated_by, activated_at_ms)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
         returning sequence",
    )
    .bind(tenant.0)
    .bind(activation.point.name())
    .bind(activation.kind.name())
    .bind(revision)
    .bind(canary.map(|canary| canary.revision))
    .bind(canary.map(|canary| i32::from(canary.share.ten_thousandths())))
    .bind(shadow)
    .bind(activation.guard_backtest)
    .bind(&activation.activated_by)
    .bind(bigint(activation.activated_at_ms))
    .fetch_one(connection)
    .await?;
    Ok(Activation { sequence, ..activation })
}

pub async fn active(
    app: &AppPool,
    tenant: TenantId,
    point: DecisionPoint,
) -> Result<Option<Activation>, StorageError> {
    Ok(activations(app, tenant, point, None, 1).await?.pop())
}

/// Newest first. With `before`, only activations with a lower sequence.
pub async fn activations(
    app: &AppPool,
    tenant: TenantId,
    point: DecisionPoint,
    before: Option<i64>,
    limit: u32,
) -> Result<Vec<Activation>, StorageError> {
    app.transaction(tenant, move |connection| Box::pin(log(connection, tenant, point, before, limit))).await
}

pub(super) async fn log(
    connection: &mut PgConnection,
    tenant: TenantId,
    point: DecisionPoint,
    before: Option<i64>,
    limit: u32,
) -> Result<Vec<Activation>, StorageError> {
    let rows = sqlx::query(
        "select sequence, point, kind, revision, canary_revision, canary_share, shadow_revision,
                guard_backtest, activated_by, activated_at_ms
         from activations
         where tenant_id = $1 and point = $2 and sequence < coalesce($3, 9223372036854775807)
         order by sequence desc
         limit $4",
    )
    .bind(tenant.0)
    .bind(point.name())
    .bind(before)
    .bind(i64::from(limit))
    .fetch_all(connection)
    .await?;
    rows.iter().map(read).collect()
}

fn read(row: &PgRow) -> Result<Activation, StorageError> {
    let ActivatedDeployment { sequence, point, deployment } = read_deployment(row)?;
    Ok(Activation {
        sequence,
        point,
        kind: named(ActivationKind::parse(row.try_get("kind")?), WHAT)?,
        deployment,
        guard_backtest: row.try_get("guard_backtest")?,
        activated_by: row.try_get("activated_by")?,
        activated_at_ms: ms(row.try_get("activated_at_ms")?, WHAT)?,
    })
}

pub(super) fn read_deployment(row: &PgRow) -> Result<ActivatedDeployment, StorageError> {
    let deployment = Deployment {
        revision: row.try_get("revision")?,
        canary: read_canary(row)?,
        shadow: row.try_get("shadow_revision")?,
    };
    Ok(ActivatedDeployment {
        sequence: row.try_get("sequence")?,
        point: named(DecisionPoint::parse(row.try_get("point")?), WHAT)?,
        deployment,
    })
}

fn read_canary(row: &PgRow) -> Result<Option<Canary>, StorageError> {
    let revision: Option<i32> = row.try_get("canary_revision")?;
    let share: Option<i32> = row.try_get("canary_share")?;
    let Some((revision, share)) = revision.zip(share) else { return Ok(None) };
    let share = u16::try_from(share).ok().and_then(Share::new);
    Ok(Some(Canary { revision, share: named(share, WHAT)? }))
}
