//! Writes new segments, and merges segments that have become many.
//!
//! A segment is immutable. Both must happen in one transaction: a reader sees either the segments
//! before a merge or the merged one, never both or none.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};

use sqlx::{PgConnection, Row};

use super::chunks::{Chunk, ChunkWriter, Entry, entries};
use super::terms::Term;
use crate::domain::tenant::TenantId;
use crate::domain::time::Month;
use crate::storage::StorageError;
use crate::storage::columns::{bigint, ms};
use crate::storage::decision_counts::Counted;
use crate::storage::pool::SystemPool;
use crate::storage::time_limit::TimeLimit;

const WHAT: &str = "search segment";

/// How many segments of a level become one of the next.
const MERGED_AT_ONCE: usize = 16;
/// No segment becomes larger, so that a merge takes a few seconds at most.
const SEGMENT_BYTES_MAX: u64 = 32 << 20;
/// The level of segments of which two might not fit into one.
const LEVEL_OF_FULL: i16 = 100;
/// The most chunks in one statement: two megabytes.
const CHUNKS_AT_ONCE: usize = 256;
/// How many chunks of each segment a merge has in memory.
const CHUNKS_READ_AHEAD: i64 = 8;

/// The terms of one decision, and the time in its id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct IndexedDecision {
    pub tenant: TenantId,
    pub at_ms: u64,
    pub terms: Vec<Term>,
    /// `None` for history of another system, which is not counted.
    pub counted: Option<Counted>,
}

/// The month of a tenant's payments.
pub type TenantMonth = (TenantId, Month);

pub(super) fn first_day(month: Month) -> String {
    format!("{month}-01")
}

struct NewSegment {
    tenant: TenantId,
    month: Month,
    level: i16,
    first_ms: u64,
    last_ms: u64,
    bytes: u64,
}

/// Writes a segment for each tenant and month of the decisions, and returns these.
pub(super) async fn write(
    connection: &mut PgConnection,
    decisions: &[IndexedDecision],
) -> Result<Vec<TenantMonth>, StorageError> {
    let mut by_month: BTreeMap<TenantMonth, Vec<Entry>> = BTreeMap::new();
    for decision in decisions {
        let entries = by_month.entry((decision.tenant, Month::of(decision.at_ms))).or_default();
        entries.extend(decision.terms.iter().map(|term| Entry { term: *term, at_ms: decision.at_ms }));
    }
    if by_month.is_empty() {
        return Ok(Vec::new());
    }
    let (mut segments, mut chunks) = (Vec::new(), Vec::new());
    for ((tenant, month), mut entries) in by_month {
        entries.sort_unstable();
        let times = || entries.iter().map(|entry| entry.at_ms);
        let (Some(first_ms), Some(last_ms)) = (times().min(), times().max()) else { continue };
        let mut writer = ChunkWriter::new(first_ms);
        let mut own: Vec<Chunk> = entries.iter().filter_map(|entry| writer.add(*entry)).collect();
        own.extend(writer.finish());
        let bytes = own.iter().map(|chunk| chunk.bytes.len() as u64).sum();
        segments.push(NewSegment { tenant, month, level: 0, first_ms, last_ms, bytes });
        chunks.push(own);
    }
    let ids = insert_segments(connection, &segments).await?;
    let places = ids.iter().zip(&segments).zip(chunks);
    let rows: Vec<ChunkRow> = places
        .flat_map(|((id, segment), chunks)| {
            chunks.into_iter().map(|chunk| ChunkRow { tenant: segment.tenant, segment: *id, chunk })
        })
        .collect();
    for rows in rows.chunks(CHUNKS_AT_ONCE) {
        insert_chunks(connection, rows).await?;
    }
    Ok(segments.into_iter().map(|segment| (segment.tenant, segment.month)).collect())
}

/// Returns the new ids in the order of the segments.
async fn insert_segments(
    connection: &mut PgConnection,
    segments: &[NewSegment],
) -> Result<Vec<i64>, StorageError> {
    let ids: Vec<i64> =
        sqlx::query_scalar("select nextval('search_segment_ids') from generate_series(1, $1)")
            .bind(bigint(segments.len() as u64))
            .fetch_all(&mut *connection)
            .await?;
    sqlx::query(
        "insert into search_segments (tenant_id, id, month, level, first_ms, last_ms, bytes)
         select s.tenant_id, s.id, s.month::date, s.level, s.first_ms, s.last_ms, s.bytes
         from unnest($1::uuid[], $2::bigint[], $3::text[], $4::smallint[], $5::bigint[], $6::bigint[],
                     $7::bigint[])
              as s (tenant_id, id, month, level, first_ms, last_ms, bytes)",
    )
    .bind(each(segments, |segment| segment.tenant.0))
    .bind(&ids)
    .bind(each(segments, |segment| first_day(segment.month)))
    .bind(each(segments, |segment| segment.level))
    .bind(each(segments, |segment| bigint(segment.first_ms)))
    .bind(each(segments, |segment| bigint(segment.last_ms)))
    .bind(each(segments, |segment| bigint(segment.bytes)))
    .execute(connection)
    .await?;
    Ok(ids)
}

