//! What tenants handed in and what becomes of it: waiting, compiling, ready or refused.
//!
//! Owns the queue and its claims, by the database's clock. Must never let go
//! of bytes before the plugin they became is stored, in the same transaction.

use sqlx::{PgConnection, PgPool, Row};
use thiserror::Error;
use uuid::Uuid;

use super::columns::{bigint, digest as read_digest, named};
use super::plugins::{Bytes, find, grant, insert};
use super::transaction::{as_system, as_tenant};
use super::{StorageError, audit, nodes};
use crate::domain::audit::{Act, Action};
use crate::domain::plugin::{Digest, Plugin, TenantPlugin, UploadState};
use crate::domain::tenant::TenantId;

const WHAT: &str = "upload";

/// What the refusal of a plugin is recorded under: nobody asked for it.
const WORKER: &str = "tollgate";

/// Of one tenant.
#[derive(Debug, Clone, Copy)]
pub struct UploadQuotas {
    /// Uploads that wait or are compiled.
    pub waiting_max: u32,
    /// Plugins that are not retired, those included.
    pub plugins_max: u32,
}

#[derive(Debug, Error)]
pub enum HandInError {
    #[error("{0} plugins of the tenant are waiting already")]
    TooManyWaiting(u32),
    #[error("the tenant has {0} plugins already")]
    TooManyPlugins(u32),
    #[error(transparent)]
    Storage(#[from] StorageError),
}

#[derive(Debug)]
pub struct NewUpload {
    pub tenant: TenantId,
    pub digest: Digest,
    pub bytes: Vec<u8>,
    pub actor: String,
    pub now_ms: u64,
    /// Whether `plugins` has the bytes, from whomever: then nothing is to be compiled.
    pub stored: bool,
}

/// What a tenant has of a plugin already.
struct Standing {
    upload: Option<UploadState>,
    granted: bool,
    retired: bool,
}

/// Hands bytes in. What waits, is compiled or is ready stays as it is; what was
/// refused waits anew, what was retired is taken up again.
pub async fn hand_in(
    app: &PgPool,
    new: NewUpload,
    quotas: UploadQuotas,
) -> Result<TenantPlugin, HandInError> {
    as_tenant(app, new.tenant, move |connection| {
        Box::pin(async move {
            let digest = new.digest;
            lock(connection, new.tenant).await?;
            let standing = standing(connection, new.tenant, digest).await?;
            let under_way = matches!(standing.upload, Some(UploadState::Waiting | UploadState::Compiling));
            if !under_way && (!standing.granted || standing.retired) {
                let waits = !standing.granted && !new.stored;
                keep_quotas(connection, new.tenant, quotas, waits).await?;
                enter(connection, new, waits, standing.retired).await?;
            }
            let seen = find(connection, digest).await?;
            Ok(seen.ok_or(StorageError::Unreadable { what: WHAT })?)
        })
    })
    .await
}

/// The tenant's uploads one after the other: quotas count what is there.
async fn lock(connection: &mut PgConnection, tenant: TenantId) -> Result<(), StorageError> {
    sqlx::query("select pg_advisory_xact_lock(hashtextextended($1, 0))")
        .bind(format!("uploads {tenant}"))
        .execute(connection)
        .await?;
    Ok(())
}

async fn standing(
    connection: &mut PgConnection,
    tenant: TenantId,
    digest: Digest,
) -> Result<Standing, StorageError> {
    let row = sqlx::query(
        "select (select state from plugin_uploads where tenant_id = $1 and digest = $2) as upload,
                exists (select from tenant_plugins where tenant_id = $1 and digest = $2) as granted,
                exists (select from tenant_plugins
                        where tenant_id = $1 and digest = $2 and retired_at_ms is not null) as retired",
    )
    .bind(tenant.0)
    .bind(digest.0)
    .fetch_one(connection)
    .await?;
    let upload: Option<&str> = row.try_get("upload")?;
    Ok(Standing {
        upload: upload.map(|name| named(UploadState::parse(name), WHAT)).transpose()?,
        granted: row.try_get("granted")?,
        retired: row.try_get("retired")?,
    })
}

async fn keep_quotas(
    connection: &mut PgConnection,
    tenant: TenantId,
    quotas: UploadQuotas,
    waits: bool,
) -> Result<(), HandInError> {
    let (waiting, kept): (i64, i64) = sqlx::query_as(
        "select (select count(*) from plugin_uploads where tenant_id = $1 and state in ('waiting', 'compiling')),
                (select count(*) from tenant_plugins where tenant_id = $1 and retired_at_ms is null)",
    )
    .bind(tenant.0)
    .fetch_one(connection)
    .await
    .map_err(StorageError::from)?;
    if waits && waiting >= i64::from(quotas.waiting_max) {
        return Err(HandInError::TooManyWaiting(quotas.waiting_max));
    }
    if waiting + kept >= i64::from(quotas.plugins_max) {
        return Err(HandInError::TooManyPlugins(quotas.plugins_max));
    }
    Ok(())
}

async fn enter(
    connection: &mut PgConnection,
    new: NewUpload,
    waits: bool,
    was_retired: bool,
) -> Result<(), StorageError> {
    let NewUpload { tenant, digest, bytes, actor, now_ms, .. } = new;
    let state = if waits { UploadState::Waiting } else { UploadState::Ready };
    let size_bytes = bytes.len();
    sqlx::query(
        "insert into plugin_uploads (tenant_id, digest, bytes, size_bytes, state, uploaded_by, uploaded_at_ms,
                                     finished_at_ms)
         values ($1, $2, $3, $4, $5, $6, $7, $8)
         on conflict (tenant_id, digest) do update
             set bytes = excluded.bytes, size_bytes = excluded.size_bytes, state = excluded.state, why = null,
                 uploaded_by = excluded.uploaded_by, uploaded_at_ms = excluded.uploaded_at_ms,
                 finished_at_ms = excluded.finished_at_ms, claimed_until = null, attempts = 0",
    )
    .bind(tenant.0)
    .bind(digest.0)
    .bind(waits.then_some(bytes))
    .bind(i64::try_from(size_bytes).unwrap_or(i64::MAX))
    .bind(state.name())
    .bind(&actor)
    .bind(bigint(now_ms))
    .bind((!waits).then(|| bigint(now_ms)))
    .execute(&mut *connection)
    .await?;
    if !waits {
        grant(connection, tenant, digest, &actor, now_ms).await?;
    }
    if was_retired {
        sqlx::query(
            "update tenant_plugins set retired_at_ms = null, retired_by = null
             where tenant_id = $1 and digest = $2",
        )
        .bind(tenant.0)
        .bind(digest.0)
        .execute(&mut *connection)
        .await?;
    }
    let before = was_retired.then(|| serde_json::json!({"retired": true}).to_string());
    let after = Some(serde_json::json!({"state": state.name(), "size_bytes": size_bytes}).to_string());
    let (action, subject) = (Action::PluginUploaded, digest.to_string());
    let act = Act { at_ms: now_ms, actor, action, subject, before, after };
    audit::record(connection, tenant, &act).await?;
    Ok(())
}

