//! Which tokens end before their time. Nodes poll this by sequence.
//!
//! A revocation must be stored in the transaction that makes it necessary.

use sqlx::{PgConnection, Row};
use uuid::Uuid;

use super::StorageError;
use super::advisory_locks::DatabaseLock;
use super::columns::{bigint, ms};
use super::pool::SystemPool;
use crate::domain::revocation::Revocation;
use crate::domain::tenant::{ClientId, TenantId};
use crate::domain::user::SignInId;

const WHAT: &str = "revocation";

/// A revocation as a node reads it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoredRevocation {
    /// Rises in commit order.
    pub sequence: i64,
    pub revocation: Revocation,
    pub revoked_at_ms: u64,
}

/// Takes a lock on which all other revocations wait until the commit, so this must come late in a
/// transaction.
pub(super) async fn insert(
    connection: &mut PgConnection,
    tenant: TenantId,
    revocations: &[Revocation],
    now_ms: u64,
) -> Result<(), StorageError> {
    if revocations.is_empty() {
        return Ok(());
    }
    DatabaseLock::Revocations.take_in_transaction(connection).await?;
    let (mut sign_ins, mut clients, mut generations) = (Vec::new(), Vec::new(), Vec::new());
    for revocation in revocations {
        let (sign_in, client, generation) = match revocation {
            Revocation::SignIn(id) => (Some(id.0), None, None),
            Revocation::Client { id, generation } => {
                (None, Some(id.0), Some(i32::try_from(*generation).unwrap_or(i32::MAX)))
            }
        };
        sign_ins.push(sign_in);
        clients.push(client);
        generations.push(generation);
    }
    sqlx::query(
        "insert into revocations (tenant_id, sign_in_id, client_id, client_generation, revoked_at_ms)
         select $1, sign_in, client, generation, $5
         from unnest($2::uuid[], $3::uuid[], $4::int[]) as _ (sign_in, client, generation)",
    )
    .bind(tenant.0)
    .bind(sign_ins)
    .bind(clients)
    .bind(generations)
    .bind(bigint(now_ms))
    .execute(connection)
    .await?;
    Ok(())
}

/// Those after the sequence that were made at or after the time.
pub async fn since(
    system: &SystemPool,
    sequence: i64,
    from_ms: u64,
) -> Result<Vec<StoredRevocation>, StorageError> {
    system
        .statement(move |connection| {
            Box::pin(async move {
                let rows = sqlx::query(
                    "select sequence, sign_in_id, client_id, client_generation, revoked_at_ms
                     from revocations where sequence > $1 and revoked_at_ms >= $2
                     order by sequence",
                )
                .bind(sequence)
                .bind(bigint(from_ms))
                .fetch_all(connection)
                .await?;
                let unreadable = || StorageError::Unreadable { what: WHAT };
                rows.iter()
                    .map(|row| {
                        let sign_in: Option<Uuid> = row.try_get("sign_in_id")?;
                        let client: Option<Uuid> = row.try_get("client_id")?;
                        let generation: Option<i32> = row.try_get("client_generation")?;
                        let revocation = match (sign_in, client, generation) {
                            (Some(id), None, None) => Revocation::SignIn(SignInId(id)),
                            (None, Some(id), Some(generation)) => Revocation::Client {
                                id: ClientId(id),
                                generation: u32::try_from(generation).map_err(|_| unreadable())?,
                            },
                            _ => return Err(unreadable()),
                        };
                        Ok(StoredRevocation {
                            sequence: row.try_get("sequence")?,
                            revocation,
                            revoked_at_ms: ms(row.try_get("revoked_at_ms")?, WHAT)?,
                        })
                    })
                    .collect()
            })
        })
        .await
}

/// Deletes what no token can be affected by any more.
pub async fn delete_older(system: &SystemPool, than_ms: u64) -> Result<(), StorageError> {
    system
        .statement(move |connection| {
            Box::pin(async move {
                sqlx::query("delete from revocations where revoked_at_ms < $1")
                    .bind(bigint(than_ms))
                    .execute(connection)
                    .await?;
                Ok(())
            })
        })
        .await
}
