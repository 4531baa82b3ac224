//! How far a ruleset has come, for whoever stops waiting for it.
//!
//! Owns the runs that have ended and how long the one under way has computed.
//! Must never hold up a rule.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::RuleRun;

/// Milliseconds that the running rule had computed at its last tick. Not its fuel:
/// compiled code keeps that in a register until it calls something.
pub(super) type ComputedMs = Arc<AtomicU32>;

#[derive(Debug, Default)]
pub(super) struct Progress {
    runs: Mutex<Vec<RuleRun>>,
    running_ms: ComputedMs,
}

impl Progress {
    pub(super) fn running_ms(&self) -> &ComputedMs {
        &self.running_ms
    }

    pub(super) fn ended(&self, run: RuleRun) {
        let mut runs = self.runs();
        runs.push(run);
        self.running_ms.store(0, Ordering::Relaxed);
    }

    /// The runs that have ended, and how long the next rule has computed.
    pub(super) fn take(&self) -> (Vec<RuleRun>, u32) {
        let mut runs = self.runs();
        (std::mem::take(&mut *runs), self.running_ms.load(Ordering::Relaxed))
    }

    fn runs(&self) -> MutexGuard<'_, Vec<RuleRun>> {
        self.runs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
