//! Keeps the search index and the counts of decisions up to date with the journal, and answers
//! searches.
//!
//! A decision never waits for it. A search waits until what this node has stored is indexed, so
//! that whoever submits a payment and then searches on the same node finds it.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use thiserror::Error;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::domain::outcome_counts::{OutcomeCounts, Step};
use crate::domain::tenant::TenantId;
use crate::domain::time::World;
use crate::storage::StorageError;
use crate::storage::decision_counts;
use crate::storage::decisions::{self, DecisionFilter, DecisionPage};
use crate::storage::journal::Journal;
use crate::storage::pool::{AppPool, SystemPool};
use crate::storage::search::{self, HistoryProgress, Indexed, TenantMonth};

/// How often this node's decisions are indexed if no search asks for it.
const INDEX_EVERY: Duration = Duration::from_millis(500);
/// How often the node looks for batches of others: of nodes that died, imports, and history.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// A node indexes its own batches within this time; later they count as left behind.
const LEFT_BEHIND_AFTER_MS: u64 = 1_000;
/// Writers that began earlier are looked at only now and then: there are many, and almost all have
/// ended.
const RECENT_WRITERS_MS: u64 = 86_400_000;
const LOOKS_UNTIL_ALL: u32 = 30;
/// How long a search waits for what this node has stored.
const OWN_WAIT_MAX: Duration = Duration::from_secs(1);
const TOLD_EVERY: Duration = Duration::from_secs(10);

#[derive(Debug, Error)]
pub enum SearchError {
    /// Decisions from before the index existed are still being indexed.
    #[error("the search index is being built: {} of {} batches", .0.indexed, .0.total)]
    Building(HistoryProgress),
    #[error(transparent)]
    Storage(#[from] StorageError),
}

#[derive(Debug)]
pub struct SearchIndex {
    system: SystemPool,
    app: AppPool,
    journal: Arc<Journal>,
    world: World,
    /// Ends the pause of the indexing loop.
    woken: Notify,
    /// The last batch of each writer of this process that is indexed.
    indexed: watch::Sender<HashMap<Uuid, i64>>,
    /// What is left of the history. `None` once nothing is.
    history: Mutex<Option<HistoryProgress>>,
    to_merge: Mutex<BTreeSet<TenantMonth>>,
    merges: Notify,
}

/// What the indexing loop remembers between its rounds.
#[derive(Debug)]
struct Round {
    /// Writers with batches that nobody has indexed.
    behind: Vec<Uuid>,
    look_at: Instant,
    looks: u32,
    told_at: Option<Instant>,
}

impl SearchIndex {
    pub async fn open(
        system: SystemPool,
        app: AppPool,
        journal: Arc<Journal>,
        world: World,
    ) -> Result<Self, StorageError> {
        let history = Mutex::new(search::history(&system).await?);
        let (indexed, _) = watch::channel(HashMap::new());
        let (woken, to_merge, merges) = (Notify::new(), Mutex::default(), Notify::new());
        Ok(Self { system, app, journal, world, woken, indexed, history, to_merge, merges })
    }

    /// A page of decisions. Fails while the history is being indexed, rather than leave some out.
    pub async fn search(
        &self,
        tenant: TenantId,
        filter: &DecisionFilter,
    ) -> Result<DecisionPage, SearchError> {
        if filter.uses_index() {
            if let Some(progress) = *self.history.lock().unwrap_or_else(PoisonError::into_inner) {
                return Err(SearchError::Building(progress));
            }
            self.wait_for_own().await;
        }
        Ok(decisions::list(&self.app, tenant, filter).await?)
    }

    /// Counts of decisions by outcome, and whether all earlier decisions are counted.
    pub async fn counts(
        &self,
        tenant: TenantId,
        span: (u64, u64),
        step: Step,
    ) -> Result<(OutcomeCounts, bool), StorageError> {
        let is_complete = search::are_all_counted(&self.system).await?;
        Ok((decision_counts::read(&self.app, tenant, span, step).await?, is_complete))
    }

    /// Waits until everything that this process had stored before the call is indexed. If that takes
    /// too long, the search does without.
    async fn wait_for_own(&self) {
        let tips = self.journal.tips();
        let has_all = |indexed: &HashMap<Uuid, i64>| {
            tips.iter().all(|tip| indexed.get(&tip.writer).is_some_and(|reached| *reached >= tip.sequence))
        };
        let mut indexed = self.indexed.subscribe();
        if has_all(&indexed.borrow()) {
            return;
        }
        self.woken.notify_one();
        let _ = timeout(OWN_WAIT_MAX, indexed.wait_for(has_all)).await;
    }

    /// Indexes and merges until `end`.
    pub async fn work(&self, end: CancellationToken) {
        tokio::join!(self.index(&end), self.merge(&end));
    }

