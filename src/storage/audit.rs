//! The audit log. The roles of the program may add and read rows, but not change them.
//!
//! A row must be written in the same transaction as the act that it records.

use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row};
use uuid::Uuid;

use super::advisory_locks::TenantLock;
use super::columns::{bigint, ms, named};
use super::pool::AppPool;
use super::{StorageError, proposals};
use crate::domain::audit::{Act, Action, Approval, AuditEvent, Authority};
use crate::domain::proposal::ProposalId;
use crate::domain::tenant::TenantId;

const WHAT: &str = "audit event";

/// Records an act in the transaction that carries it out, and closes the proposal that it fulfils.
/// Must be called last: it takes a lock on which the tenant's other acts wait until the commit, so
/// that sequences rise in commit order.
pub async fn record(connection: &mut PgConnection, tenant: TenantId, act: &Act) -> Result<i64, StorageError> {
    if let Some(approval) = act.actor.approval() {
        proposals::close_approved(connection, tenant, approval, act.at_ms).await?;
    }
    TenantLock::AuditLog(tenant).take_in_transaction(connection).await?;
    let sequence = sqlx::query_scalar(
        "insert into audit_events (tenant_id, at_ms, actor, action, subject, before, after, proposal_id,
                                   approved_by)
         values ($1, $2, $3, $4, $5, $6::jsonb, $7::jsonb, $8, $9)
         returning sequence",
    )
    .bind(tenant.0)
    .bind(bigint(act.at_ms))
    .bind(act.actor.name())
    .bind(act.action.name())
    .bind(&act.subject)
    .bind(&act.before)
    .bind(&act.after)
    .bind(act.actor.approval().map(|approval| approval.proposal.0))
    .bind(act.actor.approval().map(|approval| &approval.approved_by))
    .fetch_one(connection)
    .await?;
    Ok(sequence)
}

/// All conditions must hold.
#[derive(Debug, Clone, Default)]
pub struct AuditFilter {
    pub action: Option<Action>,
    pub actor: Option<String>,
    pub subject: Option<String>,
    pub from_ms: Option<u64>,
    /// Exclusive.
    pub to_ms: Option<u64>,
}

/// Newest first. With `before_sequence`, only acts below it.
pub async fn list(
    app: &AppPool,
    tenant: TenantId,
    filter: AuditFilter,
    before_sequence: Option<i64>,
    limit: u32,
) -> Result<Vec<AuditEvent>, StorageError> {
    app.transaction(tenant, move |connection| {
        Box::pin(async move {
            let rows = sqlx::query(
                "select sequence, at_ms, actor, action, subject, before::text, after::text, proposal_id,
                        approved_by
                 from audit_events
                 where tenant_id = $1
                   and ($2::bigint is null or sequence < $2)
                   and ($3::text is null or action = $3)
                   and ($4::text is null or actor = $4)
                   and ($5::text is null or subject = $5)
                   and ($6::bigint is null or at_ms >= $6)
                   and ($7::bigint is null or at_ms < $7)
                 order by sequence desc
                 limit $8",
            )
            .bind(tenant.0)
            .bind(before_sequence)
            .bind(filter.action.map(Action::name))
            .bind(filter.actor)
            .bind(filter.subject)
            .bind(filter.from_ms.map(bigint))
            .bind(filter.to_ms.map(bigint))
            .bind(i64::from(limit))
            // Not prepared, so that the plan fits the conditions: most are absent.
            .persistent(false)
            .fetch_all(connection)
            .await?;
            rows.iter().map(read).collect()
        })
    })
    .await
}

/// The acts after `sequence`, oldest first. A caller that passes the sequence of the last act it
/// received misses none.
pub async fn since(
    app: &AppPool,
    tenant: TenantId,
    sequence: i64,
    limit: u32,
) -> Result<Vec<AuditEvent>, StorageError> {
    app.transaction(tenant, move |connection| {
        Box::pin(async move {
            let rows = sqlx::query(
                "select sequence, at_ms, actor, action, subject, before::text, after::text, proposal_id,
                        approved_by
                 from audit_events
                 where tenant_id = $1 and sequence > $2
                 order by sequence
                 limit $3",
            )
            .bind(tenant.0)
            .bind(sequence)
            .bind(i64::from(limit))
            .fetch_all(connection)
            .await?;
            rows.iter().map(read).collect()
        })
    })
    .await
}

fn actor_of(row: &PgRow) -> Result<Authority, StorageError> {
    let name: String = row.try_get("actor")?;
    let proposal: Option<Uuid> = row.try_get("proposal_id")?;
    let approved_by: Option<String> = row.try_get("approved_by")?;
    Ok(match proposal.zip(approved_by) {
        Some((proposal, approved_by)) => {
            Authority::approved(name, Approval { proposal: ProposalId(proposal), approved_by })
        }
        None => name.into(),
    })
}

fn read(row: &PgRow) -> Result<AuditEvent, StorageError> {
    let act = Act {
        at_ms: ms(row.try_get("at_ms")?, WHAT)?,
        actor: actor_of(row)?,
        action: named(Action::parse(row.try_get("action")?), WHAT)?,
        subject: row.try_get("subject")?,
        before: row.try_get("before")?,
        after: row.try_get("after")?,
    };
    Ok(AuditEvent { sequence: row.try_get("sequence")?, act })
}
