//! Compares checkpoints with the stored batches, and signed removals with their stored records.
//!
//! A checkpoint proves that a batch with this hash was stored, so the end of a chain cannot be cut
//! off undetected.

use std::collections::BTreeSet;

use uuid::Uuid;

use super::finding::{Finding, IntegrityFlaw};
use super::{OnEvent, VerificationEvent};
use crate::auth::checkpoint::CheckpointKey;
use crate::decisions::checkpoints::file::{CheckpointLine, SignedLine};
use crate::domain::removal::RemovalId;
use crate::storage::pool::SystemPool;
use crate::storage::{StorageError, removals, verification};

#[derive(Debug, Default)]
pub struct CheckpointComparison {
    /// Checkpoints whose batch is stored as signed.
    pub matching: u64,
    /// The writers with a correctly signed checkpoint.
    pub writers: BTreeSet<Uuid>,
    pub findings: u64,
    /// The newest time of a matching checkpoint.
    pub newest_ms: Option<u64>,
}

/// Compares every checkpoint of these lines with the batch that it names.
pub async fn compare(
    system: &SystemPool,
    key: &CheckpointKey,
    lines: Vec<CheckpointLine>,
    on_event: OnEvent<'_>,
) -> Result<CheckpointComparison, StorageError> {
    let mut compared = CheckpointComparison::default();
    let records = if lines.is_empty() { Vec::new() } else { removals::signed(system).await? };
    for CheckpointLine { origin, signed } in lines {
        let finding = match signed {
            None => Finding::of_origin(IntegrityFlaw::NoCheckpoint { origin }),
            Some(SignedLine::Removal(signed)) => {
                if records.iter().any(|stored| stored.removal == signed.removal) {
                    continue;
                }
                Finding::of_origin(if key.has_signed_removal(&signed) {
                    let RemovalId { tenant, month, number } = signed.removal.id;
                    IntegrityFlaw::RecordNotAsSigned { origin, tenant, month, number }
                } else {
                    IntegrityFlaw::Forged { origin }
                })
            }
            Some(SignedLine::Checkpoint(signed)) if !key.has_signed(&signed) => {
                let checkpoint = &signed.checkpoint;
                Finding::of_batch(checkpoint.writer, checkpoint.sequence, IntegrityFlaw::Forged { origin })
            }
            Some(SignedLine::Checkpoint(signed)) => {
                let checkpoint = signed.checkpoint;
                compared.writers.insert(checkpoint.writer);
                let (writer, sequence, at_ms) = (checkpoint.writer, checkpoint.sequence, checkpoint.at_ms);
                let (stored, last) = verification::batch_hash(system, writer, sequence).await?;
                let flaw = match stored {
                    Some(hash) if hash == checkpoint.hash.0 => {
                        compared.matching += 1;
                        compared.newest_ms = compared.newest_ms.max(Some(at_ms));
                        continue;
                    }
                    Some(_) => IntegrityFlaw::NotAsSigned { at_ms },
                    None if last > Some(sequence) => IntegrityFlaw::SignedBatchMissing { at_ms },
                    None => IntegrityFlaw::CutOff { at_ms, last },
                };
                Finding::of_batch(writer, sequence, flaw)
            }
        };
        compared.findings += 1;
        on_event(VerificationEvent::Finding(finding));
    }
    Ok(compared)
}
