//! Sets up an import from the configuration, with the client that all imports of a tenant
//! share.
//!
//! Nobody may know that client's secret.

use std::sync::Arc;

use thiserror::Error;

use super::tenants::{TenantError, tenant_of};
use super::{StartError, journal, root_secret};
use crate::auth::AuthError;
use crate::auth::password::{HashingLimits, SecretHasher, SecretText};
use crate::config::Config;
use crate::decisions::imports::{EarlierRuns, Imports};
use crate::decisions::journal_clock::JournalClock;
use crate::domain::plugin::Digest;
use crate::domain::tenant::{ClientId, TenantId};
use crate::storage::databases::Databases;
use crate::storage::reference::ReferenceMemory;
use crate::storage::{StorageError, clients};
use crate::world::{OsRandomness, machine, with_clock};

const CLIENT_NAME: &str = "import";

#[derive(Debug, Error)]
pub enum OpenImportError {
    #[error(transparent)]
    Tenant(#[from] TenantError),
    #[error("the client for imports could not be created")]
    Auth(#[from] AuthError),
    #[error(transparent)]
    Start(#[from] StartError),
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// Opens an import into the tenant with this name. The import has its own journal.
pub async fn open(config: &Config, databases: &Databases, tenant: &str) -> Result<Imports, OpenImportError> {
    let tenant = tenant_of(&databases.system, tenant).await?;
    let world = with_clock(Arc::new(JournalClock::start(databases.system.clone(), machine()).await?));
    let settings = &config.settings;
    let root = root_secret(settings)?;
    let journal = journal::start(settings, databases, world.clone()).await?;
    let checkpoints = journal::checkpoints(settings, &root, Arc::new(journal.clone()))?;
    let client = client(databases, tenant, world.now_ms()).await?;
    Ok(Imports {
        earlier: EarlierRuns { tenant, client, app: databases.app.clone() },
        system: databases.system.clone(),
        journal,
        reference: ReferenceMemory::new(databases, settings.reference_memory_max_bytes),
        checkpoints,
        world,
        months: tokio::sync::Mutex::default(),
    })
}

/// The results of earlier imports into the tenant with this name.
pub async fn earlier_runs(databases: &Databases, tenant: &str) -> Result<EarlierRuns, TenantError> {
    let tenant = tenant_of(&databases.system, tenant).await?;
    Ok(EarlierRuns { tenant, client: client_id(tenant), app: databases.app.clone() })
}

/// The client's id is derived from the tenant's, so concurrent imports agree on it.
async fn client(
    databases: &Databases,
    tenant: TenantId,
    created_at_ms: u64,
) -> Result<ClientId, OpenImportError> {
    let id = client_id(tenant);
    if clients::find_credentials(&databases.app, id).await?.is_some() {
        return Ok(id);
    }
    let hasher = SecretHasher::new(HashingLimits::default(), &OsRandomness)?;
    let client = clients::NewClient {
        tenant,
        id,
        name: CLIENT_NAME.to_owned(),
        // The hash of a random secret that is not kept.
        secret_hash: hasher.hash(SecretText::generate_for_client(&OsRandomness), &OsRandomness).await?,
        scopes: Vec::new(),
        requests_per_s: None,
        certificate: None,
        created_by: CLIENT_NAME.to_owned(),
        created_at_ms,
    };
    match clients::create(&databases.system, &client).await {
        Err(error) if !error.is_unique_violation() => Err(error.into()),
        _ => Ok(id),
    }
}

fn client_id(tenant: TenantId) -> ClientId {
    let digest = Digest::of(format!("client of imports {tenant}").as_bytes());
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest.0[..16]);
    ClientId(uuid::Builder::from_custom_bytes(bytes).into_uuid())
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    /// With another id, a repeated import would store the tenant's history a second time.
    #[test]
    fn the_client_of_imports_is_the_same_for_ever() {
        let client = client_id(TenantId(Uuid::from_u128(7)));
        assert_eq!(client.to_string(), "e9351ca5-7742-8076-8982-f6201d6ece27");
        assert_ne!(client, client_id(TenantId(Uuid::from_u128(8))));
    }
}
