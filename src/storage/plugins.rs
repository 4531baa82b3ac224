//! Plugins: their bytes, stored once per digest, and which tenant may use which.
//!
//! Bytes must never be changed or deleted: a decision may refer to them.

use std::sync::Arc;

use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row};
use thiserror::Error;

use super::columns::{bigint, digest as read_digest, ms, named};
use super::pool::{AppPool, SystemPool};
use super::query_error::OfStatement;
use super::{StorageError, audit, rulesets};
use crate::domain::audit::{Act, Action};
use crate::domain::plugin::{Description, Digest, Plugin, Profile, QueuePlace, TenantPlugin, UploadState};
use crate::domain::ruleset::DecisionPoint;
use crate::domain::tenant::TenantId;

const WHAT: &str = "plugin";

/// Where a plugin's bytes come from.
pub(super) enum Bytes<'b> {
    Given(&'b [u8]),
    /// The bytes of the tenant's upload.
    OfUpload(TenantId),
}

/// Stores a plugin. If it is already stored, its bytes stay, and a shared plugin stays shared.
pub async fn add(
    system: &SystemPool,
    plugin: &Plugin,
    bytes: &[u8],
    shared: bool,
    now_ms: u64,
) -> Result<(), StorageError> {
    let (plugin, bytes) = (plugin.clone(), bytes.to_vec());
    system
        .transaction(move |connection| {
            Box::pin(async move { insert(connection, &plugin, Bytes::Given(&bytes), shared, now_ms).await })
        })
        .await
}

pub(super) async fn insert(
    connection: &mut PgConnection,
    plugin: &Plugin,
    bytes: Bytes<'_>,
    shared: bool,
    now_ms: u64,
) -> Result<(), StorageError> {
    let (given, of_tenant) = match bytes {
        Bytes::Given(bytes) => (Some(bytes), None),
        Bytes::OfUpload(tenant) => (None, Some(tenant.0)),
    };
    let Description { name, version, summary, settings_schema } = &plugin.description;
    sqlx::query(
        "insert into plugins (digest, bytes, contract, profile, name, version, summary, settings_schema,
                              compile_ms, shared, created_at_ms, imports)
         values ($1, coalesce($2, (select bytes from plugin_uploads where tenant_id = $3 and digest = $1)),
                 $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)
         on conflict (digest) do update set shared = plugins.shared or excluded.shared, imports = excluded.imports
             where (excluded.shared and not plugins.shared) or plugins.imports <> excluded.imports",
    )
    .bind(plugin.digest.0)
    .bind(given)
    .bind(of_tenant)
    .bind(&plugin.contract)
    .bind(plugin.profile.name())
    .bind(name)
    .bind(version)
    .bind(summary)
    .bind(settings_schema)
    .bind(bigint(plugin.compile_ms))
    .bind(shared)
    .bind(bigint(now_ms))
    .bind(&plugin.imports)
    .execute(connection)
    .await?;
    Ok(())
}

/// Lets a tenant see and use a stored plugin.
pub(super) async fn grant(
    connection: &mut PgConnection,
    tenant: TenantId,
    digest: Digest,
    uploaded_by: &str,
    now_ms: u64,
) -> Result<(), StorageError> {
    sqlx::query(
        "insert into tenant_plugins (tenant_id, digest, uploaded_by, created_at_ms)
         values ($1, $2, $3, $4)
         on conflict (tenant_id, digest) do nothing",
    )
    .bind(tenant.0)
    .bind(digest.0)
    .bind(uploaded_by)
    .bind(bigint(now_ms))
    .execute(connection)
    .await?;
    Ok(())
}

