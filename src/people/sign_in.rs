//! Signing in with a password, renewing a sign-in, and signing out.
//!
//! An unknown person and a wrong password must be the same to whoever tries, in words and in work.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use thiserror::Error;

use super::attempts::{Attempts, TooManyFailures};
use super::password_policy::{self, PasswordError};
use super::revocations::Revocations;
use super::second_factor::SecondFactorError;
use crate::auth::AuthError;
use crate::auth::one_time_link::OneTimeLink;
use crate::auth::password::{SecretHasher, SecretText};
use crate::auth::refresh_token::{RefreshToken, RefreshTokens};
use crate::auth::scope::ScopeSet;
use crate::auth::sealed::Sealer;
use crate::auth::token::{AccessTokens, IssuedToken, Subject};
use crate::domain::openid::{AllowedIssuers, OpenidSettings};
use crate::domain::plugin::Digest;
use crate::domain::tenant::TenantId;
use crate::domain::time::World;
use crate::domain::user::{EmailAddress, SignInId, UserId};
use crate::storage::StorageError;
use crate::storage::openid;
use crate::storage::pool::AppPool;
use crate::storage::sign_ins::{self, NewSignIn, Renewal};
use crate::storage::tenants::{self, Tenant};
use crate::storage::users::{self, User, UserSecrets};

/// In characters. Longer ones are cut off: it is only shown.
const USER_AGENT_LENGTH_MAX: usize = 300;

#[derive(Debug, Error)]
pub enum SignInError {
    #[error("the tenant, the e-mail address, the password or the code is wrong")]
    Wrong,
    #[error("the password is right, but the tenant's people sign in by its provider")]
    PasswordsOff,
    #[error("the password is right; a code of the second factor is needed too")]
    CodeRequired,
    #[error("too many attempts have failed")]
    TooManyFailures { next_in: Duration },
    #[error("the sign-in has ended")]
    Ended,
    #[error("the link is wrong, has expired, or was used before")]
    Link,
    #[error("the new password {0}")]
    Password(PasswordError),
    #[error(transparent)]
    Auth(#[from] AuthError),
    #[error(transparent)]
    Storage(#[from] StorageError),
}

impl From<TooManyFailures> for SignInError {
    fn from(TooManyFailures { next_in }: TooManyFailures) -> Self {
        Self::TooManyFailures { next_in }
    }
}

/// How long a sign-in lasts.
#[derive(Debug, Clone, Copy)]
pub struct SignInLifetimes {
    /// Without being renewed.
    pub idle: Duration,
    pub total: Duration,
}

/// What a person typed, and from where.
pub struct Credentials {
    pub tenant: String,
    pub email: String,
    pub password: SecretText,
    pub code: Option<String>,
    pub origin: Origin,
}

/// Shows no secret.
impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Credentials")
    }
}

/// Where a sign-in comes from.
#[derive(Debug, Clone, Default)]
pub struct Origin {
    pub address: Option<IpAddr>,
    pub user_agent: Option<String>,
}

/// A person who has just signed in, with new tokens.
pub struct SignedIn {
    pub tenant: Tenant,
    pub user: User,
    pub access_token: IssuedToken,
    /// For the cookie.
    pub refresh_token: String,
    /// How long the cookie is kept.
    pub lasts: Duration,
}

/// Shows no secret.
impl std::fmt::Debug for SignedIn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SignedIn")
    }
}

/// What [`SignIns`] is made of.
#[derive(Debug)]
pub struct SignInParts {
    pub app: AppPool,
    pub hasher: Arc<SecretHasher>,
    pub tokens: Arc<AccessTokens>,
    pub refresh_tokens: RefreshTokens,
    pub sealer: Sealer,
    pub revocations: Arc<Revocations>,
    /// If the operator does not allow the issuer of a tenant any more, passwords work again.
    pub allowed_issuers: AllowedIssuers,
    pub lifetimes: SignInLifetimes,
    pub world: World,
}

pub struct SignIns {
    pub(super) app: AppPool,
    hasher: Arc<SecretHasher>,
    tokens: Arc<AccessTokens>,
    refresh_tokens: RefreshTokens,
    pub(super) sealer: Sealer,
    pub(super) revocations: Arc<Revocations>,
    allowed_issuers: AllowedIssuers,
    lifetimes: SignInLifetimes,
    pub(super) world: World,
    pub(super) attempts: Attempts,
}

impl std::fmt::Debug for SignIns {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SignIns")
    }
}

