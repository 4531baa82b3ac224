//! Series: by which values payments are kept for aggregates.
//!
//! A revision declares the series that its rules ask about, and each payment is stored under the
//! series of its tenant. The filter and the window of a query are not part of its series.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::aggregate::{AggregateQuery, Conversion};
use super::payment::{Payment, PaymentOrder};
use super::rates::Rates;
use super::selector::{FactQuery, Selector};

#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Series {
    /// One to three, each once, in their order.
    pub selectors: Vec<Selector>,
    /// Amounts are kept in the currency of this conversion. If `None`, the payments of each currency
    /// are kept apart.
    pub conversion: Option<Conversion>,
    /// If set, each payment is stored with its value of this selector, so that distinct values can
    /// be counted.
    pub distinct: Option<Selector>,
}

/// A series with what its queries need.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct AskedSeries {
    pub series: Series,
    /// Whether its payments are rolled up by days, for long windows. Not part of its identity: a
    /// series can become one by day later.
    pub by_day: bool,
}

impl AskedSeries {
    /// The series that the queries ask about, each once.
    pub fn of<'q>(queries: impl IntoIterator<Item = &'q FactQuery>) -> Vec<Self> {
        let mut asked = BTreeMap::new();
        for query in queries.into_iter().filter_map(FactQuery::counted) {
            *asked.entry(Series::of(&query)).or_insert(false) |= query.is_by_day();
        }
        asked.into_iter().map(|(series, by_day)| Self { series, by_day }).collect()
    }
}

impl Series {
    pub fn of(query: &AggregateQuery) -> Self {
        Self {
            selectors: query.selectors.clone(),
            conversion: query.conversion.clone(),
            distinct: query.distinct.clone(),
        }
    }

    /// The series that the queries ask about, each once.
    pub fn asked<'q>(queries: impl IntoIterator<Item = &'q FactQuery>) -> Vec<Self> {
        AskedSeries::of(queries).into_iter().map(|asked| asked.series).collect()
    }

    /// The values of all selectors in the form in which payments are counted. `None` if the payment
    /// lacks one of them.
    pub fn forms(&self, order: &PaymentOrder) -> Option<Vec<String>> {
        self.selectors.iter().map(|selector| counted(selector, order)).collect()
    }

    /// The amount that is counted. `None` if it cannot be converted.
    pub fn amount_of(&self, payment: &Payment, rates: &Rates) -> Option<i64> {
        let amount = payment.order.amount;
        match &self.conversion {
            Some(conversion) => rates.converted(conversion, amount, payment.received_at_ms),
            None => Some(amount.minor()),
        }
    }

    /// The other value, if the payment has it.
    pub fn distinct_form(&self, order: &PaymentOrder) -> Option<String> {
        counted(self.distinct.as_ref()?, order)
    }
}

fn counted(selector: &Selector, order: &PaymentOrder) -> Option<String> {
    selector.value_of(order).map(|value| selector.counted_form(&value))
}
