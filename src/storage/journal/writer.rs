//! A writer of the journal: one connection, one chain, one batch at a time.
//!
//! If the connection fails, a batch that is certainly not stored is tried again. If it may have
//! been stored, the writer first finds out. After a limit the waiters get the result `Unavailable`.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use futures::FutureExt;
use sqlx::{Connection, PgConnection};
use tokio::time::{Instant, sleep, timeout};

use super::batch::Batch;
use super::chain::{Chain, ChainLink};
use super::row::PreparedDecision;
use super::statements::{self, InsertMode, JournalSession};
use super::{JournalError, JournalState};
use crate::storage::StorageError;
use crate::storage::query_error::describe;
use crate::storage::time_limit;

/// How long a batch is retried after its first failure. The waiters may be gone by then.
const RETRY_MAX: Duration = Duration::from_millis(2500);
/// The limit for one attempt, on both sides: the wait for a server that does not respond, and
/// the server's work on a statement that was given up.
pub(super) const ATTEMPT_MAX: Duration = Duration::from_secs(5);
/// The longest that a batch takes if it fails at first: one full attempt, the retries, and an
/// attempt that began just before they ended. Only a statement that was delayed for longer, on a
/// lost connection, is stored later.
pub const SETTLE_MAX: Duration =
    Duration::from_millis(2 * ATTEMPT_MAX.as_millis() as u64 + RETRY_MAX.as_millis() as u64);
/// The payload of one transaction. An ordinary decision has about a kilobyte.
const BATCH_BYTES_MAX: usize = 8 << 20;
/// How many batches claim their keys first, after a key was already bound.
const BATCHES_TO_CLAIM: u32 = 64;
const BACKOFF_MAX: Duration = Duration::from_millis(500);
const BACKOFF: ExponentialBuilder = ExponentialBuilder::new()
    .with_min_delay(Duration::from_millis(10))
    .with_max_delay(BACKOFF_MAX)
    .without_max_times();
/// How often an idle connection is checked. Routers may drop it without closing it.
const IDLE_MAX: Duration = Duration::from_secs(10);
/// The time limit of such a check.
const CHECK_MAX: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct JournalWriter {
    state: Arc<JournalState>,
    chain: Chain,
    /// Taken out while it is used, so that cancelling an attempt drops it.
    session: Option<JournalSession>,
    /// The link of a batch that was given up while it was unknown whether it is stored.
    unsettled: Option<ChainLink>,
    /// The rows of the batch that was given up. The writer works again once it can write one.
    given_up: Vec<PreparedDecision>,
    /// How many more batches claim their keys first. Otherwise the insert binds the keys, which
    /// saves a statement and a lookup in the index of keys.
    batches_to_claim: u32,
}

enum AttemptError {
    /// The database rejected a row before the commit.
    BadRow,
    /// The connection is lost or in an unknown state.
    Lost(sqlx::Error),
}

impl From<sqlx::Error> for AttemptError {
    fn from(error: sqlx::Error) -> Self {
        Self::Lost(error)
    }
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

    /// One attempt on one connection. The connection is kept only if the batch was stored or a
    /// row was rejected.
    async fn attempt(&mut self, batch: &mut Batch) -> Result<(), AttemptError> {
        let mut session = match self.session.take().filter(|_| !self.state.settings.sessions.are_refused()) {
            Some(session) => session,
            None => self.connect().await?,
        };
        if let Some(link) = &batch.link {
            if statements::is_committed(&mut session.connection, link).await? {
                self.finish(batch);
                self.session = Some(session);
                return Ok(());
            }
            batch.link = None;
        }
        match self.store_in(&mut session, batch).await {
            Ok(()) => {
                self.session = Some(session);
                Ok(())
            }
            Err(error) if batch.link.is_none() && blames_a_row(&error) => {
                tracing::warn!(
                    writer = %self.chain.writer, cause = describe(&error),
                    "the database rejected a decision"
                );
                statements::roll_back(&mut session.connection).await?;
                self.session = Some(session);
                Err(AttemptError::BadRow)
            }
            Err(error) => Err(AttemptError::Lost(error)),
        }
    }

    async fn store_in(&mut self, session: &mut JournalSession, batch: &mut Batch) -> sqlx::Result<()> {
        let now_ms = self.state.settings.world.now_ms();
        session.open_for(&batch.rows()).await?;
        let connection = &mut session.connection;
        if self.batches_to_claim == 0 {
            // It commits by itself, so its result is unknown from here until the response.
            let (link, rows) = batch.link_to(self.chain.next(batch.decision_digests()));
            match statements::insert(connection, &rows, link, now_ms, InsertMode::ClaimKeys).await {
                Ok(()) => {
                    self.finish(batch);
                    return Ok(());
                }
                // A key is already bound, or a decision is already stored. Claiming the keys
                // shows which.
                Err(error) if blames_a_row(&error) => batch.link = None,
                Err(error) => return Err(error),
            }
            self.batches_to_claim = BATCHES_TO_CLAIM;
        }
        self.batches_to_claim -= 1;
        statements::begin(connection).await?;
        let winners = statements::claim(connection, &batch.rows(), now_ms).await?;
        if winners.len() < batch.rows().len() {
            self.batches_to_claim = BATCHES_TO_CLAIM;
            let bound = statements::bound(connection, &batch.rows(), &winners).await?;
            batch.respond_to_losers(&winners, bound);
        }
        if batch.is_empty() {
            return statements::roll_back(connection).await;
        }
        let link = self.chain.next(batch.decision_digests());
        statements::insert(connection, &batch.rows(), &link, now_ms, InsertMode::KeysClaimed).await?;
        // From here until the response the result is unknown.
        batch.link = Some(link);
        statements::commit(connection).await?;
        self.finish(batch);
        Ok(())
    }

