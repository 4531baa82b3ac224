//! How long a tenant keeps its decisions.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::time::Month;

const DAY_MS: u64 = 86_400_000;

/// How many whole months are kept before the current one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "u16", into = "u16")]
pub struct RetentionMonths(u16);

impl RetentionMonths {
    pub const MAX: u16 = 1_200;

    pub fn new(months: u16) -> Option<Self> {
        (1..=Self::MAX).contains(&months).then_some(Self(months))
    }

    pub fn get(self) -> u16 {
        self.0
    }

    /// The first month that is kept.
    pub fn first_kept(self, now_ms: u64) -> Month {
        Month::of(now_ms).earlier_by(u64::from(self.0))
    }

    /// How long every decision is kept at least: at the beginning of a March, one month reaches back
    /// 28 days.
    pub fn kept_at_least_ms(self) -> u64 {
        /// The days of the shortest months in a row.
        const DAYS: [u64; 12] = [0, 28, 59, 89, 120, 150, 181, 212, 242, 273, 303, 334];
        let months = usize::from(self.0);
        ((months / 12) as u64 * 365 + DAYS[months % 12]) * DAY_MS
    }
}

impl TryFrom<u16> for RetentionMonths {
    type Error = &'static str;

    fn try_from(months: u16) -> Result<Self, Self::Error> {
        Self::new(months).ok_or("expected 1 to 1200 months")
    }
}

impl From<RetentionMonths> for u16 {
    fn from(months: RetentionMonths) -> Self {
        months.0
    }
}

impl fmt::Display for RetentionMonths {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.0, if self.0 == 1 { "month" } else { "months" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::time::day_start_ms;

    #[test]
    fn whole_months_are_kept_before_the_current_one() {
        for (months, (year, month, day), first_kept, days) in [
            (1, (2026, 3, 1), "2026-02", 28),
            (1, (2026, 3, 31), "2026-02", 28),
            (2, (2026, 1, 15), "2025-11", 59),
            (12, (2026, 1, 15), "2025-01", 365),
            (13, (2024, 2, 29), "2023-01", 393),
        ] {
            let retention = RetentionMonths::new(months).expect("a retention");
            let now_ms = day_start_ms(year, month, day);
            assert_eq!(retention.first_kept(now_ms).to_string(), first_kept);
            assert_eq!(retention.kept_at_least_ms(), days * DAY_MS, "{months}");
            assert!(now_ms - retention.first_kept(now_ms).start_ms() >= retention.kept_at_least_ms());
        }
        assert_eq!(RetentionMonths::new(0), None);
    }
}
