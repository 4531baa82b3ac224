//! The feed of a tenant: its decisions and acts, once they are stored.
//!
//! The database is read, so it does not matter which node decided. A decision may be stored after
//! one with a later id; each read therefore begins a window back.

use std::collections::BTreeSet;
use std::time::Duration;

use uuid::Uuid;

use crate::domain::audit::{Action, AuditEvent};
use crate::domain::payment::PaymentId;
use crate::domain::tenant::TenantId;
use crate::storage::audit::{self, AuditFilter};
use crate::storage::decisions::{self, NewDecision};
use crate::storage::pool::AppPool;
use crate::storage::{StorageError, journal};

/// The most that is read at a time, of decisions and of acts.
const READ_MAX: u32 = 500;

/// How far the clocks of two nodes may differ.
const CLOCKS_DIFFER_MAX: Duration = Duration::from_millis(500);

/// Where a feed resumes. If it is old, everything that was stored since is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FeedPosition {
    /// A decision that was sent, or the first id of the moment when the feed was opened.
    pub decision: Uuid,
    /// Of the last act that was read, whether the client may see it or not. `None` in positions of
    /// the release before, for clients that may not see acts.
    pub sequence: Option<i64>,
}

impl FeedPosition {
    /// From which all decisions are sent that were received since, and no acts of before.
    pub fn at(ms: u64) -> Self {
        Self { decision: first_id(ms), sequence: None }
    }
}

/// How long after getting its id a decision may be stored.
pub fn stored_within(submission_deadline: Duration) -> Duration {
    submission_deadline + journal::SETTLE_MAX + CLOCKS_DIFFER_MAX
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FeedItem {
    Decision(NewDecision),
    Act(AuditEvent),
    /// The act that ended a review, for everyone who may see decisions.
    Review(AuditEvent),
}

/// A decision or an act, and where to resume after it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FeedEvent {
    pub position: FeedPosition,
    pub news: FeedItem,
}

#[derive(Debug, Clone)]
pub struct FeedSubscriber {
    pub app: AppPool,
    pub tenant: TenantId,
    pub sees_acts: bool,
    /// How long a submission may wait until the journal takes it.
    pub submission_deadline: Duration,
}

#[derive(Debug)]
pub struct Feed {
    follower: FeedSubscriber,
    /// How long after getting its id a decision may be stored.
    window_ms: u64,
    /// Decisions with smaller ids were sent or must not be sent.
    settled: Uuid,
    /// The decisions from `settled` on that were sent or must not be sent.
    known: BTreeSet<Uuid>,
    position: FeedPosition,
    behind: bool,
}

impl Feed {
    /// Resumes at a position, or begins now.
    pub async fn open(
        follower: FeedSubscriber,
        from: Option<FeedPosition>,
        now_ms: u64,
    ) -> Result<Self, StorageError> {
        let window = stored_within(follower.submission_deadline);
        let window_ms = u64::try_from(window.as_millis()).unwrap_or(u64::MAX);
        let since_ms = from.map_or(now_ms, |from| ms_of(from.decision).min(now_ms));
        let settled = first_id(since_ms.saturating_sub(window_ms));
        let known = match from {
            // Decisions that are stored already are not new. One that is stored later is new, even
            // if its id is earlier.
            None => decisions::ids_since(&follower.app, follower.tenant, PaymentId(settled)).await?,
            Some(_) => Vec::new(),
        };
        let sequence = match from.and_then(|from| from.sequence) {
            Some(sequence) => sequence,
            None => last_act(&follower).await?,
        };
        let position = FeedPosition {
            decision: from.map_or(first_id(now_ms), |from| from.decision),
            sequence: Some(sequence),
        };
        let known = known.into_iter().collect();
        Ok(Self { follower, window_ms, settled, known, position, behind: from.is_some() })
    }

    pub fn position(&self) -> FeedPosition {
        self.position
    }

    /// Whether more may be stored than was sent. If so, the next read need not wait.
    pub fn is_behind(&self) -> bool {
        self.behind
    }

    /// Reads new decisions and acts, up to a bound. After an error the next call continues where
    /// the last successful one ended.
    pub async fn next(&mut self, now_ms: u64) -> Result<Vec<FeedEvent>, StorageError> {
        let (app, tenant) = (self.follower.app.clone(), self.follower.tenant);
        let known = self.known.iter().copied().collect();
        let decided = decisions::since(&app, tenant, PaymentId(self.settled), known, READ_MAX).await?;
        let acts = audit::since(&app, tenant, self.position.sequence.unwrap_or_default(), READ_MAX).await?;
        let more = |count: usize| count >= READ_MAX as usize;
        self.behind = more(decided.len()) || more(acts.len());
        self.settle(now_ms, &decided);
        let mut events = Vec::with_capacity(decided.len() + acts.len());
        for decision in decided {
            self.position.decision = decision.summary.id.0;
            events.push(FeedEvent { position: self.position, news: FeedItem::Decision(decision) });
        }
        for act in acts {
            self.add_act(act, &mut events);
        }
        Ok(events)
    }

    /// Whoever resumes between the two events of an act gets both again.
    fn add_act(&mut self, act: AuditEvent, events: &mut Vec<FeedEvent>) {
        let before = self.position;
        self.position.sequence = Some(act.sequence);
        let sees_acts = self.follower.sees_acts;
        if matches!(act.act.action, Action::ReviewDecided | Action::ReviewExpired) {
            let position = if sees_acts { before } else { self.position };
            events.push(FeedEvent { position, news: FeedItem::Review(act.clone()) });
        }
        if sees_acts {
            events.push(FeedEvent { position: self.position, news: FeedItem::Act(act) });
        }
    }

    /// Remembers the decisions that were read, and forgets those that no later read can return.
    fn settle(&mut self, now_ms: u64, decided: &[NewDecision]) {
        let ids = decided.iter().map(|decision| decision.summary.id.0);
        self.known.extend(ids.clone());
        let nothing_comes_below = first_id(now_ms.saturating_sub(self.window_ms));
        let read_up_to = if decided.len() < READ_MAX as usize {
            nothing_comes_below
        } else {
            ids.max().unwrap_or_default()
        };
        self.settled = self.settled.max(nothing_comes_below.min(read_up_to));
        self.known = self.known.split_off(&self.settled);
    }
}

async fn last_act(follower: &FeedSubscriber) -> Result<i64, StorageError> {
    let newest = audit::list(&follower.app, follower.tenant, AuditFilter::default(), None, 1).await?;
    Ok(newest.first().map_or(0, |act| act.sequence))
}

/// A UUIDv7 begins with its 48 bits of milliseconds.
fn ms_of(id: Uuid) -> u64 {
    u64::try_from(id.as_u128() >> 80).unwrap_or_default()
}

fn first_id(ms: u64) -> Uuid {
    Uuid::from_u128(u128::from(ms) << 80)
}
