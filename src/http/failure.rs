//! What errors of lower rooms become: the one home of this mapping.
//!
//! Owns the decision which failure is which problem, and logs what is our
//! fault, once. Must never pass the text of a storage error on to a client.

use super::body::CUT_OFF;
use super::problem::{Kind, PartError, Problem};
use crate::decisions::diagnoses::DiagnosisError;
use crate::decisions::dry_run::DryRunError;
use crate::decisions::looks::LookError;
use crate::decisions::replay::ReplayError;
use crate::decisions::rulesets::{GuardedError, RevisionError};
use crate::decisions::spool::SpoolError;
use crate::decisions::submit::SubmitError;
use crate::decisions::uploads::UploadError;
use crate::domain::backtest::{GuardRefusal, PENDING_MAX};
use crate::rules::EngineError;
use crate::storage::StorageError;
use crate::storage::backtests::{CancelError, CreateError};
use crate::storage::lists::{AddError, CloseListError, CreateListError};
use crate::storage::payment_events::TellError;
use crate::storage::plugins::RetireError;
use crate::storage::rulesets::ActivateError;
use crate::storage::uploads::HandInError;

fn internal() -> Problem {
    Problem::new(Kind::Internal, "The failure is logged under the request id.")
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
                Self::new(Kind::Unavailable, "The database cannot be reached at the moment.")
            }
            StorageError::Abandoned => {
                tracing::warn!("database work was abandoned");
                Self::new(Kind::Unavailable, "The work was abandoned.")
            }
            StorageError::Database(_) if error.is_passing() => {
                tracing::warn!(?error, "the database gave up a statement");
                Self::new(Kind::Unavailable, "The database took too long.")
            }
            // The storage room's Debug leaves out what quotes a row.
            StorageError::Database(_) => {
                tracing::error!(?error, "the database refused a statement");
                internal()
            }
            StorageError::Erased => Self::new(Kind::Erased, "What is left of this decision is its outcome."),
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
            EngineError::Busy => Self::new(Kind::Busy, "Too many payments wait for their rules."),
            EngineError::Deadline(_) => Self::new(Kind::Deadline, "The rules did not finish in time."),
            EngineError::Unavailable(why) => {
                tracing::error!(why, "the rule engine cannot be reached");
                Self::new(Kind::Unavailable, "The rules cannot be run at the moment.")
            }
        }
    }
}

impl From<SubmitError> for Problem {
    fn from(error: SubmitError) -> Self {
        match error {
            SubmitError::KeyReused => {
                let detail = "This Idempotency-Key was used for a payment with another body.";
                Self::new(Kind::IdempotencyKeyReused, detail)
            }
            SubmitError::StillDeciding => {
                let detail = "The first request with this key is still being decided; repeat this one.";
                Self::new(Kind::StillDeciding, detail)
            }
            SubmitError::Busy => Self::new(Kind::Busy, "Too many payments are waiting to be decided."),
            SubmitError::Deadline => {
                let detail = "The deadline ended before the decision was stored; repeat with the same key.";
                Self::new(Kind::Deadline, detail)
            }
            SubmitError::Unavailable => {
                let detail = "The decision could not be made and stored for now; repeat with the same key.";
                Self::new(Kind::Unavailable, detail)
            }
            // Logged where it failed.
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
                    "The decision was imported: another system made it, so there is nothing to replay.";
                Self::new(Kind::Conflict, detail)
            }
            ReplayError::Engine(error) => error.into(),
            ReplayError::Storage(error) => error.into(),
        }
    }
}

