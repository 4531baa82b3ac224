//! The edge: what surrounds every handler.
//!
//! Owns deadline, load shedding, the fence around panics, the response headers
//! that all answers share, the one log line and the metrics of a request. Must
//! never log a body, a token, a query string or a raw path: routes appear as
//! their templates.

pub mod client_rates;
pub(super) mod context;
pub(super) mod guard;
pub mod streams;
pub(super) mod upload_turns;

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
use tokio::sync::Semaphore;
use tokio::time::timeout_at;
use tracing::Instrument;

use crate::http::edge::context::RequestContext;
use crate::http::response::problem::{Kind, Problem};

/// For health, readiness and metrics, however short that of requests is: a node that is not
/// ready waits up to three seconds for its database before it can tell the reasons.
const OPERATION_DEADLINE: Duration = Duration::from_secs(5);

#[derive(Debug, Clone, Copy)]
pub struct EdgeLimits {
    pub deadline: Duration,
    /// For plugins: a body of megabytes, then a compiler.
    pub upload_deadline: Duration,
    /// Requests handled at once, whatever they are; more are shed.
    pub slots: usize,
}

/// How much of the edge a route gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Treatment {
    Ordinary,
    Upload,
    /// The deadline is for its beginning; then it has none, and places of its own
    /// instead of a slot.
    Stream,
    /// Health and metrics answer especially when everything else is shed.
    Operation,
}

#[derive(Debug, Clone)]
pub struct Edge {
    limits: EdgeLimits,
    slots: Arc<Semaphore>,
}

impl Edge {
    pub fn new(limits: EdgeLimits) -> Self {
        Self { limits, slots: Arc::new(Semaphore::new(limits.slots)) }
    }

    pub fn surround(&self, treatment: Treatment, routes: Vec<Route>) -> Vec<Route> {
        let deadline = match treatment {
            Treatment::Upload => self.limits.upload_deadline,
            Treatment::Ordinary | Treatment::Stream => self.limits.deadline,
            Treatment::Operation => OPERATION_DEADLINE,
        };
        let slotted = matches!(treatment, Treatment::Ordinary | Treatment::Upload);
        let slots = slotted.then(|| Arc::clone(&self.slots));
        let surround = |mut route: Route| {
            route.handler = Box::new(Surrounded { inner: route.handler, deadline, slots: slots.clone() });
            route
        };
        routes.into_iter().map(surround).collect()
    }
}

#[derive(Clone)]
struct Surrounded {
    inner: Box<dyn Handler>,
    deadline: Duration,
    slots: Option<Arc<Semaphore>>,
}

#[rocket::async_trait]
impl Handler for Surrounded {
    async fn handle<'r>(&self, request: &'r Request<'_>, data: Data<'r>) -> Outcome<'r> {
        let context = RequestContext::of(request);
        let slot = self.slots.as_ref().map(|slots| slots.try_acquire());
        if let Some(Err(_)) = slot {
            metrics::counter!("http_requests_shed_total").increment(1);
            let detail = "This node is already serving as many requests as it can.";
            return Outcome::from(request, Problem::new(Kind::Busy, detail));
        }
        // Only the handler's own future is dropped at the deadline: what must
        // not be cancelled runs in tasks of its own.
        let handled = AssertUnwindSafe(async { self.inner.handle(request, data).await })
            .catch_unwind()
            .instrument(context.span.clone());
        match timeout_at(context.started + self.deadline, handled).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_panic)) => {
                // The panic hook has said where; the payload may hold anything.
                tracing::error!(request_id = context.request_id, "a handler panicked");
                let detail = "The cause is logged under this request id.";
                Outcome::from(request, Problem::new(Kind::Internal, detail))
            }
            Err(_late) => {
                let detail = "The deadline passed before there was a result. The outcome is unknown.";
                Outcome::from(request, Problem::new(Kind::Deadline, detail))
            }
        }
    }
}

/// Opens a request's context and, at its end, tells of it once.
#[derive(Debug, Default)]
pub struct Telling {
    /// By route, then method and class of status: looked up once, since the
    /// recorder would copy and hash their names for every request.
    meters: RwLock<HashMap<String, OfRoute>>,
}

