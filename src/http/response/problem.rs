//! Problem details (RFC 9457): the form of every error response.
//!
//! A problem must never contain a value that the client sent (it may be a card number) or the
//! text of an internal error. `failure` maps the errors of lower rooms to problems.

use std::borrow::Cow;

use rocket::http::{ContentType, Header, MediaType, Method, Status};
use rocket::request::{self, Request};
use rocket::response::{self, Responder, Response};
use serde::Serialize;
use utoipa::ToSchema;

use crate::http::edge::connection::Connection;
use crate::http::edge::context::RequestContext;

/// The most errors that one problem lists, so that a hostile body does not get a long response.
pub const ERRORS_MAX: usize = 100;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ProblemKind {
    MalformedRequest,
    MalformedBody,
    InvalidQuery,
    InvalidIdempotencyKey,
    DigestMismatch,
    Unauthenticated,
    InsufficientScope,
    SignInFailed,
    SecondFactorRequired,
    SessionEnded,
    PersonRequired,
    SecondPersonRequired,
    NotFound,
    MethodNotAllowed,
    RequestTimeout,
    StillDeciding,
    PluginsNotReady,
    FactsNotReady,
    Conflict,
    GuardRefused,
    Erased,
    PreconditionFailed,
    BodyTooLarge,
    UriTooLong,
    UnsupportedMediaType,
    ExpectationFailed,
    InvalidBody,
    CardNumber,
    IdempotencyKeyReused,
    PluginRefused,
    TooManyStreams,
    QuotaExceeded,
    TooManyAttempts,
    RateLimited,
    HeadTooLarge,
    Internal,
    NotImplemented,
    Busy,
    Deadline,
    Unavailable,
    SearchIndexBuilding,
    HttpVersionNotSupported,
}

impl ProblemKind {
    #[cfg(test)]
    pub const ALL: [Self; 42] = [
        Self::MalformedRequest,
        Self::MalformedBody,
        Self::InvalidQuery,
        Self::InvalidIdempotencyKey,
        Self::DigestMismatch,
        Self::Unauthenticated,
        Self::InsufficientScope,
        Self::SignInFailed,
        Self::SecondFactorRequired,
        Self::SessionEnded,
        Self::PersonRequired,
        Self::SecondPersonRequired,
        Self::NotFound,
        Self::MethodNotAllowed,
        Self::RequestTimeout,
        Self::StillDeciding,
        Self::PluginsNotReady,
        Self::FactsNotReady,
        Self::Conflict,
        Self::GuardRefused,
        Self::Erased,
        Self::PreconditionFailed,
        Self::BodyTooLarge,
        Self::UriTooLong,
        Self::UnsupportedMediaType,
        Self::ExpectationFailed,
        Self::InvalidBody,
        Self::CardNumber,
        Self::IdempotencyKeyReused,
        Self::PluginRefused,
        Self::TooManyStreams,
        Self::QuotaExceeded,
        Self::TooManyAttempts,
        Self::RateLimited,
        Self::HeadTooLarge,
        Self::Internal,
        Self::NotImplemented,
        Self::Busy,
        Self::Deadline,
        Self::Unavailable,
        Self::SearchIndexBuilding,
        Self::HttpVersionNotSupported,
    ];

