//! The stored form of a decision's evidence, and the digests that protect it.
//!
//! The bytes of a released version must never change. A different shape needs a new version. Old
//! versions stay readable.
//!
//! The payload is personal data and may be erased. So the chain covers only a digest of it, which
//! is salted, so that the payload cannot be guessed from the digest.

mod frozen;

use serde::de::DeserializeOwned;
use uuid::Uuid;

use super::StorageError;
use super::canonical::CanonicalHash;
use super::columns::bigint;
use crate::domain::decision::{Decision, Evidence, EvidenceVersion};
use crate::domain::plugin::Digest;
use frozen::{EvidenceV1, EvidenceV2};

pub const SALT_LENGTH_BYTES: usize = 16;

const UNREADABLE: StorageError = StorageError::Unreadable { what: "evidence" };

/// Encodes in postcard. Version 3 is the domain's `Evidence`. Fails if the version cannot hold this
/// evidence.
pub fn encode(version: EvidenceVersion, evidence: &Evidence) -> Result<Vec<u8>, StorageError> {
    match version {
        EvidenceVersion::V2 => {
            let stored = EvidenceV2::of(evidence).ok_or(UNREADABLE)?;
            postcard::to_stdvec(&stored)
        }
        EvidenceVersion::V3 => postcard::to_stdvec(evidence),
    }
    .map_err(|_| UNREADABLE)
}

/// Must never panic, whatever the bytes are.
pub fn decode(version: i16, payload: &[u8]) -> Result<Evidence, StorageError> {
    match version {
        1 => whole::<EvidenceV1>(payload).map(EvidenceV2::from).map(Evidence::from),
        2 => whole::<EvidenceV2>(payload).map(Evidence::from),
        3 => whole(payload),
        _ => Err(UNREADABLE),
    }
}

/// Decodes the bytes. Left-over bytes are an error.
fn whole<T: DeserializeOwned>(payload: &[u8]) -> Result<T, StorageError> {
    match postcard::take_from_bytes(payload) {
        Ok((stored, [])) => Ok(stored),
        _ => Err(UNREADABLE),
    }
}

pub fn payload_digest(salt: &[u8], version: i16, payload: &[u8]) -> Digest {
    CanonicalHash::new("tollgate payload 1").field(salt).field(&version.to_be_bytes()).field(payload).finish()
}

/// The columns of a decision that remain after erasure.
#[derive(Debug, Clone, Copy)]
pub struct DigestedColumns<'a> {
    pub tenant: Uuid,
    pub id: Uuid,
    pub client: Uuid,
    pub key: &'a str,
    pub request_hash: &'a [u8],
    pub origin: &'a str,
    pub outcome: &'a str,
    pub received_at_ms: i64,
    pub revision: Option<i32>,
    pub amount_minor: i64,
    pub currency: &'a str,
    pub method: &'a str,
    pub payload_version: i16,
    pub payload_digest: &'a [u8],
}

impl DigestedColumns<'_> {
    /// The canonical hash of the fields in this order. Numbers are big-endian.
    pub fn digest(&self) -> Digest {
        let revision = self.revision.map(i32::to_be_bytes);
        CanonicalHash::new("tollgate decision 1")
            .field(self.tenant.as_bytes())
            .field(self.id.as_bytes())
            .field(self.client.as_bytes())
            .field(self.key.as_bytes())
            .field(self.request_hash)
            .field(self.origin.as_bytes())
            .field(self.outcome.as_bytes())
            .field(&self.received_at_ms.to_be_bytes())
            .optional_field(revision.as_ref().map(|number| number.as_slice()))
            .field(&self.amount_minor.to_be_bytes())
            .field(self.currency.as_bytes())
            .field(self.method.as_bytes())
            .field(&self.payload_version.to_be_bytes())
            .field(self.payload_digest)
            .finish()
    }
}

/// Computed from the columns only, so that an erased decision can still be verified.
pub fn decision_digest(decision: &Decision, version: i16, payload_digest: &Digest) -> Digest {
    let payment = &decision.evidence.payment;
    let currency = payment.order.amount.currency();
    let columns = DigestedColumns {
        tenant: decision.tenant.0,
        id: payment.id.0,
        client: decision.client.0,
        key: decision.key.as_str(),
        request_hash: &decision.request_hash.0,
        origin: decision.origin.name(),
        outcome: decision.outcome.name(),
        received_at_ms: bigint(payment.received_at_ms),
        revision: decision.evidence.revision.map(|revision| revision.number),
        amount_minor: payment.order.amount.minor(),
        currency: currency.code(),
        method: payment.order.method.name(),
        payload_version: version,
        payload_digest: &payload_digest.0,
    };
    columns.digest()
}

#[cfg(test)]
mod tests;
