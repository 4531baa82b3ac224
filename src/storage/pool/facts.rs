//! The pool for the look-up of facts, and the reader that uses it.

use std::time::Duration;

use futures::future::BoxFuture;
use sqlx::{AssertSqlSafe, PgConnection, PgPool};

use super::ConnectionCounts;
use crate::domain::tenant::TenantId;
use crate::storage::StorageError;
use crate::storage::time_limit::{LimitedConnection, TimeLimit};

/// Sessions of the journal's role: a statement sees the rows of the tenants that were passed to its
/// reader. Cheap to clone: the clones share the connections.
#[derive(Debug, Clone)]
pub struct FactsPool(PgPool);

impl FactsPool {
    pub(super) fn new(pool: PgPool) -> Self {
        Self(pool)
    }

    pub(in crate::storage) fn reader(&self) -> TenantsReader {
        TenantsReader { pool: self.0.clone(), held: None, settings: String::new() }
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

/// Reads the rows of some tenants on one connection, without a transaction. The settings stay on
/// the connection until a call has other tenants or another time limit.
#[derive(Debug)]
pub struct TenantsReader {
    pool: PgPool,
    held: Option<LimitedConnection>,
    /// The settings of the held connection.
    settings: String,
}

impl TenantsReader {
    /// Runs `work`, which sees the rows of these tenants. No statement takes longer than
    /// `statement_max`. After an error the next call uses another connection.
    pub async fn run<T, F>(
        &mut self,
        tenants: &[TenantId],
        statement_max: Duration,
        work: F,
    ) -> Result<T, StorageError>
    where
        T: Send + 'static,
        F: for<'c> FnOnce(&'c mut PgConnection) -> BoxFuture<'c, Result<T, StorageError>> + Send + 'static,
    {
        let limit = TimeLimit::of(statement_max);
        let tenants: Vec<String> = tenants.iter().map(ToString::to_string).collect();
        let max_ms = limit.statement_max_ms();
        // Only typed UUIDs and a number are formatted in, so the text is safe.
        let settings = format!("set app.tenants = '{}'; set statement_timeout = {max_ms}", tenants.join(","));
        // Taken out while it is used, since its settings are unknown after a failure.
        let (mut held, is_set) = match self.held.take() {
            Some(held) => (held, self.settings == settings),
            None => (LimitedConnection::acquire(&self.pool).await?, false),
        };
        let setting = (!is_set).then(|| settings.clone());
        let result = held
            .run(limit, |connection| {
                Box::pin(async move {
                    if let Some(setting) = setting {
                        sqlx::raw_sql(AssertSqlSafe(setting)).execute(&mut *connection).await?;
                    }
                    work(connection).await
                })
            })
            .await;
        if result.is_ok() {
            (self.settings, self.held) = (settings, Some(held));
        } else {
            held.give_back();
        }
        result
    }

    pub fn holds(&self) -> bool {
        self.held.is_some()
    }

    /// Returns the connection to the pool.
    pub fn release(&mut self) {
        if let Some(held) = self.held.take() {
            held.give_back();
        }
    }
}
