//! A writer: one connection, one chain, one batch at a time.
//!
//! Owns the connection and what happens when it fails: what is certainly not
//! stored is tried again, what may be stored is settled first. Must never hold
//! a batch for ever: after a while its waiters are told that nobody knows.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::FutureExt;
use sqlx::{Connection, PgConnection};
use tokio::time::{Instant, sleep, timeout};

use super::batch::Batch;
use super::chain::{Chain, Link};
use super::row::Row;
use super::statements::{self, Keys, Session};
use super::{JournalError, Shared};
use crate::storage::StorageError;
use crate::storage::diagnosis::diagnosis;
use crate::storage::line;

/// How long a batch is tried again after its first failure. Waiters may have gone by then.
const PATIENCE: Duration = Duration::from_millis(2500);
/// For one attempt. Ends the wait for a server that neither answers nor hangs up,
/// and the server's own work on what nobody waits for any more.
pub(super) const ATTEMPT_MAX: Duration = Duration::from_secs(5);
/// What a batch may take that fails at first: one attempt to its end, the
/// patience, and an attempt that began just before the patience ended. Only what
/// was on its way for longer than that, on a line that is gone, is stored later.
pub const SETTLED_WITHIN: Duration =
    Duration::from_millis(2 * ATTEMPT_MAX.as_millis() as u64 + PATIENCE.as_millis() as u64);
/// Payload of one transaction. An ordinary decision has about a kilobyte.
const BATCH_BYTES_MAX: usize = 8 << 20;
/// After a key that was bound already, as many batches expect another.
const CLAIMED_FIRST: u32 = 64;
const PAUSE_MIN: Duration = Duration::from_millis(10);
const PAUSE_MAX: Duration = Duration::from_millis(500);
/// How often an unused connection is checked. Routers may drop it without closing it.
const UNUSED_MAX: Duration = Duration::from_secs(10);
/// The time limit of such a check.
const LOOK_MAX: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct Writer {
    shared: Arc<Shared>,
    chain: Chain,
    /// Taken out while it is used, so that an attempt cut off in the middle drops it.
    session: Option<Session>,
    /// The link of a batch that was given up while its fate was unknown.
    unsettled: Option<Link>,
    /// The rows of the batch that was given up. As long as none of them can be written, nothing can.
    given_up: Vec<Row>,
    /// Batches that claim their keys before anything else is sent. While no key
    /// is contended they are bound on the way, which is one statement and one
    /// look into the index of keys less.
    batches_to_claim: u32,
}

enum Failure {
    /// Before COMMIT, and for what a row holds.
    BadRow,
    /// The connection is gone or not to be trusted.
    Lost(sqlx::Error),
}

impl From<sqlx::Error> for Failure {
    fn from(error: sqlx::Error) -> Self {
        Self::Lost(error)
    }
}

enum Fate {
    Answered,
    BadRow(Batch),
    GivenUp,
}

/// A panic loses its batch, whose waiters are told that nobody knows, and not
/// the journal: another writer goes on, with a chain of its own.
pub async fn run_whatever_happens(first: Writer, shared: Arc<Shared>) {
    let mut writer = first;
    while AssertUnwindSafe(writer.run()).catch_unwind().await.is_err() {
        tracing::error!("a journal writer panicked; another one takes over");
        // The work that was under way has been given up.
        shared.can_store();
        writer = Writer::new(Arc::clone(&shared));
    }
}

impl Writer {
    fn new(shared: Arc<Shared>) -> Self {
        Self {
            shared,
            chain: Chain::new(),
            session: None,
            unsettled: None,
            given_up: Vec::new(),
            batches_to_claim: 0,
        }
    }

    pub async fn connected(shared: Arc<Shared>) -> Result<Self, StorageError> {
        let mut writer = Self::new(shared);
        writer.session = Some(line::within(ATTEMPT_MAX, writer.connect()).await?);
        Ok(writer)
    }

    pub async fn run(mut self) {
        loop {
            let submissions = match timeout(UNUSED_MAX, self.shared.next_submissions()).await {
                Ok(Some(submissions)) => submissions,
                Ok(None) => return,
                Err(_) => {
                    self.look_at_connection().await;
                    continue;
                }
            };
            let mut working = true;
            for part in bounded(submissions, |submission| submission.row.payload.len()) {
                // Those of the later parts see their waiter gone: nobody knows.
                working = self.store(Batch::of(part)).await;
                if !working {
                    break;
                }
            }
            if !working && !self.recover().await {
                return;
            }
            // Lets those just answered submit again, so that they share the next batch.
            tokio::task::yield_now().await;
        }
    }

    /// Stores what can be stored, and says whether the writer is still working.
    async fn store(&mut self, batch: Batch) -> bool {
        let mut to_do = vec![batch];
        while let Some(batch) = to_do.pop() {
            match self.try_until_answered(batch).await {
                Fate::Answered => {}
                Fate::BadRow(batch) => to_do.extend(batch.isolate_bad_row().into_iter().rev()),
                Fate::GivenUp => {
                    for batch in to_do {
                        batch.answer_all(JournalError::Unavailable);
                    }
                    return false;
                }
            }
        }
        true
    }

