//! The activations that this node could not apply yet. Each round of following the log tries them
//! again.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use thiserror::Error;

use crate::domain::plugin::Digest;
use crate::domain::ruleset::ActivatedDeployment;
use crate::domain::tenant::TenantId;
use crate::storage::StorageError;

/// Why an activation is delayed.
#[derive(Debug, Error)]
pub(super) enum ActivationDelay {
    #[error("the plugin {0} is not loaded")]
    Plugin(Digest),
    #[error("its plugins are still loading")]
    Loading,
    #[error(transparent)]
    Storage(#[from] StorageError),
}

#[derive(Debug, Default)]
pub(super) struct DelayedActivations(Mutex<HashMap<TenantId, DelayedActivation>>);

#[derive(Debug)]
struct DelayedActivation {
    activated: ActivatedDeployment,
    logged: bool,
}

impl DelayedActivations {
    /// Keeps the newest activation of each tenant.
    pub(super) fn note(&self, gained: impl IntoIterator<Item = (TenantId, ActivatedDeployment)>) {
        let mut delayed = self.lock();
        for (tenant, activated) in gained {
            let known = |held: &DelayedActivation| held.activated.sequence >= activated.sequence;
            if !delayed.get(&tenant).is_some_and(known) {
                delayed.insert(tenant, DelayedActivation { activated, logged: false });
            }
        }
    }

    pub(super) fn all(&self) -> Vec<(TenantId, ActivatedDeployment)> {
        self.lock().iter().map(|(tenant, held)| (*tenant, held.activated)).collect()
    }

    /// Forgets an activation that was applied.
    pub(super) fn remove(&self, tenant: TenantId) {
        self.lock().remove(&tenant);
    }

    /// Logs the delay, once for each activation.
    pub(super) fn log(&self, tenant: TenantId, error: &ActivationDelay) {
        let mut delayed = self.lock();
        let Some(held) = delayed.get_mut(&tenant).filter(|held| !held.logged) else { return };
        held.logged = true;
        let revision = held.activated.deployment.revision;
        tracing::warn!(%tenant, revision, %error, "an activation is delayed on this node");
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<TenantId, DelayedActivation>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
