//! Requests of browser clients from the origins that the operator named (CORS, in the Fetch
//! standard).
//!
//! Cookies must never be allowed here, nor the routes that use them: sign-in and the page are not
//! among the bases.

use std::sync::Arc;

use rocket::fairing::{Fairing, Info, Kind};
use rocket::http::{Header, Method, Status};
use rocket::route::{Handler, Outcome};
use rocket::{Data, Request, Response, Route};

use crate::domain::web_origin::WebOrigin;
use crate::http::response::ApiResponse;
use crate::http::response::problem::allowed_methods;

/// The paths that pages of other origins may use. All others are refused by the browser.
const BASES: [&str; 4] = ["/api/v1", "/oauth", "/.well-known", "/problems"];

/// What clients send besides the headers that every page may send.
const ALLOWED_HEADERS: &str = "Authorization, Content-Type, Content-Digest, Repr-Digest, Idempotency-Key, \
                               If-Match, If-None-Match, Last-Event-ID, X-Request-Id, traceparent";

const EXPOSED_HEADERS: &str = "ETag, Location, Content-Location, Idempotent-Replayed, Retry-After, RateLimit, \
                               RateLimit-Policy, WWW-Authenticate, X-Request-Id, Deprecation, Sunset, Link";

/// In seconds. Browsers keep a preflight for at most this long anyway.
const PREFLIGHT_KEPT_S: &str = "7200";

#[derive(Debug, Clone)]
pub struct Cors {
    origins: Arc<[WebOrigin]>,
}

impl Cors {
    /// `None` if no origin is named: then nothing is different from a server without CORS.
    pub fn of(origins: Vec<WebOrigin>) -> Option<Self> {
        (!origins.is_empty()).then(|| Self { origins: origins.into() })
    }

    /// The routes that answer preflights, with their bases.
    pub fn routes(&self) -> impl Iterator<Item = (&'static str, Vec<Route>)> {
        BASES
            .into_iter()
            .map(|base| (base, vec![Route::new(Method::Options, "/<_..>", Preflight(self.clone()))]))
    }

    /// The request's origin, if it was named.
    fn allowed_origin<'r>(&self, request: &'r Request<'_>) -> Option<&'r str> {
        let mut sent = request.headers().get("Origin");
        let origin = sent.next().filter(|_| sent.next().is_none())?;
        self.origins.iter().any(|allowed| allowed.as_str() == origin).then_some(origin)
    }
}

fn is_open(path: &str) -> bool {
    let below =
        |base: &str| path.strip_prefix(base).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    BASES.into_iter().any(below)
}

/// Answers the request by which a browser asks what it may send. Any other `OPTIONS` gets the same
/// answer as without CORS.
#[derive(Debug, Clone)]
struct Preflight(Cors);

#[rocket::async_trait]
impl Handler for Preflight {
    async fn handle<'r>(&self, request: &'r Request<'_>, data: Data<'r>) -> Outcome<'r> {
        let is_preflight = request.headers().contains("Access-Control-Request-Method");
        match (self.0.allowed_origin(request), allowed_methods(request)) {
            (Some(_), Some(methods)) if is_preflight => {
                let response = ApiResponse::empty(Status::NoContent)
                    .with("Access-Control-Allow-Methods", methods)
                    .with("Access-Control-Allow-Headers", ALLOWED_HEADERS)
                    .with("Access-Control-Max-Age", PREFLIGHT_KEPT_S);
                Outcome::from(request, response)
            }
            _ => Outcome::forward(data, Status::NotFound),
        }
    }
}

#[rocket::async_trait]
impl Fairing for Cors {
    fn info(&self) -> Info {
        Info { name: "headers for pages of other origins", kind: Kind::Response }
    }

    async fn on_response<'r>(&self, request: &'r Request<'_>, response: &mut Response<'r>) {
        if !is_open(request.uri().path().as_str()) {
            return;
        }
        // A cache must not give the response for one origin to another.
        response.adjoin_header(Header::new("Vary", "Origin"));
        if let Some(origin) = self.allowed_origin(request) {
            response.set_header(Header::new("Access-Control-Allow-Origin", origin.to_owned()));
            response.set_header(Header::new("Access-Control-Expose-Headers", EXPOSED_HEADERS));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_paths_of_the_api_are_open() {
        for path in
            ["/api/v1", "/api/v1/payments", "/oauth/token", "/problems/busy", "/.well-known/jwks.json"]
        {
            assert!(is_open(path), "{path}");
        }
        for path in [
            "/",
            "/session",
            "/session/refresh",
            "/admin",
            "/admin/index.html",
            "/api/v10",
            "/metrics",
            "//api/v1",
        ] {
            assert!(!is_open(path), "{path}");
        }
    }
}
