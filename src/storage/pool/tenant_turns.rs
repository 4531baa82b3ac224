//! Limits how many transactions a tenant has at once, so that its slow queries leave connections to
//! other tenants.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::domain::tenant::TenantId;

/// If there are more tenants, those without a transaction are removed from the map.
const TENANTS_REMEMBERED_MAX: usize = 1_000;

/// The turns of each tenant on one pool.
#[derive(Debug)]
pub(super) struct TenantTurns {
    tenant_max: usize,
    by_tenant: Mutex<HashMap<TenantId, Arc<Semaphore>>>,
}

impl TenantTurns {
    /// A tenant may have three quarters of the pool's connections.
    pub fn of_connections(connections_max: u32) -> Self {
        Self { tenant_max: (connections_max as usize * 3 / 4).max(1), by_tenant: Mutex::default() }
    }

    /// Waits for a turn of the tenant. The caller must hold it until the transaction has ended.
    pub async fn take(&self, tenant: TenantId) -> Option<OwnedSemaphorePermit> {
        let turns = {
            let mut by_tenant = self.by_tenant.lock().unwrap_or_else(PoisonError::into_inner);
            if by_tenant.len() > TENANTS_REMEMBERED_MAX {
                by_tenant.retain(|_, turns| Arc::strong_count(turns) > 1);
            }
            by_tenant.entry(tenant).or_insert_with(|| Arc::new(Semaphore::new(self.tenant_max))).clone()
        };
        turns.acquire_owned().await.ok()
    }
}