/// An upload that this node is at work on.
#[derive(Debug, Clone)]
pub struct Claim {
    pub tenant: TenantId,
    pub digest: Digest,
    pub bytes: Vec<u8>,
    /// This one included. Those before it ended without a word.
    pub attempts: i32,
    /// Whether somebody else's upload of the same bytes was taken in meanwhile.
    pub stored: bool,
}

/// Takes the next upload. First come tenants none of whose uploads is at work,
/// then those who were served longest ago: a long queue holds up no other tenant.
pub async fn claim(system: &PgPool, node: Uuid, lease_ms: u32) -> Result<Option<Claim>, StorageError> {
    as_system(system, move |connection| {
        Box::pin(async move {
            let row = sqlx::query(
                "with tenants_waiting as (
                     select tenant_id, bool_or(state = 'compiling' and claimed_until > now()) as at_work,
                            (select max(earlier.finished_at_ms) from plugin_uploads earlier
                             where earlier.tenant_id = pending.tenant_id) as served_at_ms
                     from plugin_uploads pending
                     where state in ('waiting', 'compiling')
                     group by tenant_id
                 ), next as (
                     select u.tenant_id, u.digest
                     from plugin_uploads u join tenants_waiting t using (tenant_id)
                     where u.state in ('waiting', 'compiling')
                       and (u.claimed_until is null or u.claimed_until < now())
                     order by t.at_work, t.served_at_ms nulls first, u.uploaded_at_ms, u.digest
                     limit 1
                     for update of u skip locked
                 )
                 update plugin_uploads u
                 set state = 'compiling', claimed_by = $1, attempts = attempts + 1,
                     claimed_until = now() + make_interval(secs => $2 / 1000.0)
                 from next
                 where u.tenant_id = next.tenant_id and u.digest = next.digest
                 returning u.tenant_id, u.digest, u.bytes, u.attempts,
                           exists (select from plugins p where p.digest = u.digest) as stored",
            )
            .bind(node)
            .bind(f64::from(lease_ms))
            .fetch_optional(connection)
            .await?;
            let Some(row) = row else { return Ok(None) };
            Ok(Some(Claim {
                tenant: TenantId(row.try_get("tenant_id")?),
                digest: read_digest(row.try_get("digest")?, WHAT)?,
                bytes: row.try_get("bytes")?,
                attempts: row.try_get("attempts")?,
                stored: row.try_get("stored")?,
            }))
        })
    })
    .await
}

