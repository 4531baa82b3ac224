//! Aggregates: what rules ask about earlier payments with the same values, and the answers.
//!
//! An answer is put together from several parts: stored payments, and payments in flight. The
//! arithmetic must give the same results on every machine, so there are no floating-point numbers.

use serde::{Deserialize, Serialize};

use super::millionths::Millionths;
use super::money::{Currency, Money};
use super::party::Country;
use super::payment::Method;
use super::payment_event::EventKind;
use super::selector::Selector;
use super::verdict::Outcome;

pub use tally::AggregateTally;

mod tally;

/// The most selectors of one query.
pub const SELECTORS_MAX: usize = 3;

/// Longer windows are answered from roll-ups of days: two days.
const BY_DAY_ABOVE_MS: u64 = 2 * 86_400_000;
/// The longest window of a filter that looks at each payment: 31 days.
pub const EACH_PAYMENT_WINDOW_MAX_MS: u64 = 31 * 86_400_000;

/// Up to this number, distinct values are counted exactly.
pub const DISTINCT_MAX: usize = 256;

/// Asks about earlier payments with the same values of all selectors, received in the window.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct AggregateQuery {
    /// One to [`SELECTORS_MAX`], each once, in their order.
    pub selectors: Vec<Selector>,
    pub window_ms: u64,
    pub filter: PaymentFilter,
    /// If `None`, only payments in the same currency count.
    pub conversion: Option<Conversion>,
    /// The distinct values of this selector are counted.
    pub distinct: Option<Selector>,
    pub first_and_last: bool,
}

impl AggregateQuery {
    /// Whether the window is so long that it is answered from roll-ups of days. They know the method
    /// and the outcome of payments, but no single amounts and no events.
    pub fn is_by_day(&self) -> bool {
        self.window_ms > BY_DAY_ABOVE_MS && !self.filter.needs_each_payment()
    }
}

impl PaymentFilter {
    /// Whether each payment has to be looked at, so that long windows are expensive.
    pub fn needs_each_payment(&self) -> bool {
        self.amount_at_least.is_some() || self.amount_below.is_some() || self.event.is_some()
    }
}

/// Which earlier payments count. The default lets all through.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PaymentFilter {
    /// In minor units of the measured currency, like `amount_below`.
    pub amount_at_least: Option<i64>,
    pub amount_below: Option<i64>,
    /// Each once, in their order. All if empty.
    pub methods: Vec<Method>,
    /// Each once, in their order. All if empty.
    pub outcomes: Vec<Outcome>,
    /// Only payments of which this was reported before the payment that is being decided.
    pub event: Option<EventKind>,
}

/// Converts amounts by a table of the tenant, by the version that was valid when the payment was
/// received.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Conversion {
    pub table: String,
    pub currency: Currency,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AggregateFact {
    pub count: u64,
    /// The largest `i64` if the sum is larger.
    pub total_minor: i64,
    /// Whether a number is too large for its type. It is then the largest that fits.
    pub overflowed: bool,
    pub minimum_minor: Option<i64>,
    pub maximum_minor: Option<i64>,
    /// Of the amounts in minor units, halves rounded up. `None` if no amount was counted.
    pub mean: Option<Millionths>,
    /// The standard deviation of all counted amounts in minor units, rounded down.
    pub deviation: Option<Millionths>,
    /// How many payments have an amount that could not be converted. They are counted, but their
    /// amounts are not.
    pub unconverted: u64,
    pub distinct: Option<DistinctCount>,
    pub first: Option<SeenPayment>,
    pub last: Option<SeenPayment>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DistinctCount {
    pub count: u64,
    /// Whether there may be more.
    pub is_lower_bound: bool,
}

/// What is shown of the first or last payment of an aggregate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeenPayment {
    pub received_at_ms: u64,
    pub amount: Money,
    pub outcome: Outcome,
    /// `None` if the payment has none or was erased.
    pub debtor_country: Option<Country>,
    pub creditor_country: Option<Country>,
}
