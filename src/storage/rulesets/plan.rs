//! Plans an activation: the deployment that it leads to, or why it is not possible.
//!
//! Only reads, so that the same plan can be made before the activation to find its plugins.

use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row};
use thiserror::Error;
use uuid::Uuid;

use super::activations::{WHAT, log};
use crate::domain::audit::Authority;
use crate::domain::plugin::Digest;
use crate::domain::ruleset::{ActivationKind, Canary, DecisionPoint, Deployment, activated_and_not_undone};
use crate::domain::tenant::TenantId;
use crate::storage::StorageError;
use crate::storage::columns::named;
use crate::storage::series::DeclareError;

/// The most activations and rollbacks that are read to find the previous revision.
const STEPS_READ_MAX: i64 = 1_000;

/// A list or table that is closed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClosedReference {
    List(String),
    Table(String),
}

impl std::fmt::Display for ClosedReference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::List(name) => write!(f, "the list {name}"),
            Self::Table(name) => write!(f, "the table {name}"),
        }
    }
}

#[derive(Debug, Error)]
pub enum ActivateError {
    #[error("there is no such revision")]
    UnknownRevision,
    /// Another activation came first.
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
    #[error("the revision uses {0}, which is closed")]
    Closed(ClosedReference),
    /// A live node cannot run the revision yet.
    #[error("the node {node} is not ready to run the plugin {plugin}")]
    PluginNotReady { plugin: Digest, node: String, why: Option<String> },
    /// Earlier payments are still being filled in, up to this time.
    #[error("facts of the revision are still computed for earlier payments")]
    FactsNotReady { reached_ms: Option<u64> },
    #[error("the rulesets of the tenant ask about earlier payments in too many ways")]
    TooManySeries,
    #[error(transparent)]
    Storage(#[from] StorageError),
}

impl From<DeclareError> for ActivateError {
    fn from(error: DeclareError) -> Self {
        match error {
            DeclareError::TooMany => Self::TooManySeries,
            DeclareError::Storage(error) => error.into(),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ActivationRequest {
    /// The revision decides from now on. Ends a canary, and a shadow of the same revision.
    Activate {
        revision: i32,
        guard_backtest: Option<Uuid>,
    },
    /// Activates the previous revision, or `to`, if it was ever active.
    RollBack {
        to: Option<i32>,
    },
    Canary(Option<Canary>),
    Shadow(Option<i32>),
}

/// The version of a deployment, which its ETag contains.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeploymentVersion {
    BeforeFirstActivation,
    /// The sequence of the latest activation.
    Activation(i64),
}

impl DeploymentVersion {
    /// `latest` is the sequence of the latest activation.
    pub fn of(latest: Option<i64>) -> Self {
        latest.map_or(Self::BeforeFirstActivation, Self::Activation)
    }
}

/// The conditions (`If-Match`, `If-None-Match`) on the deployment before an activation.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ExpectedActivation {
    /// `None` accepts every version.
    pub one_of: Option<Vec<DeploymentVersion>>,
    pub none_of: Vec<DeploymentVersion>,
}

impl ExpectedActivation {
    pub fn is(&self, current: DeploymentVersion) -> bool {
        self.one_of.as_ref().is_none_or(|these| these.contains(&current)) && !self.none_of.contains(&current)
    }
}

#[derive(Debug, Clone)]
pub struct NewActivation {
    pub tenant: TenantId,
    pub point: DecisionPoint,
    pub actor: Authority,
    pub now_ms: u64,
    pub expected: ExpectedActivation,
}

pub(super) struct ActivationPlan {
    pub(super) kind: ActivationKind,
    pub(super) before: Option<Deployment>,
    pub(super) after: Deployment,
}

impl ActivationPlan {
    /// The revisions that the deployment did not contain before.
    pub(super) fn added_revisions(&self) -> Vec<i32> {
        let before = self.before.map(|before| before.revisions()).unwrap_or_default();
        self.after.revisions().into_iter().filter(|revision| !before.contains(revision)).collect()
    }
}

pub(super) async fn plan(
    connection: &mut PgConnection,
    new: &NewActivation,
    request: ActivationRequest,
) -> Result<ActivationPlan, ActivateError> {
    let NewActivation { tenant, point, .. } = *new;
    let current = log(connection, tenant, point, None, 1).await?.pop();
    let sequence = current.as_ref().map(|activation| activation.sequence);
    if !new.expected.is(DeploymentVersion::of(sequence)) {
        return Err(ActivateError::Conflict { current: sequence });
    }
    let before = current.map(|activation| activation.deployment);
    let (kind, after) = match request {
        ActivationRequest::Activate { revision, .. } => (ActivationKind::Activate, alone(revision, before)),
        ActivationRequest::RollBack { to } => {
            (ActivationKind::RollBack, alone(back_to(connection, tenant, point, to).await?, before))
        }
        ActivationRequest::Canary(canary) => {
            let beside = beside(canary.map(|canary| canary.revision), before)?;
            (ActivationKind::Canary, Deployment { canary, ..beside })
        }
        ActivationRequest::Shadow(shadow) => {
            (ActivationKind::Shadow, Deployment { shadow, ..beside(shadow, before)? })
        }
    };
    for revision in after.revisions() {
        if !revision_exists(connection, tenant, point, revision).await? {
            return Err(ActivateError::UnknownRevision);
        }
    }
    Ok(ActivationPlan { kind, before, after })
}

/// The revision decides for all payments. The shadow stays, unless it is the same revision.
fn alone(revision: i32, before: Option<Deployment>) -> Deployment {
    let shadow = before.and_then(|before| before.shadow).filter(|shadow| *shadow != revision);
    Deployment { revision, canary: None, shadow }
}

/// The deployment to which a canary or shadow is added. That revision must not be the active one.
fn beside(revision: Option<i32>, before: Option<Deployment>) -> Result<Deployment, ActivateError> {
    let before = before.ok_or(ActivateError::NothingActive)?;
    if revision == Some(before.revision) { Err(ActivateError::AlreadyActive) } else { Ok(before) }
}

/// The target of a rollback: `to`, if it was ever active, or else the previous revision.
async fn back_to(
    connection: &mut PgConnection,
    tenant: TenantId,
    point: DecisionPoint,
    to: Option<i32>,
) -> Result<i32, ActivateError> {
    if let Some(to) = to {
        let ever = was_ever_active(connection, tenant, point, to).await?;
        return if ever { Ok(to) } else { Err(ActivateError::NeverActive) };
    }
    let steps = steps(connection, tenant, point).await?;
    let stack = activated_and_not_undone(steps);
    stack.into_iter().rev().nth(1).ok_or(ActivateError::NothingBefore)
}

/// The activations and rollbacks, oldest first, without canaries and shadows.
async fn steps(
    connection: &mut PgConnection,
    tenant: TenantId,
    point: DecisionPoint,
) -> Result<Vec<(ActivationKind, i32)>, StorageError> {
    let rows = sqlx::query(
        "select kind, revision
         from activations
         where tenant_id = $1 and point = $2 and kind in ('activate', 'roll_back')
         order by sequence desc
         limit $3",
    )
    .bind(tenant.0)
    .bind(point.name())
    .bind(STEPS_READ_MAX)
    .fetch_all(connection)
    .await?;
    let read = |row: &PgRow| {
        let kind = named(ActivationKind::parse(row.try_get("kind")?), WHAT)?;
        Ok((kind, row.try_get("revision")?))
    };
    rows.iter().rev().map(read).collect()
}

async fn was_ever_active(
    connection: &mut PgConnection,
    tenant: TenantId,
    point: DecisionPoint,
    revision: i32,
) -> Result<bool, StorageError> {
    let ever = sqlx::query_scalar(
        "select exists (select from activations where tenant_id = $1 and point = $2 and revision = $3)",
    )
    .bind(tenant.0)
    .bind(point.name())
    .bind(revision)
    .fetch_one(connection)
    .await?;
    Ok(ever)
}

async fn revision_exists(
    connection: &mut PgConnection,
    tenant: TenantId,
    point: DecisionPoint,
    number: i32,
) -> Result<bool, StorageError> {
    let exists = sqlx::query_scalar(
        "select exists (select from revisions where tenant_id = $1 and point = $2 and number = $3)",
    )
    .bind(tenant.0)
    .bind(point.name())
    .bind(number)
    .fetch_one(connection)
    .await?;
    Ok(exists)
}
