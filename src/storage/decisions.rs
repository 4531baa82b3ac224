//! Reads decisions: by id, by key, in pages, and by search. Only the journal writes them.

mod comparison;
mod erased;
mod feed;
pub mod history;
mod rule_reports;
mod search;

use std::sync::Arc;

use sqlx::postgres::PgRow;
use sqlx::{AssertSqlSafe, Row};
use uuid::Uuid;

pub use comparison::{
    COUNTED_MAX, EventCount, OutcomeCount, ReasonCounts, RevisionComparison, SAMPLED_MAX, comparison,
};
pub use erased::{ErasedDecision, erased, found_by_key};
pub use feed::{NewDecision, ids_since, since};
pub use rule_reports::{SampledRules, rule_reports};
pub use search::{DecisionFilter, DecisionPage, DecisionSummary, FoundDecision, list};

use super::columns::{digest, named};
use super::pool::{AppPool, SystemPool};
use super::time_limit::TimeLimit;
use super::{StorageError, evidence};
use crate::domain::decision::{Decision, IdempotencyKey, Origin};
use crate::domain::payment::PaymentId;
use crate::domain::tenant::{ClientId, TenantId};
use crate::domain::verdict::Outcome;

const WHAT: &str = "decision";

/// The place of a decision in the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    pub writer: Uuid,
    /// The batch's place in its writer's chain, from 1.
    pub sequence: i64,
    /// The decision's place in the batch, from 0.
    pub position: i32,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredDecision {
    pub decision: Arc<Decision>,
    pub position: Position,
}

pub async fn get(
    app: &AppPool,
    tenant: TenantId,
    id: PaymentId,
) -> Result<Option<StoredDecision>, StorageError> {
    app.transaction(tenant, move |connection| {
        Box::pin(async move {
            let row = sqlx::query(
                "select tenant_id, client_id, idempotency_key, request_hash, origin, outcome,
                        payload_version, payload, writer_id, batch_sequence, batch_position
                 from decisions
                 where tenant_id = $1 and id = $2",
            )
            .bind(tenant.0)
            .bind(id.0)
            .fetch_optional(connection)
            .await?;
            row.as_ref().map(read).transpose()
        })
    })
    .await
}

/// The decision to which a client's key is bound.
pub async fn by_key(
    app: &AppPool,
    tenant: TenantId,
    client: ClientId,
    key: &IdempotencyKey,
) -> Result<Option<StoredDecision>, StorageError> {
    let key = key.as_str().to_owned();
    app.transaction(tenant, move |connection| {
        Box::pin(async move {
            let row = sqlx::query(
                "select tenant_id, client_id, idempotency_key, decisions.request_hash, origin, outcome,
                        payload_version, payload, writer_id, batch_sequence, batch_position
                 from idempotency_keys bound
                 join decisions using (tenant_id, client_id)
                 where tenant_id = $1 and client_id = $2 and bound.key = $3
                   and decisions.id = bound.decision_id",
            )
            .bind(tenant.0)
            .bind(client.0)
            .bind(key)
            .fetch_optional(connection)
            .await?;
            row.as_ref().map(read).transpose()
        })
    })
    .await
}

/// A decision with its id, also if it cannot be read.
#[derive(Debug)]
pub struct StoredSince {
    pub tenant: TenantId,
    pub id: PaymentId,
    pub decision: Result<StoredDecision, StorageError>,
}

/// The decisions of one tenant, or of all, since a time, in pages. Ids are not in commit order:
/// decisions that are stored while the pages are read may be missing.
pub async fn since_in_pages(
    system: &SystemPool,
    tenant: Option<TenantId>,
    since_ms: u64,
    after: Option<(TenantId, PaymentId)>,
    limit: u32,
) -> Result<Vec<StoredSince>, StorageError> {
    let (after_tenant, after_id) = after.map_or((Uuid::nil(), Uuid::nil()), |(tenant, id)| (tenant.0, id.0));
    let first = first_id(since_ms);
    // With a tenant in the condition, only its part of the index is read.
    let of_tenant = "where tenant_id = $1 and id > $2 and id >= $3 order by id";
    let of_all = "where (tenant_id, id) > ($1, $2) and id >= $3 order by tenant_id, id";
    let statement = format!(
        "select id, tenant_id, client_id, idempotency_key, request_hash, origin, outcome,
                payload_version, payload, writer_id, batch_sequence, batch_position
         from decisions {} limit $4",
        if tenant.is_some() { of_tenant } else { of_all }
    );
    let tenant = tenant.map_or(after_tenant, |tenant| tenant.0);
    system
        .transaction_within(TimeLimit::LONG, move |connection| {
            Box::pin(async move {
                let rows = sqlx::query(AssertSqlSafe(statement))
                    .bind(tenant)
                    .bind(after_id)
                    .bind(first)
                    .bind(i64::from(limit))
                    .fetch_all(connection)
                    .await?;
                rows.iter().map(read_since).collect()
            })
        })
        .await
}

fn read_since(row: &PgRow) -> Result<StoredSince, StorageError> {
    let (tenant, id) = (TenantId(row.try_get("tenant_id")?), PaymentId(row.try_get("id")?));
    Ok(StoredSince { tenant, id, decision: read(row) })
}

/// The number of decisions since a time, of one tenant or of all.
pub async fn count(
    system: &SystemPool,
    tenant: Option<TenantId>,
    since_ms: u64,
) -> Result<u64, StorageError> {
    let (tenant, first) = (tenant.map(|tenant| tenant.0), first_id(since_ms));
    system
        .transaction_within(TimeLimit::LONG, move |connection| {
            Box::pin(async move {
                let count: i64 = sqlx::query_scalar(
                    "select count(*) from decisions where ($1::uuid is null or tenant_id = $1) and id >= $2",
                )
                .bind(tenant)
                .bind(first)
                .fetch_one(connection)
                .await?;
                Ok(count.unsigned_abs())
            })
        })
        .await
}

/// The lowest id of a time. A UUIDv7 begins with its time in milliseconds, as 48 bits.
pub(in crate::storage) fn first_id(since_ms: u64) -> Uuid {
    Uuid::from_u128(u128::from(since_ms) << 80)
}

/// Reads a row with the columns that `get` selects.
pub(super) fn read(row: &PgRow) -> Result<StoredDecision, StorageError> {
    let payload: Option<&[u8]> = row.try_get("payload")?;
    let payload = payload.ok_or(StorageError::Erased)?;
    let decision = Decision {
        tenant: TenantId(row.try_get("tenant_id")?),
        client: ClientId(row.try_get("client_id")?),
        key: named(IdempotencyKey::parse(row.try_get("idempotency_key")?), WHAT)?,
        request_hash: digest(row.try_get("request_hash")?, WHAT)?,
        origin: named(Origin::parse(row.try_get("origin")?), WHAT)?,
        outcome: named(Outcome::parse(row.try_get("outcome")?), WHAT)?,
        evidence: evidence::decode(row.try_get("payload_version")?, payload)?,
    };
    Ok(StoredDecision { decision: Arc::new(decision), position: read_position(row)? })
}

fn read_position(row: &PgRow) -> Result<Position, StorageError> {
    Ok(Position {
        writer: row.try_get("writer_id")?,
        sequence: row.try_get("batch_sequence")?,
        position: row.try_get("batch_position")?,
    })
}
