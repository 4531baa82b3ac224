//! How much of the engine one tenant may use: how many of its rulesets run and wait at once, and
//! whether they may start on the server's threads.
//!
//! Without these limits, a tenant whose rules use their whole budget slows all others. In
//! measurements, the limits mattered more than any scheduling.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::EngineError;
use crate::domain::tenant::TenantId;

/// With more tenants than this, idle ones are forgotten.
const REMEMBERED_MAX: usize = 1024;

/// A ruleset that takes more processor time leaves the server's threads, and the tenant's next ones
/// do not start there. Fifty of the shipped rules take 0.4 ms.
pub(super) const QUICK: Duration = Duration::from_micros(500);

/// After this many quick rulesets in a row, the tenant's rulesets start on the server's threads
/// again.
const QUICK_AGAIN: u32 = 16;

#[derive(Debug)]
pub(super) struct TenantLimits {
    concurrency: usize,
    waiting_max: usize,
    queues: Mutex<HashMap<TenantId, Arc<TenantQueue>>>,
}

#[derive(Debug)]
struct TenantQueue {
    turns: Arc<Semaphore>,
    waiting: AtomicUsize,
    /// How many more quick rulesets it takes until they start on the server's threads again.
    missing: AtomicU32,
    /// The processor time of all its rulesets so far.
    spent_us: Arc<AtomicU64>,
}

/// Permission for one ruleset to run, until it is dropped.
#[derive(Debug)]
pub(super) struct Admission {
    _permit: OwnedSemaphorePermit,
    queue: Arc<TenantQueue>,
}

impl Admission {
    /// Whether the tenant's rulesets may start on the server's threads.
    pub(super) fn is_quick(&self) -> bool {
        self.queue.missing.load(Ordering::Relaxed) == 0
    }

    /// Notes the processor time of a ruleset, which need not have ended.
    pub(super) fn took(&self, spent: Duration) {
        if spent > QUICK {
            self.queue.missing.store(QUICK_AGAIN, Ordering::Relaxed);
        } else {
            let less = |missing: u32| missing.checked_sub(1);
            let _ = self.queue.missing.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
        }
    }
}

/// Counts a caller as waiting until it is dropped.
struct WaiterCount<'a>(&'a AtomicUsize);

impl Drop for WaiterCount<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl TenantLimits {
    pub(super) fn new(concurrency: usize, waiting_max: usize) -> Self {
        Self { concurrency, waiting_max, queues: Mutex::default() }
    }

    /// The counter of the processor time of the tenant's rulesets.
    pub(super) fn account_us(&self, tenant: TenantId) -> Arc<AtomicU64> {
        self.queue_of(tenant).spent_us.clone()
    }

    /// Waits until the tenant may run another ruleset.
    pub(super) async fn admit(&self, tenant: TenantId) -> Result<Admission, EngineError> {
        let queue = self.queue_of(tenant);
        let _permit = match queue.turns.clone().try_acquire_owned() {
            Ok(permit) => permit,
            Err(_) => {
                let _waiting = queue.wait(self.waiting_max)?;
                let permit = queue.turns.clone().acquire_owned().await;
                permit.map_err(|error| EngineError::Unavailable(error.to_string()))?
            }
        };
        Ok(Admission { _permit, queue })
    }

    fn queue_of(&self, tenant: TenantId) -> Arc<TenantQueue> {
        let mut queues = self.queues.lock().unwrap_or_else(PoisonError::into_inner);
        if queues.len() > REMEMBERED_MAX && !queues.contains_key(&tenant) {
            queues.retain(|_, queue| !queue.is_idle(self.concurrency));
        }
        queues.entry(tenant).or_insert_with(|| Arc::new(TenantQueue::new(self.concurrency))).clone()
    }
}

impl TenantQueue {
    fn new(concurrency: usize) -> Self {
        let turns = Arc::new(Semaphore::new(concurrency));
        Self { turns, waiting: AtomicUsize::new(0), missing: AtomicU32::new(0), spent_us: Arc::default() }
    }

    fn wait(&self, waiting_max: usize) -> Result<WaiterCount<'_>, EngineError> {
        let before = self.waiting.fetch_add(1, Ordering::Relaxed);
        let waiting = WaiterCount(&self.waiting);
        if before < waiting_max { Ok(waiting) } else { Err(EngineError::Busy) }
    }

    fn is_idle(self: &Arc<Self>, concurrency: usize) -> bool {
        Arc::strong_count(self) == 1
            && self.turns.available_permits() == concurrency
            && self.missing.load(Ordering::Relaxed) == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tenant(number: u128) -> TenantId {
        TenantId(uuid::Uuid::from_u128(number))
    }

    #[tokio::test]
    async fn a_tenant_above_its_share_waits_and_then_gets_busy() {
        let tenants = Arc::new(TenantLimits::new(1, 1));
        let first = tenants.admit(tenant(1)).await.expect("the first runs");
        let waiter = tokio::spawn({
            let tenants = tenants.clone();
            async move { tenants.admit(tenant(1)).await.map(drop) }
        });
        tokio::task::yield_now().await;
        assert_eq!(tenants.admit(tenant(1)).await.map(drop), Err(EngineError::Busy));
        assert!(tenants.admit(tenant(2)).await.is_ok(), "another tenant is not held up");
        drop(first);
        assert_eq!(waiter.await.expect("the waiter ends"), Ok(()));
    }

    #[tokio::test]
    async fn a_caller_that_gives_up_waiting_makes_room() {
        let tenants = TenantLimits::new(1, 1);
        let _first = tenants.admit(tenant(1)).await.expect("the first runs");
        for _ in 0..3 {
            let mut waiting = Box::pin(tenants.admit(tenant(1)));
            assert!(futures::poll!(waiting.as_mut()).is_pending());
        }
    }

    #[tokio::test]
    async fn idle_tenants_are_forgotten_and_busy_ones_are_not() {
        let tenants = TenantLimits::new(1, 1);
        let _busy = tenants.admit(tenant(0)).await.expect("it runs");
        for number in 1..=3000 {
            drop(tenants.admit(tenant(number)).await.expect("it runs"));
        }
        assert!(tenants.queues.lock().expect("unpoisoned").len() <= REMEMBERED_MAX + 1);
        let mut waiting = Box::pin(tenants.admit(tenant(0)));
        assert!(futures::poll!(waiting.as_mut()).is_pending(), "its turn is still remembered");
    }
}
