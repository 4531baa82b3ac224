//! Latencies of requests and their percentiles.

use std::time::Duration;

/// The latencies of a period.
pub struct Latencies {
    sorted: Vec<Duration>,
    measured: Duration,
}

impl Latencies {
    pub fn of(mut all: Vec<Duration>, measured: Duration) -> Self {
        all.sort_unstable();
        Self { sorted: all, measured }
    }

    pub fn per_second(&self) -> f64 {
        self.sorted.len() as f64 / self.measured.as_secs_f64()
    }

    /// NaN if there was no response in the period.
    pub fn at_ms(&self, share: f64) -> f64 {
        let Some(last) = self.sorted.len().checked_sub(1) else { return f64::NAN };
        self.sorted[(last as f64 * share) as usize].as_secs_f64() * 1e3
    }
}
