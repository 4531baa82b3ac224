//! What the providers of OpenID Connect publish about themselves, and the only connections that this
//! server makes to them.
//!
//! Nothing may connect to an address that the operator does not allow. Redirects are never followed.

use std::num::NonZeroUsize;
use std::pin::Pin;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use hashlink::LruCache;
use openidconnect::core::CoreProviderMetadata;
use openidconnect::{AsyncHttpClient, DiscoveryError, HttpRequest, HttpResponse, IssuerUrl, http};
use reqwest::redirect::Policy;
use thiserror::Error;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::domain::openid::{AllowedIssuers, IssuerAddress};

/// For one request, of which a sign-in needs at most four.
const ANSWER_MAX: Duration = Duration::from_secs(5);
const CONNECT_MAX: Duration = Duration::from_secs(3);
const BODY_MAX_BYTES: usize = 256 << 10;

/// How long what a provider publishes is used.
const KEPT: Duration = Duration::from_secs(600);

/// After a failure, or for a key that is not known, a provider is asked again after this long.
const PAUSE: Duration = Duration::from_secs(5);

/// Issuers whose documents are kept. An allowed origin may have any number of them.
const ISSUERS_MAX: NonZeroUsize = NonZeroUsize::MIN.saturating_add(255);

/// Exchanges with providers at once, so that a slow one does not use all slots of the server.
const EXCHANGES_MAX: usize = 32;

#[derive(Debug, Clone, Error)]
pub enum ProviderError {
    #[error("the address {0} is not allowed by the key openid_issuers of the configuration")]
    NotAllowed(String),
    #[error("the provider did not answer: {0}")]
    Unreachable(String),
    #[error("the provider's answer is longer than {BODY_MAX_BYTES} bytes")]
    TooLong,
    #[error("the provider's answer cannot be used: {0}")]
    Document(String),
    #[error("too many people are signing in by providers at the moment")]
    Busy,
}

#[derive(Debug, Default)]
struct Known {
    metadata: Option<(Arc<CoreProviderMetadata>, Instant)>,
    failure: Option<(ProviderError, Instant)>,
}

/// The lock is held while a provider is asked: many callers, one request.
type Entry = Arc<tokio::sync::Mutex<Known>>;

#[derive(Debug)]
pub struct Providers {
    pub allowed: AllowedIssuers,
    /// Made when it is first used, since it reads the certificates of the system.
    http: OnceLock<reqwest::Client>,
    known: Mutex<LruCache<IssuerAddress, Entry>>,
    exchanges: Semaphore,
}

impl Providers {
    pub fn new(allowed: AllowedIssuers) -> Self {
        Self {
            allowed,
            http: OnceLock::new(),
            known: Mutex::new(LruCache::new(ISSUERS_MAX.get())),
            exchanges: Semaphore::new(EXCHANGES_MAX),
        }
    }

    /// What the provider publishes: its endpoints and its keys.
    pub async fn metadata(&self, issuer: &IssuerAddress) -> Result<Arc<CoreProviderMetadata>, ProviderError> {
        self.metadata_younger_than(issuer, KEPT).await
    }

    /// For a key that is not known: the provider may have a new one.
    pub async fn newer_metadata(
        &self,
        issuer: &IssuerAddress,
    ) -> Result<Arc<CoreProviderMetadata>, ProviderError> {
        self.metadata_younger_than(issuer, PAUSE).await
    }

    async fn metadata_younger_than(
        &self,
        issuer: &IssuerAddress,
        age_max: Duration,
    ) -> Result<Arc<CoreProviderMetadata>, ProviderError> {
        if !self.allowed.allows(issuer) {
            return Err(ProviderError::NotAllowed(issuer.as_str().to_owned()));
        }
        let entry = self.entry(issuer);
        let mut known = entry.lock().await;
        if let Some((metadata, at)) = &known.metadata
            && at.elapsed() < age_max
        {
            return Ok(metadata.clone());
        }
        if let Some((failure, at)) = &known.failure
            && at.elapsed() < PAUSE
        {
            return Err(failure.clone());
        }
        match self.discover(issuer).await {
            Ok(metadata) => {
                let metadata = Arc::new(metadata);
                *known = Known { metadata: Some((metadata.clone(), Instant::now())), failure: None };
                Ok(metadata)
            }
            Err(error) => {
                known.failure = Some((error.clone(), Instant::now()));
                Err(error)
            }
        }
    }

