//! Looks into failed calls: how many there are at once, and how many one request has.
//!
//! Owns that no tenant's looks take the place of another's. Must never hold the bytes of
//! a plugin while a look waits.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::FutureExt;
use futures::future::{BoxFuture, Shared};
use thiserror::Error;
use tokio::sync::{Semaphore, SemaphorePermit, oneshot};
use tokio::time::Instant;

use super::plugins::Plugins;
use crate::domain::plugin::{ByProfile, Profile};
use crate::domain::tenant::TenantId;
use crate::rules::{Diagnosis, EngineError, FailedCall};
use crate::storage::StorageError;

/// Under way or waiting on this node, one of a tenant. Each holds its call, a megabyte at most.
const UNDER_WAY_MAX: usize = 32;

/// Of one request, and for how long in all: a person waits.
const OF_REQUEST_MAX: usize = 3;
const REQUEST_PATIENCE: Duration = Duration::from_secs(1);

/// Told to everybody who waits for the same look.
#[derive(Debug, Clone, Error)]
pub enum LookError {
    /// The tenant has another one under way, or the node as many as it bears.
    #[error("other failures are being diagnosed")]
    Busy,
    #[error(transparent)]
    Engine(#[from] EngineError),
    #[error(transparent)]
    Storage(Arc<StorageError>),
}

impl From<StorageError> for LookError {
    fn from(error: StorageError) -> Self {
        Self::Storage(Arc::new(error))
    }
}

type Looked = Result<Option<Diagnosis>, LookError>;
type Looking = Shared<BoxFuture<'static, Looked>>;

#[derive(Debug)]
pub(super) struct Looks {
    under_way: Arc<Mutex<UnderWay>>,
    /// One small plugin and one large one: seconds of one do not wait for minutes of the other.
    turns: ByProfile<Semaphore>,
}

type UnderWay = HashMap<TenantId, (FailedCall, Looking)>;

impl Default for Looks {
    fn default() -> Self {
        let turns = ByProfile { small: Semaphore::new(1), large: Semaphore::new(1) };
        Self { under_way: Arc::default(), turns }
    }
}

impl Looks {
    /// Begins a look, which goes on whether or not anybody waits for it. One of a tenant at a
    /// time, which whoever asks for the same call joins.
    pub(super) fn join<F>(
        &self,
        tenant: TenantId,
        call: FailedCall,
        look: impl FnOnce(FailedCall) -> F,
    ) -> Result<Looking, LookError>
    where
        F: Future<Output = Looked> + Send + 'static,
    {
        let mut under_way = lock(&self.under_way);
        if let Some((other, looking)) = under_way.get(&tenant) {
            return if *other == call { Ok(looking.clone()) } else { Err(LookError::Busy) };
        }
        if under_way.len() >= UNDER_WAY_MAX {
            return Err(LookError::Busy);
        }
        // A runtime that shuts down drops the task inside `spawn`. Dropping a `Place` locks, so
        // the task gets it only after the lock here is released.
        let (place, placed) = oneshot::channel();
        let work = look(call.clone());
        let looking = tokio::spawn(async move {
            let _place = placed.await;
            work.await
        });
        let given_up = |error: tokio::task::JoinError| EngineError::Unavailable(error.to_string()).into();
        let looking =
            async move { looking.await.unwrap_or_else(|error| Err(given_up(error))) }.boxed().shared();
        under_way.insert(tenant, (call, looking.clone()));
        drop(under_way);
        // A task that is gone gives the place back at once.
        let _ = place.send(Place { under_way: self.under_way.clone(), tenant });
        Ok(looking)
    }

    /// To hold a plugin's bytes and the engine's attention.
    pub(super) async fn turn(&self, profile: Profile) -> Result<SemaphorePermit<'_>, StorageError> {
        self.turns.of(profile).acquire().await.map_err(|_| StorageError::Abandoned)
    }
}

/// A tenant's place, until its look ends in whatever way.
struct Place {
    under_way: Arc<Mutex<UnderWay>>,
    tenant: TenantId,
}

impl Drop for Place {
    fn drop(&mut self) {
        lock(&self.under_way).remove(&self.tenant);
    }
}

fn lock(under_way: &Mutex<UnderWay>) -> MutexGuard<'_, UnderWay> {
    under_way.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What one request may look into. All of it only helps an author: whatever cannot be told in
/// time is left out.
pub(super) struct RequestLooks<'a> {
    plugins: &'a Arc<Plugins>,
    tenant: TenantId,
    left: usize,
    patience: Duration,
}

impl<'a> RequestLooks<'a> {
    pub(super) fn new(plugins: &'a Arc<Plugins>, tenant: TenantId) -> Self {
        Self { plugins, tenant, left: OF_REQUEST_MAX, patience: REQUEST_PATIENCE }
    }

    pub(super) async fn look_into(&mut self, call: impl FnOnce() -> FailedCall) -> Option<Diagnosis> {
        if self.left == 0 || self.patience.is_zero() {
            return None;
        }
        self.left -= 1;
        let begun = Instant::now();
        let looked = self.plugins.look_into(self.tenant, call(), self.patience).await;
        self.patience = self.patience.saturating_sub(begun.elapsed());
        looked.ok().flatten()
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::domain::plugin::Digest;

    fn call(settings: &str) -> FailedCall {
        FailedCall::Prepare { plugin: Digest([1; 32]), settings: settings.to_owned() }
    }

    fn tenant(number: usize) -> TenantId {
        TenantId(Uuid::from_u128(number as u128))
    }

    /// Ends when the sender has gone.
    fn held(until: &tokio::sync::watch::Sender<()>) -> impl Future<Output = Looked> + use<> {
        let mut told = until.subscribe();
        async move {
            let _ = told.changed().await;
            Ok(None)
        }
    }

    #[tokio::test]
    async fn a_tenant_has_one_look_at_a_time_which_others_join_and_leaves_the_rest_to_others() {
        let looks = Looks::default();
        let end = tokio::sync::watch::Sender::new(());
        let is_busy = |begun: Result<Looking, LookError>| matches!(begun, Err(LookError::Busy));
        let begin = |number, settings| looks.join(tenant(number), call(settings), |_| held(&end));
        let first = begin(0, "a").expect("the first of a tenant");
        let never = |_| async { panic!("it is under way") };
        let joined = looks.join(tenant(0), call("a"), never).expect("the same call");
        assert!(is_busy(begin(0, "b")), "another call of the tenant's");
        let others: Vec<Looking> =
            (1..UNDER_WAY_MAX).map(|number| begin(number, "a").expect("another tenant's")).collect();
        assert!(is_busy(begin(UNDER_WAY_MAX, "a")), "more than a node has");
        drop(end);
        for looking in others.into_iter().chain([first, joined]) {
            assert!(matches!(looking.await, Ok(None)));
        }
        let again = looks.join(tenant(0), call("b"), |_| async { Ok(None) });
        assert!(again.is_ok(), "the tenant's place is free again");
    }
}
