//! The journal stores decisions durably, in batches that are chained by hashes.
//!
//! Only the journal may write decisions and bind keys. It must never report a decision as stored
//! before the commit has returned.
//!
//! ```text
//! store() -> bounded queue -> writer 1..n, each with a connection and a chain:
//!              batch: all waiting decisions, one head per key, sorted by key
//!              one statement inserts keys, decisions, values and the chain's
//!              link, and commits by itself
//!              if a key was already bound: begin; claim the keys; read the
//!              decisions that the others are bound to; insert the rest; commit
//! ```
//! During a commit the next batch fills. So batches grow with the load, and a single decision
//! does not wait for others.

mod batch;
pub mod chain;
mod committed;
mod row;
mod statements;
mod writer;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use thiserror::Error;
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use super::StorageError;
use super::decisions::{Position, StoredDecision};
use super::search::CommittedBatch;
use super::series::{KnownSeries, SeriesRegistry};
use super::session::Sessions;
use crate::domain::decision::{Decision, EvidenceVersion};
use crate::domain::rates::Rates;
use crate::domain::time::World;
use batch::PendingDecision;
use chain::{Chain, ChainTip};
use committed::CommittedQueue;
use row::PreparedDecision;
use writer::JournalWriter;
pub use writer::SETTLE_MAX;

/// The journal counts as not writing if it has had decisions to store for longer than this and
/// has stored none.
const STALL_MAX: Duration = Duration::from_secs(2);

#[derive(Clone)]
pub struct JournalSettings {
    /// Opens sessions of the journal's role.
    pub sessions: Sessions,
    /// The most decisions that wait for a writer. More are refused.
    pub queue_max: usize,
    /// The most decisions in one transaction.
    pub batch_max: usize,
    /// The number of connections that write.
    pub writers: usize,
    pub evidence_version: EvidenceVersion,
    pub node: String,
    pub world: World,
}

