//! Claims: a node takes an upload under a lease, and stores its result.
//!
//! Leases are measured by the database's clock. An upload's bytes may only be removed in the
//! transaction that stores the plugin or the refusal.

use std::sync::Arc;
use std::time::Duration;

use sqlx::{PgConnection, Row};
use uuid::Uuid;

use super::super::columns::{bigint, digest as read_digest, ms};
use super::super::plugins::{Bytes, grant, insert, shared_bytes};
use super::super::pool::SystemPool;
use super::super::{StorageError, audit, nodes};
use super::WHAT;
use crate::domain::audit::{Act, Action};
use crate::domain::plugin::{Digest, Plugin, Profile, UploadState};
use crate::domain::tenant::TenantId;

/// The actor of a refusal in the audit log.
const WORKER: &str = "tollgate";

/// How many refused uploads of a tenant are kept. The quotas do not count them.
const REFUSED_KEPT_MAX: i64 = 100;

/// An upload that this node processes.
#[derive(Debug, Clone)]
pub struct UploadClaim {
    pub tenant: TenantId,
    pub digest: Digest,
    pub matter: UploadWork,
    /// How many attempts there were, including this one. The others have no result, because their
    /// node died.
    pub attempts: i32,
    /// How many attempts failed because of the machine, not because of the plugin.
    pub failures: i32,
}

#[derive(Debug, Clone)]
pub enum UploadWork {
    Compile(Arc<[u8]>),
    /// The same bytes are already stored. Compiling them took this long.
    Stored {
        compile_ms: u64,
    },
}

/// Claims the next upload of a queue. Tenants without a running compilation come first, then the
/// tenant whose last upload ended longest ago. So the many uploads of one tenant do not delay
/// other tenants.
pub async fn claim(
    system: &SystemPool,
    node: Uuid,
    lease_ms: u32,
    profile: Profile,
    now_ms: u64,
) -> Result<Option<UploadClaim>, StorageError> {
    system.transaction(move |connection| {
        Box::pin(async move {
            let row = sqlx::query(
                "with tenants_waiting as (
                     select tenant_id, bool_or(state = 'compiling' and claimed_until > now()) as at_work,
                            (select max(earlier.finished_at_ms) from plugin_uploads earlier
                             where earlier.tenant_id = pending.tenant_id) as served_at_ms
                     from plugin_uploads pending
                     where state in ('waiting', 'compiling') and profile = $3
                     group by tenant_id
                 ), next as (
                     select u.tenant_id, u.digest
                     from plugin_uploads u join tenants_waiting t using (tenant_id)
                     where u.state in ('waiting', 'compiling') and u.profile = $3
                       and (u.claimed_until is null or u.claimed_until < now())
                     order by t.at_work, t.served_at_ms nulls first, u.uploaded_at_ms, u.digest
                     limit 1
                     for update of u skip locked
                 )
                 update plugin_uploads u
                 set state = 'compiling', claimed_by = $1, attempts = attempts + 1, started_at_ms = $4,
                     claimed_until = now() + make_interval(secs => $2 / 1000.0)
                 from next
                 where u.tenant_id = next.tenant_id and u.digest = next.digest
                 returning u.tenant_id, u.digest, u.attempts, u.failures,
                           (select p.compile_ms from plugins p where p.digest = u.digest) as stored_compile_ms,
                           case when not exists (select from plugins p where p.digest = u.digest)
                               then u.bytes end as bytes",
            )
            .bind(node)
            .bind(f64::from(lease_ms))
            .bind(profile.name())
            .bind(bigint(now_ms))
            .fetch_optional(connection)
            .await?;
            let Some(row) = row else { return Ok(None) };
            let stored_compile_ms: Option<i64> = row.try_get("stored_compile_ms")?;
            let matter = match stored_compile_ms {
                Some(stored) => UploadWork::Stored { compile_ms: ms(stored, WHAT)? },
                None => UploadWork::Compile(shared_bytes(&row, "bytes")?),
            };
            Ok(Some(UploadClaim {
                tenant: TenantId(row.try_get("tenant_id")?),
                digest: read_digest(row.try_get("digest")?, WHAT)?,
                matter,
                attempts: row.try_get("attempts")?,
                failures: row.try_get("failures")?,
            }))
        })
    })
    .await
}

/// Whether a queue has an upload that can be claimed. Does not read its bytes.
pub async fn is_any_waiting(system: &SystemPool, profile: Profile) -> Result<bool, StorageError> {
    system
        .transaction(move |connection| {
            Box::pin(async move {
                let waits = sqlx::query_scalar(
                    "select exists (select from plugin_uploads
                                where state in ('waiting', 'compiling') and profile = $1
                                  and (claimed_until is null or claimed_until < now()))",
                )
                .bind(profile.name())
                .fetch_one(connection)
                .await?;
                Ok(waits)
            })
        })
        .await
}

/// Renews the lease of a claim. Returns `false` if this node has lost the claim.
pub async fn renew(
    system: &SystemPool,
    node: Uuid,
    tenant: TenantId,
    digest: Digest,
    lease_ms: u32,
) -> Result<bool, StorageError> {
    system
        .transaction(move |connection| {
            Box::pin(async move {
                let renewed = sqlx::query(
                    "update plugin_uploads set claimed_until = now() + make_interval(secs => $4 / 1000.0)
                 where tenant_id = $2 and digest = $3 and claimed_by = $1 and state = 'compiling'",
                )
                .bind(node)
                .bind(tenant.0)
                .bind(digest.0)
                .bind(f64::from(lease_ms))
                .execute(connection)
                .await?;
                Ok(renewed.rows_affected() > 0)
            })
        })
        .await
}

