//! Lists. The modules below are for their entries.
//!
//! Lists and entries must never be deleted: they explain past decisions.

mod adding;
mod changes;
mod conversion;
mod entries;

use serde_json::json;
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row};
use thiserror::Error;

pub use adding::{AddEntryError, AddedEntries, NewEntry, add_entries, add_entry};
pub use conversion::{ListConversion, convert_lists};
pub use entries::{EntryFilter, close_entry, entries, open_entry};

use super::advisory_locks::TenantLock;
use super::columns::{bigint, ms, named};
use super::pool::AppPool;
use super::query_error::OfStatement;
use super::rulesets::deployed_revision_asking;
use super::{StorageError, audit};
use crate::domain::audit::{Act, Action, Authority};
use crate::domain::comparison::ValueKind;
use crate::domain::list::ListKinds;
use crate::domain::quotas::kept_max;
use crate::domain::ruleset::DecisionPoint;
use crate::domain::selector::FactQuery;
use crate::domain::tenant::TenantId;

const WHAT: &str = "list";

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct List {
    pub name: String,
    pub description: String,
    pub kinds: ListKinds,
    /// Entries that are not closed and have no end.
    pub open_entries: u64,
    pub created_by: String,
    pub created_at_ms: u64,
    /// Who closed it, and when.
    pub closed: Option<(String, u64)>,
}

#[derive(Debug, Clone)]
pub struct NewList {
    pub name: String,
    pub description: String,
    pub kind: ValueKind,
    pub created_by: String,
    pub created_at_ms: u64,
}

impl From<NewList> for List {
    fn from(new: NewList) -> Self {
        let NewList { name, description, kind, created_by, created_at_ms } = new;
        let kinds = ListKinds::one(kind);
        Self { name, description, kinds, open_entries: 0, created_by, created_at_ms, closed: None }
    }
}

#[derive(Debug, Error)]
pub enum CreateListError {
    #[error("a list with this name already exists")]
    NameTaken,
    #[error("the tenant already has {0} open lists")]
    TooMany(u32),
    #[error("the tenant already has {0} lists, including closed ones")]
    TooManyKept(i64),
    #[error(transparent)]
    Storage(StorageError),
}

impl From<StorageError> for CreateListError {
    fn from(error: StorageError) -> Self {
        if error.is_unique_violation() { Self::NameTaken } else { Self::Storage(error) }
    }
}