/// Keeps a claim. False when it is not this node's any more.
pub async fn renew(
    system: &PgPool,
    node: Uuid,
    tenant: TenantId,
    digest: Digest,
    lease_ms: u32,
) -> Result<bool, StorageError> {
    as_system(system, move |connection| {
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

/// Gives an upload back that this node could not finish through no fault of
/// the bytes; nobody takes it up before `pause_ms` have passed.
pub async fn release(
    system: &PgPool,
    node: Uuid,
    tenant: TenantId,
    digest: Digest,
    pause_ms: u32,
) -> Result<(), StorageError> {
    as_system(system, move |connection| {
        Box::pin(async move {
            sqlx::query(
                "update plugin_uploads
                 set state = 'waiting', claimed_by = null, attempts = attempts - 1,
                     claimed_until = now() + make_interval(secs => $4 / 1000.0)
                 where tenant_id = $2 and digest = $3 and claimed_by = $1 and state = 'compiling'",
            )
            .bind(node)
            .bind(tenant.0)
            .bind(digest.0)
            .bind(f64::from(pause_ms))
            .execute(connection)
            .await?;
            Ok(())
        })
    })
    .await
}

/// How an upload ends.
#[derive(Debug, Clone)]
pub enum Ending {
    /// What this node made of it.
    Ready(Box<Plugin>),
    /// Its bytes are stored already.
    Stored,
    Refused(String),
}

/// Writes the end of an upload, unless another node has taken it over. All in
/// one: the plugin, the tenant's right to it, and that this node can run it.
pub async fn finish(
    system: &PgPool,
    node: Uuid,
    tenant: TenantId,
    digest: Digest,
    ending: Ending,
    now_ms: u64,
) -> Result<bool, StorageError> {
    as_system(system, move |connection| {
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
            if let Ending::Ready(plugin) = &ending {
                insert(connection, plugin, Bytes::OfUpload(tenant), false, now_ms).await?;
                nodes::report_on(connection, node, digest, None, now_ms).await?;
            }
            let why = match ending {
                Ending::Refused(why) => Some(why),
                Ending::Ready(_) | Ending::Stored => {
                    grant(connection, tenant, digest, &uploaded_by, now_ms).await?;
                    None
                }
            };
            end(connection, tenant, digest, why.as_deref(), now_ms).await?;
            if let Some(why) = why {
                let after = Some(serde_json::json!({"why": why}).to_string());
                let (actor, action, subject) = (WORKER.to_owned(), Action::PluginRefused, digest.to_string());
                let act = Act { at_ms: now_ms, actor, action, subject, before: None, after };
                audit::record(connection, tenant, &act).await?;
            }
            Ok(true)
        })
    })
    .await
}

async fn end(
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
