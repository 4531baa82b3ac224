//! Adds entries to lists: a single one, or thousands in one transaction.

use std::collections::{BTreeSet, HashMap};

use serde_json::json;
use sqlx::PgConnection;
use thiserror::Error;
use uuid::Uuid;

use super::super::columns::bigint;
use super::super::pool::AppPool;
use super::super::query_error::OfStatement;
use super::super::time_limit::TimeLimit;
use super::super::{StorageError, audit};
use super::changes::{Lead, begin_change};
use super::entries::{comparison_version, entry_json};
use crate::domain::audit::{Act, Action, Authority};
use crate::domain::comparison::normalized_name;
use crate::domain::list::ListEntry;
use crate::domain::quotas::kept_max;
use crate::domain::tenant::TenantId;

#[derive(Debug, Clone)]
pub struct NewEntry {
    pub id: Uuid,
    pub value: String,
    /// The value's forms, by the kinds of the list. At least one.
    pub forms: Vec<String>,
    pub reason: String,
    pub valid_from_ms: u64,
    pub valid_to_ms: Option<u64>,
    pub added_by: String,
}

impl NewEntry {
    /// An entry that would end before it begins is never valid.
    fn begin_at_earliest(&mut self, earliest_ms: u64) {
        self.valid_from_ms = self.valid_from_ms.max(earliest_ms);
        self.valid_to_ms = self.valid_to_ms.map(|to_ms| to_ms.max(self.valid_from_ms));
    }
}

impl From<NewEntry> for ListEntry {
    fn from(entry: NewEntry) -> Self {
        let NewEntry { id, value, forms, reason, valid_from_ms, valid_to_ms, added_by } = entry;
        let (closed_by, closed_because) = (None, None);
        Self { id, value, forms, reason, valid_from_ms, valid_to_ms, added_by, closed_by, closed_because }
    }
}

#[derive(Debug, Error)]
pub enum AddEntryError {
    #[error("there is no such list")]
    UnknownList,
    #[error("the list is closed")]
    Closed,
    /// The list already has entries of the same value whose validity includes that of the new one.
    #[error("the value is already on the list")]
    AlreadyOpen,
    #[error("a list can have at most {0} entries that have not ended")]
    TooMany(u32),
    #[error("a list can hold at most {0} entries, including closed ones")]
    TooManyKept(i64),
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// Returns the entry as it is stored: it is valid two seconds later, or later still.
pub async fn add_entry(
    app: &AppPool,
    tenant: TenantId,
    list: &str,
    entry: NewEntry,
    entries_max: u32,
    actor: Authority,
    now_ms: u64,
) -> Result<ListEntry, AddEntryError> {
    let list = list.to_owned();
    app.transaction(tenant, move |connection| {
        Box::pin(async move {
            let mut entries = [entry];
            let insertion = Insertion { tenant, list: &list, entries_max, now_ms, lead: Lead::USUAL };
            let added = insertion.run(connection, &mut entries).await?;
            let [entry] = entries;
            if added.ids.is_empty() {
                return Err(AddEntryError::AlreadyOpen);
            }
            let entry = ListEntry::from(entry);
            let act = Act {
                at_ms: now_ms,
                actor,
                action: Action::ListEntryAdded,
                subject: list,
                before: None,
                after: Some(entry_json(&entry).to_string()),
            };
            audit::record(connection, tenant, &act).await?;
            Ok(entry)
        })
    })
    .await
}

/// The entries that were new to their list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddedEntries {
    pub ids: BTreeSet<Uuid>,
    /// From when those are valid that do not begin later.
    pub valid_from_ms: u64,
}

/// Adds many entries to a list in one transaction, with one act in the audit log. Skips values that
/// are already on the list or repeated.
pub async fn add_entries(
    app: &AppPool,
    tenant: TenantId,
    list: &str,
    entries: Vec<NewEntry>,
    entries_max: u32,
    actor: &Authority,
    now_ms: u64,
) -> Result<AddedEntries, AddEntryError> {
    let add = |entries, lead| {
        let (list, actor) = (list.to_owned(), actor.clone());
        app.transaction_within(tenant, TimeLimit::PAGE, move |connection| {
            Box::pin(async move {
                let insertion = Insertion { tenant, list: &list, entries_max, now_ms, lead };
                insertion.run_for(connection, entries, actor).await
            })
        })
    };
    match add(entries.clone(), Lead::USUAL).await {
        Err(AddEntryError::Storage(error)) if error.is_late_change() => add(entries, Lead::LONG).await,
        result => result,
    }
}

