//! Aggregates: questions about earlier payments with the same values, and the
//! answers.

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};

use crate::currency;
use crate::decimal::{Millionths, optional_decimal};
use crate::fact::Counting;
use crate::payment::{Method, Money, amount_in_words};
use crate::selector::Selector;

/// Asks about the earlier payments that have the same values of all selectors and were received in
/// the window. The current payment is not one of them.
///
/// With `..Default::default()` all payments in the same currency count.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AggregateQuery {
    /// One to three different ones. Payments must be found by at least one of them
    /// ([`Selector::finds_payments`]).
    pub selectors: Vec<Selector>,
    /// The length of the window, which ends when the payment was received. At most 400 days, or 31
    /// with `distinct` or `filter.event`.
    pub window_ms: u64,
    /// Which of the payments count.
    #[serde(default)]
    pub filter: PaymentFilter,
    /// Converts the amounts of all currencies to one. Without it, only payments in the payment's
    /// currency count.
    #[serde(default)]
    pub conversion: Option<Conversion>,
    /// Also counts the distinct values of this selector.
    #[serde(default)]
    pub distinct: Option<Selector>,
    /// Also looks up the first and the last of the payments.
    #[serde(default)]
    pub first_and_last: bool,
}

/// Which earlier payments count. The default lets all through.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PaymentFilter {
    /// In minor units of the measured currency.
    #[serde(default)]
    pub amount_at_least: Option<i64>,
    /// In minor units of the measured currency.
    #[serde(default)]
    pub amount_below: Option<i64>,
    /// Any of these. All if empty.
    #[serde(default)]
    pub methods: Vec<Method>,
    /// Any of these. All if empty.
    #[serde(default)]
    pub outcomes: Vec<Outcome>,
    /// Only payments of which this was reported before.
    #[serde(default)]
    pub event: Option<PaymentEvent>,
}

/// The payments that a velocity query with this counting counts.
impl From<Counting> for PaymentFilter {
    fn from(counting: Counting) -> Self {
        let outcomes = match counting {
            Counting::Submitted => vec![],
            Counting::Approved => vec![Outcome::Approve],
        };
        PaymentFilter { outcomes, ..PaymentFilter::default() }
    }
}

/// Converts amounts by a table of the tenant, as it was when each payment was received.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Conversion {
    /// The name of a table with a column `rate`: units of `currency` for one unit of the key.
    pub table: String,
    /// The currency of the result, as a code of ISO 4217.
    #[schemars(regex(pattern = "^[A-Z]{3}$"))]
    pub currency: String,
}

/// The outcome of a decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The payment was approved.
    Approve,
    /// A person had to review the payment.
    Review,
    /// The payment was rejected.
    Reject,
}

/// What became of a payment, as a client reported it later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PaymentEvent {
    /// A person took it for review.
    Claimed,
    /// A person approved it.
    Approved,
    /// A person rejected it.
    Rejected,
    /// Nobody reviewed it in time.
    Expired,
    /// The payer cancelled it.
    Cancelled,
    /// It was settled.
    Settled,
    /// It failed.
    Failed,
    /// It was refunded.
    Refunded,
    /// It was fraud.
    Fraud,
}

/// The answer to an [`AggregateQuery`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Aggregate {
    /// The number of payments.
    pub count: u64,
    /// Their sum in minor units.
    #[serde(default)]
    pub total_minor: i64,
    /// Whether a number is too large for its type. It is then the largest that fits.
    #[serde(default)]
    pub overflowed: bool,
    /// The smallest amount. `None` if no amount was counted.
    #[serde(default)]
    pub minimum_minor: Option<i64>,
    /// The largest amount. `None` if no amount was counted.
    #[serde(default)]
    pub maximum_minor: Option<i64>,
    /// The mean amount in minor units. `None` if no amount was counted.
    #[serde(default, deserialize_with = "optional_decimal")]
    pub mean: Option<Millionths>,
    /// The standard deviation of all amounts in minor units. `None` if no amount was counted.
    #[serde(default, deserialize_with = "optional_decimal")]
    pub deviation: Option<Millionths>,
    /// Payments that were counted, but whose amount could not be converted.
    #[serde(default)]
    pub unconverted: u64,
    /// The number of distinct values, if the query asked for it.
    #[serde(default)]
    pub distinct: Option<DistinctCount>,
    /// The first payment, if the query asked for it and there is one.
    #[serde(default)]
    pub first: Option<SeenPayment>,
    /// The last payment, if the query asked for it and there is one.
    #[serde(default)]
    pub last: Option<SeenPayment>,
}

impl Aggregate {
    /// The sum in messages, such as "1250.00 EUR". `like` is an amount in the measured currency.
    pub fn total_in_words(&self, like: &Money) -> String {
        amount_in_words(self.total_minor, &like.currency, like.exponent)
    }
}

/// How many distinct values there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DistinctCount {
    /// The number.
    pub count: u64,
    /// There are at least this many, and may be more.
    #[serde(default)]
    pub is_lower_bound: bool,
}

/// The first or the last payment of an aggregate.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SeenPayment {
    /// When Tollgate received it, in UTC milliseconds since 1970.
    pub received_at_ms: u64,
    /// Its own amount, not converted.
    #[serde(deserialize_with = "seen_amount")]
    pub amount: Money,
    /// The outcome of its decision.
    pub outcome: Outcome,
    /// The debtor's country, if there is one.
    #[serde(default)]
    pub debtor_country: Option<String>,
    /// The creditor's country, if there is one.
    #[serde(default)]
    pub creditor_country: Option<String>,
}

/// In case files, the exponent follows from the currency.
fn seen_amount<'de, D: Deserializer<'de>>(source: D) -> Result<Money, D::Error> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct SeenAmount {
        minor: i64,
        currency: String,
    }

    let SeenAmount { minor, currency } = SeenAmount::deserialize(source)?;
    match currency::exponent_of(&currency) {
        Some(exponent) => Ok(Money { minor, currency, exponent }),
        None => Err(serde::de::Error::custom("expected a currency of ISO 4217")),
    }
}
