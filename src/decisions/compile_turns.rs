//! Turns to compile a plugin, which come before its bytes are read from the database.
//!
//! Owns how many plugins a node holds in memory for its compiler, whoever wants them
//! compiled. A turn must never be waited for with the bytes in hand: then their number
//! would bound nothing. How many are compiled at once is the engine's to say.

use tokio::sync::{Semaphore, SemaphorePermit};

use crate::domain::plugin::{ByProfile, Profile};
use crate::storage::StorageError;

/// A large plugin has tens of megabytes, and its compiler takes gigabytes.
const LARGE_AT_ONCE: usize = 1;
/// One for an upload, one for what another node took in, and one more.
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
