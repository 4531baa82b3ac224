//! Creates tenants and clients and changes their settings, for the command line, imports and
//! the demonstration.
//!
//! A client's secret exists in plain text only here. It must never be stored or logged.

use thiserror::Error;

use crate::auth::AuthError;
use crate::auth::password::{HashingLimits, SecretHasher, SecretText};
use crate::auth::scope::ScopeSet;
use crate::domain::card_check::{CheckedField, UncheckedFields};
use crate::domain::card_number::holds_card_number;
use crate::domain::client_certificate::CertificateBinding;
use crate::domain::payment::PaymentId;
use crate::domain::retention::RetentionMonths;
use crate::domain::ruleset::is_slug;
use crate::domain::tenant::{ClientId, REQUESTS_PER_S_MAX, TenantId};
use crate::domain::time::{Clock, Randomness};
use crate::domain::user::OPERATORS_NAME;
use crate::storage::databases::Databases;
use crate::storage::erasures::{EraseError, Erasure, NewErasure};
use crate::storage::pool::SystemPool;
use crate::storage::{StorageError, card_checks, clients, erasures, openid, proposals, tenants};
use crate::world::{OsRandomness, SystemClock};

#[derive(Debug, Error)]
pub enum TenantError {
    #[error("expected a name of lower-case words joined by hyphens, at most 64 characters")]
    Name,
    #[error("the text looks like a card number; card numbers must never be stored")]
    CardNumber,
    #[error("the tenant {0} already exists")]
    Taken(String),
    #[error("there is no tenant {0}; create it with: tollgate tenant create {0}")]
    Unknown(String),
    #[error("expected a client name of 1 to 100 characters without control characters")]
    ClientName,
    #[error("expected at most {REQUESTS_PER_S_MAX} requests per second, or 0 for no limit")]
    Rate,
    #[error("expected a reason of 1 to {REASON_LENGTH_MAX} characters without control characters")]
    Reason,
    #[error("the tenant has no payment {0}")]
    UnknownPayment(PaymentId),
    #[error("the secret could not be created")]
    Auth(#[from] AuthError),
    #[error(transparent)]
    Storage(#[from] StorageError),
}

#[derive(Debug)]
pub struct ClientRequest {
    /// The tenant's name.
    pub tenant: String,
    pub name: String,
    pub scopes: ScopeSet,
    pub created_by: String,
}

#[derive(Debug)]
pub struct CreatedClient {
    pub tenant: TenantId,
    pub id: ClientId,
    pub secret: SecretText,
}

/// The tenant with this name.
pub async fn tenant_of(system: &SystemPool, name: &str) -> Result<TenantId, TenantError> {
    let found = tenants::tenant_by_name(system, name).await?;
    found.ok_or_else(|| TenantError::Unknown(name.to_owned()))
}

/// Switches the card number check of one field on or off. Returns whether that changed anything.
pub async fn set_card_check(
    system: &SystemPool,
    tenant: &str,
    field: CheckedField,
    checked: bool,
    actor: &str,
) -> Result<bool, TenantError> {
    let tenant = tenant_of(system, tenant).await?;
    Ok(card_checks::set(system, tenant, field, checked, actor, SystemClock.now_ms()).await?)
}

/// The fields of a tenant without a card number check.
pub async fn unchecked(system: &SystemPool, tenant: &str) -> Result<UncheckedFields, TenantError> {
    let tenant = tenant_of(system, tenant).await?;
    Ok(card_checks::unchecked(system, tenant).await?)
}

/// In characters, as in the API.
const REASON_LENGTH_MAX: usize = 500;

/// Erases the personal data of a payment.
pub async fn erase(
    databases: &Databases,
    tenant: &str,
    payment: PaymentId,
    reason: String,
    actor: &str,
) -> Result<Erasure, TenantError> {
    if !(1..=REASON_LENGTH_MAX).contains(&reason.chars().count()) || reason.chars().any(char::is_control) {
        return Err(TenantError::Reason);
    }
    if holds_card_number(&reason) {
        return Err(TenantError::CardNumber);
    }
    let tenant = tenant_of(&databases.system, tenant).await?;
    let new = NewErasure { payment, reason, actor: actor.into(), now_ms: SystemClock.now_ms() };
    erasures::erase(&databases.app, tenant, new).await.map_err(|error| match error {
        EraseError::UnknownPayment => TenantError::UnknownPayment(payment),
        EraseError::Storage(error) => error.into(),
    })
}

/// How many months of decisions a tenant keeps.
pub async fn retention(databases: &Databases, tenant: &str) -> Result<Option<RetentionMonths>, TenantError> {
    let tenant = tenant_of(&databases.system, tenant).await?;
    Ok(tenants::retention(&databases.app, tenant).await?)
}

/// `None` keeps everything. Returns the retention before.
pub async fn set_retention(
    system: &SystemPool,
    tenant: &str,
    retention: Option<RetentionMonths>,
    actor: &str,
) -> Result<Option<RetentionMonths>, TenantError> {
    let tenant = tenant_of(system, tenant).await?;
    Ok(tenants::set_retention(system, tenant, retention, actor.into(), SystemClock.now_ms()).await?)
}

/// One administrator is enough from now on, for a tenant in which no second one is left.
pub async fn need_no_second_person(
    system: &SystemPool,
    tenant: &str,
    actor: &str,
) -> Result<bool, TenantError> {
    let tenant = tenant_of(system, tenant).await?;
    let now_ms = SystemClock.now_ms();
    Ok(proposals::set_second_person(system, tenant, false, actor.into(), now_ms).await?)
}

/// Switches the passwords of a tenant's people on again. Returns whether that changed anything.
pub async fn allow_passwords(databases: &Databases, tenant: &str, actor: &str) -> Result<bool, TenantError> {
    let tenant = tenant_of(&databases.system, tenant).await?;
    Ok(openid::allow_passwords(&databases.app, tenant, actor.into(), SystemClock.now_ms()).await?)
}

pub async fn create_tenant(
    system: &SystemPool,
    name: &str,
    created_by: &str,
) -> Result<TenantId, TenantError> {
    if !is_slug(name) {
        return Err(TenantError::Name);
    }
    if holds_card_number(name) {
        return Err(TenantError::CardNumber);
    }
    if name == OPERATORS_NAME {
        return Err(TenantError::Taken(name.to_owned()));
    }
    let now_ms = SystemClock.now_ms();
    let tenant = TenantId(OsRandomness.uuid_v7(now_ms));
    match tenants::create_tenant(system, tenant, name, now_ms, created_by).await {
        Ok(()) => Ok(tenant),
        Err(error) if error.is_unique_violation() => Err(TenantError::Taken(name.to_owned())),
        Err(error) => Err(error.into()),
    }
}

/// Creates a client whose rate is the node's setting.
pub async fn create_client(system: &SystemPool, order: ClientRequest) -> Result<CreatedClient, TenantError> {
    create_client_with(system, order, ClientLimits::default()).await
}

/// How a client is limited, beside its scopes.
#[derive(Debug, Default)]
pub struct ClientLimits {
    /// `None` means the node's setting, and 0 means no limit.
    pub requests_per_s: Option<u32>,
    pub certificate: Option<CertificateBinding>,
}

pub async fn create_client_with(
    system: &SystemPool,
    order: ClientRequest,
    limits: ClientLimits,
) -> Result<CreatedClient, TenantError> {
    let ClientLimits { requests_per_s, certificate } = limits;
    if requests_per_s.is_some_and(|rate| rate > REQUESTS_PER_S_MAX) {
        return Err(TenantError::Rate);
    }
    if !(1..=100).contains(&order.name.chars().count()) || order.name.chars().any(char::is_control) {
        return Err(TenantError::ClientName);
    }
    if holds_card_number(&order.name) {
        return Err(TenantError::CardNumber);
    }
    let tenant = tenant_of(system, &order.tenant).await?;
    let created_at_ms = SystemClock.now_ms();
    let secret = SecretText::generate_for_client(&OsRandomness);
    let hasher = SecretHasher::new(HashingLimits::default(), &OsRandomness)?;
    let secret_hash = hasher.hash(SecretText::new(secret.expose().to_owned()), &OsRandomness).await?;
    let id = ClientId(OsRandomness.uuid_v7(created_at_ms));
    let client = clients::NewClient {
        tenant,
        id,
        name: order.name,
        secret_hash,
        scopes: order.scopes.iter().collect(),
        requests_per_s,
        certificate,
        created_by: order.created_by,
        created_at_ms,
    };
    clients::create(system, &client).await?;
    Ok(CreatedClient { tenant, id, secret })
}
