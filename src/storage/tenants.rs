//! Tenants and their machine clients.
//!
//! Owns their rows and the one look-up that does not know its tenant yet:
//! sign-in. Must never see a secret, only its hash.

use sqlx::{PgPool, Row};
use uuid::Uuid;

use super::StorageError;
use super::columns::bigint;
use super::transaction::as_system;
use crate::domain::tenant::{ClientId, Scope, TenantId};

#[derive(Debug, Clone)]
pub struct NewClient {
    pub tenant: TenantId,
    pub id: ClientId,
    pub name: String,
    /// In PHC form.
    pub secret_hash: String,
    pub scopes: Vec<Scope>,
    pub created_at_ms: u64,
}

/// What sign-in needs. Never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct ClientCredentials {
    pub tenant: TenantId,
    pub secret_hash: String,
    pub scopes: Vec<Scope>,
}

impl std::fmt::Debug for ClientCredentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClientCredentials").field("tenant", &self.tenant).finish_non_exhaustive()
    }
}

/// A name that is taken is a unique violation.
pub async fn create_tenant(
    system: &PgPool,
    id: TenantId,
    name: &str,
    now_ms: u64,
) -> Result<(), StorageError> {
    let name = name.to_owned();
    as_system(system, move |connection| {
        Box::pin(async move {
            sqlx::query("insert into tenants (id, name, created_at_ms) values ($1, $2, $3)")
                .bind(id.0)
                .bind(name)
                .bind(bigint(now_ms))
                .execute(connection)
                .await?;
            Ok(())
        })
    })
    .await
}

pub async fn tenant_by_name(system: &PgPool, name: &str) -> Result<Option<TenantId>, StorageError> {
    let name = name.to_owned();
    as_system(system, move |connection| {
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

pub async fn create_client(system: &PgPool, client: &NewClient) -> Result<(), StorageError> {
    let client = client.clone();
    as_system(system, move |connection| {
        Box::pin(async move {
            let scopes: Vec<&str> = client.scopes.iter().map(|scope| scope.name()).collect();
            sqlx::query(
                "insert into clients (tenant_id, id, name, secret_hash, scopes, created_at_ms)
                 values ($1, $2, $3, $4, $5, $6)",
            )
            .bind(client.tenant.0)
            .bind(client.id.0)
            .bind(client.name)
            .bind(client.secret_hash)
            .bind(scopes)
            .bind(bigint(client.created_at_ms))
            .execute(connection)
            .await?;
            Ok(())
        })
    })
    .await
}

/// Goes through the SECURITY DEFINER function: the tenant is part of the answer.
/// A scope that this version does not know allows nothing.
pub async fn find_client(app: &PgPool, id: ClientId) -> Result<Option<ClientCredentials>, StorageError> {
    // No transaction: a single statement that is cut off leaves nothing open.
    let row = sqlx::query("select tenant_id, secret_hash, scopes from find_client($1)")
        .bind(id.0)
        .fetch_optional(app)
        .await?;
    let Some(row) = row else { return Ok(None) };
    let scopes: Vec<String> = row.try_get("scopes")?;
    Ok(Some(ClientCredentials {
        tenant: TenantId(row.try_get("tenant_id")?),
        secret_hash: row.try_get("secret_hash")?,
        scopes: scopes.iter().filter_map(|name| Scope::parse(name)).collect(),
    }))
}
