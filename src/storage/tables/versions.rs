//! The versions of tables. A version and all of its rows are written in one transaction.

use serde_json::json;
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row};
use thiserror::Error;
use uuid::Uuid;

use super::super::advisory_locks::{DatabaseLock, TenantLock};
use super::super::columns::{bigint, digest, ms};
use super::super::pool::AppPool;
use super::super::query_error::OfStatement;
use super::super::time_limit::TimeLimit;
use super::super::{StorageError, audit};
use super::activations::{append, latest_of};
use super::chunks;
use crate::domain::audit::{Act, Action};
use crate::domain::comparison::COMPARISON_VERSION;
use crate::domain::plugin::Digest;
use crate::domain::quotas::TableQuotas;
use crate::domain::table::{
    FORM_VERSION, SortedRows, TableActivation, TableActivationKind, TableName, valid_from_ms,
};
use crate::domain::tenant::TenantId;
use crate::domain::time::World;

pub(super) const WHAT: &str = "table version";

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableVersion {
    pub number: i32,
    /// Names the rows.
    pub content: Uuid,
    pub rows: u32,
    pub size_bytes: u64,
    pub digest: Digest,
    pub note: String,
    pub created_by: String,
    pub created_at_ms: u64,
    /// When it first takes effect. `None` if another person has to activate it.
    pub valid_from_ms: Option<u64>,
}

#[derive(Debug)]
pub struct NewVersion {
    pub tenant: TenantId,
    pub table: TableName,
    pub rows: SortedRows,
    pub note: String,
    pub actor: String,
    /// Otherwise it takes effect once somebody activates it.
    pub activates: bool,
}

#[derive(Debug, Error)]
pub enum AddVersionError {
    #[error("there is no such table")]
    UnknownTable,
    #[error("the table is closed")]
    Closed,
    #[error("a table can have at most {0} versions")]
    TooManyVersions(u32),
    #[error("the tables of a tenant can have at most {0} bytes")]
    TooManyBytes(u64),
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// Stores a version, which takes effect two seconds later if it is to be activated.
pub async fn add_version(
    app: &AppPool,
    world: &World,
    new: NewVersion,
    quotas: TableQuotas,
) -> Result<(TableVersion, Option<TableActivation>), AddVersionError> {
    let world = world.clone();
    app.transaction_within(new.tenant, TimeLimit::PAGE, move |connection| {
        Box::pin(async move {
            let NewVersion { tenant, table, rows, note, actor, activates } = new;
            let content = world.uuid_v7(world.now_ms());
            // Before the locks, since this takes seconds.
            chunks::insert(connection, tenant, content, &rows).await?;
            TenantLock::Tables(tenant).take_in_transaction(connection).await.of_statement()?;
            let number = next_number(connection, tenant, &table, quotas.versions_max).await?;
            check_stored_bytes(connection, tenant, rows.size_bytes(), quotas.stored_bytes_max).await?;
            DatabaseLock::TableActivationSequence.take_in_transaction(connection).await.of_statement()?;
            // Read here, so that the nodes have two seconds from the commit on.
            let now_ms = world.now_ms();
            let preceding = latest_of(connection, tenant, &table).await?;
            let version = TableVersion {
                number,
                content,
                rows: rows.count(),
                size_bytes: rows.size_bytes(),
                digest: rows.digest(),
                note,
                created_by: actor.clone(),
                created_at_ms: now_ms,
                valid_from_ms: activates.then(|| valid_from_ms(now_ms, preceding.as_ref())),
            };
            insert(connection, tenant, &table, &version).await?;
            let act = act_of(&version, &table, preceding.as_ref());
            let activation = match version.valid_from_ms {
                Some(valid_from_ms) => {
                    let activation = TableActivation {
                        sequence: 0,
                        table,
                        version: number,
                        kind: TableActivationKind::Upload,
                        activated_by: actor,
                        activated_at_ms: now_ms,
                        valid_from_ms,
                    };
                    Some(append(connection, tenant, activation).await?)
                }
                None => None,
            };
            audit::record(connection, tenant, &act).await?;
            Ok((version, activation))
        })
    })
    .await
}

fn act_of(version: &TableVersion, table: &TableName, preceding: Option<&TableActivation>) -> Act {
    let after = json!({
        "version": version.number, "rows": version.rows, "size_bytes": version.size_bytes,
        "digest": version.digest.to_string(), "note": version.note, "valid_from_ms": version.valid_from_ms,
    });
    Act {
        at_ms: version.created_at_ms,
        actor: version.created_by.as_str().into(),
        action: Action::TableVersionUploaded,
        subject: table.as_str().to_owned(),
        before: preceding.map(|line| json!({"version": line.version}).to_string()),
        after: Some(after.to_string()),
    }
}

/// The number of the next version.
async fn next_number(
    connection: &mut PgConnection,
    tenant: TenantId,
    table: &TableName,
    versions_max: u32,
) -> Result<i32, AddVersionError> {
    let found: Option<(bool, i32)> = sqlx::query_as(
        "select closed_at_ms is not null,
                coalesce((select max(number) from table_versions where tenant_id = $1 and table_name = $2), 0)
         from tables
         where tenant_id = $1 and name = $2",
    )
    .bind(tenant.0)
    .bind(table.as_str())
    .fetch_optional(connection)
    .await
    .of_statement()?;
    match found {
        None => Err(AddVersionError::UnknownTable),
        Some((true, _)) => Err(AddVersionError::Closed),
        Some((false, newest)) if i64::from(newest) >= i64::from(versions_max) => {
            Err(AddVersionError::TooManyVersions(versions_max))
        }
        Some((false, newest)) => Ok(newest + 1),
    }
}

async fn check_stored_bytes(
    connection: &mut PgConnection,
    tenant: TenantId,
    added_bytes: u64,
    stored_bytes_max: u64,
) -> Result<(), AddVersionError> {
    let stored: i64 = sqlx::query_scalar(
        "select coalesce(sum(size_bytes), 0)::bigint from table_versions where tenant_id = $1",
    )
    .bind(tenant.0)
    .fetch_one(connection)
    .await
    .of_statement()?;
    let all = ms(stored, WHAT)?.saturating_add(added_bytes);
    if all > stored_bytes_max { Err(AddVersionError::TooManyBytes(stored_bytes_max)) } else { Ok(()) }
}

async fn insert(
    connection: &mut PgConnection,
    tenant: TenantId,
    table: &TableName,
    version: &TableVersion,
) -> Result<(), StorageError> {
    sqlx::query(
        "insert into table_versions (tenant_id, table_name, number, content, row_count, size_bytes, digest,
                                     form_version, comparison_version, note, created_by, created_at_ms,
                                     valid_from_ms)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)",
    )
    .bind(tenant.0)
    .bind(table.as_str())
    .bind(version.number)
    .bind(version.content)
    .bind(i32::try_from(version.rows).unwrap_or(i32::MAX))
    .bind(bigint(version.size_bytes))
    .bind(version.digest.0.as_slice())
    .bind(FORM_VERSION.cast_signed())
    .bind(COMPARISON_VERSION.cast_signed())
    .bind(&version.note)
    .bind(&version.created_by)
    .bind(bigint(version.created_at_ms))
    .bind(version.valid_from_ms.map(bigint))
    .execute(connection)
    .await?;
    Ok(())
}

