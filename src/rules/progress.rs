//! How far a ruleset has come, for whoever stops waiting for it.
//!
//! Owns the runs that have ended and the fuel of the one under way. Must never
//! hold up a rule.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::RuleRun;

/// The fuel that the running rule had burned at its last tick.
pub(super) type RunningFuel = Arc<AtomicU64>;

#[derive(Debug, Default)]
pub(super) struct Progress {
    runs: Mutex<Vec<RuleRun>>,
    running_fuel: RunningFuel,
}

impl Progress {
    pub(super) fn running_fuel(&self) -> &RunningFuel {
        &self.running_fuel
    }

    pub(super) fn ended(&self, run: RuleRun) {
        let mut runs = self.runs();
        runs.push(run);
        self.running_fuel.store(0, Ordering::Relaxed);
    }

    /// The runs that have ended, and the fuel that the next rule has burned.
    pub(super) fn take(&self) -> (Vec<RuleRun>, u64) {
        let mut runs = self.runs();
        (std::mem::take(&mut *runs), self.running_fuel.load(Ordering::Relaxed))
    }

    fn runs(&self) -> MutexGuard<'_, Vec<RuleRun>> {
        self.runs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
