//! Reference tables. The modules below are for their versions and for which of them is valid.
//!
//! Tables and versions must never be deleted: decisions may have used them.

mod activations;
mod chunks;
mod versions;

use serde_json::json;
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row};
use thiserror::Error;

pub use activations::{ActivateTableError, LogFilter, TableActivationRequest, activate, activations, latest};
pub use chunks::{StoredChunk, chunk_with, chunks, load};
pub use versions::{AddVersionError, NewVersion, TableVersion, add_version, version, versions};

use super::advisory_locks::TenantLock;
use super::columns::{bigint, ms, named};
use super::pool::AppPool;
use super::query_error::OfStatement;
use super::rulesets::deployed_revision_asking;
use super::{StorageError, audit};
use crate::domain::audit::{Act, Action, Authority};
use crate::domain::comparison::ValueKind;
use crate::domain::quotas::kept_max;
use crate::domain::ruleset::DecisionPoint;
use crate::domain::selector::{FactQuery, TableLookup};
use crate::domain::table::{CellKind, Column, ColumnName, DamagedRowsError, TableName, TableSchema};
use crate::domain::tenant::TenantId;

const WHAT: &str = "table";

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    pub name: TableName,
    pub description: String,
    pub schema: TableSchema,
    pub created_by: String,
    pub created_at_ms: u64,
    /// The number of the newest version. `None` if there is no version yet.
    pub newest_version: Option<i32>,
    /// Who closed it, and when.
    pub closed: Option<(String, u64)>,
}

#[derive(Debug, Clone)]
pub struct NewTable {
    pub name: TableName,
    pub description: String,
    pub schema: TableSchema,
    pub created_by: String,
    pub created_at_ms: u64,
}

impl From<NewTable> for Table {
    fn from(new: NewTable) -> Self {
        let NewTable { name, description, schema, created_by, created_at_ms } = new;
        Self { name, description, schema, created_by, created_at_ms, newest_version: None, closed: None }
    }
}

#[derive(Debug, Error)]
pub enum CreateTableError {
    #[error("a table with this name already exists")]
    NameTaken,
    #[error("the tenant already has {0} open tables")]
    TooMany(u32),
    #[error("the tenant already has {0} tables, including closed ones")]
    TooManyKept(i64),
    #[error(transparent)]
    Storage(StorageError),
}

impl From<StorageError> for CreateTableError {
    fn from(error: StorageError) -> Self {
        if error.is_unique_violation() { Self::NameTaken } else { Self::Storage(error) }
    }
}

impl From<DamagedRowsError> for StorageError {
    fn from(DamagedRowsError: DamagedRowsError) -> Self {
        Self::Unreadable { what: "table rows" }
    }
}

/// Creates a table without a version. A tenant may have `tables_max` open tables, and a limited
/// number in total.
pub async fn create(
    app: &AppPool,
    tenant: TenantId,
    new: NewTable,
    tables_max: u32,
) -> Result<(), CreateTableError> {
    app.transaction(tenant, move |connection| {
        Box::pin(async move {
            TenantLock::Tables(tenant).take_in_transaction(connection).await.of_statement()?;
            insert(connection, tenant, &new).await?;
            check_quota(connection, tenant, tables_max).await?;
            let act = Act {
                at_ms: new.created_at_ms,
                actor: new.created_by.into(),
                action: Action::TableCreated,
                subject: new.name.as_str().to_owned(),
                before: None,
                after: Some(
                    json!({
                        "description": new.description,
                        "lookup": new.schema.lookup().name(),
                        "kind": new.schema.kind().name(),
                        "columns": new.schema.columns().iter().map(column_json).collect::<Vec<_>>(),
                    })
                    .to_string(),
                ),
            };
            audit::record(connection, tenant, &act).await?;
            Ok(())
        })
    })
    .await
}

fn column_json(column: &Column) -> serde_json::Value {
    json!({"name": column.name.as_str(), "kind": column.kind.name()})
}

async fn check_quota(
    connection: &mut PgConnection,
    tenant: TenantId,
    tables_max: u32,
) -> Result<(), CreateTableError> {
    let (open, kept): (i64, i64) = sqlx::query_as(
        "select count(*) filter (where closed_at_ms is null), count(*) from tables where tenant_id = $1",
    )
    .bind(tenant.0)
    .fetch_one(connection)
    .await
    .of_statement()?;
    if kept > kept_max(tables_max) {
        return Err(CreateTableError::TooManyKept(kept_max(tables_max)));
    }
    if open > i64::from(tables_max) { Err(CreateTableError::TooMany(tables_max)) } else { Ok(()) }
}

async fn insert(connection: &mut PgConnection, tenant: TenantId, new: &NewTable) -> Result<(), StorageError> {
    let columns = new.schema.columns();
    sqlx::query(
        "insert into tables (tenant_id, name, description, lookup, kind, column_names, column_kinds,
                             created_by, created_at_ms)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
    )
    .bind(tenant.0)
    .bind(new.name.as_str())
    .bind(&new.description)
    .bind(new.schema.lookup().name())
    .bind(new.schema.kind().name())
    .bind(columns.iter().map(|column| column.name.as_str()).collect::<Vec<_>>())
    .bind(columns.iter().map(|column| column.kind.name()).collect::<Vec<_>>())
    .bind(&new.created_by)
    .bind(bigint(new.created_at_ms))
    .execute(connection)
    .await?;
    Ok(())
}

