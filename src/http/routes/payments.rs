//! Payments: submitting, reading and searching them.
//!
//! Messages of rules and evidence must only be shown to tokens with the scope `decisions:read`.

pub mod body;
pub mod events;
pub mod import_line;
mod parties;
pub mod search;
mod signals;

use std::str::FromStr;

use rocket::http::Status;
use rocket::{Route, get, post, routes};
use serde::Serialize;
use tokio::time::Instant;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::auth::token::Subject;
use crate::decisions::stages::Stage;
use crate::decisions::submit::PaymentSubmission;
use crate::domain::decision::IdempotencyKey;
use crate::domain::payment::{PaymentId, PaymentOrder};
use crate::domain::tenant::Scope;
use crate::domain::verdict::{Outcome, OutcomeReason};
use crate::http::edge::context::RequestContext;
use crate::http::edge::guard::{Caller, Client, IdempotencyKeyHeader, PaymentsRead, PaymentsWrite};
use crate::http::openapi::problems::{ReadProblems, SearchProblems, SubmitProblems};
use crate::http::request::body::JsonBody;
use crate::http::request::card_numbers::{key_error, refused};
use crate::http::request::declaration::named;
use crate::http::request::fields::Screened;
use crate::http::request::query::Query;
use crate::http::response::moment::{Moment, MomentOrNull};
use crate::http::response::problem::{Problem, ProblemKind};
use crate::http::response::{ApiResponse, Page};
use crate::http::routes::payments::body::{PaymentShape, not_stored_yet};
use crate::http::routes::payments::events::EventKindShape;
use crate::http::routes::payments::search::filter_of;
use crate::http::routes::reviews::PaymentReviewShape;
use crate::http::services::ServiceState;
use crate::storage::decisions::{self, DecisionPage, FoundDecision, StoredDecision};
use crate::storage::{StorageError, payment_events, reviews};

pub fn routes() -> Vec<Route> {
    routes![submit, list, one]
}

named! {
    pub struct OutcomeShape(Outcome) as "Outcome";
}

/// Why an outcome was reached. Every client sees the code; the rest requires `decisions:read`.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Reason)]
pub struct ReasonShape {
    #[schema(example = "amount-above-limit")]
    pub code: String,
    /// Whether an `allow` of another rule cancelled this reason.
    pub overridden: bool,
    /// Name of the rule. Absent if the reason is Tollgate's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verdict: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// JSON pointer into the payment.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
}

impl ReasonShape {
    pub fn of(reason: &OutcomeReason, in_full: bool) -> Self {
        let shown = |text: &String| (in_full && !text.is_empty()).then(|| text.clone());
        Self {
            code: reason.reason.code.clone(),
            overridden: reason.overridden,
            rule: shown(&reason.rule),
            verdict: shown(&reason.verdict),
            message: shown(&reason.reason.message),
            field: reason.reason.field.as_ref().and_then(shown),
        }
    }
}

/// A payment and its decision.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = DecidedPayment)]
pub struct DecidedShape {
    /// UUIDv7. Also the id of the decision.
    pub id: Uuid,
    pub outcome: OutcomeShape,
    pub reasons: Vec<ReasonShape>,
    /// UTC milliseconds since 1970.
    pub received_at_ms: Moment,
    /// The ruleset revision that decided. Absent if none was active.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revision: Option<i32>,
    /// The latest reported event, if any. Only present when a single payment is read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<EventKindShape>,
    /// The newest review, if any. Only present when a single payment is read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub review: Option<PaymentReviewShape>,
    pub payment: PaymentShape,
}

impl DecidedShape {
    fn of(stored: &StoredDecision, in_full: bool) -> Self {
        let (decision, evidence) = (&stored.decision, &stored.decision.evidence);
        Self {
            id: decision.id().0,
            outcome: decision.outcome.into(),
            reasons: shapes_of(&evidence.reasons, in_full),
            received_at_ms: evidence.payment.received_at_ms.into(),
            revision: evidence.revision.map(|revision| revision.number),
            state: None,
            review: None,
            payment: (&evidence.payment.order).into(),
        }
    }
}

/// What is left of a payment whose personal data was erased.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ErasedPayment)]
pub struct ErasedShape {
    #[serde(flatten)]
    pub left: SummaryShape,
    /// Null if an operator erased it in the database, without a record.
    pub erased_at_ms: MomentOrNull,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<EventKindShape>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub review: Option<PaymentReviewShape>,
}

/// A payment with its decision, or what is left of it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ReadPayment)]
#[serde(untagged)]
pub enum ReadShape {
    Decided(Box<DecidedShape>),
    Erased(Box<ErasedShape>),
}

