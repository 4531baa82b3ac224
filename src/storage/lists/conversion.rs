//! Converts the lists of earlier versions: lists get kinds, and entries get the current forms.
//!
//! If a process stops halfway, the next one continues. No entry may stop matching: a value that is
//! invalid for its list's kind stays as it was written. If entries become equal, only the one that
//! began first stays open.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use serde_json::json;
use sqlx::postgres::PgRow;
use sqlx::{Connection, PgConnection, Row};
use uuid::Uuid;

use super::super::advisory_locks::DatabaseLock;
use super::super::columns::bigint;
use super::super::pool::SystemPool;
use super::super::rulesets::selectors_by_list;
use super::super::time_limit::{self, TimeLimit};
use super::super::{StorageError, audit};
use super::changes::{Lead, begin_change};
use super::entries::{closed, closing_act, comparison_version, read};
use super::{WHAT, read_kinds};
use crate::domain::audit::{Act, Action};
use crate::domain::comparison::{ValueKind, normalized_name};
use crate::domain::list::{ListEntry, ListKinds};
use crate::domain::selector::Selector;
use crate::domain::tenant::TenantId;

/// How many entries one transaction converts.
const BATCH_MAX: i64 = 500;

/// How many values are read to choose the kinds of a list that no rule queries.
const SAMPLE_MAX: i64 = 1_000;

const LOCK_RETRY_EVERY: Duration = Duration::from_millis(500);
const LOCK_RESPONSE_MAX: Duration = Duration::from_secs(10);

/// The actor in the audit log.
const ACTOR: &str = "upgrade";

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ListConversion {
    pub lists: u64,
    pub entries: u64,
    /// Entries that were closed because they are equal to an earlier one.
    pub closed: u64,
    /// Entries that were left as written, since no payment can have such a value.
    pub never_match: u64,
}

/// Converts all remaining lists. Of several nodes that start at once, one does the work and the
/// others wait.
pub async fn convert_lists(system: &SystemPool) -> Result<ListConversion, StorageError> {
    let mut done = ListConversion::default();
    if remaining(system).await?.is_empty() {
        return Ok(done);
    }
    // The lock is held by a separate connection. If this process dies, Postgres releases it.
    let mut holder = system.detached().await?;
    // The lock is polled, since a long wait for it could not be distinguished from a lost response.
    while !time_limit::within(LOCK_RESPONSE_MAX, DatabaseLock::ListConversion.try_take(&mut holder)).await? {
        tokio::time::sleep(LOCK_RETRY_EVERY).await;
        // The other node may have finished, but its lost connection may still hold the lock.
        if remaining(system).await?.is_empty() {
            break;
        }
    }
    let converted = convert_all(system, &mut done).await;
    // If closing fails, the conversion is still done.
    let _ = time_limit::within(LOCK_RESPONSE_MAX, holder.close()).await;
    converted?;
    if done != ListConversion::default() {
        let ListConversion { lists, entries, closed, never_match } = done;
        tracing::info!(lists, entries, closed, never_match, "converted the lists of an earlier version");
    }
    Ok(done)
}

async fn convert_all(system: &SystemPool, done: &mut ListConversion) -> Result<(), StorageError> {
    let mut selectors_of = TenantSelectors::default();
    for UnconvertedList { tenant, list, has_kinds } in remaining(system).await? {
        let name = list.clone();
        let selectors =
            if has_kinds { BTreeSet::new() } else { selectors_of.list(system, tenant, &list).await? };
        let kinds = system
            .transaction_within(TimeLimit::LONG, move |connection| {
                Box::pin(set_kinds(connection, tenant, name, selectors))
            })
            .await?;
        done.lists += 1;
        loop {
            let (name, kinds) = (list.clone(), kinds.clone());
            let batch = system
                .transaction_within(TimeLimit::LONG, move |connection| {
                    Box::pin(next_batch(connection, tenant, name, kinds))
                })
                .await?;
            done.entries += batch.entries;
            done.closed += batch.closed;
            done.never_match += batch.never_match;
            if batch.entries == 0 {
                break;
            }
        }
    }
    Ok(())
}

/// The selectors by which one tenant's revisions query its lists. They are read once for all lists
/// of the tenant, since the revisions may be many and large.
#[derive(Default)]
struct TenantSelectors {
    tenant: Option<TenantId>,
    by_list: BTreeMap<String, BTreeSet<Selector>>,
}

impl TenantSelectors {
    async fn list(
        &mut self,
        system: &SystemPool,
        tenant: TenantId,
        list: &str,
    ) -> Result<BTreeSet<Selector>, StorageError> {
        if self.tenant != Some(tenant) {
            self.by_list = system
                .transaction_within(TimeLimit::LONG, move |connection| {
                    Box::pin(selectors_by_list(connection, tenant))
                })
                .await?;
            self.tenant = Some(tenant);
        }
        Ok(self.by_list.remove(list).unwrap_or_default())
    }
}

