//! Users who come from a provider of OpenID Connect: found by what the provider calls them, created
//! at their first sign-in, with the roles that the provider gives them.
//!
//! An account with a password must be linked only if the provider has verified the address.

use serde_json::json;
use sqlx::PgConnection;
use sqlx::postgres::PgRow;
use thiserror::Error;

use super::{User, read, store};
use crate::domain::audit::{Act, Action};
use crate::domain::openid::OpenidIdentity;
use crate::domain::tenant::TenantId;
use crate::domain::user::{EmailAddress, Role, UserId};
use crate::storage::columns::bigint;
use crate::storage::pool::AppPool;
use crate::storage::query_error::OfStatement;
use crate::storage::{StorageError, audit};

/// A person as a provider describes them.
#[derive(Debug, Clone)]
pub struct Arrival {
    pub identity: OpenidIdentity,
    pub email: Option<EmailAddress>,
    /// `None` if the provider does not say.
    pub is_email_verified: Option<bool>,
    pub display_name: String,
    pub roles: Vec<Role>,
    /// For a new user.
    pub id: UserId,
    pub now_ms: u64,
}

#[derive(Debug, Error)]
pub enum ArriveError {
    #[error("the user is disabled")]
    Disabled,
    #[error("the provider names no e-mail address that it has verified")]
    Email,
    #[error("another user has the e-mail address")]
    EmailTaken,
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// Finds, links or creates the user of a person who arrives from a provider.
pub async fn arrive(app: &AppPool, tenant: TenantId, arrival: Arrival) -> Result<UserId, ArriveError> {
    let again = arrival.clone();
    match arrive_once(app, tenant, arrival).await {
        // Another request of the same person has just created the user.
        Err(ArriveError::Storage(error)) if error.is_unique_violation() => {
            arrive_once(app, tenant, again).await
        }
        arrived => arrived,
    }
}

async fn arrive_once(app: &AppPool, tenant: TenantId, arrival: Arrival) -> Result<UserId, ArriveError> {
    app.transaction(tenant, move |connection| {
        Box::pin(async move {
            if let Some(row) = by_identity(connection, tenant, &arrival.identity).await? {
                return of_known(connection, tenant, read(&row)?, &arrival).await;
            }
            let email = arrival.email.clone().filter(|_| arrival.is_email_verified != Some(false));
            let email = email.ok_or(ArriveError::Email)?;
            let statement = "select * from users where tenant_id = $1 and email_compared = $2 for update";
            let row = sqlx::query(statement)
                .bind(tenant.0)
                .bind(email.compared())
                .fetch_optional(&mut *connection)
                .await
                .of_statement()?;
            match row {
                Some(row) => link(connection, tenant, &row, &arrival).await,
                None => create(connection, tenant, email, arrival).await,
            }
        })
    })
    .await
}

async fn by_identity(
    connection: &mut PgConnection,
    tenant: TenantId,
    identity: &OpenidIdentity,
) -> Result<Option<PgRow>, StorageError> {
    let statement = "select * from users
                     where tenant_id = $1 and openid_issuer = $2 and openid_subject = $3 for update";
    let row = sqlx::query(statement)
        .bind(tenant.0)
        .bind(identity.issuer.as_str())
        .bind(&identity.subject)
        .fetch_optional(connection)
        .await?;
    Ok(row)
}

/// Who acts: the provider gives and takes roles.
fn actor(arrival: &Arrival) -> String {
    format!("openid:{}", arrival.identity.issuer.host())
}

async fn of_known(
    connection: &mut PgConnection,
    tenant: TenantId,
    before: User,
    arrival: &Arrival,
) -> Result<UserId, ArriveError> {
    if before.disabled_at_ms.is_some() {
        return Err(ArriveError::Disabled);
    }
    let mut present = before.roles.clone();
    present.sort_unstable();
    if present != arrival.roles {
        let after = User { roles: arrival.roles.clone(), ..before.clone() };
        store(connection, tenant, &before, &after, actor(arrival).into(), arrival.now_ms).await?;
    }
    Ok(before.id)
}

/// A user who came from another provider before may be linked anew, after the tenant has changed
/// its provider. Two people of one provider are never one user.
async fn link(
    connection: &mut PgConnection,
    tenant: TenantId,
    row: &PgRow,
    arrival: &Arrival,
) -> Result<UserId, ArriveError> {
    let user = read(row)?;
    let issuer = arrival.identity.issuer.as_str();
    let is_other_person = user.openid_issuer.as_deref() == Some(issuer);
    if arrival.is_email_verified != Some(true) || is_other_person {
        return Err(ArriveError::EmailTaken);
    }
    if user.disabled_at_ms.is_some() {
        return Err(ArriveError::Disabled);
    }
    sqlx::query("update users set openid_issuer = $3, openid_subject = $4 where tenant_id = $1 and id = $2")
        .bind(tenant.0)
        .bind(user.id.0)
        .bind(issuer)
        .bind(&arrival.identity.subject)
        .execute(&mut *connection)
        .await
        .of_statement()?;
    let act = Act {
        at_ms: arrival.now_ms,
        actor: actor(arrival).into(),
        action: Action::UserLinked,
        subject: user.id.to_string(),
        before: user.openid_issuer.as_ref().map(|issuer| json!({ "issuer": issuer }).to_string()),
        after: Some(json!({ "issuer": issuer }).to_string()),
    };
    audit::record(connection, tenant, &act).await?;
    of_known(connection, tenant, user, arrival).await
}

async fn create(
    connection: &mut PgConnection,
    tenant: TenantId,
    email: EmailAddress,
    arrival: Arrival,
) -> Result<UserId, ArriveError> {
    let roles: Vec<&str> = arrival.roles.iter().map(|role| role.name()).collect();
    let actor = actor(&arrival);
    sqlx::query(
        "insert into users (tenant_id, id, email, email_compared, display_name, roles, created_by,
                            created_at_ms, openid_issuer, openid_subject)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
    )
    .bind(tenant.0)
    .bind(arrival.id.0)
    .bind(email.as_str())
    .bind(email.compared())
    .bind(&arrival.display_name)
    .bind(&roles)
    .bind(&actor)
    .bind(bigint(arrival.now_ms))
    .bind(arrival.identity.issuer.as_str())
    .bind(&arrival.identity.subject)
    .execute(&mut *connection)
    .await
    .of_statement()?;
    let act = Act {
        at_ms: arrival.now_ms,
        actor: actor.into(),
        action: Action::UserCreated,
        subject: arrival.id.to_string(),
        before: None,
        after: Some(json!({ "roles": roles }).to_string()),
    };
    audit::record(connection, tenant, &act).await?;
    Ok(arrival.id)
}
