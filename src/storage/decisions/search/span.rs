//! The ids that a search still has to look at.

use uuid::Uuid;

use super::filter::DecisionFilter;
use crate::domain::payment::PaymentId;
use crate::storage::decisions::first_id;
use crate::storage::search::{Rank, SearchOrder};

/// How far the time in an id and the time in its row may differ, if an early release set its clock
/// back.
const TIMES_DIFFER_MAX_MS: u64 = 60_000;

/// Later times do not fit into an id.
const ID_MS_MAX: u64 = (1 << 48) - 1;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span {
    order: SearchOrder,
    lowest: u128,
    /// Exclusive.
    end: u128,
}

impl Span {
    pub fn of(filter: &DecisionFilter) -> Self {
        let first = |at_ms: u64| first_id(at_ms.min(ID_MS_MAX)).as_u128();
        let lowest = filter.from_ms.map_or(0, |from_ms| first(from_ms.saturating_sub(TIMES_DIFFER_MAX_MS)));
        let end = filter.to_ms.map_or(u128::MAX, |to_ms| first(to_ms.saturating_add(TIMES_DIFFER_MAX_MS)));
        let mut span = Self { order: filter.order, lowest, end };
        if let Some(position) = filter.position {
            span.pass(position);
        }
        span
    }

    /// Leaves out everything up to this payment.
    pub fn pass(&mut self, id: PaymentId) {
        let id = id.0.as_u128();
        match self.order {
            SearchOrder::Newest => self.end = self.end.min(id),
            SearchOrder::Oldest => self.lowest = self.lowest.max(id.saturating_add(1)),
        }
    }

    /// Leaves out everything before this rank.
    pub fn pass_until(&mut self, rank: Rank) {
        let (lowest, end) = Self::of_moment(rank.at_ms(self.order));
        match self.order {
            SearchOrder::Newest => self.end = self.end.min(end),
            SearchOrder::Oldest => self.lowest = self.lowest.max(lowest),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.lowest >= self.end
    }

    /// The last payment that is left out, for the next page.
    pub fn position(&self) -> PaymentId {
        PaymentId(Uuid::from_u128(match self.order {
            SearchOrder::Newest => self.end,
            SearchOrder::Oldest => self.lowest.saturating_sub(1),
        }))
    }

    /// The first and the last time.
    pub fn times_ms(&self) -> (u64, u64) {
        let at_ms = |id: u128| PaymentId(Uuid::from_u128(id)).at_ms();
        (at_ms(self.lowest), at_ms(self.end.saturating_sub(1)))
    }

    /// The first and the last rank.
    pub fn ranks(&self) -> (Rank, Rank) {
        let (first_ms, last_ms) = self.times_ms();
        let (one, other) = (Rank::of(self.order, first_ms), Rank::of(self.order, last_ms));
        (one.min(other), one.max(other))
    }

    /// The ids of a rank that are left: the lowest, and the end.
    pub fn ids_at(&self, rank: Rank) -> (Uuid, Uuid) {
        let (lowest, end) = Self::of_moment(rank.at_ms(self.order));
        (Uuid::from_u128(lowest.max(self.lowest)), Uuid::from_u128(end.min(self.end)))
    }

    pub fn ids(&self) -> (Uuid, Uuid) {
        (Uuid::from_u128(self.lowest), Uuid::from_u128(self.end))
    }

    fn of_moment(at_ms: u64) -> (u128, u128) {
        let lowest = u128::from(at_ms.min(ID_MS_MAX)) << 80;
        (lowest, lowest.saturating_add(1 << 80))
    }
}
