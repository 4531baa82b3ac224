//! What a request must bring before a handler sees it.
//!
//! Owns bearer tokens (the scope a route needs is in the type of its guard),
//! that their clients keep to their rates, idempotency keys and the conditions of changes. Must
//! never log a token or say why it is not believed.

use std::marker::PhantomData;

use rocket::Request;
use rocket::request::{FromRequest, Outcome};
use tokio::time::Instant;

use crate::auth::scope::ScopeSet;
use crate::auth::token::{LEEWAY_S, VerifiedToken};
use crate::domain::decision::IdempotencyKey;
use crate::domain::tenant::{ClientId, Scope, TenantId};
use crate::http::edge::client_rates::ClientRates;
use crate::http::edge::context::RequestContext;
use crate::http::response::entity_tags::{Malformed, Tags};
use crate::http::response::problem::{Kind, Problem};
use crate::http::services::Tokens;
use crate::storage::rulesets::Expected;

/// A scope as a type, so that a route cannot forget to check it.
pub trait ScopeMarker: Send + Sync + 'static {
    const SCOPE: Scope;
}

macro_rules! scopes {
    ($($name:ident),* $(,)?) => {$(
        #[derive(Debug)]
        pub struct $name;

        impl ScopeMarker for $name {
            const SCOPE: Scope = Scope::$name;
        }
    )*};
}

scopes!(
    PaymentsWrite,
    PaymentsRead,
    DecisionsRead,
    RulesetsRead,
    RulesetsWrite,
    ListsRead,
    ListsWrite,
    PluginsRead,
    PluginsWrite,
    AuditRead,
);

/// Whoever calls, with a token that has the scope `S`.
#[derive(Debug)]
pub struct Client<S> {
    pub tenant: TenantId,
    pub id: ClientId,
    /// From then on the token is not believed any more.
    pub valid_until_ms: u64,
    scopes: ScopeSet,
    scope: PhantomData<fn() -> S>,
}

impl<S> Client<S> {
    pub fn has(&self, scope: Scope) -> bool {
        self.scopes.contains(scope)
    }

    /// The author of a change, as stored with it.
    pub fn actor(&self) -> String {
        format!("client:{}", self.id)
    }
}

#[rocket::async_trait]
impl<'r, S: ScopeMarker> FromRequest<'r> for Client<S> {
    type Error = Kind;

    async fn from_request(request: &'r Request<'_>) -> Outcome<Self, Kind> {
        match admit(request, S::SCOPE) {
            Ok(token) => Outcome::Success(Self {
                tenant: token.tenant,
                id: token.client,
                valid_until_ms: token.expires_at_ms.saturating_add(LEEWAY_S * 1_000),
                scopes: token.scopes,
                scope: PhantomData,
            }),
            Err(problem) => problem.refuse(request),
        }
    }
}

