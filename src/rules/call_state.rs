//! The state of one call in its Wasmtime store, and the limits that the store enforces.

use wasmtime::ResourceLimiter;

use super::limits::{Limits, TICK_MS};
use super::progress::ComputedMs;

pub(super) struct CallState {
    memory_bytes_left: usize,
    table_elements_max: usize,
    pub(super) ticks_left: u32,
    pub(super) computed_ms: ComputedMs,
    /// The limit that was exceeded. The limiter sets it, because Wasmtime's error does not say
    /// which.
    pub(super) limit_hit: Option<&'static str>,
}

impl CallState {
    pub(super) fn new(limits: &Limits, computed_ms: ComputedMs) -> Self {
        Self {
            memory_bytes_left: limits.memory_bytes,
            table_elements_max: limits.table_elements,
            ticks_left: limits.computing_ms / TICK_MS,
            computed_ms,
            limit_hit: None,
        }
    }

    /// The memory of all instances in the store.
    pub(super) fn memory_bytes(&self, limits: &Limits) -> usize {
        limits.memory_bytes.saturating_sub(self.memory_bytes_left)
    }
}

/// A request beyond a limit is an error instead of the usual -1, so the rule ends at once and
/// does not try again.
impl ResourceLimiter for CallState {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let wanted = desired.saturating_sub(current);
        if wanted > self.memory_bytes_left {
            self.limit_hit = Some("memory");
            wasmtime::bail!("memory limit");
        }
        // Wasmtime checks the memory's own maximum after this call. A request beyond it fails
        // there and must not be counted here.
        if maximum.is_none_or(|maximum| desired <= maximum) {
            self.memory_bytes_left -= wanted;
        }
        Ok(true)
    }

    fn table_growing(
        &mut self,
        _current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        if desired > self.table_elements_max {
            self.limit_hit = Some("table");
            wasmtime::bail!("table limit");
        }
        Ok(true)
    }
}
