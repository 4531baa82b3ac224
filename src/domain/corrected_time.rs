//! A node's estimate of the time of the journal's database, and the bound of its error.
//!
//! The returned time never goes back. Callers read the clocks and pass the times.

/// The largest error of a trusted time. Two nodes then differ by at most twice as much.
pub const ERROR_MAX_US: u64 = 100_000;

/// How far the database's clock and a monotonic one may drift apart. NTP corrects a clock by up to
/// this rate.
const DRIFT_PER_MILLION: u64 = 500;

/// The longest age of a trusted reading. After a failover, an older one may be from another
/// server's clock.
const KNOWN_AGE_MAX_US: u64 = 3_000_000;

/// The returned time runs at most a hundredth faster or slower than the monotonic clock.
const CORRECTED_PER: u64 = 100;

/// A reading of the database's clock between two readings of the monotonic clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample {
    pub before_us: u64,
    /// UTC, since 1970.
    pub database_us: u64,
    pub after_us: u64,
}

/// How a sample changed the returned time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Correction {
    /// Only its rate changed, by at most a hundredth.
    Slow,
    /// It jumped ahead.
    Stepped { by_us: u64 },
    /// The database's clock went back. The returned time stands still until the database has caught
    /// up.
    Waits { for_us: u64 },
}

#[derive(Debug)]
pub struct CorrectedTime {
    /// The possible offsets from the monotonic clock to the database's.
    known: Range,
    known_at_us: u64,
    /// The offset in use, and the monotonic time at which it was set.
    offset_us: i64,
    offset_at_us: u64,
}

/// A range that contains the true offset, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Range {
    low_us: i64,
    high_us: i64,
}

impl Range {
    /// The database read its clock between `before_us` and `after_us`.
    fn of(sample: &Sample) -> Self {
        let database_us = sample.database_us.cast_signed();
        Self {
            low_us: database_us - sample.after_us.cast_signed(),
            high_us: database_us - sample.before_us.cast_signed(),
        }
    }

    fn widened(self, by_us: u64) -> Self {
        let by_us = by_us.cast_signed();
        Self { low_us: self.low_us - by_us, high_us: self.high_us + by_us }
    }

    /// The intersection. `None` if it is empty.
    fn and(self, other: Self) -> Option<Self> {
        let (low_us, high_us) = (self.low_us.max(other.low_us), self.high_us.min(other.high_us));
        (low_us <= high_us).then_some(Self { low_us, high_us })
    }

    fn middle_us(self) -> i64 {
        i64::midpoint(self.low_us, self.high_us)
    }
}

impl CorrectedTime {
    /// Starts with the database's time.
    pub fn new(first: &Sample) -> Self {
        let known = Range::of(first);
        let at_us = first.after_us;
        Self { known, known_at_us: at_us, offset_us: known.middle_us(), offset_at_us: at_us }
    }

    /// Adds a sample. `now_us` is the monotonic time, and must not be earlier than in an earlier
    /// call.
    pub fn note(&mut self, sample: &Sample, now_us: u64) -> Correction {
        self.offset_us = self.offset_us(now_us);
        self.offset_at_us = now_us;
        let (reading, before) = (Range::of(sample), self.known_after(sample.after_us));
        // If the two ranges do not overlap, the database's clock was set, or it is another
        // server's.
        self.known = before.and(reading).unwrap_or(reading);
        self.known_at_us = sample.after_us;
        let missing_us = self.missing_us();
        let far = missing_us.unsigned_abs() > ERROR_MAX_US;
        if far && missing_us > 0 {
            self.offset_us += missing_us;
            Correction::Stepped { by_us: missing_us.unsigned_abs() }
        } else if far {
            Correction::Waits { for_us: missing_us.unsigned_abs() }
        } else {
            Correction::Slow
        }
    }

    /// UTC in microseconds since 1970, by the monotonic clock.
    pub fn at_us(&self, now_us: u64) -> u64 {
        now_us.saturating_add_signed(self.offset_us(now_us))
    }

    /// The largest possible difference between the returned time and the database's.
    pub fn error_us(&self, now_us: u64) -> u64 {
        let known = self.known_after(now_us);
        let offset_us = self.offset_us(now_us);
        (known.high_us - offset_us).unsigned_abs().max((offset_us - known.low_us).unsigned_abs())
    }

    /// Whether the returned time is close enough to the database's.
    pub fn is_trusted(&self, now_us: u64) -> bool {
        now_us.saturating_sub(self.known_at_us) <= KNOWN_AGE_MAX_US && self.error_us(now_us) <= ERROR_MAX_US
    }

    fn known_after(&self, now_us: u64) -> Range {
        let since_us = now_us.saturating_sub(self.known_at_us);
        self.known.widened(since_us.saturating_mul(DRIFT_PER_MILLION) / 1_000_000)
    }

    /// The difference from the offset in use to the middle of the known range.
    fn missing_us(&self) -> i64 {
        self.known.middle_us() - self.offset_us
    }

    /// The offset in use moves towards the known range, and back by no more than the time that has
    /// passed.
    fn offset_us(&self, now_us: u64) -> i64 {
        let since_us = now_us.saturating_sub(self.offset_at_us);
        let missing_us = self.missing_us();
        let most_us =
            if missing_us.unsigned_abs() > ERROR_MAX_US { since_us } else { since_us / CORRECTED_PER };
        let moved_us = missing_us.unsigned_abs().min(most_us).cast_signed();
        self.offset_us + moved_us * missing_us.signum()
    }
}

#[cfg(test)]
#[path = "corrected_time_tests.rs"]
mod tests;
