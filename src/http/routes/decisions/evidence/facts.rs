//! Queries of rules and the facts that answer them, as JSON.
//!
//! An answer must be told apart from no answer: a payment without a value gets no fact, while an
//! empty table row or no similar entry is one.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::Serialize;
use utoipa::openapi::schema::{SchemaType, Type};
use utoipa::openapi::{ObjectBuilder, RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use crate::domain::aggregate::{AggregateFact, AggregateQuery, PaymentFilter, SeenPayment};
use crate::domain::party::Country;
use crate::domain::selector::{Cell, Fact, FactQuery, Selector};
use crate::http::response::decimal::Decimal;
use crate::http::response::moment::Moment;
use crate::http::routes::payments::OutcomeShape;

/// A fact that a rule asked for, and the answer. Without an answer, the payment has no value for the
/// selector.
#[derive(Debug, Default, Serialize, ToSchema)]
#[schema(as = Fact)]
pub struct FactShape {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub query: Option<QueryShape>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listed: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub velocity: Option<VelocityShape>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub aggregate: Option<AggregateShape>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub table: Option<TableAnswerShape>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub similar: Option<SimilarAnswerShape>,
}

/// Earlier payments in the time window.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Velocity)]
pub struct VelocityShape {
    pub count: u64,
    pub total_minor: i64,
}

/// Earlier payments in the time window that have the same values and pass the filter. Amounts are in
/// minor units of the payment's currency, or of the currency that they were converted to.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Aggregate)]
pub struct AggregateShape {
    pub count: u64,
    pub total_minor: i64,
    /// Whether a number was too large. It is then the largest possible one.
    pub overflowed: bool,
    /// Absent if no amount was counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub minimum_minor: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub maximum_minor: Option<i64>,
    /// The mean amount, in minor units with up to six decimals.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mean: Option<Decimal>,
    /// The standard deviation of the amounts, in minor units with up to six decimals.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deviation: Option<Decimal>,
    /// Payments that were counted, but whose amount could not be converted.
    pub unconverted: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub distinct: Option<DistinctShape>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first: Option<SeenPaymentShape>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last: Option<SeenPaymentShape>,
}

/// How many distinct values there are.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = DistinctCount)]
pub struct DistinctShape {
    pub count: u64,
    /// There are at least this many, and may be more.
    pub is_lower_bound: bool,
}

/// The first or the last payment of an aggregate.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = SeenPayment)]
pub struct SeenPaymentShape {
    pub received_at_ms: Moment,
    pub amount_minor: i64,
    #[schema(example = "EUR")]
    pub currency: String,
    pub outcome: OutcomeShape,
    /// Absent if the payment has none or was erased.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub debtor_country: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub creditor_country: Option<String>,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = TableAnswer)]
pub struct TableAnswerShape {
    /// The cells by the names of their columns, without empty ones. Absent if the table has no row
    /// for the value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub row: Option<BTreeMap<String, CellShape>>,
}

/// A cell of a table: a text, a number, or true or false.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum CellShape {
    Text(String),
    Integer(i64),
    Number(Decimal),
    Flag(bool),
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = SimilarAnswer)]
pub struct SimilarAnswerShape {
    /// Absent if no entry is similar enough.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub found: Option<SimilarEntryShape>,
}

