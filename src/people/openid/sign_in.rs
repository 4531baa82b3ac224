//! The sign-in of a person who is sent to a provider and comes back.
//!
//! Nothing here may tell a stranger which tenants exist: an unknown one is as one without a provider.

use std::time::Instant;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use thiserror::Error;
use uuid::Uuid;

use super::Openid;
use super::exchange::{ExchangeError, FlowSecrets, Person};
use super::providers::ProviderError;
use crate::auth::AuthError;
use crate::auth::openid_flow::{FLOW_LIFETIME_S, OpenidFlow};
use crate::domain::openid::{OpenidIdentity, OpenidSettings};
use crate::domain::plugin::Digest;
use crate::domain::tenant::TenantId;
use crate::domain::time::Randomness;
use crate::domain::user::{DISPLAY_NAME_LENGTH_MAX, EmailAddress, UserId};
use crate::people::sign_in::{Origin, SignInError, SignedIn};
use crate::storage::StorageError;
use crate::storage::tenants;
use crate::storage::users::{self, Arrival, ArriveError};

/// In bytes. OpenID Connect allows 255.
const SUBJECT_LENGTH_MAX: usize = 255;

#[derive(Debug, Error)]
pub enum OpenidError {
    #[error("the tenant has no sign-in by OpenID Connect, or does not exist")]
    NotSetUp,
    #[error(transparent)]
    Provider(ProviderError),
    #[error("the provider answered with the error {0:?}")]
    Denied(String),
    #[error("the sign-in was not begun in this browser, or too long ago")]
    NotBegun,
    #[error("the provider's answer is not valid: {0}")]
    Answer(String),
    #[error("the provider gives the person no role of the tenant")]
    NoRole,
    #[error("the provider names no e-mail address, or one that it has not verified")]
    Email,
    #[error("another user of the tenant has the e-mail address")]
    EmailTaken,
    #[error("the user is disabled")]
    Disabled,
    #[error("too many attempts have failed")]
    TooManyFailures,
    #[error(transparent)]
    Auth(#[from] AuthError),
    #[error(transparent)]
    Storage(#[from] StorageError),
}

impl From<ExchangeError> for OpenidError {
    fn from(error: ExchangeError) -> Self {
        match error {
            ExchangeError::Provider(error) => Self::Provider(error),
            error => Self::Answer(error.to_string()),
        }
    }
}

impl From<ArriveError> for OpenidError {
    fn from(error: ArriveError) -> Self {
        match error {
            ArriveError::Disabled => Self::Disabled,
            ArriveError::Email => Self::Email,
            ArriveError::EmailTaken => Self::EmailTaken,
            ArriveError::Storage(error) => error.into(),
        }
    }
}

impl From<SignInError> for OpenidError {
    fn from(error: SignInError) -> Self {
        match error {
            SignInError::Auth(error) => error.into(),
            SignInError::Storage(error) => error.into(),
            _ => Self::Disabled,
        }
    }
}

impl OpenidError {
    /// The page has words for each. A stranger may see it, so it must tell nothing of the tenant.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NotSetUp => "not-set-up",
            Self::Provider(_) => "provider",
            Self::Denied(_) => "denied",
            Self::NotBegun => "not-begun",
            Self::Answer(_) => "answer",
            Self::NoRole => "no-role",
            Self::Email => "email",
            Self::EmailTaken => "email-taken",
            Self::Disabled => "disabled",
            Self::TooManyFailures => "too-many",
            Self::Auth(_) | Self::Storage(_) => "failed",
        }
    }
}

/// A sign-in that was begun.
pub struct Started {
    /// At the provider.
    pub address: String,
    pub cookie: String,
}

/// What the browser brings back.
#[derive(Default)]
pub struct ProviderAnswer {
    pub code: Option<String>,
    pub state: Option<String>,
    /// `iss` of RFC 9207.
    pub issuer: Option<String>,
    pub error: Option<String>,
}

pub struct Finished {
    pub signed_in: SignedIn,
    /// Where the person wants to be in the page.
    pub place: String,
}

macro_rules! shows_no_secret {
    ($($name:ident)*) => {$(
        /// Shows no secret.
        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(stringify!($name))
            }
        }
    )*};
}

shows_no_secret!(Started ProviderAnswer Finished);

impl Openid {
    /// Sends a browser to the provider of the tenant.
    pub async fn start(&self, tenant: String, place: String) -> Result<Started, OpenidError> {
        let found = tenants::tenant_named(&self.app, tenant).await?;
        // An unknown tenant takes the same statements.
        let tenant = found.unwrap_or(TenantId(Uuid::nil()));
        let settings = self.usable_settings(tenant).await?;
        let registration = self.registration(tenant, &settings)?;
        let random = || random_text(self.world.randomness());
        let secrets = FlowSecrets { state: random(), nonce: random(), pkce_verifier: random() };
        let address = registration.address(&self.providers, &secrets).await?;
        let flow = OpenidFlow {
            tenant,
            issuer: settings.issuer.as_str().to_owned(),
            client_id: settings.client_id,
            state: secrets.state,
            nonce: secrets.nonce,
            pkce_verifier: secrets.pkce_verifier,
            place,
            expires_at_ms: self.world.now_ms().saturating_add(u64::from(FLOW_LIFETIME_S) * 1_000),
        };
        Ok(Started { address, cookie: self.flows.write(&flow, self.world.randomness())? })
    }

