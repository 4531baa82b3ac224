//! What the engine answers: runs of rules, prepared settings, diagnoses, and errors.

use prost::bytes::Bytes;

use super::{UnreadableMessage, engine_error, packed, profile_number, profile_of, run, unpacked};
use crate::domain::verdict::{self, Evaluation, FailureClass, RuleResult, Verdict};
use crate::rules::{self, EngineError, MissedDeadline, PrepareError, RuleRun};

/// The classes in the order of their numbers, which begin with 1.
const CLASSES: [FailureClass; 9] = FailureClass::ALL;

impl super::Run {
    fn of(run: &RuleRun) -> Self {
        let result = match &run.result {
            RuleResult::Ran(evaluation) => run::Result::Ran(super::Evaluation::of(evaluation)),
            RuleResult::Failed { class, detail } => run::Result::Failed(super::Failure::of(*class, detail)),
            RuleResult::Unavailable | RuleResult::Quarantined => {
                run::Result::Unavailable(super::Unavailable {})
            }
        };
        Self { result: Some(result), fuel_used: run.fuel_used, elapsed_us: run.elapsed_us }
    }

    fn read(self) -> Result<RuleRun, UnreadableMessage> {
        let result = match self.result.ok_or(UnreadableMessage("a run without a result"))? {
            run::Result::Ran(evaluation) => RuleResult::Ran(evaluation.read()?),
            run::Result::Failed(failure) => {
                let (class, detail) = failure.read()?;
                RuleResult::Failed { class, detail }
            }
            run::Result::Unavailable(_) => RuleResult::Unavailable,
        };
        Ok(RuleRun { result, fuel_used: self.fuel_used, elapsed_us: self.elapsed_us })
    }
}

impl super::Runs {
    pub fn of(runs: &[RuleRun]) -> Self {
        Self { runs: runs.iter().map(super::Run::of).collect() }
    }

    pub fn read(self) -> Result<Vec<RuleRun>, UnreadableMessage> {
        self.runs.into_iter().map(super::Run::read).collect()
    }
}

impl super::Evaluation {
    fn of(evaluation: &Evaluation) -> Self {
        let verdict = match evaluation.verdict {
            Verdict::Pass => super::Verdict::Pass,
            Verdict::Allow(_) => super::Verdict::Allow,
            Verdict::Review(_) => super::Verdict::Review,
            Verdict::Reject(_) => super::Verdict::Reject,
        };
        Self {
            verdict: verdict.into(),
            reasons: reasons(evaluation.verdict.reasons()),
            notes: evaluation.notes.clone(),
        }
    }

    fn read(self) -> Result<Evaluation, UnreadableMessage> {
        let reasons = read_reasons(self.reasons);
        let verdict = match super::Verdict::try_from(self.verdict) {
            Ok(super::Verdict::Pass) => Verdict::Pass,
            Ok(super::Verdict::Allow) => Verdict::Allow(reasons),
            Ok(super::Verdict::Review) => Verdict::Review(reasons),
            Ok(super::Verdict::Reject) => Verdict::Reject(reasons),
            Ok(super::Verdict::Unspecified) | Err(_) => return Err(UnreadableMessage("an unknown verdict")),
        };
        Ok(Evaluation { verdict, notes: self.notes })
    }
}

fn reasons(reasons: &[verdict::Reason]) -> Vec<super::Reason> {
    let message = |reason: &verdict::Reason| super::Reason {
        code: reason.code.clone(),
        message: reason.message.clone(),
        field: reason.field.clone(),
    };
    reasons.iter().map(message).collect()
}

fn read_reasons(reasons: Vec<super::Reason>) -> Vec<verdict::Reason> {
    let read = |super::Reason { code, message, field }| verdict::Reason { code, message, field };
    reasons.into_iter().map(read).collect()
}

fn class_number(class: FailureClass) -> i32 {
    let place = CLASSES.iter().position(|other| *other == class).unwrap_or_default();
    i32::try_from(place + 1).unwrap_or_default()
}

