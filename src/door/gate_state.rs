//! What the gate and those who answer tell each other about the current request.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use super::bounds::count_refusal;
use super::refusal::Refusal;

#[derive(Debug, Default)]
pub struct GateState {
    refusal: Mutex<Option<Refusal>>,
    is_last: AtomicBool,
    is_watched: AtomicBool,
    /// Bytes of a streamed answer that hyper has and the connection has not taken.
    unsent_bytes: AtomicUsize,
    /// Whether the answer waits for the connection to take them.
    is_paced: AtomicBool,
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

    /// Whether hyper may have the next part of a streamed answer. If not, the gate wakes the task of
    /// the connection once it may. hyper alone would take up to eight parts ahead.
    pub(super) fn may_send(&self) -> bool {
        let may_send = self.unsent_bytes.load(Ordering::Acquire) == 0;
        self.is_paced.store(!may_send, Ordering::Release);
        may_send
    }

    pub(super) fn sends(&self, bytes: usize) {
        self.unsent_bytes.fetch_add(bytes, Ordering::AcqRel);
    }

    /// The connection took this much, the head and the frame of parts included. Returns whether the
    /// answer waited for that.
    pub(super) fn sent(&self, bytes: usize) -> bool {
        let left = self.unsent_bytes.load(Ordering::Acquire).saturating_sub(bytes);
        self.unsent_bytes.store(left, Ordering::Release);
        left == 0 && self.is_paced.swap(false, Ordering::AcqRel)
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
