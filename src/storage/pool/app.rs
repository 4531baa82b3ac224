//! The pool for requests.

use std::sync::Arc;

use sqlx::PgPool;

use super::ConnectionCounts;
use super::tenant_turns::TenantTurns;
use crate::domain::tenant::TenantId;
use crate::storage::StorageError;
use crate::storage::time_limit::{LimitedConnection, TimeLimit};
use crate::storage::transaction::{Work, in_transaction, on_connection};
use crate::storage::waiting::WaitingCaller;

/// Sessions of the application's role: each transaction can access only its tenant's rows. Cheap to
/// clone: the clones share the connections.
#[derive(Debug, Clone)]
pub struct AppPool {
    pool: PgPool,
    turns: Arc<TenantTurns>,
}

impl AppPool {
    pub(super) fn new(pool: PgPool) -> Self {
        let turns = TenantTurns::of_connections(pool.options().get_max_connections());
        Self { pool, turns: Arc::new(turns) }
    }

    /// Runs `work` in one transaction of this tenant. An error of `work` rolls back.
    pub async fn transaction<T, E>(&self, tenant: TenantId, work: impl Work<T, E>) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StorageError> + Send + 'static,
    {
        self.transaction_within(tenant, TimeLimit::USUAL, work).await
    }

    /// As `transaction`, with another time limit.
    pub async fn transaction_within<T, E>(
        &self,
        tenant: TenantId,
        limit: TimeLimit,
        work: impl Work<T, E>,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StorageError> + Send + 'static,
    {
        let turn = {
            let _waiting = WaitingCaller::of(&self.pool);
            self.turns.take(tenant).await
        };
        let max_ms = limit.statement_max_ms();
        // One text, so that BEGIN and the settings take one round trip. It is safe, since it
        // contains only a typed UUID and a number.
        let begin =
            format!("begin; set local app.tenant_id = '{tenant}'; set local statement_timeout = {max_ms}");
        in_transaction(&self.pool, turn, begin, limit, work).await
    }

    /// Runs one statement that needs neither a transaction nor a tenant.
    pub(in crate::storage) async fn statement<T: Send + 'static>(
        &self,
        work: impl Work<T, StorageError>,
    ) -> Result<T, StorageError> {
        on_connection(&self.pool, None, TimeLimit::USUAL, work).await
    }

    /// Checks that a connection responds. Returns `Ok` if all connections are in use: waiting for
    /// one of them would not show whether the database responds, and each use has its own time
    /// limit.
    pub async fn check(&self) -> Result<(), StorageError> {
        let ConnectionCounts { idle, in_use, max } = self.counts();
        if idle == 0 && in_use >= max as usize {
            return Ok(());
        }
        // The pool checks the connection, and opens another if it does not respond.
        LimitedConnection::acquire(&self.pool).await.map(LimitedConnection::give_back)
    }

    pub fn counts(&self) -> ConnectionCounts {
        ConnectionCounts::of(&self.pool)
    }

    /// For tests, which run their own statements.
    pub fn sqlx_pool(&self) -> &PgPool {
        &self.pool
    }

    pub async fn close(&self) {
        self.pool.close().await;
    }
}
