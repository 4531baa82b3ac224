//! How much of the engine one tenant may hold: so many rulesets at once, so
//! many waiting, and whose rules may begin where the payment came in. Without
//! it, a tenant whose rules burn their budget slows everyone; measured, this
//! matters more than any scheduling.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::EngineError;
use crate::domain::tenant::TenantId;

/// Idle tenants are forgotten when there are more than this many.
const REMEMBERED_MAX: usize = 1024;

/// A ruleset that takes more of a processor does not stay on the server's threads,
/// and the tenant's next does not begin there. Fifty of the shipped rules take 0.4 ms.
pub(super) const QUICK: Duration = Duration::from_micros(500);

/// So many quick rulesets in a row, and a tenant is taken for a quick one again.
const QUICK_AGAIN: u32 = 16;

#[derive(Debug)]
pub(super) struct Tenants {
    concurrency: usize,
    waiting_max: usize,
    queues: Mutex<HashMap<TenantId, Arc<Queue>>>,
}

#[derive(Debug)]
struct Queue {
    turns: Arc<Semaphore>,
    waiting: AtomicUsize,
    /// Quick rulesets that are missing until the tenant is taken for a quick one.
    missing: AtomicU32,
    /// Processor time that its rulesets have taken so far.
    spent_us: Arc<AtomicU64>,
}

/// A place in the engine, until it is dropped.
#[derive(Debug)]
pub(super) struct Turn {
    _permit: OwnedSemaphorePermit,
    queue: Arc<Queue>,
}

impl Turn {
    /// Whether the tenant's rulesets took little lately.
    pub(super) fn is_quick(&self) -> bool {
        self.queue.missing.load(Ordering::Relaxed) == 0
    }

    /// The processor time of a ruleset, done or not.
    pub(super) fn took(&self, spent: Duration) {
        if spent > QUICK {
            self.queue.missing.store(QUICK_AGAIN, Ordering::Relaxed);
        } else {
            let less = |missing: u32| missing.checked_sub(1);
            let _ = self.queue.missing.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
        }
    }
}

/// Counts a caller as waiting, for as long as it does.
struct Waiting<'a>(&'a AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Tenants {
    pub(super) fn new(concurrency: usize, waiting_max: usize) -> Self {
        Self { concurrency, waiting_max, queues: Mutex::default() }
    }

    /// Microseconds of a processor that the tenant's rulesets have taken.
    pub(super) fn account_us(&self, tenant: TenantId) -> Arc<AtomicU64> {
        self.queue_of(tenant).spent_us.clone()
    }

    /// Waits for the tenant's turn.
    pub(super) async fn admit(&self, tenant: TenantId) -> Result<Turn, EngineError> {
        let queue = self.queue_of(tenant);
        let _permit = match queue.turns.clone().try_acquire_owned() {
            Ok(permit) => permit,
            Err(_) => {
                let _waiting = queue.wait(self.waiting_max)?;
                let permit = queue.turns.clone().acquire_owned().await;
                permit.map_err(|error| EngineError::Unavailable(error.to_string()))?
            }
        };
        Ok(Turn { _permit, queue })
    }

    fn queue_of(&self, tenant: TenantId) -> Arc<Queue> {
        let mut queues = self.queues.lock().unwrap_or_else(PoisonError::into_inner);
        if queues.len() > REMEMBERED_MAX && !queues.contains_key(&tenant) {
            queues.retain(|_, queue| !queue.is_idle(self.concurrency));
        }
        queues.entry(tenant).or_insert_with(|| Arc::new(Queue::new(self.concurrency))).clone()
    }
}

impl Queue {
    fn new(concurrency: usize) -> Self {
        let turns = Arc::new(Semaphore::new(concurrency));
        Self { turns, waiting: AtomicUsize::new(0), missing: AtomicU32::new(0), spent_us: Arc::default() }
    }

    fn wait(&self, waiting_max: usize) -> Result<Waiting<'_>, EngineError> {
        let before = self.waiting.fetch_add(1, Ordering::Relaxed);
        let waiting = Waiting(&self.waiting);
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
    async fn a_tenant_above_its_share_waits_and_then_is_told_that_it_is_busy() {
        let tenants = Arc::new(Tenants::new(1, 1));
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
        let tenants = Tenants::new(1, 1);
        let _first = tenants.admit(tenant(1)).await.expect("the first runs");
        for _ in 0..3 {
            let mut waiting = Box::pin(tenants.admit(tenant(1)));
            assert!(futures::poll!(waiting.as_mut()).is_pending());
        }
    }

    #[tokio::test]
    async fn idle_tenants_are_forgotten_and_busy_ones_are_not() {
        let tenants = Tenants::new(1, 1);
        let _busy = tenants.admit(tenant(0)).await.expect("it runs");
        for number in 1..=3000 {
            drop(tenants.admit(tenant(number)).await.expect("it runs"));
        }
        assert!(tenants.queues.lock().expect("unpoisoned").len() <= REMEMBERED_MAX + 1);
        let mut waiting = Box::pin(tenants.admit(tenant(0)));
        assert!(futures::poll!(waiting.as_mut()).is_pending(), "its turn is still remembered");
    }
}
