//! The traits of clocks and of the random source, a clock for tests, and the calendar.
//!
//! The implementations that read a clock or random bytes are in the module `world`.

use std::fmt::{self, Debug, Display};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use uuid::Uuid;

/// A clock that knows the date.
pub trait Clock: Send + Sync + Debug {
    /// UTC in milliseconds since 1970.
    fn now_ms(&self) -> u64;
}

/// A clock that cannot be set and never goes back.
pub trait Monotonic: Send + Sync + Debug {
    /// Microseconds since some moment in the past.
    fn now_us(&self) -> u64;
}

/// The clocks of the machine that a node runs on.
#[derive(Debug, Clone)]
pub struct Machine {
    /// The operating system's clock, which may be wrong and may be set at any time. Only used
    /// to measure how wrong it is.
    pub system: Arc<dyn Clock>,
    pub monotonic: Arc<dyn Monotonic>,
}

/// A source of bytes that nobody can guess, for keys, secrets and ids.
pub trait Randomness: Send + Sync + Debug {
    fn fill(&self, bytes: &mut [u8]);

    /// A new id. Ids sort by their time, to the millisecond.
    fn uuid_v7(&self, now_ms: u64) -> Uuid {
        let mut tail = [0; 10];
        self.fill(&mut tail);
        uuid::Builder::from_unix_timestamp_millis(now_ms, &tail).into_uuid()
    }
}

/// The clock and the random source of a process. Clones share both.
#[derive(Debug, Clone)]
pub struct World {
    clock: Arc<dyn Clock>,
    randomness: Arc<dyn Randomness>,
}

impl World {
    pub fn new(clock: Arc<dyn Clock>, randomness: Arc<dyn Randomness>) -> Self {
        Self { clock, randomness }
    }

    /// UTC in milliseconds since 1970.
    pub fn now_ms(&self) -> u64 {
        self.clock.now_ms()
    }

    pub fn uuid_v7(&self, now_ms: u64) -> Uuid {
        self.randomness.uuid_v7(now_ms)
    }

    pub fn randomness(&self) -> &dyn Randomness {
        self.randomness.as_ref()
    }
}

/// The days from the first of March of the year 0 to the beginning of 1970.
const DAYS_TO_1970: u64 = 719_468;

/// A month of the calendar, in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Month {
    pub year: u64,
    /// From 1.
    pub number: u64,
}

impl Month {
    /// Counts in years that begin in March, so that a leap day is the last day of its year.
    pub fn of(at_ms: u64) -> Self {
        const DAYS_OF_400_YEARS: u64 = 146_097;
        let days = at_ms / 86_400_000 + DAYS_TO_1970;
        let (era, day) = (days / DAYS_OF_400_YEARS, days % DAYS_OF_400_YEARS);
        let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
        let day_of_year = day - (365 * year + year / 4 - year / 100);
        let from_march = (5 * day_of_year + 2) / 153;
        let year = era * 400 + year;
        if from_march < 10 {
            Self { year, number: from_march + 3 }
        } else {
            Self { year: year + 1, number: from_march - 9 }
        }
    }

    /// Reads the form that is displayed.
    pub fn parse(text: &str) -> Option<Self> {
        let (year, number) = text.split_once('-')?;
        let month = Self { year: year.parse().ok()?, number: number.parse().ok()? };
        ((1970..=9999).contains(&month.year) && (1..=12).contains(&month.number)).then_some(month)
    }

    pub const fn start_ms(self) -> u64 {
        day_start_ms(self.year, self.number, 1)
    }

    /// Not before 1970, which is as far as times go.
    pub const fn earlier_by(self, months: u64) -> Self {
        let count = (self.year * 12 + self.number - 1).saturating_sub(months);
        let count = if count < 1970 * 12 { 1970 * 12 } else { count };
        Self { year: count / 12, number: count % 12 + 1 }
    }

    pub const fn next(self) -> Self {
        match self.number {
            12 => Self { year: self.year + 1, number: 1 },
            number => Self { year: self.year, number: number + 1 },
        }
    }
}

/// Midnight UTC at the beginning of a day, from 1970 on.
pub const fn day_start_ms(year: u64, month: u64, day: u64) -> u64 {
    // Years that begin in March, as in `Month::of`.
    let (year, from_march) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = year * 365 + year / 4 - year / 100 + year / 400 + (153 * from_march + 2) / 5 + day - 1;
    (days - DAYS_TO_1970) * 86_400_000
}

impl Display for Month {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-{:02}", self.year, self.number)
    }
}

/// A clock for tests. It moves only when it is set.
#[derive(Debug)]
pub struct FixedClock(AtomicU64);

impl FixedClock {
    pub fn at(now_ms: u64) -> Self {
        Self(AtomicU64::new(now_ms))
    }

    pub fn set(&self, now_ms: u64) {
        self.0.store(now_ms, Ordering::SeqCst);
    }

    pub fn advance(&self, by_ms: u64) {
        self.0.fetch_add(by_ms, Ordering::SeqCst);
    }
}

impl Clock for FixedClock {
    fn now_ms(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_in_its_month() {
        for (at_ms, month) in [
            (0, "1970-01"),
            (946_684_799_999, "1999-12"),
            (946_684_800_000, "2000-01"),
            (951_868_799_999, "2000-02"),
            (951_868_800_000, "2000-03"),
            (1_709_164_800_000, "2024-02"),
            (1_709_251_200_000, "2024-03"),
            (1_798_761_599_999, "2026-12"),
            (1_798_761_600_000, "2027-01"),
            (4_107_542_399_999, "2100-02"),
            (4_107_542_400_000, "2100-03"),
        ] {
            assert_eq!(Month::of(at_ms).to_string(), month, "{at_ms}");
            assert_eq!(Month::parse(month), Some(Month::of(at_ms)));
            assert!((Month::of(at_ms).start_ms()..Month::of(at_ms).next().start_ms()).contains(&at_ms));
        }
    }
}
