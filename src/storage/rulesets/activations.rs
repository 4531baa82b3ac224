//! The log of activations: which revision was active when.
//!
//! Owns the lock that makes the sequence rise in commit order, so that a node
//! polling for what is above its last one misses nothing. Must never edit a line.

use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row};
use thiserror::Error;
use uuid::Uuid;

use super::super::advisory_locks::DatabaseLock;
use super::super::columns::{bigint, ms, named};
use super::super::pool::{AppPool, SystemPool};
use super::super::query_error::OfStatement;
use super::super::time_limit::TimeLimit;
use super::super::{StorageError, audit};
use super::asked::closed_list_among;
use super::plan::{Planned, plan};
use super::uses::{plugins_of, retired_among};
use crate::domain::audit::{Act, Action};
use crate::domain::plugin::Digest;
use crate::domain::ruleset::{Activation, ActivationKind, Canary, DecisionPoint, Deployment, Share};
use crate::domain::tenant::TenantId;

pub(super) const WHAT: &str = "activation";

#[derive(Debug, Error)]
pub enum ActivateError {
    #[error("there is no such revision")]
    UnknownRevision,
    /// Someone else was faster.
    #[error("the active state has changed in the meantime")]
    Conflict { current: Option<i64> },
    #[error("no revision was active before the current one")]
    NothingBefore,
    #[error("the revision was never active")]
    NeverActive,
    #[error("no revision is active yet")]
    NothingActive,
    #[error("the revision is already the active one")]
    AlreadyActive,
    #[error("the revision uses the plugin {plugin}, which is retired")]
    PluginRetired { plugin: Digest },
    #[error("the revision uses the list {list}, which is closed")]
    ListClosed { list: String },
    /// A node that lives cannot run the revision yet.
    #[error("the node {node} is not ready to run the plugin {plugin}")]
    PluginNotReady { plugin: Digest, node: String, why: Option<String> },
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// What an activation is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ActivationRequest {
    /// The revision decides from now on. A canary ends; so does a shadow of the same revision.
    Activate {
        revision: i32,
        guard_backtest: Option<Uuid>,
    },
    /// Back to the revision that was active before, or to one that ever was.
    RollBack {
        to: Option<i32>,
    },
    Canary(Option<Canary>),
    Shadow(Option<i32>),
}

/// A version of a deployment, as an ETag names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeploymentVersion {
    BeforeFirstActivation,
    /// By the sequence of the latest activation.
    Activation(i64),
}

impl DeploymentVersion {
    /// `latest` is the sequence of the latest activation.
    pub fn of(latest: Option<i64>) -> Self {
        latest.map_or(Self::BeforeFirstActivation, Self::Activation)
    }
}

/// The conditions of an activation (`If-Match`, `If-None-Match`) on the deployment before it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ExpectedActivation {
    /// `None` accepts every version.
    pub one_of: Option<Vec<DeploymentVersion>>,
    pub none_of: Vec<DeploymentVersion>,
}

impl ExpectedActivation {
    pub(super) fn is(&self, current: DeploymentVersion) -> bool {
        self.one_of.as_ref().is_none_or(|these| these.contains(&current)) && !self.none_of.contains(&current)
    }
}

/// Whose activation log, and what its latest line must be.
#[derive(Debug, Clone)]
pub struct NewActivation {
    pub tenant: TenantId,
    pub point: DecisionPoint,
    pub actor: String,
    pub now_ms: u64,
    pub expected: ExpectedActivation,
}

/// Writes the next line of the log. Concurrent activations wait for each
/// other, so each sees what the last one left.
pub async fn activate(
    app: &AppPool,
    new: NewActivation,
    request: ActivationRequest,
) -> Result<Activation, ActivateError> {
    app.transaction(new.tenant, move |connection| {
        Box::pin(async move {
            DatabaseLock::ActivationSequence.take_in_transaction(connection).await.of_statement()?;
            let planned = plan(connection, &new, request).await?;
            let Planned { kind, before, after, .. } = planned;
            let NewActivation { tenant, point, .. } = new;
            // Going back is never in the way of what was retired or closed since.
            if kind != ActivationKind::RollBack {
                let brought_in = planned.brought_in();
                let plugins = plugins_of(connection, tenant, point, &brought_in).await?;
                if let Some(plugin) = retired_among(connection, tenant, &plugins).await? {
                    return Err(ActivateError::PluginRetired { plugin });
                }
                if let Some(list) = closed_list_among(connection, tenant, point, &brought_in).await? {
                    return Err(ActivateError::ListClosed { list });
                }
            }
            let guard_backtest = match request {
                ActivationRequest::Activate { guard_backtest, .. } => guard_backtest,
                _ => None,
            };
            let NewActivation { actor, now_ms, .. } = new;
            let act = act_of(kind, before, after, guard_backtest, &actor, now_ms);
            let line = Activation {
                sequence: 0,
                point,
                kind,
                deployment: after,
                guard_backtest,
                activated_by: actor,
                activated_at_ms: now_ms,
            };
            let activation = append(connection, tenant, line).await?;
            audit::record(connection, tenant, &act).await?;
            Ok(activation)
        })
    })
    .await
}