/// The plugins that row security shows to a tenant: shared ones, its own, and its uploads.
macro_rules! seen {
    ($then:literal) => {
        concat!(
            "select coalesce(p.digest, u.digest) as digest,
                    coalesce(octet_length(p.bytes)::bigint, u.size_bytes) as size_bytes,
                    case when p.digest is null then u.state else 'ready' end as state,
                    case when p.digest is null then u.why end as why,
                    coalesce(u.uploaded_by, own.uploaded_by) as uploaded_by,
                    coalesce(u.uploaded_at_ms, own.created_at_ms) as uploaded_at_ms,
                    case when p.digest is null and u.state in ('waiting', 'compiling') then
                        (select count(*) from plugin_uploads other
                         where other.tenant_id = u.tenant_id and other.profile = u.profile
                           and other.state in ('waiting', 'compiling')
                           and (other.uploaded_at_ms, other.digest) < (u.uploaded_at_ms, u.digest))
                    end as ahead,
                    case when u.state = 'compiling' then u.started_at_ms end as started_at_ms,
                    coalesce(p.shared, false) as shared,
                    case when not p.shared then own.retired_at_ms end as retired_at_ms,
                    p.contract, p.profile, p.name, p.version, p.summary, p.settings_schema, p.compile_ms, p.imports
             from plugins p
             full join plugin_uploads u on u.digest = p.digest
             left join tenant_plugins own on own.digest = p.digest ",
            $then
        )
    };
}

/// The tenant's plugins and uploads, by name.
pub async fn list(app: &AppPool, tenant: TenantId) -> Result<Vec<TenantPlugin>, StorageError> {
    app.transaction(tenant, |connection| {
        Box::pin(async move {
            let rows = sqlx::query(seen!("order by p.name nulls last, p.version, u.uploaded_at_ms, digest"))
                .fetch_all(connection)
                .await?;
            rows.iter().map(read_seen).collect()
        })
    })
    .await
}

pub async fn get(
    app: &AppPool,
    tenant: TenantId,
    digest: Digest,
) -> Result<Option<TenantPlugin>, StorageError> {
    app.transaction(tenant, move |connection| Box::pin(find(connection, digest))).await
}

pub(super) async fn find(
    connection: &mut PgConnection,
    digest: Digest,
) -> Result<Option<TenantPlugin>, StorageError> {
    let row = sqlx::query(seen!("where p.digest = $1 or u.digest = $1"))
        .bind(digest.0)
        .fetch_optional(connection)
        .await?;
    row.as_ref().map(read_seen).transpose()
}

/// At most `size_bytes` of the plugin's bytes, from an offset. `None` if the tenant has no such
/// plugin.
pub async fn part(
    app: &AppPool,
    tenant: TenantId,
    digest: Digest,
    offset_bytes: u32,
    size_bytes: u32,
) -> Result<Option<Vec<u8>>, StorageError> {
    app.transaction(tenant, move |connection| {
        Box::pin(async move {
            let part = sqlx::query_scalar(
                "select substring(bytes from $2::integer + 1 for $3::integer) from plugins where digest = $1",
            )
            .bind(digest.0)
            .bind(i64::from(offset_bytes))
            .bind(i64::from(size_bytes))
            .fetch_optional(connection)
            .await?;
            Ok(part)
        })
    })
    .await
}