    /// Status, the last part of the `type` URI, and the title. Published: never changed.
    fn published(self) -> (u16, &'static str, &'static str) {
        match self {
            Self::MalformedRequest => (400, "malformed-request", "The request is malformed"),
            Self::MalformedBody => (400, "malformed-body", "The body is not valid JSON"),
            Self::InvalidQuery => (400, "invalid-query", "The query parameters are invalid"),
            Self::InvalidIdempotencyKey => {
                (400, "invalid-idempotency-key", "The Idempotency-Key is missing or invalid")
            }
            Self::DigestMismatch => (400, "digest-mismatch", "The body does not match its digest"),
            Self::Unauthenticated => (401, "unauthenticated", "A valid access token is required"),
            Self::InsufficientScope => (403, "insufficient-scope", "The access token lacks a required scope"),
            Self::SignInFailed => (401, "sign-in-failed", "The sign-in failed"),
            Self::SecondFactorRequired => {
                (401, "second-factor-required", "A code of the second factor is required")
            }
            Self::SessionEnded => (401, "session-ended", "The session has ended"),
            Self::PersonRequired => (403, "person-required", "Only a signed-in person may do this"),
            Self::SecondPersonRequired => (403, "second-person-required", "Another person has to do this"),
            Self::NotFound => (404, "not-found", "The resource does not exist"),
            Self::MethodNotAllowed => (405, "method-not-allowed", "The method is not allowed"),
            Self::RequestTimeout => (408, "request-timeout", "The request did not arrive in time"),
            Self::StillDeciding => {
                (409, "still-deciding", "The first request with this key is still in progress")
            }
            Self::PluginsNotReady => (409, "plugins-not-ready", "A node is not ready to run the revision"),
            Self::FactsNotReady => (409, "facts-not-ready", "Facts of the revision are not known yet"),
            Self::Conflict => (409, "conflict", "The request conflicts with the current state"),
            Self::GuardRefused => (409, "guard-refused", "The guard does not allow the activation"),
            Self::Erased => (410, "erased", "The personal data has been erased"),
            Self::PreconditionFailed => (412, "precondition-failed", "The resource has changed"),
            Self::BodyTooLarge => (413, "body-too-large", "The body is too large"),
            Self::UriTooLong => (414, "uri-too-long", "The target of the request is too long"),
            Self::UnsupportedMediaType => (415, "unsupported-media-type", "The media type is not supported"),
            Self::ExpectationFailed => (417, "expectation-failed", "The expectation is not supported"),
            Self::InvalidBody => (422, "invalid-body", "The body is invalid"),
            Self::CardNumber => (422, "card-number", "The request contains a card number"),
            Self::IdempotencyKeyReused => {
                (422, "idempotency-key-reused", "The Idempotency-Key was already used for another request")
            }
            Self::PluginRefused => (422, "plugin-refused", "The plugin was refused"),
            Self::TooManyStreams => (429, "too-many-streams", "Too many event streams are open"),
            Self::QuotaExceeded => (429, "quota-exceeded", "A limit of the tenant has been reached"),
            Self::TooManyAttempts => (429, "too-many-attempts", "Too many sign-ins have failed"),
            Self::RateLimited => (429, "rate-limited", "The client sends too many requests"),
            Self::HeadTooLarge => (431, "head-too-large", "The head of the request is too large"),
            Self::Internal => (500, "internal", "An internal error occurred"),
            Self::NotImplemented => (501, "not-implemented", "The server does not implement this"),
            Self::Busy => (503, "busy", "The server is busy"),
            Self::Deadline => (503, "deadline", "The request timed out"),
            Self::Unavailable => (503, "unavailable", "The service is temporarily unavailable"),
            Self::SearchIndexBuilding => {
                (503, "search-index-building", "Earlier payments are not indexed yet")
            }
            Self::HttpVersionNotSupported => {
                (505, "http-version-not-supported", "This version of HTTP is not supported")
            }
        }
    }

    pub fn status(self) -> Status {
        Status::new(self.published().0)
    }

    pub fn slug(self) -> &'static str {
        self.published().1
    }

    /// The `type` URI: a path on this server that says what the problem means.
    pub fn address(self) -> String {
        format!("/problems/{}", self.slug())
    }

    pub fn title(self) -> &'static str {
        self.published().2
    }

    fn for_status(status: Status) -> Self {
        match status.code {
            401 => Self::Unauthenticated,
            403 => Self::InsufficientScope,
            404 => Self::NotFound,
            405 => Self::MethodNotAllowed,
            413 => Self::BodyTooLarge,
            415 => Self::UnsupportedMediaType,
            422 => Self::InvalidBody,
            429 => Self::QuotaExceeded,
            503 => Self::Unavailable,
            400..500 => Self::MalformedRequest,
            _ => Self::Internal,
        }
    }
}