impl SignIns {
    pub fn new(parts: SignInParts) -> Self {
        let SignInParts {
            app,
            hasher,
            tokens,
            refresh_tokens,
            sealer,
            revocations,
            allowed_issuers,
            lifetimes,
            world,
        } = parts;
        Self {
            app,
            hasher,
            tokens,
            refresh_tokens,
            sealer,
            revocations,
            allowed_issuers,
            lifetimes,
            world,
            attempts: Attempts::default(),
        }
    }

    pub async fn sign_in(&self, credentials: Credentials, now: Instant) -> Result<SignedIn, SignInError> {
        let compared = EmailAddress::parse(&credentials.email).map(|email| email.compared());
        let compared = compared.unwrap_or_else(|_| credentials.email.clone());
        let account = Digest::of(format!("{}\n{compared}", credentials.tenant).as_bytes());
        let address = credentials.origin.address;
        self.attempts.admit(&account, address, now)?;
        let judged = self.judge(credentials, compared).await;
        match &judged {
            Ok(_) => {
                self.attempts.forget(&account);
                self.attempts.give_back(None, address, now);
            }
            // Only who knows the password gets here, so this is no failure, but no success either.
            Err(SignInError::Wrong) => {}
            Err(_) => self.attempts.give_back(Some(&account), address, now),
        }
        judged
    }

    async fn judge(&self, credentials: Credentials, compared: String) -> Result<SignedIn, SignInError> {
        let tenant = tenants::tenant_named(&self.app, credentials.tenant).await?;
        // An unknown tenant takes the same statements.
        let tenant_or_none = tenant.unwrap_or(TenantId(uuid::Uuid::nil()));
        let found = users::find_by_email(&self.app, tenant_or_none, compared).await?;
        let found = found.filter(|found| found.user.disabled_at_ms.is_none());
        let openid = openid::find(&self.app, tenant_or_none).await?.map(|stored| stored.settings);
        let hash = found.as_ref().and_then(|found| found.password_hash.as_deref());
        let password = password_policy::normalized(credentials.password.expose());
        let is_right = self.hasher.verify(password, hash).await?;
        let (Some(tenant), Some(found), true) = (tenant, found, is_right) else {
            return Err(SignInError::Wrong);
        };
        let is_off = |settings: &OpenidSettings| {
            !settings.password_sign_in && self.allowed_issuers.allows(&settings.issuer)
        };
        if openid.as_ref().is_some_and(is_off) {
            return Err(SignInError::PasswordsOff);
        }
        self.check_code(tenant, &found, credentials.code.as_deref()).await?;
        self.begin(tenant, found.user.id, credentials.origin).await
    }

    async fn check_code(
        &self,
        tenant: TenantId,
        found: &UserSecrets,
        code: Option<&str>,
    ) -> Result<(), SignInError> {
        if !found.user.has_second_factor {
            return Ok(());
        }
        let Some(code) = code else { return Err(SignInError::CodeRequired) };
        match self.spend_code(tenant, found, code).await {
            Ok(true) => Ok(()),
            Ok(false) => Err(SignInError::Wrong),
            Err(SecondFactorError::Storage(error)) => Err(error.into()),
            Err(SecondFactorError::Auth(error)) => Err(error.into()),
            Err(_) => Err(SignInError::Wrong),
        }
    }

    /// Begins a sign-in of a person who has proved who it is.
    pub(super) async fn begin(
        &self,
        tenant: TenantId,
        user: UserId,
        origin: Origin,
    ) -> Result<SignedIn, SignInError> {
        let now_ms = self.world.now_ms();
        let id = SignInId(self.world.uuid_v7(now_ms));
        let new = NewSignIn {
            id,
            user,
            now_ms,
            expires_at_ms: now_ms.saturating_add(milliseconds(self.lifetimes.total)),
            address: origin.address.map(|address| address.to_string()),
            user_agent: origin.user_agent.map(|text| text.chars().take(USER_AGENT_LENGTH_MAX).collect()),
        };
        let user = sign_ins::begin(&self.app, tenant, new).await?.ok_or(SignInError::Wrong)?;
        self.signed_in(tenant, user, id, 0).await
    }

    async fn signed_in(
        &self,
        tenant: TenantId,
        user: User,
        sign_in: SignInId,
        generation: u64,
    ) -> Result<SignedIn, SignInError> {
        let named = tenants::find(&self.app, tenant).await?.ok_or(SignInError::Ended)?;
        let scopes: ScopeSet = user.roles.iter().flat_map(|role| role.scopes()).copied().collect();
        let subject = Subject::User { id: user.id, sign_in };
        let access_token = self.tokens.issue(tenant, subject, scopes, None, None)?;
        let refresh_token = self.refresh_tokens.write(RefreshToken { tenant, sign_in, generation });
        Ok(SignedIn { tenant: named, user, access_token, refresh_token, lasts: self.lifetimes.total })
    }