#[derive(Debug, Error)]
pub enum RetireError {
    #[error("there is no such plugin")]
    Unknown,
    #[error("the plugin is shared by all tenants")]
    Shared,
    /// The revision is active, the canary or the shadow.
    #[error("the revision {revision} uses the plugin")]
    InUse { revision: i32 },
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// Retires a plugin: new revisions of the tenant cannot use it. A repeated call has no effect.
pub async fn retire(
    app: &AppPool,
    tenant: TenantId,
    digest: Digest,
    actor: &str,
    now_ms: u64,
) -> Result<TenantPlugin, RetireError> {
    let actor = actor.to_owned();
    app.transaction(tenant, move |connection| {
        Box::pin(async move {
            // This comes first, since it locks the deployment: no activation can use the plugin
            // meanwhile.
            for (revision, plugins) in
                rulesets::plugins_in_deployment(connection, tenant, DecisionPoint::Payment).await?
            {
                if plugins.contains(&digest) {
                    return Err(RetireError::InUse { revision });
                }
            }
            let seen = find(connection, digest).await?.filter(|seen| seen.plugin.is_some());
            let seen = seen.ok_or(RetireError::Unknown)?;
            if seen.shared {
                return Err(RetireError::Shared);
            }
            let retired = sqlx::query(
                "update tenant_plugins set retired_at_ms = $3, retired_by = $4
                 where tenant_id = $1 and digest = $2 and retired_at_ms is null",
            )
            .bind(tenant.0)
            .bind(digest.0)
            .bind(bigint(now_ms))
            .bind(&actor)
            .execute(&mut *connection)
            .await
            .of_statement()?;
            if retired.rows_affected() == 0 {
                return Ok(seen);
            }
            let told = |retired: bool| Some(serde_json::json!({"retired": retired}).to_string());
            let (action, subject) = (Action::PluginRetired, digest.to_string());
            let act = Act {
                at_ms: now_ms,
                actor: actor.into(),
                action,
                subject,
                before: told(false),
                after: told(true),
            };
            audit::record(connection, tenant, &act).await?;
            Ok(TenantPlugin { retired_at_ms: Some(now_ms), ..seen })
        })
    })
    .await
}

/// For nodes: the profile of any tenant's plugin.
pub async fn profile_any(system: &SystemPool, digest: Digest) -> Result<Option<Profile>, StorageError> {
    system
        .transaction(move |connection| {
            Box::pin(async move {
                let name: Option<String> =
                    sqlx::query_scalar("select profile from plugins where digest = $1")
                        .bind(digest.0)
                        .fetch_optional(connection)
                        .await?;
                name.map(|name| named(Profile::parse(&name), WHAT)).transpose()
            })
        })
        .await
}

/// For nodes: the bytes of any tenant's plugin. They may be megabytes, so the caller must have a
/// turn to compile.
pub async fn bytes_any(system: &SystemPool, digest: Digest) -> Result<Option<Arc<[u8]>>, StorageError> {
    system
        .transaction(move |connection| {
            Box::pin(async move {
                let row = sqlx::query("select bytes from plugins where digest = $1")
                    .bind(digest.0)
                    .fetch_optional(connection)
                    .await?;
                row.as_ref().map(|row| shared_bytes(row, "bytes")).transpose()
            })
        })
        .await
}

/// Copies the bytes once, out of the received row.
pub(super) fn shared_bytes(row: &PgRow, column: &str) -> Result<Arc<[u8]>, StorageError> {
    let bytes: &[u8] = row.try_get(column)?;
    Ok(bytes.into())
}

fn read_seen(row: &PgRow) -> Result<TenantPlugin, StorageError> {
    let uploaded_at_ms: Option<i64> = row.try_get("uploaded_at_ms")?;
    let retired_at_ms: Option<i64> = row.try_get("retired_at_ms")?;
    let (digest, size_bytes) = (read_digest(row.try_get("digest")?, WHAT)?, row.try_get("size_bytes")?);
    let size_bytes = ms(size_bytes, WHAT)?;
    Ok(TenantPlugin {
        digest,
        size_bytes,
        state: named(UploadState::parse(row.try_get("state")?), WHAT)?,
        why: row.try_get("why")?,
        uploaded_by: row.try_get("uploaded_by")?,
        uploaded_at_ms: uploaded_at_ms.map(|at_ms| ms(at_ms, WHAT)).transpose()?,
        queue_place: read_queue_place(row)?,
        shared: row.try_get("shared")?,
        retired_at_ms: retired_at_ms.map(|at_ms| ms(at_ms, WHAT)).transpose()?,
        plugin: read_plugin(row, digest, size_bytes)?,
    })
}

fn read_queue_place(row: &PgRow) -> Result<Option<QueuePlace>, StorageError> {
    let Some(ahead) = row.try_get::<Option<i64>, _>("ahead")? else { return Ok(None) };
    let started_at_ms: Option<i64> = row.try_get("started_at_ms")?;
    let started_at_ms = started_at_ms.map(|at_ms| ms(at_ms, WHAT)).transpose()?;
    Ok(Some(QueuePlace { ahead: ms(ahead, WHAT)?, started_at_ms }))
}

fn read_plugin(row: &PgRow, digest: Digest, size_bytes: u64) -> Result<Option<Plugin>, StorageError> {
    let Some(contract) = row.try_get("contract")? else { return Ok(None) };
    Ok(Some(Plugin {
        digest,
        size_bytes,
        contract,
        profile: named(Profile::parse(row.try_get("profile")?), WHAT)?,
        description: Description {
            name: row.try_get("name")?,
            version: row.try_get("version")?,
            summary: row.try_get("summary")?,
            settings_schema: row.try_get("settings_schema")?,
        },
        imports: row.try_get("imports")?,
        compile_ms: ms(row.try_get("compile_ms")?, WHAT)?,
    }))
}
