//! Removes series that nobody asks about any more, since each is a row of every payment.
//!
//! A series that a deployed revision asks about must never be removed.

use std::collections::{BTreeMap, BTreeSet};

use sqlx::Row;
use sqlx::types::Json;
use uuid::Uuid;

use super::keys::series_digest;
use crate::domain::series::Series;
use crate::domain::tenant::TenantId;
use crate::storage::StorageError;
use crate::storage::columns::bigint;
use crate::storage::pool::SystemPool;

/// Removes the series that are not in use and that nobody has asked about since `before_ms`.
/// Returns how many.
pub async fn remove_unused(
    system: &SystemPool,
    in_use: &BTreeMap<TenantId, BTreeSet<Series>>,
    before_ms: u64,
) -> Result<u64, StorageError> {
    let mut unused: BTreeMap<TenantId, Vec<Uuid>> = BTreeMap::new();
    for (tenant, series) in not_asked_since(system, before_ms).await? {
        if !in_use.get(&tenant).is_some_and(|used| used.contains(&series)) {
            unused.entry(tenant).or_default().push(series_digest(&series));
        }
    }
    let mut removed = 0;
    for (tenant, digests) in unused {
        match remove(system, tenant, digests, before_ms).await {
            Ok(count) => removed += count,
            // Held up by a slow batch, so the next round tries again.
            Err(error) if error.is_lock_timeout() => {}
            Err(error) => return Err(error),
        }
    }
    Ok(removed)
}

async fn remove(
    system: &SystemPool,
    tenant: TenantId,
    digests: Vec<Uuid>,
    before_ms: u64,
) -> Result<u64, StorageError> {
    system
        .transaction(move |connection| {
            Box::pin(async move {
                let removing = sqlx::query_scalar("select remove_series($1, $2, $3)");
                let removing = removing.bind(tenant.0).bind(digests).bind(bigint(before_ms));
                let count: i64 = removing.fetch_one(connection).await?;
                Ok(count.unsigned_abs())
            })
        })
        .await
}

async fn not_asked_since(
    system: &SystemPool,
    before_ms: u64,
) -> Result<Vec<(TenantId, Series)>, StorageError> {
    system
        .transaction(move |connection| {
            Box::pin(async move {
                let rows = sqlx::query(
                    "select tenant_id, definition from value_series
                     where declared_at_ms < $1 and asked_at_ms < $1",
                )
                .bind(bigint(before_ms))
                .fetch_all(connection)
                .await?;
                let read = |row: &sqlx::postgres::PgRow| {
                    let Json(series) = row.try_get("definition")?;
                    Ok((TenantId(row.try_get("tenant_id")?), series))
                };
                rows.iter().map(read).collect()
            })
        })
        .await
}
