//! The columns of the queries for velocities and aggregates, and how their rows are read.

use sqlx::Row;
use sqlx::postgres::PgRow;
use uuid::Uuid;

use super::columns::{RequestQuery, number};
use super::{FactRequest, WHAT};
use crate::domain::aggregate::{AggregateQuery, AggregateTally, DISTINCT_MAX, SeenPayment};
use crate::domain::money::{Currency, Money};
use crate::domain::series::Series;
use crate::domain::verdict::Outcome;
use crate::storage::columns::{bigint, ms, named};
use crate::storage::series::{method_number, outcome_number, series_digest};
use crate::storage::values::{DAY_MS, day_of};
use crate::storage::{StorageError, evidence};

/// All methods or outcomes.
const ANY: i32 = -1;

/// The values of `seen` in the rows of the statement.
const FIRST: i16 = 1;
const LAST: i16 = 2;

/// One element for each query. `excluded_first` and `excluded_last` are the bounds of a slice of
/// the payments in flight.
#[derive(Debug, Default)]
pub(super) struct AggregateColumns {
    pub place: Vec<i32>,
    pub ordinal: Vec<i32>,
    pub tenant: Vec<Uuid>,
    pub at_ms: Vec<i64>,
    pub payment: Vec<Uuid>,
    pub value_key: Vec<Uuid>,
    pub after_ms: Vec<i64>,
    pub excluded_first: Vec<i32>,
    pub excluded_last: Vec<i32>,
    pub amount_at_least: Vec<Option<i64>>,
    pub amount_below: Vec<Option<i64>>,
    /// Bits by the numbers of methods and outcomes.
    pub methods: Vec<i32>,
    pub outcomes: Vec<i32>,
    /// The numbers of the names. 0 if there is no filter.
    pub event: Vec<i32>,
    /// How many distinct values are read. None if 0.
    pub distinct_max: Vec<i32>,
    pub first_and_last: Vec<bool>,
    /// Whether only a count and a sum are asked for.
    pub is_velocity: Vec<bool>,
    /// The digest of the series, if the query may be answered from roll-ups.
    pub rolled_series: Vec<Option<Uuid>>,
    /// The first day that is wholly in the window.
    pub whole_from: Vec<i32>,
}

impl AggregateColumns {
    /// Adds a query about the payments with this key, without those of the slice.
    pub fn add(
        &mut self,
        own: RequestQuery<'_>,
        query: &AggregateQuery,
        key: Uuid,
        (first, last): (i32, i32),
        event: i32,
        is_velocity: bool,
    ) {
        let payment = &own.request.payment;
        let received_at_ms = bigint(payment.received_at_ms);
        let filter = &query.filter;
        self.place.push(own.place);
        self.ordinal.push(own.ordinal);
        self.tenant.push(own.request.tenant.0);
        self.at_ms.push(received_at_ms);
        self.payment.push(payment.id.0);
        self.value_key.push(key);
        let after_ms = received_at_ms.saturating_sub(bigint(query.window_ms));
        self.after_ms.push(after_ms);
        self.whole_from.push(first_whole_day(after_ms));
        self.rolled_series.push(query.is_by_day().then(|| series_digest(&Series::of(query))));
        self.excluded_first.push(first);
        self.excluded_last.push(last);
        self.amount_at_least.push(filter.amount_at_least);
        self.amount_below.push(filter.amount_below);
        self.methods.push(bits(filter.methods.iter().map(|method| method_number(*method))));
        self.outcomes.push(bits(filter.outcomes.iter().map(|outcome| outcome_number(*outcome))));
        self.event.push(event);
        // One more than is counted exactly shows that there are more.
        let distinct_max = if query.distinct.is_some() { number(DISTINCT_MAX + 1) } else { 0 };
        self.distinct_max.push(distinct_max);
        self.first_and_last.push(query.first_and_last);
        self.is_velocity.push(is_velocity);
    }

    pub fn is_empty(&self) -> bool {
        self.place.is_empty()
    }

