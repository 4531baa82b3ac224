//! Maps errors of lower rooms to problems, and logs those that are the server's fault.
//!
//! Must never pass the text of a storage error on to a client: it may quote stored data.

mod door;
pub mod people;
mod reviews;
mod tables;

use crate::decisions::diagnoses::DiagnosisError;
use crate::decisions::diagnoses::recorded_failure::RecordedFailureError;
use crate::decisions::dry_run::DryRunError;
use crate::decisions::replay::ReplayError;
use crate::decisions::rulesets::{GuardedActivationError, RevisionError};
use crate::decisions::search_index::SearchError;
use crate::decisions::spool::SpoolError;
use crate::decisions::submit::SubmitError;
use crate::decisions::uploads::UploadError;
use crate::domain::backtest::{GuardRefusal, PENDING_MAX};
use crate::http::response::problem::{PartError, Problem, ProblemKind};
use crate::rules::EngineError;
use crate::storage::StorageError;
use crate::storage::backtests::{CancelBacktestError, CreateBacktestError};
use crate::storage::erasures::EraseError;
use crate::storage::lists::{AddEntryError, CloseListError, CreateListError};
use crate::storage::payment_events::RecordEventError;
use crate::storage::plugins::RetireError;
use crate::storage::rulesets::ActivateError;
use crate::storage::series::SERIES_MAX;
use crate::storage::uploads::NewUploadError;

fn internal() -> Problem {
    Problem::new(ProblemKind::Internal, "The cause is logged under this request id.")
}

fn erased() -> Problem {
    let detail = "Only the outcome of this decision is left; its personal data has been erased.";
    Problem::new(ProblemKind::Erased, detail)
}

impl From<StorageError> for Problem {
    fn from(error: StorageError) -> Self {
        Self::from(&error)
    }
}

impl From<&StorageError> for Problem {
    fn from(error: &StorageError) -> Self {
        match error {
            StorageError::Unavailable(_) => {
                tracing::warn!(?error, "the database cannot be reached");
                Self::new(ProblemKind::Unavailable, "The database cannot be reached at the moment.")
            }
            StorageError::Abandoned => {
                tracing::warn!("a database query was cancelled");
                Self::new(ProblemKind::Unavailable, "The request was cancelled.")
            }
            StorageError::Database(_) if error.is_passing() => {
                tracing::warn!(?error, "the database did not finish a statement in time");
                Self::new(ProblemKind::Unavailable, "The database took too long.")
            }
            // The Debug of a storage error leaves out texts that quote a row.
            StorageError::Database(_) => {
                tracing::error!(?error, "the database rejected a statement");
                internal()
            }
            StorageError::Erased => erased(),
            StorageError::ProposalDecided => people::decided_meanwhile(),
            StorageError::Unreadable { what } => {
                tracing::error!(what, "stored data cannot be read");
                internal()
            }
        }
    }
}

impl From<EngineError> for Problem {
    fn from(error: EngineError) -> Self {
        match error {
            EngineError::Busy => {
                Self::new(ProblemKind::Busy, "Too many payments are waiting for their rules.")
            }
            EngineError::Deadline(_) => Self::new(ProblemKind::Deadline, "The rules did not finish in time."),
            EngineError::Unavailable(why) => {
                tracing::error!(why, "the rule engine is unavailable");
                Self::new(ProblemKind::Unavailable, "The rules cannot be run at the moment.")
            }
        }
    }
}

impl From<SubmitError> for Problem {
    fn from(error: SubmitError) -> Self {
        match error {
            SubmitError::KeyReused => {
                let detail = "This Idempotency-Key was already used for a payment with a different body.";
                Self::new(ProblemKind::IdempotencyKeyReused, detail)
            }
            SubmitError::StillDeciding => {
                let detail = "The first request with this key is still being processed. Repeat this request \
                              later.";
                Self::new(ProblemKind::StillDeciding, detail)
            }
            SubmitError::Erased => erased(),
            SubmitError::Busy => Self::new(ProblemKind::Busy, "Too many payments are waiting to be decided."),
            SubmitError::Deadline => {
                let detail = "The deadline passed before the decision was stored. Repeat the request with \
                              the same key.";
                Self::new(ProblemKind::Deadline, detail)
            }
            SubmitError::Unavailable => {
                let detail = "The decision could not be made and stored. Repeat the request with the same \
                              key.";
                Self::new(ProblemKind::Unavailable, detail)
            }
            // Already logged where it failed.
            SubmitError::Failed => internal(),
        }
    }
}

