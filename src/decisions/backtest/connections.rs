//! Database access from the low-priority threads of backtests.
//!
//! Statements run on the server's threads: live work on the same pool must not wait for a thread of
//! low priority. Few connections are held at once.

use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::sync::Semaphore;

use crate::storage::StorageError;
use crate::storage::pool::SystemPool;

const AT_ONCE_MAX: usize = 2;

#[derive(Debug, Clone)]
pub(super) struct Connections {
    system: SystemPool,
    server: Handle,
    turns: Arc<Semaphore>,
}

impl Connections {
    pub fn new(system: SystemPool) -> Self {
        Self { system, server: Handle::current(), turns: Arc::new(Semaphore::new(AT_ONCE_MAX)) }
    }

    pub async fn run<T, F>(&self, work: impl FnOnce(SystemPool) -> F) -> Result<T, StorageError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, StorageError>> + Send + 'static,
    {
        let turn = self.turns.clone().acquire_owned().await.map_err(|_| StorageError::Abandoned)?;
        let work = work(self.system.clone());
        self.on_server(async move {
            let _turn = turn;
            work.await
        })
        .await
    }

    /// Like [`Self::run`], without waiting for other statements. Used to renew a lease, which could
    /// expire behind long statements.
    pub async fn run_at_once<T, F>(&self, work: impl FnOnce(SystemPool) -> F) -> Result<T, StorageError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, StorageError>> + Send + 'static,
    {
        self.on_server(work(self.system.clone())).await
    }

    async fn on_server<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, StorageError>> + Send + 'static,
    ) -> Result<T, StorageError> {
        self.server.spawn(work).await.unwrap_or(Err(StorageError::Abandoned))
    }
}
