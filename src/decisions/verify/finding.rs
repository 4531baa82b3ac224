//! The flaws that a verification can find.
//!
//! A finding names places and ids, and must never contain values of a payment.

use thiserror::Error;
use uuid::Uuid;

use crate::domain::tenant::TenantId;
use crate::domain::time::Month;

/// One flaw and where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    pub writer: Option<Uuid>,
    pub sequence: Option<i64>,
    pub decision: Option<Uuid>,
    pub flaw: IntegrityFlaw,
}

#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum IntegrityFlaw {
    #[error("unregistered writer: it has batches but was never registered")]
    UnknownWriter,
    #[error("unexpected batch: its number is below that of the first batch")]
    BeforeTheFirst,
    #[error("batches removed: {first} to {last} are missing")]
    BatchesMissing { first: i64, last: i64 },
    #[error("the batch does not link to batch {before}: one of the two was changed")]
    NotChained { before: i64 },
    #[error("the batch was changed: its hash does not match its fields")]
    BatchChanged,
    #[error("the batch does not name as many decisions as it has digests")]
    IdsChanged,
    #[error("decision removed: position {position} is empty")]
    DecisionMissing { position: usize },
    #[error("inserted, or its batch removed: the batch does not exist")]
    NoSuchBatch,
    #[error("inserted: its batch has no position {position}")]
    NoSuchPosition { position: i32 },
    #[error("inserted or moved: another decision is at position {position} of its batch")]
    PositionTaken { position: i32 },
    #[error("changed: its columns do not match the digest in its batch")]
    Changed,
    #[error("changed: its digest does not match its columns")]
    DigestChanged,
    #[error("swapped: it is at position {position} but belongs at {belongs}")]
    Swapped { position: usize, belongs: usize },
    #[error("swapped or inserted: its batch has another decision at position {position}")]
    AnotherDecision { position: usize },
    #[error("payload changed: it does not match its digest")]
    PayloadChanged,
    #[error("the payload cannot be read")]
    PayloadUnreadable,
    #[error("partially erased: some of payload, salt and reference are left")]
    PartlyErased,
    #[error("the column {column} does not match the payload")]
    Disagrees { column: &'static str },
    #[error("its key was removed")]
    Keyless,
    #[error("its key was redirected: it now refers to {bound_to}")]
    KeyOfAnother { bound_to: Uuid },
    #[error("its key has a different request hash")]
    KeyRequestHash,
    #[error("the key {key:?} of client {client} refers to this decision, which does not exist")]
    KeyWithoutDecision { client: Uuid, key: String },
    #[error("the key {key:?} of client {client} refers to this decision, which belongs to another key")]
    KeyDoesNotFit { client: Uuid, key: String },
    #[error("{origin} is not a checkpoint")]
    NoCheckpoint { origin: String },
    #[error("forged: the checkpoint {origin} was not signed by this installation")]
    Forged { origin: String },
    #[error("cut off: a checkpoint from {at_ms} ms covers this batch, but {}", last_stored(.last))]
    CutOff { at_ms: u64, last: Option<i64> },
    #[error("batch removed: a checkpoint from {at_ms} ms covers it")]
    SignedBatchMissing { at_ms: u64 },
    #[error(
        "the record {number} of decisions removed from {month} for the tenant {tenant} was changed or forged"
    )]
    RecordForged { tenant: TenantId, month: Month, number: i32 },
    #[error(
        "the record {number} of decisions removed from {month} for the tenant {tenant} is not as signed in {origin}"
    )]
    RecordNotAsSigned { origin: String, tenant: TenantId, month: Month, number: i32 },
    #[error("chain rewritten: a checkpoint from {at_ms} ms has a different hash for this batch")]
    NotAsSigned { at_ms: u64 },
}

fn last_stored(last: &Option<i64>) -> String {
    match last {
        Some(last) => format!("the last one stored is {last}"),
        None => "the writer has no batches".to_owned(),
    }
}

impl Finding {
    pub(super) fn of_writer(writer: Uuid, flaw: IntegrityFlaw) -> Self {
        Self { writer: Some(writer), sequence: None, decision: None, flaw }
    }

    pub(super) fn of_batch(writer: Uuid, sequence: i64, flaw: IntegrityFlaw) -> Self {
        Self { sequence: Some(sequence), ..Self::of_writer(writer, flaw) }
    }

    pub(super) fn of_decision(writer: Uuid, sequence: i64, decision: Uuid, flaw: IntegrityFlaw) -> Self {
        Self { decision: Some(decision), ..Self::of_batch(writer, sequence, flaw) }
    }

    pub(super) fn of_key(decision: Uuid, flaw: IntegrityFlaw) -> Self {
        Self { writer: None, sequence: None, decision: Some(decision), flaw }
    }

    pub(super) fn of_origin(flaw: IntegrityFlaw) -> Self {
        Self { writer: None, sequence: None, decision: None, flaw }
    }
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Some(writer) = self.writer {
            write!(f, "writer {writer} ")?;
        }
        if let Some(sequence) = self.sequence {
            write!(f, "batch {sequence} ")?;
        }
        if let Some(decision) = self.decision {
            write!(f, "decision {decision} ")?;
        }
        write!(f, "- {}", self.flaw)
    }
}
