//! The database, from threads that stand back.
//!
//! Owns how many connections backtests hold at once. Statements run where the
//! server runs: a connection belongs to the runtime that opened it, and live
//! work of the same pool must not wait for a thread that stands back.

use std::sync::Arc;

use sqlx::PgPool;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;

use crate::storage::StorageError;

const AT_ONCE_MAX: usize = 2;

#[derive(Debug, Clone)]
pub(super) struct Connections {
    system: PgPool,
    server: Handle,
    turns: Arc<Semaphore>,
}

impl Connections {
    pub fn new(system: PgPool) -> Self {
        Self { system, server: Handle::current(), turns: Arc::new(Semaphore::new(AT_ONCE_MAX)) }
    }

    pub async fn run<T, F>(&self, work: impl FnOnce(PgPool) -> F) -> Result<T, StorageError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, StorageError>> + Send + 'static,
    {
        let turn = self.turns.clone().acquire_owned().await.map_err(|_| StorageError::Abandoned)?;
        let work = work(self.system.clone());
        let task = self.server.spawn(async move {
            let _turn = turn;
            work.await
        });
        task.await.unwrap_or(Err(StorageError::Abandoned))
    }
}