/// Releases an upload that this node could not finish for a reason other than the plugin. With a
/// backoff, this counts as a failure, and the upload cannot be claimed before the backoff has
/// passed.
pub async fn release(
    system: &SystemPool,
    node: Uuid,
    tenant: TenantId,
    digest: Digest,
    failure_backoff: Option<Duration>,
) -> Result<(), StorageError> {
    system
        .transaction(move |connection| {
            Box::pin(async move {
                sqlx::query(
                    "update plugin_uploads
                 set state = 'waiting', claimed_by = null, attempts = attempts - 1, failures = failures + $4,
                     claimed_until = now() + make_interval(secs => $5 / 1000.0)
                 where tenant_id = $2 and digest = $3 and claimed_by = $1 and state = 'compiling'",
                )
                .bind(node)
                .bind(tenant.0)
                .bind(digest.0)
                .bind(i32::from(failure_backoff.is_some()))
                .bind(failure_backoff.unwrap_or_default().as_millis() as f64)
                .execute(connection)
                .await?;
                Ok(())
            })
        })
        .await
}

/// Releases an upload and moves it to the queue of large plugins.
pub async fn move_to_large(
    system: &SystemPool,
    node: Uuid,
    tenant: TenantId,
    digest: Digest,
) -> Result<(), StorageError> {
    system
        .transaction(move |connection| {
            Box::pin(async move {
                sqlx::query(
                    "update plugin_uploads
                 set state = 'waiting', claimed_by = null, claimed_until = null, attempts = attempts - 1,
                     profile = $4
                 where tenant_id = $2 and digest = $3 and claimed_by = $1 and state = 'compiling'",
                )
                .bind(node)
                .bind(tenant.0)
                .bind(digest.0)
                .bind(Profile::Large.name())
                .execute(connection)
                .await?;
                Ok(())
            })
        })
        .await
}

#[derive(Debug, Clone)]
pub enum UploadResult {
    /// This node compiled the plugin.
    Ready(Box<Plugin>),
    /// The plugin was already stored.
    Stored,
    Refused(String),
}

/// Stores the result of an upload. Returns `false` if this node has lost the claim. One transaction
/// stores the plugin, the tenant's right to use it, and that this node can run it.
pub async fn finish(
    system: &SystemPool,
    node: Uuid,
    tenant: TenantId,
    digest: Digest,
    result: UploadResult,
    now_ms: u64,
) -> Result<bool, StorageError> {
    system
        .transaction(move |connection| {
            Box::pin(async move {
                let uploaded_by: Option<String> = sqlx::query_scalar(
                    "select uploaded_by from plugin_uploads
                 where tenant_id = $2 and digest = $3 and claimed_by = $1 and state = 'compiling'
                 for update",
                )
                .bind(node)
                .bind(tenant.0)
                .bind(digest.0)
                .fetch_optional(&mut *connection)
                .await?;
                let Some(uploaded_by) = uploaded_by else { return Ok(false) };
                if let UploadResult::Ready(plugin) = &result {
                    insert(connection, plugin, Bytes::OfUpload(tenant), false, now_ms).await?;
                    nodes::report_on(connection, node, digest, None, now_ms).await?;
                }
                let why = match result {
                    UploadResult::Refused(why) => Some(why),
                    UploadResult::Ready(_) | UploadResult::Stored => {
                        grant(connection, tenant, digest, &uploaded_by, now_ms).await?;
                        None
                    }
                };
                write_result(connection, tenant, digest, why.as_deref(), now_ms).await?;
                if let Some(why) = why {
                    delete_old_refusals(connection, tenant).await?;
                    let after = Some(serde_json::json!({"why": why}).to_string());
                    let (actor, action, subject) =
                        (WORKER.to_owned(), Action::PluginRefused, digest.to_string());
                    let act =
                        Act { at_ms: now_ms, actor: actor.into(), action, subject, before: None, after };
                    audit::record(connection, tenant, &act).await?;
                }
                Ok(true)
            })
        })
        .await
}

async fn write_result(
    connection: &mut PgConnection,
    tenant: TenantId,
    digest: Digest,
    why: Option<&str>,
    now_ms: u64,
) -> Result<(), StorageError> {
    let state = if why.is_some() { UploadState::Refused } else { UploadState::Ready };
    sqlx::query(
        "update plugin_uploads
         set state = $3, why = $4, bytes = null, finished_at_ms = $5, claimed_by = null, claimed_until = null
         where tenant_id = $1 and digest = $2",
    )
    .bind(tenant.0)
    .bind(digest.0)
    .bind(state.name())
    .bind(why)
    .bind(bigint(now_ms))
    .execute(connection)
    .await?;
    Ok(())
}

/// Deletes only uploads. The audit log keeps their refusals.
async fn delete_old_refusals(connection: &mut PgConnection, tenant: TenantId) -> Result<(), StorageError> {
    sqlx::query(
        "delete from plugin_uploads
         where tenant_id = $1 and state = 'refused' and digest in (
             select digest from plugin_uploads
             where tenant_id = $1 and state = 'refused'
             order by finished_at_ms desc, digest
             offset $2
             for update skip locked)",
    )
    .bind(tenant.0)
    .bind(REFUSED_KEPT_MAX)
    .execute(connection)
    .await?;
    Ok(())
}
