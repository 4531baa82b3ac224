//! The tenant transaction: the only way to a tenant's rows.
//!
//! Owns `begin`, `commit` and the session setting that row security reads, and
//! how many transactions a tenant may have at once, so that its slow queries
//! leave connections to the others. The work runs in a spawned task that a
//! caller may abandon but never cancels: a dropped `begin` would return a
//! connection to the pool inside an open transaction, and a later caller's
//! write could be rolled back with it. How long it waits, `line.rs` says.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::Duration;

use futures::future::BoxFuture;
use sqlx::{AssertSqlSafe, Connection, PgConnection, PgPool};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::StorageError;
use super::diagnosis::OfStatement;
use super::line::{Line, Patience};
use super::waiting::Waiting;
use crate::domain::tenant::TenantId;

/// Beyond so many tenants, those without a transaction are forgotten.
const TENANTS_REMEMBERED: usize = 1_000;

/// Runs `work` in one transaction that sees and writes only this tenant's rows.
/// An error of `work` rolls back.
pub async fn as_tenant<T, E, F>(pool: &PgPool, tenant: TenantId, work: F) -> Result<T, E>
where
    T: Send + 'static,
    E: From<StorageError> + Send + 'static,
    F: for<'c> FnOnce(&'c mut PgConnection) -> BoxFuture<'c, Result<T, E>> + Send + 'static,
{
    // Only a typed UUID is formatted in, so the statement is safe as text, and
    // BEGIN and the setting are one round trip.
    let turn = turn_of(pool, tenant).await;
    // The server bounds the statements of this role by the same time (`Role`).
    let begin = format!("begin; set local app.tenant_id = '{tenant}'");
    in_transaction(pool, turn, begin, Patience::USUAL, work).await
}

/// Runs `work` in one transaction over all tenants; the pool's role must be the background one.
pub async fn as_system<T, E, F>(pool: &PgPool, work: F) -> Result<T, E>
where
    T: Send + 'static,
    E: From<StorageError> + Send + 'static,
    F: for<'c> FnOnce(&'c mut PgConnection) -> BoxFuture<'c, Result<T, E>> + Send + 'static,
{
    as_system_within(pool, Patience::USUAL, work).await
}

/// The same for statements that may take longer, or must not take as long.
pub async fn as_system_within<T, E, F>(pool: &PgPool, patience: Patience, work: F) -> Result<T, E>
where
    T: Send + 'static,
    E: From<StorageError> + Send + 'static,
    F: for<'c> FnOnce(&'c mut PgConnection) -> BoxFuture<'c, Result<T, E>> + Send + 'static,
{
    let begin = format!("begin; set local statement_timeout = {}", patience.statement_max_ms());
    in_transaction(pool, None, begin, patience, work).await
}

/// Whether a connection can be had that answers.
pub async fn answers(pool: &PgPool) -> Result<(), StorageError> {
    let all_in_use = pool.num_idle() == 0 && pool.size() >= pool.options().get_max_connections();
    if all_in_use {
        // Each of them ends its wait by itself; to wait behind them would say nothing.
        return Ok(());
    }
    // The pool looks at it, and makes another where it does not answer.
    Line::acquire(pool).await.map(Line::give_back)
}

/// Runs one statement that needs neither a transaction nor a tenant.
pub async fn by_itself<T, F>(pool: &PgPool, patience: Patience, work: F) -> Result<T, StorageError>
where
    T: Send + 'static,
    F: for<'c> FnOnce(&'c mut PgConnection) -> BoxFuture<'c, Result<T, StorageError>> + Send + 'static,
{
    on_a_line(pool, None, patience, work).await
}

/// A connection on which the rows of some tenants are read, statement by
/// statement: there is no transaction around them, so nothing has to begin or
/// end, and the settings stay until other tenants are asked for. The pool must
/// be of the journal's role and serve nobody who does not come through here.
#[derive(Debug)]
pub struct TenantsReader {
    pool: PgPool,
    held: Option<Line>,
    /// The settings of the connection that is held.
    settings: String,
}

impl TenantsReader {
    pub fn new(pool: PgPool) -> Self {
        Self { pool, held: None, settings: String::new() }
    }

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
        let patience = Patience::of(statement_max);
        let tenants: Vec<String> = tenants.iter().map(ToString::to_string).collect();
        let most_ms = patience.statement_max_ms();
        // Only typed UUIDs and a number are formatted in, so the text is safe.
        let settings =
            format!("set app.tenants = '{}'; set statement_timeout = {most_ms}", tenants.join(","));
        // Out of its place while it is used: whatever goes wrong, nobody takes it for one that is set.
        let (mut line, is_set) = match self.held.take() {
            Some(line) => (line, self.settings == settings),
            None => (Line::acquire(&self.pool).await?, false),
        };
        let setting = (!is_set).then(|| settings.clone());
        let answer = line
            .ask(patience, |connection| {
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

/// Held from before a connection is asked for until the transaction has ended,
/// whether or not the caller is still there.
type Turn = Option<OwnedSemaphorePermit>;

/// Waits until the tenant has fewer than three quarters of this pool. A caller
/// that goes away while it waits has asked the database nothing.
async fn turn_of(pool: &PgPool, tenant: TenantId) -> Turn {
    static TURNS: LazyLock<Mutex<HashMap<TenantId, Arc<Semaphore>>>> = LazyLock::new(Mutex::default);
    let turns = {
        let mut turns = TURNS.lock().unwrap_or_else(PoisonError::into_inner);
        if turns.len() > TENANTS_REMEMBERED {
            turns.retain(|_, turns| Arc::strong_count(turns) > 1);
        }
        let at_once = (pool.options().get_max_connections() as usize * 3 / 4).max(1);
        turns.entry(tenant).or_insert_with(|| Arc::new(Semaphore::new(at_once))).clone()
    };
    let _waiting = Waiting::on(pool);
    turns.acquire_owned().await.ok()
}

async fn in_transaction<T, E, F>(
    pool: &PgPool,
    turn: Turn,
    begin: String,
    patience: Patience,
    work: F,
) -> Result<T, E>
where
    T: Send + 'static,
    E: From<StorageError> + Send + 'static,
    F: for<'c> FnOnce(&'c mut PgConnection) -> BoxFuture<'c, Result<T, E>> + Send + 'static,
{
    on_a_line(pool, turn, patience, |connection| {
        Box::pin(async move {
            let begun = connection.begin_with(AssertSqlSafe(begin)).await;
            let mut transaction = begun.of_statement()?;
            match work(&mut transaction).await {
                Ok(value) => {
                    transaction.commit().await.of_statement()?;
                    Ok(value)
                }
                Err(error) => {
                    // A rollback that fails closes the connection, which rolls back too.
                    let _ = transaction.rollback().await;
                    Err(error)
                }
            }
        })
    })
    .await
}

async fn on_a_line<T, E, F>(pool: &PgPool, turn: Turn, patience: Patience, work: F) -> Result<T, E>
where
    T: Send + 'static,
    E: From<StorageError> + Send + 'static,
    F: for<'c> FnOnce(&'c mut PgConnection) -> BoxFuture<'c, Result<T, E>> + Send + 'static,
{
    let pool = pool.clone();
    let task = tokio::spawn(async move {
        let _turn = turn;
        let waiting = Waiting::on(&pool);
        let line = Line::acquire(&pool).await;
        drop(waiting);
        let mut line = line?;
        let result = line.ask(patience, work).await;
        line.give_back();
        result
    });
    task.await.unwrap_or_else(|_| Err(StorageError::Abandoned.into()))
}
