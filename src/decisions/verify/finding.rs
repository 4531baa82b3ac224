//! What a verification can find.
//!
//! Owns the words for it. Must never show what a payment holds: a finding
//! names places and ids.

use thiserror::Error;
use uuid::Uuid;

use crate::storage::verification::Place;

/// One flaw and where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    pub writer: Option<Uuid>,
    pub sequence: Option<i64>,
    pub decision: Option<Uuid>,
    pub flaw: Flaw,
}

#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Flaw {
    #[error("the writer has written and is not registered")]
    UnknownWriter,
    #[error("the batch stands before the first")]
    BeforeTheFirst,
    #[error("batches removed: {first} to {last} are missing")]
    BatchesMissing { first: i64, last: i64 },
    #[error("the batch does not follow on batch {before}: one of the two was changed")]
    NotChained { before: i64 },
    #[error("the batch was changed: its hash is not that of its fields")]
    BatchChanged,
    #[error("decision removed: nothing stands at position {position}")]
    DecisionMissing { position: usize },
    #[error("put in, or its batch removed: there is no such batch")]
    NoSuchBatch,
    #[error("put in: its batch has no position {position}")]
    NoSuchPosition { position: i32 },
    #[error("put in: another decision stands at position {position} of its batch")]
    PositionTaken { position: usize },
    #[error("changed: its columns do not give the digest that its batch has")]
    Changed,
    #[error("changed: its digest is not that of its columns")]
    DigestChanged,
    #[error("swapped: it stands at position {position} and belongs at {belongs}")]
    Swapped { position: usize, belongs: usize },
    #[error("swapped or put in: its batch has another decision at position {position}")]
    AnotherDecision { position: usize },
    #[error("the payload was changed: it does not give its digest")]
    PayloadChanged,
    #[error("the payload cannot be read")]
    PayloadUnreadable,
    #[error("erased in part: of payload, salt and reference some are left")]
    PartlyErased,
    #[error("the column {column} is not what the payload says")]
    Disagrees { column: &'static str },
    #[error("its key was removed")]
    Keyless,
    #[error("its key was re-pointed: it is bound to {bound_to}")]
    KeyOfAnother { bound_to: Uuid },
    #[error("its key has another request hash")]
    KeyRequestHash,
    #[error("the key {key:?} of client {client} names this decision, which is not there")]
    KeyWithoutDecision { client: Uuid, key: String },
    #[error("the key {key:?} of client {client} names this decision, which is not of that key")]
    KeyDoesNotFit { client: Uuid, key: String },
    #[error("{origin} is no checkpoint")]
    NoCheckpoint { origin: String },
    #[error("forged: the checkpoint of {origin} does not have the signature of this installation")]
    Forged { origin: String },
    #[error("cut off: a checkpoint of {at_ms} ms names this batch, {}", last_stored(.last))]
    CutOff { at_ms: u64, last: Option<i64> },
    #[error("batch removed: a checkpoint of {at_ms} ms names it")]
    SignedBatchMissing { at_ms: u64 },
    #[error("the chain was written anew: a checkpoint of {at_ms} ms has another hash for this batch")]
    NotAsSigned { at_ms: u64 },
}

fn last_stored(last: &Option<i64>) -> String {
    match last {
        Some(last) => format!("the last one stored is {last}"),
        None => "and the writer has none".to_owned(),
    }
}

impl Finding {
    pub(super) fn of_writer(writer: Uuid, flaw: Flaw) -> Self {
        Self { writer: Some(writer), sequence: None, decision: None, flaw }
    }

    pub(super) fn of_batch(writer: Uuid, sequence: i64, flaw: Flaw) -> Self {
        Self { sequence: Some(sequence), ..Self::of_writer(writer, flaw) }
    }

    pub(super) fn of_decision(writer: Uuid, place: &Place, flaw: Flaw) -> Self {
        Self { decision: Some(place.id), ..Self::of_batch(writer, place.sequence, flaw) }
    }

    pub(super) fn of_key(decision: Uuid, flaw: Flaw) -> Self {
        Self { writer: None, sequence: None, decision: Some(decision), flaw }
    }

    pub(super) fn of_origin(flaw: Flaw) -> Self {
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
