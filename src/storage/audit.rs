//! The record of administrative acts.
//!
//! Owns its rows, which the database lets nobody change. Must never be written
//! apart from the act: both stand in one transaction.

use sqlx::PgConnection;

use super::StorageError;
use super::columns::bigint;
use crate::domain::audit::Act;
use crate::domain::tenant::TenantId;

/// Writes an act down in the transaction that carries it out, as the last of
/// its locks: from here to the commit, other acts of the tenant wait, so that
/// sequences rise in commit order.
pub async fn record(connection: &mut PgConnection, tenant: TenantId, act: &Act) -> Result<i64, StorageError> {
    sqlx::query("select pg_advisory_xact_lock(hashtextextended($1, 0))")
        .bind(format!("audit {tenant}"))
        .execute(&mut *connection)
        .await?;
    let sequence = sqlx::query_scalar(
        "insert into audit_events (tenant_id, at_ms, actor, action, subject, before, after)
         values ($1, $2, $3, $4, $5, $6::jsonb, $7::jsonb)
         returning sequence",
    )
    .bind(tenant.0)
    .bind(bigint(act.at_ms))
    .bind(&act.actor)
    .bind(act.action.name())
    .bind(&act.subject)
    .bind(&act.before)
    .bind(&act.after)
    .fetch_one(connection)
    .await?;
    Ok(sequence)
}
