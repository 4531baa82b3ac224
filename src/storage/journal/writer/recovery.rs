//! How a writer replaces a connection that no longer works.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use backon::BackoffBuilder;
use sqlx::{Connection, PgConnection};
use tokio::time::{sleep, timeout};

use super::{ATTEMPT_MAX, BACKOFF, BACKOFF_MAX, JournalWriter};
use crate::storage::journal::chain::BatchLists;
use crate::storage::journal::row::PreparedDecision;
use crate::storage::journal::statements::{self, InsertMode, JournalSession};
use crate::storage::query_error::describe;
use crate::storage::time_limit;

/// The time limit for checking an idle connection.
const CHECK_MAX: Duration = Duration::from_secs(1);

impl JournalWriter {
    /// Replaces a connection that no longer responds, before the next payments need it.
    pub(super) async fn check_connection(&mut self) {
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

    /// Tries to connect until it succeeds. Returns `false` if the journal is stopped before that.
    pub(super) async fn recover(&mut self) -> bool {
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

    /// Opens a connection that can write, and sets the chain to the last batch that is stored.
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

    /// Writes one row of the batch that was given up, and rolls it back: with a full disk a writer
    /// can still connect, but not write. Each test writes only one row, the next one, so that
    /// neither a bad row nor the size of the batch makes all tests fail.
    async fn test_writing(&mut self, session: &mut JournalSession) -> sqlx::Result<()> {
        if self.given_up.is_empty() {
            return Ok(());
        }
        // Rotated before the write, which may be cancelled.
        self.given_up.rotate_left(1);
        let row = &self.given_up[0];
        session.open_for(&[row]).await?;
        let connection = &mut session.connection;
        statements::begin_trial(connection).await?;
        match self.insert_test_row(connection, row).await {
            Err(error) if is_caused_by_server(&error) => Err(error),
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
        let link = self.chain.next(BatchLists::of(&[row]));
        let known = self.state.series.current();
        statements::insert(connection, &[row], &link, now_ms, &known, InsertMode::KeysClaimed).await
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

/// Whether the server cannot write at all (disk full, I/O error, read-only), or the connection
/// is lost. An internal error (XX) does not count: it may come from a single damaged page.
fn is_caused_by_server(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Database(database) => database
            .code()
            .is_none_or(|code| ["25", "53", "57P", "58"].iter().any(|class| code.starts_with(class))),
        _ => true,
    }
}
