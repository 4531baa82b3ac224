//! The token endpoint, and the keys and metadata to verify tokens (RFC 6749, RFC 8414).
//!
//! Its errors are not problems, since OAuth clients expect the errors of OAuth. Requests contain
//! secrets and must not be logged.

use rocket::http::Status;
use rocket::request::{FromRequest, Outcome};
use rocket::{Request, Route, State, get, post, routes};
use serde::Serialize;
use tokio::time::Instant;
use utoipa::ToSchema;

use crate::auth::oauth::{OAuthError, TokenRequest, TokenResponse, granted_scopes, parse_token_request};
use crate::auth::password::SecretText;
use crate::auth::sign_in_limits::SignInResult;
use crate::auth::token::Subject;
use crate::domain::tenant::Scope;
use crate::http::edge::client_rates::whole_seconds;
use crate::http::edge::connection::Connection;
use crate::http::request::body::{FormBody, Uncompressed};
use crate::http::response::ApiResponse;
use crate::http::response::problem::{Problem, ProblemBody, ProblemKind};
use crate::http::services::{ServiceState, Services, Tokens};
use crate::storage::clients::ClientCredentials;
use crate::storage::{StorageError, clients};

pub fn routes() -> Vec<Route> {
    routes![token, jwks, metadata]
}

/// The header as sent. RFC 6749 defines the errors for it.
#[derive(Debug)]
pub enum Authorization<'r> {
    Absent,
    Once(&'r str),
    Repeated,
}

#[rocket::async_trait]
impl<'r> FromRequest<'r> for Authorization<'r> {
    type Error = std::convert::Infallible;

    async fn from_request(request: &'r Request<'_>) -> Outcome<Self, Self::Error> {
        let mut headers = request.headers().get("Authorization");
        Outcome::Success(match (headers.next(), headers.next()) {
            (None, _) => Self::Absent,
            (Some(header), None) => Self::Once(header),
            (Some(_), Some(_)) => Self::Repeated,
        })
    }
}

/// `grant_type=client_credentials`, and optionally `scope` to request fewer scopes than the client has.
#[derive(Debug, Serialize, ToSchema)]
pub struct TokenRequestForm {
    #[schema(example = "client_credentials")]
    pub grant_type: String,
    #[schema(required = false)]
    pub scope: String,
    /// Required unless sent as the user name of HTTP Basic authentication.
    #[schema(required = false)]
    pub client_id: String,
    /// Required unless sent as the password of HTTP Basic authentication.
    #[schema(required = false)]
    pub client_secret: String,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = TokenAnswer)]
pub struct TokenResponseShape {
    pub access_token: String,
    #[schema(example = "Bearer")]
    pub token_type: String,
    /// Lifetime in seconds.
    pub expires_in: u64,
    pub scope: String,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = OAuthError)]
pub struct OAuthErrorShape {
    #[schema(example = "invalid_client")]
    pub error: &'static str,
    pub error_description: String,
}

/// Issues an access token to a client (RFC 6749, client credentials grant). A client that is bound to a
/// certificate must connect with it, and gets a token that is bound to it too (RFC 8705).
#[utoipa::path(
    tag = "oauth",
    request_body(content = TokenRequestForm, content_type = "application/x-www-form-urlencoded"),
    responses(
        (status = 200, body = TokenResponseShape),
        (status = 400, body = OAuthErrorShape),
        (status = 401, body = OAuthErrorShape),
        (
            status = 415,
            description = "The body has a Content-Encoding, which is not supported",
            body = ProblemBody<'static>,
            content_type = "application/problem+json",
            headers(("Accept-Encoding")),
        ),
        (
            status = 429,
            description = "Too many failed sign-ins, for this client or in total",
            body = OAuthErrorShape,
            headers(("Retry-After" = u32)),
        ),
        (status = 500, body = OAuthErrorShape),
        (status = 503, body = OAuthErrorShape),
    ),
    security(("client" = []), ("client" = [], "certificate" = []))
)]
#[post("/oauth/token", data = "<body>")]
pub async fn token(
    _uncoded: Uncompressed,
    authorization: Authorization<'_>,
    connection: &Connection,
    services: &ServiceState,
    tokens: &State<Tokens>,
    body: Result<FormBody, ProblemKind>,
) -> Result<ApiResponse, Problem> {
    match give(authorization, connection, services, tokens, body).await {
        Ok(response) => Ok(ApiResponse::json(Status::Ok, &response)?.with("Pragma", "no-cache")),
        Err(error) => refuse(error),
    }
}

async fn give(
    authorization: Authorization<'_>,
    connection: &Connection,
    services: &Services,
    tokens: &Tokens,
    body: Result<FormBody, ProblemKind>,
) -> Result<TokenResponse, OAuthError> {
    let body =
        body.map_err(|_| OAuthError::InvalidRequest("the body must be a form of at most a few kilobytes"))?;
    let body = std::str::from_utf8(&body.0)
        .map_err(|_| OAuthError::InvalidRequest("the body must be a form in UTF-8"))?;
    let authorization = match authorization {
        Authorization::Absent => None,
        Authorization::Once(header) => Some(header),
        Authorization::Repeated => {
            return Err(OAuthError::InvalidRequest("the client must authenticate in exactly one way"));
        }
    };
    let request = parse_token_request(authorization, body)?;
    let requested = request.scopes;
    let id = request.client;
    let client = authenticate(services, request, connection).await?;
    let scopes = granted_scopes(requested, client.scopes.into_iter().collect())?;
    let subject = Subject::Client { id, generation: client.generation };
    let certificate = client.certificate.and_then(|_| connection.thumbprint());
    Ok(tokens.0.issue(client.tenant, subject, scopes, client.requests_per_s, certificate)?.into())
}