struct UnconvertedList {
    tenant: TenantId,
    list: String,
    has_kinds: bool,
}

async fn remaining(system: &SystemPool) -> Result<Vec<UnconvertedList>, StorageError> {
    system
        .transaction_within(TimeLimit::LONG, |connection| {
            Box::pin(async move {
                let rows = sqlx::query(
                    "select tenant_id, name, kinds is not null as has_kinds from lists
                 where kinds is null
                    or exists (select from list_entries
                               where tenant_id = lists.tenant_id and list = lists.name
                                 and comparison_version < $1)
                 order by tenant_id, name",
                )
                .bind(comparison_version())
                .persistent(false)
                .fetch_all(connection)
                .await?;
                let read = |row: &PgRow| {
                    let (tenant, list) = (TenantId(row.try_get("tenant_id")?), row.try_get("name")?);
                    Ok(UnconvertedList { tenant, list, has_kinds: row.try_get("has_kinds")? })
                };
                rows.iter().map(read).collect()
            })
        })
        .await
}

/// Returns the kinds of the list. If it has none yet, they are chosen by the selectors of the
/// revisions that query the list, or by its values if no revision does.
async fn set_kinds(
    connection: &mut PgConnection,
    tenant: TenantId,
    list: String,
    selectors: BTreeSet<Selector>,
) -> Result<ListKinds, StorageError> {
    let row = sqlx::query("select kinds from lists where tenant_id = $1 and name = $2 for update")
        .bind(tenant.0)
        .bind(&list)
        .fetch_one(&mut *connection)
        .await?;
    if row.try_get::<Option<Vec<String>>, _>("kinds")?.is_some() {
        return read_kinds(&row);
    }
    let kinds = match ListKinds::of(selectors.iter().map(|selector| selector.kind())) {
        Some(kinds) => kinds,
        None => ListKinds::of_values(&values(connection, tenant, &list).await?),
    };
    let names: Vec<&str> = kinds.iter().map(ValueKind::name).collect();
    sqlx::query("update lists set kinds = $3 where tenant_id = $1 and name = $2")
        .bind(tenant.0)
        .bind(&list)
        .bind(&names)
        .execute(&mut *connection)
        .await?;
    let act = Act {
        at_ms: now_ms(connection).await?,
        actor: ACTOR.into(),
        action: Action::ListBroughtOver,
        subject: list,
        before: None,
        after: Some(json!({"kinds": names}).to_string()),
    };
    audit::record(connection, tenant, &act).await?;
    Ok(kinds)
}

async fn values(
    connection: &mut PgConnection,
    tenant: TenantId,
    list: &str,
) -> Result<Vec<String>, StorageError> {
    let values =
        sqlx::query_scalar("select value from list_entries where tenant_id = $1 and list = $2 limit $3")
            .bind(tenant.0)
            .bind(list)
            .bind(SAMPLE_MAX)
            .fetch_all(connection)
            .await?;
    Ok(values)
}

/// The database's time. The conversion runs before the program's own clock is set.
async fn now_ms(connection: &mut PgConnection) -> Result<u64, StorageError> {
    let now_ms: i64 = sqlx::query_scalar("select (extract(epoch from clock_timestamp()) * 1000)::bigint")
        .fetch_one(connection)
        .await?;
    super::ms(now_ms, WHAT)
}

/// Converts the next entries, in the order in which their validity begins.
async fn next_batch(
    connection: &mut PgConnection,
    tenant: TenantId,
    list: String,
    kinds: ListKinds,
) -> Result<ListConversion, StorageError> {
    let batch = old_entries(connection, tenant, &list).await?;
    let mut done = ListConversion { entries: batch.len() as u64, ..ListConversion::default() };
    if batch.is_empty() {
        return Ok(done);
    }
    let mut fresh = Vec::with_capacity(batch.len());
    for entry in batch {
        let forms = kinds.forms(&entry.value).unwrap_or_else(|_| {
            done.never_match += u64::from(entry.valid_to_ms.is_none());
            kinds.forms_of_value(&entry.value)
        });
        fresh.push(ListEntry { forms, ..entry });
    }
    let now_ms = now_ms(connection).await?;
    let holds_from_ms = begin_change(connection, tenant, &list, Lead::LONG).await?;
    let mut holders = holders(connection, tenant, &list, &fresh).await?;
    let mut acts = Vec::new();
    for entry in &mut fresh {
        if entry.valid_to_ms.is_some() {
            continue;
        }
        if entry.forms.iter().all(|form| holders.contains_key(form)) {
            let because = equal_to(entry.forms.first().and_then(|form| holders.get(form)));
            let ended = closed(entry, holds_from_ms, ACTOR.to_owned(), Some(because));
            acts.push(closing_act(list.clone(), entry, &ended, ACTOR.into(), now_ms));
            *entry = ended;
        } else {
            for form in &entry.forms {
                holders.entry(form.clone()).or_insert(entry.id);
            }
        }
    }
    done.closed = acts.len() as u64;
    write(connection, tenant, &fresh).await?;
    for act in &acts {
        audit::record(connection, tenant, act).await?;
    }
    Ok(done)
}

