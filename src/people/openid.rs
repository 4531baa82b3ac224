//! Sign-in by OpenID Connect: what a tenant sets, and the sign-in itself.
//!
//! The server connects only to what the operator allows, whatever a tenant sets.

mod exchange;
mod providers;
mod sign_in;

use std::sync::Arc;

use openidconnect::ClientSecret;
use thiserror::Error;
use zeroize::Zeroizing;

pub use providers::{ProviderError, Providers};
pub use sign_in::{Finished, OpenidError, ProviderAnswer, Started};

use exchange::Registration;

use super::sign_in::SignIns;
use super::users::{Administrator, UserError};
use crate::auth::AuthError;
use crate::auth::openid_flow::OpenidFlows;
use crate::auth::sealed::Sealer;
use crate::auth::token::TokenIssuer;
use crate::domain::audit::Authority;
use crate::domain::openid::{IssuerAddress, MappedRole, OpenidSettings};
use crate::domain::tenant::TenantId;
use crate::domain::time::World;
use crate::storage::StorageError;
use crate::storage::openid::{self, ApplyOpenidError, StoredOpenidSettings};
use crate::storage::pool::AppPool;

#[derive(Debug, Error)]
pub enum OpenidSettingsError {
    #[error("{0}")]
    Issuer(&'static str),
    #[error("the operator of this server does not allow this issuer")]
    IssuerNotAllowed,
    #[error("nobody who may change users has signed in by this provider")]
    NoAdministrator,
    #[error(transparent)]
    Roles(#[from] UserError),
    #[error(transparent)]
    Auth(#[from] AuthError),
    #[error(transparent)]
    Storage(#[from] StorageError),
}

impl From<ApplyOpenidError> for OpenidSettingsError {
    fn from(error: ApplyOpenidError) -> Self {
        match error {
            ApplyOpenidError::NoAdministrator => Self::NoAdministrator,
            ApplyOpenidError::Storage(error) => error.into(),
        }
    }
}

/// What a person asks to set.
pub struct OpenidOrder {
    pub issuer: String,
    pub client_id: String,
    /// `None` keeps the present one, as long as issuer and client stay the same.
    pub client_secret: Option<Zeroizing<String>>,
    pub roles_claim: String,
    pub role_mapping: Vec<MappedRole>,
    pub password_sign_in: bool,
}

/// Shows no secret.
impl std::fmt::Debug for OpenidOrder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("OpenidOrder")
    }
}

/// What a provider publishes, for whoever sets it up.
#[derive(Debug)]
pub struct ProviderFound {
    pub authorization_endpoint: String,
    pub keys: usize,
    /// `None` if the provider does not say which it has.
    pub scopes: Option<Vec<String>>,
}

#[derive(Debug)]
pub struct Openid {
    pub app: AppPool,
    pub providers: Arc<Providers>,
    pub sign_ins: Arc<SignIns>,
    /// Seals the secrets with which tenants are clients of providers.
    pub sealer: Sealer,
    pub flows: OpenidFlows,
    /// The address to which providers send browsers back is below it.
    pub issuer: TokenIssuer,
    pub world: World,
}

impl Openid {
    /// To which providers send browsers back.
    pub fn redirect_address(&self) -> String {
        format!("{}/session/openid/return", self.issuer.as_str().trim_end_matches('/'))
    }

    pub async fn settings(&self, tenant: TenantId) -> Result<Option<StoredOpenidSettings>, StorageError> {
        openid::find(&self.app, tenant).await
    }

    /// Checks what a person asks for, and seals its secret.
    pub async fn checked(
        &self,
        by: &Administrator,
        order: OpenidOrder,
    ) -> Result<OpenidSettings, OpenidSettingsError> {
        let issuer = self.allowed(order.issuer)?;
        let roles: Vec<_> = order.role_mapping.iter().map(|mapped| mapped.role).collect();
        by.may_give(&roles)?;
        let client_secret_sealed = match order.client_secret {
            Some(secret) => {
                let bound_to = bound_to(by.tenant, issuer.as_str(), &order.client_id);
                Some(self.sealer.seal(secret.as_bytes(), &bound_to, self.world.randomness())?)
            }
            None => self.present_secret(by.tenant, &issuer, &order.client_id).await?,
        };
        Ok(OpenidSettings {
            issuer,
            client_id: order.client_id,
            client_secret_sealed,
            roles_claim: order.roles_claim,
            role_mapping: order.role_mapping,
            password_sign_in: order.password_sign_in,
        })
    }

    /// Makes checked settings valid, or removes them, at once and whoever has checked them.
    pub async fn apply(
        &self,
        tenant: TenantId,
        actor: Authority,
        settings: Option<OpenidSettings>,
    ) -> Result<(), OpenidSettingsError> {
        Ok(openid::apply(&self.app, tenant, actor, settings, self.world.now_ms()).await?)
    }

    /// Asks a provider for what it publishes.
    pub async fn test(
        &self,
        issuer: String,
    ) -> Result<Result<ProviderFound, ProviderError>, OpenidSettingsError> {
        let issuer = self.allowed(issuer)?;
        let found = self.providers.newer_metadata(&issuer).await;
        Ok(found.map(|metadata| ProviderFound {
            authorization_endpoint: metadata.authorization_endpoint().to_string(),
            keys: metadata.jwks().keys().len(),
            scopes: metadata
                .scopes_supported()
                .map(|scopes| scopes.iter().map(|scope| scope.to_string()).collect()),
        }))
    }

    fn allowed(&self, text: String) -> Result<IssuerAddress, OpenidSettingsError> {
        let issuer = IssuerAddress::try_from(text).map_err(OpenidSettingsError::Issuer)?;
        if self.providers.allowed.allows(&issuer) {
            Ok(issuer)
        } else {
            Err(OpenidSettingsError::IssuerNotAllowed)
        }
    }

    async fn present_secret(
        &self,
        tenant: TenantId,
        issuer: &IssuerAddress,
        client_id: &str,
    ) -> Result<Option<Vec<u8>>, StorageError> {
        let present = self.settings(tenant).await?.map(|stored| stored.settings);
        let present = present.filter(|present| present.issuer == *issuer && present.client_id == client_id);
        Ok(present.and_then(|present| present.client_secret_sealed))
    }

    fn registration(&self, tenant: TenantId, settings: &OpenidSettings) -> Result<Registration, AuthError> {
        let bound_to = bound_to(tenant, settings.issuer.as_str(), &settings.client_id);
        let opened = settings.client_secret_sealed.as_ref().map(|sealed| self.sealer.open(sealed, &bound_to));
        let secret = opened.transpose()?.map(|secret| String::from_utf8_lossy(&secret).into_owned());
        Ok(Registration {
            issuer: settings.issuer.clone(),
            client_id: settings.client_id.clone(),
            client_secret: secret.map(ClientSecret::new),
            redirect_address: self.redirect_address(),
            roles_claim: settings.roles_claim.clone(),
        })
    }
}

/// A secret must never be sent to another provider than the one that it was typed for.
fn bound_to(tenant: TenantId, issuer: &str, client_id: &str) -> String {
    format!("openid:{tenant}:{issuer} {client_id}")
}
