//! The edge wraps every handler: deadline, load shedding, panics, common response headers, one
//! log line and the metrics of each request.
//!
//! Must never log a body, a token, a query string or a raw path: a route is logged as its
//! template.

pub mod client_rates;
pub(super) mod connection;
pub(super) mod context;
pub(super) mod cors;
pub(super) mod guard;
pub mod slots;
pub mod streams;
pub(super) mod upload_slots;

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use futures::FutureExt;
use metrics::{Counter, Histogram};
use rocket::fairing::{Fairing, Info};
use rocket::http::{Header, Method};
use rocket::route::{Handler, Outcome};
use rocket::{Data, Request, Response, Route};
use tokio::time::timeout_at;
use tracing::Instrument;

use crate::door::Refusal;
use crate::http::edge::connection::Connection;
use crate::http::edge::context::RequestContext;
use crate::http::edge::slots::{Sender, SlotLimits, Slots};
use crate::http::response::problem::{Problem, ProblemKind};

/// For health, readiness and metrics. Independent of the requests' deadline: a readiness check
/// waits up to three seconds for the database before it can return the reasons.
const OPERATION_DEADLINE: Duration = Duration::from_secs(5);

#[derive(Debug, Clone, Copy)]
pub struct EdgeLimits {
    pub deadline: Duration,
    /// The deadline for large bodies: plugins, and many entries of a list.
    pub upload_deadline: Duration,
    /// The most requests handled at once. More are refused with 503.
    pub slots: SlotLimits,
}

/// Which deadline and slots apply to a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RouteClass {
    Ordinary,
    Upload,
    /// The deadline applies until the stream begins. A stream needs no slot; `Streams` limits
    /// their number.
    Stream,
    /// Needs no slot: health and metrics must work while other requests are refused.
    Operation,
}

#[derive(Debug, Clone)]
pub struct Edge {
    limits: EdgeLimits,
    slots: Arc<Slots>,
}

impl Edge {
    pub fn new(limits: EdgeLimits) -> Self {
        Self { limits, slots: Slots::new(limits.slots) }
    }

    pub fn wrap(&self, class: RouteClass, routes: Vec<Route>) -> Vec<Route> {
        let deadline = match class {
            RouteClass::Upload => self.limits.upload_deadline,
            RouteClass::Ordinary | RouteClass::Stream => self.limits.deadline,
            RouteClass::Operation => OPERATION_DEADLINE,
        };
        let slotted = matches!(class, RouteClass::Ordinary | RouteClass::Upload);
        let slots = slotted.then(|| Arc::clone(&self.slots));
        let wrap = |mut route: Route| {
            route.handler = Box::new(EdgeHandler { inner: route.handler, deadline, slots: slots.clone() });
            route
        };
        routes.into_iter().map(wrap).collect()
    }
}

#[derive(Clone)]
struct EdgeHandler {
    inner: Box<dyn Handler>,
    deadline: Duration,
    slots: Option<Arc<Slots>>,
}

#[rocket::async_trait]
impl Handler for EdgeHandler {
    async fn handle<'r>(&self, request: &'r Request<'_>, data: Data<'r>) -> Outcome<'r> {
        let context = RequestContext::of(request);
        let sender = sender(request);
        let _slot = match self.slots.as_ref().map(|slots| slots.enter(sender)).transpose() {
            Ok(slot) => slot,
            Err(limit) => return Outcome::from(request, limit.refuse()),
        };
        // At the deadline the handler's future is dropped. Work that must not be cancelled
        // runs in separate tasks.
        let handled = AssertUnwindSafe(async { self.inner.handle(request, data).await })
            .catch_unwind()
            .instrument(context.span.clone());
        match timeout_at(context.started + self.deadline, handled).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_panic)) => {
                // The panic hook has logged where it happened. The payload is not logged, since it
                // may contain request data.
                tracing::error!(request_id = context.request_id, "a handler panicked");
                let detail = "The cause is logged under this request id.";
                Outcome::from(request, Problem::new(ProblemKind::Internal, detail))
            }
            Err(_late) => {
                let detail = "The deadline passed before there was a result. The outcome is unknown.";
                Outcome::from(request, Problem::new(ProblemKind::Deadline, detail))
            }
        }
    }
}

/// A connection that has shown a believed token may stay when others have to go.
fn sender(request: &Request<'_>) -> Sender {
    let connection = Connection::of(request);
    match guard::verified_token(request) {
        Ok(token) => {
            connection.believe(token.tenant);
            Sender::Tenant(token.tenant)
        }
        Err(_) => Sender::Address(connection.address),
    }
}

/// Creates the context of each request. After the handler, it sets the common headers, logs one
/// line and counts the request.
#[derive(Debug, Default)]
pub struct RequestTelemetry {
    /// By route. Kept here because the recorder would otherwise copy and hash the names and labels
    /// for every request.
    metrics: RwLock<HashMap<String, RouteMetrics>>,
}

