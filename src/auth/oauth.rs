//! Token requests of OAuth 2.0, for the grant `client_credentials` only (RFC 6749).
//!
//! Reads a request, and decides the scopes and the error codes.
//! [`super::password::SecretHasher`] verifies the secret.

use std::fmt;

use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::Serialize;
use thiserror::Error;
use uuid::Uuid;
use zeroize::Zeroizing;

use super::AuthError;
use super::form::{self, Form};
use super::password::SecretText;
use super::scope::ScopeSet;
use super::token::IssuedToken;
use crate::domain::tenant::ClientId;

/// Far more than any valid request has.
const MAX_BODY_BYTES: usize = 8 * 1024;

/// The `WWW-Authenticate` header of every `invalid_client` error.
pub const CHALLENGE: &str = r#"Basic realm="tollgate", charset="UTF-8""#;

const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Why a token request was refused (RFC 6749 section 5.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum OAuthError {
    #[error("{0}")]
    InvalidRequest(&'static str),
    /// The text is the same in all cases, so it does not show whether the client exists.
    #[error("client authentication failed")]
    InvalidClient,
    #[error("the client has no scope that can be granted")]
    UnauthorizedClient,
    #[error("grant_type must be client_credentials")]
    UnsupportedGrantType,
    #[error("scope must be a list of this client's scopes, separated by single spaces")]
    InvalidScope,
    #[error("too many clients are requesting tokens; try again soon")]
    TemporarilyUnavailable,
    #[error("too many sign-ins have failed; try again after the time in Retry-After")]
    TooManyFailures { retry_after_s: u32 },
    #[error("the request could not be handled")]
    ServerError,
}

impl OAuthError {
    pub fn code(self) -> &'static str {
        match self {
            Self::InvalidRequest(_) => "invalid_request",
            Self::InvalidClient => "invalid_client",
            Self::UnauthorizedClient => "unauthorized_client",
            Self::UnsupportedGrantType => "unsupported_grant_type",
            Self::InvalidScope => "invalid_scope",
            Self::TemporarilyUnavailable | Self::TooManyFailures { .. } => "temporarily_unavailable",
            Self::ServerError => "server_error",
        }
    }

    pub fn description(self) -> String {
        self.to_string()
    }

    pub fn status(self) -> u16 {
        match self {
            Self::InvalidClient => 401,
            Self::TooManyFailures { .. } => 429,
            Self::TemporarilyUnavailable => 503,
            Self::ServerError => 500,
            _ => 400,
        }
    }

    pub fn retry_after_s(self) -> Option<u32> {
        match self {
            Self::TemporarilyUnavailable => Some(1),
            Self::TooManyFailures { retry_after_s } => Some(retry_after_s),
            _ => None,
        }
    }

    /// The value of the header `WWW-Authenticate`.
    pub fn challenge(self) -> Option<&'static str> {
        (self == Self::InvalidClient).then_some(CHALLENGE)
    }
}

impl From<AuthError> for OAuthError {
    fn from(error: AuthError) -> Self {
        match error {
            AuthError::Busy => Self::TemporarilyUnavailable,
            _ => Self::ServerError,
        }
    }
}

/// A well-formed request. Its secret is not verified yet.
#[derive(Debug)]
pub struct TokenRequest {
    pub client: ClientId,
    pub secret: SecretText,
    /// `None` requests all scopes of the client.
    pub scopes: Option<ScopeSet>,
}

/// Reads the `Authorization` header and the form of a token request.
pub fn parse_token_request(authorization: Option<&str>, body: &str) -> Result<TokenRequest, OAuthError> {
    if body.len() > MAX_BODY_BYTES {
        return Err(OAuthError::InvalidRequest("the body is too long"));
    }
    let form = Form::parse(body)
        .ok_or(OAuthError::InvalidRequest("the body must be a form in which each name appears once"))?;
    let (client, secret) = credentials(authorization, &form)?;
    match form.get("grant_type") {
        None => return Err(OAuthError::InvalidRequest("grant_type is missing")),
        Some("client_credentials") => {}
        Some(_) => return Err(OAuthError::UnsupportedGrantType),
    }
    let scopes = form.get("scope").map(|scope| ScopeSet::parse(scope).ok_or(OAuthError::InvalidScope));
    Ok(TokenRequest { client, secret, scopes: scopes.transpose()? })
}

/// The scopes of the token: those that were requested, if the client has all of them.
pub fn granted_scopes(requested: Option<ScopeSet>, allowed: ScopeSet) -> Result<ScopeSet, OAuthError> {
    if allowed.is_empty() {
        return Err(OAuthError::UnauthorizedClient);
    }
    let granted = requested.unwrap_or(allowed);
    if granted.is_subset_of(allowed) { Ok(granted) } else { Err(OAuthError::InvalidScope) }
}

fn credentials(authorization: Option<&str>, form: &Form) -> Result<(ClientId, SecretText), OAuthError> {
    let (id, secret) = match (authorization, form.get("client_secret")) {
        (Some(_), Some(_)) => {
            return Err(OAuthError::InvalidRequest("the client must authenticate in exactly one way"));
        }
        (Some(header), None) => basic(header).ok_or(OAuthError::InvalidClient)?,
        (None, Some(secret)) => {
            let id = form.get("client_id").ok_or(OAuthError::InvalidClient)?;
            (owned(id), owned(secret))
        }
        (None, None) => return Err(OAuthError::InvalidClient),
    };
    if form.get("client_id").is_some_and(|named| named != id.as_str()) {
        return Err(OAuthError::InvalidRequest("client_id differs from the authenticated client"));
    }
    let client = client_id(&id).ok_or(OAuthError::InvalidClient)?;
    Ok((client, SecretText::new(secret.to_string())))
}

type Credentials = (Zeroizing<String>, Zeroizing<String>);

fn owned(text: &str) -> Zeroizing<String> {
    Zeroizing::new(text.to_owned())
}

/// RFC 6749 section 2.3.1: the id and the secret are form-encoded before they are joined.
fn basic(header: &str) -> Option<Credentials> {
    let (scheme, encoded) = header.trim_end().split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let joined = Zeroizing::new(BASE64.decode(encoded.trim_start()).ok()?);
    let (id, secret) = std::str::from_utf8(&joined).ok()?.split_once(':')?;
    let (id, secret) = (form::decode(id)?, form::decode(secret)?);
    (!secret.is_empty()).then_some((id, secret))
}

/// Only the hyphenated form, in which Tollgate prints ids.
fn client_id(text: &str) -> Option<ClientId> {
    let id = Uuid::parse_str(text).ok()?;
    (id.to_string() == text).then_some(ClientId(id))
}

/// The response to a successful request (RFC 6749 section 5.1).
#[derive(Serialize)]
pub struct TokenResponse {
    pub access_token: String,
    pub token_type: &'static str,
    pub expires_in: u64,
    pub scope: String,
}

impl From<IssuedToken> for TokenResponse {
    fn from(issued: IssuedToken) -> Self {
        Self {
            access_token: issued.text,
            token_type: "Bearer",
            expires_in: issued.lifetime_s,
            scope: issued.scopes.to_string(),
        }
    }
}

impl fmt::Debug for TokenResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenResponse").field("scope", &self.scope).finish_non_exhaustive()
    }
}

#[cfg(test)]
#[path = "oauth_tests.rs"]
mod tests;
