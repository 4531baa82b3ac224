//! The journal makes decisions durable: many in one transaction, chained.
//!
//! Owns the queue, the writers and the chain; nothing else writes decisions or
//! binds keys. Must never acknowledge before the commit has returned, and never
//! log what a payment holds.
//!
//! ```text
//! store() -> bounded queue -> writer 1..n, each with a connection and a chain of its own:
//!              batch: what waits now, one head per key, sorted by key
//!              keys, decisions, values and the batch's link of the chain: one
//!              statement, which commits by itself
//!              where a key is bound already: begin; claim the keys; the losers
//!              read what they lost to; the rest for the winners; commit
//! ```
//! While one commit is under way the next batch fills, so batches grow with the
//! load and a lone decision waits for nobody.

mod batch;
pub mod chain;
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
use super::session::Sessions;
use crate::domain::decision::Decision;
use batch::Submission;
use chain::Tip;
use row::Row;
pub use writer::SETTLED_WITHIN;
use writer::Writer;

/// A journal that has stored nothing for longer, and has something to store, is not writing.
const STORING_MAX: Duration = Duration::from_secs(2);

/// UTC milliseconds.
pub type Clock = Arc<dyn Fn() -> u64 + Send + Sync>;

#[derive(Clone)]
pub struct JournalSettings {
    /// Opens sessions of the journal's role.
    pub sessions: Sessions,
    /// Decisions that wait for a writer; one more is refused.
    pub queue_max: usize,
    /// Decisions of one transaction.
    pub batch_max: usize,
    /// Connections that write.
    pub writers: usize,
    pub node: String,
    pub clock: Clock,
}

impl std::fmt::Debug for JournalSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("JournalSettings").field("node", &self.node).finish_non_exhaustive()
    }
}

/// What became of a decision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stored {
    First(Position),
    /// The key was bound already, here or on another node. Whether this is a
    /// retry or another payment shows in the request hash.
    Duplicate(StoredDecision),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum JournalError {
    #[error("too many decisions are waiting to be stored")]
    Full,
    /// Not stored, or nobody can tell: only a retry with the same key will.
    #[error("the decision could not be stored, or it is unknown whether it was")]
    Unavailable,
    /// The database takes this decision from nobody; its neighbours were stored.
    #[error("the decision cannot be stored as it is")]
    Refused,
}

/// Cheap to clone; all clones feed the same writers.
#[derive(Debug, Clone)]
pub struct Journal {
    queue: mpsc::Sender<Submission>,
    shared: Arc<Shared>,
    writers: TaskTracker,
}

/// The writers as a whole.
#[derive(Debug)]
pub struct JournalTask(TaskTracker);

impl JournalTask {
    /// Returns when the last writer has ended.
    pub async fn finished(self) {
        self.0.wait().await;
    }
}

#[derive(Debug)]
struct Shared {
    settings: JournalSettings,
    /// Whoever holds it takes the next batch.
    queue: Mutex<mpsc::Receiver<Submission>>,
    /// Writers that have not given their connection up for lost.
    working: AtomicUsize,
    /// Since when there has been something to store and no writer has stored anything.
    storing_since: std::sync::Mutex<Option<Instant>>,
    /// Of every writer that has stored something, those that have ended included.
    tips: std::sync::Mutex<BTreeMap<Uuid, Tip>>,
    stop: CancellationToken,
}

