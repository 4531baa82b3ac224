//! Sign-ins of users. Each has one current refresh token, known by its number.
//!
//! Whether a token is renewed is decided under the lock of the sign-in's row, so that of many
//! requests with one token all get the same successor.

use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row};
use uuid::Uuid;

use super::columns::{bigint, ms};
use super::pool::{AppPool, SystemPool};
use super::users::{self, User};
use super::{StorageError, audit, revocations};
use crate::domain::audit::{Act, Action};
use crate::domain::revocation::Revocation;
use crate::domain::tenant::TenantId;
use crate::domain::user::{SignInId, UserId};

const WHAT: &str = "sign-in";

/// A spent token gets the same successor for this long, since the response to its first use may
/// have been lost, and browser tabs share it.
pub const GRACE_MS: u64 = 10_000;

#[derive(Debug, Clone)]
pub struct NewSignIn {
    pub id: SignInId,
    pub user: UserId,
    pub now_ms: u64,
    pub expires_at_ms: u64,
    pub address: Option<String>,
    pub user_agent: Option<String>,
}

/// A sign-in that has not ended, as its user sees it.
#[derive(Debug, Clone)]
pub struct SignIn {
    pub id: SignInId,
    pub begun_at_ms: u64,
    pub renewed_at_ms: u64,
    pub expires_at_ms: u64,
    pub address: Option<String>,
    pub user_agent: Option<String>,
}

/// Returns the user as it is now. `None` if it is disabled.
pub async fn begin(app: &AppPool, tenant: TenantId, new: NewSignIn) -> Result<Option<User>, StorageError> {
    app.transaction(tenant, move |connection| {
        Box::pin(async move {
            // Whoever disables the user locks its row as well, and then sees this sign-in.
            let statement = "update users set last_sign_in_at_ms = $3
                             where tenant_id = $1 and id = $2 and disabled_at_ms is null
                             returning *";
            let row = sqlx::query(statement)
                .bind(tenant.0)
                .bind(new.user.0)
                .bind(bigint(new.now_ms))
                .fetch_optional(&mut *connection)
                .await?;
            let Some(row) = row else { return Ok(None) };
            sqlx::query(
                "insert into sign_ins
                     (tenant_id, id, user_id, begun_at_ms, renewed_at_ms, expires_at_ms, address, user_agent)
                 values ($1, $2, $3, $4, $4, $5, $6, $7)",
            )
            .bind(tenant.0)
            .bind(new.id.0)
            .bind(new.user.0)
            .bind(bigint(new.now_ms))
            .bind(bigint(new.expires_at_ms))
            .bind(new.address)
            .bind(new.user_agent)
            .execute(connection)
            .await?;
            users::read(&row).map(Some)
        })
    })
    .await
}

#[derive(Debug)]
pub enum Renewal {
    /// The user as it is now, and the number of the token that is current now.
    Renewed { user: Box<User>, generation: u64 },
    /// It was signed out, it expired, or its user is disabled.
    Ended,
    /// A token that was spent long ago was used again, so somebody has copied it. The sign-in has
    /// been ended.
    Reused(SignInId),
}

/// Spends the token with this number.
pub async fn renew(
    app: &AppPool,
    tenant: TenantId,
    id: SignInId,
    generation: u64,
    now_ms: u64,
    idle_max_ms: u64,
) -> Result<Renewal, StorageError> {
    app.transaction(tenant, move |connection| {
        Box::pin(async move {
            let statement = "select user_id, generation, renewed_at_ms, expires_at_ms
                             from sign_ins where tenant_id = $1 and id = $2 and ended_at_ms is null
                             for update";
            let row =
                sqlx::query(statement).bind(tenant.0).bind(id.0).fetch_optional(&mut *connection).await?;
            let Some(row) = row else { return Ok(Renewal::Ended) };
            let renewed_at_ms = ms(row.try_get("renewed_at_ms")?, WHAT)?;
            let expires_at_ms = ms(row.try_get("expires_at_ms")?, WHAT)?;
            if now_ms >= expires_at_ms || now_ms >= renewed_at_ms.saturating_add(idle_max_ms) {
                return Ok(Renewal::Ended);
            }
            let user = UserId(row.try_get("user_id")?);
            let current = u64::try_from(row.try_get::<i64, _>("generation")?).unwrap_or(0);
            let is_predecessor = generation.checked_add(1) == Some(current);
            if generation == current {
                sqlx::query(
                    "update sign_ins set generation = generation + 1, renewed_at_ms = $3
                     where tenant_id = $1 and id = $2",
                )
                .bind(tenant.0)
                .bind(id.0)
                .bind(bigint(now_ms))
                .execute(&mut *connection)
                .await?;
            } else if !is_predecessor || now_ms >= renewed_at_ms.saturating_add(GRACE_MS) {
                end_reused(connection, tenant, user, id, now_ms).await?;
                return Ok(Renewal::Reused(id));
            }
            let generation = if generation == current { current + 1 } else { current };
            Ok(match users::enabled(connection, tenant, user).await? {
                Some(user) => Renewal::Renewed { user: Box::new(user), generation },
                None => Renewal::Ended,
            })
        })
    })
    .await
}

