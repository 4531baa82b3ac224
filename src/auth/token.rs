//! Access tokens of clients and users: JWTs as in RFC 9068, signed with Ed25519.
//!
//! A verification must take the algorithm, the keys and the time only from our own settings, key
//! ring and clock.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, Header, Validation};
use serde::{Deserialize, Serialize};
use thiserror::Error;
use uuid::{Uuid, uuid};

use super::AuthError;
use super::revoked::Revoked;
use super::scope::ScopeSet;
use super::signing_key::{JwkSet, KeyRing, SigningKey};
use super::verified_cache::{CachedToken, VerifiedCache, fingerprint};
pub use super::verified_token::{Subject, VerifiedToken};
use crate::domain::client_certificate::CertificateThumbprint;
use crate::domain::revocation::Revocation;
use crate::domain::tenant::{ClientId, TenantId};
use crate::domain::time::World;
use crate::domain::user::{SignInId, UserId};

/// How much the clocks of two nodes may differ. It can be small, since only nodes of Tollgate issue
/// tokens. A token is accepted for this long before its `nbf` and after its expiry.
pub const LEEWAY_S: u64 = 5;

/// A revoked token must be remembered until it expires, so its lifetime is short. If it were
/// shorter, clients would sign in so often that password hashing became most of the load.
pub const LIFETIMES_S: std::ops::RangeInclusive<u64> = 300..=600;

/// Our tokens have about 700 bytes.
const MAX_TOKEN_BYTES: usize = 4096;

/// How many verified tokens are cached, of about 200 bytes each.
const CACHE_CAPACITY: usize = 20_000;

const TOKEN_TYPE: &str = "at+jwt";

/// The `client_id` in tokens of users: they sign in with the page, which is no client of a tenant.
const PAGE: Uuid = uuid!("00000000-0000-7000-8000-000070616765");

/// Why a token is refused. The caller always gets `invalid_token`. The reason is for logs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum TokenError {
    #[error("the token is not a signed JWT")]
    Malformed,
    #[error("the token is not an access token")]
    Type,
    #[error("the token's key is not in use")]
    UnknownKey,
    #[error("the token is not signed with the algorithm of its key")]
    Algorithm,
    #[error("the signature of the token is wrong")]
    Signature,
    #[error("a claim of the token is missing or has the wrong type")]
    Claims,
    #[error("the token was issued by another issuer")]
    Issuer,
    #[error("the token is meant for another audience")]
    Audience,
    #[error("the token has expired")]
    Expired,
    #[error("the token is not valid yet")]
    NotYetValid,
    #[error("the token was revoked")]
    Revoked,
    #[error("the token is bound to a certificate that the connection does not have")]
    Certificate,
}

/// A new token. Its text must be sent only to its client.
pub struct IssuedToken {
    pub text: String,
    pub scopes: ScopeSet,
    pub lifetime_s: u64,
    pub expires_at_ms: u64,
    pub id: Uuid,
}

impl fmt::Debug for IssuedToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IssuedToken").field("id", &self.id).finish_non_exhaustive()
    }
}

/// How the bearer of a token is known (RFC 7800, RFC 8705). Another way than ours is refused.
#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Confirmation {
    #[serde(rename = "x5t#S256")]
    certificate: CertificateThumbprint,
}

/// The claims of a token. Times are in whole seconds. A string or a fraction is refused.
#[derive(Serialize, Deserialize)]
struct Claims {
    iss: String,
    aud: String,
    sub: Uuid,
    client_id: Uuid,
    tenant: Uuid,
    scope: String,
    iat: u64,
    nbf: u64,
    exp: u64,
    jti: Uuid,
    /// Stored in the token, so that requests need no lookup. A change applies from the next token
    /// on.
    #[serde(skip_serializing_if = "Option::is_none")]
    requests_per_s: Option<u32>,
    /// Absent in tokens that are not bound to a certificate.
    #[serde(skip_serializing_if = "Option::is_none")]
    cnf: Option<Confirmation>,
    /// The generation of the client's secret. Absent for the first one, and in tokens of the
    /// release before.
    #[serde(default, skip_serializing_if = "is_zero")]
    secret_generation: u32,
    /// The sign-in of a user. Absent in tokens of clients.
    #[serde(skip_serializing_if = "Option::is_none")]
    sid: Option<Uuid>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// The `iss` of our tokens: the configured issuer, or the address on which this node listens. That
/// address is known only shortly before the first request.
#[derive(Debug, Clone, Default)]
pub struct TokenIssuer(Arc<OnceLock<String>>);

impl TokenIssuer {
    pub fn configured(text: impl Into<String>) -> Self {
        Self(Arc::new(OnceLock::from(text.into())))
    }

    /// Sets the issuer, unless it is configured. `scheme` is `http` or `https`.
    pub fn listens_at(&self, scheme: &str, address: SocketAddr) {
        // A node that listens on all addresses can be reached at the loopback address.
        let ip = match address.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
            ip => ip,
        };
        let _ = self.0.set(format!("{scheme}://{}", SocketAddr::new(ip, address.port())));
    }

