//! The tenant transaction: the only way to a tenant's rows.
//!
//! Owns `begin`, `commit` and the session setting that row security reads, and
//! how many transactions a tenant may have at once, so that its slow queries
//! leave connections to the others. The work runs in a spawned task that a
//! caller may abandon but never cancels: a dropped `begin` would return a
//! connection to the pool inside an open transaction, and a later caller's
//! write could be rolled back with it.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::Duration;

use futures::future::BoxFuture;
use sqlx::{AssertSqlSafe, PgConnection, PgPool};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::StorageError;
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
    in_transaction(pool, turn, format!("begin; set local app.tenant_id = '{tenant}'"), work).await
}

/// Runs `work`, which only reads, where it sees these tenants' rows and none of its
/// statements takes longer than `statement_max`. There is no transaction around
/// it: each statement is one, and nothing has to begin or end. The settings stay
/// with the connection, so the pool must be of the journal's role and serve
/// nobody who does not come through here.
pub async fn read_as_tenants<T, F>(
    pool: &PgPool,
    tenants: &[TenantId],
    statement_max: Duration,
    work: F,
) -> Result<T, StorageError>
where
    T: Send + 'static,
    F: for<'c> FnOnce(&'c mut PgConnection) -> BoxFuture<'c, Result<T, StorageError>> + Send + 'static,
{
    let tenants: Vec<String> = tenants.iter().map(ToString::to_string).collect();
    let settings = format!(
        "set app.tenants = '{}'; set statement_timeout = {}",
        tenants.join(","),
        statement_max.as_millis()
    );
    let pool = pool.clone();
    let task = tokio::spawn(async move {
        let mut connection = pool.acquire().await?;
        sqlx::raw_sql(AssertSqlSafe(settings)).execute(&mut *connection).await?;
        work(&mut connection).await
    });
    task.await.unwrap_or(Err(StorageError::Abandoned))
}

/// Runs `work` in one transaction over all tenants; the pool's role must be the background one.
pub async fn as_system<T, E, F>(pool: &PgPool, work: F) -> Result<T, E>
where
    T: Send + 'static,
    E: From<StorageError> + Send + 'static,
    F: for<'c> FnOnce(&'c mut PgConnection) -> BoxFuture<'c, Result<T, E>> + Send + 'static,
{
    in_transaction(pool, None, "begin".to_owned(), work).await
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
    turns.acquire_owned().await.ok()
}

async fn in_transaction<T, E, F>(pool: &PgPool, turn: Turn, begin: String, work: F) -> Result<T, E>
where
    T: Send + 'static,
    E: From<StorageError> + Send + 'static,
    F: for<'c> FnOnce(&'c mut PgConnection) -> BoxFuture<'c, Result<T, E>> + Send + 'static,
{
    let pool = pool.clone();
    let task = tokio::spawn(async move {
        let _turn = turn;
        let mut transaction = pool.begin_with(AssertSqlSafe(begin)).await.map_err(StorageError::from)?;
        match work(&mut transaction).await {
            Ok(value) => {
                transaction.commit().await.map_err(StorageError::from)?;
                Ok(value)
            }
            Err(error) => {
                // A rollback that fails closes the connection, which rolls back too.
                let _ = transaction.rollback().await;
                Err(error)
            }
        }
    });
    task.await.unwrap_or_else(|_| Err(StorageError::Abandoned.into()))
}