impl From<ReplayError> for Problem {
    fn from(error: ReplayError) -> Self {
        match error {
            ReplayError::NotFound => Self::not_found("decision"),
            ReplayError::Imported => {
                let detail =
                    "The decision was imported. It was made by another system and cannot be replayed.";
                Self::new(ProblemKind::Conflict, detail)
            }
            ReplayError::Engine(error) => error.into(),
            ReplayError::Storage(error) => error.into(),
        }
    }
}

impl From<SearchError> for Problem {
    fn from(error: SearchError) -> Self {
        match error {
            SearchError::Building(progress) => {
                let percent = progress.indexed.saturating_mul(100) / progress.total.max(1);
                let detail = format!(
                    "{percent} % of the payments from before the last upgrade can be searched so far."
                );
                Self::new(ProblemKind::SearchIndexBuilding, detail)
            }
            SearchError::Storage(error) => error.into(),
        }
    }
}

impl From<RecordedFailureError> for Problem {
    fn from(error: RecordedFailureError) -> Self {
        match error {
            RecordedFailureError::UnknownDecision => Self::not_found("decision"),
            RecordedFailureError::NotFailed => Self::not_found("failed rule in this decision"),
            RecordedFailureError::Diagnosis(DiagnosisError::Busy) => {
                Self::new(ProblemKind::Busy, "Other failures are being diagnosed. Try again in a moment.")
            }
            RecordedFailureError::Diagnosis(DiagnosisError::Engine(error)) => error.into(),
            RecordedFailureError::Diagnosis(DiagnosisError::Storage(error)) => error.as_ref().into(),
        }
    }
}

impl From<EraseError> for Problem {
    fn from(error: EraseError) -> Self {
        match error {
            EraseError::UnknownPayment => Self::not_found("decision"),
            EraseError::Storage(error) => error.into(),
        }
    }
}

impl From<DryRunError> for Problem {
    fn from(error: DryRunError) -> Self {
        match error {
            DryRunError::UnknownRevision => no_such("/revision", "there is no such revision"),
            DryRunError::UnknownPayment => no_such("/payment_id", "there is no such payment"),
            DryRunError::Revision(error) => error.into(),
            DryRunError::Engine(error) => error.into(),
            DryRunError::Storage(error) => error.into(),
        }
    }
}

/// A member of the body refers to something that does not exist.
fn no_such(pointer: &str, detail: &str) -> Problem {
    let error = PartError { pointer: Some(pointer.to_owned()), parameter: None, detail: detail.to_owned() };
    Problem::with_errors(ProblemKind::InvalidBody, "The body has errors.", vec![error])
}

impl From<RevisionError> for Problem {
    fn from(error: RevisionError) -> Self {
        match error {
            RevisionError::Invalid(flaws) => {
                let part = |flaw: crate::decisions::query_checks::RulesetFlaw| PartError {
                    pointer: Some(flaw.pointer),
                    parameter: None,
                    detail: flaw.detail,
                };
                let errors = flaws.into_iter().map(part).collect();
                Self::with_errors(ProblemKind::InvalidBody, "The ruleset is invalid.", errors)
            }
            RevisionError::TooMany(most) => {
                let detail = format!(
                    "The ruleset already has {most} revisions, the maximum, and revisions are never deleted. \
                     Test unsaved rules with dry runs instead, or ask the operator to raise \
                     ruleset_revisions_max."
                );
                Self::new(ProblemKind::QuotaExceeded, detail)
            }
            RevisionError::Engine(error) => error.into(),
            RevisionError::Storage(error) => error.into(),
        }
    }
}

impl From<ActivateError> for Problem {
    fn from(error: ActivateError) -> Self {
        match error {
            ActivateError::UnknownRevision => {
                no_such("/revision", "there is no such revision of this decision point")
            }
            ActivateError::Conflict { .. } => {
                let detail = "The active state does not match If-Match or If-None-Match.";
                Self::new(ProblemKind::PreconditionFailed, detail)
            }
            ActivateError::NothingBefore => {
                Self::new(ProblemKind::Conflict, "No revision was active before the current one.")
            }
            ActivateError::NeverActive => {
                Self::new(ProblemKind::Conflict, "This revision was never active. Activate it instead.")
            }
            ActivateError::NothingActive => {
                Self::new(ProblemKind::Conflict, "No revision is active yet. Activate one first.")
            }
            ActivateError::AlreadyActive => {
                Self::new(ProblemKind::Conflict, "The revision is already the active one.")
            }
            ActivateError::PluginRetired { plugin } => {
                let detail = format!("The revision uses the plugin {plugin}, which is retired.");
                Self::new(ProblemKind::Conflict, detail)
            }
            ActivateError::Closed(closed) => {
                let detail = format!("The revision uses {closed}, which is closed.");
                Self::new(ProblemKind::Conflict, detail)
            }
            ActivateError::PluginNotReady { plugin, node, why } => {
                let why = why.map_or_else(String::new, |why| format!(" {why}"));
                let detail = format!("The node {node} is not ready to run the plugin {plugin}.{why}");
                Self::new(ProblemKind::PluginsNotReady, detail)
            }
            ActivateError::FactsNotReady { reached_ms } => {
                let detail = match reached_ms {
                    Some(reached_ms) => format!(
                        "The revision asks about earlier payments in a new way. They are being prepared, \
                         and done up to received_at_ms {reached_ms}."
                    ),
                    None => "The revision asks about earlier payments in a new way. They are being prepared."
                        .to_owned(),
                };
                Self::new(ProblemKind::FactsNotReady, detail)
            }
            ActivateError::TooManySeries => {
                let detail = format!(
                    "The rulesets of the tenant ask about earlier payments in more than {SERIES_MAX} ways."
                );
                Self::new(ProblemKind::Conflict, detail)
            }
            ActivateError::Storage(error) => error.into(),
        }
    }
}

