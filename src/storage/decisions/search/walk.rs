//! Walks the lists of all conditions at once, and checks the decisions at the times that all lists
//! have.
//!
//! A page must not take long: it looks at a bounded number of decisions and chunks, and says where
//! the next page goes on.

use std::collections::VecDeque;

use sqlx::PgConnection;
use uuid::Uuid;

use super::candidates::{AT_ONE_TIME_MAX, Candidate, at_times};
use super::events::{EventList, with_event};
use super::filter::DecisionFilter;
use super::span::Span;
use super::{DecisionPage, FoundDecision};
use crate::domain::tenant::TenantId;
use crate::storage::StorageError;
use crate::storage::search::{Found, ListBudget, Rank, Term, TermLists, months_of, segments_of};

/// The most decisions that a page looks at.
const DECISIONS_MAX: usize = 2_000;
/// The most chunks that a page reads: three megabytes. It is what the slowest page takes its time for.
const CHUNKS_MAX: usize = 400;
/// At how many times decisions are read in one statement.
const TIMES_AT_ONCE: usize = 64;

pub(super) struct Walk<'f> {
    tenant: TenantId,
    filter: &'f DecisionFilter,
    terms: Vec<Vec<Term>>,
    span: Span,
    lists: ListBudget,
    decisions_left: usize,
    found: Vec<FoundDecision>,
}

/// The lists of one month, and the times that all of them have and that are not looked at yet.
struct Lists {
    terms: Vec<TermLists>,
    events: Option<EventList>,
    from: Rank,
    agreed: VecDeque<Rank>,
    end: Option<ListsEnd>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum ListsEnd {
    /// No more payments have all terms.
    Reached,
    OutOfBudget,
}

#[derive(PartialEq, Eq)]
enum Part {
    /// The lists are at their end.
    Done,
    /// The page is full, or has looked at enough.
    PageEnds,
}

impl<'f> Walk<'f> {
    pub fn new(tenant: TenantId, filter: &'f DecisionFilter, terms: Vec<Vec<Term>>, span: Span) -> Self {
        let lists = ListBudget { chunks: CHUNKS_MAX, begins_at: span.ranks().0 };
        Self { tenant, filter, terms, span, lists, decisions_left: DECISIONS_MAX, found: Vec::new() }
    }

    pub async fn page(mut self, connection: &mut PgConnection) -> Result<DecisionPage, StorageError> {
        let months = if self.terms.is_empty() {
            vec![None]
        } else {
            let months = months_of(connection, self.tenant, self.filter.order, self.span.times_ms()).await?;
            months.into_iter().map(Some).collect()
        };
        for month in months {
            if self.span.is_empty() {
                break;
            }
            let lists = self.lists_of(connection, month).await?;
            if self.walk(connection, lists).await? == Part::PageEnds {
                let reached = (!self.is_full()).then(|| self.span.position());
                return Ok(DecisionPage { found: self.found, reached });
            }
        }
        Ok(DecisionPage { found: self.found, reached: None })
    }

    /// The lists of a month. Without one, the search is by events only.
    async fn lists_of(
        &self,
        connection: &mut PgConnection,
        month: Option<String>,
    ) -> Result<Lists, StorageError> {
        let (tenant, order) = (self.tenant, self.filter.order);
        let mut lists = Lists {
            terms: Vec::new(),
            events: self.filter.event.map(|kind| EventList::new(tenant, kind, order, self.span)),
            from: self.span.ranks().0,
            agreed: VecDeque::new(),
            end: None,
        };
        if let Some(month) = month {
            let segments = segments_of(connection, tenant, order, &month).await?;
            let nearest = segments.iter().map(|segment| segment.nearest).min();
            lists.from = nearest.map_or(lists.from, |nearest| nearest.max(lists.from));
            let group = |group: &Vec<Term>| TermLists::new(tenant, order, group, &segments);
            lists.terms = self.terms.iter().map(group).collect();
        }
        Ok(lists)
    }

    fn is_full(&self) -> bool {
        self.found.len() >= self.filter.limit as usize
    }