    /// The slice of an earlier query of this request with the same key.
    pub fn shared_slice(&self, own_from: usize, key: Uuid) -> Option<(i32, i32)> {
        let place = own_from + self.value_key[own_from..].iter().position(|known| *known == key)?;
        Some((self.excluded_first[place], self.excluded_last[place]))
    }
}

/// The first day of which all payments were received after this time.
fn first_whole_day(after_ms: i64) -> i32 {
    day_of(after_ms.max(-1).saturating_add(DAY_MS))
}

fn bits(numbers: impl Iterator<Item = i16>) -> i32 {
    match numbers.fold(0, |bits, number| bits | 1 << number) {
        0 => ANY,
        bits => bits,
    }
}

/// The payments in flight that the request lists under this key.
pub(super) fn in_flight(request: &FactRequest, key: Uuid) -> Vec<Uuid> {
    let own = request.in_flight.iter().filter(|value| value.value_key == key);
    own.flat_map(|value| value.payments.iter().map(|payment| payment.0)).collect()
}

/// Reads a row: the numbers of a query, or its first or last payment.
pub(super) fn tally_of(row: &PgRow) -> Result<AggregateTally, StorageError> {
    let mut tally = AggregateTally::new(false);
    match row.try_get::<Option<i16>, _>("seen")? {
        None => return numbers_of(row),
        Some(FIRST) => tally.first = Some(seen_of(row)?),
        Some(LAST) => tally.last = Some(seen_of(row)?),
        Some(_) => return Err(StorageError::Unreadable { what: WHAT }),
    }
    Ok(tally)
}

/// A sum of bigints is numeric, and is read as text.
fn numbers_of(row: &PgRow) -> Result<AggregateTally, StorageError> {
    let unreadable = || StorageError::Unreadable { what: WHAT };
    let (total, squares): (&str, &str) = (row.try_get("total")?, row.try_get("squares")?);
    let distinct: Option<Vec<i64>> = row.try_get("distinct_keys")?;
    Ok(AggregateTally {
        count: ms(row.try_get("count")?, WHAT)?,
        unconverted: ms(row.try_get("unconverted")?, WHAT)?,
        total: total.parse().map_err(|_| unreadable())?,
        squares: squares.parse().ok(),
        minimum_minor: row.try_get("minimum")?,
        maximum_minor: row.try_get("maximum")?,
        distinct: distinct.map(|keys| keys.into_iter().collect()),
        first: None,
        last: None,
    })
}

fn seen_of(row: &PgRow) -> Result<SeenPayment, StorageError> {
    let unreadable = || StorageError::Unreadable { what: WHAT };
    let currency = Currency::parse(row.try_get("currency")?).map_err(|_| unreadable())?;
    let amount = Money::new(row.try_get("total_minor")?, currency).map_err(|_| unreadable())?;
    let mut seen = SeenPayment {
        received_at_ms: ms(row.try_get("count")?, WHAT)?,
        amount,
        outcome: named(Outcome::parse(row.try_get("outcome")?), WHAT)?,
        debtor_country: None,
        creditor_country: None,
    };
    if let Some(payload) = row.try_get::<Option<&[u8]>, _>("payload")? {
        // A payment that cannot be read is shown like an erased one.
        if let Ok(stored) = evidence::decode(row.try_get("payload_version")?, payload) {
            let order = &stored.payment.order;
            seen.debtor_country.clone_from(&order.debtor.country);
            seen.creditor_country.clone_from(&order.creditor.country);
        }
    }
    Ok(seen)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_is_wholly_in_a_window_if_the_window_begins_before_its_first_payment() {
        for (after_ms, expected) in [
            (-DAY_MS, 0),
            (-1, 0),
            (0, 1),
            (1, 1),
            (DAY_MS - 2, 1),
            (DAY_MS - 1, 1),
            (DAY_MS, 2),
            (20 * DAY_MS - 1, 20),
            (20 * DAY_MS, 21),
            (i64::MAX, i32::MAX),
        ] {
            assert_eq!(first_whole_day(after_ms), expected, "{after_ms}");
        }
    }
}
