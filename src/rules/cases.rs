//! The runner of `cases/*.json` against a compiled plugin. Must read the
//! files exactly as `plugins/README.md` describes them, which the SDK's own
//! runner does too, and must never accept an expectation it does not know.
//!
//! A case gives the payment in the contract's own shape, since it may hold
//! what no domain payment can: a wrong exponent, a malformed IBAN.

mod format;

use thiserror::Error;

use super::contract::Input;
use super::local::LocalEngine;
use super::{EngineError, PrepareError, Prepared, RuleCall, RuleEngine};
use crate::domain::plugin::Digest;
use crate::domain::selector::FactQuery;
use crate::domain::verdict::{Evaluation, Reason, RuleResult};
use format::{Case, CaseFile, Expected, ExpectedReason};

#[derive(Debug, Error)]
pub enum CasesError {
    #[error("not a case file: {0}")]
    Malformed(String),
    #[error(transparent)]
    Engine(#[from] EngineError),
}

/// One case, and in words what about it does not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CaseReport {
    pub name: String,
    pub result: Result<(), String>,
}

/// Runs every case of a file against a plugin that the engine has.
pub async fn run(engine: &LocalEngine, plugin: Digest, text: &str) -> Result<Vec<CaseReport>, CasesError> {
    let cases = CaseFile::parse(text).and_then(CaseFile::into_cases).map_err(CasesError::Malformed)?;
    let mut reports = Vec::with_capacity(cases.len());
    for case in cases {
        let name = case.name.clone();
        let result = check(engine, plugin, case).await?;
        reports.push(CaseReport { name, result });
    }
    Ok(reports)
}

async fn check(engine: &LocalEngine, plugin: Digest, case: Case) -> Result<Result<(), String>, EngineError> {
    let prepared = match (engine.prepare(plugin, case.settings.to_string()).await, &case.expected) {
        (Err(PrepareError::Engine(error)), _) => return Err(error),
        (Err(PrepareError::Refused(reasons)), Expected::RefusedSettings(expected)) => {
            return Ok(compare_reasons(expected, &reasons));
        }
        (Err(PrepareError::Refused(reasons)), _) => {
            return Ok(Err(format!("the settings are refused: {reasons:?}")));
        }
        (Err(error), _) => return Ok(Err(error.to_string())),
        (Ok(_), Expected::RefusedSettings(_)) => {
            return Ok(Err("expected the settings to be refused; they were taken".to_owned()));
        }
        (Ok(prepared), _) => prepared,
    };
    if let Err(difference) = compare_queries(case.queries.as_deref(), &prepared.queries) {
        return Ok(Err(difference));
    }
    let payment = match case.payment {
        Ok(payment) => payment,
        Err(error) => return Ok(Err(format!("payment: {error}"))),
    };
    let Prepared { profile, state, .. } = prepared;
    let rule = RuleCall { plugin, profile, state: state.into(), facts: case.facts, fuel_spent_before: None };
    let run = engine.evaluate_one(Input::from_v1(payment), rule).await?;
    Ok(compare(&case.expected, &run.result))
}

fn compare_queries(expected: Option<&[FactQuery]>, asked: &[FactQuery]) -> Result<(), String> {
    match expected {
        Some(expected) if expected != asked => Err(format!("expected queries {expected:?}\ngot {asked:?}")),
        _ => Ok(()),
    }
}

fn compare(expected: &Expected, result: &RuleResult) -> Result<(), String> {
    match (expected, result) {
        (Expected::Failure(text), RuleResult::Failed { detail, .. }) if detail.contains(text) => Ok(()),
        (Expected::Failure(text), _) => Err(format!("expected a failure with '{text}'\ngot {result:?}")),
        (Expected::Evaluation { verdict, reasons, notes }, RuleResult::Ran(evaluation)) => {
            compare_evaluation(verdict, reasons, notes.as_deref(), evaluation)
        }
        (_, result) => Err(format!("expected an evaluation\ngot {result:?}")),
    }
}

fn compare_evaluation(
    verdict: &str,
    reasons: &[ExpectedReason],
    notes: Option<&[String]>,
    got: &Evaluation,
) -> Result<(), String> {
    if verdict != got.verdict.name() {
        return Err(format!("expected {verdict}\ngot {:?}", got.verdict));
    }
    compare_reasons(reasons, got.verdict.reasons())?;
    match notes {
        Some(notes) if notes != got.notes => Err(format!("expected notes {notes:?}\ngot {:?}", got.notes)),
        _ => Ok(()),
    }
}

fn compare_reasons(expected: &[ExpectedReason], got: &[Reason]) -> Result<(), String> {
    let fit = expected.len() == got.len() && expected.iter().zip(got).all(|(one, other)| one.fits(other));
    if fit { Ok(()) } else { Err(format!("expected reasons {expected:?}\ngot {got:?}")) }
}
