//! Users and client secrets from the command line and the demonstration, without a running server.
//!
//! Whoever has the database may do everything, so nothing is checked against a caller's scopes.

use thiserror::Error;

use super::tenants::{TenantError, tenant_of};
use crate::auth::AuthError;
use crate::auth::password::{HashingLimits, SecretHasher, SecretText};
use crate::config::Config;
use crate::domain::card_number::holds_card_number;
use crate::domain::client_certificate::CertificateBinding;
use crate::domain::tenant::{ClientId, TenantId};
use crate::domain::user::{DISPLAY_NAME_LENGTH_MAX, EmailAddress, OPERATORS_NAME, Role, UserId};
use crate::people::tenants::ensure_operators;
use crate::people::users::{PasswordLink, new_link};
use crate::storage::StorageError;
use crate::storage::clients::{self, ChangeClientError, ClientChange};
use crate::storage::databases::Databases;
use crate::storage::users::{self, CreateUserError, NewUser};
use crate::world::system;

#[derive(Debug, Error)]
pub enum UserError {
    #[error(transparent)]
    Tenant(#[from] TenantError),
    #[error("the tenant {OPERATORS_NAME} belongs to operators, but one with this name exists already")]
    OperatorsTaken,
    #[error("the role {} does not exist in this tenant", .0.name())]
    Role(Role),
    #[error("expected a name of 1 to {DISPLAY_NAME_LENGTH_MAX} characters without control characters")]
    DisplayName,
    #[error("the text looks like a card number; card numbers must never be stored")]
    CardNumber,
    #[error("the tenant has no user {}", .0.as_str())]
    Unknown(EmailAddress),
    #[error("the tenant has no client {0}")]
    UnknownClient(ClientId),
    #[error("the secret could not be created")]
    Auth(#[from] AuthError),
    #[error(transparent)]
    Create(#[from] CreateUserError),
    #[error(transparent)]
    Storage(#[from] StorageError),
}

#[derive(Debug)]
pub struct UserRequest {
    /// The tenant's name.
    pub tenant: String,
    pub email: EmailAddress,
    pub display_name: String,
    pub roles: Vec<Role>,
    pub created_by: &'static str,
}

/// The address under which people reach the page. Without the key `issuer`, that of this machine.
pub fn page_address(config: &Config) -> String {
    config.settings.issuer.clone().unwrap_or_else(|| {
        let port: u16 = config.figment.extract_inner("port").unwrap_or(8_000);
        let scheme = if config.settings.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://127.0.0.1:{port}")
    })
}

/// Creates a user, who sets a password with the link.
pub async fn create_user(
    databases: &Databases,
    page: &str,
    order: UserRequest,
) -> Result<PasswordLink, UserError> {
    let has_control = order.display_name.chars().any(char::is_control);
    if !(1..=DISPLAY_NAME_LENGTH_MAX).contains(&order.display_name.chars().count()) || has_control {
        return Err(UserError::DisplayName);
    }
    if holds_card_number(&order.display_name) || holds_card_number(order.email.as_str()) {
        return Err(UserError::CardNumber);
    }
    let (world, now_ms) = (system(), system().now_ms());
    if order.tenant == OPERATORS_NAME {
        let ensured = ensure_operators(&databases.system, now_ms, order.created_by).await;
        ensured.map_err(|error| match error {
            crate::people::tenants::TenantError::Taken => UserError::OperatorsTaken,
            crate::people::tenants::TenantError::Storage(error) => error.into(),
        })?;
    }
    let tenant = tenant_of(&databases.system, &order.tenant).await?;
    if let Some(role) = order.roles.iter().find(|role| !role.exists_in(tenant)) {
        return Err(UserError::Role(*role));
    }
    let id = UserId(world.uuid_v7(now_ms));
    let (link, shown) = new_link(page, tenant, id, &world);
    let new = NewUser {
        id,
        email: order.email,
        display_name: order.display_name,
        roles: order.roles,
        created_by: order.created_by.into(),
        created_at_ms: now_ms,
        link,
    };
    users::create(&databases.app, tenant, new).await?;
    Ok(shown)
}

async fn user_of(
    databases: &Databases,
    tenant: &str,
    email: EmailAddress,
) -> Result<(TenantId, UserId), UserError> {
    let tenant = tenant_of(&databases.system, tenant).await?;
    let found = users::find_by_email(&databases.app, tenant, email.compared()).await?;
    found.map(|found| (tenant, found.user.id)).ok_or(UserError::Unknown(email))
}

/// Creates a link for a user who cannot sign in any more.
pub async fn new_password_link(
    databases: &Databases,
    page: &str,
    tenant: &str,
    email: EmailAddress,
    actor: &str,
) -> Result<PasswordLink, UserError> {
    let (tenant, user) = user_of(databases, tenant, email).await?;
    let world = system();
    let (link, shown) = new_link(page, tenant, user, &world);
    users::set_link(&databases.app, tenant, user, link, actor.into(), world.now_ms()).await?;
    Ok(shown)
}

/// Removes the second factor of a user who has lost it.
pub async fn remove_second_factor(
    databases: &Databases,
    tenant: &str,
    email: EmailAddress,
    actor: &str,
) -> Result<(), UserError> {
    let (tenant, user) = user_of(databases, tenant, email).await?;
    let now_ms = system().now_ms();
    users::remove_second_factor(&databases.app, tenant, user, actor.into(), now_ms).await?;
    Ok(())
}

/// Changes which certificate a client must show beside its secret.
pub async fn bind_client(
    databases: &Databases,
    tenant: &str,
    client: ClientId,
    certificate: Option<CertificateBinding>,
    actor: &str,
) -> Result<(), UserError> {
    let tenant = tenant_of(&databases.system, tenant).await?;
    let change = ClientChange { certificate: Some(certificate), ..ClientChange::default() };
    match clients::change(&databases.app, tenant, client, change, actor.to_owned(), system().now_ms()).await {
        Ok(_) => Ok(()),
        Err(ChangeClientError::Unknown) => Err(UserError::UnknownClient(client)),
        Err(ChangeClientError::Storage(error)) => Err(error.into()),
    }
}

/// Replaces a client's secret. The old one is accepted for `overlap_s` more seconds.
pub async fn replace_client_secret(
    databases: &Databases,
    tenant: &str,
    client: ClientId,
    overlap_s: u64,
    actor: &str,
) -> Result<SecretText, UserError> {
    let tenant = tenant_of(&databases.system, tenant).await?;
    let world = system();
    let secret = SecretText::generate_for_client(world.randomness());
    let hasher = SecretHasher::new(HashingLimits::default(), world.randomness())?;
    let hash = hasher.hash(SecretText::new(secret.expose().to_owned()), world.randomness()).await?;
    let now_ms = world.now_ms();
    let until_ms = (overlap_s > 0).then(|| now_ms.saturating_add(overlap_s.saturating_mul(1_000)));
    let actor = actor.to_owned();
    match clients::replace_secret(&databases.app, tenant, client, hash, until_ms, actor, now_ms).await {
        Ok(_) => Ok(secret),
        Err(ChangeClientError::Unknown) => Err(UserError::UnknownClient(client)),
        Err(ChangeClientError::Storage(error)) => Err(error.into()),
    }
}
