//! The log of activations: which revision was active when.
//!
//! Owns the lock that makes the sequence rise in commit order, so that a node
//! polling for what is above its last one misses nothing. Must never edit a line.

use sqlx::postgres::PgRow;
use sqlx::{PgConnection, PgPool, Row};
use thiserror::Error;

use super::super::StorageError;
use super::super::columns::{bigint, ms, named};
use super::super::transaction::{as_system, as_tenant};
use crate::domain::ruleset::{Activation, DecisionPoint};
use crate::domain::tenant::TenantId;

const WHAT: &str = "activation";

/// Any constant that no other lock of Tollgate uses.
const SEQUENCE_LOCK: i64 = 0x746f_6c6c_0000_0002;

#[derive(Debug, Error)]
pub enum ActivateError {
    #[error("there is no such revision")]
    UnknownRevision,
    /// Someone else was faster.
    #[error("another revision is active than was expected")]
    Conflict { current: Option<i32> },
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// Makes a revision the active one. With `expected_current` given it must still
/// be what is active, `Some(None)` meaning that nothing is.
pub async fn activate(
    app: &PgPool,
    tenant: TenantId,
    point: DecisionPoint,
    number: i32,
    actor: &str,
    now_ms: u64,
    expected_current: Option<Option<i32>>,
) -> Result<Activation, ActivateError> {
    let actor = actor.to_owned();
    as_tenant(app, tenant, move |connection| {
        Box::pin(async move {
            lock_sequence(connection).await?;
            if !revision_exists(connection, tenant, point, number).await? {
                return Err(ActivateError::UnknownRevision);
            }
            let current =
                log(connection, tenant, point, 1).await?.first().map(|activation| activation.revision);
            if expected_current.is_some_and(|expected| expected != current) {
                return Err(ActivateError::Conflict { current });
            }
            Ok(append(connection, tenant, point, number, actor, now_ms).await?)
        })
    })
    .await
}

/// Held until commit: a sequence number is drawn and committed before the next is drawn.
async fn lock_sequence(connection: &mut PgConnection) -> Result<(), StorageError> {
    sqlx::query("select pg_advisory_xact_lock($1)").bind(SEQUENCE_LOCK).execute(connection).await?;
    Ok(())
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

async fn append(
    connection: &mut PgConnection,
    tenant: TenantId,
    point: DecisionPoint,
    number: i32,
    actor: String,
    now_ms: u64,
) -> Result<Activation, StorageError> {
    let sequence = sqlx::query_scalar(
        "insert into activations (tenant_id, point, revision, activated_by, activated_at_ms)
         values ($1, $2, $3, $4, $5)
         returning sequence",
    )
    .bind(tenant.0)
    .bind(point.name())
    .bind(number)
    .bind(&actor)
    .bind(bigint(now_ms))
    .fetch_one(connection)
    .await?;
    Ok(Activation { sequence, point, revision: number, activated_by: actor, activated_at_ms: now_ms })
}

/// The revision that was active before the current one, for a roll back.
pub async fn previous(
    app: &PgPool,
    tenant: TenantId,
    point: DecisionPoint,
) -> Result<Option<i32>, StorageError> {
    as_tenant(app, tenant, move |connection| {
        Box::pin(async move {
            let revision = sqlx::query_scalar(
                "select earlier.revision
                 from activations earlier
                 where tenant_id = $1 and point = $2
                   and revision <> (select revision from activations
                                    where tenant_id = $1 and point = $2
                                    order by sequence desc limit 1)
                 order by sequence desc
                 limit 1",
            )
            .bind(tenant.0)
            .bind(point.name())
            .fetch_optional(connection)
            .await?;
            Ok(revision)
        })
    })
    .await
}

pub async fn active(
    app: &PgPool,
    tenant: TenantId,
    point: DecisionPoint,
) -> Result<Option<Activation>, StorageError> {
    Ok(activations(app, tenant, point, 1).await?.pop())
}

/// The newest first.
pub async fn activations(
    app: &PgPool,
    tenant: TenantId,
    point: DecisionPoint,
    limit: u32,
) -> Result<Vec<Activation>, StorageError> {
    as_tenant(app, tenant, move |connection| Box::pin(log(connection, tenant, point, limit))).await
}

async fn log(
    connection: &mut PgConnection,
    tenant: TenantId,
    point: DecisionPoint,
    limit: u32,
) -> Result<Vec<Activation>, StorageError> {
    let rows = sqlx::query(
        "select sequence, point, revision, activated_by, activated_at_ms
         from activations
         where tenant_id = $1 and point = $2
         order by sequence desc
         limit $3",
    )
    .bind(tenant.0)
    .bind(point.name())
    .bind(i64::from(limit))
    .fetch_all(connection)
    .await?;
    rows.iter().map(read).collect()
}

/// What nodes poll: everything above the last sequence they saw, in order.
pub async fn activations_since(
    system: &PgPool,
    sequence: i64,
) -> Result<Vec<(TenantId, Activation)>, StorageError> {
    as_system(system, move |connection| {
        Box::pin(async move {
            let rows = sqlx::query(
                "select tenant_id, sequence, point, revision, activated_by, activated_at_ms
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

/// The active one of every tenant and decision point: what a node starts with.
pub async fn latest_activations(system: &PgPool) -> Result<Vec<(TenantId, Activation)>, StorageError> {
    as_system(system, |connection| {
        Box::pin(async move {
            let rows = sqlx::query(
                "select distinct on (tenant_id, point)
                        tenant_id, sequence, point, revision, activated_by, activated_at_ms
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
    Ok(Activation {
        sequence: row.try_get("sequence")?,
        point: named(DecisionPoint::parse(row.try_get("point")?), WHAT)?,
        revision: row.try_get("revision")?,
        activated_by: row.try_get("activated_by")?,
        activated_at_ms: ms(row.try_get("activated_at_ms")?, WHAT)?,
    })
}
