//! Plugins: their bytes once by digest, and which tenant may see which.
//!
//! Owns both tables. Must never change or delete bytes: a decision may name them.

use sqlx::postgres::PgRow;
use sqlx::{PgPool, Row};

use super::StorageError;
use super::columns::{bigint, digest as read_digest, ms, named};
use super::transaction::{as_system, as_tenant};
use crate::domain::plugin::{Description, Digest, Plugin, Profile};
use crate::domain::tenant::TenantId;

const WHAT: &str = "plugin";

/// Takes a plugin in. The same digest twice is one plugin; once shared, it stays shared.
pub async fn add(
    system: &PgPool,
    plugin: &Plugin,
    bytes: &[u8],
    shared: bool,
    now_ms: u64,
) -> Result<(), StorageError> {
    let (plugin, bytes) = (plugin.clone(), bytes.to_vec());
    as_system(system, move |connection| {
        Box::pin(async move {
            let Description { name, version, summary, settings_schema } = plugin.description;
            sqlx::query(
                "insert into plugins (digest, bytes, contract, profile, name, version, summary,
                                      settings_schema, compile_ms, shared, created_at_ms)
                 values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
                 on conflict (digest) do update set shared = true
                     where excluded.shared and not plugins.shared",
            )
            .bind(plugin.digest.0)
            .bind(bytes)
            .bind(plugin.contract)
            .bind(plugin.profile.name())
            .bind(name)
            .bind(version)
            .bind(summary)
            .bind(settings_schema)
            .bind(bigint(plugin.compile_ms))
            .bind(shared)
            .bind(bigint(now_ms))
            .execute(connection)
            .await?;
            Ok(())
        })
    })
    .await
}

/// Lets a tenant see and use a plugin that was added before.
pub async fn grant(
    app: &PgPool,
    tenant: TenantId,
    digest: Digest,
    uploaded_by: &str,
    now_ms: u64,
) -> Result<(), StorageError> {
    let uploaded_by = uploaded_by.to_owned();
    as_tenant(app, tenant, move |connection| {
        Box::pin(async move {
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
        })
    })
    .await
}

/// What the tenant may use: the shared ones and its own. Row security decides.
pub async fn list(app: &PgPool, tenant: TenantId) -> Result<Vec<Plugin>, StorageError> {
    as_tenant(app, tenant, |connection| {
        Box::pin(async move {
            let rows = sqlx::query(
                "select digest, octet_length(bytes) as size_bytes, contract, profile, name, version,
                        summary, settings_schema, compile_ms
                 from plugins
                 order by name, version, digest",
            )
            .fetch_all(connection)
            .await?;
            rows.iter().map(read).collect()
        })
    })
    .await
}

pub async fn get(app: &PgPool, tenant: TenantId, digest: Digest) -> Result<Option<Plugin>, StorageError> {
    as_tenant(app, tenant, move |connection| {
        Box::pin(async move {
            let row = sqlx::query(
                "select digest, octet_length(bytes) as size_bytes, contract, profile, name, version,
                        summary, settings_schema, compile_ms
                 from plugins
                 where digest = $1",
            )
            .bind(digest.0)
            .fetch_optional(connection)
            .await?;
            row.as_ref().map(read).transpose()
        })
    })
    .await
}

pub async fn bytes(app: &PgPool, tenant: TenantId, digest: Digest) -> Result<Option<Vec<u8>>, StorageError> {
    as_tenant(app, tenant, move |connection| {
        Box::pin(async move {
            let bytes = sqlx::query_scalar("select bytes from plugins where digest = $1")
                .bind(digest.0)
                .fetch_optional(connection)
                .await?;
            Ok(bytes)
        })
    })
    .await
}

/// What is stored and not among the known: a node loads these.
pub async fn missing(system: &PgPool, known: &[Digest]) -> Result<Vec<Digest>, StorageError> {
    let known: Vec<[u8; 32]> = known.iter().map(|digest| digest.0).collect();
    as_system(system, move |connection| {
        Box::pin(async move {
            let digests: Vec<Vec<u8>> = sqlx::query_scalar(
                "select digest from plugins where digest <> all ($1) order by created_at_ms, digest",
            )
            .bind(known)
            .fetch_all(connection)
            .await?;
            digests.iter().map(|digest| read_digest(digest, WHAT)).collect()
        })
    })
    .await
}

/// For nodes, whoever owns the plugin.
pub async fn bytes_any(system: &PgPool, digest: Digest) -> Result<Option<Vec<u8>>, StorageError> {
    as_system(system, move |connection| {
        Box::pin(async move {
            let bytes = sqlx::query_scalar("select bytes from plugins where digest = $1")
                .bind(digest.0)
                .fetch_optional(connection)
                .await?;
            Ok(bytes)
        })
    })
    .await
}

fn read(row: &PgRow) -> Result<Plugin, StorageError> {
    let size_bytes: i32 = row.try_get("size_bytes")?;
    Ok(Plugin {
        digest: read_digest(row.try_get("digest")?, WHAT)?,
        size_bytes: ms(size_bytes.into(), WHAT)?,
        contract: row.try_get("contract")?,
        profile: named(Profile::parse(row.try_get("profile")?), WHAT)?,
        description: Description {
            name: row.try_get("name")?,
            version: row.try_get("version")?,
            summary: row.try_get("summary")?,
            settings_schema: row.try_get("settings_schema")?,
        },
        compile_ms: ms(row.try_get("compile_ms")?, WHAT)?,
    })
}