    async fn walk(&mut self, connection: &mut PgConnection, mut lists: Lists) -> Result<Part, StorageError> {
        let farthest = self.span.ranks().1;
        loop {
            lists.agree(connection, farthest, &mut self.lists).await?;
            if lists.agreed.is_empty() {
                return Ok(match lists.end {
                    Some(ListsEnd::OutOfBudget) => {
                        self.span.pass_until(lists.from);
                        Part::PageEnds
                    }
                    _ => Part::Done,
                });
            }
            self.look_at(connection, &mut lists.agreed).await?;
            if self.is_full() || self.decisions_left == 0 {
                return Ok(Part::PageEnds);
            }
        }
    }

    /// Checks the decisions at these times. Keeps the times at which there are more than were read.
    async fn look_at(
        &mut self,
        connection: &mut PgConnection,
        times: &mut VecDeque<Rank>,
    ) -> Result<(), StorageError> {
        let (tenant, order) = (self.tenant, self.filter.order);
        let candidates = at_times(connection, tenant, order, &self.span, times.make_contiguous()).await?;
        let mut counts = vec![0; times.len()];
        for candidate in &candidates {
            counts[candidate.place] += 1;
        }
        let unfinished = counts.iter().position(|count| *count >= AT_ONE_TIME_MAX);
        let looked_at = unfinished.map_or(usize::MAX, |place| place + 1);
        let mut matching: Vec<(Candidate, bool)> = candidates
            .into_iter()
            .filter(|candidate| candidate.place < looked_at)
            .map(|candidate| {
                let matches = candidate.matches(self.filter);
                (candidate, matches)
            })
            .collect();
        self.check_events(connection, &mut matching).await?;
        for (candidate, matches) in matching {
            if self.is_full() || self.decisions_left == 0 {
                return Ok(());
            }
            self.decisions_left -= 1;
            self.span.pass(candidate.found.summary.id);
            if matches {
                self.found.push(candidate.found);
            }
        }
        times.drain(..unfinished.unwrap_or(times.len()));
        Ok(())
    }

    async fn check_events(
        &self,
        connection: &mut PgConnection,
        candidates: &mut [(Candidate, bool)],
    ) -> Result<(), StorageError> {
        let Some(kind) = self.filter.event else { return Ok(()) };
        let matching = candidates.iter().filter(|(_, matches)| *matches);
        let ids: Vec<Uuid> = matching.map(|(candidate, _)| candidate.found.summary.id.0).collect();
        let reported = with_event(connection, self.tenant, kind, &ids).await?;
        for (candidate, matches) in candidates {
            *matches &= reported.contains(&candidate.found.summary.id.0);
        }
        Ok(())
    }
}

impl Lists {
    /// Looks for more times that all lists have, up to a number.
    async fn agree(
        &mut self,
        connection: &mut PgConnection,
        farthest: Rank,
        budget: &mut ListBudget,
    ) -> Result<(), StorageError> {
        while self.end.is_none() && self.agreed.len() < TIMES_AT_ONCE {
            match self.next_agreed(connection, budget).await? {
                Found::At(rank) if rank <= farthest => {
                    self.agreed.push_back(rank);
                    self.from = rank.next();
                }
                Found::At(_) | Found::End => self.end = Some(ListsEnd::Reached),
                Found::OutOfBudget => self.end = Some(ListsEnd::OutOfBudget),
            }
        }
        Ok(())
    }

    /// The first time that all lists have. Each list skips to where the others are.
    async fn next_agreed(
        &mut self,
        connection: &mut PgConnection,
        budget: &mut ListBudget,
    ) -> Result<Found, StorageError> {
        'skip: loop {
            if let Some(events) = &mut self.events {
                match events.next_from(connection, self.from, budget).await? {
                    Found::At(rank) => self.from = rank,
                    end => return Ok(end),
                }
            }
            for list in &mut self.terms {
                match list.next_from(connection, self.from, budget).await? {
                    Found::At(rank) if rank == self.from => {}
                    Found::At(rank) => {
                        self.from = rank;
                        continue 'skip;
                    }
                    end => return Ok(end),
                }
            }
            return Ok(Found::At(self.from));
        }
    }
}
