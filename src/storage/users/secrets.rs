//! The secrets of users: links, passwords and second factors, and spending codes once.
//!
//! A change that makes a user's tokens wrong must end the user's sign-ins in the same transaction.

use sqlx::PgConnection;

use super::Link;
use crate::domain::audit::{Act, Action, Authority};
use crate::domain::plugin::Digest;
use crate::domain::tenant::TenantId;
use crate::domain::user::UserId;
use crate::storage::columns::bigint;
use crate::storage::pool::AppPool;
use crate::storage::{StorageError, audit, sign_ins};

/// How a change of a user's secrets is stored.
#[derive(Debug)]
enum SecretChange {
    Link(Link),
    /// If it is the link with this digest, and it has not expired.
    PasswordByLink {
        link: Digest,
        hash: String,
    },
    Password {
        hash: String,
    },
    /// Not yet confirmed.
    Totp {
        sealed: Vec<u8>,
    },
    ConfirmedTotp {
        step: u64,
        recovery: Vec<Digest>,
    },
    NoTotp,
    /// Only ends the sign-ins.
    SignOut,
}

impl SecretChange {
    fn action(&self) -> Option<Action> {
        match self {
            Self::Link(_) => Some(Action::UserLinkCreated),
            Self::PasswordByLink { .. } | Self::Password { .. } => Some(Action::PasswordChanged),
            Self::Totp { .. } => None,
            Self::ConfirmedTotp { .. } => Some(Action::SecondFactorAdded),
            Self::NoTotp => Some(Action::SecondFactorRemoved),
            Self::SignOut => Some(Action::SignInsEnded),
        }
    }

    fn ends_sign_ins(&self) -> bool {
        matches!(self, Self::PasswordByLink { .. } | Self::Password { .. } | Self::NoTotp | Self::SignOut)
    }

    async fn store(
        &self,
        connection: &mut PgConnection,
        tenant: TenantId,
        id: UserId,
        now_ms: u64,
    ) -> Result<bool, StorageError> {
        let statement = match self {
            Self::Link(link) => sqlx::query(
                "update users set link_digest = $3, link_expires_at_ms = $4 where tenant_id = $1 and id = $2",
            )
            .bind(tenant.0)
            .bind(id.0)
            .bind(link.digest.0.as_slice())
            .bind(bigint(link.expires_at_ms)),
            Self::PasswordByLink { link, hash } => sqlx::query(
                "update users set password_hash = $4, link_digest = null, link_expires_at_ms = null
                 where tenant_id = $1 and id = $2 and link_digest = $3 and link_expires_at_ms > $5
                   and disabled_at_ms is null",
            )
            .bind(tenant.0)
            .bind(id.0)
            .bind(link.0.as_slice())
            .bind(hash)
            .bind(bigint(now_ms)),
            Self::Password { hash } => sqlx::query(
                "update users set password_hash = $3, link_digest = null, link_expires_at_ms = null
                 where tenant_id = $1 and id = $2",
            )
            .bind(tenant.0)
            .bind(id.0)
            .bind(hash),
            Self::Totp { sealed } => sqlx::query(
                "update users set totp_sealed = $3, totp_last_step = null
                 where tenant_id = $1 and id = $2 and totp_confirmed_at_ms is null",
            )
            .bind(tenant.0)
            .bind(id.0)
            .bind(sealed),
            Self::ConfirmedTotp { step, recovery } => sqlx::query(
                "update users set totp_confirmed_at_ms = $3, totp_last_step = $4, recovery_digests = $5
                 where tenant_id = $1 and id = $2 and totp_sealed is not null and totp_confirmed_at_ms is null",
            )
            .bind(tenant.0)
            .bind(id.0)
            .bind(bigint(now_ms))
            .bind(bigint(*step))
            .bind(recovery.iter().map(|digest| digest.0.to_vec()).collect::<Vec<_>>()),
            Self::NoTotp => sqlx::query(
                "update users set totp_sealed = null, totp_confirmed_at_ms = null, totp_last_step = null,
                                  recovery_digests = '{}'
                 where tenant_id = $1 and id = $2",
            )
            .bind(tenant.0)
            .bind(id.0),
            Self::SignOut => {
                sqlx::query("select from users where tenant_id = $1 and id = $2 for update")
                    .bind(tenant.0)
                    .bind(id.0)
            }
        };
        Ok(statement.execute(connection).await?.rows_affected() > 0)
    }
}

