//! New decisions, for the feed.
//!
//! Ids are not in commit order, so the caller passes the ids that it already has.

use sqlx::Row;
use sqlx::postgres::PgRow;
use uuid::Uuid;

use super::search::{DecisionSummary, read_summary};
use crate::domain::payment::PaymentId;
use crate::domain::tenant::TenantId;
use crate::domain::verdict::OutcomeReason;
use crate::storage::pool::AppPool;
use crate::storage::{StorageError, evidence};

/// A decision for the feed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewDecision {
    pub summary: DecisionSummary,
    /// `None` if they were erased, or written by a later version of the program.
    pub reasons: Option<Vec<OutcomeReason>>,
}

/// Decisions above `after` in the order of their ids, without imported ones and without `known`.
pub async fn since(
    app: &AppPool,
    tenant: TenantId,
    after: PaymentId,
    known: Vec<Uuid>,
    limit: u32,
) -> Result<Vec<NewDecision>, StorageError> {
    app.transaction(tenant, move |connection| {
        Box::pin(async move {
            let rows = sqlx::query(
                "select id, client_id, idempotency_key, outcome, received_at_ms, reference, amount_minor,
                        currency, method, revision, payload_version, payload
                 from decisions
                 where tenant_id = $1 and id > $2 and origin = 'api'
                   and not exists (select from unnest($3::uuid[]) known (id) where known.id = decisions.id)
                 order by id
                 limit $4",
            )
            .bind(tenant.0)
            .bind(after.0)
            .bind(known)
            .bind(i64::from(limit))
            // Not prepared, so that the plan fits the number of known ids.
            .persistent(false)
            .fetch_all(connection)
            .await?;
            rows.iter().map(read).collect()
        })
    })
    .await
}

/// The ids of all decisions that `since` would return without a limit.
pub async fn ids_since(app: &AppPool, tenant: TenantId, after: PaymentId) -> Result<Vec<Uuid>, StorageError> {
    app.transaction(tenant, move |connection| {
        Box::pin(async move {
            let ids = sqlx::query_scalar(
                "select id from decisions where tenant_id = $1 and id > $2 and origin = 'api'",
            )
            .bind(tenant.0)
            .bind(after.0)
            .persistent(false)
            .fetch_all(connection)
            .await?;
            Ok(ids)
        })
    })
    .await
}

fn read(row: &PgRow) -> Result<NewDecision, StorageError> {
    let payload: Option<&[u8]> = row.try_get("payload")?;
    let version = row.try_get("payload_version")?;
    let evidence = payload.and_then(|payload| evidence::decode(version, payload).ok());
    Ok(NewDecision { summary: read_summary(row)?, reasons: evidence.map(|evidence| evidence.reasons) })
}
