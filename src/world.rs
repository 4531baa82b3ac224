//! The only module that reads the clock and the random source.
//!
//! Implements the traits of `domain::time`; `app` passes the implementations to the other rooms.
//! Tests cannot replace this module, so it must not contain logic. `Instant`, for pauses and
//! deadlines, is allowed everywhere.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};

use crate::domain::time::{Clock, Machine, Monotonic, Randomness, World};

/// The clocks of the machine that this process runs on.
pub fn machine() -> Machine {
    Machine { system: Arc::new(SystemClock), monotonic: Arc::new(MonotonicClock) }
}

/// The clock and the random source of the operating system.
pub fn system() -> World {
    with_clock(Arc::new(SystemClock))
}

/// The given clock with the random source of the operating system.
pub fn with_clock(clock: Arc<dyn Clock>) -> World {
    World::new(clock, Arc::new(OsRandomness))
}

#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now_ms(&self) -> u64 {
        // A clock that is before 1970 or 500 million years ahead is wrong in any case.
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since_1970.as_millis()).unwrap_or(u64::MAX)
    }
}

/// On Linux it also counts the time that the machine sleeps.
#[derive(Debug, Clone, Copy, Default)]
pub struct MonotonicClock;

impl Monotonic for MonotonicClock {
    fn now_us(&self) -> u64 {
        #[cfg(target_os = "linux")]
        let clock = ClockId::Boottime;
        #[cfg(not(target_os = "linux"))]
        let clock = ClockId::Monotonic;
        // It counts from the start of the machine, so it is never negative.
        let since_start = Duration::try_from(clock_gettime(clock)).unwrap_or_default();
        u64::try_from(since_start.as_micros()).unwrap_or(u64::MAX)
    }
}

/// The random source of the operating system.
#[derive(Debug, Clone, Copy, Default)]
pub struct OsRandomness;

impl Randomness for OsRandomness {
    /// Panics if there is no randomness: a key that can be guessed must not be used.
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
