//! A writer of the journal: one connection, one chain, one batch at a time.
//!
//! If the connection fails, the batch is tried again. If it may have been stored, the writer first
//! checks whether it was. After `RETRY_MAX` the waiters get the result `Unavailable`.

mod attempt;
mod recovery;

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use futures::FutureExt;
use tokio::time::{Instant, sleep, timeout};

use super::batch::Batch;
use super::chain::{Chain, ChainLink};
use super::row::PreparedDecision;
use super::statements::{self, ATTEMPT_MAX, JournalSession};
use super::{JournalError, JournalState};
use crate::storage::StorageError;
use crate::storage::query_error::describe;
use crate::storage::time_limit;
use attempt::AttemptError;

/// How long a batch is retried after its first failure. The waiters may be gone by then.
const RETRY_MAX: Duration = Duration::from_millis(2500);
/// After this time a batch that failed at first is stored or given up: one full attempt, the
/// retries, and an attempt that began just before their end. Only a statement that was delayed for
/// longer, on a lost connection, can be stored later.
pub const SETTLE_MAX: Duration =
    Duration::from_millis(2 * ATTEMPT_MAX.as_millis() as u64 + RETRY_MAX.as_millis() as u64);
/// The most payload of one transaction. An ordinary decision has about a kilobyte.
const BATCH_BYTES_MAX: usize = 8 << 20;
const BACKOFF_MAX: Duration = Duration::from_millis(500);
const BACKOFF: ExponentialBuilder = ExponentialBuilder::new()
    .with_min_delay(Duration::from_millis(10))
    .with_max_delay(BACKOFF_MAX)
    .without_max_times();
/// How often an idle connection is checked. Routers may drop it without closing it.
const IDLE_MAX: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(super) struct JournalWriter {
    state: Arc<JournalState>,
    chain: Chain,
    /// Taken out while it is used, so that cancelling an attempt drops it.
    session: Option<JournalSession>,
    /// The link of a batch that was given up while it was unknown whether it is stored.
    unsettled: Option<ChainLink>,
    /// The rows of a batch that was given up. The writer takes new batches only once it can write
    /// one of these rows.
    given_up: Vec<PreparedDecision>,
    /// How many more batches claim their keys in a separate statement. If it is 0, the insert binds
    /// the keys, which saves a statement and a lookup in the index of keys.
    batches_to_claim: u32,
}

enum BatchOutcome {
    Settled,
    BadRow(Batch),
    GivenUp,
}

/// Runs a writer, and replaces it by a new one with a new chain if it panics. The waiters of the
/// batch get the result `Unavailable`.
pub async fn run_supervised(first: JournalWriter, state: Arc<JournalState>) {
    let mut writer = first;
    while AssertUnwindSafe(writer.run()).catch_unwind().await.is_err() {
        tracing::error!("a journal writer panicked; another one takes over");
        // The batch has been given up, so it does not count as stalled.
        state.record_progress();
        writer = JournalWriter::new(Arc::clone(&state));
    }
}

impl JournalWriter {
    fn new(state: Arc<JournalState>) -> Self {
        let chain = state.new_chain();
        Self { state, chain, session: None, unsettled: None, given_up: Vec::new(), batches_to_claim: 0 }
    }

    pub async fn connected(state: Arc<JournalState>) -> Result<Self, StorageError> {
        let mut writer = Self::new(state);
        writer.session = Some(time_limit::within(ATTEMPT_MAX, writer.connect()).await?);
        Ok(writer)
    }

    pub async fn run(mut self) {
        loop {
            let decisions = match timeout(IDLE_MAX, self.state.next_decisions()).await {
                Ok(Some(decisions)) => decisions,
                Ok(None) => return,
                Err(_) => {
                    self.check_connection().await;
                    continue;
                }
            };
            let mut working = true;
            for part in bounded(decisions, |decision| decision.row.payload.len()) {
                // If the loop ends early, the later parts are dropped: their waiters get
                // `Unavailable`.
                working = self.store(Batch::of(part)).await;
                if !working {
                    break;
                }
            }
            if !working && !self.recover().await {
                return;
            }
            // Callers that just got a result may submit again and share the next batch.
            tokio::task::yield_now().await;
        }
    }