impl From<GuardedActivationError> for Problem {
    fn from(error: GuardedActivationError) -> Self {
        let refused = |detail: &'static str| Self::new(ProblemKind::GuardRefused, detail);
        match error {
            GuardedActivationError::Activate(error) => error.into(),
            GuardedActivationError::Refused(refusal) => match refusal {
                GuardRefusal::Unknown => no_such("/guard/backtest", "there is no such backtest"),
                GuardRefusal::OfAnotherRevision => refused("The backtest tested a different revision."),
                GuardRefusal::ComparedWithItself => {
                    refused("The backtest compared the revision with itself.")
                }
                GuardRefusal::NotFinished => refused("The backtest has not finished."),
                GuardRefusal::ComparedNothing => refused("The backtest did not compare any decision."),
                GuardRefusal::ChangedTooMuch { changed, compared } => {
                    let percent = changed as f64 * 100.0 / compared as f64;
                    let detail = format!(
                        "In the backtest, {percent:.4} percent of the outcomes changed: {changed} of \
                         {compared}."
                    );
                    Self::new(ProblemKind::GuardRefused, detail)
                }
            },
        }
    }
}

impl From<CreateBacktestError> for Problem {
    fn from(error: CreateBacktestError) -> Self {
        match error {
            CreateBacktestError::UnknownRevision => {
                no_such("/revision", "there is no such revision of this decision point")
            }
            CreateBacktestError::UnknownBaseline => {
                no_such("/baseline_revision", "there is no such revision of this decision point")
            }
            CreateBacktestError::NothingActive => {
                no_such("/baseline", "there is no active revision to compare with")
            }
            CreateBacktestError::TooMany => {
                let detail = format!("At most {PENDING_MAX} backtests can be waiting or running at a time.");
                Self { retry_after_seconds: Some(10), ..Self::new(ProblemKind::QuotaExceeded, detail) }
            }
            CreateBacktestError::Storage(error) => error.into(),
        }
    }
}

impl From<CancelBacktestError> for Problem {
    fn from(error: CancelBacktestError) -> Self {
        match error {
            CancelBacktestError::NotFound => Self::not_found("backtest"),
            CancelBacktestError::Ended => Self::new(ProblemKind::Conflict, "The backtest has already ended."),
            CancelBacktestError::Storage(error) => error.into(),
        }
    }
}

impl From<CreateListError> for Problem {
    fn from(error: CreateListError) -> Self {
        match error {
            CreateListError::NameTaken => {
                Self::new(ProblemKind::Conflict, "A list with this name already exists.")
            }
            CreateListError::TooMany(most) => {
                let detail = format!(
                    "This tenant already has {most} open lists, the maximum. Close lists that are no longer \
                     used, or ask the operator to raise tenant_lists_max."
                );
                Self::new(ProblemKind::QuotaExceeded, detail)
            }
            CreateListError::TooManyKept(most) => {
                let detail = format!(
                    "This tenant already has {most} lists, counting closed lists, which are kept forever. \
                     That is the maximum: ten times tenant_lists_max. Reuse existing lists, or ask the \
                     operator to raise tenant_lists_max."
                );
                Self::new(ProblemKind::QuotaExceeded, detail)
            }
            CreateListError::Storage(error) => error.into(),
        }
    }
}

impl From<CloseListError> for Problem {
    fn from(error: CloseListError) -> Self {
        match error {
            CloseListError::Unknown => Self::not_found("open list"),
            CloseListError::InUse { revision } => {
                let detail = format!(
                    "The revision {revision} is deployed and uses the list. Deploy another revision first."
                );
                Self::new(ProblemKind::Conflict, detail)
            }
            CloseListError::Storage(error) => error.into(),
        }
    }
}