fn class_of(number: i32) -> Result<FailureClass, UnreadableMessage> {
    let place = usize::try_from(number).ok().and_then(|number| number.checked_sub(1));
    let class = place.and_then(|place| CLASSES.get(place).copied());
    class.ok_or(UnreadableMessage("an unknown class of failure"))
}

impl super::Failure {
    fn of(class: FailureClass, detail: &str) -> Self {
        Self { class: class_number(class), detail: detail.to_owned() }
    }

    fn read(self) -> Result<(FailureClass, String), UnreadableMessage> {
        Ok((class_of(self.class)?, self.detail))
    }
}

impl super::EngineError {
    pub fn of(error: &EngineError) -> Self {
        use engine_error::Error;
        let error = match error {
            EngineError::Busy => Error::Busy(super::Busy {}),
            EngineError::Deadline(missed) => Error::MissedDeadline(super::MissedDeadline {
                runs: missed.runs.iter().map(super::Run::of).collect(),
                running_ms: missed.running_ms,
                caused_by_tenant: missed.caused_by_tenant,
            }),
            EngineError::Unavailable(why) => Error::Unavailable(why.clone()),
        };
        Self { error: Some(error) }
    }

    pub fn read(self) -> Result<EngineError, UnreadableMessage> {
        use engine_error::Error;
        Ok(match self.error.ok_or(UnreadableMessage("an error without a kind"))? {
            Error::Busy(_) => EngineError::Busy,
            Error::MissedDeadline(missed) => EngineError::Deadline(MissedDeadline {
                runs: super::Runs { runs: missed.runs }.read()?,
                running_ms: missed.running_ms,
                caused_by_tenant: missed.caused_by_tenant,
            }),
            Error::Unavailable(why) => EngineError::Unavailable(why),
        })
    }
}

/// The result of one call.
pub type RulesetResult = Result<Vec<RuleRun>, EngineError>;

impl super::RulesetAnswer {
    pub fn of(number: u32, result: &RulesetResult) -> Self {
        use super::ruleset_answer::Result;
        let result = match result {
            Ok(runs) => Result::Runs(super::Runs::of(runs)),
            Err(error) => Result::Error(super::EngineError::of(error)),
        };
        Self { number, result: Some(result) }
    }

    pub fn read(self) -> Result<RulesetResult, UnreadableMessage> {
        use super::ruleset_answer::Result;
        Ok(match self.result.ok_or(UnreadableMessage("an answer without a result"))? {
            Result::Runs(runs) => Ok(runs.read()?),
            Result::Error(error) => Err(error.read()?),
        })
    }
}

impl super::EvaluateInBackgroundResponse {
    pub fn of(result: &Result<Vec<Vec<RuleRun>>, EngineError>) -> Self {
        use super::evaluate_in_background_response::Result;
        let result = match result {
            Ok(all) => Result::Runs(super::ListOfRuns {
                of_calls: all.iter().map(|runs| super::Runs::of(runs)).collect(),
            }),
            Err(error) => Result::Error(super::EngineError::of(error)),
        };
        Self { result: Some(result) }
    }

    /// The answer to so many calls.
    pub fn read(self, calls: usize) -> Result<Result<Vec<Vec<RuleRun>>, EngineError>, UnreadableMessage> {
        use super::evaluate_in_background_response::Result;
        Ok(match self.result.ok_or(UnreadableMessage("an answer without a result"))? {
            Result::Runs(all) if all.of_calls.len() != calls => {
                return Err(UnreadableMessage("an answer to another number of calls"));
            }
            Result::Runs(all) => {
                Ok(all.of_calls.into_iter().map(super::Runs::read).collect::<std::result::Result<_, _>>()?)
            }
            Result::Error(error) => Err(error.read()?),
        })
    }
}

