//! Counts, shares and amounts of payments in the reports on canaries and shadow revisions.

use serde::Serialize;
use utoipa::ToSchema;

use crate::domain::verdict::Outcome;
use crate::http::routes::payments::OutcomeShape;

/// Total amount of the payments in one currency.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Amount)]
pub struct AmountShape {
    #[schema(example = "EUR")]
    pub currency: String,
    pub total_minor: i64,
}

/// Payments with one outcome.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = OutcomeCount)]
pub struct OutcomeCountShape {
    pub outcome: OutcomeShape,
    pub payments: u64,
    /// Share of all payments in this group.
    pub percent: f64,
    pub amounts: Vec<AmountShape>,
}

/// Payments with one outcome in one currency.
#[derive(Debug, Clone)]
pub struct OutcomeTotal {
    pub outcome: Outcome,
    pub currency: String,
    pub payments: u64,
    pub total_minor: i64,
}

/// Rounded to two decimals.
pub fn percent(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { (part as f64 * 10_000.0 / whole as f64).round() / 100.0 }
}

/// All outcomes, including those without payments.
pub fn by_outcome(counted: &[OutcomeTotal]) -> Vec<OutcomeCountShape> {
    let all: u64 = counted.iter().map(|counted| counted.payments).sum();
    [Outcome::Approve, Outcome::Review, Outcome::Reject]
        .into_iter()
        .map(|outcome| {
            let own = || counted.iter().filter(|counted| counted.outcome == outcome);
            let payments = own().map(|counted| counted.payments).sum();
            let amounts = own().map(|counted| AmountShape {
                currency: counted.currency.clone(),
                total_minor: counted.total_minor,
            });
            let percent = percent(payments, all);
            OutcomeCountShape { outcome: outcome.into(), payments, percent, amounts: amounts.collect() }
        })
        .collect()
}
