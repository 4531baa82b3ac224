//! Temporal lists: entries that open and close.
//!
//! Owns their rows. Must never delete an entry: a decision of the past is
//! explained by the list as it was.

use serde_json::json;
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, PgPool, Row};
use thiserror::Error;
use uuid::Uuid;

use super::columns::{bigint, ms};
use super::transaction::as_tenant;
use super::{StorageError, audit};
use crate::domain::audit::{Act, Action};
use crate::domain::comparison::normalized_name;
use crate::domain::list::{ListEntry, comparable_value};
use crate::domain::tenant::TenantId;

const WHAT: &str = "list";

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListSummary {
    pub name: String,
    pub description: String,
    /// Those that nobody has closed and that have no end set.
    pub open_entries: u64,
    pub created_by: String,
    pub created_at_ms: u64,
}

#[derive(Debug, Clone)]
pub struct NewEntry {
    pub id: Uuid,
    pub value: String,
    pub reason: String,
    pub valid_from_ms: u64,
    pub valid_to_ms: Option<u64>,
    pub added_by: String,
}

impl From<NewEntry> for ListEntry {
    fn from(entry: NewEntry) -> Self {
        let NewEntry { id, value, reason, valid_from_ms, valid_to_ms, added_by } = entry;
        Self { id, value, reason, valid_from_ms, valid_to_ms, added_by, closed_by: None }
    }
}

#[derive(Debug, Error)]
pub enum AddEntryError {
    #[error("there is no such list")]
    UnknownList,
    /// The same value stands on the list already, without an end.
    #[error("the value is on the list already")]
    AlreadyOpen,
    #[error(transparent)]
    Storage(StorageError),
}

impl From<StorageError> for AddEntryError {
    fn from(error: StorageError) -> Self {
        let constraint = match &error {
            StorageError::Database(sqlx::Error::Database(database)) => database.constraint(),
            _ => None,
        };
        match constraint {
            Some("list_entries_open") => Self::AlreadyOpen,
            Some("list_entries_tenant_id_list_fkey") => Self::UnknownList,
            _ => Self::Storage(error),
        }
    }
}

/// A name that is taken is a unique violation.
pub async fn create(
    app: &PgPool,
    tenant: TenantId,
    name: &str,
    description: &str,
    created_by: &str,
    now_ms: u64,
) -> Result<(), StorageError> {
    let (name, description, created_by) = (name.to_owned(), description.to_owned(), created_by.to_owned());
    as_tenant(app, tenant, move |connection| {
        Box::pin(async move {
            sqlx::query(
                "insert into lists (tenant_id, name, description, created_by, created_at_ms)
                 values ($1, $2, $3, $4, $5)",
            )
            .bind(tenant.0)
            .bind(&name)
            .bind(&description)
            .bind(&created_by)
            .bind(bigint(now_ms))
            .execute(&mut *connection)
            .await?;
            let act = Act {
                at_ms: now_ms,
                actor: created_by,
                action: Action::ListCreated,
                subject: name,
                before: None,
                after: Some(json!({"description": description}).to_string()),
            };
            audit::record(connection, tenant, &act).await?;
            Ok(())
        })
    })
    .await
}

pub async fn lists(app: &PgPool, tenant: TenantId) -> Result<Vec<ListSummary>, StorageError> {
    as_tenant(app, tenant, move |connection| {
        Box::pin(async move {
            let rows = sqlx::query(
                "select name, description, created_by, created_at_ms,
                        (select count(*) from list_entries
                         where tenant_id = lists.tenant_id and list = lists.name
                           and valid_to_ms is null) as open_entries
                 from lists
                 where tenant_id = $1
                 order by name",
            )
            .bind(tenant.0)
            .fetch_all(connection)
            .await?;
            rows.iter().map(read_summary).collect()
        })
    })
    .await
}

fn read_summary(row: &PgRow) -> Result<ListSummary, StorageError> {
    Ok(ListSummary {
        name: row.try_get("name")?,
        description: row.try_get("description")?,
        open_entries: ms(row.try_get("open_entries")?, WHAT)?,
        created_by: row.try_get("created_by")?,
        created_at_ms: ms(row.try_get("created_at_ms")?, WHAT)?,
    })
}

pub async fn add_entry(
    app: &PgPool,
    tenant: TenantId,
    list: &str,
    entry: NewEntry,
    now_ms: u64,
) -> Result<(), AddEntryError> {
    let list = list.to_owned();
    as_tenant(app, tenant, move |connection| {
        Box::pin(async move {
            sqlx::query(
                "insert into list_entries (tenant_id, list, id, value, comparable, normalized_name, reason,
                                           valid_from_ms, valid_to_ms, added_by)
                 values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
            )
            .bind(tenant.0)
            .bind(&list)
            .bind(entry.id)
            .bind(&entry.value)
            .bind(comparable_value(&entry.value))
            .bind(normalized_name(&entry.value))
            .bind(&entry.reason)
            .bind(bigint(entry.valid_from_ms))
            .bind(entry.valid_to_ms.map(bigint))
            .bind(&entry.added_by)
            .execute(&mut *connection)
            .await
            .map_err(StorageError::from)?;
            let act = Act {
                at_ms: now_ms,
                actor: entry.added_by.clone(),
                action: Action::ListEntryAdded,
                subject: list,
                before: None,
                after: Some(told(&entry.into())),
            };
            audit::record(connection, tenant, &act).await?;
            Ok(())
        })
    })
    .await
}

