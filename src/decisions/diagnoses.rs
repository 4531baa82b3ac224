//! Diagnoses: a failed call is repeated to find the cause.

mod flights;
pub mod recorded_failure;

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout};

pub use self::flights::DiagnosisError;
use self::flights::DiagnosisFlights;
use super::plugins::Plugins;
use crate::domain::tenant::TenantId;
use crate::rules::{Diagnosis, EngineError, FailedCall, MissedDeadline, RuleEngine};

/// How many diagnoses one request may have, and how long they may take together: a person waits.
const OF_REQUEST_MAX: usize = 3;
const REQUEST_PATIENCE: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub struct Diagnoses {
    engine: Arc<dyn RuleEngine>,
    plugins: Arc<Plugins>,
    flights: DiagnosisFlights,
}

impl Diagnoses {
    pub fn new(engine: Arc<dyn RuleEngine>, plugins: Arc<Plugins>) -> Self {
        Self { engine, plugins, flights: DiagnosisFlights::default() }
    }

    /// Diagnoses a failed call and waits for at most `patience`. The work goes on after that, so
    /// the next request gets its result sooner. `None` if the call does not fail again.
    pub async fn diagnose(
        self: &Arc<Self>,
        tenant: TenantId,
        call: FailedCall,
        patience: Duration,
    ) -> Result<Option<Diagnosis>, DiagnosisError> {
        let this = self.clone();
        let repeat = async move |call: FailedCall| {
            let plugin = this.plugins.ensure_loaded(call.plugin()).await?;
            let _turn = this.flights.turn(plugin.profile).await?;
            let bytes = this.plugins.stored_bytes(plugin.digest).await?;
            Ok(this.engine.diagnose(call, bytes).await?)
        };
        let flight = self.flights.join_or_start(tenant, call, repeat)?;
        let Ok(result) = timeout(patience, flight.result()).await else {
            return Err(EngineError::Deadline(MissedDeadline::default()).into());
        };
        result.unwrap_or_else(|| Err(EngineError::Unavailable("the diagnosis was aborted".to_owned()).into()))
    }
}

/// The diagnoses of one request. They only help an author, so those that take too long are left
/// out.
pub(super) struct RequestDiagnoses<'a> {
    diagnoses: &'a Arc<Diagnoses>,
    tenant: TenantId,
    left: usize,
    patience: Duration,
}

impl<'a> RequestDiagnoses<'a> {
    pub(super) fn new(diagnoses: &'a Arc<Diagnoses>, tenant: TenantId) -> Self {
        Self { diagnoses, tenant, left: OF_REQUEST_MAX, patience: REQUEST_PATIENCE }
    }

    pub(super) async fn diagnose(&mut self, call: impl FnOnce() -> FailedCall) -> Option<Diagnosis> {
        if self.left == 0 || self.patience.is_zero() {
            return None;
        }
        self.left -= 1;
        let begun = Instant::now();
        let result = self.diagnoses.diagnose(self.tenant, call(), self.patience).await;
        self.patience = self.patience.saturating_sub(begun.elapsed());
        result.ok().flatten()
    }
}