async fn authenticate(
    services: &Services,
    request: TokenRequest,
    connection: &Connection,
) -> Result<ClientCredentials, OAuthError> {
    let limits = &services.sign_in_limits;
    let now = || Instant::now().into_std();
    let admitted = limits.admit(request.client, &request.secret, now());
    let attempt = admitted.map_err(|next_in| {
        metrics::counter!("http_sign_ins_rate_limited_total").increment(1);
        OAuthError::TooManyFailures { retry_after_s: whole_seconds(next_in) }
    })?;
    let judged = judge(services, request).await;
    let judgement = match &judged {
        Ok(_) => SignInResult::Right,
        Err(OAuthError::InvalidClient) => SignInResult::Wrong,
        Err(_) => SignInResult::None,
    };
    limits.settle(attempt, judgement, now());
    judged.and_then(|client| with_certificate(client, connection))
}

async fn judge(services: &Services, request: TokenRequest) -> Result<ClientCredentials, OAuthError> {
    let found = clients::find_credentials(&services.app, request.client).await.map_err(failed)?;
    let stored = found.as_ref().map(|client| client.secret_hash.as_str());
    let previous = found.as_ref().and_then(|client| client.previous.as_ref());
    let previous = previous.filter(|(_, until_ms)| services.world.now_ms() < *until_ms);
    let again = previous.map(|(hash, _)| (SecretText::new(request.secret.expose().to_owned()), hash));
    // The response time must not reveal which clients exist. So a hash is computed for unknown
    // clients, too.
    let mut is_right = services.hasher.verify(request.secret, stored).await?;
    if let Some((secret, hash)) = again.filter(|_| !is_right) {
        is_right = services.hasher.verify(secret, Some(hash)).await?;
    }
    if !is_right {
        return Err(OAuthError::InvalidClient);
    }
    found.ok_or(OAuthError::InvalidClient)
}

/// A wrong certificate is no guess at the secret, so it does not count as one. It is checked after the
/// secret, so that nobody else learns whether a client is bound.
fn with_certificate(
    client: ClientCredentials,
    connection: &Connection,
) -> Result<ClientCredentials, OAuthError> {
    match (&client.certificate, &connection.certificate) {
        (None, _) => Ok(client),
        (Some(binding), Some(shown)) if binding.allows(shown) => Ok(client),
        _ => Err(OAuthError::InvalidClient),
    }
}

fn failed(error: StorageError) -> OAuthError {
    // The conversion logs the error. Its detail is not sent: OAuth has its own errors.
    match Problem::from(error).kind {
        ProblemKind::Unavailable => OAuthError::TemporarilyUnavailable,
        _ => OAuthError::ServerError,
    }
}

fn refuse(error: OAuthError) -> Result<ApiResponse, Problem> {
    let shape = OAuthErrorShape { error: error.code(), error_description: error.description() };
    let mut answer = ApiResponse::json(Status::new(error.status()), &shape)?.with("Pragma", "no-cache");
    if let Some(challenge) = error.challenge() {
        answer = answer.with("WWW-Authenticate", challenge);
    }
    if let Some(seconds) = error.retry_after_s() {
        answer = answer.with("Retry-After", seconds.to_string());
    }
    Ok(answer)
}

/// Returns the public keys that verify access tokens (RFC 7517).
#[utoipa::path(tag = "oauth", responses((status = 200, body = Object)))]
#[get("/.well-known/jwks.json")]
pub fn jwks(tokens: &State<Tokens>) -> Result<ApiResponse, Problem> {
    Ok(ApiResponse::json(Status::Ok, &tokens.0.jwks())?.with("Cache-Control", "public, max-age=300"))
}

/// RFC 8414.
#[derive(Debug, Serialize, ToSchema)]
pub struct AuthorizationServer {
    pub issuer: String,
    pub token_endpoint: String,
    pub jwks_uri: String,
    pub scopes_supported: Vec<&'static str>,
    pub response_types_supported: Vec<&'static str>,
    pub grant_types_supported: Vec<&'static str>,
    pub token_endpoint_auth_methods_supported: Vec<&'static str>,
    /// Tokens of clients with a certificate are bound to it (RFC 8705).
    pub tls_client_certificate_bound_access_tokens: bool,
}

/// Returns the authorization server metadata (RFC 8414).
#[utoipa::path(tag = "oauth", responses((status = 200, body = AuthorizationServer)))]
#[get("/.well-known/oauth-authorization-server")]
pub fn metadata(services: &ServiceState) -> Result<ApiResponse, Problem> {
    let own = services.issuer.as_str();
    let issuer = own.trim_end_matches('/');
    let shape = AuthorizationServer {
        issuer: own.to_owned(),
        token_endpoint: format!("{issuer}/oauth/token"),
        jwks_uri: format!("{issuer}/.well-known/jwks.json"),
        scopes_supported: Scope::ALL.map(Scope::name).to_vec(),
        response_types_supported: Vec::new(),
        grant_types_supported: vec!["client_credentials"],
        token_endpoint_auth_methods_supported: vec!["client_secret_basic", "client_secret_post"],
        tls_client_certificate_bound_access_tokens: true,
    };
    Ok(ApiResponse::json(Status::Ok, &shape)?.with("Cache-Control", "public, max-age=300"))
}
