//! A batch: what one transaction stores, and who waits for it.
//!
//! Owns that each waiter is answered exactly once and that a key has one head
//! per batch. Must never answer `First` before the writer says it is committed.

use std::collections::{HashMap, HashSet};

use tokio::sync::oneshot;

use super::chain::Link;
use super::row::Row;
use super::{JournalError, Stored};
use crate::domain::payment::PaymentId;
use crate::storage::StorageError;
use crate::storage::decisions::{Position, StoredDecision};

pub(super) type Answer = Result<Stored, JournalError>;

#[derive(Debug)]
pub(super) struct Submission {
    pub row: Row,
    pub waiter: oneshot::Sender<Answer>,
}

impl Submission {
    /// A waiter that went away needs no answer.
    pub fn answer(self, answer: Answer) {
        let _ = self.waiter.send(answer);
    }
}

/// All submissions of a batch under one key. The first to come is written; the
/// others share its fate.
#[derive(Debug)]
struct Group {
    head: Submission,
    followers: Vec<Submission>,
}

impl Group {
    fn answer_all(self, answer: &Answer) {
        self.head.answer(answer.clone());
        for follower in self.followers {
            follower.answer(answer.clone());
        }
    }

    fn answer_stored(self, position: Position) {
        let decision = self.head.row.decision;
        for follower in self.followers {
            let stored = StoredDecision { decision: decision.clone(), position };
            follower.answer(Ok(Stored::Duplicate(stored)));
        }
        let _ = self.head.waiter.send(Ok(Stored::First(position)));
    }
}

/// What the losers of a claim lost to, by their place in the batch.
pub(super) type Bound = HashMap<usize, Result<StoredDecision, StorageError>>;

#[derive(Debug)]
pub(super) struct Batch {
    /// In the order of their claims: writers that lock in one order cannot deadlock.
    groups: Vec<Group>,
    /// Set from before anything that commits is sent until its fate is known.
    pub link: Option<Link>,
}

impl Batch {
    pub fn of(mut submissions: Vec<Submission>) -> Self {
        // Stable: among equal claims the first to come stays the first.
        submissions.sort_by(|a, b| a.row.claim().cmp(&b.row.claim()));
        let mut groups: Vec<Group> = Vec::with_capacity(submissions.len());
        for submission in submissions {
            match groups.last_mut() {
                Some(group) if group.head.row.claim() == submission.row.claim() => {
                    group.followers.push(submission);
                }
                _ => groups.push(Group { head: submission, followers: Vec::new() }),
            }
        }
        Self { groups, link: None }
    }

    pub fn rows(&self) -> Vec<&Row> {
        self.groups.iter().map(|group| &group.head.row).collect()
    }

    /// The link it is to be stored as, and its rows.
    pub fn link_to(&mut self, link: Link) -> (&Link, Vec<&Row>) {
        let link = self.link.insert(link);
        (link, self.groups.iter().map(|group| &group.head.row).collect())
    }

    pub fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    pub fn decision_digests(&self) -> Vec<u8> {
        self.groups.iter().flat_map(|group| group.head.row.digest.0).collect()
    }

    /// Answers those who did not win their key and leaves the winners. What
    /// they lost to was committed by another transaction, so there is nothing
    /// to wait for.
    pub fn answer_losers(&mut self, winners: &HashSet<PaymentId>, mut bound: Bound) {
        let groups = std::mem::take(&mut self.groups);
        for (place, group) in groups.into_iter().enumerate() {
            if winners.contains(&group.head.row.decision.id()) {
                self.groups.push(group);
                continue;
            }
            let own = group.head.row.decision.id();
            let answer = match bound.remove(&place) {
                // Its own, of a commit that was not known of: it is the first after all.
                Some(Ok(stored)) if stored.decision.id() == own => {
                    group.answer_stored(stored.position);
                    continue;
                }
                Some(Ok(stored)) => Ok(Stored::Duplicate(stored)),
                // Bound, but to a decision that is gone or damaged: the key can
                // neither be honoured nor given away.
                Some(Err(_)) | None => Err(JournalError::Refused),
            };
            group.answer_all(&answer);
        }
    }

    /// The batch was committed as this link; its positions are the places of the groups.
    pub fn answer_stored(&mut self, link: &Link) {
        for (position, group) in (0..).zip(std::mem::take(&mut self.groups)) {
            group.answer_stored(Position { writer: link.writer, sequence: link.sequence, position });
        }
    }

    /// Answers every waiter that the outcome is unknown, and returns the rows that were to be written.
    pub fn give_up(self) -> Vec<Row> {
        let unknown = Err(JournalError::Unavailable);
        let give_up = |group: Group| {
            for follower in group.followers {
                follower.answer(unknown.clone());
            }
            let Submission { row, waiter } = group.head;
            // A waiter that went away needs no answer.
            let _ = waiter.send(unknown.clone());
            row
        };
        self.groups.into_iter().map(give_up).collect()
    }

    pub fn answer_all(self, error: JournalError) {
        for group in self.groups {
            group.answer_all(&Err(error));
        }
    }

    /// A row of this batch is bad: halves to try, until it is alone and refused.
    /// Those who waited for a refused head try for themselves, since only a
    /// stored decision binds a key.
    pub fn isolate_bad_row(mut self) -> Vec<Self> {
        if self.groups.len() > 1 {
            let second = self.groups.split_off(self.groups.len() / 2);
            return vec![Self { groups: self.groups, link: None }, Self { groups: second, link: None }];
        }
        let mut followers = Vec::new();
        for group in self.groups {
            group.head.answer(Err(JournalError::Refused));
            followers.extend(group.followers);
        }
        if followers.is_empty() { Vec::new() } else { vec![Self::of(followers)] }
    }
}
