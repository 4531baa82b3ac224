//! Machine clients of tenants. Only hashes of their secrets are stored.
//!
//! Sign-in is the only look-up without a tenant.

use serde_json::json;
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row};
use thiserror::Error;
use uuid::Uuid;

use super::columns::{bigint, ms};
use super::pool::{AppPool, SystemPool};
use super::query_error::OfStatement;
use super::{StorageError, audit, certificate_bindings, revocations};
use crate::domain::audit::{Act, Action};
use crate::domain::client_certificate::CertificateBinding;
use crate::domain::revocation::Revocation;
use crate::domain::tenant::{ClientId, Scope, TenantId};

const WHAT: &str = "client";

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
    pub certificate: Option<CertificateBinding>,
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
    /// Rises when tokens of earlier secrets end.
    pub generation: u32,
    /// The hash of the secret before, and until when it is accepted.
    pub previous: Option<(String, u64)>,
    pub certificate: Option<CertificateBinding>,
}

impl std::fmt::Debug for ClientCredentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClientCredentials").field("tenant", &self.tenant).finish_non_exhaustive()
    }
}

/// A client as administrators see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Client {
    pub id: ClientId,
    pub name: String,
    pub scopes: Vec<Scope>,
    pub requests_per_s: Option<u32>,
    pub certificate: Option<CertificateBinding>,
    pub created_at_ms: u64,
    pub disabled_at_ms: Option<u64>,
    pub previous_secret_until_ms: Option<u64>,
}

pub async fn create(system: &SystemPool, client: &NewClient) -> Result<(), StorageError> {
    let client = client.clone();
    system.transaction(move |connection| Box::pin(async move { insert(connection, client).await })).await
}

/// For a request of the client's tenant.
pub async fn create_own(app: &AppPool, client: NewClient) -> Result<(), StorageError> {
    app.transaction(client.tenant, move |connection| {
        Box::pin(async move { insert(connection, client).await })
    })
    .await
}

async fn insert(connection: &mut PgConnection, client: NewClient) -> Result<(), StorageError> {
    let scopes: Vec<&str> = client.scopes.iter().map(|scope| scope.name()).collect();
    let bound = certificate_bindings::columns(client.certificate.as_ref());
    sqlx::query(
        "insert into clients (tenant_id, id, name, secret_hash, scopes, created_at_ms, requests_per_s,
                              certificate_sha256, certificate_san_dns, certificate_san_uri)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
    )
    .bind(client.tenant.0)
    .bind(client.id.0)
    .bind(&client.name)
    .bind(client.secret_hash)
    .bind(&scopes)
    .bind(bigint(client.created_at_ms))
    .bind(rate_column(client.requests_per_s))
    .bind(bound.sha256)
    .bind(bound.san_dns)
    .bind(bound.san_uri)
    .execute(&mut *connection)
    .await?;
    let mut after = json!({"name": client.name, "scopes": scopes});
    if let Some(rate) = client.requests_per_s {
        after["requests_per_s"] = rate.into();
    }
    if let Some(binding) = &client.certificate {
        after["certificate"] = certificate_bindings::state(binding);
    }
    let act = Act {
        at_ms: client.created_at_ms,
        actor: client.created_by.into(),
        action: Action::ClientCreated,
        subject: client.id.to_string(),
        before: None,
        after: Some(after.to_string()),
    };
    audit::record(connection, client.tenant, &act).await?;
    Ok(())
}

fn rate_column(requests_per_s: Option<u32>) -> Option<i32> {
    requests_per_s.map(|rate| i32::try_from(rate).unwrap_or(i32::MAX))
}

fn scopes_of(row: &PgRow) -> Result<Vec<Scope>, StorageError> {
    let scopes: Vec<String> = row.try_get("scopes")?;
    Ok(scopes.iter().filter_map(|name| Scope::parse(name)).collect())
}

fn rate_of(row: &PgRow) -> Result<Option<u32>, StorageError> {
    let requests_per_s: Option<i32> = row.try_get("requests_per_s")?;
    Ok(requests_per_s.and_then(|rate| u32::try_from(rate).ok()))
}