    pub fn as_str(&self) -> &str {
        self.0.get().map_or("", String::as_str)
    }
}

/// The settings of all tokens.
#[derive(Debug, Clone)]
pub struct TokenSettings {
    issuer: TokenIssuer,
    audience: String,
    lifetime_s: u64,
}

impl TokenSettings {
    pub fn new(issuer: TokenIssuer, audience: String, lifetime_s: u64) -> Result<Self, AuthError> {
        if !LIFETIMES_S.contains(&lifetime_s) {
            return Err(AuthError::TokenLifetime(lifetime_s));
        }
        Ok(Self { issuer, audience, lifetime_s })
    }
}

/// A key ring, and a cache of the tokens that were verified with it. They are replaced together, so
/// that a verification that began with the previous keys cannot put its result into the new cache.
#[derive(Debug)]
struct KeyRingWithCache {
    keys: KeyRing,
    verified: VerifiedCache,
}

impl KeyRingWithCache {
    fn of(keys: KeyRing) -> Arc<Self> {
        Arc::new(Self { keys, verified: VerifiedCache::new(CACHE_CAPACITY) })
    }
}

/// Issues and verifies access tokens.
#[derive(Debug)]
pub struct AccessTokens {
    settings: TokenSettings,
    validation: Validation,
    epoch: RwLock<Arc<KeyRingWithCache>>,
    revoked: Revoked,
    world: World,
}

impl AccessTokens {
    pub fn new(settings: TokenSettings, keys: KeyRing, world: World) -> Self {
        let validation = validation(&settings);
        let (epoch, revoked) = (RwLock::new(KeyRingWithCache::of(keys)), Revoked::default());
        Self { settings, validation, epoch, revoked, world }
    }

    /// Replaces the key ring. Tokens whose key is not in the new one are refused from then on.
    pub fn replace_keys(&self, keys: KeyRing) {
        *self.epoch.write().unwrap_or_else(PoisonError::into_inner) = KeyRingWithCache::of(keys);
    }

    pub fn jwks(&self) -> JwkSet {
        self.epoch().keys.jwks(self.world.now_ms())
    }

    pub fn issue(
        &self,
        tenant: TenantId,
        subject: Subject,
        scopes: ScopeSet,
        requests_per_s: Option<u32>,
        certificate: Option<CertificateThumbprint>,
    ) -> Result<IssuedToken, AuthError> {
        let now_ms = self.world.now_ms();
        let epoch = self.epoch();
        let key = epoch.keys.signing(now_ms).ok_or(AuthError::NoSigningKey)?;
        let lifetime_s = self.settings.lifetime_s;
        let id = self.world.uuid_v7(now_ms);
        let issued_at_s = now_ms / 1000;
        let (sub, client_id, sid) = match subject {
            Subject::Client { id, .. } => (id.0, id.0, None),
            Subject::User { id, sign_in } => (id.0, PAGE, Some(sign_in.0)),
        };
        let secret_generation = match subject {
            Subject::Client { generation, .. } => generation,
            Subject::User { .. } => 0,
        };
        let claims = Claims {
            iss: self.settings.issuer.as_str().to_owned(),
            aud: self.settings.audience.clone(),
            sub,
            client_id,
            tenant: tenant.0,
            scope: scopes.to_string(),
            iat: issued_at_s,
            nbf: issued_at_s,
            exp: issued_at_s + lifetime_s,
            jti: id,
            requests_per_s,
            cnf: certificate.map(|certificate| Confirmation { certificate }),
            secret_generation,
            sid,
        };
        let mut header = Header::new(Algorithm::EdDSA);
        header.typ = Some(TOKEN_TYPE.to_owned());
        header.kid = Some(key.kid.clone());
        let text = jsonwebtoken::encode(&header, &claims, &key.encoding)
            .map_err(|_| AuthError::Cryptography("sign a token"))?;
        Ok(IssuedToken { text, scopes, lifetime_s, expires_at_ms: claims.exp * 1000, id })
    }

    /// Refuses tokens from now on, with the time at which each revocation was made.
    pub fn revoke(&self, revocations: &[(Revocation, u64)]) {
        self.revoked.add(revocations, self.world.now_ms());
    }

    /// Whether the tokens of this subject were revoked, for whoever keeps a connection open.
    pub fn has_revoked(&self, subject: Subject) -> bool {
        self.revoked.has(subject)
    }

    /// `shown` is the certificate of the connection on which the token came.
    pub fn verify(
        &self,
        token: &str,
        shown: Option<CertificateThumbprint>,
    ) -> Result<VerifiedToken, TokenError> {
        let verified = self.verify_signed(token)?;
        if self.has_revoked(verified.subject) {
            return Err(TokenError::Revoked);
        }
        // The cache knows tokens, not connections, so this is checked each time.
        if verified.certificate.is_some_and(|bound| shown != Some(bound)) {
            return Err(TokenError::Certificate);
        }
        Ok(verified)
    }

