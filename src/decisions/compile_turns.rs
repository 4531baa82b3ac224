//! Turns for compiling plugins. They bound how many plugins a node holds in memory to compile them.
//!
//! A turn must be taken before the plugin's bytes are read. The engine bounds how many plugins are
//! compiled at once.

use tokio::sync::{Semaphore, SemaphorePermit};

use crate::domain::plugin::{ByProfile, Profile};
use crate::storage::StorageError;

/// A large plugin has tens of megabytes, and its compiler takes gigabytes.
const LARGE_AT_ONCE: usize = 1;
/// One for an upload, one for a plugin from another node, and one to spare.
const SMALL_AT_ONCE: usize = 3;

#[derive(Debug)]
pub struct CompileTurns(ByProfile<Semaphore>);

impl Default for CompileTurns {
    fn default() -> Self {
        Self(ByProfile { small: Semaphore::new(SMALL_AT_ONCE), large: Semaphore::new(LARGE_AT_ONCE) })
    }
}

impl CompileTurns {
    pub async fn take(&self, profile: Profile) -> Result<SemaphorePermit<'_>, StorageError> {
        self.0.of(profile).acquire().await.map_err(|_| StorageError::Abandoned)
    }
}
