//! The pool for the look-up of facts, and the reader that uses it.

use std::time::Duration;

use futures::future::BoxFuture;
use sqlx::{AssertSqlSafe, PgConnection, PgPool};

use super::ConnectionCounts;
use crate::domain::tenant::TenantId;
use crate::storage::StorageError;
use crate::storage::time_limit::{LimitedConnection, TimeLimit};

/// Sessions of the journal's role: a statement sees the rows of the tenants that its reader
/// names. Cheap to clone; the clones share the connections.
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

    /// For tests, which examine sessions by statements of their own.
    pub fn sqlx_pool(&self) -> &PgPool {
        &self.0
    }

    pub async fn close(&self) {
        self.0.close().await;
    }
}

/// Reads the rows of some tenants on one connection, statement by statement and without a
/// transaction. The settings stay on the connection until the next call names other tenants.
#[derive(Debug)]
pub struct TenantsReader {
    pool: PgPool,
    held: Option<LimitedConnection>,
    /// The settings of the connection that is held.
    settings: String,
}

impl TenantsReader {
    /// Sees these tenants' rows; no statement takes longer than `statement_max`.
    /// After an error the next question is asked on another connection.
    pub async fn ask<T, F>(
        &mut self,
        tenants: &[TenantId],
        statement_max: Duration,
        work: F,
    ) -> Result<T, StorageError>
    where
        T: Send + 'static,
        F: for<'c> FnOnce(&'c mut PgConnection) -> BoxFuture<'c, Result<T, StorageError>> + Send + 'static,
    {
        let patience = TimeLimit::of(statement_max);
        let tenants: Vec<String> = tenants.iter().map(ToString::to_string).collect();
        let most_ms = patience.statement_max_ms();
        // Only typed UUIDs and a number are formatted in, so the text is safe.
        let settings =
            format!("set app.tenants = '{}'; set statement_timeout = {most_ms}", tenants.join(","));
        // Out of its place while it is used: whatever goes wrong, nobody takes it for one that is set.
        let (mut line, is_set) = match self.held.take() {
            Some(line) => (line, self.settings == settings),
            None => (LimitedConnection::acquire(&self.pool).await?, false),
        };
        let setting = (!is_set).then(|| settings.clone());
        let answer = line
            .run(patience, |connection| {
                Box::pin(async move {
                    if let Some(setting) = setting {
                        sqlx::raw_sql(AssertSqlSafe(setting)).execute(&mut *connection).await?;
                    }
                    work(connection).await
                })
            })
            .await;
        if answer.is_ok() {
            (self.settings, self.held) = (settings, Some(line));
        } else {
            line.give_back();
        }
        answer
    }

    pub fn holds(&self) -> bool {
        self.held.is_some()
    }

    /// Gives the connection back, for others.
    pub fn release(&mut self) {
        if let Some(line) = self.held.take() {
            line.give_back();
        }
    }
}
