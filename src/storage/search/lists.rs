//! Reads the times of terms from segments, newest or oldest first.
//!
//! Everything must be read in one snapshot: a merge deletes the segments that it merged.

use std::collections::HashMap;

use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row};

use super::chunks::times_of;
use super::terms::Term;
use crate::domain::tenant::TenantId;
use crate::storage::StorageError;
use crate::storage::columns::{bigint, ms};

const WHAT: &str = "search segment";

/// How many chunks the first statement of a step reads. Each further one reads twice as many.
const CHUNKS_FIRST: usize = 4;
const CHUNKS_AT_ONCE_MAX: usize = 64;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SearchOrder {
    #[default]
    Newest,
    Oldest,
}

/// A time as its place in the order of the search: what comes earlier has the lower rank.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(in crate::storage) struct Rank(i64);

impl Rank {
    pub fn of(order: SearchOrder, at_ms: u64) -> Self {
        let at_ms = bigint(at_ms);
        Self(if order == SearchOrder::Newest { -at_ms } else { at_ms })
    }

    pub fn at_ms(self, order: SearchOrder) -> u64 {
        let at_ms = if order == SearchOrder::Newest { -self.0 } else { self.0 };
        u64::try_from(at_ms).unwrap_or_default()
    }

    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// How much a page may read. It goes on without budget until it has got past its beginning, so
/// that pages always get somewhere.
#[derive(Debug)]
pub(in crate::storage) struct ListBudget {
    pub chunks: usize,
    pub begins_at: Rank,
}

impl ListBudget {
    /// For reading another list. Returns `false` if the budget is spent.
    pub fn spend_one(&mut self, from: Rank) -> bool {
        let may = self.allows(1, from) == 1;
        self.chunks = self.chunks.saturating_sub(1);
        may
    }

    fn allows(&self, chunks: usize, from: Rank) -> usize {
        if from > self.begins_at { chunks.min(self.chunks) } else { chunks }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::storage) enum Found {
    At(Rank),
    End,
    /// There may be more, but the budget is spent.
    OutOfBudget,
}

/// A segment with the ranks of its first and last payment.
#[derive(Debug, Clone, Copy)]
pub(in crate::storage) struct SegmentHead {
    id: i64,
    pub nearest: Rank,
    farthest: Rank,
}

/// The months that have segments with payments from `from_ms` to `until_ms`, in the order of the
/// search.
pub(in crate::storage) async fn months_of(
    connection: &mut PgConnection,
    tenant: TenantId,
    order: SearchOrder,
    (from_ms, until_ms): (u64, u64),
) -> Result<Vec<String>, StorageError> {
    let mut months: Vec<String> = sqlx::query_scalar(
        "select month::text from search_segments
         where tenant_id = $1 and last_ms >= $2 and first_ms <= $3
         group by month order by month",
    )
    .bind(tenant.0)
    .bind(bigint(from_ms))
    .bind(bigint(until_ms))
    .fetch_all(connection)
    .await?;
    if order == SearchOrder::Newest {
        months.reverse();
    }
    Ok(months)
}

pub(in crate::storage) async fn segments_of(
    connection: &mut PgConnection,
    tenant: TenantId,
    order: SearchOrder,
    month: &str,
) -> Result<Vec<SegmentHead>, StorageError> {
    let rows = sqlx::query(
        "select id, first_ms, last_ms from search_segments where tenant_id = $1 and month = $2::date",
    )
    .bind(tenant.0)
    .bind(month)
    .fetch_all(connection)
    .await?;
    let head = |row: &PgRow| {
        let first = Rank::of(order, ms(row.try_get("first_ms")?, WHAT)?);
        let last = Rank::of(order, ms(row.try_get("last_ms")?, WHAT)?);
        Ok(SegmentHead { id: row.try_get("id")?, nearest: first.min(last), farthest: first.max(last) })
    };
    rows.iter().map(head).collect()
}

/// The times of all payments that have any of several terms, from several segments.
#[derive(Debug)]
pub(in crate::storage) struct TermLists {
    tenant: TenantId,
    order: SearchOrder,
    lists: Vec<TermList>,
}

/// The times of a term in a segment, of which a part is in memory.
#[derive(Debug)]
struct TermList {
    term: Term,
    segment: SegmentHead,
    ranks: Vec<Rank>,
    /// From where it must be read on. `None` if there is no more.
    unread: Option<Rank>,
}

impl TermList {
    /// The first rank in memory that is not before `from`.
    fn known(&self, from: Rank) -> Option<Rank> {
        self.ranks.get(self.ranks.partition_point(|rank| *rank < from)).copied()
    }

    /// From where it must be read to know what comes at `from` or later.
    fn to_read(&self, from: Rank) -> Option<Rank> {
        if self.known(from).is_some() {
            return None;
        }
        self.unread.map(|unread| unread.max(from)).filter(|rank| *rank <= self.segment.farthest)
    }
}

impl TermLists {
    pub fn new(tenant: TenantId, order: SearchOrder, terms: &[Term], segments: &[SegmentHead]) -> Self {
        let list = |term: Term, segment: SegmentHead| TermList {
            term,
            segment,
            ranks: Vec::new(),
            unread: Some(segment.nearest),
        };
        let lists = terms.iter().flat_map(|term| segments.iter().map(|segment| list(*term, *segment)));
        Self { tenant, order, lists: lists.collect() }
    }