fn equal_to(holder: Option<&Uuid>) -> String {
    let earlier = holder.map(|id| format!(" {id}")).unwrap_or_default();
    format!("compares equal to the entry{earlier}, which began earlier")
}

async fn old_entries(
    connection: &mut PgConnection,
    tenant: TenantId,
    list: &str,
) -> Result<Vec<ListEntry>, StorageError> {
    let rows = sqlx::query(
        "select id, value, array[comparable] as forms, reason, valid_from_ms, valid_to_ms, added_by, closed_by,
                closed_because
         from list_entries
         where tenant_id = $1 and list = $2 and comparison_version < $3
         order by valid_from_ms, id
         limit $4
         for update",
    )
    .bind(tenant.0)
    .bind(list)
    .bind(comparison_version())
    .bind(BATCH_MAX)
    .persistent(false)
    .fetch_all(connection)
    .await?;
    rows.iter().map(read).collect()
}

/// The open converted entries that already have one of the forms.
async fn holders(
    connection: &mut PgConnection,
    tenant: TenantId,
    list: &str,
    entries: &[ListEntry],
) -> Result<HashMap<String, Uuid>, StorageError> {
    let forms: Vec<&String> = entries.iter().flat_map(|entry| &entry.forms).collect();
    let held: Vec<(String, Uuid)> = sqlx::query_as(
        "select comparable, id from list_entries
         where tenant_id = $1 and list = $2 and comparable = any ($3)
           and valid_to_ms is null and comparison_version = $4",
    )
    .bind(tenant.0)
    .bind(list)
    .bind(forms)
    .bind(comparison_version())
    .fetch_all(connection)
    .await?;
    Ok(held.into_iter().collect())
}

/// An old entry has one row, which gets the first form. The other forms get new rows.
async fn write(
    connection: &mut PgConnection,
    tenant: TenantId,
    entries: &[ListEntry],
) -> Result<(), StorageError> {
    sqlx::query(
        "update list_entries e
         set comparable = n.comparable, normalized_name = n.normalized_name, comparison_version = $2,
             valid_to_ms = n.valid_to_ms, closed_by = n.closed_by, closed_because = n.closed_because
         from unnest($3::uuid[], $4::text[], $5::text[], $6::bigint[], $7::text[], $8::text[])
              as n (id, comparable, normalized_name, valid_to_ms, closed_by, closed_because)
         where e.tenant_id = $1 and e.id = n.id and e.comparison_version < $2",
    )
    .bind(tenant.0)
    .bind(comparison_version())
    .bind(entries.iter().map(|entry| entry.id).collect::<Vec<_>>())
    .bind(entries.iter().map(|entry| entry.forms.first()).collect::<Vec<_>>())
    .bind(entries.iter().map(|entry| normalized_name(&entry.value)).collect::<Vec<_>>())
    .bind(entries.iter().map(|entry| entry.valid_to_ms.map(bigint)).collect::<Vec<_>>())
    .bind(entries.iter().map(|entry| entry.closed_by.as_ref()).collect::<Vec<_>>())
    .bind(entries.iter().map(|entry| entry.closed_because.as_ref()).collect::<Vec<_>>())
    .execute(&mut *connection)
    .await?;
    let further = || entries.iter().flat_map(|entry| entry.forms.iter().skip(1).map(|form| (entry.id, form)));
    if further().next().is_none() {
        return Ok(());
    }
    sqlx::query(
        "insert into list_entries (tenant_id, list, id, value, comparable, normalized_name, reason,
                                   valid_from_ms, valid_to_ms, added_by, closed_by, closed_because,
                                   comparison_version)
         select e.tenant_id, e.list, e.id, e.value, n.comparable, e.normalized_name, e.reason,
                e.valid_from_ms, e.valid_to_ms, e.added_by, e.closed_by, e.closed_because, $2
         from list_entries e join unnest($3::uuid[], $4::text[]) as n (id, comparable) using (id)
         where e.tenant_id = $1",
    )
    .bind(tenant.0)
    .bind(comparison_version())
    .bind(further().map(|(id, _)| id).collect::<Vec<_>>())
    .bind(further().map(|(_, form)| form).collect::<Vec<_>>())
    .execute(connection)
    .await?;
    Ok(())
}
