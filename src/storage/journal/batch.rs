//! A batch: the decisions that one transaction stores, and the callers that wait for them.
//!
//! Each waiter gets exactly one result, and a key has one head per batch. `First` must never be
//! sent before the batch is known to be committed.

use std::collections::{HashMap, HashSet};

use tokio::sync::oneshot;

use super::chain::{BatchLists, ChainLink};
use super::row::PreparedDecision;
use super::{JournalError, StoreOutcome};
use crate::domain::payment::PaymentId;
use crate::storage::StorageError;
use crate::storage::decisions::{Position, StoredDecision};
use crate::storage::series::KnownSeries;

pub(super) type StoreResult = Result<StoreOutcome, JournalError>;

#[derive(Debug)]
pub(super) struct PendingDecision {
    pub row: PreparedDecision,
    pub waiter: oneshot::Sender<StoreResult>,
}

impl PendingDecision {
    pub fn respond(self, result: StoreResult) {
        // The waiter may be gone.
        let _ = self.waiter.send(result);
    }
}

/// All decisions of a batch with one key. The first to arrive is written, and the others get its
/// result.
#[derive(Debug)]
struct Group {
    head: PendingDecision,
    followers: Vec<PendingDecision>,
}

impl Group {
    fn respond_all(self, result: &StoreResult) {
        self.head.respond(result.clone());
        for follower in self.followers {
            follower.respond(result.clone());
        }
    }

    fn respond_stored(self, position: Position) {
        let decision = self.head.row.decision;
        for follower in self.followers {
            let stored = StoredDecision { decision: decision.clone(), position };
            follower.respond(Ok(StoreOutcome::Duplicate(stored)));
        }
        let _ = self.head.waiter.send(Ok(StoreOutcome::First(position)));
    }
}

/// The decisions to which keys of the batch were bound before, by the place of the key in the
/// batch.
pub(super) type StoredByPlace = HashMap<usize, Result<StoredDecision, StorageError>>;

#[derive(Debug)]
pub(super) struct Batch {
    /// Sorted by key: writers that lock in the same order cannot deadlock.
    groups: Vec<Group>,
    /// Set while it is unknown whether the batch has been committed as this link.
    pub link: Option<ChainLink>,
}

impl Batch {
    pub fn of(mut decisions: Vec<PendingDecision>) -> Self {
        // The sort is stable: among equal keys the first to arrive stays first.
        decisions.sort_by(|a, b| a.row.scoped_key().cmp(&b.row.scoped_key()));
        let mut groups: Vec<Group> = Vec::with_capacity(decisions.len());
        for decision in decisions {
            match groups.last_mut() {
                Some(group) if group.head.row.scoped_key() == decision.row.scoped_key() => {
                    group.followers.push(decision);
                }
                _ => groups.push(Group { head: decision, followers: Vec::new() }),
            }
        }
        Self { groups, link: None }
    }

    pub fn rows(&self) -> Vec<&PreparedDecision> {
        self.groups.iter().map(|group| &group.head.row).collect()
    }

    /// Brings the rows up to date with the series, and responds to those that need rates for that.
    pub fn follow(&mut self, known: &KnownSeries) {
        self.groups.iter_mut().for_each(|group| group.head.row.follow(known));
        let needing = self.groups.extract_if(.., |group| group.head.row.lacks_rates);
        needing.for_each(|group| group.respond_all(&Err(JournalError::NeedsRates)));
    }

    /// Sets the link, and returns it with the rows.
    pub fn link_to(&mut self, link: ChainLink) -> (&ChainLink, Vec<&PreparedDecision>) {
        let link = self.link.insert(link);
        (link, self.groups.iter().map(|group| &group.head.row).collect())
    }

    pub fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    pub fn lists(&self) -> BatchLists {
        BatchLists::of(&self.rows())
    }

    /// Responds to the decisions whose key another transaction has bound, and keeps the others.
    pub fn respond_to_losers(&mut self, winners: &HashSet<PaymentId>, mut bound: StoredByPlace) {
        let groups = std::mem::take(&mut self.groups);
        for (place, group) in groups.into_iter().enumerate() {
            if winners.contains(&group.head.row.decision.id()) {
                self.groups.push(group);
                continue;
            }
            let own = group.head.row.decision.id();
            let result = match bound.remove(&place) {
                // The decision itself: an earlier commit of unknown result succeeded.
                Some(Ok(stored)) if stored.decision.id() == own => {
                    group.respond_stored(stored.position);
                    continue;
                }
                Some(Ok(stored)) => Ok(StoreOutcome::Duplicate(stored)),
                Some(Err(StorageError::Erased)) => Err(JournalError::Erased),
                // The key is bound to a decision that is missing or damaged, so it can neither
                // be answered nor used again.
                Some(Err(_)) | None => Err(JournalError::Refused),
            };
            group.respond_all(&result);
        }
    }

    /// Responds to all, after the batch was committed as this link. The position of a decision
    /// is the index of its group.
    pub fn respond_stored(&mut self, link: &ChainLink) {
        for (position, group) in (0..).zip(std::mem::take(&mut self.groups)) {
            group.respond_stored(Position { writer: link.writer, sequence: link.sequence, position });
        }
    }

    /// Reports to every waiter that the result is unknown, and returns the rows of the batch.
    pub fn give_up(self) -> Vec<PreparedDecision> {
        let unknown = Err(JournalError::Unavailable);
        let give_up = |group: Group| {
            for follower in group.followers {
                follower.respond(unknown.clone());
            }
            let PendingDecision { row, waiter } = group.head;
            let _ = waiter.send(unknown.clone());
            row
        };
        self.groups.into_iter().map(give_up).collect()
    }

    pub fn respond_all(self, error: JournalError) {
        for group in self.groups {
            group.respond_all(&Err(error));
        }
    }

    /// Isolates a row that the database rejects: returns the two halves of the batch, to be tried
    /// separately, or refuses the row if it is alone. The followers of a refused head are tried
    /// next, since only a stored decision binds a key.
    pub fn isolate_bad_row(mut self) -> Vec<Self> {
        if self.groups.len() > 1 {
            let second = self.groups.split_off(self.groups.len() / 2);
            return vec![Self { groups: self.groups, link: None }, Self { groups: second, link: None }];
        }
        let mut followers = Vec::new();
        for group in self.groups {
            group.head.respond(Err(JournalError::Refused));
            followers.extend(group.followers);
        }
        if followers.is_empty() { Vec::new() } else { vec![Self::of(followers)] }
    }
}