/// Where and how entries are added in one transaction.
struct Insertion<'a> {
    tenant: TenantId,
    list: &'a str,
    entries_max: u32,
    now_ms: u64,
    lead: Lead,
}

impl Insertion<'_> {
    /// Inserts the entries, and records that as one act of the actor.
    async fn run_for(
        &self,
        connection: &mut PgConnection,
        mut entries: Vec<NewEntry>,
        actor: Authority,
    ) -> Result<AddedEntries, AddEntryError> {
        let added = self.run(connection, &mut entries).await?;
        if added.ids.is_empty() {
            return Ok(added);
        }
        let (count, skipped) = (added.ids.len(), entries.len() - added.ids.len());
        let after = json!({"added": count, "already_there": skipped, "valid_from_ms": added.valid_from_ms});
        let act = Act {
            at_ms: self.now_ms,
            actor,
            action: Action::ListEntriesImported,
            subject: self.list.to_owned(),
            before: None,
            after: Some(after.to_string()),
        };
        audit::record(connection, self.tenant, &act).await?;
        Ok(added)
    }

    /// Inserts the entries that are new, and sets the times of all to those from which they are valid.
    async fn run(
        &self,
        connection: &mut PgConnection,
        entries: &mut [NewEntry],
    ) -> Result<AddedEntries, AddEntryError> {
        let Self { tenant, list, entries_max, lead, .. } = *self;
        let kept_before = lock_list(connection, tenant, list).await?;
        let valid_from_ms = begin_change(connection, tenant, list, lead).await?;
        entries.iter_mut().for_each(|entry| entry.begin_at_earliest(valid_from_ms));
        let ids = insert_rows(connection, tenant, list, entries).await?;
        let added = AddedEntries { ids, valid_from_ms };
        if added.ids.is_empty() {
            return Ok(added);
        }
        let kept = kept_before.saturating_add(i64::try_from(added.ids.len()).unwrap_or(i64::MAX));
        if kept > kept_max(entries_max) {
            return Err(AddEntryError::TooManyKept(kept_max(entries_max)));
        }
        // Open entries need not be counted if the list has fewer entries in total than the quota.
        let open_max = i64::from(entries_max);
        if kept > open_max && count_not_ended(connection, tenant, list, valid_from_ms).await? > open_max {
            return Err(AddEntryError::TooMany(entries_max));
        }
        sqlx::query("update lists set entries_kept = $3 where tenant_id = $1 and name = $2")
            .bind(tenant.0)
            .bind(list)
            .bind(kept)
            .execute(connection)
            .await
            .of_statement()?;
        Ok(added)
    }
}

/// Locks the list until the transaction ends. Returns how many entries it has in total.
async fn lock_list(
    connection: &mut PgConnection,
    tenant: TenantId,
    list: &str,
) -> Result<i64, AddEntryError> {
    let found: Option<(bool, Option<i64>)> = sqlx::query_as(
        "select closed_at_ms is not null, entries_kept from lists where tenant_id = $1 and name = $2 for update",
    )
    .bind(tenant.0)
    .bind(list)
    .fetch_optional(&mut *connection)
    .await
    .of_statement()?;
    match found {
        None => Err(AddEntryError::UnknownList),
        Some((true, _)) => Err(AddEntryError::Closed),
        Some((false, Some(kept))) => Ok(kept),
        Some((false, None)) => Ok(count_kept(connection, tenant, list).await?),
    }
}

async fn count_kept(
    connection: &mut PgConnection,
    tenant: TenantId,
    list: &str,
) -> Result<i64, StorageError> {
    let statement = "select count(distinct id) from list_entries where tenant_id = $1 and list = $2";
    Ok(sqlx::query_scalar(statement).bind(tenant.0).bind(list).fetch_one(connection).await?)
}

/// The times at which an entry's validity begins and ends. `None` if it has no end.
type Validity = (u64, Option<u64>);