/// By method and status class.
type RouteMetrics = HashMap<(Method, &'static str), RequestMetrics>;

#[derive(Debug, Clone)]
struct RequestMetrics {
    requests: Counter,
    duration: Histogram,
}

impl RequestTelemetry {
    /// Registers the metrics of these routes now, so that `/metrics` has them from the start.
    pub fn of(routes: &[Route]) -> Self {
        let telemetry = Self::default();
        for route in routes {
            telemetry.metrics(route.uri.path(), route.method, "2xx");
        }
        telemetry
    }

    /// The map stays small because its keys are route templates, not paths.
    fn metrics(&self, route: &str, method: Method, class: &'static str) -> RequestMetrics {
        let known = self.metrics.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(metrics) = known.get(route).and_then(|of_route| of_route.get(&(method, class))) {
            return metrics.clone();
        }
        drop(known);
        let labels = [
            ("route", route.to_owned()),
            ("method", method.as_str().to_owned()),
            ("status_class", class.to_owned()),
        ];
        let metrics = RequestMetrics {
            requests: metrics::counter!("http_requests_total", &labels),
            duration: metrics::histogram!("http_request_duration_seconds", &labels),
        };
        let mut known = self.metrics.write().unwrap_or_else(PoisonError::into_inner);
        known.entry(route.to_owned()).or_default().insert((method, class), metrics.clone());
        metrics
    }
}

#[rocket::async_trait]
impl Fairing for RequestTelemetry {
    fn info(&self) -> Info {
        use rocket::fairing::Kind;
        Info { name: "request log and metrics", kind: Kind::Request | Kind::Response }
    }

    async fn on_request(&self, request: &mut Request<'_>, _: &mut Data<'_>) {
        RequestContext::of(request);
    }

    async fn on_response<'r>(&self, request: &'r Request<'_>, response: &mut Response<'r>) {
        let context = RequestContext::of(request);
        response.set_header(Header::new("X-Request-Id", context.request_id.clone()));
        for (name, value) in [
            ("X-Content-Type-Options", "nosniff"),
            ("Referrer-Policy", "no-referrer"),
            ("Cache-Control", "no-store"),
            ("Content-Security-Policy", content_security_policy(request)),
        ] {
            if !response.headers().contains(name) {
                response.set_header(Header::new(name, value));
            }
        }
        if let Some(Some(limit)) = context.rate_limit.get() {
            limit.set_headers(response);
        }
        log_and_count(self, request, context, response.status().code);
    }
}

/// Forbids everything. Only the page that shows the API needs scripts and inline styles.
fn content_security_policy(request: &Request<'_>) -> &'static str {
    if request.route().is_some_and(|route| route.uri.path().starts_with("/docs")) {
        return "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; \
                img-src 'self' data:; connect-src 'self'; base-uri 'none'; frame-ancestors 'none'";
    }
    "default-src 'none'; frame-ancestors 'none'"
}

fn log_and_count(telemetry: &RequestTelemetry, request: &Request<'_>, context: &RequestContext, status: u16) {
    let elapsed = context.started.elapsed();
    let refusal = Connection::of(request).refusal.as_ref().map(Refusal::reason);
    let unrouted = if refusal.is_some() { "refused" } else { "unmatched" };
    let route = request.route().map_or(unrouted, |route| route.uri.path());
    let method = request.method();
    let class = match status {
        ..200 => "1xx",
        200..300 => "2xx",
        300..400 => "3xx",
        400..500 => "4xx",
        _ => "5xx",
    };
    tracing::info!(
        request_id = context.request_id,
        trace_id = context.trace_id,
        tenant = context.tenant.get().map(tracing::field::display),
        // Of a refused request it may not be known.
        method = refusal.is_none().then_some(method.as_str()),
        route,
        refusal,
        status,
        latency_us = u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX),
        "answered"
    );
    let metrics = telemetry.metrics(route, method, class);
    metrics.requests.increment(1);
    metrics.duration.record(elapsed.as_secs_f64());
}

#[cfg(test)]
mod tests {
    use rocket::http::Status;
    use rocket::local::asynchronous::Client;
    use rocket::tokio::time::sleep;

    use super::*;
    use crate::http::response::problem::default_catcher;