impl std::fmt::Debug for JournalSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("JournalSettings").field("node", &self.node).finish_non_exhaustive()
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreOutcome {
    /// This decision was stored and bound its key.
    First(Position),
    /// The key was already bound to this decision. The request hash shows whether the request
    /// was a retry or a different payment.
    Duplicate(StoredDecision),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum JournalError {
    #[error("too many decisions are waiting to be stored")]
    Full,
    /// A retry with the same key shows whether it was stored.
    #[error("the decision could not be stored, or it is unknown whether it was")]
    Unavailable,
    /// The key is bound to a decision whose personal data was erased.
    #[error("the decision that is stored under this key has been erased")]
    Erased,
    /// The payments of the tenant are counted by rates that were not given. Nothing was stored.
    #[error("the rates by which the payment is counted are not known")]
    NeedsRates,
    /// The database rejects this decision. Others of its batch are not affected.
    #[error("the decision cannot be stored as it is")]
    Refused,
}

/// Cheap to clone. All clones use the same writers.
#[derive(Debug, Clone)]
pub struct Journal {
    queue: mpsc::Sender<PendingDecision>,
    state: Arc<JournalState>,
    writers: TaskTracker,
}

/// The tasks of all writers.
#[derive(Debug)]
pub struct JournalTask(TaskTracker);

impl JournalTask {
    /// Returns when the last writer has ended.
    pub async fn finished(self) {
        self.0.wait().await;
    }
}

#[derive(Debug)]
struct JournalState {
    settings: JournalSettings,
    /// The writer that holds the lock takes the next batch.
    queue: Mutex<mpsc::Receiver<PendingDecision>>,
    /// The number of writers that have a connection.
    working: AtomicUsize,
    /// Since when there have been decisions to store without any writer storing one.
    stalled_since: std::sync::Mutex<Option<Instant>>,
    /// The tip of every writer that has stored a batch, including writers that have ended.
    tips: std::sync::Mutex<BTreeMap<Uuid, ChainTip>>,
    series: SeriesRegistry,
    committed: CommittedQueue,
    stop: CancellationToken,
}

impl Journal {
    /// Fails if the database cannot be reached. Connections that are lost later are opened again.
    pub async fn start(mut settings: JournalSettings) -> Result<(Self, JournalTask), StorageError> {
        let (sender, receiver) = mpsc::channel(settings.queue_max.max(1));
        let count = settings.writers.max(1);
        settings.sessions = statements::for_writing(settings.sessions);
        let state = Arc::new(JournalState {
            settings,
            queue: Mutex::new(receiver),
            working: AtomicUsize::new(count),
            stalled_since: std::sync::Mutex::default(),
            tips: std::sync::Mutex::default(),
            series: SeriesRegistry::default(),
            committed: CommittedQueue::default(),
            stop: CancellationToken::new(),
        });
        let mut connected = Vec::with_capacity(count);
        for _ in 0..count {
            connected.push(JournalWriter::connected(Arc::clone(&state)).await?);
        }
        let writers = TaskTracker::new();
        for writer in connected {
            writers.spawn(writer::run_supervised(writer, Arc::clone(&state)));
        }
        writers.close();
        Ok((Self { queue: sender, state, writers: writers.clone() }, JournalTask(writers)))
    }

    /// Whether any writer has a connection.
    pub fn is_up(&self) -> bool {
        self.state.working.load(Ordering::Acquire) > 0
    }

    /// The version in which decisions are stored.
    pub fn evidence_version(&self) -> EvidenceVersion {
        self.state.settings.evidence_version
    }

    /// How many decisions wait for a writer.
    pub fn waiting(&self) -> usize {
        self.queue.max_capacity() - self.queue.capacity()
    }

    /// Whether a writer has a connection and the journal has not stalled for `STALL_MAX`.
    pub fn is_writing(&self) -> bool {
        let stalled_since = *self.state.stalled_since.lock().unwrap_or_else(PoisonError::into_inner);
        self.is_up() && stalled_since.is_none_or(|since| since.elapsed() < STALL_MAX)
    }

    /// The series that are stored for each payment. They may be out of date: a writer reads them
    /// again when the database has more.
    pub fn series(&self) -> Arc<KnownSeries> {
        self.state.series.current()
    }

    /// The tip of each chain of this process, from its own commits. They must not be read from
    /// the database, where they could have been changed.
    pub fn tips(&self) -> Vec<ChainTip> {
        self.state.tips.lock().unwrap_or_else(PoisonError::into_inner).values().copied().collect()
    }

    /// The batches that were committed since the last call. Some may be missing.
    pub fn take_committed(&self) -> Vec<CommittedBatch> {
        self.state.committed.take()
    }

    /// Returns when the decision, or the one its key is bound to, is committed.
    /// Dropping the future does not cancel the work.
    pub async fn store(&self, decision: impl Into<Arc<Decision>>) -> Result<StoreOutcome, JournalError> {
        self.store_at(decision, Rates::default()).await
    }

    /// As `store`. `rates` are those of all conversions of the tenant's series at the time of the
    /// payment.
    pub async fn store_at(
        &self,
        decision: impl Into<Arc<Decision>>,
        rates: Rates,
    ) -> Result<StoreOutcome, JournalError> {
        if !self.is_up() {
            return Err(JournalError::Unavailable);
        }
        let (waiter, result) = oneshot::channel();
        let settings = &self.state.settings;
        let (version, randomness) = (settings.evidence_version, settings.world.randomness());
        let row =
            PreparedDecision::of(decision.into(), version, &self.state.series.current(), rates, randomness)?;
        if row.lacks_rates {
            return Err(JournalError::NeedsRates);
        }
        let pending = PendingDecision { row, waiter };
        self.queue.try_send(pending).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => JournalError::Full,
            mpsc::error::TrySendError::Closed(_) => JournalError::Unavailable,
        })?;
        result.await.unwrap_or(Err(JournalError::Unavailable))
    }

    /// Refuses new decisions, stores those that wait, and ends the writers.
    pub async fn flush_and_stop(&self) {
        self.state.stop.cancel();
        self.writers.wait().await;
    }
}

impl JournalState {
    fn start_storing(&self) {
        let mut stalled_since = self.stalled_since.lock().unwrap_or_else(PoisonError::into_inner);
        stalled_since.get_or_insert_with(Instant::now);
    }

    fn record_progress(&self) {
        *self.stalled_since.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn new_chain(&self) -> Chain {
        let world = &self.settings.world;
        Chain::of(world.uuid_v7(world.now_ms()))
    }

    fn record_tip(&self, tip: ChainTip) {
        self.tips.lock().unwrap_or_else(PoisonError::into_inner).insert(tip.writer, tip);
    }

    /// Waits for a decision, and takes all that wait, up to the size of a batch. `None` if the
    /// journal has stopped and the queue is empty.
    async fn next_decisions(&self) -> Option<Vec<PendingDecision>> {
        let mut queue = self.queue.lock().await;
        let (batch_max, mut taken) = (self.settings.batch_max.max(1), Vec::new());
        tokio::select! {
            biased;
            _ = queue.recv_many(&mut taken, batch_max) => {}
            () = self.stop.cancelled() => {
                // Refuses new decisions. Those in the queue can still be received.
                queue.close();
                queue.recv_many(&mut taken, batch_max).await;
            }
        }
        (!taken.is_empty()).then_some(taken)
    }

    /// If no writer has a connection, refuses all waiting decisions at once.
    fn refuse_waiting(&self) {
        if self.working.load(Ordering::Acquire) > 0 {
            return;
        }
        // If another writer holds the lock, it is working again.
        let Ok(mut queue) = self.queue.try_lock() else { return };
        if self.stop.is_cancelled() {
            queue.close();
        }
        while let Ok(pending) = queue.try_recv() {
            pending.respond(Err(JournalError::Unavailable));
        }
    }
}
