//! What the gate and those who answer tell each other about the current request.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use super::bounds::count_refusal;
use super::refusal::Refusal;

#[derive(Debug, Default)]
pub struct GateState {
    refusal: Mutex<Option<Refusal>>,
    is_last: AtomicBool,
    is_watched: AtomicBool,
}

impl GateState {
    /// Why the current request is refused.
    pub fn refusal(&self) -> Option<Refusal> {
        self.refusal.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether nothing can be read after the current request.
    pub fn is_last(&self) -> bool {
        self.is_last.load(Ordering::Acquire)
    }

    /// Whether to look if the client closes the connection while it is answered. hyper does not look,
    /// and events may be far between.
    pub fn watch(&self, is_watched: bool) {
        self.is_watched.store(is_watched, Ordering::Release);
    }

    pub(super) fn is_watched(&self) -> bool {
        self.is_watched.load(Ordering::Acquire)
    }

    pub(super) fn refuse(&self, refusal: Refusal) {
        count_refusal(&refusal);
        *self.refusal.lock().unwrap_or_else(PoisonError::into_inner) = Some(refusal);
        self.end();
    }

    /// The current request is the last one.
    pub(super) fn end(&self) {
        self.is_last.store(true, Ordering::Release);
    }
}
