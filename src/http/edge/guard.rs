//! Request guards: bearer tokens and their scopes, rate limits, idempotency keys, and the
//! conditions of changes.
//!
//! Must never log a token, and never reveal to the client why it was rejected.

use std::marker::PhantomData;

use rocket::Request;
use rocket::request::{FromRequest, Outcome};
use tokio::time::Instant;

use crate::auth::scope::ScopeSet;
use crate::auth::token::{LEEWAY_S, Subject, VerifiedToken};
use crate::domain::actor::Actor;
use crate::domain::decision::IdempotencyKey;
use crate::domain::tenant::{ClientId, Scope, TenantId};
use crate::domain::user::{SignInId, UserId};
use crate::http::edge::client_rates::ClientRates;
use crate::http::edge::connection::Connection;
use crate::http::edge::context::{RequestContext, Unbelieved};
use crate::http::response::entity_tags::{EntityTags, MalformedEntityTags};
use crate::http::response::problem::{Problem, ProblemKind};
use crate::http::services::Tokens;
use crate::people::users::Administrator;
use crate::storage::rulesets::{DeploymentVersion, ExpectedActivation};

/// A scope as a type, so that a route cannot forget to check it.
pub trait ScopeMarker: Send + Sync + 'static {
    /// One of these is enough.
    const ANY_OF: &'static [Scope];
}

macro_rules! scopes {
    ($($name:ident),* $(,)?) => {$(
        #[derive(Debug)]
        pub struct $name;

        impl ScopeMarker for $name {
            const ANY_OF: &'static [Scope] = &[Scope::$name];
        }
    )*};
}

scopes!(
    PaymentsWrite,
    PaymentsRead,
    PaymentsErase,
    DecisionsRead,
    RulesetsRead,
    RulesetsWrite,
    ListsRead,
    ListsWrite,
    PluginsRead,
    PluginsWrite,
    AuditRead,
    UsersRead,
    UsersWrite,
    ClientsRead,
    ClientsWrite,
    ReviewsRead,
    ReviewsWrite,
    SettingsRead,
    SettingsWrite,
    ProposalsApprove,
    TenantsRead,
    TenantsWrite,
);

/// Whatever names an actor: who may read any of it may read the names of actors.
#[derive(Debug)]
pub struct ActorsRead;

impl ScopeMarker for ActorsRead {
    const ANY_OF: &'static [Scope] = &[
        Scope::AuditRead,
        Scope::RulesetsRead,
        Scope::ListsRead,
        Scope::PluginsRead,
        Scope::PaymentsRead,
        Scope::DecisionsRead,
        Scope::PaymentsErase,
        Scope::ReviewsRead,
        Scope::UsersRead,
        Scope::ClientsRead,
        Scope::SettingsRead,
    ];
}

/// Who sent the request, a client or a user, with a token that has the scope `S`.
#[derive(Debug)]
pub struct Caller<S> {
    pub tenant: TenantId,
    pub subject: Subject,
    /// From this time on the token is rejected.
    pub valid_until_ms: u64,
    scopes: ScopeSet,
    scope: PhantomData<fn() -> S>,
}

impl<S> Caller<S> {
    pub fn has(&self, scope: Scope) -> bool {
        self.scopes.contains(scope)
    }

    /// As whom the caller administers users and clients.
    pub fn administrator(&self) -> Administrator {
        Administrator { tenant: self.tenant, actor: self.actor().into(), scopes: self.scopes }
    }

    /// The author of a change, as stored with it.
    pub fn actor(&self) -> String {
        match self.subject {
            Subject::Client { id, .. } => Actor::Client(id).to_string(),
            Subject::User { id, .. } => Actor::User(id).to_string(),
        }
    }
}

#[rocket::async_trait]
impl<'r, S: ScopeMarker> FromRequest<'r> for Caller<S> {
    type Error = ProblemKind;

    async fn from_request(request: &'r Request<'_>) -> Outcome<Self, ProblemKind> {
        match admit(request, S::ANY_OF) {
            Ok(token) => Outcome::Success(Self {
                tenant: token.tenant,
                subject: token.subject,
                valid_until_ms: token.expires_at_ms.saturating_add(LEEWAY_S * 1_000),
                scopes: token.scopes,
                scope: PhantomData,
            }),
            Err(problem) => problem.refuse(request),
        }
    }
}

/// A client of the tenant, with a token that has the scope `S`. Users are refused.
#[derive(Debug)]
pub struct Client<S> {
    pub tenant: TenantId,
    pub id: ClientId,
    scopes: ScopeSet,
    scope: PhantomData<fn() -> S>,
}