/// One error in a part of the request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct PartError {
    /// Location in the body, as a JSON pointer (RFC 6901).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pointer: Option<String>,
    /// Name of the query parameter or header field.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parameter: Option<String>,
    pub detail: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    pub kind: ProblemKind,
    pub detail: Cow<'static, str>,
    pub errors: Vec<PartError>,
    pub retry_after_seconds: Option<u32>,
    /// WWW-Authenticate (RFC 6750).
    pub challenge: Option<String>,
    /// Allow (RFC 9110).
    pub allow: Option<String>,
    /// Whether to send `Accept-Encoding: identity` (RFC 9110): request bodies must not be
    /// compressed.
    pub refuses_compression: bool,
}

impl Problem {
    pub fn new(kind: ProblemKind, detail: impl Into<Cow<'static, str>>) -> Self {
        let retry_after_seconds = match kind {
            // The interval of the heartbeat, which detects that the client of a stream is gone.
            ProblemKind::TooManyStreams => Some(15),
            ProblemKind::StillDeciding
            | ProblemKind::PluginsNotReady
            | ProblemKind::Busy
            | ProblemKind::Deadline => Some(1),
            ProblemKind::Unavailable => Some(2),
            ProblemKind::SearchIndexBuilding => Some(10),
            _ => None,
        };
        let detail = detail.into();
        let (errors, challenge, allow, refuses_compression) = (Vec::new(), None, None, false);
        Self { kind, detail, errors, retry_after_seconds, challenge, allow, refuses_compression }
    }

    pub fn with_errors(
        kind: ProblemKind,
        detail: impl Into<Cow<'static, str>>,
        mut errors: Vec<PartError>,
    ) -> Self {
        errors.truncate(ERRORS_MAX);
        Self { errors, ..Self::new(kind, detail) }
    }

    pub fn with_challenge(
        kind: ProblemKind,
        detail: impl Into<Cow<'static, str>>,
        challenge: String,
    ) -> Self {
        Self { challenge: Some(challenge), ..Self::new(kind, detail) }
    }

    pub fn not_found(what: &'static str) -> Self {
        Self::new(ProblemKind::NotFound, format!("There is no such {what}."))
    }

    /// Leaves a guard's problem for the catcher: a guard cannot send a body itself.
    pub fn refuse<S>(self, request: &Request<'_>) -> request::Outcome<S, ProblemKind> {
        let (status, kind) = (self.kind.status(), self.kind);
        request.local_cache(|| Some(self));
        request::Outcome::Error((status, kind))
    }
}

/// The problem as JSON.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Problem)]
pub struct ProblemBody<'a> {
    /// `/problems/` followed by the kind of problem. Stable, so programs should compare this. Also an
    /// address on this server that says what the problem means.
    #[serde(rename = "type")]
    #[schema(example = "/problems/invalid-body")]
    pub kind: String,
    pub title: &'a str,
    pub status: u16,
    /// An explanation for people. May change.
    pub detail: &'a str,
    /// Every part of the request that has an error.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    #[schema(required = false)]
    pub errors: &'a [PartError],
    /// Identifies this request in the server's logs. Also sent as X-Request-Id.
    pub request_id: &'a str,
}

impl<'r> Responder<'r, 'static> for Problem {
    fn respond_to(self, request: &'r Request<'_>) -> response::Result<'static> {
        let body = ProblemBody {
            kind: self.kind.address(),
            title: self.kind.title(),
            status: self.kind.status().code,
            detail: &self.detail,
            errors: &self.errors,
            request_id: &RequestContext::of(request).request_id,
        };
        let bytes = serde_json::to_vec(&body).map_err(|_| Status::InternalServerError)?;
        let mut response = Response::build();
        response
            .status(self.kind.status())
            .header(ContentType(MediaType::new("application", "problem+json")))
            .sized_body(bytes.len(), std::io::Cursor::new(bytes));
        if let Some(seconds) = self.retry_after_seconds {
            response.header(Header::new("Retry-After", seconds.to_string()));
        }
        if let Some(challenge) = self.challenge {
            response.header(Header::new("WWW-Authenticate", challenge));
        }
        if let Some(allow) = self.allow {
            response.header(Header::new("Allow", allow));
        }
        if self.refuses_compression {
            response.header(Header::new("Accept-Encoding", "identity"));
        }
        response.ok()
    }
}