fn act_of(
    kind: ActivationKind,
    before: Option<Deployment>,
    after: Deployment,
    guard_backtest: Option<Uuid>,
    actor: &str,
    now_ms: u64,
) -> Act {
    let action = match kind {
        ActivationKind::Activate => Action::RevisionActivated,
        ActivationKind::RollBack => Action::RevisionRolledBack,
        ActivationKind::Canary => Action::CanaryChanged,
        ActivationKind::Shadow => Action::ShadowChanged,
    };
    let told = |deployment: Deployment, guard: Option<Uuid>| {
        let canary = deployment.canary.map(|canary| {
            serde_json::json!({"revision": canary.revision, "share_percent": canary.share.percent()})
        });
        let mut told = serde_json::json!({
            "revision": deployment.revision, "canary": canary, "shadow": deployment.shadow,
        });
        if let Some(guard) = guard {
            told["guard_backtest"] = guard.to_string().into();
        }
        told.to_string()
    };
    Act {
        at_ms: now_ms,
        actor: actor.to_owned(),
        action,
        subject: after.revision.to_string(),
        before: before.map(|before| told(before, None)),
        after: Some(told(after, guard_backtest)),
    }
}

/// The line with the sequence it got.
async fn append(
    connection: &mut PgConnection,
    tenant: TenantId,
    line: Activation,
) -> Result<Activation, StorageError> {
    let Deployment { revision, canary, shadow } = line.deployment;
    let sequence = sqlx::query_scalar(
        "insert into activations (tenant_id, point, kind, revision, canary_revision, canary_share,
                                  shadow_revision, guard_backtest, activated_by, activated_at_ms)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
         returning sequence",
    )
    .bind(tenant.0)
    .bind(line.point.name())
    .bind(line.kind.name())
    .bind(revision)
    .bind(canary.map(|canary| canary.revision))
    .bind(canary.map(|canary| i32::from(canary.share.ten_thousandths())))
    .bind(shadow)
    .bind(line.guard_backtest)
    .bind(&line.activated_by)
    .bind(bigint(line.activated_at_ms))
    .fetch_one(connection)
    .await?;
    Ok(Activation { sequence, ..line })
}

pub async fn active(
    app: &AppPool,
    tenant: TenantId,
    point: DecisionPoint,
) -> Result<Option<Activation>, StorageError> {
    Ok(activations(app, tenant, point, None, 1).await?.pop())
}

/// The newest first, below `before` where it is given.
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

/// What nodes poll: everything above the last sequence they saw, in order.
pub async fn activations_since(
    system: &SystemPool,
    sequence: i64,
) -> Result<Vec<(TenantId, Activation)>, StorageError> {
    system
        .transaction_within(TimeLimit::SHORT, move |connection| {
            Box::pin(async move {
                let rows = sqlx::query(
                    "select tenant_id, sequence, point, kind, revision, canary_revision, canary_share,
                        shadow_revision, guard_backtest, activated_by, activated_at_ms
                 from activations
                 where sequence > $1
                 order by sequence",
                )
                .bind(sequence)
                .fetch_all(connection)
                .await?;
                rows.iter().map(read_with_tenant).collect()
            })
        })
        .await
}

/// The latest one of every tenant and decision point: what a node starts with.
pub async fn latest_activations(system: &SystemPool) -> Result<Vec<(TenantId, Activation)>, StorageError> {
    system
        .transaction(|connection| {
            Box::pin(async move {
                let rows = sqlx::query(
                    "select distinct on (tenant_id, point)
                        tenant_id, sequence, point, kind, revision, canary_revision, canary_share,
                        shadow_revision, guard_backtest, activated_by, activated_at_ms
                 from activations
                 order by tenant_id, point, sequence desc",
                )
                .fetch_all(connection)
                .await?;
                rows.iter().map(read_with_tenant).collect()
            })
        })
        .await
}

fn read_with_tenant(row: &PgRow) -> Result<(TenantId, Activation), StorageError> {
    Ok((TenantId(row.try_get("tenant_id")?), read(row)?))
}

fn read(row: &PgRow) -> Result<Activation, StorageError> {
    let deployment = Deployment {
        revision: row.try_get("revision")?,
        canary: read_canary(row)?,
        shadow: row.try_get("shadow_revision")?,
    };
    Ok(Activation {
        sequence: row.try_get("sequence")?,
        point: named(DecisionPoint::parse(row.try_get("point")?), WHAT)?,
        kind: named(ActivationKind::parse(row.try_get("kind")?), WHAT)?,
        deployment,
        guard_backtest: row.try_get("guard_backtest")?,
        activated_by: row.try_get("activated_by")?,
        activated_at_ms: ms(row.try_get("activated_at_ms")?, WHAT)?,
    })
}

fn read_canary(row: &PgRow) -> Result<Option<Canary>, StorageError> {
    let revision: Option<i32> = row.try_get("canary_revision")?;
    let share: Option<i32> = row.try_get("canary_share")?;
    let Some((revision, share)) = revision.zip(share) else { return Ok(None) };
    let share = u16::try_from(share).ok().and_then(Share::new);
    Ok(Some(Canary { revision, share: named(share, WHAT)? }))
}