/// The entry of a list that is most similar to the name.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = SimilarEntry)]
pub struct SimilarEntryShape {
    /// As it was written.
    pub entry: String,
    /// 0 to 100.
    pub score: u8,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = FactQuery)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum QueryShape {
    /// Is the value on the list?
    Listed { list: String, selector: String, matching: &'static str },
    /// Earlier payments with the same value and currency.
    Velocity { selector: String, window_ms: u64, counting: &'static str },
    /// Earlier payments with the same values of all selectors.
    Aggregate(AggregateQueryShape),
    /// The row of a table for the value.
    Table { table: String, selector: String, lookup: &'static str },
    /// The entry of a list that is most similar to the name.
    Similar { list: String, selector: String, score_at_least: u8 },
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = AggregateQuery)]
pub struct AggregateQueryShape {
    pub selectors: Vec<String>,
    pub window_ms: u64,
    /// Absent if all payments count.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filter: Option<FilterShape>,
    /// Absent if only payments in the same currency count.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub conversion: Option<ConversionShape>,
    /// The selector whose distinct values are counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub distinct: Option<String>,
    /// Whether the first and the last payment are shown.
    pub first_and_last: bool,
}

/// Which earlier payments count.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = PaymentFilter)]
pub struct FilterShape {
    /// In minor units.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub amount_at_least: Option<i64>,
    /// In minor units.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub amount_below: Option<i64>,
    /// Any of these. Absent for all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub methods: Vec<&'static str>,
    /// Any of these. Absent for all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub outcomes: Vec<&'static str>,
    /// Only payments of which this was reported before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event: Option<&'static str>,
}

/// Amounts are converted by the rate in the table when each payment was received.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Conversion)]
pub struct ConversionShape {
    pub table: String,
    /// The currency of the result.
    #[schema(example = "EUR")]
    pub currency: String,
}

impl From<&FactQuery> for QueryShape {
    fn from(query: &FactQuery) -> Self {
        match query {
            FactQuery::Listed { list, selector, matching } => {
                Self::Listed { list: list.clone(), selector: selector.name(), matching: matching.name() }
            }
            FactQuery::Velocity { selector, window_ms, counting } => {
                Self::Velocity { selector: selector.name(), window_ms: *window_ms, counting: counting.name() }
            }
            FactQuery::Aggregate(query) => Self::Aggregate(AggregateQueryShape::of(query)),
            FactQuery::Table { table, selector, lookup } => {
                Self::Table { table: table.clone(), selector: selector.name(), lookup: lookup.name() }
            }
            FactQuery::Similar { list, selector, score_at_least } => Self::Similar {
                list: list.clone(),
                selector: selector.name(),
                score_at_least: *score_at_least,
            },
        }
    }
}

impl AggregateQueryShape {
    fn of(query: &AggregateQuery) -> Self {
        let all = query.filter == PaymentFilter::default();
        Self {
            selectors: query.selectors.iter().map(Selector::name).collect(),
            window_ms: query.window_ms,
            filter: (!all).then(|| FilterShape::of(&query.filter)),
            conversion: query.conversion.as_ref().map(|conversion| ConversionShape {
                table: conversion.table.clone(),
                currency: conversion.currency.code().to_owned(),
            }),
            distinct: query.distinct.as_ref().map(Selector::name),
            first_and_last: query.first_and_last,
        }
    }
}

impl FilterShape {
    fn of(filter: &PaymentFilter) -> Self {
        Self {
            amount_at_least: filter.amount_at_least,
            amount_below: filter.amount_below,
            methods: filter.methods.iter().map(|method| method.name()).collect(),
            outcomes: filter.outcomes.iter().map(|outcome| outcome.name()).collect(),
            event: filter.event.map(|event| event.name()),
        }
    }
}

impl FactShape {
    pub fn of(fact: &Fact, query: Option<&FactQuery>) -> Self {
        let mut shape = Self { query: query.map(QueryShape::from), ..Self::default() };
        match fact {
            Fact::Absent => {}
            Fact::Listed(listed) => shape.listed = Some(*listed),
            Fact::Velocity { count, total_minor } => {
                shape.velocity = Some(VelocityShape { count: *count, total_minor: *total_minor });
            }
            Fact::Aggregate(aggregate) => shape.aggregate = Some(AggregateShape::of(aggregate)),
            Fact::Table(row) => {
                let cells = |row: &Vec<(String, Cell)>| {
                    row.iter().map(|(column, cell)| (column.clone(), CellShape::of(cell))).collect()
                };
                shape.table = Some(TableAnswerShape { row: row.as_ref().map(cells) });
            }
            Fact::Similar(found) => {
                let found = found
                    .as_ref()
                    .map(|found| SimilarEntryShape { entry: found.entry.clone(), score: found.score });
                shape.similar = Some(SimilarAnswerShape { found });
            }
        }
        shape
    }
}

impl AggregateShape {
    fn of(fact: &AggregateFact) -> Self {
        Self {
            count: fact.count,
            total_minor: fact.total_minor,
            overflowed: fact.overflowed,
            minimum_minor: fact.minimum_minor,
            maximum_minor: fact.maximum_minor,
            mean: fact.mean.map(Decimal),
            deviation: fact.deviation.map(Decimal),
            unconverted: fact.unconverted,
            distinct: fact.distinct.map(|distinct| DistinctShape {
                count: distinct.count,
                is_lower_bound: distinct.is_lower_bound,
            }),
            first: fact.first.as_ref().map(SeenPaymentShape::of),
            last: fact.last.as_ref().map(SeenPaymentShape::of),
        }
    }
}

impl SeenPaymentShape {
    fn of(seen: &SeenPayment) -> Self {
        let country = |country: &Option<Country>| country.as_ref().map(|country| country.as_str().to_owned());
        Self {
            received_at_ms: seen.received_at_ms.into(),
            amount_minor: seen.amount.minor(),
            currency: seen.amount.currency().code().to_owned(),
            outcome: seen.outcome.into(),
            debtor_country: country(&seen.debtor_country),
            creditor_country: country(&seen.creditor_country),
        }
    }
}

impl CellShape {
    fn of(cell: &Cell) -> Self {
        match cell {
            Cell::Text(text) => Self::Text(text.clone()),
            Cell::Integer(integer) => Self::Integer(*integer),
            Cell::Number(number) => Self::Number(Decimal(*number)),
            Cell::Flag(flag) => Self::Flag(*flag),
        }
    }
}

impl PartialSchema for CellShape {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(SchemaType::Array(vec![Type::String, Type::Number, Type::Boolean]))
            .description(Some("A cell of a table: a text, a number, or true or false."))
            .into()
    }
}

impl ToSchema for CellShape {
    fn name() -> Cow<'static, str> {
        "Cell".into()
    }
}