    /// Signs the person in who came back, or says why not.
    pub async fn finish(
        &self,
        cookie: Option<&str>,
        answer: ProviderAnswer,
        origin: Origin,
        now: Instant,
    ) -> Result<Finished, OpenidError> {
        let flow = cookie.and_then(|text| self.flows.read(text, self.world.now_ms()));
        let flow = flow.filter(|flow| answer.state.as_deref() == Some(&flow.state));
        let flow = flow.ok_or(OpenidError::NotBegun)?;
        // Each attempt makes this server connect to the provider.
        let attempt = Digest::of(flow.state.as_bytes());
        let admitted = self.sign_ins.attempts.admit(&attempt, origin.address, now);
        admitted.map_err(|_| OpenidError::TooManyFailures)?;
        let (address, place) = (origin.address, flow.place.clone());
        let signed_in = self.finish_flow(flow, answer, origin).await;
        if !matches!(signed_in, Err(OpenidError::Answer(_) | OpenidError::Denied(_))) {
            self.sign_ins.attempts.give_back(Some(&attempt), address, now);
        }
        Ok(Finished { signed_in: signed_in?, place })
    }

    async fn finish_flow(
        &self,
        flow: OpenidFlow,
        answer: ProviderAnswer,
        origin: Origin,
    ) -> Result<SignedIn, OpenidError> {
        let settings = self.usable_settings(flow.tenant).await?;
        if settings.issuer.as_str() != flow.issuer || settings.client_id != flow.client_id {
            return Err(OpenidError::NotBegun);
        }
        if answer.issuer.is_some_and(|issuer| issuer != flow.issuer) {
            return Err(OpenidError::Answer("it comes from another issuer".to_owned()));
        }
        if let Some(error) = answer.error {
            return Err(OpenidError::Denied(error.chars().take(100).collect()));
        }
        let code = answer.code.ok_or_else(|| OpenidError::Answer("it has no code".to_owned()))?;
        let registration = self.registration(flow.tenant, &settings)?;
        let secrets = FlowSecrets { state: flow.state, nonce: flow.nonce, pkce_verifier: flow.pkce_verifier };
        let person = registration.person(&self.providers, &secrets, code, self.world.now_ms()).await?;
        let user = self.arrive(flow.tenant, &settings, person).await?;
        Ok(self.sign_ins.begin(flow.tenant, user, origin).await?)
    }

    async fn usable_settings(&self, tenant: TenantId) -> Result<OpenidSettings, OpenidError> {
        let stored = self.settings(tenant).await?.ok_or(OpenidError::NotSetUp)?;
        // The operator may have taken the permission back.
        if !self.providers.allowed.allows(&stored.settings.issuer) {
            return Err(OpenidError::NotSetUp);
        }
        Ok(stored.settings)
    }

    async fn arrive(
        &self,
        tenant: TenantId,
        settings: &OpenidSettings,
        person: Person,
    ) -> Result<UserId, OpenidError> {
        if person.subject.is_empty() || person.subject.len() > SUBJECT_LENGTH_MAX {
            return Err(OpenidError::Answer("its subject is empty or too long".to_owned()));
        }
        let mut roles = settings.roles_of(&person.role_values);
        roles.retain(|role| role.exists_in(tenant));
        if roles.is_empty() {
            return Err(OpenidError::NoRole);
        }
        let email = person.email.and_then(|text| EmailAddress::parse(&text).ok());
        let display_name = display_name(person.name.as_deref(), email.as_ref());
        let now_ms = self.world.now_ms();
        let arrival = Arrival {
            identity: OpenidIdentity { issuer: settings.issuer.clone(), subject: person.subject },
            email,
            is_email_verified: person.is_email_verified,
            display_name,
            roles,
            id: UserId(self.world.uuid_v7(now_ms)),
            now_ms,
        };
        let arrived = users::arrive(&self.app, tenant, arrival).await?;
        // The provider may have given other roles, which ends other sign-ins.
        self.sign_ins.revocations.follow().await?;
        Ok(arrived)
    }
}

/// 256 random bits.
fn random_text(randomness: &dyn Randomness) -> String {
    let mut bytes = [0; 32];
    randomness.fill(&mut bytes);
    URL_SAFE_NO_PAD.encode(bytes)
}

fn display_name(name: Option<&str>, email: Option<&EmailAddress>) -> String {
    let plain = |text: &str| -> String {
        let letters = text.chars().filter(|char| !char.is_control());
        letters.take(DISPLAY_NAME_LENGTH_MAX).collect::<String>().trim().to_owned()
    };
    let name = name.map(plain).filter(|name| !name.is_empty());
    name.or_else(|| email.map(|email| plain(email.as_str()))).unwrap_or_default()
}
