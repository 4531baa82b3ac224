//! Users of tenants: who they are, and how they prove it. Only hashes of passwords are stored.
//!
//! What makes a user's tokens wrong (other roles, a new password, being disabled) must end the
//! user's sign-ins in the same transaction, under the lock of the user's row.

mod openid;
mod secrets;

use serde_json::json;
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row};
use thiserror::Error;
use uuid::Uuid;

use super::columns::{bigint, ms, named};
use super::pool::AppPool;
use super::query_error::OfStatement;
use super::{StorageError, audit, sign_ins};
use crate::domain::audit::{Act, Action, Authority};
use crate::domain::plugin::Digest;
use crate::domain::tenant::TenantId;
use crate::domain::user::{EmailAddress, Role, UserId};

pub use openid::{Arrival, ArriveError, arrive};
pub use secrets::{
    confirm_second_factor, end_sign_ins, prepare_second_factor, remove_second_factor, set_link, set_password,
    set_password_by_link, spend_recovery_code, spend_step,
};

const WHAT: &str = "user";

#[derive(Debug, Clone)]
pub struct NewUser {
    pub id: UserId,
    pub email: EmailAddress,
    pub display_name: String,
    pub roles: Vec<Role>,
    pub created_by: Authority,
    pub created_at_ms: u64,
    /// With which the person sets a password.
    pub link: Link,
}

/// A link with which a person may set a password, once.
#[derive(Debug, Clone, Copy)]
pub struct Link {
    pub digest: Digest,
    pub expires_at_ms: u64,
}

#[derive(Debug, Clone)]
pub struct User {
    pub id: UserId,
    pub email: EmailAddress,
    pub display_name: String,
    pub roles: Vec<Role>,
    pub created_at_ms: u64,
    pub disabled_at_ms: Option<u64>,
    pub last_sign_in_at_ms: Option<u64>,
    pub has_password: bool,
    pub has_second_factor: bool,
    /// The provider from which the user comes.
    pub openid_issuer: Option<String>,
}

/// What is needed to check a sign-in.
#[derive(Clone)]
pub struct UserSecrets {
    pub user: User,
    pub password_hash: Option<String>,
    /// Sealed. Also present while the person has not confirmed it.
    pub totp_sealed: Option<Vec<u8>>,
}

impl std::fmt::Debug for UserSecrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("UserSecrets").field("user", &self.user.id).finish_non_exhaustive()
    }
}

#[derive(Debug, Error)]
pub enum CreateUserError {
    #[error("a user with this e-mail address exists")]
    EmailTaken,
    #[error(transparent)]
    Storage(#[from] StorageError),
}

pub async fn create(app: &AppPool, tenant: TenantId, new: NewUser) -> Result<(), CreateUserError> {
    let created = app.transaction(tenant, move |connection| {
        Box::pin(async move {
            let roles: Vec<&str> = new.roles.iter().map(|role| role.name()).collect();
            sqlx::query(
                "insert into users (tenant_id, id, email, email_compared, display_name, roles, created_by,
                                    created_at_ms, link_digest, link_expires_at_ms)
                 values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
            )
            .bind(tenant.0)
            .bind(new.id.0)
            .bind(new.email.as_str())
            .bind(new.email.compared())
            .bind(&new.display_name)
            .bind(&roles)
            .bind(new.created_by.name())
            .bind(bigint(new.created_at_ms))
            .bind(new.link.digest.0.as_slice())
            .bind(bigint(new.link.expires_at_ms))
            .execute(&mut *connection)
            .await?;
            let act = Act {
                at_ms: new.created_at_ms,
                actor: new.created_by,
                action: Action::UserCreated,
                subject: new.id.to_string(),
                before: None,
                after: Some(json!({ "roles": roles }).to_string()),
            };
            audit::record(connection, tenant, &act).await?;
            Ok::<(), StorageError>(())
        })
    });
    created
        .await
        .map_err(|error| if error.is_unique_violation() { CreateUserError::EmailTaken } else { error.into() })
}

/// By id, so the oldest first.
pub async fn list(
    app: &AppPool,
    tenant: TenantId,
    after: Option<Uuid>,
    limit: u32,
) -> Result<Vec<User>, StorageError> {
    app.transaction(tenant, move |connection| {
        Box::pin(async move {
            let rows = sqlx::query(
                "select * from users where tenant_id = $1 and ($2::uuid is null or id > $2) order by id limit $3",
            )
            .bind(tenant.0)
            .bind(after)
            .bind(i64::from(limit))
            .fetch_all(connection)
            .await?;
            rows.iter().map(read).collect()
        })
    })
    .await
}

pub async fn find(app: &AppPool, tenant: TenantId, id: UserId) -> Result<Option<UserSecrets>, StorageError> {
    app.transaction(tenant, move |connection| {
        Box::pin(async move {
            let row = sqlx::query("select * from users where tenant_id = $1 and id = $2")
                .bind(tenant.0)
                .bind(id.0)
                .fetch_optional(connection)
                .await?;
            row.as_ref().map(secrets).transpose()
        })
    })
    .await
}

/// The user with this address, disabled or not.
pub async fn find_by_email(
    app: &AppPool,
    tenant: TenantId,
    email_compared: String,
) -> Result<Option<UserSecrets>, StorageError> {
    app.transaction(tenant, move |connection| {
        Box::pin(async move {
            let row = sqlx::query("select * from users where tenant_id = $1 and email_compared = $2")
                .bind(tenant.0)
                .bind(email_compared)
                .fetch_optional(connection)
                .await?;
            row.as_ref().map(secrets).transpose()
        })
    })
    .await
}

