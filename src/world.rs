//! The only place that reads the clock and the random source.
//!
//! Owns the real implementations of the traits in `domain::time`; `app` hands
//! them to everything else. Must never hold any logic: what is here cannot be
//! fixed by a test.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};

use crate::domain::time::{Clock, Machine, Monotonic, Randomness};

/// Of the machine that this process runs on.
pub fn machine() -> Machine {
    Machine { system: Arc::new(SystemClock), monotonic: Arc::new(MonotonicClock) }
}

#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now_ms(&self) -> u64 {
        // A clock before 1970 or 500 million years ahead is broken either way.
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since_1970.as_millis()).unwrap_or(u64::MAX)
    }
}

/// Goes on while the machine sleeps, where the operating system has such a clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct MonotonicClock;

impl Monotonic for MonotonicClock {
    fn now_us(&self) -> u64 {
        #[cfg(target_os = "linux")]
        let clock = ClockId::Boottime;
        #[cfg(not(target_os = "linux"))]
        let clock = ClockId::Monotonic;
        // The clock counts from the start of the machine, so it is never negative.
        let since_start = Duration::try_from(clock_gettime(clock)).unwrap_or_default();
        u64::try_from(since_start.as_micros()).unwrap_or(u64::MAX)
    }
}

/// The operating system's generator.
#[derive(Debug, Clone, Copy, Default)]
pub struct OsRandomness;

impl Randomness for OsRandomness {
    /// Panics when there is no randomness: keys made without it are worse than none.
    fn fill(&self, bytes: &mut [u8]) {
        aws_lc_rs::rand::fill(bytes).expect("the operating system cannot provide randomness");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_carries_its_time_and_sorts_by_it() {
        let now_ms = SystemClock.now_ms();
        let (earlier, later) = (OsRandomness.uuid_v7(now_ms), OsRandomness.uuid_v7(now_ms + 1));
        assert_eq!(earlier.get_version_num(), 7);
        assert!(earlier < later);
        let (seconds, nanos) = earlier.get_timestamp().expect("version 7 has a time").to_unix();
        assert_eq!(seconds * 1000 + u64::from(nanos) / 1_000_000, now_ms);
    }
}