    /// The first payment at `from` or later. `from` must not be lower than in the call before.
    pub async fn next_from(
        &mut self,
        connection: &mut PgConnection,
        from: Rank,
        budget: &mut ListBudget,
    ) -> Result<Found, StorageError> {
        self.lists.retain(|list| list.known(from).is_some() || list.to_read(from).is_some());
        let mut chunks_max = CHUNKS_FIRST;
        loop {
            let best = self.lists.iter().filter_map(|list| list.known(from)).min();
            let mut to_read: Vec<(Rank, usize)> = self
                .lists
                .iter()
                .enumerate()
                .filter_map(|(place, list)| Some((list.to_read(from)?, place)))
                .filter(|(rank, _)| best.is_none_or(|best| *rank < best))
                .collect();
            if to_read.is_empty() {
                return Ok(best.map_or(Found::End, Found::At));
            }
            to_read.sort_unstable();
            to_read.truncate(budget.allows(chunks_max, from));
            if to_read.is_empty() {
                return Ok(Found::OutOfBudget);
            }
            self.read(connection, &to_read).await?;
            budget.chunks = budget.chunks.saturating_sub(to_read.len());
            chunks_max = (chunks_max * 2).min(CHUNKS_AT_ONCE_MAX);
        }
    }

    async fn read(
        &mut self,
        connection: &mut PgConnection,
        to_read: &[(Rank, usize)],
    ) -> Result<(), StorageError> {
        let order = self.order;
        let list = |place: usize| &self.lists[place];
        let rows = sqlx::query(if order == SearchOrder::Newest { UP_TO } else { FROM })
            .bind(self.tenant.0)
            .bind(to_read.iter().map(|(_, place)| list(*place).segment.id).collect::<Vec<_>>())
            .bind(to_read.iter().map(|(_, place)| bigint(list(*place).term.0)).collect::<Vec<_>>())
            .bind(to_read.iter().map(|(rank, _)| bigint(rank.at_ms(order))).collect::<Vec<_>>())
            .fetch_all(connection)
            .await?;
        let mut chunks: HashMap<usize, Vec<&PgRow>> = HashMap::new();
        for row in &rows {
            let place: i64 = row.try_get("place")?;
            chunks.entry(usize::try_from(place - 1).unwrap_or_default()).or_default().push(row);
        }
        for (number, (from, place)) in to_read.iter().enumerate() {
            let found = chunks.remove(&number).unwrap_or_default();
            self.lists[*place].replace(order, *from, &found)?;
        }
        Ok(())
    }
}

impl TermList {
    /// Takes the chunks in which the list goes on at `from`.
    fn replace(&mut self, order: SearchOrder, from: Rank, chunks: &[&PgRow]) -> Result<(), StorageError> {
        (self.ranks, self.unread) = (Vec::new(), None);
        for chunk in chunks {
            let times = times_of(chunk.try_get("entries")?, self.term)?;
            self.ranks.extend(times.into_iter().map(|at_ms| Rank::of(order, at_ms)));
            // The end of the chunk at which the search leaves it.
            let (term, at_ms) = match order {
                SearchOrder::Newest => ("first_term", "first_ms"),
                SearchOrder::Oldest => ("last_term", "last_ms"),
            };
            let (term, at_ms): (i64, i64) = (chunk.try_get(term)?, chunk.try_get(at_ms)?);
            if term == bigint(self.term.0) {
                self.unread = self.unread.max(Some(Rank::of(order, ms(at_ms, WHAT)?).next()));
            }
        }
        self.ranks.retain(|rank| *rank >= from);
        self.ranks.sort_unstable();
        Ok(())
    }
}

/// The chunk that contains the last entry of a term up to a time.
const UP_TO: &str = "
    select wanted.place, c.first_term, c.first_ms, c.entries
    from unnest($2::bigint[], $3::bigint[], $4::bigint[]) with ordinality
         as wanted (segment_id, term, at_ms, place)
    cross join lateral (
        select first_term, first_ms, last_term, entries from search_chunks
        where tenant_id = $1 and segment_id = wanted.segment_id
          and (first_term, first_ms) <= (wanted.term, wanted.at_ms)
        order by first_term desc, first_ms desc limit 1) c
    where c.last_term >= wanted.term";

/// The chunk that would contain an entry of a term at a time, and the next one of the same term.
const FROM: &str = "
    select wanted.place, c.last_term, c.last_ms, c.entries
    from unnest($2::bigint[], $3::bigint[], $4::bigint[]) with ordinality
         as wanted (segment_id, term, at_ms, place)
    cross join lateral (
        (select last_term, last_ms, entries from search_chunks
         where tenant_id = $1 and segment_id = wanted.segment_id
           and (first_term, first_ms) <= (wanted.term, wanted.at_ms)
         order by first_term desc, first_ms desc limit 1)
        union all
        (select last_term, last_ms, entries from search_chunks
         where tenant_id = $1 and segment_id = wanted.segment_id
           and (first_term, first_ms) > (wanted.term, wanted.at_ms) and first_term = wanted.term
         order by first_term, first_ms limit 1)) c
    where (c.last_term, c.last_ms) >= (wanted.term, wanted.at_ms)";