impl From<AddEntryError> for Problem {
    fn from(error: AddEntryError) -> Self {
        match error {
            AddEntryError::UnknownList => Self::not_found("list"),
            AddEntryError::Closed => {
                Self::new(ProblemKind::Conflict, "The list is closed and accepts no more entries.")
            }
            AddEntryError::AlreadyOpen => {
                Self::new(ProblemKind::Conflict, "The value is already on the list. Close that entry first.")
            }
            AddEntryError::TooMany(most) => {
                let detail = format!(
                    "A list can have at most {most} entries that have not ended. Nothing was added. Close \
                     entries that are no longer needed, put the others on another list, or ask the operator \
                     to raise list_entries_max."
                );
                Self::new(ProblemKind::QuotaExceeded, detail)
            }
            AddEntryError::TooManyKept(most) => {
                let detail = format!(
                    "A list can hold at most {most} entries, counting closed and ended ones: ten times \
                     list_entries_max. Nothing was added. Continue with another list, or ask the operator to \
                     raise list_entries_max."
                );
                Self::new(ProblemKind::QuotaExceeded, detail)
            }
            AddEntryError::Storage(error) => error.into(),
        }
    }
}

impl From<RecordEventError> for Problem {
    fn from(error: RecordEventError) -> Self {
        match error {
            RecordEventError::UnknownPayment => Self::not_found("payment"),
            RecordEventError::BeforePayment { received_at_ms } => {
                let detail = format!("is earlier than the payment was received, at {received_at_ms}");
                let error = PartError { pointer: Some("/at_ms".to_owned()), parameter: None, detail };
                Self::with_errors(ProblemKind::InvalidBody, "The body has errors.", vec![error])
            }
            RecordEventError::TooMany(most) => {
                let detail = format!(
                    "This payment already has {most} events, the maximum, and events are never deleted. \
                     Report only the final event instead of every step, or ask the operator to raise \
                     payment_events_max."
                );
                Self::new(ProblemKind::QuotaExceeded, detail)
            }
            RecordEventError::Storage(error) => error.into(),
        }
    }
}

impl From<SpoolError> for Problem {
    fn from(error: SpoolError) -> Self {
        match error {
            SpoolError::Receive(error) => door::not_received(&error),
            SpoolError::Keep(error) => {
                tracing::error!(%error, "a received upload could not be written to disk");
                Self::new(
                    ProblemKind::Unavailable,
                    "The server could not store the body. Send it again later.",
                )
            }
        }
    }
}

impl From<UploadError> for Problem {
    fn from(error: UploadError) -> Self {
        match error {
            UploadError::Refused(why) => Self::new(ProblemKind::PluginRefused, why),
            UploadError::DigestMismatch { actual } => {
                let detail = format!("The body has the SHA-256 {actual}, which is not the announced one.");
                Self::new(ProblemKind::DigestMismatch, detail)
            }
            UploadError::Spool(error) => error.into(),
            UploadError::NewUpload(NewUploadError::TooManyWaiting(most)) => {
                let detail = format!(
                    "{most} plugins of this tenant are already waiting. Wait until they are processed."
                );
                Self { retry_after_seconds: Some(2), ..Self::new(ProblemKind::QuotaExceeded, detail) }
            }
            UploadError::NewUpload(NewUploadError::TooManyPlugins(most)) => {
                let detail = format!(
                    "This tenant already has {most} plugins, the maximum. Retire plugins that are no longer \
                     used."
                );
                Self::new(ProblemKind::QuotaExceeded, detail)
            }
            UploadError::NewUpload(NewUploadError::TooManyStored(most)) => {
                let detail = format!(
                    "This tenant already has {most} plugins, counting retired ones. That is the maximum."
                );
                Self::new(ProblemKind::QuotaExceeded, detail)
            }
            UploadError::NewUpload(NewUploadError::Storage(error)) | UploadError::Storage(error) => {
                error.into()
            }
        }
    }
}

impl From<RetireError> for Problem {
    fn from(error: RetireError) -> Self {
        match error {
            RetireError::Unknown => Self::not_found("plugin"),
            RetireError::Shared => Self::new(
                ProblemKind::Conflict,
                "The plugin is shared by all tenants. A tenant cannot retire it.",
            ),
            RetireError::InUse { revision } => {
                let detail = format!("The revision {revision} is deployed and uses the plugin.");
                Self::new(ProblemKind::Conflict, detail)
            }
            RetireError::Storage(error) => error.into(),
        }
    }
}