/// A payment in a list.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = PaymentSummary)]
pub struct SummaryShape {
    pub id: Uuid,
    pub outcome: OutcomeShape,
    /// Absent once they have been erased.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reasons: Option<Vec<ReasonShape>>,
    pub received_at_ms: Moment,
    /// Absent once it has been erased.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
    pub amount_minor: i64,
    pub currency: String,
    pub method: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revision: Option<i32>,
    /// The client that submitted the payment.
    pub client: Uuid,
    pub idempotency_key: String,
}

impl SummaryShape {
    fn of(found: FoundDecision, in_full: bool) -> Self {
        let FoundDecision { summary, reasons } = found;
        Self {
            id: summary.id.0,
            outcome: summary.outcome.into(),
            reasons: reasons.map(|reasons| shapes_of(&reasons, in_full)),
            received_at_ms: summary.received_at_ms.into(),
            reference: summary.reference,
            amount_minor: summary.amount_minor,
            currency: summary.currency,
            method: summary.method,
            revision: summary.revision,
            client: summary.client.0,
            idempotency_key: summary.key,
        }
    }
}

fn shapes_of(reasons: &[OutcomeReason], in_full: bool) -> Vec<ReasonShape> {
    reasons.iter().map(|reason| ReasonShape::of(reason, in_full)).collect()
}

/// Submits a payment and returns the decision once it is stored.
///
/// A repeated request with the same Idempotency-Key and an equivalent JSON body returns the same
/// decision, with status 200 and `Idempotent-Replayed: true`. After a timeout, a 5xx response or a lost
/// connection the outcome is unknown: repeat the request with the same key. A 4xx response does not use
/// up the key.
#[utoipa::path(
    tag = "payments",
    params((
        "Idempotency-Key" = String,
        Header,
        description = "1 to 255 visible ASCII characters, unique for each payment"
    )),
    request_body(content = PaymentShape, content_type = "application/json"),
    responses(
        (
            status = 201,
            body = DecidedShape,
            description = "Decided and stored",
            headers(("Location", description = "URL of the payment"))
        ),
        (
            status = 200,
            body = DecidedShape,
            description = "A retry: the original decision",
            headers(("Idempotent-Replayed", description = "true"))
        ),
        SubmitProblems,
    ),
    security(("oauth" = ["payments:write"]))
)]
#[post("/payments", data = "<body>")]
pub async fn submit(
    client: Client<PaymentsWrite>,
    key: IdempotencyKeyHeader,
    context: &RequestContext,
    services: &ServiceState,
    body: JsonBody,
) -> Result<ApiResponse, Problem> {
    let Screened { value: order, mut refused_now } = body.screen::<PaymentOrder>(services.world.now_ms())?;
    refused_now.extend(key_error(&key.0, body.unchecked()));
    refused_now.extend(not_stored_yet(services.submissions.journal.evidence_version(), &order, ""));
    let submission = PaymentSubmission {
        tenant: client.tenant,
        client: client.id,
        key: key.0,
        order,
        deadline: context.started + services.submission_deadline,
    };
    let stages = &services.submissions.stages;
    stages.took_since(Stage::Request, context.started);
    let submitted = if refused_now.is_empty() {
        services.submissions.submit(submission, || body.hash()).await?
    } else {
        // A payment that was stored when such values were accepted still gets its decision.
        let repeated = services.submissions.repeated(&submission, || body.hash()).await?;
        repeated.ok_or_else(|| refused(refused_now))?
    };
    let decided = Instant::now();
    let shape = DecidedShape::of(&submitted.decision, client.has(Scope::DecisionsRead));
    let location = format!("/api/v1/payments/{}", shape.id);
    let answer = if submitted.first {
        ApiResponse::json(Status::Created, &shape)?.with("Location", location)
    } else {
        ApiResponse::json(Status::Ok, &shape)?
            .with("Content-Location", location)
            .with("Idempotent-Replayed", "true")
    };
    stages.took_since(Stage::Answer, decided);
    Ok(answer)
}

