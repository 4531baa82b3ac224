//! Tenants, for operators.

use thiserror::Error;

use crate::domain::audit::Authority;
use crate::domain::retention::RetentionMonths;
use crate::domain::tenant::TenantId;
use crate::domain::time::World;
use crate::domain::user::{OPERATORS, OPERATORS_NAME};
use crate::storage::StorageError;
use crate::storage::pool::SystemPool;
use crate::storage::tenants::{self, Tenant};

#[derive(Debug, Error)]
pub enum TenantError {
    #[error("a tenant with this name exists")]
    Taken,
    #[error(transparent)]
    Storage(#[from] StorageError),
}

#[derive(Debug)]
pub struct Tenants {
    pub system: SystemPool,
    pub world: World,
}

impl Tenants {
    /// By name.
    pub async fn list(&self, after: Option<String>, limit: u32) -> Result<Vec<Tenant>, StorageError> {
        tenants::list(&self.system, after, limit).await
    }

    pub async fn create(&self, name: String, actor: &str) -> Result<Tenant, TenantError> {
        if name == OPERATORS_NAME {
            return Err(TenantError::Taken);
        }
        let now_ms = self.world.now_ms();
        let id = TenantId(self.world.uuid_v7(now_ms));
        match tenants::create_tenant(&self.system, id, &name, now_ms, actor).await {
            Ok(()) => Ok(Tenant { id, name, created_at_ms: now_ms }),
            Err(error) if error.is_unique_violation() => Err(TenantError::Taken),
            Err(error) => Err(error.into()),
        }
    }

    /// How many months of decisions are kept. `None` keeps everything.
    pub async fn change_retention(
        &self,
        tenant: TenantId,
        authority: Authority,
        months: Option<RetentionMonths>,
    ) -> Result<(), StorageError> {
        tenants::set_retention(&self.system, tenant, months, authority, self.world.now_ms()).await?;
        Ok(())
    }
}

/// Creates the tenant of the operators, unless it exists.
pub async fn ensure_operators(system: &SystemPool, now_ms: u64, actor: &str) -> Result<(), TenantError> {
    match tenants::create_tenant(system, OPERATORS, OPERATORS_NAME, now_ms, actor).await {
        Ok(()) => Ok(()),
        Err(error) if error.is_unique_violation() => {
            let named = tenants::tenant_by_name(system, OPERATORS_NAME).await?;
            if named == Some(OPERATORS) { Ok(()) } else { Err(TenantError::Taken) }
        }
        Err(error) => Err(error.into()),
    }
}
