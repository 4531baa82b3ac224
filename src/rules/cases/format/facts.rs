//! The facts and queries of a case.
//!
//! A query is read in its canonical form, in which the sandbox returns those of a rule. Otherwise
//! the order of selectors in a case file would matter.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::decimal::DecimalForm;
use crate::domain::aggregate::{
    AggregateFact, AggregateQuery, Conversion, DistinctCount, PaymentFilter, SeenPayment,
};
use crate::domain::money::{Currency, Money};
use crate::domain::party::Country;
use crate::domain::payment::Method;
use crate::domain::payment_event::EventKind;
use crate::domain::selector::{
    Cell, Counting, Fact, FactQuery, Matching, Selector, SimilarEntry, TableLookup,
};
use crate::domain::verdict::Outcome;

#[derive(Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum FactForm {
    Absent,
    Listed(bool),
    Velocity { count: u64, total_minor: i64 },
    Aggregate(Box<AggregateFactForm>),
    Table(Option<BTreeMap<String, CellForm>>),
    Similar(Option<SimilarEntryForm>),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AggregateFactForm {
    count: u64,
    #[serde(default)]
    total_minor: i64,
    #[serde(default)]
    overflowed: bool,
    minimum_minor: Option<i64>,
    maximum_minor: Option<i64>,
    mean: Option<DecimalForm>,
    deviation: Option<DecimalForm>,
    #[serde(default)]
    unconverted: u64,
    distinct: Option<DistinctCountForm>,
    first: Option<SeenPaymentForm>,
    last: Option<SeenPaymentForm>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DistinctCountForm {
    count: u64,
    #[serde(default)]
    is_lower_bound: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SeenPaymentForm {
    received_at_ms: u64,
    amount: SeenAmountForm,
    outcome: Named<Outcome>,
    debtor_country: Option<Named<Country>>,
    creditor_country: Option<Named<Country>>,
}

/// The exponent follows from the currency.
#[derive(Deserialize)]
#[serde(try_from = "SeenAmountMembers")]
struct SeenAmountForm(Money);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SeenAmountMembers {
    minor: i64,
    currency: Named<Currency>,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum CellForm {
    Text(String),
    Integer(i64),
    Number(DecimalForm),
    Flag(bool),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SimilarEntryForm {
    entry: String,
    score: u8,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum QueryForm {
    Listed { list: String, selector: SelectorForm, matching: Named<Matching> },
    Velocity { selector: SelectorForm, window_ms: u64, counting: Named<Counting> },
    Aggregate(Box<AggregateQueryForm>),
    Table { table: String, selector: SelectorForm, lookup: Named<TableLookup> },
    Similar { list: String, selector: SelectorForm, score_at_least: u8 },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AggregateQueryForm {
    selectors: Vec<SelectorForm>,
    window_ms: u64,
    #[serde(default)]
    filter: PaymentFilterForm,
    conversion: Option<ConversionForm>,
    distinct: Option<SelectorForm>,
    #[serde(default)]
    first_and_last: bool,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct PaymentFilterForm {
    amount_at_least: Option<i64>,
    amount_below: Option<i64>,
    #[serde(default)]
    methods: Vec<Named<Method>>,
    #[serde(default)]
    outcomes: Vec<Named<Outcome>>,
    event: Option<Named<EventKind>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ConversionForm {
    table: String,
    currency: Named<Currency>,
}

/// A selector without a key by its name; the others as `{"metadata": "key"}`.
#[derive(Deserialize)]
#[serde(try_from = "Value")]
pub(super) struct SelectorForm(Selector);

/// A value of the domain that is written as its name.
#[derive(Clone, Deserialize)]
#[serde(try_from = "String", bound(deserialize = "T: FromName"))]
pub(super) struct Named<T>(T);

pub(super) trait FromName: Sized {
    /// What was expected if there is no such name.
    const EXPECTED: &'static str;

    fn from_name(name: &str) -> Option<Self>;
}

impl<T: FromName> TryFrom<String> for Named<T> {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        T::from_name(&name)
            .map(Self)
            .ok_or_else(|| format!("unknown name '{name}', expected {}", T::EXPECTED))
    }
}

impl FromName for Selector {
    const EXPECTED: &'static str = "a selector";

    fn from_name(name: &str) -> Option<Self> {
        Self::FIXED.into_iter().find(|selector| selector.name() == name)
    }
}

impl FromName for Matching {
    const EXPECTED: &'static str = "exact, prefix or normalized_name";

    fn from_name(name: &str) -> Option<Self> {
        [Self::Exact, Self::Prefix, Self::NormalizedName].into_iter().find(|one| one.name() == name)
    }
}

impl FromName for Counting {
    const EXPECTED: &'static str = "submitted or approved";

    fn from_name(name: &str) -> Option<Self> {
        [Self::Submitted, Self::Approved].into_iter().find(|one| one.name() == name)
    }
}

impl FromName for TableLookup {
    const EXPECTED: &'static str = "exact, longest_prefix or range";

    fn from_name(name: &str) -> Option<Self> {
        Self::parse(name)
    }
}

impl FromName for Method {
    const EXPECTED: &'static str = "a method such as instant";

    fn from_name(name: &str) -> Option<Self> {
        Self::parse(name)
    }
}

impl FromName for Outcome {
    const EXPECTED: &'static str = "approve, review or reject";

    fn from_name(name: &str) -> Option<Self> {
        Self::parse(name)
    }
}

impl FromName for EventKind {
    const EXPECTED: &'static str = "an event such as refunded";

    fn from_name(name: &str) -> Option<Self> {
        Self::parse(name)
    }
}

impl FromName for Currency {
    const EXPECTED: &'static str = "a currency of ISO 4217";

    fn from_name(code: &str) -> Option<Self> {
        Self::parse(code).ok()
    }
}

impl FromName for Country {
    const EXPECTED: &'static str = "a country code of two capital letters";

    fn from_name(code: &str) -> Option<Self> {
        Self::parse_as_ever(code).ok()
    }
}

impl TryFrom<Value> for SelectorForm {
    type Error = String;

    fn try_from(value: Value) -> Result<Self, String> {
        if let Value::String(name) = value {
            return Named::try_from(name).map(|selector| Self(selector.0));
        }
        let single = value.as_object().filter(|members| members.len() == 1);
        let keyed = single.and_then(|members| members.iter().next()).and_then(|(name, key)| {
            let key = key.as_str()?.to_owned();
            match name.as_str() {
                "metadata" => Some(Selector::Metadata(key)),
                "signal" => Some(Selector::Signal(key)),
                _ => None,
            }
        });
        keyed.map(Self).ok_or_else(|| {
            r#"expected a selector such as "ip", {"metadata": "key"} or {"signal": "name"}"#.to_owned()
        })
    }
}

impl TryFrom<SeenAmountMembers> for SeenAmountForm {
    type Error = String;

    fn try_from(members: SeenAmountMembers) -> Result<Self, String> {
        Money::new(members.minor, members.currency.0).map(Self).map_err(|error| error.to_string())
    }
}

impl From<FactForm> for Fact {
    fn from(fact: FactForm) -> Self {
        match fact {
            FactForm::Absent => Self::Absent,
            FactForm::Listed(listed) => Self::Listed(listed),
            FactForm::Velocity { count, total_minor } => Self::Velocity { count, total_minor },
            FactForm::Aggregate(aggregate) => Self::Aggregate(Box::new(aggregate.fact())),
            FactForm::Table(row) => Self::Table(row.map(|row| {
                let cells = row.into_iter().map(|(column, cell)| (column, cell.cell()));
                cells.collect()
            })),
            FactForm::Similar(found) => {
                Self::Similar(found.map(|SimilarEntryForm { entry, score }| SimilarEntry { entry, score }))
            }
        }
    }
}

impl AggregateFactForm {
    fn fact(self) -> AggregateFact {
        AggregateFact {
            count: self.count,
            total_minor: self.total_minor,
            overflowed: self.overflowed,
            minimum_minor: self.minimum_minor,
            maximum_minor: self.maximum_minor,
            mean: self.mean.map(|mean| mean.0),
            deviation: self.deviation.map(|deviation| deviation.0),
            unconverted: self.unconverted,
            distinct: self
                .distinct
                .map(|DistinctCountForm { count, is_lower_bound }| DistinctCount { count, is_lower_bound }),
            first: self.first.map(SeenPaymentForm::seen_payment),
            last: self.last.map(SeenPaymentForm::seen_payment),
        }
    }
}

impl SeenPaymentForm {
    fn seen_payment(self) -> SeenPayment {
        SeenPayment {
            received_at_ms: self.received_at_ms,
            amount: self.amount.0,
            outcome: self.outcome.0,
            debtor_country: self.debtor_country.map(|country| country.0),
            creditor_country: self.creditor_country.map(|country| country.0),
        }
    }
}

impl CellForm {
    fn cell(self) -> Cell {
        match self {
            Self::Text(text) => Cell::Text(text),
            Self::Integer(integer) => Cell::Integer(integer),
            Self::Number(number) => Cell::Number(number.0),
            Self::Flag(flag) => Cell::Flag(flag),
        }
    }
}

impl From<QueryForm> for FactQuery {
    fn from(query: QueryForm) -> Self {
        match query {
            QueryForm::Listed { list, selector, matching } => {
                Self::Listed { list, selector: selector.0, matching: matching.0 }
            }
            QueryForm::Velocity { selector, window_ms, counting } => {
                Self::Velocity { selector: selector.0, window_ms, counting: counting.0 }
            }
            QueryForm::Aggregate(query) => Self::Aggregate(Box::new(query.query())),
            QueryForm::Table { table, selector, lookup } => {
                Self::Table { table, selector: selector.0, lookup: lookup.0 }
            }
            QueryForm::Similar { list, selector, score_at_least } => {
                Self::Similar { list, selector: selector.0, score_at_least }
            }
        }
    }
}

impl AggregateQueryForm {
    fn query(self) -> AggregateQuery {
        AggregateQuery {
            selectors: sorted(self.selectors.into_iter().map(|selector| selector.0)),
            window_ms: self.window_ms,
            filter: self.filter.filter(),
            conversion: self
                .conversion
                .map(|ConversionForm { table, currency }| Conversion { table, currency: currency.0 }),
            distinct: self.distinct.map(|selector| selector.0),
            first_and_last: self.first_and_last,
        }
    }
}

impl PaymentFilterForm {
    fn filter(self) -> PaymentFilter {
        PaymentFilter {
            amount_at_least: self.amount_at_least,
            amount_below: self.amount_below,
            methods: sorted(self.methods.into_iter().map(|method| method.0)),
            outcomes: sorted(self.outcomes.into_iter().map(|outcome| outcome.0)),
            event: self.event.map(|event| event.0),
        }
    }
}

/// Each once, in their order.
fn sorted<T: Ord>(values: impl Iterator<Item = T>) -> Vec<T> {
    let mut values: Vec<T> = values.collect();
    values.sort();
    values.dedup();
    values
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_query_may_have_every_selector_and_no_other() {
        let read = |selector: &Value| {
            let query = json!({"velocity": {"selector": selector, "window_ms": 1, "counting": "approved"}});
            serde_json::from_value::<QueryForm>(query).map(FactQuery::from)
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
}
