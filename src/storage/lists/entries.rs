//! The entries of lists. An entry has one row for each form in which it is compared.

use serde_json::{Value, json};
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row};
use uuid::Uuid;

use super::super::columns::{bigint, ms};
use super::super::pool::AppPool;
use super::super::{StorageError, audit};
use super::WHAT;
use super::changes::{Lead, begin_change};
use crate::domain::audit::{Act, Action, Authority};
use crate::domain::comparison::COMPARISON_VERSION;
use crate::domain::list::ListEntry;
use crate::domain::tenant::TenantId;

/// The version of comparison, as a column value.
pub(super) fn comparison_version() -> i16 {
    COMPARISON_VERSION.cast_signed()
}

/// Closes an entry, two seconds later, and returns it as it is stored. If its validity would begin
/// after that, it never will. `None` if there is no such open entry.
pub async fn close_entry(
    app: &AppPool,
    tenant: TenantId,
    list: &str,
    id: Uuid,
    now_ms: u64,
    actor: Authority,
) -> Result<Option<ListEntry>, StorageError> {
    let list = list.to_owned();
    app.transaction(tenant, move |connection| {
        Box::pin(async move {
            let Some(before) = lock_open_entry(connection, tenant, &list, id, now_ms).await? else {
                return Ok(None);
            };
            let holds_from_ms = begin_change(connection, tenant, &list, Lead::USUAL).await?;
            let after = closed(&before, holds_from_ms, actor.name().to_owned(), None);
            write_end(connection, tenant, &after).await?;
            audit::record(connection, tenant, &closing_act(list, &before, &after, actor, now_ms)).await?;
            Ok(Some(after))
        })
    })
    .await
}

/// The entry, if it could be closed now.
pub async fn open_entry(
    app: &AppPool,
    tenant: TenantId,
    list: &str,
    id: Uuid,
    now_ms: u64,
) -> Result<Option<ListEntry>, StorageError> {
    let list = list.to_owned();
    app.transaction(tenant, move |connection| {
        Box::pin(async move { lock_open_entry(connection, tenant, &list, id, now_ms).await })
    })
    .await
}

/// The same entry, closed by a change that holds from then on. It never ends later than before.
pub(super) fn closed(
    before: &ListEntry,
    holds_from_ms: u64,
    closed_by: String,
    closed_because: Option<String>,
) -> ListEntry {
    let end_ms = holds_from_ms.max(before.valid_from_ms);
    let valid_to_ms = Some(before.valid_to_ms.map_or(end_ms, |to_ms| to_ms.min(end_ms)));
    ListEntry { valid_to_ms, closed_by: Some(closed_by), closed_because, ..before.clone() }
}

async fn write_end(
    connection: &mut PgConnection,
    tenant: TenantId,
    after: &ListEntry,
) -> Result<(), StorageError> {
    sqlx::query("update list_entries set valid_to_ms = $3, closed_by = $4 where tenant_id = $1 and id = $2")
        .bind(tenant.0)
        .bind(after.id)
        .bind(after.valid_to_ms.map(bigint))
        .bind(&after.closed_by)
        .execute(connection)
        .await?;
    Ok(())
}

pub(super) fn closing_act(
    list: String,
    before: &ListEntry,
    after: &ListEntry,
    actor: Authority,
    now_ms: u64,
) -> Act {
    Act {
        at_ms: now_ms,
        actor,
        action: Action::ListEntryClosed,
        subject: list,
        before: Some(entry_json(before).to_string()),
        after: Some(entry_json(after).to_string()),
    }
}

