//! Maps errors of reviews to problems. A conflict says who did what.

use crate::http::response::problem::{Problem, ProblemKind};
use crate::http::rfc3339::written;
use crate::storage::reviews::{ChangeReviewError, Claim, Conclusion};

impl From<ChangeReviewError> for Problem {
    fn from(error: ChangeReviewError) -> Self {
        match error {
            ChangeReviewError::Unknown => Self::not_found("review"),
            ChangeReviewError::Claimed(Claim { by, name, until_ms }) => {
                let who = named(name, &format!("user:{by}"));
                let detail = format!("{who} has claimed this review until {}.", moment(until_ms));
                Self::new(ProblemKind::Conflict, detail)
            }
            ChangeReviewError::Decided(Conclusion { outcome, by, name, at_ms, is_expired, .. }) => {
                let (outcome, at) = (outcome.name(), moment(at_ms));
                let detail = if is_expired {
                    format!("This review expired at {at}, with the outcome {outcome}.")
                } else {
                    let who = named(name, &by);
                    format!("{who} decided this review at {at}, with the outcome {outcome}.")
                };
                Self::new(ProblemKind::Conflict, detail)
            }
            ChangeReviewError::Storage(error) => error.into(),
        }
    }
}

fn moment(at_ms: u64) -> String {
    written(at_ms).unwrap_or_else(|| at_ms.to_string())
}

fn named(name: Option<String>, actor: &str) -> String {
    name.map_or_else(|| actor.to_owned(), |name| format!("{name} ({actor})"))
}
