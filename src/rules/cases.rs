//! Runs the cases of `cases/*.json` against a compiled plugin.
//!
//! `plugins/README.md` describes the files, and the SDK's own runner must read them in the same
//! way. The payment of a case has the types of the contract, since a case may need a payment that
//! the domain does not allow, for example with a malformed IBAN.

mod format;
mod shown;

use std::sync::Arc;

use serde::Serialize;
use serde_json::{Value, json};
use thiserror::Error;

use super::contract::{PaymentInput, v1_1};
use super::local::LocalEngine;
use super::{Diagnosis, EngineError, FailedCall, PrepareError, PreparedSettings, RuleCall, RuleEngine};
use crate::domain::plugin::Digest;
use crate::domain::selector::{Fact, FactQuery};
use crate::domain::verdict::{Evaluation, Reason, RuleResult};
use format::{CaseFile, Expectation, ExpectedReason, RuleCase};
use shown::{evaluation_shown, queries_shown, reasons_shown, result_shown};

#[derive(Debug, Error)]
pub enum CasesError {
    #[error("not a case file: {0}")]
    Malformed(String),
    #[error(transparent)]
    Engine(#[from] EngineError),
}

/// The result of one case, and how it differs from what was expected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CaseReport {
    pub name: String,
    pub result: Result<(), CaseDifference>,
    /// The fuel of the evaluation, or 0 if there was none.
    pub fuel_used: u64,
    /// Set if the rule failed unexpectedly.
    pub diagnosis: Option<Diagnosis>,
}

/// What was expected and what the rule returned, if possible in the format of case files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CaseDifference {
    pub expected: Value,
    pub got: Value,
}

/// A loaded plugin, with its bytes for diagnoses.
#[derive(Debug, Clone)]
pub struct PluginUnderTest {
    pub plugin: Digest,
    pub bytes: Arc<[u8]>,
}

/// Runs all cases of a file. The plugin must be loaded.
pub async fn run(
    engine: &LocalEngine,
    under_test: &PluginUnderTest,
    text: &str,
) -> Result<Vec<CaseReport>, CasesError> {
    let cases = CaseFile::parse(text).and_then(CaseFile::into_cases).map_err(CasesError::Malformed)?;
    let mut reports = Vec::with_capacity(cases.len());
    for case in cases {
        reports.push(check(engine, under_test, case).await?);
    }
    Ok(reports)
}

impl CaseReport {
    fn new(name: String, result: Result<(), CaseDifference>) -> Self {
        Self { name, result, fuel_used: 0, diagnosis: None }
    }
}

async fn check(
    engine: &LocalEngine,
    under_test: &PluginUnderTest,
    case: RuleCase,
) -> Result<CaseReport, EngineError> {
    let report = |result| Ok(CaseReport::new(case.name.clone(), result));
    let settings = case.settings.to_string();
    let prepared = match (engine.prepare(under_test.plugin, settings.clone()).await, &case.expected) {
        (Err(PrepareError::Engine(error)), _) => return Err(error),
        (Err(PrepareError::Refused(reasons)), Expectation::RefusedSettings(expected)) => {
            return report(compare_reasons("refused_settings", expected, &reasons));
        }
        (Err(PrepareError::Refused(reasons)), expected) => {
            return report(differs(expected.shown(), json!({"refused_settings": reasons_shown(&reasons)})));
        }
        (Err(error), expected) => {
            let differs = differs(expected.shown(), json!({"failed_prepare": error.to_string()}));
            let call = FailedCall::Prepare { plugin: under_test.plugin, settings };
            let diagnosis = engine.diagnose(call, under_test.bytes.clone()).await?;
            return Ok(CaseReport { diagnosis, ..CaseReport::new(case.name.clone(), differs) });
        }
        (Ok(_), expected @ Expectation::RefusedSettings(_)) => {
            return report(differs(expected.shown(), json!("the settings were accepted")));
        }
        (Ok(prepared), _) => prepared,
    };
    if let Err(difference) = compare_queries(case.queries.as_deref(), &prepared.queries) {
        return report(Err(difference));
    }
    match case.payment {
        Ok(payment) => {
            evaluate(engine, under_test, prepared, payment, case.facts, case.expected, case.name).await
        }
        Err(ref error) => report(differs(json!("a payment as described in plugins/README.md"), json!(error))),
    }
}

async fn evaluate(
    engine: &LocalEngine,
    under_test: &PluginUnderTest,
    prepared: PreparedSettings,
    payment: v1_1::Payment,
    facts: Vec<Fact>,
    expected: Expectation,
    name: String,
) -> Result<CaseReport, EngineError> {
    let PreparedSettings { profile, state, .. } = prepared;
    let plugin = under_test.plugin;
    let rule = RuleCall { plugin, profile, state: state.into(), facts, fuel_spent_before: None };
    let run = engine.evaluate_one(PaymentInput::of_case(payment.clone()), rule.clone()).await?;
    let result = compare(&expected, &run.result);
    let failed = result.is_err() && matches!(run.result, RuleResult::Failed { .. });
    let diagnosis = if failed {
        engine.diagnose_one(PaymentInput::of_case(payment), rule, under_test.bytes.clone()).await?
    } else {
        None
    };
    Ok(CaseReport { name, result, fuel_used: run.fuel_used, diagnosis })
}

fn differs(expected: Value, got: Value) -> Result<(), CaseDifference> {
    Err(CaseDifference { expected, got })
}

fn compare_queries(expected: Option<&[FactQuery]>, asked: &[FactQuery]) -> Result<(), CaseDifference> {
    match expected {
        Some(expected) if expected != asked => {
            differs(json!({"queries": queries_shown(expected)}), json!({"queries": queries_shown(asked)}))
        }
        _ => Ok(()),
    }
}

fn compare(expected: &Expectation, result: &RuleResult) -> Result<(), CaseDifference> {
    match (expected, result) {
        (Expectation::Failure(text), RuleResult::Failed { detail, .. }) if detail.contains(text) => Ok(()),
        (Expectation::Evaluation { verdict, reasons, notes }, RuleResult::Ran(evaluation)) => {
            compare_evaluation(verdict, reasons, notes.as_deref(), evaluation)
        }
        (expected, result) => differs(expected.shown(), result_shown(result)),
    }
}

fn compare_evaluation(
    verdict: &str,
    reasons: &[ExpectedReason],
    notes: Option<&[String]>,
    got: &Evaluation,
) -> Result<(), CaseDifference> {
    if verdict != got.verdict.name() {
        return differs(json!({"verdict": verdict, "reasons": reasons}), evaluation_shown(got));
    }
    compare_reasons("reasons", reasons, got.verdict.reasons())?;
    match notes {
        Some(notes) if notes != got.notes => differs(json!({"notes": notes}), json!({"notes": got.notes})),
        _ => Ok(()),
    }
}

fn compare_reasons(key: &str, expected: &[ExpectedReason], got: &[Reason]) -> Result<(), CaseDifference> {
    let fit = expected.len() == got.len() && expected.iter().zip(got).all(|(one, other)| one.fits(other));
    if fit { Ok(()) } else { differs(json!({key: expected}), json!({key: reasons_shown(got)})) }
}
