//! Uploads: plugins that are waiting, being compiled, ready or refused. `claims` is for the workers
//! that compile them.
//!
//! A tenant must not be able to find out whether another tenant has the same plugin.

mod claims;

use sqlx::{PgConnection, Row};
use thiserror::Error;

pub use claims::{
    UploadClaim, UploadResult, UploadWork, claim, finish, is_any_waiting, move_to_large, release, renew,
};

use super::advisory_locks::TenantLock;
use super::columns::{bigint, named};
use super::plugins::find;
use super::pool::AppPool;
use super::query_error::OfStatement;
use super::{StorageError, audit};
use crate::domain::audit::{Act, Action};
use crate::domain::plugin::{Digest, Profile, TenantPlugin, UploadState};
use crate::domain::tenant::TenantId;

const WHAT: &str = "upload";

/// The limits of one tenant.
#[derive(Debug, Clone, Copy)]
pub struct UploadQuotas {
    /// Uploads that wait or are being compiled.
    pub waiting_max: u32,
    /// The same uploads, and plugins that are not retired.
    pub plugins_max: u32,
    /// The same, and retired plugins, since their bytes are kept.
    pub stored_max: u32,
}

#[derive(Debug, Error)]
pub enum NewUploadError {
    #[error("{0} plugins of the tenant are already waiting")]
    TooManyWaiting(u32),
    #[error("the tenant already has {0} plugins")]
    TooManyPlugins(u32),
    #[error("{0} plugins of the tenant are already stored")]
    TooManyStored(u32),
    #[error(transparent)]
    Storage(#[from] StorageError),
}

#[derive(Debug)]
pub struct NewUpload {
    pub tenant: TenantId,
    pub digest: Digest,
    pub bytes: Vec<u8>,
    /// The profile that the plugin is expected to need. It decides in which queue it waits.
    pub profile: Profile,
    pub actor: String,
    pub now_ms: u64,
}

/// The state of a plugin for a tenant before an upload.
struct ExistingPlugin {
    upload: Option<UploadState>,
    /// Whether the plugin is stored for this tenant or shared.
    usable: bool,
    retired: bool,
}

/// Creates an upload. If the plugin is already waiting, being compiled or ready, it stays as it is.
/// If it was refused, it waits again. If it is retired, it is restored.
pub async fn add(
    app: &AppPool,
    new: NewUpload,
    quotas: UploadQuotas,
) -> Result<TenantPlugin, NewUploadError> {
    app.transaction(new.tenant, move |connection| {
        Box::pin(async move {
            let digest = new.digest;
            TenantLock::Uploads(new.tenant).take_in_transaction(connection).await.of_statement()?;
            let existing = existing(connection, new.tenant, digest).await?;
            let pending = matches!(existing.upload, Some(UploadState::Waiting | UploadState::Compiling));
            if !pending && (!existing.usable || existing.retired) {
                let waits = !existing.usable;
                check_quotas(connection, new.tenant, quotas, waits).await?;
                insert(connection, new, waits, existing.retired).await?;
            }
            let plugin = find(connection, digest).await?;
            Ok(plugin.ok_or(StorageError::Unreadable { what: WHAT })?)
        })
    })
    .await
}

async fn existing(
    connection: &mut PgConnection,
    tenant: TenantId,
    digest: Digest,
) -> Result<ExistingPlugin, StorageError> {
    let row = sqlx::query(
        "select (select state from plugin_uploads where tenant_id = $1 and digest = $2) as upload,
                -- Row security hides the plugins of other tenants.
                exists (select from plugins where digest = $2) as usable,
                exists (select from tenant_plugins
                        where tenant_id = $1 and digest = $2 and retired_at_ms is not null) as retired",
    )
    .bind(tenant.0)
    .bind(digest.0)
    .fetch_one(connection)
    .await?;
    let upload: Option<&str> = row.try_get("upload")?;
    Ok(ExistingPlugin {
        upload: upload.map(|name| named(UploadState::parse(name), WHAT)).transpose()?,
        usable: row.try_get("usable")?,
        retired: row.try_get("retired")?,
    })
}

async fn check_quotas(
    connection: &mut PgConnection,
    tenant: TenantId,
    quotas: UploadQuotas,
    waits: bool,
) -> Result<(), NewUploadError> {
    let (waiting, kept, stored): (i64, i64, i64) = sqlx::query_as(
        "select (select count(*) from plugin_uploads where tenant_id = $1 and state in ('waiting', 'compiling')),
                (select count(*) from tenant_plugins where tenant_id = $1 and retired_at_ms is null),
                (select count(*) from tenant_plugins where tenant_id = $1)",
    )
    .bind(tenant.0)
    .fetch_one(connection)
    .await
    .of_statement()?;
    if waits && waiting >= i64::from(quotas.waiting_max) {
        return Err(NewUploadError::TooManyWaiting(quotas.waiting_max));
    }
    if waiting + kept >= i64::from(quotas.plugins_max) {
        return Err(NewUploadError::TooManyPlugins(quotas.plugins_max));
    }
    if waits && waiting + stored >= i64::from(quotas.stored_max) {
        return Err(NewUploadError::TooManyStored(quotas.stored_max));
    }
    Ok(())
}

async fn insert(
    connection: &mut PgConnection,
    new: NewUpload,
    waits: bool,
    was_retired: bool,
) -> Result<(), StorageError> {
    let NewUpload { tenant, digest, bytes, profile, actor, now_ms } = new;
    let state = if waits { UploadState::Waiting } else { UploadState::Ready };
    let size_bytes = bytes.len();
    sqlx::query(
        "insert into plugin_uploads (tenant_id, digest, bytes, size_bytes, state, uploaded_by, uploaded_at_ms,
                                     finished_at_ms, profile)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9)
         on conflict (tenant_id, digest) do update
             set bytes = excluded.bytes, size_bytes = excluded.size_bytes, state = excluded.state, why = null,
                 uploaded_by = excluded.uploaded_by, uploaded_at_ms = excluded.uploaded_at_ms,
                 finished_at_ms = excluded.finished_at_ms, profile = excluded.profile,
                 started_at_ms = null, claimed_until = null, attempts = 0, failures = 0",
    )
    .bind(tenant.0)
    .bind(digest.0)
    .bind(waits.then_some(bytes))
    .bind(i64::try_from(size_bytes).unwrap_or(i64::MAX))
    .bind(state.name())
    .bind(&actor)
    .bind(bigint(now_ms))
    .bind((!waits).then(|| bigint(now_ms)))
    .bind(profile.name())
    .execute(&mut *connection)
    .await?;
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
    let act = Act { at_ms: now_ms, actor: actor.into(), action, subject, before, after };
    audit::record(connection, tenant, &act).await?;
    Ok(())
}
