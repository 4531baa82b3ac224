//! Tenants and their clients. Only hashes of the clients' secrets are stored.
//!
//! Sign-in is the only lookup without a tenant.

use serde_json::json;
use sqlx::Row;
use uuid::Uuid;

use super::columns::bigint;
use super::pool::{AppPool, SystemPool};
use super::removals::retention_of;
use super::{StorageError, audit};
use crate::domain::audit::{Act, Action};
use crate::domain::retention::RetentionMonths;
use crate::domain::tenant::{ClientId, Scope, TenantId};

#[derive(Debug, Clone)]
pub struct NewClient {
    pub tenant: TenantId,
    pub id: ClientId,
    pub name: String,
    /// In the PHC string format.
    pub secret_hash: String,
    pub scopes: Vec<Scope>,
    /// `None` uses the node's setting. Zero means no limit.
    pub requests_per_s: Option<u32>,
    pub created_by: String,
    pub created_at_ms: u64,
}

/// The data for sign-in.
#[derive(Clone, PartialEq, Eq)]
pub struct ClientCredentials {
    pub tenant: TenantId,
    pub secret_hash: String,
    pub scopes: Vec<Scope>,
    pub requests_per_s: Option<u32>,
}

impl std::fmt::Debug for ClientCredentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClientCredentials").field("tenant", &self.tenant).finish_non_exhaustive()
    }
}

/// Returns a unique violation if the name is already taken.
pub async fn create_tenant(
    system: &SystemPool,
    id: TenantId,
    name: &str,
    now_ms: u64,
    created_by: &str,
) -> Result<(), StorageError> {
    let (name, created_by) = (name.to_owned(), created_by.to_owned());
    system
        .transaction(move |connection| {
            Box::pin(async move {
                sqlx::query("insert into tenants (id, name, created_at_ms) values ($1, $2, $3)")
                    .bind(id.0)
                    .bind(&name)
                    .bind(bigint(now_ms))
                    .execute(&mut *connection)
                    .await?;
                let act = Act {
                    at_ms: now_ms,
                    actor: created_by,
                    action: Action::TenantCreated,
                    after: Some(json!({"id": id, "name": name}).to_string()),
                    subject: name,
                    before: None,
                };
                audit::record(connection, id, &act).await?;
                Ok(())
            })
        })
        .await
}

pub async fn tenant_by_name(system: &SystemPool, name: &str) -> Result<Option<TenantId>, StorageError> {
    let name = name.to_owned();
    system
        .transaction(move |connection| {
            Box::pin(async move {
                let id: Option<Uuid> = sqlx::query_scalar("select id from tenants where name = $1")
                    .bind(name)
                    .fetch_optional(connection)
                    .await?;
                Ok(id.map(TenantId))
            })
        })
        .await
}

/// `None` if everything is kept.
pub async fn retention(app: &AppPool, tenant: TenantId) -> Result<Option<RetentionMonths>, StorageError> {
    app.transaction(tenant, move |connection| {
        Box::pin(async move {
            let months = sqlx::query_scalar("select retention_months from tenants where id = $1")
                .bind(tenant.0)
                .fetch_one(connection)
                .await?;
            Ok(retention_of(months))
        })
    })
    .await
}

/// Returns the retention before. Nothing is recorded if it stays as it is.
pub async fn set_retention(
    system: &SystemPool,
    tenant: TenantId,
    retention: Option<RetentionMonths>,
    actor: &str,
    now_ms: u64,
) -> Result<Option<RetentionMonths>, StorageError> {
    let actor = actor.to_owned();
    system
        .transaction(move |connection| {
            Box::pin(async move {
                let statement = "select retention_months from tenants where id = $1 for update";
                let before: Option<i32> =
                    sqlx::query_scalar(statement).bind(tenant.0).fetch_one(&mut *connection).await?;
                let before = retention_of(before);
                if before == retention {
                    return Ok(before);
                }
                sqlx::query("update tenants set retention_months = $2 where id = $1")
                    .bind(tenant.0)
                    .bind(retention.map(|retention| i32::from(retention.get())))
                    .execute(&mut *connection)
                    .await?;
                let months = |retention: Option<RetentionMonths>| {
                    Some(json!({ "months": retention.map(RetentionMonths::get) }).to_string())
                };
                let act = Act {
                    at_ms: now_ms,
                    actor,
                    action: Action::RetentionChanged,
                    subject: tenant.to_string(),
                    before: months(before),
                    after: months(retention),
                };
                audit::record(connection, tenant, &act).await?;
                Ok(before)
            })
        })
        .await
}

pub async fn create_client(system: &SystemPool, client: &NewClient) -> Result<(), StorageError> {
    let client = client.clone();
    system
        .transaction(move |connection| {
            Box::pin(async move {
                let scopes: Vec<&str> = client.scopes.iter().map(|scope| scope.name()).collect();
                sqlx::query(
                "insert into clients (tenant_id, id, name, secret_hash, scopes, created_at_ms, requests_per_s)
                 values ($1, $2, $3, $4, $5, $6, $7)",
            )
            .bind(client.tenant.0)
            .bind(client.id.0)
            .bind(&client.name)
            .bind(client.secret_hash)
            .bind(&scopes)
            .bind(bigint(client.created_at_ms))
            .bind(client.requests_per_s.map(|rate| i32::try_from(rate).unwrap_or(i32::MAX)))
            .execute(&mut *connection)
            .await?;
                let mut after = json!({"name": client.name, "scopes": scopes});
                if let Some(rate) = client.requests_per_s {
                    after["requests_per_s"] = rate.into();
                }
                let act = Act {
                    at_ms: client.created_at_ms,
                    actor: client.created_by,
                    action: Action::ClientCreated,
                    subject: client.id.to_string(),
                    before: None,
                    after: Some(after.to_string()),
                };
                audit::record(connection, client.tenant, &act).await?;
                Ok(())
            })
        })
        .await
}

/// Uses the SECURITY DEFINER function, since the tenant is not known yet. Scopes that this version
/// does not know are ignored.
pub async fn find_client(app: &AppPool, id: ClientId) -> Result<Option<ClientCredentials>, StorageError> {
    let row = app
        .statement(move |connection| {
            Box::pin(async move {
                let statement = "select tenant_id, secret_hash, scopes, requests_per_s from find_client($1)";
                Ok(sqlx::query(statement).bind(id.0).fetch_optional(connection).await?)
            })
        })
        .await?;
    let Some(row) = row else { return Ok(None) };
    let scopes: Vec<String> = row.try_get("scopes")?;
    let requests_per_s: Option<i32> = row.try_get("requests_per_s")?;
    Ok(Some(ClientCredentials {
        tenant: TenantId(row.try_get("tenant_id")?),
        secret_hash: row.try_get("secret_hash")?,
        scopes: scopes.iter().filter_map(|name| Scope::parse(name)).collect(),
        requests_per_s: requests_per_s.and_then(|rate| u32::try_from(rate).ok()),
    }))
}