#[derive(Debug, Error)]
pub enum CloseListError {
    #[error("there is no such open list")]
    Unknown,
    #[error("the revision {revision} is deployed and uses the list")]
    InUse { revision: i32 },
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// Creates a list. A tenant may have `lists_max` open lists, and a limited number in total.
pub async fn create(
    app: &AppPool,
    tenant: TenantId,
    new: NewList,
    lists_max: u32,
) -> Result<(), CreateListError> {
    app.transaction(tenant, move |connection| {
        Box::pin(async move {
            TenantLock::Lists(tenant).take_in_transaction(connection).await.of_statement()?;
            insert(connection, tenant, &new).await?;
            check_quota(connection, tenant, lists_max).await?;
            let act = Act {
                at_ms: new.created_at_ms,
                actor: new.created_by.into(),
                action: Action::ListCreated,
                subject: new.name,
                before: None,
                after: Some(json!({"description": new.description, "kind": new.kind.name()}).to_string()),
            };
            audit::record(connection, tenant, &act).await?;
            Ok(())
        })
    })
    .await
}

async fn check_quota(
    connection: &mut PgConnection,
    tenant: TenantId,
    lists_max: u32,
) -> Result<(), CreateListError> {
    let (open, kept): (i64, i64) = sqlx::query_as(
        "select count(*) filter (where closed_at_ms is null), count(*) from lists where tenant_id = $1",
    )
    .bind(tenant.0)
    .fetch_one(connection)
    .await
    .of_statement()?;
    if kept > kept_max(lists_max) {
        return Err(CreateListError::TooManyKept(kept_max(lists_max)));
    }
    if open > i64::from(lists_max) { Err(CreateListError::TooMany(lists_max)) } else { Ok(()) }
}

async fn insert(connection: &mut PgConnection, tenant: TenantId, new: &NewList) -> Result<(), StorageError> {
    sqlx::query(
        "insert into lists (tenant_id, name, description, kinds, created_by, created_at_ms)
         values ($1, $2, $3, array[$4], $5, $6)",
    )
    .bind(tenant.0)
    .bind(&new.name)
    .bind(&new.description)
    .bind(new.kind.name())
    .bind(&new.created_by)
    .bind(bigint(new.created_at_ms))
    .execute(connection)
    .await?;
    Ok(())
}

/// The lists by name, after the name `after`.
pub async fn list(
    app: &AppPool,
    tenant: TenantId,
    after: Option<String>,
    limit: u32,
) -> Result<Vec<List>, StorageError> {
    app.transaction(tenant, move |connection| {
        Box::pin(async move {
            let rows = sqlx::query(
                "select name, description, kinds, created_by, created_at_ms, closed_by, closed_at_ms,
                        (select count(distinct id) from list_entries
                         where tenant_id = lists.tenant_id and list = lists.name
                           and valid_to_ms is null) as open_entries
                 from lists
                 where tenant_id = $1 and name > coalesce($2, '')
                 order by name
                 limit $3",
            )
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

/// The properties of a list that are needed to read its entries or to add some.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListHead {
    pub name: String,
    pub kinds: ListKinds,
    pub is_closed: bool,
}

/// The lists with these names. Names without a list are left out.
pub async fn heads(
    app: &AppPool,
    tenant: TenantId,
    names: Vec<String>,
) -> Result<Vec<ListHead>, StorageError> {
    app.transaction(tenant, move |connection| {
        Box::pin(async move {
            let rows = sqlx::query(
                "select name, kinds, closed_at_ms is not null as is_closed
                 from lists
                 where tenant_id = $1 and name = any ($2)",
            )
            .bind(tenant.0)
            .bind(names)
            .fetch_all(connection)
            .await?;
            rows.iter().map(read_head).collect()
        })
    })
    .await
}

pub async fn head(app: &AppPool, tenant: TenantId, name: &str) -> Result<Option<ListHead>, StorageError> {
    Ok(heads(app, tenant, vec![name.to_owned()]).await?.pop())
}

fn read_head(row: &PgRow) -> Result<ListHead, StorageError> {
    Ok(ListHead { name: row.try_get("name")?, kinds: read_kinds(row)?, is_closed: row.try_get("is_closed")? })
}

fn read(row: &PgRow) -> Result<List, StorageError> {
    let closed: (Option<String>, Option<i64>) = (row.try_get("closed_by")?, row.try_get("closed_at_ms")?);
    let closed = match closed {
        (Some(by), Some(at_ms)) => Some((by, ms(at_ms, WHAT)?)),
        _ => None,
    };
    Ok(List {
        name: row.try_get("name")?,
        description: row.try_get("description")?,
        kinds: read_kinds(row)?,
        open_entries: ms(row.try_get("open_entries")?, WHAT)?,
        created_by: row.try_get("created_by")?,
        created_at_ms: ms(row.try_get("created_at_ms")?, WHAT)?,
        closed,
    })
}

fn read_kinds(row: &PgRow) -> Result<ListKinds, StorageError> {
    let names: Option<Vec<String>> = row.try_get("kinds")?;
    let kinds: Result<Vec<ValueKind>, StorageError> =
        names.unwrap_or_default().iter().map(|name| named(ValueKind::parse(name), WHAT)).collect();
    // Every list has kinds: the program converts the lists of earlier versions when it starts.
    named(ListKinds::of(kinds?), WHAT)
}

/// Closes a list permanently, unless an active, canary or shadow revision uses it. Its entries stay
/// as they are.
pub async fn close(
    app: &AppPool,
    tenant: TenantId,
    name: &str,
    now_ms: u64,
    actor: Authority,
) -> Result<(), CloseListError> {
    let name = name.to_owned();
    app.transaction(tenant, move |connection| {
        Box::pin(async move {
            let point = DecisionPoint::Payment;
            let asks = |query: &FactQuery| query.list().is_some_and(|(list, _)| list == name);
            if let Some(revision) = deployed_revision_asking(connection, tenant, point, asks).await? {
                return Err(CloseListError::InUse { revision });
            }
            let closed = sqlx::query(
                "update lists set closed_at_ms = $3, closed_by = $4
                 where tenant_id = $1 and name = $2 and closed_at_ms is null",
            )
            .bind(tenant.0)
            .bind(&name)
            .bind(bigint(now_ms))
            .bind(actor.name())
            .execute(&mut *connection)
            .await
            .of_statement()?;
            if closed.rows_affected() == 0 {
                return Err(CloseListError::Unknown);
            }
            let act = Act {
                at_ms: now_ms,
                actor,
                action: Action::ListClosed,
                subject: name,
                before: Some(json!({"closed": false}).to_string()),
                after: Some(json!({"closed": true}).to_string()),
            };
            audit::record(connection, tenant, &act).await?;
            Ok(())
        })
    })
    .await
}