/// Locks the entry if it is open. `closed_by` is checked as well: of two nodes that close an entry
/// at once, the second may have a clock that is behind.
async fn lock_open_entry(
    connection: &mut PgConnection,
    tenant: TenantId,
    list: &str,
    id: Uuid,
    now_ms: u64,
) -> Result<Option<ListEntry>, StorageError> {
    let rows = sqlx::query(
        "select id, value, array[comparable] as forms, reason, valid_from_ms, valid_to_ms, added_by, closed_by,
                closed_because
         from list_entries
         where tenant_id = $1 and list = $2 and id = $3 and closed_by is null
           and (valid_to_ms is null or valid_to_ms > greatest($4, valid_from_ms))
         order by comparable
         for update",
    )
    .bind(tenant.0)
    .bind(list)
    .bind(id)
    .bind(bigint(now_ms))
    .fetch_all(connection)
    .await?;
    let rows = rows.iter().map(read).collect::<Result<Vec<_>, _>>()?;
    let forms = rows.iter().flat_map(|row| row.forms.clone()).collect();
    Ok(rows.into_iter().next().map(|entry| ListEntry { forms, ..entry }))
}

/// An entry as JSON for the audit log.
pub(super) fn entry_json(entry: &ListEntry) -> Value {
    let mut json = json!({
        "id": entry.id, "value": entry.value, "reason": entry.reason,
        "valid_from_ms": entry.valid_from_ms, "valid_to_ms": entry.valid_to_ms, "added_by": entry.added_by,
    });
    match &entry.forms[..] {
        [form] => json["compared_as"] = form.as_str().into(),
        forms => json["compared_as"] = forms.into(),
    }
    if let Some(closed_by) = &entry.closed_by {
        json["closed_by"] = closed_by.as_str().into();
    }
    if let Some(closed_because) = &entry.closed_because {
        json["closed_because"] = closed_because.as_str().into();
    }
    json
}

/// All conditions must hold.
#[derive(Debug, Clone, Default)]
pub struct EntryFilter {
    /// Only entries that are valid at this moment.
    pub at_ms: Option<u64>,
    /// Only entries with one of these forms.
    pub forms: Option<Vec<String>>,
    /// Only entries that have not ended at this moment.
    pub not_ended_at_ms: Option<u64>,
}

/// Entries by id, above `after`.
pub async fn entries(
    app: &AppPool,
    tenant: TenantId,
    list: &str,
    filter: EntryFilter,
    after: Option<Uuid>,
    limit: u32,
) -> Result<Vec<ListEntry>, StorageError> {
    let list = list.to_owned();
    app.transaction(tenant, move |connection| {
        Box::pin(async move {
            let rows = sqlx::query(
                "select distinct on (id)
                        id, value, reason, valid_from_ms, valid_to_ms, added_by, closed_by, closed_because,
                        array(select comparable from list_entries f
                              where f.tenant_id = e.tenant_id and f.id = e.id order by comparable) as forms
                 from list_entries e
                 where tenant_id = $1 and list = $2
                   and ($3::bigint is null
                        or (valid_from_ms <= $3 and (valid_to_ms is null or valid_to_ms > $3)))
                   and ($4::text[] is null or comparable = any ($4))
                   and ($5::bigint is null
                        or valid_to_ms is null or (valid_to_ms > $5 and valid_to_ms > valid_from_ms))
                   and ($6::uuid is null or id > $6)
                 order by id
                 limit $7",
            )
            .bind(tenant.0)
            .bind(list)
            .bind(filter.at_ms.map(bigint))
            .bind(filter.forms)
            .bind(filter.not_ended_at_ms.map(bigint))
            .bind(after)
            .bind(i64::from(limit))
            // Not prepared, so that the plan fits these values: the best index depends on them.
            .persistent(false)
            .fetch_all(connection)
            .await?;
            rows.iter().map(read).collect()
        })
    })
    .await
}

pub(super) fn read(row: &PgRow) -> Result<ListEntry, StorageError> {
    let valid_to_ms: Option<i64> = row.try_get("valid_to_ms")?;
    Ok(ListEntry {
        id: row.try_get("id")?,
        value: row.try_get("value")?,
        forms: row.try_get("forms")?,
        reason: row.try_get("reason")?,
        valid_from_ms: ms(row.try_get("valid_from_ms")?, WHAT)?,
        valid_to_ms: valid_to_ms.map(|at| ms(at, WHAT)).transpose()?,
        added_by: row.try_get("added_by")?,
        closed_by: row.try_get("closed_by")?,
        closed_because: row.try_get("closed_because")?,
    })
}