/// Uses the SECURITY DEFINER function, since the tenant is not known yet. Scopes that this version
/// does not know are ignored. A disabled client is not found.
pub async fn find_credentials(
    app: &AppPool,
    id: ClientId,
) -> Result<Option<ClientCredentials>, StorageError> {
    let row = app
        .statement(move |connection| {
            Box::pin(async move {
                let statement = "select * from client_sign_in($1)";
                Ok(sqlx::query(statement).bind(id.0).fetch_optional(connection).await?)
            })
        })
        .await?;
    let Some(row) = row else { return Ok(None) };
    let generation: i32 = row.try_get("secret_generation")?;
    let (hash, until_ms): (Option<String>, Option<i64>) =
        (row.try_get("previous_secret_hash")?, row.try_get("previous_secret_until_ms")?);
    let until_ms = until_ms.map(|until_ms| ms(until_ms, WHAT)).transpose()?;
    Ok(Some(ClientCredentials {
        tenant: TenantId(row.try_get("tenant_id")?),
        secret_hash: row.try_get("secret_hash")?,
        scopes: scopes_of(&row)?,
        requests_per_s: rate_of(&row)?,
        generation: u32::try_from(generation).map_err(|_| StorageError::Unreadable { what: WHAT })?,
        previous: hash.zip(until_ms),
        certificate: certificate_bindings::read(&row)?,
    }))
}

const COLUMNS: &str = "id, name, scopes, requests_per_s, created_at_ms, disabled_at_ms, \
                       previous_secret_until_ms, secret_generation, certificate_sha256, \
                       certificate_san_dns, certificate_san_uri";

/// By id, so the oldest first.
pub async fn list(
    app: &AppPool,
    tenant: TenantId,
    after: Option<Uuid>,
    limit: u32,
) -> Result<Vec<Client>, StorageError> {
    app.transaction(tenant, move |connection| {
        Box::pin(async move {
            let statement = format!(
                "select {COLUMNS} from clients
                 where tenant_id = $1 and ($2::uuid is null or id > $2) order by id limit $3"
            );
            let rows = sqlx::query(sqlx::AssertSqlSafe(statement))
                .bind(tenant.0)
                .bind(after)
                .bind(i64::from(limit))
                .fetch_all(connection)
                .await?;
            rows.iter().map(read).collect()
        })
    })
    .await
}

pub async fn find(app: &AppPool, tenant: TenantId, id: ClientId) -> Result<Option<Client>, StorageError> {
    app.transaction(tenant, move |connection| {
        Box::pin(async move {
            let statement = format!("select {COLUMNS} from clients where tenant_id = $1 and id = $2");
            let row = sqlx::query(sqlx::AssertSqlSafe(statement))
                .bind(tenant.0)
                .bind(id.0)
                .fetch_optional(connection)
                .await?;
            row.as_ref().map(read).transpose()
        })
    })
    .await
}

fn read(row: &PgRow) -> Result<Client, StorageError> {
    let time = |column| -> Result<Option<u64>, StorageError> {
        row.try_get::<Option<i64>, _>(column)?.map(|at_ms| ms(at_ms, WHAT)).transpose()
    };
    Ok(Client {
        id: ClientId(row.try_get("id")?),
        name: row.try_get("name")?,
        scopes: scopes_of(row)?,
        requests_per_s: rate_of(row)?,
        certificate: certificate_bindings::read(row)?,
        created_at_ms: ms(row.try_get("created_at_ms")?, WHAT)?,
        disabled_at_ms: time("disabled_at_ms")?,
        previous_secret_until_ms: time("previous_secret_until_ms")?,
    })
}

/// What changes. `None` leaves it as it is.
#[derive(Debug, Clone, Default)]
pub struct ClientChange {
    pub name: Option<String>,
    pub scopes: Option<Vec<Scope>>,
    /// Zero means no limit, and nothing the node's setting.
    pub requests_per_s: Option<Option<u32>>,
    pub certificate: Option<Option<CertificateBinding>>,
    pub disabled: Option<bool>,
}