impl<S> Client<S> {
    pub fn has(&self, scope: Scope) -> bool {
        self.scopes.contains(scope)
    }
}

#[rocket::async_trait]
impl<'r, S: ScopeMarker> FromRequest<'r> for Client<S> {
    type Error = ProblemKind;

    async fn from_request(request: &'r Request<'_>) -> Outcome<Self, ProblemKind> {
        match admit(request, S::ANY_OF) {
            Ok(VerifiedToken { tenant, subject: Subject::Client { id, .. }, scopes, .. }) => {
                Outcome::Success(Self { tenant, id, scopes, scope: PhantomData })
            }
            // No role has the scope of such a route.
            Ok(_) => lacking(S::ANY_OF).refuse(request),
            Err(problem) => problem.refuse(request),
        }
    }
}

/// A person who is signed in, whatever the roles.
#[derive(Debug)]
pub struct Person {
    pub tenant: TenantId,
    pub user: UserId,
    pub sign_in: SignInId,
    pub scopes: ScopeSet,
}

#[rocket::async_trait]
impl<'r> FromRequest<'r> for Person {
    type Error = ProblemKind;

    async fn from_request(request: &'r Request<'_>) -> Outcome<Self, ProblemKind> {
        match admit(request, &[]) {
            Ok(VerifiedToken { tenant, subject: Subject::User { id, sign_in }, scopes, .. }) => {
                Outcome::Success(Self { tenant, user: id, sign_in, scopes })
            }
            Ok(_) => {
                let detail = "Only a person who is signed in may do this.";
                Problem::new(ProblemKind::PersonRequired, detail).refuse(request)
            }
            Err(problem) => problem.refuse(request),
        }
    }
}

/// A person who is signed in, with a token that has the scope `S`. Clients are refused, whatever
/// their scopes.
#[derive(Debug)]
pub struct PersonWith<S> {
    pub tenant: TenantId,
    pub user: UserId,
    pub scopes: ScopeSet,
    scope: PhantomData<fn() -> S>,
}

impl<S> PersonWith<S> {
    pub fn has(&self, scope: Scope) -> bool {
        self.scopes.contains(scope)
    }
}

#[rocket::async_trait]
impl<'r, S: ScopeMarker> FromRequest<'r> for PersonWith<S> {
    type Error = ProblemKind;

    async fn from_request(request: &'r Request<'_>) -> Outcome<Self, ProblemKind> {
        match Person::from_request(request).await {
            Outcome::Success(Person { tenant, user, scopes, .. })
                if S::ANY_OF.iter().any(|scope| scopes.contains(*scope)) =>
            {
                Outcome::Success(Self { tenant, user, scopes, scope: PhantomData })
            }
            Outcome::Success(_) => lacking(S::ANY_OF).refuse(request),
            Outcome::Error(refused) => Outcome::Error(refused),
            Outcome::Forward(status) => Outcome::Forward(status),
        }
    }
}

/// Checks the token, the rate limit and the scope. This happens before the body is read, so that
/// a refused request costs little.
fn admit(request: &Request<'_>, any_of: &[Scope]) -> Result<VerifiedToken, Problem> {
    let token = verified_token(request)?;
    let context = RequestContext::of(request);
    context.set_tenant(token.tenant);
    let count = || {
        let rates = request.rocket().state::<ClientRates>()?;
        rates.count(token.subject.uuid(), token.requests_per_s, Instant::now().into_std())
    };
    if let Some(seconds) = context.rate_limit.get_or_init(count).and_then(|limit| limit.retry_after_s()) {
        metrics::counter!("http_requests_rate_limited_total").increment(1);
        let detail = "The client exceeded its request rate. The request was not processed.";
        let problem = Problem::new(ProblemKind::RateLimited, detail);
        return Err(Problem { retry_after_seconds: Some(seconds), ..problem });
    }
    let is_enough = any_of.is_empty() || any_of.iter().any(|scope| token.scopes.contains(*scope));
    if is_enough { Ok(token) } else { Err(lacking(any_of)) }
}

