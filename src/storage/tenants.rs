//! Tenants: their names and what an operator sets for them.
//!
//! Only background work and operators see more than one tenant.

use serde_json::json;
use sqlx::Row;
use sqlx::postgres::PgRow;
use uuid::Uuid;

use super::columns::{bigint, ms};
use super::pool::{AppPool, SystemPool};
use super::removals::retention_of;
use super::{StorageError, audit};
use crate::domain::audit::{Act, Action, Authority};
use crate::domain::retention::RetentionMonths;
use crate::domain::tenant::TenantId;

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
                    actor: created_by.into(),
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

/// The tenant with this name, for a person who signs in.
pub async fn tenant_named(app: &AppPool, name: String) -> Result<Option<TenantId>, StorageError> {
    app.statement(move |connection| {
        Box::pin(async move {
            let id: Option<Uuid> =
                sqlx::query_scalar("select tenant_named($1)").bind(name).fetch_one(connection).await?;
            Ok(id.map(TenantId))
        })
    })
    .await
}

#[derive(Debug, Clone)]
pub struct Tenant {
    pub id: TenantId,
    pub name: String,
    pub created_at_ms: u64,
}

/// By name. With `after`, only those with later names.
pub async fn list(
    system: &SystemPool,
    after: Option<String>,
    limit: u32,
) -> Result<Vec<Tenant>, StorageError> {
    system
        .statement(move |connection| {
            Box::pin(async move {
                let rows = sqlx::query(
                    "select id, name, created_at_ms from tenants
                     where $1::text is null or name > $1 order by name limit $2",
                )
                .bind(after)
                .bind(i64::from(limit))
                .fetch_all(connection)
                .await?;
                rows.iter().map(read).collect()
            })
        })
        .await
}

/// The tenant of a request.
pub async fn find(app: &AppPool, id: TenantId) -> Result<Option<Tenant>, StorageError> {
    app.transaction(id, move |connection| {
        Box::pin(async move {
            let row = sqlx::query("select id, name, created_at_ms from tenants where id = $1")
                .bind(id.0)
                .fetch_optional(connection)
                .await?;
            row.as_ref().map(read).transpose()
        })
    })
    .await
}

fn read(row: &PgRow) -> Result<Tenant, StorageError> {
    Ok(Tenant {
        id: TenantId(row.try_get("id")?),
        name: row.try_get("name")?,
        created_at_ms: ms(row.try_get("created_at_ms")?, "tenant")?,
    })
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
    actor: Authority,
    now_ms: u64,
) -> Result<Option<RetentionMonths>, StorageError> {
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