impl super::PrepareResponse {
    pub fn of(result: &Result<rules::PreparedSettings, PrepareError>) -> Self {
        use super::prepare_response::Result;
        let result = match result {
            Ok(prepared) => Result::Prepared(super::PreparedSettings {
                profile: profile_number(prepared.profile),
                queries: packed(&prepared.queries),
                state: Bytes::copy_from_slice(&prepared.state),
            }),
            Err(PrepareError::Refused(why)) => Result::Refused(super::Refusal { reasons: reasons(why) }),
            Err(PrepareError::Failed { class, detail }) => Result::Failed(super::Failure::of(*class, detail)),
            Err(PrepareError::UnknownPlugin(_)) => Result::UnknownPlugin(super::UnknownPlugin {}),
            Err(PrepareError::Engine(error)) => Result::Error(super::EngineError::of(error)),
        };
        Self { result: Some(result) }
    }

    /// The answer about this plugin.
    pub fn read(
        self,
        plugin: crate::domain::plugin::Digest,
    ) -> Result<Result<rules::PreparedSettings, PrepareError>, UnreadableMessage> {
        use super::prepare_response::Result;
        Ok(match self.result.ok_or(UnreadableMessage("an answer without a result"))? {
            Result::Prepared(prepared) => Ok(rules::PreparedSettings {
                profile: profile_of(prepared.profile)?,
                queries: unpacked(&prepared.queries, "queries")?,
                state: prepared.state.to_vec(),
            }),
            Result::Refused(refusal) => Err(PrepareError::Refused(read_reasons(refusal.reasons))),
            Result::Failed(failure) => {
                let (class, detail) = failure.read()?;
                Err(PrepareError::Failed { class, detail })
            }
            Result::UnknownPlugin(_) => Err(PrepareError::UnknownPlugin(plugin)),
            Result::Error(error) => Err(PrepareError::Engine(error.read()?)),
        })
    }
}

impl super::DiagnoseResponse {
    pub fn of(result: &Result<Option<rules::Diagnosis>, EngineError>) -> Self {
        use super::diagnose_response::Result;
        let result = match result {
            Ok(None) => Result::NoFailure(super::NoFailure {}),
            Ok(Some(found)) => Result::Diagnosis(super::Diagnosis::of(found)),
            Err(error) => Result::Error(super::EngineError::of(error)),
        };
        Self { result: Some(result) }
    }

    pub fn read(self) -> Result<Result<Option<rules::Diagnosis>, EngineError>, UnreadableMessage> {
        use super::diagnose_response::Result;
        Ok(match self.result.ok_or(UnreadableMessage("an answer without a result"))? {
            Result::NoFailure(_) => Ok(None),
            Result::Diagnosis(found) => Ok(Some(found.read()?)),
            Result::Error(error) => Err(error.read()?),
        })
    }
}

impl super::Diagnosis {
    fn of(found: &rules::Diagnosis) -> Self {
        let frame = |frame: &rules::Frame| super::Frame {
            function: frame.function.clone(),
            file: frame.file.clone(),
            line: frame.line,
        };
        Self {
            class: class_number(found.class),
            cause: found.cause.clone(),
            said: found.said.clone(),
            frames: found.frames.iter().map(frame).collect(),
            fuel_used: found.fuel_used,
            fuel_max: found.fuel_max,
            memory_bytes: found.memory_bytes,
            memory_max_bytes: found.memory_max_bytes,
        }
    }

    fn read(self) -> Result<rules::Diagnosis, UnreadableMessage> {
        let frame = |super::Frame { function, file, line }| rules::Frame { function, file, line };
        Ok(rules::Diagnosis {
            class: class_of(self.class)?,
            cause: self.cause,
            said: self.said,
            frames: self.frames.into_iter().map(frame).collect(),
            fuel_used: self.fuel_used,
            fuel_max: self.fuel_max,
            memory_bytes: self.memory_bytes,
            memory_max_bytes: self.memory_max_bytes,
        })
    }
}
