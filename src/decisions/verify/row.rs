//! Compares a decision with its batch, its payload and its key.
//!
//! The digest must be computed without the payload, which may be erased.

use uuid::Uuid;

use super::DIGEST_BYTES;
use super::finding::IntegrityFlaw;
use crate::domain::decision::{Evidence, Origin};
use crate::domain::verdict::FOLD_VERSION;
use crate::storage::evidence::{self, DigestedColumns};
use crate::storage::verification::DecisionRow;

/// The flaw of its digest, if it has one. The digest is computed from its columns.
pub fn digest_flaw(row: &DecisionRow, of_batch: &[u8], position: usize) -> Option<IntegrityFlaw> {
    let computed = columns(row).digest().0;
    let mut digests = of_batch.chunks_exact(DIGEST_BYTES);
    let expected = digests.clone().nth(position);
    if expected == Some(computed.as_slice()) {
        return (row.digest != computed).then_some(IntegrityFlaw::DigestChanged);
    }
    if let Some(belongs) = digests.position(|digest| digest == computed) {
        return Some(IntegrityFlaw::Swapped { position, belongs });
    }
    let own = expected == Some(row.digest.as_slice());
    Some(if own { IntegrityFlaw::Changed } else { IntegrityFlaw::AnotherDecision { position } })
}

fn columns(row: &DecisionRow) -> DigestedColumns<'_> {
    DigestedColumns {
        tenant: row.place.tenant,
        id: row.place.id,
        client: row.client,
        key: &row.key,
        request_hash: &row.request_hash,
        origin: &row.origin,
        outcome: &row.outcome,
        received_at_ms: row.received_at_ms,
        revision: row.revision,
        amount_minor: row.amount_minor,
        currency: &row.currency,
        method: &row.method,
        payload_version: row.payload_version,
        payload_digest: &row.payload_digest,
    }
}

/// The payload must have its digest and match the columns.
pub fn payload_flaws(row: &DecisionRow, flaws: &mut Vec<IntegrityFlaw>) {
    let (payload, salt) = match (&row.payload, &row.payload_salt, &row.reference) {
        (Some(payload), Some(salt), _) => (payload, salt),
        (None, None, None) => return,
        _ => return flaws.push(IntegrityFlaw::PartlyErased),
    };
    if evidence::payload_digest(salt, row.payload_version, payload).0 != row.payload_digest.as_slice() {
        return flaws.push(IntegrityFlaw::PayloadChanged);
    }
    match evidence::decode(row.payload_version, payload) {
        Ok(evidence) => {
            let disagreeing = disagreeing_columns(row, &evidence);
            flaws.extend(disagreeing.map(|column| IntegrityFlaw::Disagrees { column }));
        }
        Err(_) => flaws.push(IntegrityFlaw::PayloadUnreadable),
    }
}

fn disagreeing_columns(row: &DecisionRow, evidence: &Evidence) -> impl Iterator<Item = &'static str> {
    let (payment, order) = (&evidence.payment, &evidence.payment.order);
    let agreeing = [
        ("id", row.place.id == payment.id.0),
        ("reference", row.reference.as_deref() == Some(order.reference.as_str())),
        ("amount_minor", row.amount_minor == order.amount.minor()),
        ("currency", row.currency == order.amount.currency().code()),
        ("method", row.method == order.method.name()),
        ("received_at_ms", u64::try_from(row.received_at_ms) == Ok(payment.received_at_ms)),
        ("revision", row.revision == evidence.revision.map(|revision| revision.number)),
        ("outcome", outcome_agrees(row, evidence)),
    ];
    agreeing.into_iter().filter(|(_, agrees)| !agrees).map(|(column, _)| column)
}

/// An imported decision was not folded, and this release does not have the fold of a newer one.
fn outcome_agrees(row: &DecisionRow, evidence: &Evidence) -> bool {
    row.origin == Origin::Import.name()
        || evidence.fold_version > FOLD_VERSION
        || evidence.fold().outcome.name() == row.outcome
}

/// Every decision must have its key, with the same request hash.
pub fn key_flaws(row: &DecisionRow, flaws: &mut Vec<IntegrityFlaw>) {
    let bound_to: Option<Uuid> = row.bound_to;
    match bound_to {
        None => flaws.push(IntegrityFlaw::Keyless),
        Some(bound_to) if bound_to != row.place.id => flaws.push(IntegrityFlaw::KeyOfAnother { bound_to }),
        Some(_) if row.bound_request_hash.as_ref() != Some(&row.request_hash) => {
            flaws.push(IntegrityFlaw::KeyRequestHash);
        }
        Some(_) => {}
    }
}
