//! What an activation makes of the latest deployment.
//!
//! Owns what may stand beside what, and which revision a roll back goes to.
//! Must never write: two looks at one log come to the same.

use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row};

use super::activations::{ActivateError, ActivationRequest, DeploymentVersion, NewActivation, WHAT, log};
use crate::domain::ruleset::{ActivationKind, DecisionPoint, Deployment, activated_and_not_undone};
use crate::domain::tenant::TenantId;
use crate::storage::StorageError;
use crate::storage::columns::named;

/// Activations and roll backs that the revision before the present one is looked for in.
const STEPS_READ_MAX: i64 = 1_000;

/// The result of an activation.
pub(super) struct Planned {
    pub(super) kind: ActivationKind,
    pub(super) before: Option<Deployment>,
    pub(super) after: Deployment,
}

impl Planned {
    /// The revisions that take part from now on and did not before.
    pub(super) fn brought_in(&self) -> Vec<i32> {
        let before = self.before.map(|before| before.revisions()).unwrap_or_default();
        self.after.revisions().into_iter().filter(|revision| !before.contains(revision)).collect()
    }
}

pub(super) async fn plan(
    connection: &mut PgConnection,
    new: &NewActivation,
    request: ActivationRequest,
) -> Result<Planned, ActivateError> {
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
    Ok(Planned { kind, before, after })
}

/// A revision that decides for all; what runs in shadow goes on, unless it is the same.
fn alone(revision: i32, before: Option<Deployment>) -> Deployment {
    let shadow = before.and_then(|before| before.shadow).filter(|shadow| *shadow != revision);
    Deployment { revision, canary: None, shadow }
}

/// What a revision is put beside; it cannot stand beside itself.
fn beside(revision: Option<i32>, before: Option<Deployment>) -> Result<Deployment, ActivateError> {
    let before = before.ok_or(ActivateError::NothingActive)?;
    if revision == Some(before.revision) { Err(ActivateError::AlreadyActive) } else { Ok(before) }
}

/// `to`, if it ever was active, or the revision that was active before.
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

/// What changed which revision is active, the oldest first. Canaries and
/// shadows, of which there may be any number between, are passed over.
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
