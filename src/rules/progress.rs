//! How far a ruleset has come, for a caller that stops waiting at the deadline.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::RuleRun;

/// For how many milliseconds the running rule had computed at its last tick. Its fuel is not known:
/// compiled code keeps it in a register until it makes a call.
pub(super) type ComputedMs = Arc<AtomicU32>;

#[derive(Debug, Default)]
pub(super) struct RulesetProgress {
    runs: Mutex<Vec<RuleRun>>,
    running_ms: ComputedMs,
}

impl RulesetProgress {
    pub(super) fn running_ms(&self) -> &ComputedMs {
        &self.running_ms
    }

    pub(super) fn ended(&self, run: RuleRun) {
        let mut runs = self.runs();
        runs.push(run);
        self.running_ms.store(0, Ordering::Relaxed);
    }

    /// The runs that have ended, and for how many milliseconds the next rule has computed.
    pub(super) fn take(&self) -> (Vec<RuleRun>, u32) {
        let mut runs = self.runs();
        (std::mem::take(&mut *runs), self.running_ms.load(Ordering::Relaxed))
    }

    fn runs(&self) -> MutexGuard<'_, Vec<RuleRun>> {
        self.runs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
