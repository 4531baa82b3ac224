//! The pool for background work.

use sqlx::{PgConnection, PgPool};

use super::ConnectionCounts;
use crate::storage::StorageError;
use crate::storage::time_limit::TimeLimit;
use crate::storage::transaction::{Work, in_transaction, on_connection};

/// Sessions of the background role, which reads and writes across tenants. Must not serve a
/// request: row security does not limit it to a tenant. Cheap to clone: the clones share the
/// connections.
#[derive(Debug, Clone)]
pub struct SystemPool(PgPool);

impl SystemPool {
    pub(super) fn new(pool: PgPool) -> Self {
        Self(pool)
    }

    /// Runs `work` in one transaction. An error of `work` rolls back.
    pub async fn transaction<T, E>(&self, work: impl Work<T, E>) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StorageError> + Send + 'static,
    {
        self.transaction_within(TimeLimit::USUAL, work).await
    }

    /// As `transaction`, with another time limit.
    pub async fn transaction_within<T, E>(&self, limit: TimeLimit, work: impl Work<T, E>) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StorageError> + Send + 'static,
    {
        let begin = format!("begin; set local statement_timeout = {}", limit.statement_max_ms());
        in_transaction(&self.0, None, begin, limit, work).await
    }

    /// Runs one statement that needs no transaction.
    pub(in crate::storage) async fn statement<T: Send + 'static>(
        &self,
        work: impl Work<T, StorageError>,
    ) -> Result<T, StorageError> {
        on_connection(&self.0, None, TimeLimit::USUAL, work).await
    }

    /// A connection that does not return to the pool. The caller must limit each wait for it.
    pub(in crate::storage) async fn detached(&self) -> Result<PgConnection, StorageError> {
        Ok(self.0.acquire().await?.detach())
    }

    pub fn counts(&self) -> ConnectionCounts {
        ConnectionCounts::of(&self.0)
    }

    /// For tests, which run their own statements.
    pub fn sqlx_pool(&self) -> &PgPool {
        &self.0
    }

    pub async fn close(&self) {
        self.0.close().await;
    }
}
