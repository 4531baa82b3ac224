//! The stored keys that sign tokens. Private keys must always be sealed.

use sqlx::Row;

use super::StorageError;
use super::advisory_locks::DatabaseLock;
use super::columns::{bigint, ms};
use super::pool::SystemPool;

#[derive(Clone, PartialEq, Eq)]
pub struct SigningKeyRow {
    pub kid: String,
    pub public_key: Vec<u8>,
    pub sealed_private_key: Vec<u8>,
    pub created_at_ms: u64,
    pub retired_at_ms: Option<u64>,
}

impl std::fmt::Debug for SigningKeyRow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SigningKeyRow").field("kid", &self.kid).finish_non_exhaustive()
    }
}

/// All keys, newest first.
pub async fn list(pool: &SystemPool) -> Result<Vec<SigningKeyRow>, StorageError> {
    let rows = pool
        .statement(|connection| {
            Box::pin(async move {
                let statement = "select kid, public_key, sealed_private_key, created_at_ms, retired_at_ms
                             from signing_keys
                             order by created_at_ms desc, kid";
                Ok(sqlx::query(statement).fetch_all(connection).await?)
            })
        })
        .await?;
    rows.iter()
        .map(|row| {
            let retired_at_ms: Option<i64> = row.try_get("retired_at_ms")?;
            Ok(SigningKeyRow {
                kid: row.try_get("kid")?,
                public_key: row.try_get("public_key")?,
                sealed_private_key: row.try_get("sealed_private_key")?,
                created_at_ms: ms(row.try_get("created_at_ms")?, "signing key")?,
                retired_at_ms: retired_at_ms.map(|at| ms(at, "signing key")).transpose()?,
            })
        })
        .collect()
}

/// Inserts the key if there is no active one, and returns whether it did. Of several nodes that
/// start at once, one stores its key, and the others read it.
pub async fn insert(system: &SystemPool, key: &SigningKeyRow) -> Result<bool, StorageError> {
    let key = key.clone();
    system
        .transaction(move |connection| {
            Box::pin(async move {
                DatabaseLock::FirstSigningKey.take_in_transaction(connection).await?;
                let done = sqlx::query(
                "insert into signing_keys (kid, public_key, sealed_private_key, created_at_ms, retired_at_ms)
                 select $1, $2, $3, $4, $5
                 where not exists (select from signing_keys where retired_at_ms is null)",
            )
            .bind(key.kid)
            .bind(key.public_key)
            .bind(key.sealed_private_key)
            .bind(bigint(key.created_at_ms))
            .bind(key.retired_at_ms.map(bigint))
            .execute(connection)
            .await?;
                Ok(done.rows_affected() == 1)
            })
        })
        .await
}