    async fn try_until_answered(&mut self, mut batch: Batch) -> Fate {
        let (mut give_up_at, mut pause) = (None, PAUSE_MIN);
        self.shared.begins_to_store();
        loop {
            match timeout(ATTEMPT_MAX, self.attempt(&mut batch)).await {
                Ok(Ok(())) => {
                    self.shared.can_store();
                    return Fate::Answered;
                }
                Ok(Err(Failure::BadRow)) => {
                    self.shared.can_store();
                    return Fate::BadRow(batch);
                }
                Ok(Err(Failure::Lost(error))) => self.note_failure(&error),
                Err(_) => tracing::warn!(writer = %self.chain.writer, "a journal batch took too long"),
            }
            let now = Instant::now();
            if now + pause > *give_up_at.get_or_insert(now + PATIENCE) {
                self.unsettled = batch.link.take();
                self.given_up = batch.give_up();
                return Fate::GivenUp;
            }
            sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    /// One try on one connection, which is kept only if all went well or a row
    /// was to blame.
    async fn attempt(&mut self, batch: &mut Batch) -> Result<(), Failure> {
        let mut session = match self.session.take().filter(|_| !self.shared.settings.sessions.are_refused()) {
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
                    writer = %self.chain.writer, cause = diagnosis(&error),
                    "the database rejected a decision"
                );
                statements::roll_back(&mut session.connection).await?;
                self.session = Some(session);
                Err(Failure::BadRow)
            }
            Err(error) => Err(Failure::Lost(error)),
        }
    }

    async fn store_in(&mut self, session: &mut Session, batch: &mut Batch) -> sqlx::Result<()> {
        let now_ms = (self.shared.settings.clock)();
        session.open_for(&batch.rows()).await?;
        let connection = &mut session.connection;
        if self.batches_to_claim == 0 {
            // It commits by itself, so its fate is unknown from here until the answer.
            let (link, rows) = batch.link_to(self.chain.next(batch.decision_digests()));
            match statements::insert(connection, &rows, link, now_ms, Keys::Free).await {
                Ok(()) => {
                    self.finish(batch);
                    return Ok(());
                }
                // A key that is bound, or a decision that is stored already, shows as
                // either's index: what it is, is found by claiming.
                Err(error) if blames_a_row(&error) => batch.link = None,
                Err(error) => return Err(error),
            }
            self.batches_to_claim = CLAIMED_FIRST;
        }
        self.batches_to_claim -= 1;
        statements::begin(connection).await?;
        let winners = statements::claim(connection, &batch.rows(), now_ms).await?;
        if winners.len() < batch.rows().len() {
            self.batches_to_claim = CLAIMED_FIRST;
            let bound = statements::bound(connection, &batch.rows(), &winners).await?;
            batch.answer_losers(&winners, bound);
        }
        if batch.is_empty() {
            return statements::roll_back(connection).await;
        }
        let link = self.chain.next(batch.decision_digests());
        statements::insert(connection, &batch.rows(), &link, now_ms, Keys::Claimed).await?;
        // From here until the answer the fate of the batch is unknown.
        batch.link = Some(link);
        statements::commit(connection).await?;
        self.finish(batch);
        Ok(())
    }

    /// The batch is known to be committed.
    fn finish(&mut self, batch: &mut Batch) {
        let Some(link) = batch.link.take() else { return };
        self.advance(&link);
        metrics::counter!("tollgate_journal_batches_total").increment(1);
        metrics::counter!("tollgate_journal_decisions_total").increment(batch.rows().len() as u64);
        batch.answer_stored(&link);
    }

    fn advance(&mut self, committed: &Link) {
        self.chain.advance(committed);
        self.shared.note(self.chain.tip());
    }

    async fn connect(&self) -> sqlx::Result<Session> {
        let settings = &self.shared.settings;
        let mut connection = settings.sessions.connect().await?;
        let now_ms = (settings.clock)();
        statements::register_writer(&mut connection, self.chain.writer, &settings.node, now_ms).await?;
        Ok(Session::new(connection))
    }

    /// Replaces a connection that no longer answers, before the next payments wait for it.
    async fn look_at_connection(&mut self) {
        let Some(mut session) = self.session.take() else { return };
        let Err(error) = line::within(LOOK_MAX, session.connection.ping()).await else {
            self.session = Some(session);
            return;
        };
        tracing::warn!(
            writer = %self.chain.writer, cause = diagnosis(&error),
            "an idle connection of the journal was lost"
        );
        // If this fails, the next batch connects.
        self.session = line::within(ATTEMPT_MAX, self.connect()).await.ok();
    }

    fn note_failure(&mut self, error: &sqlx::Error) {
        // A refused session is logged where it is refused, and only once.
        if !matches!(error, sqlx::Error::Configuration(_)) {
            tracing::warn!(
                writer = %self.chain.writer, cause = diagnosis(error),
                "storing a journal batch failed"
            );
        }
        // A batch that was taken for lost came after all, and its place in the
        // chain is taken: only a new chain can go on.
        if constraint_of(error) == Some("journal_batches_pkey") {
            self.chain = Chain::new();
        }
    }