    #[rocket::get("/quick")]
    fn quick() -> &'static str {
        "done"
    }

    #[rocket::get("/slow")]
    async fn slow() -> &'static str {
        sleep(Duration::from_secs(60)).await;
        "done"
    }

    #[rocket::get("/panics")]
    fn panics() -> &'static str {
        panic!("4111111111111111")
    }

    async fn client(slots: usize) -> Client {
        let limits = EdgeLimits {
            deadline: Duration::from_millis(30),
            upload_deadline: Duration::from_millis(30),
            slots: SlotLimits { all: slots, per_tenant: slots, per_address: slots },
        };
        let edge = Edge::new(limits);
        let rocket =
            rocket::custom(rocket::Config { log_level: rocket::config::LogLevel::Off, ..Default::default() })
                .mount("/", edge.wrap(RouteClass::Ordinary, rocket::routes![quick, slow, panics]))
                .mount("/stream", edge.wrap(RouteClass::Stream, rocket::routes![quick, slow]))
                .mount("/operation", edge.wrap(RouteClass::Operation, rocket::routes![quick]))
                .register("/", rocket::catchers![default_catcher])
                .attach(RequestTelemetry::default())
                .manage(crate::world::system());
        Client::untracked(rocket).await.expect("a rocket")
    }

    async fn problem_of(client: &Client, path: &str) -> (Status, String) {
        let response = client.get(path.to_owned()).dispatch().await;
        let status = response.status();
        let body: serde_json::Value =
            serde_json::from_str(&response.into_string().await.expect("a body")).expect("JSON");
        (status, body["type"].as_str().expect("a type").to_owned())
    }

    #[rocket::async_test]
    async fn late_and_panicking_handlers_lead_to_problems() {
        let client = client(8).await;
        assert_eq!(
            problem_of(&client, "/slow").await,
            (Status::ServiceUnavailable, "/problems/deadline".into())
        );
        assert_eq!(
            problem_of(&client, "/panics").await,
            (Status::InternalServerError, "/problems/internal".into())
        );
        assert_eq!(client.get("/quick").dispatch().await.status(), Status::Ok, "the slots are free again");
    }

    #[rocket::async_test]
    async fn without_a_free_slot_only_operations_and_streams_are_served() {
        let client = client(0).await;
        let response = client.get("/quick").dispatch().await;
        assert_eq!(response.status(), Status::ServiceUnavailable);
        assert_eq!(response.headers().get_one("Retry-After"), Some("1"));
        assert_eq!(client.get("/operation/quick").dispatch().await.status(), Status::Ok);
        assert_eq!(client.get("/stream/quick").dispatch().await.status(), Status::Ok);
        let late = problem_of(&client, "/stream/slow").await.1;
        assert_eq!(late, "/problems/deadline", "a stream that does not begin in time misses its deadline");
    }

    #[rocket::async_test]
    async fn a_wrong_method_gets_the_allowed_ones_and_a_wrong_path_is_not_found() {
        let client = client(8).await;
        let response = client.post("/quick").dispatch().await;
        assert_eq!(
            (response.status(), response.headers().get_one("Allow")),
            (Status::MethodNotAllowed, Some("GET, HEAD"))
        );
        assert_eq!(problem_of(&client, "/nowhere").await, (Status::NotFound, "/problems/not-found".into()));
    }

    #[derive(Clone, Default)]
    struct LogBuffer(Arc<std::sync::Mutex<Vec<u8>>>);

    impl std::io::Write for LogBuffer {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().expect("a lock").extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn the_log_has_one_line_per_request_with_templates_and_nothing_the_client_sent() {
        let log = LogBuffer::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt()
            .json()
            .with_max_level(tracing::Level::INFO)
            .with_writer(move || writer.clone())
            .finish();
        tracing::subscriber::with_default(subscriber, || {
            let runtime = rocket::tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(async {
                let client = client(8).await;
                for path in ["/quick?card=4111111111111111", "/4111111111111111", "/panics"] {
                    let token = Header::new("Authorization", "Bearer 4111111111111111");
                    client
                        .get(path)
                        .header(token)
                        .header(Header::new("X-Request-Id", "my-request-1"))
                        .dispatch()
                        .await;
                }
            });
        });
        let log = String::from_utf8(log.0.lock().expect("a lock").clone()).expect("UTF-8");
        assert!(!log.contains("4111"), "{log}");
        let answered: Vec<&str> = log.lines().filter(|line| line.contains("\"answered\"")).collect();
        assert_eq!(answered.len(), 3, "{log}");
        for (line, route) in answered.iter().zip(["/quick", "unmatched", "/panics"]) {
            assert!(line.contains(&format!("\"route\":\"{route}\"")), "{line}");
            assert!(line.contains("my-request-1") && line.contains("latency_us"), "{line}");
        }
    }

    #[rocket::async_test]
    async fn every_response_has_its_request_id_and_is_not_stored() {
        let client = client(8).await;
        for path in ["/quick", "/nowhere"] {
            let header = Header::new("X-Request-Id", "my-request-1");
            let response = client.get(path).header(header).dispatch().await;
            assert_eq!(response.headers().get_one("X-Request-Id"), Some("my-request-1"));
            assert_eq!(response.headers().get_one("Cache-Control"), Some("no-store"));
            assert_eq!(response.headers().get_one("X-Content-Type-Options"), Some("nosniff"));
        }
    }
}
