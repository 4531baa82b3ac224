//! The format of case files. Unknown keys are refused: a misspelt expectation would check nothing.

mod decimal;
mod facts;
mod payment;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::domain::selector::{Fact, FactQuery};
use crate::domain::verdict::Reason;
use crate::rules::contract::v1_1 as contract;
use facts::{FactForm, QueryForm};
use payment::PaymentForm;

/// A case file: the values that all cases share, and the cases.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CaseFile {
    payment: Value,
    settings: Value,
    cases: Vec<CaseForm>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CaseForm {
    name: String,
    /// A merge patch (RFC 7396) on the file's payment.
    payment: Option<Value>,
    /// Replaces the file's settings.
    settings: Option<Value>,
    #[serde(default)]
    facts: Vec<FactForm>,
    expect: ExpectationForm,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ExpectationForm {
    verdict: Option<String>,
    #[serde(default)]
    reasons: Vec<ExpectedReason>,
    notes: Option<Vec<String>>,
    failure: Option<String>,
    refused_settings: Option<Vec<ExpectedReason>>,
    queries: Option<Vec<QueryForm>>,
}

/// A reason in an expectation. Only the members that are given are compared.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ExpectedReason {
    code: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<String>,
}

/// A case, with the values that it takes from its file.
pub(super) struct RuleCase {
    pub(super) name: String,
    /// An error is reported only if the case reaches its evaluation.
    pub(super) payment: Result<contract::Payment, String>,
    pub(super) settings: Value,
    pub(super) facts: Vec<Fact>,
    pub(super) queries: Option<Vec<FactQuery>>,
    pub(super) expected: Expectation,
}

#[derive(Debug)]
pub(super) enum Expectation {
    Evaluation { verdict: String, reasons: Vec<ExpectedReason>, notes: Option<Vec<String>> },
    Failure(String),
    RefusedSettings(Vec<ExpectedReason>),
}

impl CaseFile {
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        serde_json::from_str(text).map_err(|error| error.to_string())
    }

    pub(super) fn into_cases(self) -> Result<Vec<RuleCase>, String> {
        let Self { payment, settings, cases } = self;
        cases.into_iter().map(|case| case.fill_in(&payment, &settings)).collect()
    }
}

impl CaseForm {
    fn fill_in(mut self, payment: &Value, settings: &Value) -> Result<RuleCase, String> {
        let mut payment = payment.clone();
        if let Some(changes) = &self.payment {
            merge(&mut payment, changes);
        }
        let payment = serde_json::from_value(payment).map_err(|error| error.to_string());
        let queries = self.expect.queries.take();
        Ok(RuleCase {
            payment: payment.map(PaymentForm::into_contract),
            settings: self.settings.unwrap_or_else(|| settings.clone()),
            facts: self.facts.into_iter().map(Fact::from).collect(),
            queries: queries.map(|queries| queries.into_iter().map(FactQuery::from).collect()),
            expected: self.expect.read().map_err(|error| format!("{}: {error}", self.name))?,
            name: self.name,
        })
    }
}

impl ExpectationForm {
    fn read(self) -> Result<Expectation, String> {
        match (self.verdict, self.failure, self.refused_settings) {
            (Some(verdict), None, None) => {
                Ok(Expectation::Evaluation { verdict, reasons: self.reasons, notes: self.notes })
            }
            (None, Some(text), None) => Ok(Expectation::Failure(text)),
            (None, None, Some(reasons)) => Ok(Expectation::RefusedSettings(reasons)),
            _ => Err("expected exactly one of verdict, failure and refused_settings".to_owned()),
        }
    }
}

impl ExpectedReason {
    pub(super) fn fits(&self, reason: &Reason) -> bool {
        self.code == reason.code
            && self.message.as_ref().is_none_or(|message| *message == reason.message)
            && (self.field.is_none() || self.field == reason.field)
    }
}

/// JSON merge patch (RFC 7396).
fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(changes) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(serde_json::Map::new());
    }
    let Value::Object(fields) = target else { return };
    for (key, change) in changes {
        if change.is_null() {
            fields.remove(key);
        } else {
            merge(fields.entry(key.clone()).or_insert(Value::Null), change);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_patch_replaces_adds_and_removes() {
        let mut payment = json!({"amount": {"minor": 1, "currency": "EUR"}, "ip": "::1"});
        merge(&mut payment, &json!({"amount": {"minor": 2}, "ip": null, "device": "d"}));
        assert_eq!(payment, json!({"amount": {"minor": 2, "currency": "EUR"}, "device": "d"}));
    }

    #[test]
    fn a_key_that_is_not_known_is_refused() {
        let with = |expect: Value| {
            let file = json!({"payment": {}, "settings": {}, "cases": [{"name": "n", "expect": expect}]});
            CaseFile::parse(&file.to_string()).and_then(CaseFile::into_cases).map(|cases| cases.len())
        };
        assert_eq!(with(json!({"verdict": "pass"})), Ok(1));
        assert!(with(json!({"verdict": "pass", "reason": []})).is_err());
        assert!(with(json!({"verdict": "pass", "failure": "x"})).is_err());
        assert!(with(json!({})).is_err());
        assert!(with(json!({"verdict": "pass", "queries": [{"listed": {"list": "a"}}]})).is_err());
    }
}