/// Before the body is read: what is too much shall cost as little as it can.
fn admit(request: &Request<'_>, needed: Scope) -> Result<VerifiedToken, Problem> {
    let token = believe(request)?;
    let context = RequestContext::of(request);
    context.set_tenant(token.tenant);
    let count = || {
        let rates = request.rocket().state::<ClientRates>()?;
        rates.count(token.client, token.requests_per_s, Instant::now().into_std())
    };
    if let Some(allowance) = context.allowance.get_or_init(count) {
        allowance.check()?;
    }
    if !token.scopes.contains(needed) {
        let scope = needed.name();
        let challenge = format!(r#"Bearer realm="tollgate", error="insufficient_scope", scope="{scope}""#);
        let detail = format!("The access token does not have the scope {scope}.");
        return Err(Problem::with_challenge(Kind::InsufficientScope, detail, challenge));
    }
    Ok(token)
}

fn believe(request: &Request<'_>) -> Result<VerifiedToken, Problem> {
    let mut headers = request.headers().get("Authorization");
    let Some(header) = headers.next() else {
        let detail = "Send an access token: Authorization: Bearer <token>.";
        return Err(unauthenticated(detail, r#"Bearer realm="tollgate""#.to_owned()));
    };
    let token = bearer_token(header).filter(|_| headers.next().is_none());
    let tokens = request.rocket().state::<Tokens>();
    let verified = token.zip(tokens).and_then(|(token, Tokens(tokens))| {
        tokens.verify(token).inspect_err(|error| tracing::debug!(%error, "an access token was rejected")).ok()
    });
    verified.ok_or_else(|| {
        let detail = "The access token is invalid or has expired.";
        unauthenticated(detail, r#"Bearer realm="tollgate", error="invalid_token""#.to_owned())
    })
}

fn unauthenticated(detail: &'static str, challenge: String) -> Problem {
    Problem::with_challenge(Kind::Unauthenticated, detail, challenge)
}

fn bearer_token(header: &str) -> Option<&str> {
    let (scheme, token) = header.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// The Idempotency-Key header: required, once, 1 to 255 visible ASCII characters.
#[derive(Debug)]
pub struct IdempotencyKeyHeader(pub IdempotencyKey);

#[rocket::async_trait]
impl<'r> FromRequest<'r> for IdempotencyKeyHeader {
    type Error = Kind;

    async fn from_request(request: &'r Request<'_>) -> Outcome<Self, Kind> {
        let mut headers = request.headers().get("Idempotency-Key");
        let detail = match (headers.next(), headers.next()) {
            (None, _) => {
                "The header Idempotency-Key is required. Use one new key per payment, and the same key for \
                 its retries."
            }
            (Some(_), Some(_)) => "The header Idempotency-Key must appear exactly once.",
            (Some(text), None) => match IdempotencyKey::parse(text) {
                Some(key) => return Outcome::Success(Self(key)),
                None => "The Idempotency-Key must be 1 to 255 visible ASCII characters.",
            },
        };
        Problem::new(Kind::InvalidIdempotencyKey, detail).refuse(request)
    }
}

/// If-Match and If-None-Match: what the latest activation must be and must not be, by the
/// ETags of what is active.
#[derive(Debug)]
pub struct Conditions(pub Expected);

#[rocket::async_trait]
impl<'r> FromRequest<'r> for Conditions {
    type Error = Kind;

    async fn from_request(request: &'r Request<'_>) -> Outcome<Self, Kind> {
        let tags = |header| {
            Tags::of(request, header).map_err(|Malformed| {
                let detail = format!(
                    "{header} must be * or a list of entity tags, such as the ETag of the active state."
                );
                Problem::new(Kind::MalformedRequest, detail)
            })
        };
        match tags("If-Match").and_then(|these| Ok(expected(these.as_ref(), tags("If-None-Match")?.as_ref())))
        {
            Ok(expected) => Outcome::Success(Self(expected)),
            Err(problem) => problem.refuse(request),
        }
    }
}

/// Strong comparison for the one, weak for the other (RFC 9110, section 13.1). Something is
/// always active, with the tag `none` before the first activation: so `*` is what any tag is.
fn expected(these: Option<&Tags>, none_of: Option<&Tags>) -> Expected {
    let one_of = these.and_then(Tags::strong).map(|tags| tags.filter_map(sequence_of).collect());
    match none_of {
        Some(Tags::Any) => Expected { one_of: Some(Vec::new()), none_of: Vec::new() },
        Some(Tags::These(tags)) => {
            Expected { one_of, none_of: tags.iter().filter_map(|tag| sequence_of(tag.opaque())).collect() }
        }
        None => Expected { one_of, none_of: Vec::new() },
    }
}

/// The tag's own number, character by character; a tag of another form never fits what is active.
fn sequence_of(opaque: &str) -> Option<Option<i64>> {
    match opaque {
        "none" => Some(None),
        text => text.parse().ok().filter(|number: &i64| number.to_string() == text).map(Some),
    }
}

#[cfg(test)]
#[path = "guard_tests.rs"]
mod tests;
