//! Verification: compares the stored batches, decisions and keys with the chains.
//!
//! Batches must match each other, decisions their batch, and payloads and keys their decision.
//! Decisions that are stored during a verification must not be reported as flaws.

mod finding;
mod row;
mod signed;

use uuid::Uuid;

pub use finding::{Finding, IntegrityFlaw};
pub use signed::{CheckpointComparison, compare};

use crate::storage::StorageError;
use crate::storage::journal::chain::{GENESIS, batch_hash};
use crate::storage::pool::SystemPool;
use crate::storage::verification::{self, BatchRow, DecisionRow, JournalPosition};

const DIGEST_BYTES: usize = 32;

/// What a verification reports while it runs.
#[derive(Debug)]
pub enum VerificationEvent {
    Finding(Finding),
    /// This many more decisions were verified.
    Decisions(u64),
}

pub type OnEvent<'a> = &'a mut (dyn FnMut(VerificationEvent) + Send);

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VerificationCounts {
    pub writers: Vec<Uuid>,
    pub batches: u64,
    pub decisions: u64,
    /// How many of the decisions are erased. Their payload is gone; all else is verified.
    pub erased: u64,
    pub keys: u64,
    pub findings: u64,
}

/// Reads every batch and decision once, writer by writer, and then every key.
pub async fn verify(system: &SystemPool, on_event: OnEvent<'_>) -> Result<VerificationCounts, StorageError> {
    let mut pass = Verifier { system, on_event, counts: VerificationCounts::default() };
    for writer in verification::writers(system).await? {
        pass.counts.writers.push(writer.id);
        if !writer.registered {
            pass.found(Finding::of_writer(writer.id, IntegrityFlaw::UnknownWriter));
        }
        pass.writer(writer.id).await?;
    }
    pass.keys().await?;
    Ok(pass.counts)
}

struct Verifier<'a> {
    system: &'a SystemPool,
    on_event: OnEvent<'a>,
    counts: VerificationCounts,
}

/// The batch that the next one must follow.
struct PreviousBatch {
    sequence: i64,
    hash: Vec<u8>,
}

impl Verifier<'_> {
    fn found(&mut self, finding: Finding) {
        self.counts.findings += 1;
        (self.on_event)(VerificationEvent::Finding(finding));
    }

    async fn writer(&mut self, writer: Uuid) -> Result<(), StorageError> {
        let mut before = PreviousBatch { sequence: 0, hash: GENESIS.0.to_vec() };
        let (mut last_sequence, mut place) = (None, JournalPosition::FIRST);
        loop {
            let batches = verification::batches(self.system, writer, last_sequence).await?;
            let Some(last) = batches.last() else { break };
            last_sequence = Some(last.sequence);
            for batch in &batches {
                self.batch(writer, batch, &mut before);
            }
            place = self.decisions(writer, &batches, place, last.sequence).await?;
        }
        // Decisions after the last batch that was read. Those stored in the meantime have a batch
        // by now and are not among them.
        loop {
            let uncovered = verification::uncovered(self.system, writer, place).await?;
            let Some(last) = uncovered.last() else { return Ok(()) };
            place = *last;
            for place in &uncovered {
                self.found(Finding::of_decision(writer, place, IntegrityFlaw::NoSuchBatch));
            }
        }
    }

    fn batch(&mut self, writer: Uuid, batch: &BatchRow, before: &mut PreviousBatch) {
        self.counts.batches += 1;
        let sequence = batch.sequence;
        if sequence < 1 {
            self.found(Finding::of_batch(writer, sequence, IntegrityFlaw::BeforeTheFirst));
            return;
        }
        let first = before.sequence + 1;
        if sequence > first {
            let flaw = IntegrityFlaw::BatchesMissing { first, last: sequence - 1 };
            self.found(Finding::of_batch(writer, first, flaw));
        } else if batch.previous_hash != before.hash {
            let flaw = IntegrityFlaw::NotChained { before: before.sequence };
            self.found(Finding::of_batch(writer, sequence, flaw));
        }
        if !has_its_hash(writer, batch) {
            self.found(Finding::of_batch(writer, sequence, IntegrityFlaw::BatchChanged));
        }
        *before = PreviousBatch { sequence, hash: batch.hash.clone() };
    }

    /// Verifies the decisions of a page of batches, and of the gaps between them. Returns the place
    /// after the last batch.
    async fn decisions(
        &mut self,
        writer: Uuid,
        batches: &[BatchRow],
        mut place: JournalPosition,
        last_sequence: i64,
    ) -> Result<JournalPosition, StorageError> {
        let mut merge = BatchCursor { writer, batches, position: 0 };
        loop {
            let rows = verification::decisions(self.system, writer, place, last_sequence).await?;
            let Some(last) = rows.last() else { break };
            place = last.place;
            for row in &rows {
                merge.up_to(row.place.sequence, self);
                let stored_digest = merge.expect(row, self);
                self.decision(writer, row, stored_digest);
            }
            self.counts.decisions += rows.len() as u64;
            (self.on_event)(VerificationEvent::Decisions(rows.len() as u64));
        }
        merge.up_to(i64::MAX, self);
        Ok(JournalPosition::after_batch(last_sequence))
    }

    fn decision(&mut self, writer: Uuid, row: &DecisionRow, in_batch: Option<(&BatchRow, usize)>) {
        self.counts.erased += u64::from(row.payload.is_none());
        let mut flaws = Vec::new();
        if let Some((batch, position)) = in_batch {
            flaws.extend(row::digest_flaw(row, &batch.decision_digests, position));
        }
        row::payload_flaws(row, &mut flaws);
        row::key_flaws(row, &mut flaws);
        for flaw in flaws {
            self.found(Finding::of_decision(writer, &row.place, flaw));
        }
    }

    async fn keys(&mut self) -> Result<(), StorageError> {
        let mut last = None;
        loop {
            let page = verification::keys(self.system, last.as_ref()).await?;
            self.counts.keys += page.len() as u64;
            for row in page.iter().filter(|row| !row.fits) {
                let key = row.key.clone();
                let flaw = if row.exists {
                    IntegrityFlaw::KeyDoesNotFit { client: row.client, key }
                } else {
                    IntegrityFlaw::KeyWithoutDecision { client: row.client, key }
                };
                self.found(Finding::of_key(row.decision, flaw));
            }
            last = page.into_iter().next_back();
            if last.is_none() {
                return Ok(());
            }
        }
    }
}

