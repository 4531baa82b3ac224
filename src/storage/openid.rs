//! The settings of tenants for sign-in by OpenID Connect.
//!
//! An act must never have the client's secret, not even sealed.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sqlx::postgres::PgRow;
use sqlx::types::Json;
use sqlx::{PgConnection, Row};
use thiserror::Error;

use super::columns::{bigint, ms, named};
use super::pool::AppPool;
use super::query_error::OfStatement;
use super::{StorageError, audit};
use crate::domain::audit::{Act, Action, Authority};
use crate::domain::openid::{IssuerAddress, MappedRole, OpenidSettings};
use crate::domain::tenant::TenantId;
use crate::domain::user::Role;

const WHAT: &str = "settings of OpenID Connect";

/// Settings with who made them, and when.
#[derive(Debug, Clone)]
pub struct StoredOpenidSettings {
    pub settings: OpenidSettings,
    pub changed_by: String,
    pub changed_at_ms: u64,
}

#[derive(Debug, Error)]
pub enum ApplyOpenidError {
    #[error("nobody who may change users has signed in by this provider")]
    NoAdministrator,
    #[error(transparent)]
    Storage(#[from] StorageError),
}

#[derive(Serialize, Deserialize)]
struct StoredRole {
    value: String,
    role: String,
}

pub async fn find(app: &AppPool, tenant: TenantId) -> Result<Option<StoredOpenidSettings>, StorageError> {
    app.transaction(tenant, move |connection| {
        Box::pin(async move {
            let row =
                sqlx::query("select * from openid_settings where tenant_id = $1 and removed_at_ms is null")
                    .bind(tenant.0)
                    .fetch_optional(connection)
                    .await?;
            row.as_ref().map(read).transpose()
        })
    })
    .await
}

/// `None` removes the settings. Passwords can be switched off only once an administrator has come
/// from the same provider, so that the settings are known to let somebody in.
pub async fn apply(
    app: &AppPool,
    tenant: TenantId,
    actor: Authority,
    settings: Option<OpenidSettings>,
    now_ms: u64,
) -> Result<(), ApplyOpenidError> {
    app.transaction(tenant, move |connection| {
        Box::pin(async move {
            let before = locked(connection, tenant).await?;
            match &settings {
                Some(settings) => {
                    if !settings.password_sign_in && !has_administrator(connection, tenant, settings).await? {
                        return Err(ApplyOpenidError::NoAdministrator);
                    }
                    store(connection, tenant, settings, actor.name(), now_ms).await?;
                }
                None => remove(connection, tenant, now_ms).await?,
            }
            record(connection, tenant, actor, before.as_ref(), settings.as_ref(), now_ms).await?;
            Ok(())
        })
    })
    .await
}

/// The way out if a provider lets nobody in any more. Returns whether that changed anything.
pub async fn allow_passwords(
    app: &AppPool,
    tenant: TenantId,
    actor: Authority,
    now_ms: u64,
) -> Result<bool, StorageError> {
    app.transaction(tenant, move |connection| {
        Box::pin(async move {
            let Some(before) = locked(connection, tenant).await?.filter(|found| !found.password_sign_in)
            else {
                return Ok(false);
            };
            let after = OpenidSettings { password_sign_in: true, ..before.clone() };
            store(connection, tenant, &after, actor.name(), now_ms).await?;
            record(connection, tenant, actor, Some(&before), Some(&after), now_ms).await?;
            Ok(true)
        })
    })
    .await
}

async fn locked(
    connection: &mut PgConnection,
    tenant: TenantId,
) -> Result<Option<OpenidSettings>, StorageError> {
    let statement = "select * from openid_settings
                     where tenant_id = $1 and removed_at_ms is null for update";
    let row = sqlx::query(statement).bind(tenant.0).fetch_optional(connection).await?;
    Ok(row.as_ref().map(read).transpose()?.map(|stored| stored.settings))
}

async fn has_administrator(
    connection: &mut PgConnection,
    tenant: TenantId,
    settings: &OpenidSettings,
) -> Result<bool, ApplyOpenidError> {
    let found = sqlx::query_scalar(
        "select exists(select from users
                       where tenant_id = $1 and openid_issuer = $2 and disabled_at_ms is null
                         and roles && array['admin', 'operator'])",
    )
    .bind(tenant.0)
    .bind(settings.issuer.as_str())
    .fetch_one(connection)
    .await
    .of_statement()?;
    Ok(found)
}

