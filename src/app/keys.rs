//! Loads the signing keys, which are encrypted in the database, into the key ring.
//!
//! A private key must never be kept outside of the ring.

use super::StartError;
use crate::auth::root_secret::{Purpose, RootSecret};
use crate::auth::sealed::Sealer;
use crate::auth::signing_key::{KeyRing, StoredSigningKey};
use crate::domain::time::World;
use crate::storage::databases::Databases;
use crate::storage::pool::SystemPool;
use crate::storage::signing_keys::{self, SigningKeyRow};

pub struct SigningKeys {
    system: SystemPool,
    sealer: Sealer,
}

impl std::fmt::Debug for SigningKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SigningKeys")
    }
}

impl SigningKeys {
    pub fn new(databases: &Databases, root: &RootSecret) -> Result<Self, StartError> {
        let sealer = Sealer::new(&root.derive(Purpose::SigningKeys)?)?;
        Ok(Self { system: databases.system.clone(), sealer })
    }

    /// Returns the stored keys. At the first start it creates the first key. If several
    /// nodes do so at once, one key is stored and all nodes read it.
    pub async fn open_or_create(&self, world: &World) -> Result<KeyRing, StartError> {
        let now_ms = world.now_ms();
        let first = StoredSigningKey::generate(&self.sealer, world.randomness(), now_ms)?;
        let row = SigningKeyRow {
            kid: first.kid,
            public_key: first.public_key,
            sealed_private_key: first.sealed_private_key,
            created_at_ms: first.created_at_ms,
            retired_at_ms: first.retired_at_ms,
        };
        if signing_keys::insert(&self.system, &row).await? {
            tracing::info!(kid = row.kid, "created the first signing key");
        }
        self.open(world.now_ms()).await
    }

    pub async fn open(&self, now_ms: u64) -> Result<KeyRing, StartError> {
        let stored: Vec<StoredSigningKey> = signing_keys::list(&self.system)
            .await?
            .into_iter()
            .map(|row| StoredSigningKey {
                kid: row.kid,
                public_key: row.public_key,
                sealed_private_key: row.sealed_private_key,
                created_at_ms: row.created_at_ms,
                retired_at_ms: row.retired_at_ms,
            })
            .collect();
        Ok(KeyRing::open(&stored, &self.sealer, now_ms)?)
    }
}