struct ChunkRow {
    tenant: TenantId,
    segment: i64,
    chunk: Chunk,
}

async fn insert_chunks(connection: &mut PgConnection, rows: &[ChunkRow]) -> Result<(), StorageError> {
    sqlx::query(
        "insert into search_chunks (tenant_id, segment_id, first_term, first_ms, last_term, last_ms, entries)
         select * from unnest($1::uuid[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[],
                              $7::bytea[])",
    )
    .bind(each(rows, |row| row.tenant.0))
    .bind(each(rows, |row| row.segment))
    .bind(each(rows, |row| bigint(row.chunk.first.term.0)))
    .bind(each(rows, |row| bigint(row.chunk.first.at_ms)))
    .bind(each(rows, |row| bigint(row.chunk.last.term.0)))
    .bind(each(rows, |row| bigint(row.chunk.last.at_ms)))
    .bind(each(rows, |row| row.chunk.bytes.as_slice()))
    .execute(connection)
    .await?;
    Ok(())
}

fn each<'r, R, T>(rows: &'r [R], column: impl Fn(&'r R) -> T) -> Vec<T> {
    rows.iter().map(column).collect()
}

/// Merges the segments of one level of a month, if there are enough. Returns whether it did, so
/// that the caller looks at the next level.
pub async fn merge(system: &SystemPool, (tenant, month): TenantMonth) -> Result<bool, StorageError> {
    system
        .transaction_within(TimeLimit::PAGE, move |connection| {
            Box::pin(async move {
                sqlx::raw_sql("set local synchronous_commit = off").execute(&mut *connection).await?;
                let Some((level, segments)) = mergeable(connection, tenant, month).await? else {
                    return Ok(false);
                };
                merge_into_one(connection, tenant, month, level, segments).await?;
                Ok(true)
            })
        })
        .await
}

struct MergedSegment {
    id: i64,
    first_ms: u64,
    last_ms: u64,
    bytes: u64,
}

/// The oldest segments of a level that has enough, as many as fit into one. They stay locked; a
/// level of which another node has locked some is left to that node.
async fn mergeable(
    connection: &mut PgConnection,
    tenant: TenantId,
    month: Month,
) -> Result<Option<(i16, Vec<MergedSegment>)>, StorageError> {
    let at_once = MERGED_AT_ONCE as i64;
    let level: Option<i16> = sqlx::query_scalar(
        "select level from search_segments
         where tenant_id = $1 and month = $2::date and level < $4
         group by level having count(*) >= $3 order by level limit 1",
    )
    .bind(tenant.0)
    .bind(first_day(month))
    .bind(at_once)
    .bind(LEVEL_OF_FULL)
    .fetch_optional(&mut *connection)
    .await?;
    let Some(level) = level else { return Ok(None) };
    let rows = sqlx::query(
        "select id, first_ms, last_ms, bytes from search_segments
         where tenant_id = $1 and month = $2::date and level = $3
         order by id limit $4
         for update skip locked",
    )
    .bind(tenant.0)
    .bind(first_day(month))
    .bind(level)
    .bind(at_once)
    .fetch_all(connection)
    .await?;
    if rows.len() < MERGED_AT_ONCE {
        return Ok(None);
    }
    let (mut segments, mut bytes_before) = (Vec::new(), 0);
    for row in rows {
        let segment = MergedSegment {
            id: row.try_get("id")?,
            first_ms: ms(row.try_get("first_ms")?, WHAT)?,
            last_ms: ms(row.try_get("last_ms")?, WHAT)?,
            bytes: ms(row.try_get("bytes")?, WHAT)?,
        };
        if bytes_before + segment.bytes > SEGMENT_BYTES_MAX {
            break;
        }
        bytes_before += segment.bytes;
        segments.push(segment);
    }
    Ok((segments.len() > 1).then_some((level, segments)))
}

async fn merge_into_one(
    connection: &mut PgConnection,
    tenant: TenantId,
    month: Month,
    level: i16,
    segments: Vec<MergedSegment>,
) -> Result<(), StorageError> {
    let first_ms = segments.iter().map(|segment| segment.first_ms).min().unwrap_or_default();
    let last_ms = segments.iter().map(|segment| segment.last_ms).max().unwrap_or_default();
    // An estimate, and never too low by much: the merged segment repeats fewer terms.
    let bytes = segments.iter().map(|segment| segment.bytes).sum();
    let level = if bytes > SEGMENT_BYTES_MAX / 2 { LEVEL_OF_FULL } else { level + 1 };
    let merged = NewSegment { tenant, month, level, first_ms, last_ms, bytes };
    let ids = insert_segments(connection, &[merged]).await?;
    let id = ids.first().copied().ok_or(StorageError::Unreadable { what: WHAT })?;

    let inputs: Vec<i64> = segments.iter().map(|segment| segment.id).collect();
    let mut merge = Merge::begin(connection, tenant, &inputs).await?;
    let (mut writer, mut rows) = (ChunkWriter::new(first_ms), Vec::new());
    while let Some(entry) = merge.next(connection).await? {
        let Some(chunk) = writer.add(entry) else { continue };
        rows.push(ChunkRow { tenant, segment: id, chunk });
        if rows.len() == CHUNKS_AT_ONCE {
            insert_chunks(connection, &rows).await?;
            rows.clear();
        }
    }
    rows.extend(writer.finish().map(|chunk| ChunkRow { tenant, segment: id, chunk }));
    insert_chunks(connection, &rows).await?;
    sqlx::query("delete from search_segments where tenant_id = $1 and id = any ($2)")
        .bind(tenant.0)
        .bind(&inputs)
        .execute(connection)
        .await?;
    Ok(())
}

/// The entries of several segments in order. Only a few chunks of each are in memory.
struct Merge {
    tenant: TenantId,
    inputs: Vec<MergeInput>,
    /// The next entry of each input that has one.
    next: BinaryHeap<Reverse<(Entry, usize)>>,
}

struct MergeInput {
    segment: i64,
    entries: VecDeque<Entry>,
    /// The last chunk that was read begins with this entry.
    reached: Option<Entry>,
    has_more: bool,
}

impl Merge {
    async fn begin(
        connection: &mut PgConnection,
        tenant: TenantId,
        segments: &[i64],
    ) -> Result<Self, StorageError> {
        let input = |segment: &i64| MergeInput {
            segment: *segment,
            entries: VecDeque::new(),
            reached: None,
            has_more: true,
        };
        let inputs: Vec<MergeInput> = segments.iter().map(input).collect();
        let mut merge = Self { tenant, inputs, next: BinaryHeap::new() };
        for place in 0..merge.inputs.len() {
            merge.advance(connection, place).await?;
        }
        Ok(merge)
    }

    async fn next(&mut self, connection: &mut PgConnection) -> Result<Option<Entry>, StorageError> {
        let Some(Reverse((entry, place))) = self.next.pop() else { return Ok(None) };
        self.advance(connection, place).await?;
        Ok(Some(entry))
    }

    async fn advance(&mut self, connection: &mut PgConnection, place: usize) -> Result<(), StorageError> {
        let input = &mut self.inputs[place];
        if input.entries.is_empty() && input.has_more {
            input.read(connection, self.tenant).await?;
        }
        self.next.extend(input.entries.pop_front().map(|entry| Reverse((entry, place))));
        Ok(())
    }
}

impl MergeInput {
    async fn read(&mut self, connection: &mut PgConnection, tenant: TenantId) -> Result<(), StorageError> {
        let (term, at_ms) =
            self.reached.map_or((-1, -1), |entry| (bigint(entry.term.0), bigint(entry.at_ms)));
        let rows = sqlx::query(
            "select first_term, first_ms, entries from search_chunks
             where tenant_id = $1 and segment_id = $2 and (first_term, first_ms) > ($3, $4)
             order by first_term, first_ms limit $5",
        )
        .bind(tenant.0)
        .bind(self.segment)
        .bind(term)
        .bind(at_ms)
        .bind(CHUNKS_READ_AHEAD)
        .fetch_all(connection)
        .await?;
        for row in &rows {
            self.entries.extend(entries(row.try_get("entries")?)?);
            let term = Term(ms(row.try_get("first_term")?, WHAT)?);
            self.reached = Some(Entry { term, at_ms: ms(row.try_get("first_ms")?, WHAT)? });
        }
        self.has_more = !rows.is_empty();
        Ok(())
    }
}
