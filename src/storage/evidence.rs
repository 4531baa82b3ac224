//! The stored form of a decision, and the digests that protect it.
//!
//! Owns the encoding of the evidence and what each digest covers. Must never
//! change the bytes of a released version: another shape is another version,
//! and the old one stays readable for as long as its rows are kept.
//!
//! The payload is personal and may be erased; the chain therefore covers a
//! digest of it, salted so that nobody can find the payload by trying.

use super::StorageError;
use super::canonical::CanonicalHash;
use crate::domain::decision::{Decision, Evidence};
use crate::domain::plugin::Digest;

pub const PAYLOAD_VERSION: i16 = 1;

pub const SALT_LENGTH_BYTES: usize = 16;

const UNREADABLE: StorageError = StorageError::Unreadable { what: "evidence" };

/// Version 1: postcard of the domain's `Evidence`.
pub fn encode(evidence: &Evidence) -> Result<Vec<u8>, StorageError> {
    postcard::to_stdvec(evidence).map_err(|_| UNREADABLE)
}

/// Whatever the bytes are, the answer is evidence or an error.
pub fn decode(version: i16, payload: &[u8]) -> Result<Evidence, StorageError> {
    if version != PAYLOAD_VERSION {
        return Err(UNREADABLE);
    }
    match postcard::take_from_bytes(payload) {
        Ok((evidence, [])) => Ok(evidence),
        _ => Err(UNREADABLE),
    }
}

pub fn payload_digest(salt: &[u8], version: i16, payload: &[u8]) -> Digest {
    CanonicalHash::new("tollgate payload 1").field(salt).field(&version.to_be_bytes()).field(payload).finish()
}

/// Everything of a decision that erasure leaves, as fields of the canonical
/// hash in this order; numbers are big-endian. It can be computed from the
/// columns alone, so an erased decision still verifies.
pub fn decision_digest(decision: &Decision, version: i16, payload_digest: &Digest) -> Digest {
    let payment = &decision.evidence.payment;
    let revision = decision.evidence.revision.map(|revision| revision.number.to_be_bytes());
    CanonicalHash::new("tollgate decision 1")
        .field(decision.tenant.0.as_bytes())
        .field(payment.id.0.as_bytes())
        .field(decision.client.0.as_bytes())
        .field(decision.key.as_str().as_bytes())
        .field(&decision.request_hash.0)
        .field(decision.origin.name().as_bytes())
        .field(decision.outcome.name().as_bytes())
        .field(&payment.received_at_ms.to_be_bytes())
        .optional_field(revision.as_ref().map(|number| number.as_slice()))
        .field(&payment.order.amount.minor().to_be_bytes())
        .field(payment.order.amount.currency().code().as_bytes())
        .field(payment.order.method.name().as_bytes())
        .field(&version.to_be_bytes())
        .field(&payload_digest.0)
        .finish()
}

#[cfg(test)]
mod tests;