    fn entry(&self, issuer: &IssuerAddress) -> Entry {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = known.get(issuer) {
            return entry.clone();
        }
        let entry = Entry::default();
        known.insert(issuer.clone(), entry.clone());
        entry
    }

    /// Asks the provider now. Also fetches its keys.
    pub async fn discover(&self, issuer: &IssuerAddress) -> Result<CoreProviderMetadata, ProviderError> {
        let url = IssuerUrl::new(issuer.as_str().to_owned());
        let url = url.map_err(|error| ProviderError::Document(error.to_string()))?;
        let metadata =
            CoreProviderMetadata::discover_async(url, self).await.map_err(|error| match error {
                DiscoveryError::Request(error) => error,
                // Shows where in the document, and not its text.
                error => ProviderError::Document(chain(&error)),
            })?;
        self.check_endpoints(&metadata)?;
        Ok(metadata)
    }

    /// Also of the address to which the browser is sent, so that a changed document cannot send
    /// people elsewhere.
    fn check_endpoints(&self, metadata: &CoreProviderMetadata) -> Result<(), ProviderError> {
        let token =
            metadata.token_endpoint().ok_or(ProviderError::Document("no token endpoint".to_owned()))?;
        let endpoints = [Some(metadata.authorization_endpoint().url()), Some(token.url())];
        let userinfo = metadata.userinfo_endpoint().map(|endpoint| endpoint.url());
        endpoints.into_iter().chain([userinfo]).flatten().try_for_each(|url| self.check_address(url))
    }

    fn check_address(&self, url: &reqwest::Url) -> Result<(), ProviderError> {
        let has_user = !url.username().is_empty() || url.password().is_some();
        if has_user || !self.allowed.allows_origin(&url.origin().ascii_serialization()) {
            return Err(ProviderError::NotAllowed(url.to_string()));
        }
        Ok(())
    }

    fn http(&self) -> Result<&reqwest::Client, ProviderError> {
        if let Some(http) = self.http.get() {
            return Ok(http);
        }
        let made = reqwest::Client::builder()
            .no_proxy()
            .redirect(Policy::none())
            .timeout(ANSWER_MAX)
            .connect_timeout(CONNECT_MAX)
            .build()
            .map_err(|error| ProviderError::Unreachable(cause(&error)))?;
        Ok(self.http.get_or_init(|| made))
    }

    /// The only way by which a provider is reached.
    async fn send(&self, request: HttpRequest) -> Result<HttpResponse, ProviderError> {
        let request = reqwest::Request::try_from(request)
            .map_err(|error| ProviderError::Document(error.to_string()))?;
        self.check_address(request.url())?;
        let _exchange = self.exchanges.try_acquire().map_err(|_| ProviderError::Busy)?;
        let failed = |error: reqwest::Error| ProviderError::Unreachable(cause(&error));
        let mut answer = self.http()?.execute(request).await.map_err(failed)?;
        let mut body = Vec::new();
        while let Some(part) = answer.chunk().await.map_err(failed)? {
            if body.len() + part.len() > BODY_MAX_BYTES {
                return Err(ProviderError::TooLong);
            }
            body.extend_from_slice(&part);
        }
        let mut response = http::Response::new(body);
        *response.status_mut() = answer.status();
        *response.headers_mut() = std::mem::take(answer.headers_mut());
        Ok(response)
    }
}

impl<'c> AsyncHttpClient<'c> for Providers {
    type Error = ProviderError;
    type Future = Pin<Box<dyn Future<Output = Result<HttpResponse, ProviderError>> + Send + 'c>>;

    fn call(&'c self, request: HttpRequest) -> Self::Future {
        Box::pin(self.send(request))
    }
}

/// The texts of an error and of its causes.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

/// The text of the innermost error, which is the most specific.
fn cause(error: &dyn std::error::Error) -> String {
    let mut deepest = error;
    while let Some(source) = deepest.source() {
        deepest = source;
    }
    deepest.to_string()
}
