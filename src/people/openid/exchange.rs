//! The protocol with one provider: where to send a browser, and who came back.
//!
//! Everything in an ID token is the claim of a stranger until the whole token has been checked.

use std::sync::Arc;

use openidconnect::core::{
    CoreAuthDisplay, CoreAuthPrompt, CoreAuthenticationFlow, CoreClientAuthMethod, CoreErrorResponseType,
    CoreGenderClaim, CoreJsonWebKey, CoreJweContentEncryptionAlgorithm, CoreJwsSigningAlgorithm,
    CoreProviderMetadata, CoreRevocableToken, CoreRevocationErrorResponse, CoreTokenIntrospectionResponse,
    CoreTokenType,
};
use openidconnect::{
    AccessToken, AdditionalClaims, AuthType, AuthorizationCode, ClaimsVerificationError, Client, ClientId,
    ClientSecret, CsrfToken, EmptyExtraTokenFields, EndpointMaybeSet, EndpointNotSet, EndpointSet, IdToken,
    IdTokenClaims, IdTokenFields, Nonce, OAuth2TokenResponse, PkceCodeChallenge, PkceCodeVerifier,
    RedirectUrl, RequestTokenError, Scope, SignatureVerificationError, StandardErrorResponse,
    StandardTokenResponse, TokenResponse, UserInfoClaims,
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use thiserror::Error;

use super::providers::{ProviderError, Providers};
use crate::domain::openid::IssuerAddress;

/// The clocks of a provider and of this server may differ by this much.
const LEEWAY_S: i64 = 60;

/// Signatures by a key pair. Never `none`, and never by the client's secret.
const ALGORITHMS: [CoreJwsSigningAlgorithm; 9] = [
    CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha256,
    CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha384,
    CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha512,
    CoreJwsSigningAlgorithm::RsaSsaPssSha256,
    CoreJwsSigningAlgorithm::RsaSsaPssSha384,
    CoreJwsSigningAlgorithm::RsaSsaPssSha512,
    CoreJwsSigningAlgorithm::EcdsaP256Sha256,
    CoreJwsSigningAlgorithm::EcdsaP384Sha384,
    CoreJwsSigningAlgorithm::EdDsa,
];

/// The claims that the standard does not name, such as a person's groups.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct OtherClaims(Map<String, Value>);

impl AdditionalClaims for OtherClaims {}

type Token =
    IdToken<OtherClaims, CoreGenderClaim, CoreJweContentEncryptionAlgorithm, CoreJwsSigningAlgorithm>;
type TokenClaims = IdTokenClaims<OtherClaims, CoreGenderClaim>;
type Tokens = StandardTokenResponse<
    IdTokenFields<
        OtherClaims,
        EmptyExtraTokenFields,
        CoreGenderClaim,
        CoreJweContentEncryptionAlgorithm,
        CoreJwsSigningAlgorithm,
    >,
    CoreTokenType,
>;
type ProviderClient = Client<
    OtherClaims,
    CoreAuthDisplay,
    CoreGenderClaim,
    CoreJweContentEncryptionAlgorithm,
    CoreJsonWebKey,
    CoreAuthPrompt,
    StandardErrorResponse<CoreErrorResponseType>,
    Tokens,
    CoreTokenIntrospectionResponse,
    CoreRevocableToken,
    CoreRevocationErrorResponse,
    EndpointSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointMaybeSet,
    EndpointMaybeSet,
>;

#[derive(Debug, Error)]
pub enum ExchangeError {
    #[error(transparent)]
    Provider(#[from] ProviderError),
    #[error("the provider refused the code: {0:?}")]
    Code(String),
    #[error("the ID token is not valid: {0}")]
    Token(String),
}

/// A client of a provider, as a tenant has it.
pub struct Registration {
    pub issuer: IssuerAddress,
    pub client_id: String,
    pub client_secret: Option<ClientSecret>,
    pub redirect_address: String,
    pub roles_claim: String,
}

/// The secrets of one sign-in, which only the browser brings back.
pub struct FlowSecrets {
    pub state: String,
    pub nonce: String,
    pub pkce_verifier: String,
}

/// Who came back from a provider.
pub struct Person {
    pub subject: String,
    pub email: Option<String>,
    pub is_email_verified: Option<bool>,
    pub name: Option<String>,
    /// The values of the claim that names the roles.
    pub role_values: Vec<String>,
}

impl Registration {
    fn client(&self, metadata: &CoreProviderMetadata) -> Result<ProviderClient, ExchangeError> {
        let id = ClientId::new(self.client_id.clone());
        let redirect = RedirectUrl::new(self.redirect_address.clone())
            .map_err(|error| ProviderError::Document(error.to_string()))?;
        let client = ProviderClient::from_provider_metadata(metadata.clone(), id, self.client_secret.clone())
            .set_redirect_uri(redirect);
        let methods = metadata.token_endpoint_auth_methods_supported();
        let only_in_body = methods.is_some_and(|methods| {
            methods.contains(&CoreClientAuthMethod::ClientSecretPost)
                && !methods.contains(&CoreClientAuthMethod::ClientSecretBasic)
        });
        Ok(if only_in_body { client.set_auth_type(AuthType::RequestBody) } else { client })
    }

    /// The address at the provider to which the browser is sent.
    pub async fn address(
        &self,
        providers: &Providers,
        secrets: &FlowSecrets,
    ) -> Result<String, ExchangeError> {
        let metadata = providers.metadata(&self.issuer).await?;
        let client = self.client(&metadata)?;
        let (state, nonce) = (secrets.state.clone(), secrets.nonce.clone());
        let verifier = PkceCodeVerifier::new(secrets.pkce_verifier.clone());
        let request = client
            .authorize_url(
                CoreAuthenticationFlow::AuthorizationCode,
                move || CsrfToken::new(state),
                move || Nonce::new(nonce),
            )
            .set_pkce_challenge(PkceCodeChallenge::from_code_verifier_sha256(&verifier))
            .add_scope(Scope::new("email".to_owned()))
            .add_scope(Scope::new("profile".to_owned()));
        // Some providers give a claim only to who asks for its scope, others refuse unknown scopes.
        let of_claim = Scope::new(self.roles_claim.clone());
        let has_scope = metadata.scopes_supported().is_some_and(|scopes| scopes.contains(&of_claim));
        let request = if has_scope { request.add_scope(of_claim) } else { request };
        let (address, _, _) = request.url();
        Ok(address.to_string())
    }

    /// Spends the code for an ID token, and checks it.
    pub async fn person(
        &self,
        providers: &Providers,
        secrets: &FlowSecrets,
        code: String,
        now_ms: u64,
    ) -> Result<Person, ExchangeError> {
        let metadata = providers.metadata(&self.issuer).await?;
        let client = self.client(&metadata)?;
        let tokens = self.tokens(providers, &client, secrets, code).await?;
        let token = tokens.id_token().ok_or(ExchangeError::Token("there is none".to_owned()))?;
        let claims = match checked(&client, token, secrets, now_ms) {
            Err(ClaimsVerificationError::SignatureVerification(
                SignatureVerificationError::NoMatchingKey,
            )) => {
                let newer: Arc<CoreProviderMetadata> = providers.newer_metadata(&self.issuer).await?;
                checked(&self.client(&newer)?, token, secrets, now_ms)
            }
            checked => checked,
        };
        let claims = claims.map_err(|error| ExchangeError::Token(words(&error)))?;
        let person = self.person_of(&claims);
        if person.email.is_some() && !person.role_values.is_empty() {
            return Ok(person);
        }
        // Many providers give these claims only by this second way.
        let more = self.more_claims(providers, &client, tokens.access_token(), &claims).await?;
        Ok(more.map_or(person, |more| self.completed(&claims, &more)))
    }

    async fn tokens(
        &self,
        providers: &Providers,
        client: &ProviderClient,
        secrets: &FlowSecrets,
        code: String,
    ) -> Result<Tokens, ExchangeError> {
        let request = client
            .exchange_code(AuthorizationCode::new(code))
            .map_err(|error| ProviderError::Document(error.to_string()))?
            .set_pkce_verifier(PkceCodeVerifier::new(secrets.pkce_verifier.clone()));
        request.request_async(providers).await.map_err(|error| match error {
            RequestTokenError::ServerResponse(refusal) => ExchangeError::Code(refusal.error().to_string()),
            RequestTokenError::Request(error) => error.into(),
            // The answer may have a token, so only the place of the mistake is told.
            RequestTokenError::Parse(error, _) => {
                ProviderError::Document(format!("the token response at {}", error.path())).into()
            }
            RequestTokenError::Other(error) => ProviderError::Document(error).into(),
        })
    }

    async fn more_claims(
        &self,
        providers: &Providers,
        client: &ProviderClient,
        access_token: &AccessToken,
        claims: &TokenClaims,
    ) -> Result<Option<UserInfoClaims<OtherClaims, CoreGenderClaim>>, ExchangeError> {
        let Ok(request) = client.user_info(access_token.clone(), Some(claims.subject().clone())) else {
            return Ok(None);
        };
        let more = request.request_async(providers).await.map_err(|error| match error {
            openidconnect::UserInfoError::Request(error) => error,
            openidconnect::UserInfoError::ClaimsVerification(error) => {
                ProviderError::Document(format!("the user's claims: {error}"))
            }
            _ => ProviderError::Document("the user's claims".to_owned()),
        })?;
        Ok(Some(more))
    }

    fn person_of(&self, claims: &TokenClaims) -> Person {
        Person {
            subject: claims.subject().to_string(),
            email: claims.email().map(|email| email.to_string()),
            is_email_verified: claims.email_verified(),
            name: claims.name().and_then(|name| name.get(None)).map(|name| name.to_string()),
            role_values: values(&claims.additional_claims().0, &self.roles_claim),
        }
    }

    /// What the ID token says comes first. An address and whether it is verified belong together.
    fn completed(&self, claims: &TokenClaims, more: &UserInfoClaims<OtherClaims, CoreGenderClaim>) -> Person {
        let mut person = self.person_of(claims);
        if person.email.is_none() {
            person.email = more.email().map(|email| email.to_string());
            person.is_email_verified = more.email_verified();
        }
        let name = more.name().and_then(|name| name.get(None)).map(|name| name.to_string());
        person.name = person.name.or(name);
        if person.role_values.is_empty() {
            person.role_values = values(&more.additional_claims().0, &self.roles_claim);
        }
        person
    }
}

/// Checks the issuer, the audience, the signature, the times and the nonce.
fn checked(
    client: &ProviderClient,
    token: &Token,
    secrets: &FlowSecrets,
    now_ms: u64,
) -> Result<TokenClaims, ClaimsVerificationError> {
    let now_s = i64::try_from(now_ms / 1_000).unwrap_or(i64::MAX);
    let at = |seconds: i64| chrono::DateTime::from_timestamp(seconds, 0).unwrap_or_default();
    let verifier = client
        .id_token_verifier()
        .set_allowed_algs(ALGORITHMS)
        .set_time_fn(move || at(now_s - LEEWAY_S))
        .set_issue_time_verifier_fn(move |issued| {
            if issued > at(now_s + LEEWAY_S) { Err("it is from the future".to_owned()) } else { Ok(()) }
        });
    token.claims(&verifier, &Nonce::new(secrets.nonce.clone())).cloned()
}

fn words(error: &ClaimsVerificationError) -> String {
    match error {
        ClaimsVerificationError::SignatureVerification(error) => error.to_string(),
        // Would show the nonce.
        ClaimsVerificationError::InvalidNonce(_) => "its nonce is of another sign-in".to_owned(),
        error => error.to_string(),
    }
}

/// A claim with one value is a text, or an array with one.
fn values(claims: &Map<String, Value>, name: &str) -> Vec<String> {
    match claims.get(name) {
        Some(Value::String(text)) => vec![text.clone()],
        Some(Value::Array(items)) => items.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        _ => Vec::new(),
    }
}