async fn end_reused(
    connection: &mut PgConnection,
    tenant: TenantId,
    user: UserId,
    id: SignInId,
    now_ms: u64,
) -> Result<(), StorageError> {
    end_these(connection, tenant, &[id], now_ms).await?;
    let act = Act {
        at_ms: now_ms,
        actor: format!("user:{user}").into(),
        action: Action::RefreshTokenReused,
        subject: id.to_string(),
        before: None,
        after: None,
    };
    audit::record(connection, tenant, &act).await?;
    Ok(())
}

/// Ends sign-ins, and all tokens of them at once.
pub(super) async fn end_these(
    connection: &mut PgConnection,
    tenant: TenantId,
    ids: &[SignInId],
    now_ms: u64,
) -> Result<(), StorageError> {
    let uuids: Vec<Uuid> = ids.iter().map(|id| id.0).collect();
    sqlx::query(
        "update sign_ins set ended_at_ms = $3
         where tenant_id = $1 and id = any($2) and ended_at_ms is null",
    )
    .bind(tenant.0)
    .bind(uuids)
    .bind(bigint(now_ms))
    .execute(&mut *connection)
    .await?;
    let revoked: Vec<Revocation> = ids.iter().map(|id| Revocation::SignIn(*id)).collect();
    revocations::insert(connection, tenant, &revoked, now_ms).await
}

/// The caller must hold the lock of the user's row, so that no sign-in begins meanwhile.
pub(super) async fn end_all_of(
    connection: &mut PgConnection,
    tenant: TenantId,
    user: UserId,
    now_ms: u64,
) -> Result<Vec<SignInId>, StorageError> {
    let open: Vec<Uuid> = sqlx::query_scalar(
        "select id from sign_ins where tenant_id = $1 and user_id = $2 and ended_at_ms is null
         order by id for update",
    )
    .bind(tenant.0)
    .bind(user.0)
    .fetch_all(&mut *connection)
    .await?;
    let open: Vec<SignInId> = open.into_iter().map(SignInId).collect();
    end_these(connection, tenant, &open, now_ms).await?;
    Ok(open)
}

/// Ends the sign-in with this token's id. Nothing happens if it has ended.
pub async fn end(app: &AppPool, tenant: TenantId, id: SignInId, now_ms: u64) -> Result<(), StorageError> {
    app.transaction(tenant, move |connection| {
        Box::pin(async move { end_these(connection, tenant, &[id], now_ms).await })
    })
    .await
}

/// As `end`, if it is one of the user's. Returns whether it is.
pub async fn end_own(
    app: &AppPool,
    tenant: TenantId,
    user: UserId,
    id: SignInId,
    now_ms: u64,
) -> Result<bool, StorageError> {
    app.transaction(tenant, move |connection| {
        Box::pin(async move {
            let statement = "select exists(select from sign_ins
                             where tenant_id = $1 and id = $2 and user_id = $3 and ended_at_ms is null)";
            let is_own: bool = sqlx::query_scalar(statement)
                .bind(tenant.0)
                .bind(id.0)
                .bind(user.0)
                .fetch_one(&mut *connection)
                .await?;
            if is_own {
                end_these(connection, tenant, &[id], now_ms).await?;
            }
            Ok(is_own)
        })
    })
    .await
}

/// The user's sign-ins that have not ended, the newest first.
pub async fn of_user(
    app: &AppPool,
    tenant: TenantId,
    user: UserId,
    now_ms: u64,
    idle_max_ms: u64,
) -> Result<Vec<SignIn>, StorageError> {
    app.transaction(tenant, move |connection| {
        Box::pin(async move {
            let rows = sqlx::query(
                "select id, begun_at_ms, renewed_at_ms, expires_at_ms, address, user_agent from sign_ins
                 where tenant_id = $1 and user_id = $2 and ended_at_ms is null
                   and expires_at_ms > $3 and renewed_at_ms > $3 - $4
                 order by id desc limit 200",
            )
            .bind(tenant.0)
            .bind(user.0)
            .bind(bigint(now_ms))
            .bind(bigint(idle_max_ms))
            .fetch_all(connection)
            .await?;
            rows.iter().map(read).collect()
        })
    })
    .await
}

fn read(row: &PgRow) -> Result<SignIn, StorageError> {
    Ok(SignIn {
        id: SignInId(row.try_get("id")?),
        begun_at_ms: ms(row.try_get("begun_at_ms")?, WHAT)?,
        renewed_at_ms: ms(row.try_get("renewed_at_ms")?, WHAT)?,
        expires_at_ms: ms(row.try_get("expires_at_ms")?, WHAT)?,
        address: row.try_get("address")?,
        user_agent: row.try_get("user_agent")?,
    })
}

/// Deletes sign-ins that nobody has used since.
pub async fn delete_unused(system: &SystemPool, since_ms: u64, portion: u32) -> Result<u64, StorageError> {
    system
        .statement(move |connection| {
            Box::pin(async move {
                let deleted = sqlx::query(
                    "delete from sign_ins where (tenant_id, id) in
                         (select tenant_id, id from sign_ins where renewed_at_ms < $1 limit $2)",
                )
                .bind(bigint(since_ms))
                .bind(i64::from(portion))
                .execute(connection)
                .await?;
                Ok(deleted.rows_affected())
            })
        })
        .await
}
