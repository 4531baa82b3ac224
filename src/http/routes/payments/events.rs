//! Payment events: clients report what happened to payments after their decisions.

use rocket::http::Status;
use rocket::{Route, get, post, routes};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::domain::payment_event::{EventKind, PaymentEvent};
use crate::http::edge::guard::{Caller, PaymentsRead, PaymentsWrite};
use crate::http::openapi::problems::{ReportEventProblems, SublistProblems};
use crate::http::request::body::JsonBody;
use crate::http::request::codecs::{Or, Text, named, optional_time, or, text};
use crate::http::request::declaration::{body, named};
use crate::http::request::query::Query;
use crate::http::response::moment::Moment;
use crate::http::response::problem::Problem;
use crate::http::response::{ApiResponse, Page};
use crate::http::routes::payments::payment_id;
use crate::http::services::ServiceState;
use crate::storage::payment_events::{self, NewPaymentEvent};

/// A client's clock may be ahead by this much.
const AHEAD_MAX_MS: u64 = 60_000;

pub fn routes() -> Vec<Route> {
    routes![report_event, events]
}

named! {
    pub struct EventKindShape(EventKind) as "PaymentEventKind";
}

body! {
    pub struct EventBody as "NewPaymentEvent" {
        /// What happened, or how a review in the client's own back office ended.
        kind: EventKind = named::<EventKindShape>(),
        /// When it happened: not before the payment was received and not in the future. Default: now. Set
        /// this to make a repeated request recognisable as a repetition.
        at_ms: Option<u64> = optional_time(),
        note: String = note(),
    }
    check |fields, at_ms| {
        if at_ms.is_some_and(|at_ms| at_ms > fields.now_ms().saturating_add(AHEAD_MAX_MS)) {
            fields.error("at_ms", "is in the future");
        }
    }
}

/// In characters.
pub const NOTE_LENGTH_MAX: usize = 500;

/// The note of an event, for reported and imported events.
pub fn note() -> Or<Text> {
    or(text(NOTE_LENGTH_MAX), String::new())
}

/// Something that happened to a payment after its decision.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = PaymentEvent)]
pub struct EventShape {
    pub id: Uuid,
    pub kind: EventKindShape,
    /// When it happened, as reported.
    pub at_ms: Moment,
    /// When it was reported.
    pub recorded_at_ms: Moment,
    pub actor: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    #[schema(required = false)]
    pub note: String,
}

impl From<PaymentEvent> for EventShape {
    fn from(event: PaymentEvent) -> Self {
        Self {
            id: event.id,
            kind: event.kind.into(),
            at_ms: event.at_ms.into(),
            recorded_at_ms: event.recorded_at_ms.into(),
            actor: event.actor,
            note: event.note,
        }
    }
}

/// Reports what happened to a payment after its decision.
///
/// A repeated request with the same kind and `at_ms` returns the first event with status 200.
#[utoipa::path(
    tag = "payments",
    request_body(content = EventBody, content_type = "application/json"),
    responses(
        (status = 201, body = EventShape, description = "Reported"),
        (status = 200, body = EventShape, description = "Already reported: the first event"),
        ReportEventProblems,
    ),
    security(("oauth" = ["payments:write"]))
)]
#[post("/payments/<id>/events", data = "<body>")]
pub async fn report_event(
    caller: Caller<PaymentsWrite>,
    id: &str,
    services: &ServiceState,
    body: JsonBody,
) -> Result<ApiResponse, Problem> {
    let payment = payment_id(id).ok_or(Problem::not_found("payment"))?;
    let now_ms = services.world.now_ms();
    let EventBody { kind, at_ms, note } = body.read(now_ms)?;
    let event = NewPaymentEvent {
        id: services.world.uuid_v7(now_ms),
        review_id: services.world.uuid_v7(now_ms),
        payment,
        kind,
        at_ms,
        recorded_at_ms: now_ms,
        actor: caller.actor(),
        note,
    };
    let told =
        payment_events::record(&services.app, caller.tenant, event, services.quotas.payment_events_max)
            .await?;
    let status = if told.first { Status::Created } else { Status::Ok };
    ApiResponse::json(status, &EventShape::from(told.event))
}

/// Lists the reported events of a payment, in the order they were reported.
#[utoipa::path(
    tag = "payments",
    params(
        ("limit" = Option<u32>, Query, description = "Page size, 1 to 200. Default: 50"),
        ("cursor" = Option<String>, Query),
    ),
    responses((status = 200, body = Page<EventShape>), SublistProblems),
    security(("oauth" = ["payments:read"]))
)]
#[get("/payments/<id>/events")]
pub async fn events(
    caller: Caller<PaymentsRead>,
    id: &str,
    query: Query,
    services: &ServiceState,
) -> Result<ApiResponse, Problem> {
    let not_found = Problem::not_found("payment");
    let Some(payment) = payment_id(id) else { return Err(not_found) };
    let page = query.page(&services.cursors, caller.tenant, &format!("events {payment}"))?;
    let after = page.position::<Uuid>()?;
    let found =
        payment_events::list(&services.app, caller.tenant, payment, after, page.fetch_limit()).await?;
    let (found, next_cursor) =
        page.cut(&services.cursors, found.ok_or(not_found)?, |event| event.id.to_string());
    let items: Vec<EventShape> = found.into_iter().map(EventShape::from).collect();
    ApiResponse::json(Status::Ok, &Page { items, next_cursor })
}
