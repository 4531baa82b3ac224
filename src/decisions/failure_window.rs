//! Counts the runs and failures of one rule in a sliding window of time.

use crate::domain::quarantine::RunCounts;

/// In a window of a minute, one slot is a second.
const SLOTS: usize = 60;

#[derive(Debug, Clone)]
pub struct FailureWindow {
    slot_ms: u64,
    slots: [RunCounts; SLOTS],
    /// The newest slot that was written, counted from 1970.
    newest: u64,
    sum: RunCounts,
}

impl FailureWindow {
    pub fn new(window_ms: u64) -> Self {
        let slot_ms = window_ms.div_ceil(SLOTS as u64).max(1);
        Self { slot_ms, slots: [RunCounts::default(); SLOTS], newest: 0, sum: RunCounts::default() }
    }

    /// Counts a run. Returns the sums of the window, this run included.
    pub fn note(&mut self, at_ms: u64, failed: bool) -> RunCounts {
        self.move_on(at_ms);
        let slot = at_ms / self.slot_ms;
        // A payment with a later time may have moved the window past this one.
        if slot + SLOTS as u64 > self.newest {
            let failures = u32::from(failed);
            for record in [&mut self.slots[place_of(slot)], &mut self.sum] {
                record.runs = record.runs.saturating_add(1);
                record.failures = record.failures.saturating_add(failures);
            }
        }
        self.sum
    }

    /// Whether all runs have left the window.
    pub fn is_over(&self, at_ms: u64) -> bool {
        at_ms / self.slot_ms >= self.newest + SLOTS as u64
    }

    fn move_on(&mut self, at_ms: u64) {
        let slot = at_ms / self.slot_ms;
        if self.is_over(at_ms) {
            self.slots = [RunCounts::default(); SLOTS];
            self.sum = RunCounts::default();
            self.newest = slot;
        }
        while self.newest < slot {
            self.newest += 1;
            let left = std::mem::take(&mut self.slots[place_of(self.newest)]);
            self.sum.runs = self.sum.runs.saturating_sub(left.runs);
            self.sum.failures = self.sum.failures.saturating_sub(left.failures);
        }
    }
}

fn place_of(slot: u64) -> usize {
    (slot % SLOTS as u64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    const START_MS: u64 = 1_700_000_000_000;

    #[test]
    fn a_run_leaves_the_window_after_its_length_and_not_before() {
        let mut window = FailureWindow::new(60_000);
        for second in 0..60 {
            window.note(START_MS + second * 1_000, second < 10);
        }
        let record = window.note(START_MS + 59_999, false);
        assert_eq!(record, RunCounts { runs: 61, failures: 10 });
        let record = window.note(START_MS + 64_000, false);
        assert_eq!(record, RunCounts { runs: 57, failures: 5 });
        assert!(!window.is_over(START_MS + 123_999));
        assert!(window.is_over(START_MS + 124_000));
        assert_eq!(window.note(START_MS + 200_000, true), RunCounts { runs: 1, failures: 1 });
    }

    #[test]
    fn a_time_that_is_a_little_behind_counts_where_it_belongs() {
        let mut window = FailureWindow::new(60_000);
        window.note(START_MS + 30_000, false);
        assert_eq!(window.note(START_MS + 10_000, true), RunCounts { runs: 2, failures: 1 });
        assert_eq!(window.note(START_MS + 70_000, false), RunCounts { runs: 2, failures: 0 });
        assert_eq!(window.note(START_MS, true), RunCounts { runs: 2, failures: 0 }, "too old to count");
    }
}
