//! How many durations are within each of a few bounds, for percentiles over many nodes and any span.
//!
//! Counts are stored by the place of their bound, so bounds may only be added at the end.

/// In milliseconds. What takes longer than the last one counts for that.
pub const BOUNDS_MS: [u64; 22] =
    [1, 2, 3, 4, 5, 7, 10, 15, 20, 30, 50, 75, 100, 150, 200, 300, 500, 750, 1_000, 2_000, 5_000, 10_000];

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DurationCounts(pub [u64; BOUNDS_MS.len()]);

impl DurationCounts {
    pub fn add(&mut self, duration_ms: u64) {
        let place = BOUNDS_MS.iter().position(|bound| duration_ms <= *bound).unwrap_or(BOUNDS_MS.len() - 1);
        self.0[place] += 1;
    }

    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    /// The bound within which this share of the durations are. `None` without any.
    pub fn percentile(&self, percent: u64) -> Option<u64> {
        let total = self.total();
        let mut within = 0;
        self.0
            .iter()
            .zip(BOUNDS_MS)
            .find(|(count, _)| {
                within += **count;
                total > 0 && within * 100 >= total * percent
            })
            .map(|(_, bound_ms)| bound_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_the_bound_within_which_that_share_is() {
        let counts = |durations: &[u64]| {
            let mut counts = DurationCounts::default();
            durations.iter().for_each(|duration_ms| counts.add(*duration_ms));
            counts
        };
        for (durations, p50, p99) in [
            (&[][..], None, None),
            (&[0], Some(1), Some(1)),
            (&[1, 2, 3, 90], Some(2), Some(100)),
            (&[6, 6, 60_000], Some(7), Some(10_000)),
        ] {
            let counts = counts(durations);
            assert_eq!((counts.percentile(50), counts.percentile(99)), (p50, p99), "{durations:?}");
            assert_eq!(counts.total(), durations.len() as u64);
        }
    }
}
