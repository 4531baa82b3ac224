//! Machine clients of a tenant: creating them, changing what they may do, replacing their secrets.
//!
//! A secret exists in plain text only in the response that shows it.

use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;

use super::revocations::Revocations;
use super::users::Administrator;
use crate::auth::AuthError;
use crate::auth::password::{SecretHasher, SecretText};
use crate::auth::scope::ScopeSet;
use crate::domain::client_certificate::CertificateBinding;
use crate::domain::tenant::{ClientId, Scope};
use crate::domain::time::World;
use crate::domain::user::OPERATORS;
use crate::storage::StorageError;
use crate::storage::clients::{self, ChangeClientError, Client, ClientChange, NewClient};
use crate::storage::pool::AppPool;

/// The longest time for which the secret before is accepted beside a new one.
pub const OVERLAP_MAX: Duration = Duration::from_secs(7 * 86_400);

#[derive(Debug, Error)]
pub enum ClientError {
    #[error("there is no such client")]
    Unknown,
    #[error("the caller cannot give the scope {}", .0.name())]
    ScopeExceedsCaller(Scope),
    #[error(transparent)]
    Auth(#[from] AuthError),
    #[error(transparent)]
    Storage(#[from] StorageError),
}

impl From<ChangeClientError> for ClientError {
    fn from(error: ChangeClientError) -> Self {
        match error {
            ChangeClientError::Unknown => Self::Unknown,
            ChangeClientError::Storage(error) => error.into(),
        }
    }
}

#[derive(Debug)]
pub struct ClientOrder {
    pub name: String,
    pub scopes: Vec<Scope>,
    pub requests_per_s: Option<u32>,
    /// The client gets tokens only with a certificate that this allows.
    pub certificate: Option<CertificateBinding>,
}

#[derive(Debug)]
pub struct Clients {
    pub app: AppPool,
    pub hasher: Arc<SecretHasher>,
    pub revocations: Arc<Revocations>,
    pub world: World,
}

impl Clients {
    pub async fn create(
        &self,
        by: &Administrator,
        order: ClientOrder,
    ) -> Result<(Client, SecretText), ClientError> {
        may_give(by, &order.scopes)?;
        let now_ms = self.world.now_ms();
        let (secret, secret_hash) = self.new_secret().await?;
        let new = NewClient {
            tenant: by.tenant,
            id: ClientId(self.world.uuid_v7(now_ms)),
            name: order.name.clone(),
            secret_hash,
            scopes: order.scopes.clone(),
            requests_per_s: order.requests_per_s,
            certificate: order.certificate.clone(),
            created_by: by.actor.name().to_owned(),
            created_at_ms: now_ms,
        };
        let client = Client {
            id: new.id,
            name: order.name,
            scopes: order.scopes,
            requests_per_s: order.requests_per_s,
            certificate: order.certificate,
            created_at_ms: now_ms,
            disabled_at_ms: None,
            previous_secret_until_ms: None,
        };
        clients::create_own(&self.app, new).await?;
        Ok((client, secret))
    }

    pub async fn change(
        &self,
        by: &Administrator,
        id: ClientId,
        change: ClientChange,
    ) -> Result<Client, ClientError> {
        may_give(by, change.scopes.as_deref().unwrap_or_default())?;
        if change.certificate.is_some() {
            self.may_administer(by, id).await?;
        }
        let now_ms = self.world.now_ms();
        let client =
            clients::change(&self.app, by.tenant, id, change, by.actor.name().to_owned(), now_ms).await?;
        self.revocations.follow().await?;
        Ok(client)
    }

    /// Without an overlap, the secret before and every token that was requested with it end at once.
    pub async fn replace_secret(
        &self,
        by: &Administrator,
        id: ClientId,
        overlap: Duration,
    ) -> Result<(Client, SecretText), ClientError> {
        self.may_administer(by, id).await?;
        let (secret, hash) = self.new_secret().await?;
        let now_ms = self.world.now_ms();
        let overlap_ms = u64::try_from(overlap.min(OVERLAP_MAX).as_millis()).unwrap_or(u64::MAX);
        let until_ms = (overlap_ms > 0).then(|| now_ms.saturating_add(overlap_ms));
        let actor = by.actor.name().to_owned();
        let client = clients::replace_secret(&self.app, by.tenant, id, hash, until_ms, actor, now_ms).await?;
        self.revocations.follow().await?;
        Ok((client, secret))
    }

    /// Otherwise a caller with few scopes could get the secret of a client with more, or free it from its
    /// certificate.
    async fn may_administer(&self, by: &Administrator, id: ClientId) -> Result<(), ClientError> {
        let found = clients::find(&self.app, by.tenant, id).await?.ok_or(ClientError::Unknown)?;
        may_give(by, &found.scopes)
    }

    async fn new_secret(&self) -> Result<(SecretText, String), AuthError> {
        let secret = SecretText::generate_for_client(self.world.randomness());
        let copy = SecretText::new(secret.expose().to_owned());
        let hash = self.hasher.hash(copy, self.world.randomness()).await?;
        Ok((secret, hash))
    }
}

/// No person submits payments, so whoever administers clients may let them do so.
fn may_give(by: &Administrator, scopes: &[Scope]) -> Result<(), ClientError> {
    let submits = (by.tenant != OPERATORS).then_some(Scope::PaymentsWrite);
    let allowed: ScopeSet = by.scopes.iter().chain(submits).collect();
    match scopes.iter().find(|scope| !allowed.contains(**scope)) {
        Some(exceeding) => Err(ClientError::ScopeExceedsCaller(*exceeding)),
        None => Ok(()),
    }
}
