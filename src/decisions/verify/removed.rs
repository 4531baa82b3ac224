//! Tells decisions that retention removed from those that are gone without a record.
//!
//! A record excuses a place only with the digest that the batch has there, and only if the record is
//! signed by this installation and complete.

use std::collections::HashMap;

use super::finding::{Finding, IntegrityFlaw};
use super::{BatchPlace, Verifier};
use crate::decisions::retention::hash_of;
use crate::domain::removal::{RemovalId, SignedRemoval};
use crate::storage::StorageError;
use crate::storage::removals::{self, RecordedEntry};
use crate::storage::verification::DecisionId;

/// The records that were compared with their signatures, and whether they are valid.
#[derive(Debug, Default)]
pub(super) struct KnownRecords(HashMap<RemovalId, bool>);

impl Verifier<'_> {
    /// Reports the missing decisions of which there is no valid record, and counts the others.
    pub(super) async fn missing(&mut self, missing: Vec<&BatchPlace<'_>>) -> Result<(), StorageError> {
        if missing.is_empty() {
            return Ok(());
        }
        let named = missing.iter().filter_map(|place| place.decision).collect();
        let mut recorded: HashMap<DecisionId, Vec<RecordedEntry>> = HashMap::new();
        for entry in removals::recorded(self.system, named).await? {
            recorded.entry(entry.decision).or_default().push(entry);
        }
        for place in missing {
            let entries = place.decision.and_then(|decision| recorded.get(&decision));
            let entries = entries.map_or(&[][..], Vec::as_slice);
            let mut is_recorded = false;
            for entry in entries.iter().filter(|entry| place.digest() == Some(&entry.digest.0[..])) {
                is_recorded |= self.is_valid(entry.removal).await?;
            }
            if is_recorded {
                self.counts.removed += 1;
            } else {
                let flaw = IntegrityFlaw::DecisionMissing { position: place.position };
                self.found(Finding::of_batch(place.writer, place.batch.sequence, flaw));
            }
        }
        Ok(())
    }

    async fn is_valid(&mut self, id: RemovalId) -> Result<bool, StorageError> {
        if let Some(valid) = self.records.0.get(&id) {
            return Ok(*valid);
        }
        // Records are few, and one that is new was signed since the last look.
        self.removals().await?;
        Ok(self.records.0.get(&id).copied().unwrap_or(false))
    }

    /// Compares the records that are not known yet with their signatures.
    pub(super) async fn removals(&mut self) -> Result<(), StorageError> {
        for signed in removals::signed(self.system).await? {
            let SignedRemoval { removal, .. } = &signed;
            if self.records.0.contains_key(&removal.id) {
                continue;
            }
            let complete = hash_of(self.system, removal.id).await? == (removal.decisions, removal.hash);
            let is_valid = complete && self.key.has_signed_removal(&signed);
            self.records.0.insert(removal.id, is_valid);
            if is_valid {
                self.counts.removals += 1;
            } else {
                let RemovalId { tenant, month, number } = removal.id;
                self.found(Finding::of_origin(IntegrityFlaw::RecordForged { tenant, month, number }));
            }
        }
        Ok(())
    }
}