/// The tables by name, after the name `after`.
pub async fn list(
    app: &AppPool,
    tenant: TenantId,
    after: Option<String>,
    limit: u32,
) -> Result<Vec<Table>, StorageError> {
    find(app, tenant, None, after, limit).await
}

pub async fn get(app: &AppPool, tenant: TenantId, name: &TableName) -> Result<Option<Table>, StorageError> {
    Ok(find(app, tenant, Some(name.as_str().to_owned()), None, 1).await?.pop())
}

async fn find(
    app: &AppPool,
    tenant: TenantId,
    name: Option<String>,
    after: Option<String>,
    limit: u32,
) -> Result<Vec<Table>, StorageError> {
    app.transaction(tenant, move |connection| {
        Box::pin(async move {
            let rows = sqlx::query(
                "select name, description, lookup, kind, column_names, column_kinds, created_by,
                        created_at_ms, closed_by, closed_at_ms,
                        (select max(number) from table_versions v
                         where v.tenant_id = t.tenant_id and v.table_name = t.name) as newest_version
                 from tables t
                 where tenant_id = $1 and name = coalesce($2, name) and name > coalesce($3, '')
                 order by name
                 limit $4",
            )
            .bind(tenant.0)
            .bind(name)
            .bind(after)
            .bind(i64::from(limit))
            .fetch_all(connection)
            .await?;
            rows.iter().map(read).collect()
        })
    })
    .await
}

fn read(row: &PgRow) -> Result<Table, StorageError> {
    let closed: (Option<String>, Option<i64>) = (row.try_get("closed_by")?, row.try_get("closed_at_ms")?);
    let closed = match closed {
        (Some(by), Some(at_ms)) => Some((by, ms(at_ms, WHAT)?)),
        _ => None,
    };
    Ok(Table {
        name: named(TableName::parse(row.try_get("name")?), WHAT)?,
        description: row.try_get("description")?,
        schema: read_schema(row)?,
        created_by: row.try_get("created_by")?,
        created_at_ms: ms(row.try_get("created_at_ms")?, WHAT)?,
        newest_version: row.try_get("newest_version")?,
        closed,
    })
}

fn read_schema(row: &PgRow) -> Result<TableSchema, StorageError> {
    let names: Vec<String> = row.try_get("column_names")?;
    let kinds: Vec<String> = row.try_get("column_kinds")?;
    let column = |(name, kind): (&String, &String)| -> Result<Column, StorageError> {
        Ok(Column {
            name: named(ColumnName::parse(name).ok(), WHAT)?,
            kind: named(CellKind::parse(kind), WHAT)?,
        })
    };
    let columns: Result<Vec<Column>, StorageError> = names.iter().zip(&kinds).map(column).collect();
    let lookup = named(TableLookup::parse(row.try_get("lookup")?), WHAT)?;
    let kind = named(ValueKind::parse(row.try_get("kind")?), WHAT)?;
    named(TableSchema::new(lookup, kind, columns?).ok(), WHAT)
}

#[derive(Debug, Error)]
pub enum CloseTableError {
    #[error("there is no such open table")]
    Unknown,
    #[error("the revision {revision} is deployed and uses the table")]
    InUse { revision: i32 },
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// Closes a table permanently, unless a deployed revision asks it. Its versions stay as they are.
pub async fn close(
    app: &AppPool,
    tenant: TenantId,
    name: &TableName,
    now_ms: u64,
    actor: Authority,
) -> Result<(), CloseTableError> {
    let name = name.clone();
    app.transaction(tenant, move |connection| {
        Box::pin(async move {
            let (point, asks) =
                (DecisionPoint::Payment, |query: &FactQuery| query.table() == Some(name.as_str()));
            if let Some(revision) = deployed_revision_asking(connection, tenant, point, asks).await? {
                return Err(CloseTableError::InUse { revision });
            }
            let closed = sqlx::query(
                "update tables set closed_at_ms = $3, closed_by = $4
                 where tenant_id = $1 and name = $2 and closed_at_ms is null",
            )
            .bind(tenant.0)
            .bind(name.as_str())
            .bind(bigint(now_ms))
            .bind(actor.name())
            .execute(&mut *connection)
            .await
            .of_statement()?;
            if closed.rows_affected() == 0 {
                return Err(CloseTableError::Unknown);
            }
            let act = Act {
                at_ms: now_ms,
                actor,
                action: Action::TableClosed,
                subject: name.as_str().to_owned(),
                before: Some(json!({"closed": false}).to_string()),
                after: Some(json!({"closed": true}).to_string()),
            };
            audit::record(connection, tenant, &act).await?;
            Ok(())
        })
    })
    .await
}