async fn store(
    connection: &mut PgConnection,
    tenant: TenantId,
    settings: &OpenidSettings,
    actor: &str,
    now_ms: u64,
) -> Result<(), StorageError> {
    sqlx::query(
        "insert into openid_settings (tenant_id, issuer, client_id, client_secret_sealed, roles_claim,
                                      role_mapping, password_sign_in, changed_by, changed_at_ms)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9)
         on conflict (tenant_id) do update
         set issuer = excluded.issuer, client_id = excluded.client_id,
             client_secret_sealed = excluded.client_secret_sealed, roles_claim = excluded.roles_claim,
             role_mapping = excluded.role_mapping, password_sign_in = excluded.password_sign_in,
             changed_by = excluded.changed_by, changed_at_ms = excluded.changed_at_ms,
             removed_at_ms = null",
    )
    .bind(tenant.0)
    .bind(settings.issuer.as_str())
    .bind(&settings.client_id)
    .bind(&settings.client_secret_sealed)
    .bind(&settings.roles_claim)
    .bind(Json(mapping(settings)))
    .bind(settings.password_sign_in)
    .bind(actor)
    .bind(bigint(now_ms))
    .execute(connection)
    .await?;
    Ok(())
}

async fn remove(connection: &mut PgConnection, tenant: TenantId, now_ms: u64) -> Result<(), StorageError> {
    let statement = "update openid_settings set removed_at_ms = $2, client_secret_sealed = null
                     where tenant_id = $1 and removed_at_ms is null";
    sqlx::query(statement).bind(tenant.0).bind(bigint(now_ms)).execute(connection).await?;
    Ok(())
}

async fn record(
    connection: &mut PgConnection,
    tenant: TenantId,
    actor: Authority,
    before: Option<&OpenidSettings>,
    after: Option<&OpenidSettings>,
    now_ms: u64,
) -> Result<(), StorageError> {
    if before == after {
        return Ok(());
    }
    let act = Act {
        at_ms: now_ms,
        actor,
        action: Action::OpenidChanged,
        subject: after.or(before).map(|settings| settings.issuer.as_str().to_owned()).unwrap_or_default(),
        before: before.map(|settings| shown(settings).to_string()),
        after: after.map(|settings| shown(settings).to_string()),
    };
    audit::record(connection, tenant, &act).await?;
    Ok(())
}

fn mapping(settings: &OpenidSettings) -> Vec<StoredRole> {
    let stored =
        |mapped: &MappedRole| StoredRole { value: mapped.value.clone(), role: mapped.role.name().to_owned() };
    settings.role_mapping.iter().map(stored).collect()
}

fn shown(settings: &OpenidSettings) -> Value {
    json!({
        "issuer": settings.issuer.as_str(),
        "client_id": settings.client_id,
        "client_secret": settings.client_secret_sealed.is_some(),
        "roles_claim": settings.roles_claim,
        "role_mapping": mapping(settings),
        "password_sign_in": settings.password_sign_in,
    })
}

fn read(row: &PgRow) -> Result<StoredOpenidSettings, StorageError> {
    let issuer: String = row.try_get("issuer")?;
    let Json(mapping): Json<Vec<StoredRole>> = row.try_get("role_mapping")?;
    let mapped = |stored: StoredRole| {
        named(Role::parse(&stored.role), WHAT).map(|role| MappedRole { value: stored.value, role })
    };
    Ok(StoredOpenidSettings {
        settings: OpenidSettings {
            issuer: IssuerAddress::try_from(issuer).map_err(|_| StorageError::Unreadable { what: WHAT })?,
            client_id: row.try_get("client_id")?,
            client_secret_sealed: row.try_get("client_secret_sealed")?,
            roles_claim: row.try_get("roles_claim")?,
            role_mapping: mapping.into_iter().map(mapped).collect::<Result<_, _>>()?,
            password_sign_in: row.try_get("password_sign_in")?,
        },
        changed_by: row.try_get("changed_by")?,
        changed_at_ms: ms(row.try_get("changed_at_ms")?, WHAT)?,
    })
}