fn has_its_hash(writer: Uuid, batch: &BatchRow) -> bool {
    let Ok(previous) = batch.previous_hash.as_slice().try_into() else { return false };
    let previous = crate::domain::plugin::Digest(previous);
    let hash = batch_hash(writer, batch.sequence, &previous, &batch.decision_digests);
    batch.decision_digests.len().is_multiple_of(DIGEST_BYTES) && batch.hash == hash.0
}

/// Steps through batches and decisions together, both in order.
struct BatchCursor<'b> {
    writer: Uuid,
    /// The current batch and those after it.
    batches: &'b [BatchRow],
    /// The next position expected in the current batch.
    position: usize,
}

impl<'b> BatchCursor<'b> {
    /// Ends the batches before this one. Positions that were not seen are missing.
    fn up_to(&mut self, sequence: i64, pass: &mut Verifier<'_>) {
        while let Some((batch, rest)) = self.batches.split_first()
            && batch.sequence < sequence
        {
            self.missing(batch, batch.decision_digests.len() / DIGEST_BYTES, pass);
            (self.batches, self.position) = (rest, 0);
        }
    }

    fn missing(&mut self, batch: &BatchRow, before: usize, pass: &mut Verifier<'_>) {
        for position in self.position..before {
            let flaw = IntegrityFlaw::DecisionMissing { position };
            pass.found(Finding::of_batch(self.writer, batch.sequence, flaw));
        }
    }

    /// The batch of a decision and its position there. `None` if it has no position of its own.
    fn expect(&mut self, row: &DecisionRow, pass: &mut Verifier<'_>) -> Option<(&'b BatchRow, usize)> {
        let batches = self.batches;
        let batch = batches.first().filter(|batch| batch.sequence == row.place.sequence);
        let count = batch.map_or(0, |batch| batch.decision_digests.len() / DIGEST_BYTES);
        let position = usize::try_from(row.place.position).ok().filter(|position| *position < count);
        let flaw = match (batch, position) {
            (None, _) => IntegrityFlaw::NoSuchBatch,
            (Some(_), None) => IntegrityFlaw::NoSuchPosition { position: row.place.position },
            (Some(_), Some(position)) if position < self.position => {
                IntegrityFlaw::PositionTaken { position }
            }
            (Some(batch), Some(position)) => {
                self.missing(batch, position, pass);
                self.position = position + 1;
                return Some((batch, position));
            }
        };
        pass.found(Finding::of_decision(self.writer, &row.place, flaw));
        None
    }
}
