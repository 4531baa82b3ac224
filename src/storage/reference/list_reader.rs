//! Reads lists for the memory: whole ones, and what has changed since.
//!
//! First it must be seen that nobody is changing a list, and only then it may be read, by another
//! statement. Who changes it later does so with a later time, and changes hold two seconds after
//! that: so what was read is complete until then.

use std::collections::HashSet;
use std::sync::Arc;

use futures::TryStreamExt;
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row};
use uuid::Uuid;

use super::list_contents::{EntryRow, ListContents};
use super::list_memory::ReadAt;
use crate::domain::comparison::{COMPARISON_VERSION, ValueKind};
use crate::domain::selector::Matching;
use crate::domain::tenant::TenantId;
use crate::storage::StorageError;
use crate::storage::advisory_locks::{DatabaseLock, ListLock};
use crate::storage::columns::ms;
use crate::storage::pool::SystemPool;
use crate::storage::time_limit::TimeLimit;

const WHAT: &str = "list entry";

/// Entries that had ended this long before they were read are left out. No payment of now is older.
pub(super) const ENDED_BEFORE_MS: u64 = 60_000;

/// The database's time before it was seen that no list is being changed, and the number of the newest
/// change. `None` if one is.
pub(super) async fn none_is_changing(system: &SystemPool) -> Result<Option<ReadAt>, StorageError> {
    system
        .statement(|connection| {
            Box::pin(async move {
                let (now_ms, newest_change, is_free): (i64, i64, bool) = sqlx::query_as(
                    "select (extract(epoch from statement_timestamp()) * 1000)::bigint,
                            newest.last_value - (not newest.is_called)::int,
                            pg_try_advisory_xact_lock($1)
                     from list_changes newest",
                )
                .bind(DatabaseLock::ListChanges.number())
                .fetch_one(connection)
                .await?;
                let read_at = ReadAt { now_ms: ms(now_ms, "clock")?, newest_change };
                Ok(is_free.then_some(read_at))
            })
        })
        .await
}

/// The lists that have changed since the change of this number.
pub(super) async fn changed_since(
    system: &SystemPool,
    change: i64,
) -> Result<HashSet<(TenantId, String)>, StorageError> {
    system
        .statement(move |connection| {
            Box::pin(async move {
                let changed: Vec<(Uuid, String)> =
                    sqlx::query_as("select tenant_id, name from lists where newest_change > $1")
                        .bind(change)
                        .fetch_all(connection)
                        .await?;
                Ok(changed.into_iter().map(|(tenant, list)| (TenantId(tenant), list)).collect())
            })
        })
        .await
}

/// Which of the lists nobody is changing, and the database's time before that was seen.
pub(super) struct Unchanging {
    pub now_ms: u64,
    pub are_unchanging: Vec<bool>,
}

/// The locks are released at the end of the statement, so nobody who changes a list waits for long.
pub(super) async fn unchanging(
    system: &SystemPool,
    lists: &[(TenantId, String)],
) -> Result<Unchanging, StorageError> {
    let locks: Vec<String> =
        lists.iter().map(|(tenant, list)| ListLock { tenant: *tenant, list }.text()).collect();
    system
        .statement(move |connection| {
            Box::pin(async move {
                let (now_ms, are_unchanging): (i64, Option<Vec<bool>>) = sqlx::query_as(
                    "select (extract(epoch from statement_timestamp()) * 1000)::bigint,
                            array_agg(pg_try_advisory_xact_lock_shared(hashtextextended(l.text, 0)) order by l.place)
                     from unnest($1::text[]) with ordinality as l (text, place)",
                )
                .bind(locks)
                .fetch_one(connection)
                .await?;
                Ok(Unchanging { now_ms: ms(now_ms, "clock")?, are_unchanging: are_unchanging.unwrap_or_default() })
            })
        })
        .await
}

/// A list as it was read. `contents` is `None` if they would take too many bytes, or if an entry has
/// forms of another version than those of payments.
pub(super) struct WholeList {
    pub version: i64,
    pub contents: Option<ListContents>,
}

/// Reads a list row by row, and stops keeping rows at `bytes_max`. `None` if there is no such list.
pub(super) async fn whole(
    system: &SystemPool,
    tenant: TenantId,
    list: String,
    now_ms: u64,
    bytes_max: usize,
) -> Result<Option<WholeList>, StorageError> {
    let ended_before_ms = now_ms.saturating_sub(ENDED_BEFORE_MS).cast_signed();
    system
        .transaction_within(TimeLimit::PAGE, move |connection| {
            Box::pin(read_whole(connection, tenant, list, ended_before_ms, bytes_max))
        })
        .await
}