    async fn index(&self, end: &CancellationToken) {
        let mut round = Round { behind: Vec::new(), look_at: Instant::now(), looks: 0, told_at: None };
        let mut has_failed = false;
        while !end.is_cancelled() {
            match self.index_round(&mut round).await {
                Ok(()) => has_failed = false,
                Err(error) => {
                    if !has_failed {
                        tracing::warn!(%error, "decisions cannot be indexed for the search; this will be retried");
                    }
                    has_failed = true;
                }
            }
            if has_failed || round.behind.is_empty() {
                end.run_until_cancelled(timeout(INDEX_EVERY, self.woken.notified())).await;
            }
        }
    }

    /// This node's decisions first, then a page of what was left behind.
    async fn index_round(&self, round: &mut Round) -> Result<(), StorageError> {
        self.index_own().await?;
        search::remove_erased(&self.system).await?;
        if round.behind.is_empty() && Instant::now() >= round.look_at {
            self.look_for_others(round).await?;
        }
        let Some(writer) = round.behind.pop() else { return Ok(()) };
        if let Some(indexed) = search::index_stored(&self.system, writer).await? {
            if indexed.has_more {
                round.behind.push(writer);
            }
            self.note(indexed);
        }
        self.tell(round).await
    }

    async fn index_own(&self) -> Result<(), StorageError> {
        let committed = self.journal.take_committed();
        if !committed.is_empty() {
            self.note(search::index_committed(&self.system, committed).await?);
        }
        // What was not handed over is read.
        for tip in self.journal.tips() {
            while self.indexed.borrow().get(&tip.writer).is_none_or(|reached| *reached < tip.sequence) {
                let Some(indexed) = search::index_stored(&self.system, tip.writer).await? else { break };
                let has_more = indexed.has_more;
                self.note(indexed);
                if !has_more {
                    // Another server took over that has lost the last batch.
                    self.indexed.send_modify(|all| all.extend([(tip.writer, tip.sequence)]));
                }
            }
        }
        Ok(())
    }

    async fn look_for_others(&self, round: &mut Round) -> Result<(), StorageError> {
        let now_ms = self.world.now_ms();
        let all = round.looks.is_multiple_of(LOOKS_UNTIL_ALL);
        let begun_since_ms = if all { 0 } else { now_ms.saturating_sub(RECENT_WRITERS_MS) };
        let left_behind_ms = now_ms.saturating_sub(LEFT_BEHIND_AFTER_MS);
        round.behind = search::writers_behind(&self.system, begun_since_ms, left_behind_ms).await?;
        (round.looks, round.look_at) = (round.looks.wrapping_add(1), Instant::now() + LOOK_EVERY);
        self.tell(round).await
    }

    /// Tells how far the history is.
    async fn tell(&self, round: &mut Round) -> Result<(), StorageError> {
        let is_building = self.history.lock().unwrap_or_else(PoisonError::into_inner).is_some();
        let is_due = round.told_at.is_none_or(|told_at| told_at.elapsed() >= TOLD_EVERY);
        if !is_building || !(is_due || round.behind.is_empty()) {
            return Ok(());
        }
        let progress = search::history(&self.system).await?;
        match progress {
            Some(HistoryProgress { indexed, total }) if is_due => {
                tracing::info!(indexed, total, "earlier decisions are being indexed for the search");
                round.told_at = Some(Instant::now());
            }
            Some(_) => {}
            None => tracing::info!("all earlier decisions are indexed for the search"),
        }
        let left = progress.map_or(0, |progress| progress.total.saturating_sub(progress.indexed));
        metrics::gauge!("tollgate_search_history_batches").set(left as f64);
        *self.history.lock().unwrap_or_else(PoisonError::into_inner) = progress;
        Ok(())
    }

    fn note(&self, indexed: Indexed) {
        metrics::counter!("tollgate_search_indexed_decisions_total").increment(indexed.decisions);
        self.indexed.send_modify(|all| all.extend(indexed.reached));
        if !indexed.months.is_empty() {
            self.to_merge.lock().unwrap_or_else(PoisonError::into_inner).extend(indexed.months);
            self.merges.notify_one();
        }
    }

    /// Beside the indexing, since a large merge takes seconds.
    async fn merge(&self, end: &CancellationToken) {
        while end.run_until_cancelled(self.merges.notified()).await.is_some() {
            let months = std::mem::take(&mut *self.to_merge.lock().unwrap_or_else(PoisonError::into_inner));
            for month in months {
                if end.is_cancelled() {
                    return;
                }
                // What is written next to this month tries again.
                if let Err(error) = search::merge_all(&self.system, [month]).await {
                    tracing::warn!(%error, "segments of the search index could not be merged");
                }
            }
        }
    }
}