impl Journal {
    /// Fails when the database cannot be reached now; later it may come and go.
    pub async fn start(mut settings: JournalSettings) -> Result<(Self, JournalTask), StorageError> {
        let (sender, receiver) = mpsc::channel(settings.queue_max.max(1));
        let count = settings.writers.max(1);
        settings.sessions = statements::for_writing(settings.sessions);
        let shared = Arc::new(Shared {
            settings,
            queue: Mutex::new(receiver),
            working: AtomicUsize::new(count),
            storing_since: std::sync::Mutex::default(),
            tips: std::sync::Mutex::default(),
            stop: CancellationToken::new(),
        });
        let mut connected = Vec::with_capacity(count);
        for _ in 0..count {
            connected.push(Writer::connected(Arc::clone(&shared)).await?);
        }
        let writers = TaskTracker::new();
        for writer in connected {
            writers.spawn(writer::run_whatever_happens(writer, Arc::clone(&shared)));
        }
        writers.close();
        Ok((Self { queue: sender, shared, writers: writers.clone() }, JournalTask(writers)))
    }

    /// Whether any writer has its connection.
    pub fn is_up(&self) -> bool {
        self.shared.working.load(Ordering::Acquire) > 0
    }

    /// How many decisions wait for a writer.
    pub fn waiting(&self) -> usize {
        self.queue.max_capacity() - self.queue.capacity()
    }

    /// Whether what is submitted is stored, and soon enough for its submitter.
    pub fn is_writing(&self) -> bool {
        let storing_since = *self.shared.storing_since.lock().unwrap_or_else(PoisonError::into_inner);
        self.is_up() && storing_since.is_none_or(|since| since.elapsed() < STORING_MAX)
    }

    /// How far each chain of this process has come: known from its own commits,
    /// not read from where they could have been changed since.
    pub fn tips(&self) -> Vec<Tip> {
        self.shared.tips.lock().unwrap_or_else(PoisonError::into_inner).values().copied().collect()
    }

    /// Returns when the decision, or the one its key is bound to, is committed.
    /// Dropping the future abandons the answer and not the work.
    pub async fn store(&self, decision: impl Into<Arc<Decision>>) -> Result<Stored, JournalError> {
        if !self.is_up() {
            return Err(JournalError::Unavailable);
        }
        let (waiter, answer) = oneshot::channel();
        let submission = Submission { row: Row::of(decision.into())?, waiter };
        self.queue.try_send(submission).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => JournalError::Full,
            mpsc::error::TrySendError::Closed(_) => JournalError::Unavailable,
        })?;
        answer.await.unwrap_or(Err(JournalError::Unavailable))
    }

    /// Takes nothing more in, answers all that waits, and ends the writers.
    pub async fn flush_and_stop(&self) {
        self.shared.stop.cancel();
        self.writers.wait().await;
    }
}

impl Shared {
    fn begins_to_store(&self) {
        let mut storing_since = self.storing_since.lock().unwrap_or_else(PoisonError::into_inner);
        storing_since.get_or_insert_with(Instant::now);
    }

    fn can_store(&self) {
        *self.storing_since.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn note(&self, tip: Tip) {
        self.tips.lock().unwrap_or_else(PoisonError::into_inner).insert(tip.writer, tip);
    }

    /// What waits now, or the first to come. Nothing when the journal has
    /// stopped and the queue is empty.
    async fn next_submissions(&self) -> Option<Vec<Submission>> {
        let mut queue = self.queue.lock().await;
        let (batch_max, mut taken) = (self.settings.batch_max.max(1), Vec::new());
        tokio::select! {
            biased;
            _ = queue.recv_many(&mut taken, batch_max) => {}
            () = self.stop.cancelled() => {
                // From here on nothing comes in; what came in before is still there.
                queue.close();
                queue.recv_many(&mut taken, batch_max).await;
            }
        }
        (!taken.is_empty()).then_some(taken)
    }

    /// With no writer left to store it, what waits is answered at once.
    fn refuse_what_waits(&self) {
        if self.working.load(Ordering::Acquire) > 0 {
            return;
        }
        // Where another writer holds the queue, that one is working again.
        let Ok(mut queue) = self.queue.try_lock() else { return };
        if self.stop.is_cancelled() {
            queue.close();
        }
        while let Ok(submission) = queue.try_recv() {
            submission.answer(Err(JournalError::Unavailable));
        }
    }
}
