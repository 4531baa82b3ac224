//! What an evaluation gets: the payment in the types of each version of the contract, and the size
//! of all input.
//!
//! A size decides whether a rule is called at all, so it must not depend on the layout of our
//! types.

use std::sync::{Arc, OnceLock};

use super::{v1_0, v1_1};
use crate::domain::payment::Payment;
use crate::domain::selector::{Cell, Fact};

/// A payment as rules get it.
pub struct PaymentInput {
    source: PaymentSource,
    /// Converted at the first rule of its version, once for a whole ruleset.
    v1_0: OnceLock<v1_0::Payment>,
    v1_1: OnceLock<v1_1::Payment>,
}

enum PaymentSource {
    Domain(Arc<Payment>),
    /// From a case file, which may contain what a domain payment cannot.
    Case(Box<v1_1::Payment>),
}

impl PaymentInput {
    pub fn of(payment: Arc<Payment>) -> Self {
        Self::from_source(PaymentSource::Domain(payment))
    }

    pub fn of_case(payment: v1_1::Payment) -> Self {
        Self::from_source(PaymentSource::Case(Box::new(payment)))
    }

    fn from_source(source: PaymentSource) -> Self {
        Self { source, v1_0: OnceLock::new(), v1_1: OnceLock::new() }
    }

    pub(super) fn v1_0(&self) -> &v1_0::Payment {
        self.v1_0.get_or_init(|| match &self.source {
            PaymentSource::Domain(payment) => v1_0::payment_of(payment),
            PaymentSource::Case(payment) => v1_0::payment_of_case(payment),
        })
    }

    pub(super) fn v1_1(&self) -> &v1_1::Payment {
        match &self.source {
            PaymentSource::Domain(payment) => self.v1_1.get_or_init(|| v1_1::payment_of(payment)),
            PaymentSource::Case(payment) => payment,
        }
    }
}

/// The size of the plain numbers of a fact.
const FACT_BYTES: usize = 24;
/// The size of the numbers and names of an aggregate, with its first and last payment.
const AGGREGATE_BYTES: usize = 224;
const CELL_BYTES: usize = 24;

pub(in crate::rules) fn facts_bytes(facts: &[Fact]) -> usize {
    facts.iter().map(|fact| FACT_BYTES + texts_bytes(fact)).sum()
}

fn texts_bytes(fact: &Fact) -> usize {
    let cell = |(column, cell): &(String, Cell)| {
        let text = match cell {
            Cell::Text(text) => text.len(),
            Cell::Integer(_) | Cell::Number(_) | Cell::Flag(_) => 0,
        };
        CELL_BYTES + column.len() + text
    };
    match fact {
        Fact::Absent | Fact::Listed(_) | Fact::Velocity { .. } => 0,
        Fact::Aggregate(_) => AGGREGATE_BYTES,
        Fact::Table(row) => row.iter().flatten().map(cell).sum(),
        Fact::Similar(found) => found.as_ref().map_or(0, |found| found.entry.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::millionths::Millionths;
    use crate::domain::selector::SimilarEntry;

    #[test]
    fn the_size_of_facts_counts_the_texts_that_they_hold() {
        let row = |text: &str| {
            vec![
                ("note".to_owned(), Cell::Text(text.to_owned())),
                ("rate".to_owned(), Cell::Number(Millionths(1))),
            ]
        };
        let similar = |entry: &str| Fact::Similar(Some(SimilarEntry { entry: entry.to_owned(), score: 90 }));
        let plain = [Fact::Absent, Fact::Listed(true), Fact::Velocity { count: 1, total_minor: 1 }];
        assert_eq!(facts_bytes(&plain), 3 * FACT_BYTES);
        assert_eq!(facts_bytes(&[Fact::Table(None), Fact::Similar(None)]), 2 * FACT_BYTES);
        let short = facts_bytes(&[Fact::Table(Some(row(""))), similar("")]);
        let long = facts_bytes(&[Fact::Table(Some(row(&"t".repeat(1000)))), similar(&"s".repeat(500))]);
        assert_eq!(long - short, 1500);
        assert!(facts_bytes(&[Fact::Aggregate(Box::default())]) > FACT_BYTES);
    }
}