/// Responds with the problem that a guard left, or turns Rocket's own error into one.
#[rocket::catch(default)]
pub fn default_catcher(status: Status, request: &Request<'_>) -> Problem {
    if let Some(refusal) = &Connection::of(request).refusal {
        return refusal.into();
    }
    if let Some(problem) = request.local_cache(|| None::<Problem>)
        && problem.kind.status() == status
    {
        return problem.clone();
    }
    if status == Status::NotFound
        && let Some(allow) = allowed_methods(request)
    {
        let detail = format!("This resource supports the methods {allow}.");
        return Problem { allow: Some(allow), ..Problem::new(ProblemKind::MethodNotAllowed, detail) };
    }
    let kind = ProblemKind::for_status(status);
    let detail = match kind {
        ProblemKind::NotFound => "There is no resource at this path.",
        ProblemKind::Internal => "The cause is logged under this request id.",
        _ => "The server could not parse the request.",
    };
    Problem::new(kind, detail)
}

/// The methods that a path supports, or `None` if there is no such path. Needed because Rocket
/// responds 404 to a wrong method.
pub fn allowed_methods(request: &Request<'_>) -> Option<String> {
    let asked: Vec<&str> = request.uri().path().raw_segments().map(|segment| segment.as_str()).collect();
    let mut methods: Vec<&str> = request
        .rocket()
        .routes()
        .filter(|route| template_matches(route.uri.path(), &asked))
        .map(|route| route.method)
        // It is answered as a preflight only.
        .filter(|method| *method != Method::Options)
        // Rocket serves HEAD with the route of GET.
        .flat_map(|method| if method == Method::Get { vec!["GET", "HEAD"] } else { vec![method.as_str()] })
        .collect();
    methods.sort_unstable();
    methods.dedup();
    (!methods.is_empty()).then(|| methods.join(", "))
}

fn template_matches(template: &str, asked: &[&str]) -> bool {
    let template: Vec<&str> = template.split('/').filter(|segment| !segment.is_empty()).collect();
    if let Some((last, fixed)) = template.split_last()
        && last.ends_with("..>")
    {
        return asked.len() >= fixed.len() && segments_match(fixed, &asked[..fixed.len()]);
    }
    template.len() == asked.len() && segments_match(&template, asked)
}

fn segments_match(template: &[&str], asked: &[&str]) -> bool {
    template.iter().zip(asked).all(|(expected, found)| expected.starts_with('<') || expected == found)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn the_document_lists_exactly_the_kinds_that_exist() {
        let document = include_str!("../../../docs/problems.md");
        let listed: HashSet<String> = document
            .lines()
            .filter_map(|line| line.strip_prefix("| `/problems/"))
            .map(|line| line.split(" | ").take(3).collect::<Vec<_>>().join(" | "))
            .collect();
        let existing: HashSet<String> = ProblemKind::ALL
            .iter()
            .map(|kind| format!("{}` | {} | {}", kind.slug(), kind.status().code, kind.title()))
            .collect();
        assert_eq!(listed, existing);
        assert_eq!(existing.len(), ProblemKind::ALL.len());
    }

    #[test]
    fn a_template_matches_paths_of_its_shape_only() {
        for (template, path, expected) in [
            ("/payments", "/payments", true),
            ("/payments/<id>", "/payments/7", true),
            ("/payments/<id>", "/payments", false),
            ("/payments/<id>", "/payments/7/decision", false),
            ("/docs/<_..>", "/docs/a/b", true),
            ("/docs/<_..>", "/docs", true),
            ("/", "/", true),
        ] {
            let asked: Vec<&str> = path.split('/').filter(|segment| !segment.is_empty()).collect();
            assert_eq!(template_matches(template, &asked), expected, "{template} {path}");
        }
    }
}
