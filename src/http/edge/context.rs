//! The context of a request: its id, trace, start, tenant and rate limit.
//!
//! Ids that a client sends must be checked before they are used: they are written to logs and
//! headers.

use std::sync::OnceLock;

use rocket::Request;
use rocket::request::{FromRequest, Outcome};
use tokio::time::Instant;
use tracing::Span;

use crate::auth::token::VerifiedToken;
use crate::domain::card_number::holds_card_number;
use crate::domain::tenant::TenantId;
use crate::domain::time::World;
use crate::http::edge::client_rates::RateLimit;

#[derive(Debug)]
pub struct RequestContext {
    pub request_id: String,
    /// 32 hexadecimal digits: the caller's, or a new one.
    pub trace_id: String,
    pub started: Instant,
    pub span: Span,
    /// The access token, once it was looked at.
    pub token: OnceLock<Result<VerifiedToken, Unbelieved>>,
    /// Set once a guard has admitted the request.
    pub tenant: OnceLock<TenantId>,
    /// The client's rate limit, if it has one. Counted once per request, by the guard.
    pub rate_limit: OnceLock<Option<RateLimit>>,
}

/// Why a request has no verified token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unbelieved {
    Absent,
    Invalid,
}

impl RequestContext {
    /// The context of this request, created at the first call.
    pub fn of<'r>(request: &'r Request<'_>) -> &'r Self {
        request.local_cache(|| {
            let headers = request.headers();
            let world = request.rocket().state().expect("a `World` is managed");
            Self::new(headers.get_one("X-Request-Id"), headers.get_one("traceparent"), world)
        })
    }

    fn new(request_id: Option<&str>, traceparent: Option<&str>, world: &World) -> Self {
        let new_id = || world.uuid_v7(world.now_ms());
        let request_id = match request_id.filter(|id| is_sane_id(id)) {
            Some(id) => id.to_owned(),
            None => new_id().to_string(),
        };
        let trace_id = match traceparent.and_then(trace_id_of) {
            Some(id) => id.to_owned(),
            None => new_id().simple().to_string(),
        };
        let span = tracing::info_span!("request", %request_id, %trace_id, tenant = tracing::field::Empty);
        Self {
            request_id,
            trace_id,
            started: Instant::now(),
            span,
            token: OnceLock::new(),
            tenant: OnceLock::new(),
            rate_limit: OnceLock::new(),
        }
    }

    pub fn set_tenant(&self, tenant: TenantId) {
        if self.tenant.set(tenant).is_ok() {
            self.span.record("tenant", tracing::field::display(tenant));
        }
    }
}

#[rocket::async_trait]
impl<'r> FromRequest<'r> for &'r RequestContext {
    type Error = std::convert::Infallible;

    async fn from_request(request: &'r Request<'_>) -> Outcome<Self, Self::Error> {
        Outcome::Success(RequestContext::of(request))
    }
}

/// An id may only have letters, digits and a few marks, so that it cannot forge a log line or a
/// header. It must not be a card number, since it is logged.
fn is_sane_id(id: &str) -> bool {
    (8..=64).contains(&id.len())
        && id.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
        && !holds_card_number(id)
}

/// `version-traceid-parentid-flags` (W3C Trace Context, level 1). Later versions may append
/// more parts.
fn trace_id_of(traceparent: &str) -> Option<&str> {
    let is_hex = |text: &str, length| {
        text.len() == length && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
    };
    let is_set = |text: &str| text.bytes().any(|b| b != b'0');
    let mut parts = traceparent.split('-');
    let (version, trace, parent, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let well_formed = is_hex(version, 2) && is_hex(trace, 32) && is_hex(parent, 16) && is_hex(flags, 2);
    let whole = version != "00" || parts.next().is_none();
    (well_formed && whole && version != "ff" && is_set(trace) && is_set(parent)).then_some(trace)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::system;

    #[test]
    fn a_sane_request_id_is_kept_and_any_other_replaced() {
        assert_eq!(RequestContext::new(Some("order-12345"), None, &system()).request_id, "order-12345");
        for id in [
            "short",
            "with space",
            "line\nbreak",
            "quote\"quote",
            &"a".repeat(65),
            "ümlaut-id",
            "order-4111111111111111",
        ] {
            assert_ne!(RequestContext::new(Some(id), None, &system()).request_id, id);
        }
    }

    #[test]
    fn the_trace_of_the_caller_is_honoured_when_it_is_well_formed() {
        let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
        for (header, honoured) in [
            (format!("00-{trace}-00f067aa0ba902b7-01"), true),
            (format!("cc-{trace}-00f067aa0ba902b7-01-more"), true),
            (format!("00-{trace}-00f067aa0ba902b7-01-more"), false),
            (format!("ff-{trace}-00f067aa0ba902b7-01"), false),
            (format!("00-{trace}-0000000000000000-01"), false),
            (format!("00-{}-00f067aa0ba902b7-01", "0".repeat(32)), false),
            (format!("00-{}-00f067aa0ba902b7-01", trace.to_uppercase()), false),
            ("nonsense".to_owned(), false),
        ] {
            assert_eq!(
                RequestContext::new(None, Some(&header), &system()).trace_id == trace,
                honoured,
                "{header}"
            );
        }
        let fresh = RequestContext::new(None, None, &system()).trace_id;
        assert_eq!(fresh.len(), 32);
    }
}