#[derive(Debug, Error)]
pub enum ChangeClientError {
    #[error("there is no such client")]
    Unknown,
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// Other scopes, another certificate, or being disabled end all tokens of the client.
pub async fn change(
    app: &AppPool,
    tenant: TenantId,
    id: ClientId,
    change: ClientChange,
    actor: String,
    now_ms: u64,
) -> Result<Client, ChangeClientError> {
    app.transaction(tenant, move |connection| {
        Box::pin(async move {
            let (before, generation) = locked(connection, tenant, id).await?;
            let mut after = before.clone();
            after.name = change.name.unwrap_or(after.name);
            after.scopes = change.scopes.unwrap_or(after.scopes);
            after.requests_per_s = change.requests_per_s.unwrap_or(after.requests_per_s);
            after.certificate = change.certificate.unwrap_or(after.certificate);
            after.disabled_at_ms = match change.disabled {
                Some(true) => before.disabled_at_ms.or(Some(now_ms)),
                Some(false) => None,
                None => before.disabled_at_ms,
            };
            let ends_tokens = before.scopes != after.scopes
                || before.certificate != after.certificate
                || before.disabled_at_ms.is_some() != after.disabled_at_ms.is_some();
            let generation = generation + i32::from(ends_tokens);
            let scopes: Vec<&str> = after.scopes.iter().map(|scope| scope.name()).collect();
            let bound = certificate_bindings::columns(after.certificate.as_ref());
            sqlx::query(
                "update clients set name = $3, scopes = $4, requests_per_s = $5, disabled_at_ms = $6,
                                    secret_generation = $7, certificate_sha256 = $8,
                                    certificate_san_dns = $9, certificate_san_uri = $10
                 where tenant_id = $1 and id = $2",
            )
            .bind(tenant.0)
            .bind(id.0)
            .bind(&after.name)
            .bind(&scopes)
            .bind(rate_column(after.requests_per_s))
            .bind(after.disabled_at_ms.map(bigint))
            .bind(generation)
            .bind(bound.sha256)
            .bind(bound.san_dns)
            .bind(bound.san_uri)
            .execute(&mut *connection)
            .await
            .of_statement()?;
            if ends_tokens {
                end_tokens(connection, tenant, id, generation, now_ms).await?;
            }
            let act = Act {
                at_ms: now_ms,
                actor: actor.into(),
                action: Action::ClientChanged,
                subject: id.to_string(),
                before: Some(state(&before)),
                after: Some(state(&after)),
            };
            audit::record(connection, tenant, &act).await?;
            Ok(after)
        })
    })
    .await
}

/// Replaces the secret. Until `previous_until_ms` the one before is accepted as well; without it,
/// that one and all tokens that were requested so far end at once.
pub async fn replace_secret(
    app: &AppPool,
    tenant: TenantId,
    id: ClientId,
    secret_hash: String,
    previous_until_ms: Option<u64>,
    actor: String,
    now_ms: u64,
) -> Result<Client, ChangeClientError> {
    app.transaction(tenant, move |connection| {
        Box::pin(async move {
            let (mut client, generation) = locked(connection, tenant, id).await?;
            let generation = generation + i32::from(previous_until_ms.is_none());
            sqlx::query(
                "update clients set previous_secret_hash = case when $4::bigint is null then null
                                                                else secret_hash end,
                                    previous_secret_until_ms = $4, secret_hash = $3, secret_generation = $5
                 where tenant_id = $1 and id = $2",
            )
            .bind(tenant.0)
            .bind(id.0)
            .bind(secret_hash)
            .bind(previous_until_ms.map(bigint))
            .bind(generation)
            .execute(&mut *connection)
            .await
            .of_statement()?;
            client.previous_secret_until_ms = previous_until_ms;
            if previous_until_ms.is_none() {
                end_tokens(connection, tenant, id, generation, now_ms).await?;
            }
            let act = Act {
                at_ms: now_ms,
                actor: actor.into(),
                action: Action::ClientSecretReplaced,
                subject: id.to_string(),
                before: None,
                after: Some(json!({ "previous_secret_until_ms": previous_until_ms }).to_string()),
            };
            audit::record(connection, tenant, &act).await?;
            Ok(client)
        })
    })
    .await
}

/// The client with the generation of its secret. Sign-ins read both in one statement, so a token
/// that is issued meanwhile has the generation that ends.
async fn locked(
    connection: &mut PgConnection,
    tenant: TenantId,
    id: ClientId,
) -> Result<(Client, i32), ChangeClientError> {
    let statement = format!("select {COLUMNS} from clients where tenant_id = $1 and id = $2 for update");
    let row = sqlx::query(sqlx::AssertSqlSafe(statement))
        .bind(tenant.0)
        .bind(id.0)
        .fetch_optional(connection)
        .await
        .of_statement()?;
    let row = row.ok_or(ChangeClientError::Unknown)?;
    Ok((read(&row)?, row.try_get("secret_generation").of_statement()?))
}

async fn end_tokens(
    connection: &mut PgConnection,
    tenant: TenantId,
    id: ClientId,
    generation: i32,
    now_ms: u64,
) -> Result<(), StorageError> {
    let generation = u32::try_from(generation).map_err(|_| StorageError::Unreadable { what: WHAT })?;
    revocations::insert(connection, tenant, &[Revocation::Client { id, generation }], now_ms).await
}

fn state(client: &Client) -> String {
    let scopes: Vec<&str> = client.scopes.iter().map(|scope| scope.name()).collect();
    let mut state =
        json!({"name": client.name, "scopes": scopes, "disabled": client.disabled_at_ms.is_some()});
    if let Some(rate) = client.requests_per_s {
        state["requests_per_s"] = rate.into();
    }
    if let Some(binding) = &client.certificate {
        state["certificate"] = certificate_bindings::state(binding);
    }
    state.to_string()
}
