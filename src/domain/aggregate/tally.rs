//! Adds up the parts of an aggregate.

use std::collections::BTreeSet;

use super::{AggregateFact, DISTINCT_MAX, DistinctCount, SeenPayment};
use crate::domain::millionths::Millionths;

const MILLION: i128 = 1_000_000;

/// A part of an aggregate. Parts over different payments can be added in any order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AggregateTally {
    /// All payments, with or without an amount.
    pub count: u64,
    pub unconverted: u64,
    pub total: i128,
    /// The sum of the squares of all amounts. `None` if it does not fit.
    pub squares: Option<u128>,
    pub minimum_minor: Option<i64>,
    pub maximum_minor: Option<i64>,
    /// Hashes of the distinct values, if the query asks for them. Beyond [`DISTINCT_MAX`] some are
    /// left out.
    pub distinct: Option<BTreeSet<i64>>,
    pub first: Option<SeenPayment>,
    pub last: Option<SeenPayment>,
}

impl AggregateTally {
    /// Of no payments.
    pub fn new(counts_distinct: bool) -> Self {
        Self {
            count: 0,
            unconverted: 0,
            total: 0,
            squares: Some(0),
            minimum_minor: None,
            maximum_minor: None,
            distinct: counts_distinct.then(BTreeSet::new),
            first: None,
            last: None,
        }
    }

    /// Counts a payment. `amount_minor` is `None` if it could not be converted.
    pub fn count(&mut self, amount_minor: Option<i64>, distinct: Option<i64>) {
        let squared = |amount: i64| u128::from(amount.unsigned_abs()).pow(2);
        self.add(Self {
            count: 1,
            unconverted: u64::from(amount_minor.is_none()),
            total: amount_minor.map_or(0, i128::from),
            squares: Some(amount_minor.map_or(0, squared)),
            minimum_minor: amount_minor,
            maximum_minor: amount_minor,
            distinct: Some(distinct.into_iter().collect()),
            first: None,
            last: None,
        });
    }

    pub fn add(&mut self, other: Self) {
        self.count = self.count.saturating_add(other.count);
        self.unconverted = self.unconverted.saturating_add(other.unconverted);
        self.total = self.total.saturating_add(other.total);
        self.squares = self.squares.zip(other.squares).and_then(|(own, more)| own.checked_add(more));
        self.minimum_minor = [self.minimum_minor, other.minimum_minor].into_iter().flatten().min();
        self.maximum_minor = self.maximum_minor.max(other.maximum_minor);
        if let Some(distinct) = &mut self.distinct {
            distinct.extend(other.distinct.into_iter().flatten());
            while distinct.len() > DISTINCT_MAX + 1 {
                distinct.pop_last();
            }
        }
        // Of two payments in one millisecond, either may be shown.
        self.first = earliest(self.first.take(), other.first);
        self.last = latest(self.last.take(), other.last);
    }

    pub fn into_fact(self) -> AggregateFact {
        let amounts = self.count.saturating_sub(self.unconverted);
        let total_minor = i64::try_from(self.total);
        let mean = (amounts > 0).then(|| mean(self.total, amounts));
        let deviation = (amounts > 0).then(|| deviation(self.total, self.squares, amounts));
        let fits = |number: Option<Option<i64>>| number != Some(None);
        AggregateFact {
            count: self.count,
            total_minor: total_minor.unwrap_or(i64::MAX),
            overflowed: total_minor.is_err() || !fits(mean) || !fits(deviation),
            minimum_minor: self.minimum_minor,
            maximum_minor: self.maximum_minor,
            mean: mean.map(|mean| Millionths(mean.unwrap_or(i64::MAX))),
            deviation: deviation.map(|deviation| Millionths(deviation.unwrap_or(i64::MAX))),
            unconverted: self.unconverted,
            distinct: self.distinct.map(|distinct| DistinctCount {
                count: distinct.len().min(DISTINCT_MAX) as u64,
                is_lower_bound: distinct.len() > DISTINCT_MAX,
            }),
            first: self.first,
            last: self.last,
        }
    }
}

fn earliest(one: Option<SeenPayment>, other: Option<SeenPayment>) -> Option<SeenPayment> {
    [one, other].into_iter().flatten().min_by_key(|seen| seen.received_at_ms)
}

fn latest(one: Option<SeenPayment>, other: Option<SeenPayment>) -> Option<SeenPayment> {
    [one, other].into_iter().flatten().max_by_key(|seen| seen.received_at_ms)
}

