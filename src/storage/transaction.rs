//! The tenant transaction: the only way to a tenant's rows.
//!
//! Owns `begin`, `commit` and the session setting that row security reads. The
//! work runs in a spawned task that a caller may abandon but never cancels:
//! a dropped `begin` would return a connection to the pool inside an open
//! transaction, and a later caller's write could be rolled back with it.

use futures::future::BoxFuture;
use sqlx::{AssertSqlSafe, PgConnection, PgPool};

use super::StorageError;
use crate::domain::tenant::TenantId;

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
    in_transaction(pool, format!("begin; set local app.tenant_id = '{tenant}'"), work).await
}

/// The same for the one look-up of the hot path. Its plan is made once for a
/// connection: left to itself, Postgres makes it anew for every payment, which
/// takes longer than to carry it out. It uses indexes even while the tables are
/// empty, since it outlives that.
pub async fn as_tenant_with_kept_plan<T, E, F>(pool: &PgPool, tenant: TenantId, work: F) -> Result<T, E>
where
    T: Send + 'static,
    E: From<StorageError> + Send + 'static,
    F: for<'c> FnOnce(&'c mut PgConnection) -> BoxFuture<'c, Result<T, E>> + Send + 'static,
{
    let begin = format!(
        "begin; set local app.tenant_id = '{tenant}';
         set local plan_cache_mode = force_generic_plan; set local enable_seqscan = off"
    );
    in_transaction(pool, begin, work).await
}

/// Runs `work` in one transaction over all tenants; the pool's role must be the background one.
pub async fn as_system<T, E, F>(pool: &PgPool, work: F) -> Result<T, E>
where
    T: Send + 'static,
    E: From<StorageError> + Send + 'static,
    F: for<'c> FnOnce(&'c mut PgConnection) -> BoxFuture<'c, Result<T, E>> + Send + 'static,
{
    in_transaction(pool, "begin".to_owned(), work).await
}

async fn in_transaction<T, E, F>(pool: &PgPool, begin: String, work: F) -> Result<T, E>
where
    T: Send + 'static,
    E: From<StorageError> + Send + 'static,
    F: for<'c> FnOnce(&'c mut PgConnection) -> BoxFuture<'c, Result<T, E>> + Send + 'static,
{
    let pool = pool.clone();
    let task = tokio::spawn(async move {
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
