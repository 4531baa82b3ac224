//! What time and chance look like to the rest of the program.
//!
//! Owns the two traits through which a clock and a random source come in, and
//! a clock that stands still for tests. Must never read either itself: the
//! implementations that do live in `world`.

use std::fmt::Debug;
use std::sync::atomic::{AtomicU64, Ordering};

use uuid::Uuid;

/// UTC in milliseconds since 1970.
pub trait Clock: Send + Sync + Debug {
    fn now_ms(&self) -> u64;
}

/// A source of bytes nobody can guess. Keys and secrets are made of it.
pub trait Randomness: Send + Sync + Debug {
    fn fill(&self, bytes: &mut [u8]);

    /// An id that sorts by its time, to the millisecond.
    fn uuid_v7(&self, now_ms: u64) -> Uuid {
        let mut tail = [0; 10];
        self.fill(&mut tail);
        uuid::Builder::from_unix_timestamp_millis(now_ms, &tail).into_uuid()
    }
}

/// A clock that moves only when told to.
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