impl From<DiagnosisError> for Problem {
    fn from(error: DiagnosisError) -> Self {
        match error {
            DiagnosisError::UnknownDecision => Self::not_found("decision"),
            DiagnosisError::NotFailed => Self::not_found("failure of a rule in this decision"),
            DiagnosisError::Look(LookError::Busy) => {
                Self::new(Kind::Busy, "Other failures are being looked into. Ask again in a moment.")
            }
            DiagnosisError::Look(LookError::Engine(error)) => error.into(),
            DiagnosisError::Look(LookError::Storage(error)) => error.as_ref().into(),
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

/// A member of the body names what is not there.
fn no_such(pointer: &str, detail: &str) -> Problem {
    let error = PartError { pointer: Some(pointer.to_owned()), parameter: None, detail: detail.to_owned() };
    Problem::with_errors(Kind::InvalidBody, "The body has errors.", vec![error])
}

impl From<RevisionError> for Problem {
    fn from(error: RevisionError) -> Self {
        match error {
            RevisionError::Invalid(flaws) => {
                let part = |flaw: crate::decisions::rulesets::Flaw| PartError {
                    pointer: Some(flaw.pointer),
                    parameter: None,
                    detail: flaw.detail,
                };
                let errors = flaws.into_iter().map(part).collect();
                Self::with_errors(Kind::InvalidBody, "The ruleset has flaws.", errors)
            }
            RevisionError::TooMany(most) => {
                let detail = format!(
                    "The ruleset has {most} revisions, and none is ever deleted: try rules that are not saved by \
                     dry runs, or have ruleset_revisions_max raised."
                );
                Self::new(Kind::QuotaExceeded, detail)
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
                let detail = "What is active is not what If-Match and If-None-Match ask for.";
                Self::new(Kind::PreconditionFailed, detail)
            }
            ActivateError::NothingBefore => {
                Self::new(Kind::Conflict, "No revision was active before the present one.")
            }
            ActivateError::NeverActive => {
                Self::new(Kind::Conflict, "The revision was never active: activate it instead.")
            }
            ActivateError::NothingActive => {
                Self::new(Kind::Conflict, "Nothing is active yet that it could stand beside.")
            }
            ActivateError::AlreadyActive => {
                Self::new(Kind::Conflict, "The revision is the active one already.")
            }
            ActivateError::PluginRetired { plugin } => {
                let detail = format!("The revision uses the plugin {plugin}, which is retired.");
                Self::new(Kind::Conflict, detail)
            }
            ActivateError::ListClosed { list } => {
                let detail = format!("The revision asks about the list {list}, which is closed.");
                Self::new(Kind::Conflict, detail)
            }
            ActivateError::PluginNotReady { plugin, node, why } => {
                let why = why.map_or_else(String::new, |why| format!(" {why}"));
                let detail = format!("The node {node} has not got the plugin {plugin} ready.{why}");
                Self::new(Kind::PluginsNotReady, detail)
            }
            ActivateError::Storage(error) => error.into(),
        }
    }
}

impl From<GuardedError> for Problem {
    fn from(error: GuardedError) -> Self {
        let refused = |detail: &'static str| Self::new(Kind::GuardRefused, detail);
        match error {
            GuardedError::Activate(error) => error.into(),
            GuardedError::Refused(refusal) => match refusal {
                GuardRefusal::Unknown => no_such("/guard/backtest", "there is no such backtest"),
                GuardRefusal::OfAnotherRevision => refused("The backtest is of another revision."),
                GuardRefusal::ComparedWithItself => {
                    refused("The backtest compared the revision with itself.")
                }
                GuardRefusal::NotFinished => refused("The backtest is not finished."),
                GuardRefusal::ComparedNothing => refused("The backtest compared no decision at all."),
                GuardRefusal::ChangedTooMuch { changed, compared } => {
                    let percent = changed as f64 * 100.0 / compared as f64;
                    let detail = format!(
                        "The backtest changed {percent:.4} percent of the outcomes: {changed} of {compared}."
                    );
                    Self::new(Kind::GuardRefused, detail)
                }
            },
        }
    }
}

impl From<CreateError> for Problem {
    fn from(error: CreateError) -> Self {
        match error {
            CreateError::UnknownRevision => {
                no_such("/revision", "there is no such revision of this decision point")
            }
            CreateError::UnknownBaseline => {
                no_such("/baseline_revision", "there is no such revision of this decision point")
            }
            CreateError::NothingActive => no_such("/baseline", "nothing is active to compare with"),
            CreateError::TooMany => {
                let detail = format!("At most {PENDING_MAX} backtests wait or run at a time.");
                Self { retry_after_seconds: Some(10), ..Self::new(Kind::QuotaExceeded, detail) }
            }
            CreateError::Storage(error) => error.into(),
        }
    }
}

impl From<CancelError> for Problem {
    fn from(error: CancelError) -> Self {
        match error {
            CancelError::NotFound => Self::not_found("backtest"),
            CancelError::Ended => Self::new(Kind::Conflict, "The backtest has ended already."),
            CancelError::Storage(error) => error.into(),
        }
    }
}

impl From<CreateListError> for Problem {
    fn from(error: CreateListError) -> Self {
        match error {
            CreateListError::NameTaken => Self::new(Kind::Conflict, "There is a list of this name."),
            CreateListError::TooMany(most) => {
                let detail = format!(
                    "This tenant has {most} lists already: close those that are not used, or have \
                     tenant_lists_max raised."
                );
                Self::new(Kind::QuotaExceeded, detail)
            }
            CreateListError::TooManyKept(most) => {
                let detail = format!(
                    "This tenant has {most} lists already with those that are closed, which are kept for good: \
                     put entries on the lists there are, or have tenant_lists_max raised, to which this is ten \
                     times as many."
                );
                Self::new(Kind::QuotaExceeded, detail)
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
                    "The revision {revision} is deployed and asks about the list: deploy another first."
                );
                Self::new(Kind::Conflict, detail)
            }
            CloseListError::Storage(error) => error.into(),
        }
    }
}

impl From<AddError> for Problem {
    fn from(error: AddError) -> Self {
        match error {
            AddError::UnknownList => Self::not_found("list"),
            AddError::Closed => Self::new(Kind::Conflict, "The list is closed: it takes no entries."),
            AddError::AlreadyOpen => {
                Self::new(Kind::Conflict, "The value is on the list already: close that entry first.")
            }
            AddError::TooMany(most) => {
                let detail = format!(
                    "A list has at most {most} entries that have not ended, and nothing was added: close those \
                     that are not needed, put the others on a further list, or have list_entries_max raised."
                );
                Self::new(Kind::QuotaExceeded, detail)
            }
            AddError::TooManyKept(most) => {
                let detail = format!(
                    "A list keeps at most {most} entries with those that are closed or have ended, and nothing \
                     was added: go on with a further list, or have list_entries_max raised, to which this is ten \
                     times as many."
                );
                Self::new(Kind::QuotaExceeded, detail)
            }
            AddError::Storage(error) => error.into(),
        }
    }
}

impl From<TellError> for Problem {
    fn from(error: TellError) -> Self {
        match error {
            TellError::UnknownPayment => Self::not_found("payment"),
            TellError::BeforePayment { received_at_ms } => {
                let detail = format!("is before the payment was received, at {received_at_ms}");
                let error = PartError { pointer: Some("/at_ms".to_owned()), parameter: None, detail };
                Self::with_errors(Kind::InvalidBody, "The body has errors.", vec![error])
            }
            TellError::TooMany(most) => {
                let detail = format!(
                    "{most} events of this payment are told already, and none is ever deleted: tell the one that \
                     matters last instead of every step, or have payment_events_max raised."
                );
                Self::new(Kind::QuotaExceeded, detail)
            }
            TellError::Storage(error) => error.into(),
        }
    }
}

impl From<SpoolError> for Problem {
    fn from(error: SpoolError) -> Self {
        match error {
            SpoolError::Receive(_) => Self::new(Kind::MalformedRequest, CUT_OFF),
            SpoolError::Keep(error) => {
                tracing::error!(%error, "an upload cannot be written to disk while it is received");
                Self::new(Kind::Unavailable, "The plugin cannot be received at the moment.")
            }
        }
    }
}

impl From<UploadError> for Problem {
    fn from(error: UploadError) -> Self {
        match error {
            UploadError::Refused(why) => Self::new(Kind::PluginRefused, why),
            UploadError::DigestMismatch { actual } => {
                let detail = format!("The bytes have the SHA-256 {actual}, not the one announced.");
                Self::new(Kind::DigestMismatch, detail)
            }
            UploadError::Spool(error) => error.into(),
            UploadError::HandIn(HandInError::TooManyWaiting(most)) => {
                let detail =
                    format!("{most} plugins of this tenant wait already: let them be taken in first.");
                Self { retry_after_seconds: Some(2), ..Self::new(Kind::QuotaExceeded, detail) }
            }
            UploadError::HandIn(HandInError::TooManyPlugins(most)) => {
                let detail = format!("This tenant has {most} plugins already: retire what is not used.");
                Self::new(Kind::QuotaExceeded, detail)
            }
            UploadError::HandIn(HandInError::TooManyStored(most)) => {
                let detail = format!("This tenant has {most} plugins already, and retired ones count here.");
                Self::new(Kind::QuotaExceeded, detail)
            }
            UploadError::HandIn(HandInError::Storage(error)) | UploadError::Storage(error) => error.into(),
        }
    }
}

impl From<RetireError> for Problem {
    fn from(error: RetireError) -> Self {
        match error {
            RetireError::Unknown => Self::not_found("plugin"),
            RetireError::Shared => {
                Self::new(Kind::Conflict, "The plugin is shared by all tenants: none of them can retire it.")
            }
            RetireError::InUse { revision } => {
                let detail = format!("The revision {revision} is deployed and uses the plugin.");
                Self::new(Kind::Conflict, detail)
            }
            RetireError::Storage(error) => error.into(),
        }
    }
}
