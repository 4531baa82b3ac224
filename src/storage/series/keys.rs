//! The keys and numbers under which payments are stored for aggregates.
//!
//! They must never change, or earlier payments would no longer be counted.

use uuid::Uuid;

use crate::domain::payment::{Method, Payment, PaymentOrder};
use crate::domain::rates::Rates;
use crate::domain::series::Series;
use crate::domain::tenant::TenantId;
use crate::domain::verdict::Outcome;
use crate::storage::canonical::CanonicalHash;

/// One row of a payment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AggregateRow {
    pub value_key: Uuid,
    /// `None` if the amount could not be converted.
    pub amount_minor: Option<i64>,
    pub distinct_key: Option<i64>,
    /// Whether the series is rolled up by days.
    pub by_day: bool,
}

/// The rows of a payment: one for each series of which it has all values. `series` says which of
/// them are rolled up by days. `rates` must serve all conversions of the series.
pub fn rows_of<'s>(
    tenant: TenantId,
    series: impl IntoIterator<Item = (&'s Series, bool)>,
    payment: &Payment,
    rates: &Rates,
) -> Vec<AggregateRow> {
    let order = &payment.order;
    let row_of = |(series, by_day): (&Series, bool)| {
        Some(AggregateRow {
            value_key: aggregate_key(tenant, series, order)?,
            amount_minor: series.amount_of(payment, rates),
            distinct_key: distinct_key(tenant, series, order),
            by_day,
        })
    };
    series.into_iter().filter_map(row_of).collect()
}

pub(in crate::storage) fn series_digest(series: &Series) -> Uuid {
    let hash = hash_of(CanonicalHash::new("tollgate series 1"), series).finish();
    first_16(&hash.0)
}

/// The key of the payment's values. `None` if it lacks one of them.
pub fn aggregate_key(tenant: TenantId, series: &Series, order: &PaymentOrder) -> Option<Uuid> {
    let mut hash = hash_of(CanonicalHash::new("tollgate aggregate 1").field(tenant.0.as_bytes()), series);
    for form in series.forms(order)? {
        hash = hash.field(form.as_bytes());
    }
    // Without a conversion, the payments of each currency are kept apart.
    let currency = order.amount.currency();
    let apart = series.conversion.is_none().then(|| currency.code().as_bytes());
    Some(first_16(&hash.optional_field(apart).finish().0))
}

/// The hash of the value whose distinct values are counted.
pub fn distinct_key(tenant: TenantId, series: &Series, order: &PaymentOrder) -> Option<i64> {
    let form = series.distinct_form(order)?;
    let hash = CanonicalHash::new("tollgate distinct value 1")
        .field(tenant.0.as_bytes())
        .field(form.as_bytes())
        .finish();
    let mut first = [0; 8];
    first.copy_from_slice(&hash.0[..8]);
    Some(i64::from_be_bytes(first))
}

pub fn method_number(method: Method) -> i16 {
    match method {
        Method::Card => 0,
        Method::CreditTransfer => 1,
        Method::Instant => 2,
        Method::DirectDebit => 3,
        Method::Wallet => 4,
        Method::Other => 5,
    }
}

pub fn outcome_number(outcome: Outcome) -> i16 {
    match outcome {
        Outcome::Approve => 0,
        Outcome::Review => 1,
        Outcome::Reject => 2,
    }
}

fn hash_of(hash: CanonicalHash, series: &Series) -> CanonicalHash {
    let Series { selectors, conversion, distinct } = series;
    let count = selectors.len() as u64;
    let mut hash = hash.field(&count.to_be_bytes());
    for selector in selectors {
        hash = hash.field(selector.name().as_bytes());
    }
    let conversion = conversion.as_ref();
    hash.optional_field(conversion.map(|conversion| conversion.table.as_bytes()))
        .optional_field(conversion.map(|conversion| conversion.currency.code().as_bytes()))
        .optional_field(distinct.as_ref().map(|selector| selector.name().into_bytes()).as_deref())
}

fn first_16(hash: &[u8; 32]) -> Uuid {
    let mut key = [0; 16];
    key.copy_from_slice(&hash[..16]);
    Uuid::from_bytes(key)
}