    /// Must be called only if the batch is known to be committed.
    fn finish(&mut self, batch: &mut Batch) {
        let Some(link) = batch.link.take() else { return };
        self.advance(&link);
        metrics::counter!("tollgate_journal_batches_total").increment(1);
        metrics::counter!("tollgate_journal_decisions_total").increment(batch.rows().len() as u64);
        batch.respond_stored(&link);
    }

    fn advance(&mut self, committed: &ChainLink) {
        self.chain.advance(committed);
        self.state.record_tip(self.chain.tip());
    }

    async fn connect(&self) -> sqlx::Result<JournalSession> {
        let settings = &self.state.settings;
        let mut connection = settings.sessions.connect().await?;
        let now_ms = settings.world.now_ms();
        statements::register_writer(&mut connection, self.chain.writer, &settings.node, now_ms).await?;
        Ok(JournalSession::new(connection))
    }

    /// Replaces a connection that no longer responds, before the next payments need it.
    async fn check_connection(&mut self) {
        let Some(mut session) = self.session.take() else { return };
        let Err(error) = time_limit::within(CHECK_MAX, session.connection.ping()).await else {
            self.session = Some(session);
            return;
        };
        tracing::warn!(
            writer = %self.chain.writer, cause = describe(&error),
            "an idle connection of the journal was lost"
        );
        // If this fails, the next batch connects.
        self.session = time_limit::within(ATTEMPT_MAX, self.connect()).await.ok();
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

    /// Connects until it succeeds; false if the journal stopped before that.
    async fn recover(&mut self) -> bool {
        let state = Arc::clone(&self.state);
        let outage = OutageGuard::new(&state.working);
        let mut backoff = BACKOFF.build();
        loop {
            self.state.refuse_waiting();
            match timeout(ATTEMPT_MAX, self.reconnect()).await {
                Ok(Ok(())) => break,
                // A refused session is logged elsewhere, and only once.
                Ok(Err(sqlx::Error::Configuration(_))) => {}
                Ok(Err(error)) => {
                    tracing::warn!(writer = %self.chain.writer, cause = describe(&error), "the journal cannot connect");
                }
                Err(_) => tracing::warn!(writer = %self.chain.writer, "the journal cannot connect in time"),
            }
            tokio::select! {
                () = sleep(backoff.next().unwrap_or(BACKOFF_MAX)) => {}
                () = self.state.stop.cancelled() => {
                    self.state.refuse_waiting();
                    // This writer ends without a connection, so it must not be counted again.
                    std::mem::forget(outage);
                    return false;
                }
            }
        }
        drop(outage);
        tracing::info!(writer = %self.chain.writer, "the journal has reconnected");
        true
    }

    /// Opens a connection that can write, and sets the chain to the batch that is really stored.
    async fn reconnect(&mut self) -> sqlx::Result<()> {
        let mut session = self.connect().await?;
        if let Some(link) = &self.unsettled {
            // The link is removed only after the query succeeded, so that a failed one is repeated.
            let committed = statements::is_committed(&mut session.connection, link).await?;
            if let Some(link) = self.unsettled.take().filter(|_| committed) {
                self.advance(&link);
            }
        }
        self.test_writing(&mut session).await?;
        self.given_up.clear();
        self.state.record_progress();
        self.session = Some(session);
        Ok(())
    }

    /// Writes a row of the batch that was given up, and rolls it back: with a full disk a writer
    /// can still connect, but not write. Each time another single row, so that neither a bad row
    /// nor the size of the batch keeps the journal closed.
    async fn test_writing(&mut self, session: &mut JournalSession) -> sqlx::Result<()> {
        if self.given_up.is_empty() {
            return Ok(());
        }
        // Before the attempt, which may be cancelled.
        self.given_up.rotate_left(1);
        let row = &self.given_up[0];
        session.open_for(&[row]).await?;
        let connection = &mut session.connection;
        statements::begin_trial(connection).await?;
        match self.insert_test_row(connection, row).await {
            Err(error) if blames_the_server(&error) => Err(error),
            // Writing works even if this row is already stored, locked or rejected.
            _ => statements::roll_back(connection).await,
        }
    }

    async fn insert_test_row(
        &self,
        connection: &mut PgConnection,
        row: &PreparedDecision,
    ) -> sqlx::Result<()> {
        let now_ms = self.state.settings.world.now_ms();
        if statements::claim(connection, &[row], now_ms).await?.is_empty() {
            return Ok(());
        }
        let link = self.chain.next(row.digest.0.to_vec());
        statements::insert(connection, &[row], &link, now_ms, InsertMode::KeysClaimed).await
    }
}

/// Removes a writer from the count of working writers until this is dropped, even by a panic.
struct OutageGuard<'a>(&'a AtomicUsize);

impl<'a> OutageGuard<'a> {
    fn new(working: &'a AtomicUsize) -> Self {
        working.fetch_sub(1, Ordering::AcqRel);
        Self(working)
    }
}

impl Drop for OutageGuard<'_> {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::AcqRel);
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

/// Whether a row caused the error: a data exception, a constraint or a limit of the server.
fn blames_a_row(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Encode(_) => true,
        sqlx::Error::Database(database) => {
            constraint_of(error) != Some("journal_batches_pkey")
                && database
                    .code()
                    .is_some_and(|code| ["22", "23", "54"].iter().any(|class| code.starts_with(class)))
        }
        _ => false,
    }
}

/// Whether the server cannot write at all (disk full, I/O error, read-only), or the connection
/// is lost. An internal error (XX) does not count: it may come from a single damaged page.
fn blames_the_server(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Database(database) => database
            .code()
            .is_none_or(|code| ["25", "53", "57P", "58"].iter().any(|class| code.starts_with(class))),
        _ => true,
    }
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