type OfRoute = HashMap<(Method, &'static str), Meters>;

#[derive(Debug, Clone)]
struct Meters {
    requests: Counter,
    duration: Histogram,
}

impl Telling {
    /// Makes the series of these routes at the start, so that no family appears late.
    pub fn of(routes: &[Route]) -> Self {
        let telling = Self::default();
        for route in routes {
            telling.meters(route.uri.path(), route.method, "2xx");
        }
        telling
    }

    /// Routes are templates, so there are few.
    fn meters(&self, route: &str, method: Method, class: &'static str) -> Meters {
        let known = self.meters.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(meters) = known.get(route).and_then(|of_route| of_route.get(&(method, class))) {
            return meters.clone();
        }
        drop(known);
        let labels = [
            ("route", route.to_owned()),
            ("method", method.as_str().to_owned()),
            ("status_class", class.to_owned()),
        ];
        let meters = Meters {
            requests: metrics::counter!("http_requests_total", &labels),
            duration: metrics::histogram!("http_request_duration_seconds", &labels),
        };
        let mut known = self.meters.write().unwrap_or_else(PoisonError::into_inner);
        known.entry(route.to_owned()).or_default().insert((method, class), meters.clone());
        meters
    }
}

#[rocket::async_trait]
impl Fairing for Telling {
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
            ("Content-Security-Policy", policy(request)),
        ] {
            if !response.headers().contains(name) {
                response.set_header(Header::new(name, value));
            }
        }
        if let Some(Some(allowance)) = context.allowance.get() {
            allowance.tell(response);
        }
        tell(self, request, context, response.status().code);
    }
}

/// Nothing may run or load, but for the page that shows the API, which styles itself inline.
fn policy(request: &Request<'_>) -> &'static str {
    if request.route().is_some_and(|route| route.uri.path().starts_with("/docs")) {
        return "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; \
                img-src 'self' data:; connect-src 'self'; base-uri 'none'; frame-ancestors 'none'";
    }
    "default-src 'none'; frame-ancestors 'none'"
}

fn tell(telling: &Telling, request: &Request<'_>, context: &RequestContext, status: u16) {
    let elapsed = context.started.elapsed();
    let route = request.route().map_or("unmatched", |route| route.uri.path());
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
        method = method.as_str(),
        route,
        status,
        latency_us = u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX),
        "answered"
    );
    let meters = telling.meters(route, method, class);
    meters.requests.increment(1);
    meters.duration.record(elapsed.as_secs_f64());
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
            slots,
        };
        let edge = Edge::new(limits);
        let rocket =
            rocket::custom(rocket::Config { log_level: rocket::config::LogLevel::Off, ..Default::default() })
                .mount("/", edge.surround(Treatment::Ordinary, rocket::routes![quick, slow, panics]))
                .mount("/stream", edge.surround(Treatment::Stream, rocket::routes![quick, slow]))
                .mount("/operation", edge.surround(Treatment::Operation, rocket::routes![quick]))
                .register("/", rocket::catchers![default_catcher])
                .attach(Telling::default());
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
    async fn late_and_panicking_handlers_are_answered_by_problems() {
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
        assert_eq!(late, "/problems/deadline", "one that does not begin is late like any other");
    }

    #[rocket::async_test]
    async fn a_wrong_method_is_told_the_right_ones_and_a_wrong_path_is_not_found() {
        let client = client(8).await;
        let response = client.post("/quick").dispatch().await;
        assert_eq!(
            (response.status(), response.headers().get_one("Allow")),
            (Status::MethodNotAllowed, Some("GET, HEAD"))
        );
        assert_eq!(problem_of(&client, "/nowhere").await, (Status::NotFound, "/problems/not-found".into()));
    }

    #[derive(Clone, Default)]
    struct Written(Arc<std::sync::Mutex<Vec<u8>>>);

    impl std::io::Write for Written {
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
        let written = Written::default();
        let writer = written.clone();
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
        let log = String::from_utf8(written.0.lock().expect("a lock").clone()).expect("UTF-8");
        assert!(!log.contains("4111"), "{log}");
        let answered: Vec<&str> = log.lines().filter(|line| line.contains("\"answered\"")).collect();
        assert_eq!(answered.len(), 3, "{log}");
        for (line, route) in answered.iter().zip(["/quick", "unmatched", "/panics"]) {
            assert!(line.contains(&format!("\"route\":\"{route}\"")), "{line}");
            assert!(line.contains("my-request-1") && line.contains("latency_us"), "{line}");
        }
    }

    #[rocket::async_test]
    async fn every_answer_names_its_request_and_is_not_stored() {
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