    /// Stores a batch. Returns whether the writer still works.
    async fn store(&mut self, batch: Batch) -> bool {
        let mut remaining = vec![batch];
        while let Some(batch) = remaining.pop() {
            match self.try_until_settled(batch).await {
                BatchOutcome::Settled => {}
                BatchOutcome::BadRow(batch) => remaining.extend(batch.isolate_bad_row().into_iter().rev()),
                BatchOutcome::GivenUp => {
                    for batch in remaining {
                        batch.respond_all(JournalError::Unavailable);
                    }
                    return false;
                }
            }
        }
        true
    }

    async fn try_until_settled(&mut self, mut batch: Batch) -> BatchOutcome {
        let (mut give_up_at, mut backoff) = (None, BACKOFF.build());
        self.state.start_storing();
        loop {
            match timeout(ATTEMPT_MAX, self.attempt(&mut batch)).await {
                Ok(Ok(())) => {
                    self.state.record_progress();
                    return BatchOutcome::Settled;
                }
                Ok(Err(AttemptError::BadRow)) => {
                    self.state.record_progress();
                    return BatchOutcome::BadRow(batch);
                }
                // With the series that were read meanwhile.
                Ok(Err(AttemptError::Outdated)) => {}
                Ok(Err(AttemptError::Lost(error))) => self.handle_failure(&error),
                Err(_) => tracing::warn!(writer = %self.chain.writer, "a journal batch took too long"),
            }
            let now = Instant::now();
            let give_up_at = *give_up_at.get_or_insert(now + RETRY_MAX);
            let Some(delay) = backoff.next().filter(|delay| now + *delay <= give_up_at) else {
                self.unsettled = batch.link.take();
                self.given_up = batch.give_up();
                return BatchOutcome::GivenUp;
            };
            sleep(delay).await;
        }
    }

    async fn connect(&self) -> sqlx::Result<JournalSession> {
        let settings = &self.state.settings;
        let mut connection = settings.sessions.connect().await?;
        let now_ms = settings.world.now_ms();
        statements::register_writer(&mut connection, self.chain.writer, &settings.node, now_ms).await?;
        self.state.series.refresh(&mut connection).await?;
        Ok(JournalSession::new(connection))
    }

    fn handle_failure(&mut self, error: &sqlx::Error) {
        // A refused session is logged elsewhere, and only once.
        if !matches!(error, sqlx::Error::Configuration(_)) {
            tracing::warn!(
                writer = %self.chain.writer, cause = describe(error),
                "storing a journal batch failed"
            );
        }
        // A batch that was presumed lost was committed after all and took the position in the
        // chain. A new chain is needed.
        if constraint_of(error) == Some("journal_batches_pkey") {
            self.chain = self.state.new_chain();
        }
    }
}

/// Splits into parts of at most [`BATCH_BYTES_MAX`], or of a single decision, so that large
/// decisions do not delay others or make them fail.
fn bounded<T>(decisions: Vec<T>, bytes_of: impl Fn(&T) -> usize) -> Vec<Vec<T>> {
    let (mut parts, mut bytes) = (vec![Vec::new()], 0);
    for decision in decisions {
        let more = bytes_of(&decision);
        if bytes + more > BATCH_BYTES_MAX && bytes > 0 {
            parts.push(Vec::new());
            bytes = 0;
        }
        bytes += more;
        if let Some(part) = parts.last_mut() {
            part.push(decision);
        }
    }
    parts
}

fn constraint_of(error: &sqlx::Error) -> Option<&str> {
    match error {
        sqlx::Error::Database(database) => database.constraint(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transaction_is_limited_in_bytes_but_accepts_one_decision_of_any_size() {
        let large = BATCH_BYTES_MAX / 2;
        let parts = |sizes: &[usize]| -> Vec<usize> {
            bounded(sizes.to_vec(), |size| *size).iter().map(Vec::len).collect()
        };
        assert_eq!(parts(&[1000; 512]), [512]);
        assert_eq!(parts(&[large; 5]), [2, 2, 1]);
        assert_eq!(parts(&[1, BATCH_BYTES_MAX + 1, 1]), [1, 1, 1]);
    }
}