    fn verify_signed(&self, token: &str) -> Result<VerifiedToken, TokenError> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(TokenError::Malformed);
        }
        let now_ms = self.world.now_ms();
        let epoch = self.epoch();
        let fingerprint = fingerprint(token);
        if let Some(verified) = epoch.verified.get(&fingerprint, now_ms) {
            return Ok(verified);
        }
        let verified = self.verify_anew(token, &epoch.keys, now_ms)?;
        epoch.verified.insert(fingerprint, verified);
        Ok(verified.token)
    }

    fn verify_anew(&self, token: &str, keys: &KeyRing, now_ms: u64) -> Result<CachedToken, TokenError> {
        let header = jsonwebtoken::decode_header(token).map_err(refusal)?;
        if header.typ.as_deref() != Some(TOKEN_TYPE) || header.crit.is_some() {
            return Err(TokenError::Type);
        }
        let key = header.kid.as_deref().and_then(|kid| keys.verifying(kid, now_ms));
        let key = key.ok_or(TokenError::UnknownKey)?;
        // Checks the algorithm, the signature and the audience.
        let claims = jsonwebtoken::decode::<Claims>(token, &key.decoding, &self.validation);
        let claims = claims.map_err(refusal)?.claims;
        if claims.iss != self.settings.issuer.as_str() {
            return Err(TokenError::Issuer);
        }
        in_time(&claims, key, now_ms)
    }

    fn epoch(&self) -> Arc<KeyRingWithCache> {
        self.epoch.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The checks that the library makes. We check the times ourselves, since the library reads the
/// system's clock, and the issuer, since it is not known yet.
fn validation(settings: &TokenSettings) -> Validation {
    // All our keys are Ed25519, so no other algorithm is allowed.
    let mut validation = Validation::new(Algorithm::EdDSA);
    validation.set_required_spec_claims(&["exp", "nbf", "iss", "aud", "sub"]);
    validation.set_audience(&[&settings.audience]);
    validation.validate_exp = false;
    validation.validate_nbf = false;
    validation
}

fn in_time(claims: &Claims, key: &SigningKey, now_ms: u64) -> Result<CachedToken, TokenError> {
    // Our tokens have no lifetime above the maximum.
    let lifetime_s = claims.exp.checked_sub(claims.iat).ok_or(TokenError::Claims)?;
    if lifetime_s > *LIFETIMES_S.end() {
        return Err(TokenError::Claims);
    }
    let subject = subject_of(claims)?;
    let in_ms = |time_s: u64| time_s.checked_mul(1000).ok_or(TokenError::Claims);
    let expires_at_ms = in_ms(claims.exp)?;
    let valid_from_ms = in_ms(claims.nbf)?.saturating_sub(LEEWAY_S * 1000);
    let expired_from_ms = expires_at_ms.saturating_add(LEEWAY_S * 1000);
    if now_ms >= expired_from_ms {
        return Err(TokenError::Expired);
    }
    if now_ms < valid_from_ms {
        return Err(TokenError::NotYetValid);
    }
    let token = VerifiedToken {
        tenant: TenantId(claims.tenant),
        subject,
        scopes: ScopeSet::parse_known(&claims.scope),
        expires_at_ms,
        requests_per_s: claims.requests_per_s,
        certificate: claims.cnf.map(|confirmation| confirmation.certificate),
        id: claims.jti,
    };
    let valid_until_ms = key.retired_at_ms.map_or(expired_from_ms, |at_ms| at_ms.min(expired_from_ms));
    Ok(CachedToken { token, valid_from_ms, valid_until_ms })
}

/// The `sub` of a client's token is the client itself.
fn subject_of(claims: &Claims) -> Result<Subject, TokenError> {
    match claims.sid {
        None if claims.sub == claims.client_id => {
            Ok(Subject::Client { id: ClientId(claims.sub), generation: claims.secret_generation })
        }
        Some(sign_in) if claims.client_id == PAGE => {
            Ok(Subject::User { id: UserId(claims.sub), sign_in: SignInId(sign_in) })
        }
        _ => Err(TokenError::Claims),
    }
}

fn refusal(error: jsonwebtoken::errors::Error) -> TokenError {
    match error.kind() {
        ErrorKind::InvalidSignature => TokenError::Signature,
        ErrorKind::InvalidAlgorithm | ErrorKind::InvalidKeyFormat => TokenError::Algorithm,
        ErrorKind::InvalidAudience => TokenError::Audience,
        ErrorKind::MissingRequiredClaim(_) | ErrorKind::InvalidClaimFormat(_) => TokenError::Claims,
        // A claim or a header with a value of the wrong type, such as `alg: none`.
        ErrorKind::Json(error) if error.is_data() => TokenError::Claims,
        _ => TokenError::Malformed,
    }
}

#[cfg(test)]
#[path = "token_tests.rs"]
mod tests;
