//! Following a tenant: every decision and every administrative act, told once
//! they are stored.
//!
//! Owns what was told and what may still come. The database is read, so it
//! does not matter which node decided. Must never pass over a decision that is
//! stored later than one with a later id.

use std::collections::BTreeSet;
use std::time::Duration;

use uuid::Uuid;

use crate::domain::audit::AuditEvent;
use crate::domain::payment::PaymentId;
use crate::domain::tenant::TenantId;
use crate::storage::audit::{self, AuditFilter};
use crate::storage::decisions::{self, NewDecision};
use crate::storage::pool::AppPool;
use crate::storage::{StorageError, journal};

/// The most that is read at a time, of decisions and of acts.
const READ_MAX: u32 = 500;

/// For clocks that differ, beside what storing a decision may take.
const CLOCKS_DIFFER_MAX: Duration = Duration::from_millis(500);

/// Where to go on. It may be old: everything that was stored since is told then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// A decision that was told, or the moment it all began.
    pub decision: Uuid,
    /// Of the last act; nothing for those who may not see acts.
    pub sequence: Option<i64>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum News {
    Decision(NewDecision),
    Act(AuditEvent),
}

/// What happened, and where to go on once it was taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    pub position: Position,
    pub news: News,
}

#[derive(Debug, Clone)]
pub struct Follower {
    pub app: AppPool,
    pub tenant: TenantId,
    pub sees_acts: bool,
    /// How long a submission may wait until the journal takes it.
    pub submission_deadline: Duration,
}

#[derive(Debug)]
pub struct Feed {
    follower: Follower,
    /// A decision gets its id first and is stored up to so much later.
    window_ms: u64,
    /// Up to here everything was told, or is not to be told at all.
    settled: Uuid,
    /// What is known above that.
    known: BTreeSet<Uuid>,
    position: Position,
    behind: bool,
}

impl Feed {
    /// Goes on from a position, or begins now.
    pub async fn open(follower: Follower, from: Option<Position>, now_ms: u64) -> Result<Self, StorageError> {
        let window = follower.submission_deadline + journal::SETTLE_MAX + CLOCKS_DIFFER_MAX;
        let window_ms = u64::try_from(window.as_millis()).unwrap_or(u64::MAX);
        let since_ms = from.map_or(now_ms, |from| ms_of(from.decision).min(now_ms));
        let settled = first_id(since_ms.saturating_sub(window_ms));
        let known = match from {
            // What is stored already is not new; what is on its way is.
            None => decisions::ids_since(&follower.app, follower.tenant, PaymentId(settled)).await?,
            Some(_) => Vec::new(),
        };
        let sequence = match from.and_then(|from| from.sequence) {
            _ if !follower.sees_acts => None,
            Some(sequence) => Some(sequence),
            None => Some(last_act(&follower).await?),
        };
        let position = Position { decision: from.map_or(first_id(now_ms), |from| from.decision), sequence };
        let known = known.into_iter().collect();
        Ok(Self { follower, window_ms, settled, known, position, behind: from.is_some() })
    }

    pub fn position(&self) -> Position {
        self.position
    }

    /// Whether more is stored already than was told: there is nothing to wait for.
    pub fn is_behind(&self) -> bool {
        self.behind
    }

    /// What is stored since, as far as one reading goes. After a failure the
    /// next call goes on where the last success ended.
    pub async fn next(&mut self, now_ms: u64) -> Result<Vec<Told>, StorageError> {
        let (app, tenant) = (self.follower.app.clone(), self.follower.tenant);
        let known = self.known.iter().copied().collect();
        let decided = decisions::since(&app, tenant, PaymentId(self.settled), known, READ_MAX).await?;
        let acts = match self.position.sequence {
            Some(sequence) => audit::since(&app, tenant, sequence, READ_MAX).await?,
            None => Vec::new(),
        };
        let more = |count: usize| count >= READ_MAX as usize;
        self.behind = more(decided.len()) || more(acts.len());
        self.settle(now_ms, &decided);
        let mut told = Vec::with_capacity(decided.len() + acts.len());
        for decision in decided {
            self.position.decision = decision.summary.id.0;
            told.push(Told { position: self.position, news: News::Decision(decision) });
        }
        for act in acts {
            self.position.sequence = Some(act.sequence);
            told.push(Told { position: self.position, news: News::Act(act) });
        }
        Ok(told)
    }

    /// Remembers what was read, and forgets what can no longer be asked about.
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

async fn last_act(follower: &Follower) -> Result<i64, StorageError> {
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