/// In millionths, halves rounded up. `None` if it does not fit.
fn mean(total: i128, amounts: u64) -> Option<i64> {
    let amounts = i128::from(amounts);
    let doubled = total.checked_mul(2 * MILLION)?.checked_add(amounts)?;
    i64::try_from(doubled.div_euclid(2 * amounts)).ok()
}

/// In millionths, rounded down: the root of n times the squares minus the square of the total,
/// divided by n. `None` if it does not fit.
fn deviation(total: i128, squares: Option<u128>, amounts: u64) -> Option<i64> {
    let count = u128::from(amounts);
    let spread = squares?.checked_mul(count)?.checked_sub(total.unsigned_abs().checked_pow(2)?)?;
    // The root is taken of the largest multiple that fits, so that it is as exact as possible.
    let decimals =
        (0..=6_u32).rev().find(|decimals| spread.checked_mul(100_u128.pow(*decimals)).is_some())?;
    let root = (spread * 100_u128.pow(decimals)).isqrt();
    i64::try_from(root.checked_mul(10_u128.pow(6 - decimals))? / count).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::money::AMOUNT_MINOR_MAX;

    fn fact(amounts: &[i64]) -> AggregateFact {
        let mut tally = AggregateTally::new(false);
        amounts.iter().for_each(|amount| tally.count(Some(*amount), None));
        tally.into_fact()
    }

    #[test]
    fn mean_and_deviation_are_exact_to_the_millionth() {
        for (amounts, mean, deviation) in [
            (&[][..], None, None),
            (&[100], Some(100_000_000), Some(0)),
            (&[1, 2], Some(1_500_000), Some(500_000)),
            (&[1, 1, 2], Some(1_333_333), Some(471_404)),
            (&[1, 2, 2], Some(1_666_667), Some(471_404)),
            (&[2, 4, 4, 4, 5, 5, 7, 9], Some(5_000_000), Some(2_000_000)),
            (&[1_000_000_001, 1_000_000_003], Some(1_000_000_002_000_000), Some(1_000_000)),
        ] {
            let fact = fact(amounts);
            assert_eq!(
                (fact.mean, fact.deviation),
                (mean.map(Millionths), deviation.map(Millionths)),
                "{amounts:?}"
            );
            assert!(!fact.overflowed);
        }
    }

    #[test]
    fn a_number_that_does_not_fit_is_the_largest_one_and_says_so() {
        let fact = fact(&[AMOUNT_MINOR_MAX; 1_100]);
        assert_eq!((fact.count, fact.total_minor, fact.overflowed), (1_100, i64::MAX, true));
        assert_eq!(fact.mean, Some(Millionths(i64::MAX)));
        assert_eq!(
            (fact.minimum_minor, fact.maximum_minor),
            (Some(AMOUNT_MINOR_MAX), Some(AMOUNT_MINOR_MAX))
        );
    }

    #[test]
    fn a_payment_without_a_converted_amount_is_counted_and_its_amount_is_not() {
        let mut tally = AggregateTally::new(false);
        tally.count(None, None);
        tally.count(Some(10), None);
        let fact = tally.into_fact();
        assert_eq!((fact.count, fact.unconverted, fact.total_minor), (2, 1, 10));
        assert_eq!(fact.mean, Some(Millionths(10_000_000)));
    }

    #[test]
    fn distinct_values_are_exact_up_to_the_bound_and_at_least_that_many_above() {
        for (values, count, is_lower_bound) in
            [(0, 0, false), (256, 256, false), (257, 256, true), (900, 256, true)]
        {
            let mut tally = AggregateTally::new(true);
            (0..values).chain(0..values).for_each(|value| tally.count(Some(1), Some(value)));
            let expected = Some(DistinctCount { count, is_lower_bound });
            assert_eq!(tally.into_fact().distinct, expected);
        }
    }

    #[test]
    fn parts_add_up_in_any_order_to_what_all_payments_together_are() {
        let amounts: Vec<i64> = (1..60).map(|n| n * n * 7 % 1_000 + 1).collect();
        let part = |amounts: &[i64]| {
            let mut tally = AggregateTally::new(true);
            amounts.iter().for_each(|amount| tally.count(Some(*amount), Some(amount % 13)));
            tally
        };
        for split in 0..amounts.len() {
            let (early, late) = amounts.split_at(split);
            let (mut one, mut other) = (part(early), part(late));
            one.add(part(late));
            other.add(part(early));
            assert_eq!(one, part(&amounts));
            assert_eq!(other, one);
        }
    }
}
