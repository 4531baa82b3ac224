//! The fields that are not checked for card numbers, by tenant. This is a copy of the database's
//! settings.
//!
//! If a tenant is not in the copy, all its fields are checked.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};

use tokio::sync::Mutex;

use crate::domain::card_check::UncheckedFields;
use crate::domain::tenant::TenantId;
use crate::storage::pool::SystemPool;
use crate::storage::{StorageError, card_checks};

#[derive(Debug)]
pub struct CardChecks {
    system: SystemPool,
    by_tenant: RwLock<HashMap<TenantId, UncheckedFields>>,
    /// Held while following, so that no older copy replaces a newer one.
    following: Mutex<()>,
}

impl CardChecks {
    pub fn new(system: SystemPool) -> Self {
        Self { system, by_tenant: RwLock::default(), following: Mutex::default() }
    }

    pub fn unchecked(&self, tenant: TenantId) -> UncheckedFields {
        let by_tenant = self.by_tenant.read().unwrap_or_else(PoisonError::into_inner);
        by_tenant.get(&tenant).copied().unwrap_or_default()
    }

    /// Reads what operators have changed.
    pub async fn follow(&self) -> Result<(), StorageError> {
        let _following = self.following.lock().await;
        let found = card_checks::unchecked_of_all(&self.system).await?;
        *self.by_tenant.write().unwrap_or_else(PoisonError::into_inner) = found;
        Ok(())
    }
}