/// Ends an entry now, and says whether there was one to end. An entry that was
/// to begin later never begins.
pub async fn close_entry(
    app: &PgPool,
    tenant: TenantId,
    list: &str,
    id: Uuid,
    now_ms: u64,
    closed_by: &str,
) -> Result<bool, StorageError> {
    let (list, closed_by) = (list.to_owned(), closed_by.to_owned());
    as_tenant(app, tenant, move |connection| {
        Box::pin(async move {
            let Some(before) = lock_open_entry(connection, tenant, &list, id, now_ms).await? else {
                return Ok(false);
            };
            let valid_to_ms = now_ms.max(before.valid_from_ms);
            sqlx::query(
                "update list_entries set valid_to_ms = $3, closed_by = $4 where tenant_id = $1 and id = $2",
            )
            .bind(tenant.0)
            .bind(id)
            .bind(bigint(valid_to_ms))
            .bind(&closed_by)
            .execute(&mut *connection)
            .await?;
            let after = ListEntry {
                valid_to_ms: Some(valid_to_ms),
                closed_by: Some(closed_by.clone()),
                ..before.clone()
            };
            let act = Act {
                at_ms: now_ms,
                actor: closed_by,
                action: Action::ListEntryClosed,
                subject: list,
                before: Some(told(&before)),
                after: Some(told(&after)),
            };
            audit::record(connection, tenant, &act).await?;
            Ok(true)
        })
    })
    .await
}

/// The entry while it can still be closed. Of those who close it at once the
/// second sees what the first left, also when its clock is behind.
async fn lock_open_entry(
    connection: &mut PgConnection,
    tenant: TenantId,
    list: &str,
    id: Uuid,
    now_ms: u64,
) -> Result<Option<ListEntry>, StorageError> {
    let row = sqlx::query(
        "select id, value, reason, valid_from_ms, valid_to_ms, added_by, closed_by
         from list_entries
         where tenant_id = $1 and list = $2 and id = $3 and closed_by is null
           and (valid_to_ms is null or valid_to_ms > greatest($4, valid_from_ms))
         for update",
    )
    .bind(tenant.0)
    .bind(list)
    .bind(id)
    .bind(bigint(now_ms))
    .fetch_optional(connection)
    .await?;
    row.as_ref().map(read_entry).transpose()
}

/// An entry as the record of acts shows it.
fn told(entry: &ListEntry) -> String {
    let mut told = json!({
        "id": entry.id, "value": entry.value, "reason": entry.reason,
        "valid_from_ms": entry.valid_from_ms, "valid_to_ms": entry.valid_to_ms, "added_by": entry.added_by,
    });
    if let Some(closed_by) = &entry.closed_by {
        told["closed_by"] = closed_by.as_str().into();
    }
    told.to_string()
}

/// In the order of their ids, above `after`; with `at_ms` only those valid at
/// that moment, with `value` only those that compare equal to it.
pub async fn entries(
    app: &PgPool,
    tenant: TenantId,
    list: &str,
    at_ms: Option<u64>,
    value: Option<&str>,
    after: Option<Uuid>,
    limit: u32,
) -> Result<Vec<ListEntry>, StorageError> {
    let (list, value) = (list.to_owned(), value.map(comparable_value));
    as_tenant(app, tenant, move |connection| {
        Box::pin(async move {
            let rows = sqlx::query(
                "select id, value, reason, valid_from_ms, valid_to_ms, added_by, closed_by
                 from list_entries
                 where tenant_id = $1 and list = $2
                   and ($3::bigint is null
                        or (valid_from_ms <= $3 and (valid_to_ms is null or valid_to_ms > $3)))
                   and ($4::text is null or comparable = $4)
                   and ($5::uuid is null or id > $5)
                 order by id
                 limit $6",
            )
            .bind(tenant.0)
            .bind(list)
            .bind(at_ms.map(bigint))
            .bind(value)
            .bind(after)
            .bind(i64::from(limit))
            // Planned with the values at hand: which index serves depends on them.
            .persistent(false)
            .fetch_all(connection)
            .await?;
            rows.iter().map(read_entry).collect()
        })
    })
    .await
}

fn read_entry(row: &PgRow) -> Result<ListEntry, StorageError> {
    let valid_to_ms: Option<i64> = row.try_get("valid_to_ms")?;
    Ok(ListEntry {
        id: row.try_get("id")?,
        value: row.try_get("value")?,
        reason: row.try_get("reason")?,
        valid_from_ms: ms(row.try_get("valid_from_ms")?, WHAT)?,
        valid_to_ms: valid_to_ms.map(|at| ms(at, WHAT)).transpose()?,
        added_by: row.try_get("added_by")?,
        closed_by: row.try_get("closed_by")?,
    })
}