    /// Connects until it succeeds; false if the journal stopped before that.
    async fn recover(&mut self) -> bool {
        let shared = Arc::clone(&self.shared);
        let not_working = NotWorking::new(&shared.working);
        let mut pause = PAUSE_MIN;
        loop {
            self.shared.refuse_what_waits();
            match timeout(ATTEMPT_MAX, self.reconnect()).await {
                Ok(Ok(())) => break,
                // Logged once, for the same reason as in `note_failure`.
                Ok(Err(sqlx::Error::Configuration(_))) => {}
                Ok(Err(error)) => {
                    tracing::warn!(writer = %self.chain.writer, cause = diagnosis(&error), "the journal cannot connect");
                }
                Err(_) => tracing::warn!(writer = %self.chain.writer, "the journal cannot connect in time"),
            }
            tokio::select! {
                () = sleep(pause) => pause = (pause * 2).min(PAUSE_MAX),
                () = self.shared.stop.cancelled() => {
                    self.shared.refuse_what_waits();
                    // It has ended, and never works again.
                    std::mem::forget(not_working);
                    return false;
                }
            }
        }
        drop(not_working);
        tracing::info!(writer = %self.chain.writer, "the journal has reconnected");
        true
    }

    /// Opens a connection that can write, and sets the chain to what is really stored.
    async fn reconnect(&mut self) -> sqlx::Result<()> {
        let mut session = self.connect().await?;
        if let Some(link) = &self.unsettled {
            // Taken only when it is settled: the question may fail and is asked again.
            let committed = statements::is_committed(&mut session.connection, link).await?;
            if let Some(link) = self.unsettled.take().filter(|_| committed) {
                self.advance(&link);
            }
        }
        self.write_for_trial(&mut session).await?;
        self.given_up.clear();
        self.shared.can_store();
        self.session = Some(session);
        Ok(())
    }

    /// Writes a row of the batch that was given up and rolls it back. A full disk still lets a
    /// writer connect; only writing shows whether there is room. One row at a time, another each
    /// time: neither a single bad row nor the size of the batch may keep the journal closed.
    async fn write_for_trial(&mut self, session: &mut Session) -> sqlx::Result<()> {
        if self.given_up.is_empty() {
            return Ok(());
        }
        // Before the attempt, which may be cut off.
        self.given_up.rotate_left(1);
        let row = &self.given_up[0];
        session.open_for(&[row]).await?;
        let connection = &mut session.connection;
        statements::begin_trial(connection).await?;
        match self.insert_for_trial(connection, row).await {
            Err(error) if blames_the_server(&error) => Err(error),
            // A row that is stored already, locked or faulty does not mean that writing fails.
            _ => statements::roll_back(connection).await,
        }
    }

    async fn insert_for_trial(&self, connection: &mut PgConnection, row: &Row) -> sqlx::Result<()> {
        let now_ms = (self.shared.settings.clock)();
        if statements::claim(connection, &[row], now_ms).await?.is_empty() {
            return Ok(());
        }
        let link = self.chain.next(row.digest.0.to_vec());
        statements::insert(connection, &[row], &link, now_ms, Keys::Claimed).await
    }
}

/// Removes a writer from the count of working writers until this is dropped, also by a panic.
struct NotWorking<'a>(&'a AtomicUsize);

impl<'a> NotWorking<'a> {
    fn new(working: &'a AtomicUsize) -> Self {
        working.fetch_sub(1, Ordering::AcqRel);
        Self(working)
    }
}

impl Drop for NotWorking<'_> {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::AcqRel);
    }
}

/// In parts of at most [`BATCH_BYTES_MAX`], or of one submission: neighbours of
/// large decisions must not wait, nor fail, for the size of their transaction.
fn bounded<T>(submissions: Vec<T>, bytes_of: impl Fn(&T) -> usize) -> Vec<Vec<T>> {
    let (mut parts, mut bytes) = (vec![Vec::new()], 0);
    for submission in submissions {
        let more = bytes_of(&submission);
        if bytes + more > BATCH_BYTES_MAX && bytes > 0 {
            parts.push(Vec::new());
            bytes = 0;
        }
        bytes += more;
        if let Some(part) = parts.last_mut() {
            part.push(submission);
        }
    }
    parts
}

/// Data exceptions, constraints and limits of the server lie in what was sent;
/// everything else lies in the circumstances.
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

/// Whether the server cannot write at all (no room, no file, read-only), or the connection is gone.
/// An internal error (XX) may lie in one damaged page.
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
    fn a_transaction_is_bounded_in_bytes_and_takes_one_decision_of_any_size() {
        let large = BATCH_BYTES_MAX / 2;
        let parts = |sizes: &[usize]| -> Vec<usize> {
            bounded(sizes.to_vec(), |size| *size).iter().map(Vec::len).collect()
        };
        assert_eq!(parts(&[1000; 512]), [512]);
        assert_eq!(parts(&[large; 5]), [2, 2, 1]);
        assert_eq!(parts(&[1, BATCH_BYTES_MAX + 1, 1]), [1, 1, 1]);
    }
}