/// In the transaction of a sign-in.
pub(super) async fn enabled(
    connection: &mut PgConnection,
    tenant: TenantId,
    id: UserId,
) -> Result<Option<User>, StorageError> {
    let row = sqlx::query("select * from users where tenant_id = $1 and id = $2 and disabled_at_ms is null")
        .bind(tenant.0)
        .bind(id.0)
        .fetch_optional(connection)
        .await?;
    row.as_ref().map(read).transpose()
}

/// What changes. `None` leaves it as it is.
#[derive(Debug, Clone, Default)]
pub struct UserChange {
    pub display_name: Option<String>,
    pub roles: Option<Vec<Role>>,
    pub disabled: Option<bool>,
}

#[derive(Debug, Error)]
pub enum ChangeUserError {
    #[error("there is no such user")]
    Unknown,
    #[error("nobody would be left who may change users")]
    LastAdministrator,
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// Other roles, or being disabled, end all sign-ins of the user.
pub async fn change(
    app: &AppPool,
    tenant: TenantId,
    id: UserId,
    change: UserChange,
    actor: Authority,
    now_ms: u64,
) -> Result<User, ChangeUserError> {
    app.transaction(tenant, move |connection| {
        Box::pin(async move {
            // All administrators are locked, in one order: of two who disable each other, one wins.
            let statement = "select id from users
                             where tenant_id = $1 and disabled_at_ms is null
                               and roles && array['admin', 'operator']
                             order by id for update";
            let administrators: Vec<Uuid> = sqlx::query_scalar(statement)
                .bind(tenant.0)
                .fetch_all(&mut *connection)
                .await
                .of_statement()?;
            let statement = "select * from users where tenant_id = $1 and id = $2 for update";
            let row = sqlx::query(statement)
                .bind(tenant.0)
                .bind(id.0)
                .fetch_optional(&mut *connection)
                .await
                .of_statement()?;
            let before = read(&row.ok_or(ChangeUserError::Unknown)?)?;
            let mut after = before.clone();
            after.display_name = change.display_name.unwrap_or(after.display_name);
            after.roles = change.roles.unwrap_or(after.roles);
            after.disabled_at_ms = match change.disabled {
                Some(true) => before.disabled_at_ms.or(Some(now_ms)),
                Some(false) => None,
                None => before.disabled_at_ms,
            };
            let administers = |user: &User| {
                user.disabled_at_ms.is_none()
                    && user.roles.iter().any(|role| matches!(role, Role::Admin | Role::Operator))
            };
            if administrators == [id.0] && !administers(&after) {
                return Err(ChangeUserError::LastAdministrator);
            }
            store(connection, tenant, &before, &after, actor, now_ms).await?;
            Ok(after)
        })
    })
    .await
}

async fn store(
    connection: &mut PgConnection,
    tenant: TenantId,
    before: &User,
    after: &User,
    actor: Authority,
    now_ms: u64,
) -> Result<(), StorageError> {
    let state = |user: &User| {
        let roles: Vec<&str> = user.roles.iter().map(|role| role.name()).collect();
        json!({ "roles": roles, "disabled": user.disabled_at_ms.is_some() })
    };
    let roles: Vec<&str> = after.roles.iter().map(|role| role.name()).collect();
    sqlx::query(
        "update users set display_name = $3, roles = $4, disabled_at_ms = $5
         where tenant_id = $1 and id = $2",
    )
    .bind(tenant.0)
    .bind(after.id.0)
    .bind(&after.display_name)
    .bind(&roles)
    .bind(after.disabled_at_ms.map(bigint))
    .execute(&mut *connection)
    .await?;
    if state(before) != state(after) {
        sign_ins::end_all_of(connection, tenant, after.id, now_ms).await?;
    }
    let act = Act {
        at_ms: now_ms,
        actor,
        action: Action::UserChanged,
        subject: after.id.to_string(),
        before: Some(state(before).to_string()),
        after: Some(state(after).to_string()),
    };
    audit::record(connection, tenant, &act).await?;
    Ok(())
}

pub(super) fn read(row: &PgRow) -> Result<User, StorageError> {
    let unreadable = || StorageError::Unreadable { what: WHAT };
    let roles: Vec<String> = row.try_get("roles")?;
    let (password, confirmed): (Option<&str>, Option<i64>) =
        (row.try_get("password_hash")?, row.try_get("totp_confirmed_at_ms")?);
    let time = |column| -> Result<Option<u64>, StorageError> {
        row.try_get::<Option<i64>, _>(column)?.map(|at_ms| ms(at_ms, WHAT)).transpose()
    };
    Ok(User {
        id: UserId(row.try_get("id")?),
        email: EmailAddress::parse(row.try_get("email")?).map_err(|_| unreadable())?,
        display_name: row.try_get("display_name")?,
        roles: roles.iter().map(|name| named(Role::parse(name), WHAT)).collect::<Result<_, _>>()?,
        created_at_ms: ms(row.try_get("created_at_ms")?, WHAT)?,
        disabled_at_ms: time("disabled_at_ms")?,
        last_sign_in_at_ms: time("last_sign_in_at_ms")?,
        has_password: password.is_some(),
        has_second_factor: confirmed.is_some(),
        openid_issuer: row.try_get("openid_issuer")?,
    })
}

fn secrets(row: &PgRow) -> Result<UserSecrets, StorageError> {
    Ok(UserSecrets {
        user: read(row)?,
        password_hash: row.try_get("password_hash")?,
        totp_sealed: row.try_get("totp_sealed")?,
    })
}
