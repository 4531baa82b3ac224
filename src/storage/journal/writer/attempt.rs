//! One attempt of a writer to store a batch.

use super::{JournalWriter, constraint_of};
use crate::storage::journal::batch::Batch;
use crate::storage::journal::chain::ChainLink;
use crate::storage::journal::statements::{self, InsertMode, JournalSession};
use crate::storage::query_error::describe;
use crate::storage::search::CommittedBatch;

/// How many batches claim their keys in a separate statement after a batch had a key that was
/// already bound.
const BATCHES_TO_CLAIM: u32 = 64;

pub(super) enum AttemptError {
    /// The database rejected a row before the commit.
    BadRow,
    /// There were series that the writer did not know, so nothing was stored.
    Outdated,
    /// The connection is lost or in an unknown state.
    Lost(sqlx::Error),
}

impl From<sqlx::Error> for AttemptError {
    fn from(error: sqlx::Error) -> Self {
        Self::Lost(error)
    }
}

impl JournalWriter {
    /// One attempt on one connection. The connection is kept only if the batch was stored or a
    /// row was rejected.
    pub(super) async fn attempt(&mut self, batch: &mut Batch) -> Result<(), AttemptError> {
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
            Err(error) if statements::is_outdated(&error) => {
                batch.link = None;
                statements::roll_back(&mut session.connection).await?;
                self.state.series.refresh(&mut session.connection).await?;
                self.session = Some(session);
                Err(AttemptError::Outdated)
            }
            Err(error) if batch.link.is_none() && is_caused_by_row(&error) => {
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
        let known = self.state.series.current();
        batch.follow(&known);
        if batch.is_empty() {
            return Ok(());
        }
        session.open_for(&batch.rows()).await?;
        let connection = &mut session.connection;
        if self.batches_to_claim == 0 {
            // This statement commits by itself, so from here until the response the result is
            // unknown.
            let (link, rows) = batch.link_to(self.chain.next(batch.lists()));
            match statements::insert(connection, &rows, link, now_ms, &known, InsertMode::ClaimKeys).await {
                Ok(()) => {
                    self.finish(batch);
                    return Ok(());
                }
                // A key is already bound, or a decision is already stored. Claiming the keys
                // shows which.
                Err(error) if is_caused_by_row(&error) => batch.link = None,
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
        let link = self.chain.next(batch.lists());
        statements::insert(connection, &batch.rows(), &link, now_ms, &known, InsertMode::KeysClaimed).await?;
        // From here until the response the result is unknown.
        batch.link = Some(link);
        statements::commit(connection).await?;
        self.finish(batch);
        Ok(())
    }

    /// Must be called only if the batch is known to be committed.
    fn finish(&mut self, batch: &mut Batch) {
        let Some(link) = batch.link.take() else { return };
        self.state.committed.add(|| CommittedBatch {
            writer: link.writer,
            sequence: link.sequence,
            stored_at_ms: self.state.settings.world.now_ms(),
            decisions: batch.rows().into_iter().map(|row| row.decision.clone()).collect(),
        });
        self.advance(&link);
        metrics::counter!("tollgate_journal_batches_total").increment(1);
        metrics::counter!("tollgate_journal_decisions_total").increment(batch.rows().len() as u64);
        batch.respond_stored(&link);
    }

    pub(super) fn advance(&mut self, committed: &ChainLink) {
        self.chain.advance(committed);
        self.state.record_tip(self.chain.tip());
    }
}

/// Whether a row caused the error: a data exception, a constraint or a limit of the server.
fn is_caused_by_row(error: &sqlx::Error) -> bool {
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