    /// Spends a refresh token for the next one and a new access token.
    pub async fn renew(&self, refresh_token: &str) -> Result<SignedIn, SignInError> {
        let token = self.refresh_tokens.read(refresh_token).ok_or(SignInError::Ended)?;
        let RefreshToken { tenant, sign_in, generation } = token;
        let (now_ms, idle_max_ms) = (self.world.now_ms(), milliseconds(self.lifetimes.idle));
        match sign_ins::renew(&self.app, tenant, sign_in, generation, now_ms, idle_max_ms).await? {
            Renewal::Renewed { user, generation } => self.signed_in(tenant, *user, sign_in, generation).await,
            Renewal::Ended => Err(SignInError::Ended),
            Renewal::Reused(sign_in) => {
                tracing::warn!(%tenant, %sign_in, "a spent refresh token was used again; the sign-in was ended");
                metrics::counter!("tollgate_refresh_tokens_reused_total").increment(1);
                self.revocations.follow().await?;
                Err(SignInError::Ended)
            }
        }
    }

    /// Ends the sign-in of a refresh token, also of a spent one.
    pub async fn sign_out(&self, refresh_token: &str) -> Result<(), SignInError> {
        let Some(token) = self.refresh_tokens.read(refresh_token) else { return Ok(()) };
        sign_ins::end(&self.app, token.tenant, token.sign_in, self.world.now_ms()).await?;
        Ok(self.revocations.follow().await?)
    }

    /// Ends one of the person's sign-ins. Returns `false` if there is no such sign-in.
    pub async fn end(&self, tenant: TenantId, user: UserId, id: SignInId) -> Result<bool, StorageError> {
        let ended = sign_ins::end_own(&self.app, tenant, user, id, self.world.now_ms()).await?;
        self.revocations.follow().await?;
        Ok(ended)
    }

    /// Signs the person out everywhere.
    pub async fn end_all(&self, tenant: TenantId, user: UserId) -> Result<(), StorageError> {
        let actor = format!("user:{user}").into();
        users::end_sign_ins(&self.app, tenant, user, actor, self.world.now_ms()).await?;
        self.revocations.follow().await
    }

    pub async fn list(&self, tenant: TenantId, user: UserId) -> Result<Vec<sign_ins::SignIn>, StorageError> {
        let (now_ms, idle_max_ms) = (self.world.now_ms(), milliseconds(self.lifetimes.idle));
        sign_ins::of_user(&self.app, tenant, user, now_ms, idle_max_ms).await
    }

    /// Sets a password with a one-time link, and ends all sign-ins of the person.
    pub async fn set_password_by_link(&self, token: &str, password: &str) -> Result<(), SignInError> {
        let link = OneTimeLink::read(token).ok_or(SignInError::Link)?;
        let found = users::find(&self.app, link.tenant, link.user).await?.ok_or(SignInError::Link)?;
        let secret = checked(password, &found.user)?;
        let hash = self.hasher.hash(secret, self.world.randomness()).await?;
        let (digest, now_ms) = (link.digest(), self.world.now_ms());
        if !users::set_password_by_link(&self.app, link.tenant, link.user, digest, hash, now_ms).await? {
            return Err(SignInError::Link);
        }
        Ok(self.revocations.follow().await?)
    }

    /// Replaces the person's password, and ends all of the person's sign-ins.
    pub async fn change_password(
        &self,
        tenant: TenantId,
        user: UserId,
        current: SecretText,
        new: &str,
        now: Instant,
    ) -> Result<(), SignInError> {
        let account = Digest::of(user.0.as_bytes());
        self.attempts.admit(&account, None, now)?;
        let changed = self.change_own_password(tenant, user, current, new).await;
        if !matches!(changed, Err(SignInError::Wrong)) {
            self.attempts.give_back(Some(&account), None, now);
        }
        changed
    }

    async fn change_own_password(
        &self,
        tenant: TenantId,
        user: UserId,
        current: SecretText,
        new: &str,
    ) -> Result<(), SignInError> {
        let found = users::find(&self.app, tenant, user).await?.ok_or(SignInError::Ended)?;
        let current = password_policy::normalized(current.expose());
        if !self.hasher.verify(current, found.password_hash.as_deref()).await? {
            return Err(SignInError::Wrong);
        }
        let hash = self.hasher.hash(checked(new, &found.user)?, self.world.randomness()).await?;
        users::set_password(&self.app, tenant, user, hash, self.world.now_ms()).await?;
        Ok(self.revocations.follow().await?)
    }
}

fn checked(password: &str, user: &User) -> Result<SecretText, SignInError> {
    let known = [user.email.as_str(), &user.display_name, "tollgate"];
    password_policy::check(password, &known).map_err(SignInError::Password)
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