fn lacking(any_of: &[Scope]) -> Problem {
    let scopes: Vec<&str> = any_of.iter().map(|scope| scope.name()).collect();
    let scope = scopes.join(" ");
    let challenge = format!(r#"Bearer realm="tollgate", error="insufficient_scope", scope="{scope}""#);
    let detail = match scopes[..] {
        [_] => format!("The access token does not have the scope {scope}."),
        _ => format!("The access token has none of the scopes {}.", scopes.join(", ")),
    };
    Problem::with_challenge(ProblemKind::InsufficientScope, detail, challenge)
}

/// The verified token of the request. Verified once, for the edge and for the guards.
pub(super) fn verified_token(request: &Request<'_>) -> Result<VerifiedToken, Problem> {
    let verified = RequestContext::of(request).token.get_or_init(|| verify(request));
    verified.map_err(|unbelieved| match unbelieved {
        Unbelieved::Absent => {
            let detail = "Send an access token: Authorization: Bearer <token>.";
            unauthenticated(detail, r#"Bearer realm="tollgate""#.to_owned())
        }
        Unbelieved::Invalid => {
            let detail = "The access token is invalid or has expired.";
            unauthenticated(detail, r#"Bearer realm="tollgate", error="invalid_token""#.to_owned())
        }
    })
}

fn verify(request: &Request<'_>) -> Result<VerifiedToken, Unbelieved> {
    let mut headers = request.headers().get("Authorization");
    let header = headers.next().ok_or(Unbelieved::Absent)?;
    let token = bearer_token(header).filter(|_| headers.next().is_none());
    let tokens = request.rocket().state::<Tokens>();
    let shown = Connection::of(request).thumbprint();
    let verified = token.zip(tokens).and_then(|(token, Tokens(tokens))| {
        tokens
            .verify(token, shown)
            .inspect_err(|error| tracing::debug!(%error, "an access token was rejected"))
            .ok()
    });
    verified.ok_or(Unbelieved::Invalid)
}

fn unauthenticated(detail: &'static str, challenge: String) -> Problem {
    Problem::with_challenge(ProblemKind::Unauthenticated, detail, challenge)
}

fn bearer_token(header: &str) -> Option<&str> {
    let (scheme, token) = header.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim_matches(' '))
}

/// The Idempotency-Key header: required, once, 1 to 255 visible ASCII characters.
#[derive(Debug)]
pub struct IdempotencyKeyHeader(pub IdempotencyKey);

#[rocket::async_trait]
impl<'r> FromRequest<'r> for IdempotencyKeyHeader {
    type Error = ProblemKind;

    async fn from_request(request: &'r Request<'_>) -> Outcome<Self, ProblemKind> {
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
        Problem::new(ProblemKind::InvalidIdempotencyKey, detail).refuse(request)
    }
}

/// The latest activations that `If-Match` allows and that `If-None-Match` forbids. Both headers
/// contain ETags of the active deployment.
#[derive(Debug)]
pub struct Conditions(pub ExpectedActivation);

#[rocket::async_trait]
impl<'r> FromRequest<'r> for Conditions {
    type Error = ProblemKind;

    async fn from_request(request: &'r Request<'_>) -> Outcome<Self, ProblemKind> {
        let tags = |header| {
            EntityTags::of(request, header).map_err(|MalformedEntityTags| {
                let detail = format!(
                    "{header} must be * or a list of entity tags, such as the ETag of the active state."
                );
                Problem::new(ProblemKind::MalformedRequest, detail)
            })
        };
        match tags("If-Match").and_then(|these| Ok(expected(these.as_ref(), tags("If-None-Match")?.as_ref())))
        {
            Ok(expected) => Outcome::Success(Self(expected)),
            Err(problem) => problem.refuse(request),
        }
    }
}

/// `If-Match` compares strongly and `If-None-Match` weakly (RFC 9110, section 13.1). `*` always
/// matches, since there always is a tag: before the first activation it is `none`.
fn expected(these: Option<&EntityTags>, none_of: Option<&EntityTags>) -> ExpectedActivation {
    let one_of = these.and_then(EntityTags::strong).map(|tags| tags.filter_map(version_of).collect());
    match none_of {
        Some(EntityTags::Any) => ExpectedActivation { one_of: Some(Vec::new()), none_of: Vec::new() },
        Some(EntityTags::These(tags)) => ExpectedActivation {
            one_of,
            none_of: tags.iter().filter_map(|tag| version_of(tag.opaque())).collect(),
        },
        None => ExpectedActivation { one_of, none_of: Vec::new() },
    }
}

/// `None` if no deployment can have this tag, for example because its number has a leading zero.
fn version_of(opaque: &str) -> Option<DeploymentVersion> {
    match opaque {
        "none" => Some(DeploymentVersion::BeforeFirstActivation),
        text => {
            let sequence = text.parse().ok().filter(|sequence: &i64| sequence.to_string() == text);
            sequence.map(DeploymentVersion::Activation)
        }
    }
}

#[cfg(test)]
#[path = "guard_tests.rs"]
mod tests;
