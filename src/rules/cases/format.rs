//! The format of case files. Unknown keys are refused: a misspelt expectation would check nothing.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::domain::selector::{Counting, Fact, FactQuery, Matching, Selector};
use crate::domain::verdict::Reason;
use crate::rules::contract::v1;

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
    pub(super) payment: Result<v1::Payment, String>,
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
    fn fill_in(self, payment: &Value, settings: &Value) -> Result<RuleCase, String> {
        let mut payment = payment.clone();
        if let Some(changes) = &self.payment {
            merge(&mut payment, changes);
        }
        let payment = serde_json::from_value(payment).map_err(|error| error.to_string());
        let queries = self.expect.queries.as_ref();
        Ok(RuleCase {
            payment: payment.map(PaymentForm::into_contract),
            settings: self.settings.unwrap_or_else(|| settings.clone()),
            facts: self.facts.into_iter().map(Fact::from).collect(),
            queries: queries.map(|queries| queries.iter().map(QueryForm::query).collect()),
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

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PaymentForm {
    id: String,
    reference: String,
    amount: MoneyForm,
    debtor: PartyForm,
    creditor: PartyForm,
    method: MethodForm,
    customer: Option<String>,
    merchant: Option<String>,
    card: Option<CardForm>,
    device: Option<String>,
    ip: Option<String>,
    received_at_ms: u64,
    requested_at_ms: Option<u64>,
    purpose: Option<String>,
    remittance: Option<String>,
    #[serde(default)]
    metadata: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MoneyForm {
    minor: i64,
    currency: String,
    exponent: u8,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PartyForm {
    name: String,
    account: Option<AccountForm>,
    bank: Option<String>,
    country: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum AccountForm {
    Iban(String),
    Other(String),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CardForm {
    fingerprint: String,
    bin: Option<String>,
    country: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum MethodForm {
    Card,
    CreditTransfer,
    Instant,
    DirectDebit,
    Wallet,
    Other,
}

impl PaymentForm {
    fn into_contract(self) -> v1::Payment {
        let MoneyForm { minor, currency, exponent } = self.amount;
        v1::Payment {
            id: self.id,
            reference: self.reference,
            amount: v1::Money { minor, currency, exponent },
            debtor: self.debtor.into_contract(),
            creditor: self.creditor.into_contract(),
            method: self.method.into_contract(),
            customer: self.customer,
            merchant: self.merchant,
            card: self.card.map(|CardForm { fingerprint, bin, country }| v1::Card {
                fingerprint,
                bin,
                country,
            }),
            device: self.device,
            ip: self.ip,
            received_at_ms: self.received_at_ms,
            requested_at_ms: self.requested_at_ms,
            purpose: self.purpose,
            remittance: self.remittance,
            metadata: self.metadata.into_iter().collect(),
        }
    }
}

impl PartyForm {
    fn into_contract(self) -> v1::Party {
        let account = self.account.map(|account| match account {
            AccountForm::Iban(number) => v1::Account::Iban(number),
            AccountForm::Other(number) => v1::Account::Other(number),
        });
        v1::Party { name: self.name, account, bank: self.bank, country: self.country }
    }
}

impl MethodForm {
    fn into_contract(self) -> v1::Method {
        match self {
            Self::Card => v1::Method::Card,
            Self::CreditTransfer => v1::Method::CreditTransfer,
            Self::Instant => v1::Method::Instant,
            Self::DirectDebit => v1::Method::DirectDebit,
            Self::Wallet => v1::Method::Wallet,
            Self::Other => v1::Method::Other,
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum FactForm {
    Absent,
    Listed(bool),
    Velocity { count: u64, total_minor: i64 },
}

impl From<FactForm> for Fact {
    fn from(fact: FactForm) -> Self {
        match fact {
            FactForm::Absent => Self::Absent,
            FactForm::Listed(listed) => Self::Listed(listed),
            FactForm::Velocity { count, total_minor } => Self::Velocity { count, total_minor },
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum QueryForm {
    Listed { list: String, selector: SelectorForm, matching: MatchingForm },
    Velocity { selector: SelectorForm, window_ms: u64, counting: CountingForm },
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum MatchingForm {
    Exact,
    Prefix,
    NormalizedName,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum CountingForm {
    Submitted,
    Approved,
}

/// The name of a selector, or an object with the key of metadata or the name of a signal.
#[derive(Deserialize)]
#[serde(untagged)]
enum SelectorForm {
    Named(FixedSelector),
    Keyed(KeyedSelector),
}

#[derive(Deserialize)]
#[serde(try_from = "String")]
struct FixedSelector(Selector);

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum KeyedSelector {
    Metadata(String),
    Signal(String),
}

impl TryFrom<String> for FixedSelector {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        let found = Selector::FIXED.into_iter().find(|selector| selector.name() == name);
        found.map(Self).ok_or_else(|| format!("unknown selector `{name}`"))
    }
}

impl QueryForm {
    fn query(&self) -> FactQuery {
        match self {
            Self::Listed { list, selector, matching } => FactQuery::Listed {
                list: list.clone(),
                selector: selector.selector(),
                matching: match matching {
                    MatchingForm::Exact => Matching::Exact,
                    MatchingForm::Prefix => Matching::Prefix,
                    MatchingForm::NormalizedName => Matching::NormalizedName,
                },
            },
            Self::Velocity { selector, window_ms, counting } => FactQuery::Velocity {
                selector: selector.selector(),
                window_ms: *window_ms,
                counting: match counting {
                    CountingForm::Submitted => Counting::Submitted,
                    CountingForm::Approved => Counting::Approved,
                },
            },
        }
    }
}

impl SelectorForm {
    fn selector(&self) -> Selector {
        match self {
            Self::Named(FixedSelector(selector)) => selector.clone(),
            Self::Keyed(KeyedSelector::Metadata(key)) => Selector::Metadata(key.clone()),
            Self::Keyed(KeyedSelector::Signal(name)) => Selector::Signal(name.clone()),
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
    fn a_query_may_have_every_selector_and_no_other() {
        let read = |selector: &Value| {
            let query = json!({"velocity": {"selector": selector, "window_ms": 1, "counting": "approved"}});
            serde_json::from_value::<QueryForm>(query).map(|form| form.query())
        };
        let keyed = [
            (json!({"metadata": "m"}), Selector::Metadata("m".to_owned())),
            (json!({"signal": "s"}), Selector::Signal("s".to_owned())),
        ];
        let fixed = Selector::FIXED.map(|selector| (json!(selector.name()), selector));
        for (form, selector) in fixed.into_iter().chain(keyed) {
            let (window_ms, counting) = (1, Counting::Approved);
            assert_eq!(read(&form).expect("read"), FactQuery::Velocity { selector, window_ms, counting });
        }
        for unknown in [json!("metadata"), json!("Card"), json!({"card": "c"}), json!(7)] {
            assert!(read(&unknown).is_err(), "{unknown}");
        }
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