fn covers((from_ms, to_ms): Validity, (other_from_ms, other_to_ms): Validity) -> bool {
    from_ms <= other_from_ms
        && to_ms.is_none_or(|to_ms| other_to_ms.is_some_and(|other_to_ms| other_to_ms <= to_ms))
}

/// The entries that are not covered by earlier ones in `entries`.
fn without_repeated(entries: &[NewEntry]) -> impl Iterator<Item = &NewEntry> {
    let mut known: HashMap<&str, Vec<Validity>> = HashMap::new();
    entries.iter().filter(move |entry| {
        let validity = (entry.valid_from_ms, entry.valid_to_ms);
        let is_covered = |form: &String| {
            known.get(form.as_str()).is_some_and(|own| own.iter().any(|own| covers(*own, validity)))
        };
        let is_repeated = entry.forms.iter().all(is_covered);
        if !is_repeated {
            entry.forms.iter().for_each(|form| known.entry(form).or_default().push(validity));
        }
        !is_repeated
    })
}

/// Adds an entry with all of its forms or not at all. An entry with only some of its forms would
/// stop matching the others once the entry that has them is closed.
async fn insert_rows(
    connection: &mut PgConnection,
    tenant: TenantId,
    list: &str,
    entries: &[NewEntry],
) -> Result<BTreeSet<Uuid>, StorageError> {
    let rows: Vec<(&NewEntry, &String)> = without_repeated(entries)
        .flat_map(|entry| entry.forms.iter().map(move |form| (entry, form)))
        .collect();
    let column =
        |of: fn(&NewEntry) -> &str| -> Vec<&str> { rows.iter().map(|(entry, _)| of(entry)).collect() };
    let inserted: Vec<Uuid> = sqlx::query_scalar(
        "with offered as (
             select *
             from unnest($4::uuid[], $5::text[], $6::text[], $7::text[], $8::text[], $9::bigint[],
                         $10::bigint[], $11::text[])
                  with ordinality as e (id, value, comparable, normalized_name, reason, valid_from_ms,
                                        valid_to_ms, added_by, place)
         ),
         -- Entries that no existing one covers, as in `covers`.
         fresh as (
             select distinct e.id from offered e
             where not exists (select from list_entries o
                               where o.tenant_id = $1 and o.list = $2 and o.comparable = e.comparable
                                 and o.valid_from_ms <= e.valid_from_ms
                                 and (o.valid_to_ms is null or o.valid_to_ms >= e.valid_to_ms))
         )
         insert into list_entries (tenant_id, list, id, value, comparable, normalized_name, reason,
                                   valid_from_ms, valid_to_ms, added_by, comparison_version)
         select $1, $2, e.id, e.value, e.comparable, e.normalized_name, e.reason, e.valid_from_ms,
                e.valid_to_ms, e.added_by, $3
         from offered e join fresh using (id)
         order by e.place
         returning id",
    )
    .bind(tenant.0)
    .bind(list)
    .bind(comparison_version())
    .bind(rows.iter().map(|(entry, _)| entry.id).collect::<Vec<_>>())
    .bind(column(|entry| &entry.value))
    .bind(rows.iter().map(|(_, form)| form.as_str()).collect::<Vec<_>>())
    .bind(rows.iter().map(|(entry, _)| normalized_name(&entry.value)).collect::<Vec<_>>())
    .bind(column(|entry| &entry.reason))
    .bind(rows.iter().map(|(entry, _)| bigint(entry.valid_from_ms)).collect::<Vec<_>>())
    .bind(rows.iter().map(|(entry, _)| entry.valid_to_ms.map(bigint)).collect::<Vec<_>>())
    .bind(column(|entry| &entry.added_by))
    .fetch_all(connection)
    .await?;
    Ok(inserted.into_iter().collect())
}

async fn count_not_ended(
    connection: &mut PgConnection,
    tenant: TenantId,
    list: &str,
    at_ms: u64,
) -> Result<i64, StorageError> {
    let count = sqlx::query_scalar(
        "select count(distinct id) from list_entries
         where tenant_id = $1 and list = $2
           and (valid_to_ms is null or (valid_to_ms > $3 and valid_to_ms > valid_from_ms))",
    )
    .bind(tenant.0)
    .bind(list)
    .bind(bigint(at_ms))
    .fetch_one(connection)
    .await?;
    Ok(count)
}
