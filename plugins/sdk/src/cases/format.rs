//! The format of a case file.
//!
//! Unknown keys must be refused: a misspelt expectation would check nothing.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Fact, FactQuery, Payment, Reason};

/// A file: the payment and settings that its cases share, and the cases.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CaseFile {
    payment: Value,
    settings: Value,
    cases: Vec<CaseEntry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CaseEntry {
    name: String,
    #[serde(default)]
    payment: Option<Value>,
    #[serde(default)]
    settings: Option<Value>,
    #[serde(default)]
    facts: Vec<Fact>,
    expect: ExpectationEntry,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ExpectationEntry {
    verdict: Option<String>,
    #[serde(default)]
    reasons: Vec<ExpectedReason>,
    notes: Option<Vec<String>>,
    failure: Option<String>,
    refused_settings: Option<Vec<ExpectedReason>>,
    queries: Option<Vec<FactQuery>>,
}

/// An expected reason. Only the parts that are given are compared.
#[derive(Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ExpectedReason {
    code: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<String>,
}

/// A case with the file's defaults filled in.
pub(super) struct Case {
    pub(super) name: String,
    /// An error only matters if the settings are accepted.
    pub(super) payment: Result<Payment, String>,
    pub(super) settings: Value,
    pub(super) facts: Vec<Fact>,
    pub(super) queries: Option<Vec<FactQuery>>,
    pub(super) expectation: Expectation,
}

pub(super) enum Expectation {
    Evaluation { verdict: String, reasons: Vec<ExpectedReason>, notes: Option<Vec<String>> },
    Failure(String),
    RefusedSettings(Vec<ExpectedReason>),
}

impl CaseFile {
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        serde_json::from_str(text).map_err(|error| error.to_string())
    }

    pub(super) fn cases(&self) -> impl Iterator<Item = Result<Case, String>> {
        self.cases.iter().map(|entry| self.fill_in(entry))
    }

    fn fill_in(&self, entry: &CaseEntry) -> Result<Case, String> {
        let mut payment = self.payment.clone();
        if let Some(changes) = &entry.payment {
            merge(&mut payment, changes);
        }
        let expectation = entry.expect.read().map_err(|error| format!("{}: {error}", entry.name))?;
        Ok(Case {
            name: entry.name.clone(),
            payment: serde_json::from_value(payment).map_err(|error| error.to_string()),
            settings: entry.settings.as_ref().unwrap_or(&self.settings).clone(),
            facts: entry.facts.clone(),
            queries: entry.expect.queries.clone(),
            expectation,
        })
    }
}

impl ExpectationEntry {
    fn read(&self) -> Result<Expectation, String> {
        match (&self.verdict, &self.failure, &self.refused_settings) {
            (Some(verdict), None, None) => Ok(Expectation::Evaluation {
                verdict: verdict.clone(),
                reasons: self.reasons.clone(),
                notes: self.notes.clone(),
            }),
            (None, Some(text), None) => Ok(Expectation::Failure(text.clone())),
            (None, None, Some(reasons)) => Ok(Expectation::RefusedSettings(reasons.clone())),
            _ => Err("expect needs exactly one of verdict, failure and refused_settings".to_owned()),
        }
    }
}

impl ExpectedReason {
    pub(super) fn matches(&self, reason: &Reason) -> bool {
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
    let Value::Object(fields) = target else {
        return;
    };
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
        let expected = json!({"amount": {"minor": 2, "currency": "EUR"}, "device": "d"});
        assert_eq!(payment, expected);
    }
}