async fn read_whole(
    connection: &mut PgConnection,
    tenant: TenantId,
    list: String,
    ended_before_ms: i64,
    bytes_max: usize,
) -> Result<Option<WholeList>, StorageError> {
    // One statement, so that the version and the entries are from one snapshot.
    let mut rows = sqlx::query(
        "select l.version, l.kinds, e.id, e.comparable, e.normalized_name, e.valid_from_ms, e.valid_to_ms,
                e.comparison_version
         from lists l
         left join list_entries e on e.tenant_id = l.tenant_id and e.list = l.name
                                  and (e.valid_to_ms is null or e.valid_to_ms > $3)
         where l.tenant_id = $1 and l.name = $2",
    )
    .bind(tenant.0)
    .bind(list)
    .bind(ended_before_ms)
    .persistent(false)
    .fetch(connection);
    let mut whole: Option<WholeList> = None;
    // All rows are read, whatever becomes of them: the connection is used again.
    while let Some(row) = rows.try_next().await? {
        let whole = match &mut whole {
            Some(whole) => whole,
            None => {
                let contents = Some(ListContents::new(is_searched_by_name(&row)?));
                whole.insert(WholeList { version: row.try_get("version")?, contents })
            }
        };
        if let (Some(contents), Some(read)) = (&mut whole.contents, changed_row(&row)?) {
            let ChangedRow { row, is_comparable } = read;
            contents.put(&row);
            if !is_comparable || contents.bytes() > bytes_max {
                whole.contents = None;
            }
        }
    }
    Ok(whole)
}

fn is_searched_by_name(row: &PgRow) -> Result<bool, StorageError> {
    let kinds: Option<Vec<String>> = row.try_get("kinds")?;
    let suits =
        |kind: &String| ValueKind::parse(kind).is_none_or(|kind| Matching::NormalizedName.suits(kind));
    Ok(kinds.is_none_or(|kinds| kinds.iter().any(suits)))
}

/// A list whose changes are read.
pub(super) struct SinceVersion {
    pub tenant: TenantId,
    pub list: String,
    pub version: i64,
    /// Whether the entries are needed, or only the version.
    pub needs_entries: bool,
}

pub(super) struct ChangedRow {
    pub row: EntryRow,
    /// Whether its forms are of the same version as those of payments.
    pub is_comparable: bool,
}

/// What has changed in a list since.
#[derive(Default)]
pub(super) struct ListChanges {
    pub version: i64,
    pub rows: Vec<ChangedRow>,
}

/// The changes of each list, in order. `None` if there is no such list.
pub(super) async fn changes(
    system: &SystemPool,
    lists: Arc<[SinceVersion]>,
) -> Result<Vec<Option<ListChanges>>, StorageError> {
    system
        .statement(move |connection| {
            Box::pin(async move {
                let rows = sqlx::query(
                    "select q.place, l.version, e.id, e.comparable, e.normalized_name, e.valid_from_ms,
                            e.valid_to_ms, e.comparison_version
                     from unnest($1::uuid[], $2::text[], $3::bigint[], $4::boolean[])
                          with ordinality as q (tenant_id, list, version, needs_entries, place)
                     join lists l on l.tenant_id = q.tenant_id and l.name = q.list
                     left join list_entries e
                         on q.needs_entries and l.version > q.version and e.tenant_id = q.tenant_id
                         and e.list = q.list and e.list_version > q.version",
                )
                .bind(lists.iter().map(|list| list.tenant.0).collect::<Vec<Uuid>>())
                .bind(lists.iter().map(|list| list.list.as_str()).collect::<Vec<_>>())
                .bind(lists.iter().map(|list| list.version).collect::<Vec<_>>())
                .bind(lists.iter().map(|list| list.needs_entries).collect::<Vec<_>>())
                // Not prepared: a plan from when there were few entries would scan all of them.
                .persistent(false)
                .fetch_all(connection)
                .await?;
                let mut changes: Vec<Option<ListChanges>> = lists.iter().map(|_| None).collect();
                for row in &rows {
                    let place: i64 = row.try_get("place")?;
                    let own = usize::try_from(place - 1).ok().and_then(|place| changes.get_mut(place));
                    let own = own.ok_or(StorageError::Unreadable { what: WHAT })?;
                    let own = own.get_or_insert_default();
                    own.version = row.try_get("version")?;
                    own.rows.extend(changed_row(row)?);
                }
                Ok(changes)
            })
        })
        .await
}

/// `None` if the list has no entries that were asked for.
fn changed_row(row: &PgRow) -> Result<Option<ChangedRow>, StorageError> {
    let Some(entry) = row.try_get("id")? else { return Ok(None) };
    let valid_to_ms: Option<i64> = row.try_get("valid_to_ms")?;
    let comparison_version: i16 = row.try_get("comparison_version")?;
    let row = EntryRow {
        entry,
        form: row.try_get("comparable")?,
        normalized_name: row.try_get("normalized_name")?,
        valid_from_ms: ms(row.try_get("valid_from_ms")?, WHAT)?,
        valid_to_ms: valid_to_ms.map_or(Ok(u64::MAX), |end_ms| ms(end_ms, WHAT))?,
    };
    Ok(Some(ChangedRow { row, is_comparable: comparison_version == COMPARISON_VERSION.cast_signed() }))
}