/// Returns whether the user exists and the change applies.
async fn change_secret(
    app: &AppPool,
    tenant: TenantId,
    id: UserId,
    change: SecretChange,
    actor: Authority,
    now_ms: u64,
) -> Result<bool, StorageError> {
    app.transaction(tenant, move |connection| {
        Box::pin(async move {
            if !change.store(connection, tenant, id, now_ms).await? {
                return Ok(false);
            }
            if change.ends_sign_ins() {
                sign_ins::end_all_of(connection, tenant, id, now_ms).await?;
            }
            if let Some(action) = change.action() {
                let (subject, before, after) = (id.to_string(), None, None);
                let act = Act { at_ms: now_ms, actor, action, subject, before, after };
                audit::record(connection, tenant, &act).await?;
            }
            Ok(true)
        })
    })
    .await
}

/// Replaces the link. Returns whether the user exists.
pub async fn set_link(
    app: &AppPool,
    tenant: TenantId,
    id: UserId,
    link: Link,
    actor: Authority,
    now_ms: u64,
) -> Result<bool, StorageError> {
    change_secret(app, tenant, id, SecretChange::Link(link), actor, now_ms).await
}

/// Sets a password with a link, which is spent. Returns whether the link was good.
pub async fn set_password_by_link(
    app: &AppPool,
    tenant: TenantId,
    id: UserId,
    link: Digest,
    hash: String,
    now_ms: u64,
) -> Result<bool, StorageError> {
    let change = SecretChange::PasswordByLink { link, hash };
    change_secret(app, tenant, id, change, format!("user:{id}").into(), now_ms).await
}

/// Ends all sign-ins of the user.
pub async fn set_password(
    app: &AppPool,
    tenant: TenantId,
    id: UserId,
    hash: String,
    now_ms: u64,
) -> Result<bool, StorageError> {
    change_secret(app, tenant, id, SecretChange::Password { hash }, format!("user:{id}").into(), now_ms).await
}

/// Keeps a secret for one-time passwords until it is confirmed. Returns `false` if the user has a
/// confirmed one.
pub async fn prepare_second_factor(
    app: &AppPool,
    tenant: TenantId,
    id: UserId,
    sealed: Vec<u8>,
    now_ms: u64,
) -> Result<bool, StorageError> {
    change_secret(app, tenant, id, SecretChange::Totp { sealed }, format!("user:{id}").into(), now_ms).await
}

/// From now on sign-ins need a code. Returns `false` if there is nothing to confirm.
pub async fn confirm_second_factor(
    app: &AppPool,
    tenant: TenantId,
    id: UserId,
    step: u64,
    recovery: Vec<Digest>,
    now_ms: u64,
) -> Result<bool, StorageError> {
    let change = SecretChange::ConfirmedTotp { step, recovery };
    change_secret(app, tenant, id, change, format!("user:{id}").into(), now_ms).await
}

/// Ends all sign-ins of the user. Returns whether the user exists.
pub async fn remove_second_factor(
    app: &AppPool,
    tenant: TenantId,
    id: UserId,
    actor: Authority,
    now_ms: u64,
) -> Result<bool, StorageError> {
    change_secret(app, tenant, id, SecretChange::NoTotp, actor, now_ms).await
}

/// Returns whether the user exists.
pub async fn end_sign_ins(
    app: &AppPool,
    tenant: TenantId,
    id: UserId,
    actor: Authority,
    now_ms: u64,
) -> Result<bool, StorageError> {
    change_secret(app, tenant, id, SecretChange::SignOut, actor, now_ms).await
}

/// Spends the code of this time step. Returns `false` if it, or a later one, was spent before.
pub async fn spend_step(
    app: &AppPool,
    tenant: TenantId,
    id: UserId,
    step: u64,
) -> Result<bool, StorageError> {
    app.transaction(tenant, move |connection| {
        Box::pin(async move {
            let spent = sqlx::query(
                "update users set totp_last_step = $3
                 where tenant_id = $1 and id = $2 and coalesce(totp_last_step, -1) < $3",
            )
            .bind(tenant.0)
            .bind(id.0)
            .bind(bigint(step))
            .execute(connection)
            .await?;
            Ok(spent.rows_affected() > 0)
        })
    })
    .await
}

/// Spends a recovery code. Returns `false` if the user has no such code left.
pub async fn spend_recovery_code(
    app: &AppPool,
    tenant: TenantId,
    id: UserId,
    code: Digest,
) -> Result<bool, StorageError> {
    app.transaction(tenant, move |connection| {
        Box::pin(async move {
            let spent = sqlx::query(
                "update users set recovery_digests = array_remove(recovery_digests, $3)
                 where tenant_id = $1 and id = $2 and $3 = any(recovery_digests)",
            )
            .bind(tenant.0)
            .bind(id.0)
            .bind(code.0.as_slice())
            .execute(connection)
            .await?;
            Ok(spent.rows_affected() > 0)
        })
    })
    .await
}
