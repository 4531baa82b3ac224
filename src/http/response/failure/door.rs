//! Maps what the door refuses, and bodies that did not arrive, to problems.

use std::io;

use crate::door::{BodyError, Refusal};
use crate::http::response::problem::{PartError, Problem, ProblemKind};

impl From<&Refusal> for Problem {
    fn from(refusal: &Refusal) -> Self {
        let kind = match refusal {
            Refusal::Field { name: "Idempotency-Key", .. } => ProblemKind::InvalidIdempotencyKey,
            Refusal::Malformed(_) | Refusal::Field { .. } => ProblemKind::MalformedRequest,
            Refusal::TransferCoding | Refusal::UnknownMethod => ProblemKind::NotImplemented,
            Refusal::Expectation => ProblemKind::ExpectationFailed,
            Refusal::Version => ProblemKind::HttpVersionNotSupported,
            Refusal::TargetTooLong { .. } => ProblemKind::UriTooLong,
            Refusal::HeadTooLarge { .. } => ProblemKind::HeadTooLarge,
            Refusal::HeadTooSlow | Refusal::BodyTooSlow => ProblemKind::RequestTimeout,
            Refusal::GaveWay => ProblemKind::Busy,
        };
        let detail = refusal.detail();
        let blamed = refusal.field().map(|name| PartError {
            pointer: None,
            parameter: Some(name.to_owned()),
            detail: detail.clone().into_owned(),
        });
        Self::with_errors(kind, detail, blamed.into_iter().collect())
    }
}

impl From<BodyError> for Problem {
    fn from(error: BodyError) -> Self {
        match error {
            BodyError::TooSlow => Self::from(&Refusal::BodyTooSlow),
            BodyError::GaveWay => Self::from(&Refusal::GaveWay),
            BodyError::CutOff => {
                let detail = "The connection closed before the body was complete.";
                Self::new(ProblemKind::MalformedRequest, detail)
            }
            BodyError::TooLarge => Self::new(ProblemKind::BodyTooLarge, "The body is too large."),
        }
    }
}

/// The body could not be read to its end.
pub(super) fn not_received(error: &io::Error) -> Problem {
    let told = error.get_ref().and_then(|inner| inner.downcast_ref::<BodyError>());
    told.copied().unwrap_or(BodyError::CutOff).into()
}
