//! The time of the journal's database, as one node knows it.
//!
//! Owns the estimate, its bound, and how the time that is given out follows it.
//! Must never read a clock: readings come in. Must never give out a time before
//! one that it gave out already.

/// Two nodes that are both within this of the database are within twice this of each other.
pub const ERROR_MAX_US: u64 = 100_000;

/// How far the database's clock and a monotonic one may drift apart: a clock that
/// is being corrected by NTP goes wrong by up to so much.
const DRIFT_PER_MILLION: u64 = 500;

/// After a failover an older reading may be from a different server's clock.
const KNOWN_AGE_MAX_US: u64 = 3_000_000;

/// The time given out is at most a hundredth faster or slower than the clock under it.
const CORRECTED_PER: u64 = 100;

/// One reading of the database's clock, between two of the monotonic one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample {
    pub before_us: u64,
    /// UTC, since 1970.
    pub database_us: u64,
    pub after_us: u64,
}

/// What a sample changed about the time that is given out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Correction {
    /// Nothing but its rate, by a hundredth at most.
    Slow,
    /// It jumped ahead.
    Stepped { by_us: u64 },
    /// The database went back: time stands still until it has caught up.
    Waits { for_us: u64 },
}

#[derive(Debug)]
pub struct CorrectedTime {
    /// The possible offsets from the monotonic clock to the database's.
    known: Range,
    known_at_us: u64,
    /// The offset in use, and the monotonic reading at which it was set.
    offset_us: i64,
    offset_at_us: u64,
}

/// A range that holds the true offset, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Range {
    low_us: i64,
    high_us: i64,
}

impl Range {
    /// The database was asked after `before` and had answered before `after`.
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

    /// The range that both allow, or `None` where they contradict each other.
    fn and(self, other: Self) -> Option<Self> {
        let (low_us, high_us) = (self.low_us.max(other.low_us), self.high_us.min(other.high_us));
        (low_us <= high_us).then_some(Self { low_us, high_us })
    }

    fn middle_us(self) -> i64 {
        i64::midpoint(self.low_us, self.high_us)
    }
}

impl CorrectedTime {
    /// Begins with the database's own time.
    pub fn new(first: &Sample) -> Self {
        let known = Range::of(first);
        let at_us = first.after_us;
        Self { known, known_at_us: at_us, offset_us: known.middle_us(), offset_at_us: at_us }
    }

    /// Takes in a sample; `now_us` is the monotonic clock's, no earlier than any
    /// that was asked about.
    pub fn note(&mut self, sample: &Sample, now_us: u64) -> Correction {
        self.offset_us = self.offset_us(now_us);
        self.offset_at_us = now_us;
        let (reading, before) = (Range::of(sample), self.known_after(sample.after_us));
        // A contradiction means another clock: another server, or one that was set.
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

    /// The most that the time given out can differ from the database's.
    pub fn error_us(&self, now_us: u64) -> u64 {
        let known = self.known_after(now_us);
        let offset_us = self.offset_us(now_us);
        (known.high_us - offset_us).unsigned_abs().max((offset_us - known.low_us).unsigned_abs())
    }

    /// Whether the time given out is close to that of the database as it is now.
    pub fn is_trusted(&self, now_us: u64) -> bool {
        now_us.saturating_sub(self.known_at_us) <= KNOWN_AGE_MAX_US && self.error_us(now_us) <= ERROR_MAX_US
    }

    fn known_after(&self, now_us: u64) -> Range {
        let since_us = now_us.saturating_sub(self.known_at_us);
        self.known.widened(since_us.saturating_mul(DRIFT_PER_MILLION) / 1_000_000)
    }

    /// What the offset in use still lacks of the middle of what is possible.
    fn missing_us(&self) -> i64 {
        self.known.middle_us() - self.offset_us
    }

    /// Moves towards what is known, and never back by more than time has gone on.
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
