//! How many diagnoses run at once.
//!
//! A tenant has one at a time and a node a few, so no tenant's diagnoses delay another's.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use thiserror::Error;
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::decisions::single_flight::{Flight, RunningKeys, SingleFlight};
use crate::domain::plugin::{ByProfile, Profile};
use crate::domain::tenant::TenantId;
use crate::rules::{Diagnosis, EngineError, FailedCall};
use crate::storage::StorageError;

/// How many may run or wait on a node. Each has its call in memory, at most a megabyte.
const DIAGNOSES_MAX: usize = 32;

/// All callers of a single flight get a clone.
#[derive(Debug, Clone, Error)]
pub enum DiagnosisError {
    /// The tenant has another one under way, or the node has too many.
    #[error("other failures are being diagnosed")]
    Busy,
    #[error(transparent)]
    Engine(#[from] EngineError),
    #[error(transparent)]
    Storage(Arc<StorageError>),
}

impl From<StorageError> for DiagnosisError {
    fn from(error: StorageError) -> Self {
        Self::Storage(Arc::new(error))
    }
}

/// `None` if the call does not fail again.
pub(super) type DiagnosisResult = Result<Option<Diagnosis>, DiagnosisError>;

#[derive(Debug, Clone, PartialEq, Eq)]
struct DiagnosisKey {
    tenant: TenantId,
    call: FailedCall,
}

impl Hash for DiagnosisKey {
    /// A tenant has one diagnosis at a time, so its id is enough.
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.tenant.hash(state);
    }
}

#[derive(Debug)]
pub(super) struct DiagnosisFlights {
    flights: SingleFlight<DiagnosisKey, DiagnosisResult>,
    /// One small plugin and one large one: seconds of a small one do not wait for minutes of a
    /// large one.
    turns: ByProfile<Semaphore>,
}

impl Default for DiagnosisFlights {
    fn default() -> Self {
        let turns = ByProfile { small: Semaphore::new(1), large: Semaphore::new(1) };
        Self { flights: SingleFlight::default(), turns }
    }
}

impl DiagnosisFlights {
    /// Starts a diagnosis, or joins the tenant's own of the same call.
    pub(super) fn join_or_start<F>(
        &self,
        tenant: TenantId,
        call: FailedCall,
        diagnose: impl FnOnce(FailedCall) -> F,
    ) -> Result<Flight<DiagnosisResult>, DiagnosisError>
    where
        F: Future<Output = DiagnosisResult> + Send + 'static,
    {
        let key = DiagnosisKey { tenant, call: call.clone() };
        let admit = |mut running: RunningKeys<'_, DiagnosisKey, DiagnosisResult>| {
            let is_full = running.len() >= DIAGNOSES_MAX || running.any(|other| other.tenant == tenant);
            if is_full { Err(DiagnosisError::Busy) } else { Ok(()) }
        };
        self.flights.join_or_try_start(key, admit, || diagnose(call))
    }

    /// The bytes of a plugin may be held in memory only under a turn.
    pub(super) async fn turn(&self, profile: Profile) -> Result<SemaphorePermit<'_>, StorageError> {
        self.turns.of(profile).acquire().await.map_err(|_| StorageError::Abandoned)
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

    /// Ends once the sender has gone.
    fn held(until: &tokio::sync::watch::Sender<()>) -> impl Future<Output = DiagnosisResult> + use<> {
        let mut ended = until.subscribe();
        async move {
            let _ = ended.changed().await;
            Ok(None)
        }
    }

    #[tokio::test]
    async fn a_tenant_has_one_diagnosis_at_a_time_which_others_join_and_leaves_the_rest_to_others() {
        let flights = DiagnosisFlights::default();
        let end = tokio::sync::watch::Sender::new(());
        let is_busy = |started: Result<Flight<DiagnosisResult>, DiagnosisError>| {
            matches!(started, Err(DiagnosisError::Busy))
        };
        let start = |number, settings| flights.join_or_start(tenant(number), call(settings), |_| held(&end));
        let first = start(0, "a").expect("the first of a tenant");
        let never = |_| async { panic!("it is under way") };
        let joined = flights.join_or_start(tenant(0), call("a"), never).expect("the same call");
        assert!(is_busy(start(0, "b")), "another call of the tenant's");
        let others: Vec<Flight<DiagnosisResult>> =
            (1..DIAGNOSES_MAX).map(|number| start(number, "a").expect("another tenant's")).collect();
        assert!(is_busy(start(DIAGNOSES_MAX, "a")), "more than a node has");
        drop(end);
        for flight in others.into_iter().chain([first, joined]) {
            assert!(matches!(flight.result().await, Some(Ok(None))));
        }
        let again = flights.join_or_start(tenant(0), call("b"), |_| async { Ok(None) });
        assert!(again.is_ok(), "the tenant may start another one");
    }
}