/// Newest first. With `before`, only versions with a lower number.
pub async fn versions(
    app: &AppPool,
    tenant: TenantId,
    table: &TableName,
    before: Option<i32>,
    limit: u32,
) -> Result<Vec<TableVersion>, StorageError> {
    let table = table.clone();
    app.transaction(tenant, move |connection| {
        Box::pin(async move {
            let rows = sqlx::query(
                "select number, content, row_count, size_bytes, digest, form_version, note, created_by,
                        created_at_ms, valid_from_ms
                 from table_versions
                 where tenant_id = $1 and table_name = $2 and number < coalesce($3, 2147483647)
                 order by number desc
                 limit $4",
            )
            .bind(tenant.0)
            .bind(table.as_str())
            .bind(before)
            .bind(i64::from(limit))
            .fetch_all(connection)
            .await?;
            rows.iter().map(read).collect()
        })
    })
    .await
}

pub async fn version(
    app: &AppPool,
    tenant: TenantId,
    table: &TableName,
    number: i32,
) -> Result<Option<TableVersion>, StorageError> {
    let found = versions(app, tenant, table, number.checked_add(1), 1).await?.pop();
    Ok(found.filter(|version| version.number == number))
}

pub(super) fn read(row: &PgRow) -> Result<TableVersion, StorageError> {
    let form: i16 = row.try_get("form_version")?;
    if form != FORM_VERSION.cast_signed() {
        return Err(StorageError::Unreadable { what: WHAT });
    }
    let rows: i32 = row.try_get("row_count")?;
    let valid_from_ms: Option<i64> = row.try_get("valid_from_ms")?;
    Ok(TableVersion {
        number: row.try_get("number")?,
        content: row.try_get("content")?,
        rows: u32::try_from(rows).map_err(|_| StorageError::Unreadable { what: WHAT })?,
        size_bytes: ms(row.try_get("size_bytes")?, WHAT)?,
        digest: digest(row.try_get("digest")?, WHAT)?,
        note: row.try_get("note")?,
        created_by: row.try_get("created_by")?,
        created_at_ms: ms(row.try_get("created_at_ms")?, WHAT)?,
        valid_from_ms: valid_from_ms.map(|at_ms| ms(at_ms, WHAT)).transpose()?,
    })
}
