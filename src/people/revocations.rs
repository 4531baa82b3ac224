//! Reads which tokens end before their time, and refuses them on this node.

use std::sync::Arc;

use tokio::sync::Mutex;

use crate::auth::revoked::REMEMBERED_MS;
use crate::auth::token::AccessTokens;
use crate::domain::time::World;
use crate::storage::StorageError;
use crate::storage::pool::SystemPool;
use crate::storage::revocations;

#[derive(Debug)]
pub struct Revocations {
    system: SystemPool,
    tokens: Arc<AccessTokens>,
    world: World,
    /// The sequence of the last one that was read. Held while reading.
    read_up_to: Mutex<i64>,
}

impl Revocations {
    pub fn new(system: SystemPool, tokens: Arc<AccessTokens>, world: World) -> Self {
        Self { system, tokens, world, read_up_to: Mutex::default() }
    }

    /// Reads what is new. Whoever revokes something calls this, so that it is refused here at once.
    pub async fn follow(&self) -> Result<(), StorageError> {
        let mut read_up_to = self.read_up_to.lock().await;
        let from_ms = self.world.now_ms().saturating_sub(REMEMBERED_MS);
        let found = revocations::since(&self.system, *read_up_to, from_ms).await?;
        if let Some(last) = found.last() {
            *read_up_to = last.sequence;
        }
        let found: Vec<_> = found.iter().map(|found| (found.revocation, found.revoked_at_ms)).collect();
        self.tokens.revoke(&found);
        Ok(())
    }

    /// Deletes what all nodes have forgotten.
    pub async fn delete_old(&self) -> Result<(), StorageError> {
        let than_ms = self.world.now_ms().saturating_sub(2 * REMEMBERED_MS);
        revocations::delete_older(&self.system, than_ms).await
    }
}
