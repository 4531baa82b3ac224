//! Reviews that nobody decides in time, and how much waits, over all tenants.
//!
//! Any node may do this at any time: the rows are locked, and locked rows are left to whoever has
//! them.

use serde_json::json;
use sqlx::{PgConnection, Row};
use uuid::Uuid;

use super::{StorageError, WHAT, first_id, settings};
use crate::domain::audit::{Act, Action};
use crate::domain::review::ReviewExpiry;
use crate::domain::tenant::TenantId;
use crate::storage::audit;
use crate::storage::columns::{bigint, ms};
use crate::storage::pool::SystemPool;

/// The tenants whose reviews expire.
pub async fn expiring_tenants(system: &SystemPool) -> Result<Vec<(TenantId, ReviewExpiry)>, StorageError> {
    system
        .transaction(|connection| {
            Box::pin(async move {
                let rows = sqlx::query(
                    "select tenant_id, lease_min, expires_after_min, expires_to, event_kinds from review_settings
                     where expires_after_min is not null",
                )
                .fetch_all(connection)
                .await?;
                let mut found = Vec::with_capacity(rows.len());
                for row in &rows {
                    let tenant = TenantId(row.try_get("tenant_id")?);
                    found.extend(settings::read(row)?.expiry.map(|expiry| (tenant, expiry)));
                }
                Ok(found)
            })
        })
        .await
}

/// Ends the oldest reviews of a tenant that are due, at most `limit`, and returns how many. A live
/// claim does not keep a review from expiring, since it could be renewed for ever.
pub async fn expire(
    system: &SystemPool,
    (tenant, expiry): (TenantId, ReviewExpiry),
    actor: String,
    now_ms: u64,
    limit: u32,
) -> Result<u32, StorageError> {
    system
        .transaction(move |connection| {
            Box::pin(async move {
                let ended = end_due(connection, (tenant, expiry), &actor, now_ms, limit).await?;
                for (id, payment) in &ended {
                    let outcome = expiry.outcome.name();
                    let act = Act {
                        at_ms: now_ms,
                        actor: actor.as_str().into(),
                        action: Action::ReviewExpired,
                        subject: id.to_string(),
                        before: None,
                        after: Some(json!({ "payment": payment, "outcome": outcome }).to_string()),
                    };
                    audit::record(connection, tenant, &act).await?;
                }
                Ok(u32::try_from(ended.len()).unwrap_or(u32::MAX))
            })
        })
        .await
}

async fn end_due(
    connection: &mut PgConnection,
    (tenant, expiry): (TenantId, ReviewExpiry),
    actor: &str,
    now_ms: u64,
    limit: u32,
) -> Result<Vec<(Uuid, Uuid)>, StorageError> {
    let opened_before_ms = now_ms.saturating_sub(expiry.after_ms());
    let ended = sqlx::query_as(
        "with due as (
            select id from reviews
            where tenant_id = $1 and decided_at_ms is null and id < $2
            order by id
            limit $3
            for update skip locked
         )
         update reviews r
         set outcome = $4, decided_by = $5, decided_at_ms = $6, is_expired = true,
             claimed_by = null, claimed_until_ms = null
         from due
         where r.tenant_id = $1 and r.id = due.id
         returning r.id, r.payment_id",
    )
    .bind(tenant.0)
    .bind(first_id(opened_before_ms))
    .bind(i64::from(limit))
    .bind(expiry.outcome.name())
    .bind(actor)
    .bind(bigint(now_ms))
    .fetch_all(connection)
    .await?;
    Ok(ended)
}

/// How much waits in the queues of all tenants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Waiting {
    /// `count_max` at most.
    pub count: u64,
    pub oldest_opened_at_ms: Option<u64>,
}

/// Counts at most `count_max`, and takes the first entry of each tenant from the index.
pub async fn waiting(system: &SystemPool, count_max: u32) -> Result<Waiting, StorageError> {
    system
        .transaction(move |connection| {
            Box::pin(async move {
                let row = sqlx::query(
                    "select (select count(*) from (select from reviews where decided_at_ms is null limit $1) counted)
                                as count,
                            (select min(first.opened_at_ms)
                             from tenants t
                             cross join lateral (select opened_at_ms from reviews
                                                 where tenant_id = t.id and decided_at_ms is null
                                                 order by id
                                                 limit 1) first) as oldest_opened_at_ms",
                )
                .bind(i64::from(count_max))
                .fetch_one(connection)
                .await?;
                let unreadable = |_| StorageError::Unreadable { what: WHAT };
                let oldest: Option<i64> = row.try_get("oldest_opened_at_ms")?;
                Ok(Waiting {
                    count: u64::try_from(row.try_get::<i64, _>("count")?).map_err(unreadable)?,
                    oldest_opened_at_ms: oldest.map(|oldest| ms(oldest, WHAT)).transpose()?,
                })
            })
        })
        .await
}
