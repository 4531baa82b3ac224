//! Verification: compares the stored batches, decisions and keys with the chains.
//!
//! Batches must match each other, decisions their batch, and payloads and keys their decision.
//! Decisions that are stored during a verification must not be reported as flaws.

mod finding;
mod removed;
mod row;
mod signed;

use uuid::Uuid;

pub use finding::{Finding, IntegrityFlaw};
use removed::KnownRecords;
pub use signed::{CheckpointComparison, compare};

use crate::auth::checkpoint::CheckpointKey;
use crate::storage::StorageError;
use crate::storage::batch_ids::ID_BYTES;
use crate::storage::journal::chain::{GENESIS, batch_hash};
use crate::storage::pool::SystemPool;
use crate::storage::verification::{self, BatchRow, DecisionId, DecisionRow, StrayDecision};

const DIGEST_BYTES: usize = 32;

/// Decisions that are read in one statement. A payload may be large.
const DECISIONS_AT_ONCE: usize = 500;

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
    /// How many decisions are gone, but named by a valid record of a removal. They are not among
    /// `decisions`.
    pub removed: u64,
    /// Valid records of removals.
    pub removals: u64,
    pub keys: u64,
    pub findings: u64,
}

/// Reads every batch and its decisions, writer by writer. Then compares every decision with its batch,
/// and every key with its decision.
/// `key` is that of checkpoints, by which records of removals are signed.
pub async fn verify(
    system: &SystemPool,
    key: &CheckpointKey,
    on_event: OnEvent<'_>,
) -> Result<VerificationCounts, StorageError> {
    let (counts, records) = (VerificationCounts::default(), KnownRecords::default());
    let mut pass = Verifier { system, key, on_event, counts, records };
    for writer in verification::writers(system).await? {
        pass.counts.writers.push(writer.id);
        if !writer.registered {
            pass.found(Finding::of_writer(writer.id, IntegrityFlaw::UnknownWriter));
        }
        pass.writer(writer.id).await?;
    }
    pass.strays().await?;
    pass.keys().await?;
    pass.removals().await?;
    Ok(pass.counts)
}

struct Verifier<'a> {
    system: &'a SystemPool,
    key: &'a CheckpointKey,
    on_event: OnEvent<'a>,
    counts: VerificationCounts,
    records: KnownRecords,
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
        let mut last_sequence = None;
        loop {
            let batches = verification::batches(self.system, writer, last_sequence).await?;
            let Some(last) = batches.last() else { return Ok(()) };
            last_sequence = Some(last.sequence);
            for batch in &batches {
                self.batch(writer, batch, &mut before);
            }
            let places: Vec<_> = batches.iter().flat_map(|batch| BatchPlace::all_of(writer, batch)).collect();
            for some in places.chunks(DECISIONS_AT_ONCE) {
                self.decisions(some).await?;
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
        if batch.decision_ids.as_ref().map(Vec::len)
            != Some(batch.decision_digests.len() / DIGEST_BYTES * ID_BYTES)
        {
            self.found(Finding::of_batch(writer, sequence, IntegrityFlaw::IdsChanged));
        }
        *before = PreviousBatch { sequence, hash: batch.hash.clone() };
    }

    /// Verifies that each place has its decision.
    async fn decisions(&mut self, places: &[BatchPlace<'_>]) -> Result<(), StorageError> {
        let wanted: Vec<DecisionId> = places.iter().filter_map(|place| place.decision).collect();
        let rows = verification::decisions(self.system, &wanted).await?;
        let mut missing = Vec::new();
        for place in places {
            match place.decision.and_then(|decision| rows.get(&decision)) {
                Some(row) => self.decision(row, place),
                None => missing.push(place),
            }
        }
        self.missing(missing).await?;
        self.counts.decisions += rows.len() as u64;
        (self.on_event)(VerificationEvent::Decisions(rows.len() as u64));
        Ok(())
    }

    fn decision(&mut self, row: &DecisionRow, place: &BatchPlace<'_>) {
        self.counts.erased += u64::from(row.payload.is_none());
        let mut flaws = Vec::new();
        flaws.extend(row::digest_flaw(row, &place.batch.decision_digests, place.position));
        row::payload_flaws(row, &mut flaws);
        row::key_flaws(row, &mut flaws);
        for flaw in flaws {
            self.found(Finding::of_decision(place.writer, place.batch.sequence, row.place.id, flaw));
        }
    }

    /// Every decision must be where its columns say. Otherwise it was inserted, or moved.
    async fn strays(&mut self) -> Result<(), StorageError> {
        let mut last = DecisionId { tenant: Uuid::nil(), id: Uuid::nil() };
        while let Some(page) = verification::strays(self.system, last).await? {
            last = page.last;
            for StrayDecision { decision, writer, sequence, position, batch_length } in page.strays {
                let flaw = match batch_length {
                    None => IntegrityFlaw::NoSuchBatch,
                    Some(length) if !(0..length).contains(&position) => {
                        IntegrityFlaw::NoSuchPosition { position }
                    }
                    Some(_) => IntegrityFlaw::PositionTaken { position },
                };
                self.found(Finding::of_decision(writer, sequence, decision.id, flaw));
            }
        }
        Ok(())
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

/// A position of a batch, and the decision that must be there.
struct BatchPlace<'b> {
    writer: Uuid,
    batch: &'b BatchRow,
    position: usize,
    /// `None` if the batch does not name it.
    decision: Option<DecisionId>,
}

impl<'b> BatchPlace<'b> {
    fn all_of(writer: Uuid, batch: &'b BatchRow) -> impl Iterator<Item = Self> {
        let named = batch.decisions().map(Some).chain(std::iter::repeat(None));
        let positions = 0..batch.decision_digests.len() / DIGEST_BYTES;
        positions.zip(named).map(move |(position, decision)| Self { writer, batch, position, decision })
    }

    fn digest(&self) -> Option<&[u8]> {
        self.batch.decision_digests.chunks_exact(DIGEST_BYTES).nth(self.position)
    }
}