/// Searches the tenant's payments.
///
/// All conditions must hold. Values match in any spelling. A page may have fewer items than `limit`,
/// even none, and still a `next_cursor`: then the search has looked at enough for one request. It is at
/// its end when there is no `next_cursor`.
#[utoipa::path(
    tag = "payments",
    params(
        (
            "outcome" = Option<Vec<OutcomeShape>>, Query, style = Form, explode = false,
            description = "Any of these, separated by commas"
        ),
        ("from_ms" = Option<u64>, Query, description = "Only payments received at or after this time"),
        ("to_ms" = Option<u64>, Query, description = "Only payments received before this time"),
        ("reference" = Option<String>, Query),
        ("end_to_end_id" = Option<String>, Query),
        ("uetr" = Option<String>, Query),
        ("account" = Option<String>, Query, description = "An account of the debtor or the creditor"),
        ("customer" = Option<String>, Query),
        ("merchant" = Option<String>, Query),
        ("card" = Option<String>, Query, description = "The fingerprint of the card"),
        ("currency" = Option<String>, Query),
        ("method" = Option<String>, Query),
        (
            "amount_at_least" = Option<i64>, Query,
            description = "In minor units. Without a currency, of all currencies"
        ),
        ("amount_below" = Option<i64>, Query, description = "In minor units"),
        ("client_id" = Option<Uuid>, Query, description = "The client that submitted the payment"),
        ("revision" = Option<i32>, Query, description = "The ruleset revision that decided"),
        ("origin" = Option<String>, Query, description = "`api` or `import`"),
        ("reason" = Option<String>, Query, description = "The code of one of the decision's reasons"),
        ("event" = Option<EventKindShape>, Query, description = "An event that was reported of the payment"),
        ("order" = Option<String>, Query, description = "`newest` (the default) or `oldest` first"),
        (
            "idempotency_key" = Option<String>, Query,
            description = "The payment that this client submitted with this key. Cannot be combined with \
                           other parameters"
        ),
        ("limit" = Option<u32>, Query, description = "Page size, 1 to 200. Default: 50"),
        ("cursor" = Option<String>, Query),
    ),
    responses((status = 200, body = Page<SummaryShape>), SearchProblems),
    security(("oauth" = ["payments:read"]))
)]
#[get("/payments")]
pub async fn list(
    caller: Caller<PaymentsRead>,
    mut query: Query,
    services: &ServiceState,
) -> Result<ApiResponse, Problem> {
    let in_full = caller.has(Scope::DecisionsRead);
    let expected_key = "expected 1 to 255 visible ASCII characters";
    let key = query.parsed("idempotency_key", |text| IdempotencyKey::parse(text).ok_or(expected_key));
    if let Some(key) = key {
        query.finish()?;
        let Subject::Client { id: client, .. } = caller.subject else {
            let detail = "Each client has keys of its own, so only a client can search by idempotency_key.";
            return Err(Problem::new(ProblemKind::InvalidQuery, detail));
        };
        let found = decisions::found_by_key(&services.app, caller.tenant, client, &key).await?;
        let items = found.map(|found| SummaryShape::of(found, in_full)).into_iter().collect();
        return ApiResponse::json(Status::Ok, &Page { items, next_cursor: None });
    }
    let mut filter = filter_of(&mut query);
    let page = query.page(&services.cursors, caller.tenant, "payments")?;
    filter.position = page.position::<Uuid>()?.map(PaymentId);
    filter.limit = page.fetch_limit();
    let DecisionPage { found, reached } = services.search.search(caller.tenant, &filter).await?;
    let position = |found: &FoundDecision| found.summary.id.to_string();
    let (found, next_cursor) = page.cut(&services.cursors, found, position);
    let goes_on = reached.map(|reached| page.cursor_at(&services.cursors, &reached.to_string()));
    let items = found.into_iter().map(|found| SummaryShape::of(found, in_full)).collect();
    ApiResponse::json(Status::Ok, &Page { items, next_cursor: next_cursor.or(goes_on) })
}

/// Returns a payment with its decision. If it was erased, returns what is left.
#[utoipa::path(
    tag = "payments",
    responses((status = 200, body = ReadShape), ReadProblems),
    security(("oauth" = ["payments:read"]))
)]
#[get("/payments/<id>")]
pub async fn one(
    caller: Caller<PaymentsRead>,
    id: &str,
    services: &ServiceState,
) -> Result<ApiResponse, Problem> {
    let id = payment_id(id).ok_or(Problem::not_found("payment"))?;
    let not_found = || Problem::not_found("payment");
    let state = payment_events::last(&services.app, caller.tenant, id).await?.map(EventKindShape::from);
    let review = reviews::of_payment(&services.app, caller.tenant, id, services.world.now_ms()).await?;
    let review = review.map(PaymentReviewShape::from);
    let shape = match decisions::get(&services.app, caller.tenant, id).await {
        Err(StorageError::Erased) => {
            let left = decisions::erased(&services.app, caller.tenant, id).await?.ok_or_else(not_found)?;
            let found = FoundDecision { summary: left.summary, reasons: None };
            let (erased_at_ms, left) = (MomentOrNull(left.erased_at_ms), SummaryShape::of(found, false));
            ReadShape::Erased(Box::new(ErasedShape { left, erased_at_ms, state, review }))
        }
        stored => {
            let stored = stored?.ok_or_else(not_found)?;
            let decided = DecidedShape::of(&stored, caller.has(Scope::DecisionsRead));
            ReadShape::Decided(Box::new(DecidedShape { state, review, ..decided }))
        }
    };
    ApiResponse::json(Status::Ok, &shape)
}

/// `None` for a malformed id, which no payment can have.
pub fn payment_id(text: &str) -> Option<PaymentId> {
    Uuid::from_str(text).ok().map(PaymentId)
}
