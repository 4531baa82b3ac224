//! Reviews: the queue of what waits for a person.
//!
//! Only people decide. Messages of rules must only be shown to tokens with the scope
//! `decisions:read`.

use rocket::http::Status;
use rocket::{Route, get, post, routes};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::auth::token::Subject;
use crate::domain::money::Currency;
use crate::domain::review::{NOTE_LENGTH_MAX, ReviewCause, ReviewId, ReviewOutcome, ReviewState};
use crate::domain::tenant::Scope;
use crate::http::edge::guard::{Caller, PersonWith, ReviewsRead, ReviewsWrite};
use crate::http::openapi::problems::{DecideReviewProblems, ListProblems, ReadProblems, ReviewProblems};
use crate::http::request::body::JsonBody;
use crate::http::request::codecs::{named, text};
use crate::http::request::declaration::{body, named};
use crate::http::request::query::Query;
use crate::http::response::moment::Moment;
use crate::http::response::problem::Problem;
use crate::http::response::{ApiResponse, Page};
use crate::http::routes::payments::ReasonShape;
use crate::http::routes::payments::events::EventShape;
use crate::http::routes::payments::search::amount_minor;
use crate::http::services::ServiceState;
use crate::storage::reviews::{self, Review, ReviewFilter};

const DAY_MS: u64 = 86_400_000;

pub fn routes() -> Vec<Route> {
    routes![list, summary, one, claim, hand_back, decide]
}

named! {
    /// A claim ends by itself. `expired` means that nobody decided in time.
    pub struct ReviewStateShape(ReviewState) as "ReviewState";
}

named! {
    pub struct ReviewCauseShape(ReviewCause) as "ReviewCause";
}

named! {
    pub struct ReviewOutcomeShape(ReviewOutcome) as "ReviewOutcome";
}

body! {
    pub struct ReviewDecisionBody as "NewReviewDecision" {
        outcome: ReviewOutcome = named::<ReviewOutcomeShape>(),
        /// Why. It is erased with the personal data of the payment.
        note: String = text(NOTE_LENGTH_MAX),
    }
}

/// What became of a payment's newest review.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = PaymentReview)]
pub struct PaymentReviewShape {
    pub id: Uuid,
    pub state: ReviewStateShape,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcome: Option<ReviewOutcomeShape>,
    /// `user:` followed by the person's id, or the part of Tollgate that let it expire.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decided_by: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decided_by_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decided_at_ms: Option<Moment>,
}

impl From<Review> for PaymentReviewShape {
    fn from(review: Review) -> Self {
        let state = review.state().into();
        let concluded = review.conclusion.as_ref();
        Self {
            id: review.id.0,
            state,
            outcome: concluded.map(|it| it.outcome.into()),
            decided_at_ms: concluded.map(|it| it.at_ms.into()),
            decided_by: concluded.map(|it| it.by.clone()),
            decided_by_name: review.conclusion.and_then(|it| it.name),
        }
    }
}

/// A payment that waits for a person, or did.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Review)]
pub struct ReviewShape {
    /// The id of the decision that opened it, or one of its own if an event did.
    pub id: Uuid,
    /// Also the id of the decision.
    pub payment_id: Uuid,
    pub state: ReviewStateShape,
    /// What opened it.
    pub cause: ReviewCauseShape,
    pub opened_at_ms: Moment,
    /// When it ends by itself, whoever has claimed it. Absent if it does not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at_ms: Option<Moment>,
    pub amount_minor: i64,
    pub currency: String,
    /// Absent once it has been erased.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
    /// Of the decision. Absent once they have been erased.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reasons: Option<Vec<ReasonShape>>,
    /// How many events opened or joined it.
    pub event_count: usize,
    /// The id of the person who works on it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub claimed_by: Option<Uuid>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub claimed_by_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub claimed_until_ms: Option<Moment>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcome: Option<ReviewOutcomeShape>,
    /// `user:` followed by the person's id, or the part of Tollgate that let it expire.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decided_by: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decided_by_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decided_at_ms: Option<Moment>,
    /// Not in lists. Absent once it has been erased.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

impl ReviewShape {
    fn of(review: Review, in_full: bool) -> Self {
        let (state, cause) = (review.state().into(), review.cause().into());
        let reasons =
            |reasons: Vec<_>| reasons.iter().map(|reason| ReasonShape::of(reason, in_full)).collect();
        let (claim, concluded) = (review.claim, review.conclusion);
        Self {
            id: review.id.0,
            payment_id: review.payment.0,
            state,
            cause,
            opened_at_ms: review.opened_at_ms.into(),
            expires_at_ms: review.expires_at_ms.map(Moment),
            amount_minor: review.amount_minor,
            currency: review.currency,
            reference: review.reference,
            reasons: review.reasons.map(reasons),
            event_count: review.events,
            claimed_by: claim.as_ref().map(|claim| claim.by.0),
            claimed_until_ms: claim.as_ref().map(|claim| claim.until_ms.into()),
            claimed_by_name: claim.and_then(|claim| claim.name),
            outcome: concluded.as_ref().map(|it| it.outcome.into()),
            decided_at_ms: concluded.as_ref().map(|it| it.at_ms.into()),
            decided_by: concluded.as_ref().map(|it| it.by.clone()),
            decided_by_name: concluded.as_ref().and_then(|it| it.name.clone()),
            note: concluded.and_then(|it| it.note),
        }
    }
}

/// A review with the events that opened or joined it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ReviewWithEvents)]
pub struct ReviewWithEventsShape {
    #[serde(flatten)]
    pub review: ReviewShape,
    /// In the order of their reports.
    pub events: Vec<EventShape>,
}

/// How much is in the queue.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ReviewSummary)]
pub struct ReviewSummaryShape {
    /// Of open and claimed reviews the oldest 100,000 are counted.
    pub open: u64,
    pub claimed: u64,
    /// Absent if nothing is open.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oldest_open_at_ms: Option<Moment>,
    /// The age of the oldest open review, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oldest_open_age_s: Option<u64>,
    pub decided_today: u64,
}

/// Lists reviews, the oldest first. All conditions must hold.
#[utoipa::path(
    tag = "reviews",
    params(
        (
            "state" = Option<Vec<ReviewStateShape>>, Query, style = Form, explode = false,
            description = "Any of these, separated by commas. Default: all"
        ),
        ("mine" = Option<bool>, Query, description = "`true`: claimed or decided by the caller, who must be a person"),
        ("cause" = Option<ReviewCauseShape>, Query, description = "What opened the review"),
        ("from_ms" = Option<u64>, Query, description = "Only reviews opened at or after this time"),
        ("to_ms" = Option<u64>, Query, description = "Only reviews opened before this time"),
        ("currency" = Option<String>, Query),
        (
            "amount_at_least" = Option<i64>, Query,
            description = "In minor units. Without a currency, of all currencies"
        ),
        ("amount_below" = Option<i64>, Query, description = "In minor units"),
        ("limit" = Option<u32>, Query, description = "Page size, 1 to 200. Default: 50"),
        ("cursor" = Option<String>, Query),
    ),
    responses((status = 200, body = Page<ReviewShape>), ListProblems),
    security(("oauth" = ["reviews:read"]))
)]
#[get("/reviews")]
pub async fn list(
    caller: Caller<ReviewsRead>,
    mut query: Query,
    services: &ServiceState,
) -> Result<ApiResponse, Problem> {
    let filter = filter_of(&mut query, caller.subject);
    let page = query.page(&services.cursors, caller.tenant, "reviews")?;
    let after = page.position::<Uuid>()?.map(ReviewId);
    let now_ms = services.world.now_ms();
    let found =
        reviews::list(&services.app, caller.tenant, filter, after, page.fetch_limit(), now_ms).await?;
    let (found, next_cursor) = page.cut(&services.cursors, found, |review| review.id.to_string());
    let in_full = caller.has(Scope::DecisionsRead);
    let shape = |review| ReviewShape { note: None, ..ReviewShape::of(review, in_full) };
    let items: Vec<ReviewShape> = found.into_iter().map(shape).collect();
    ApiResponse::json(Status::Ok, &Page { items, next_cursor })
}

fn filter_of(query: &mut Query, caller: Subject) -> ReviewFilter {
    let state = |name: &str| ReviewState::parse(name).ok_or("expected open, claimed, decided or expired");
    let mine = |text: &str| match (text, caller) {
        ("true", Subject::User { id, .. }) => Ok(Some(id)),
        ("true", Subject::Client { .. }) => Err("only people have reviews of their own"),
        ("false", _) => Ok(None),
        _ => Err("expected true or false"),
    };
    ReviewFilter {
        states: query.list("state", state),
        of_person: query.parsed("mine", mine).flatten(),
        cause: query.parsed("cause", |name| ReviewCause::parse(name).ok_or("expected decision or event")),
        from_ms: query.time_ms("from_ms"),
        to_ms: query.time_ms("to_ms"),
        currency: query.parsed("currency", Currency::parse),
        amount_at_least: query.parsed("amount_at_least", amount_minor),
        amount_below: query.parsed("amount_below", amount_minor),
    }
}

/// Says how much waits, and how many were decided today.
#[utoipa::path(
    tag = "reviews",
    params((
        "since_ms" = Option<u64>, Query,
        description = "Reviews that were decided since this time count as decided today. Default: the last midnight in UTC"
    )),
    responses((status = 200, body = ReviewSummaryShape), ListProblems),
    security(("oauth" = ["reviews:read"]))
)]
#[get("/reviews/summary")]
pub async fn summary(
    caller: Caller<ReviewsRead>,
    mut query: Query,
    services: &ServiceState,
) -> Result<ApiResponse, Problem> {
    let now_ms = services.world.now_ms();
    let since_ms = query.time_ms("since_ms").unwrap_or(now_ms - now_ms % DAY_MS);
    query.finish()?;
    let found = reviews::summary(&services.app, caller.tenant, since_ms, now_ms).await?;
    let age_s = |opened_at_ms| now_ms.saturating_sub(opened_at_ms) / 1_000;
    let shape = ReviewSummaryShape {
        open: found.open,
        claimed: found.claimed,
        oldest_open_at_ms: found.oldest_open_at_ms.map(Moment),
        oldest_open_age_s: found.oldest_open_at_ms.map(age_s),
        decided_today: found.decided,
    };
    ApiResponse::json(Status::Ok, &shape)
}

/// Returns a review with the events that opened or joined it.
#[utoipa::path(
    tag = "reviews",
    responses((status = 200, body = ReviewWithEventsShape), ReadProblems),
    security(("oauth" = ["reviews:read"]))
)]
#[get("/reviews/<id>")]
pub async fn one(
    caller: Caller<ReviewsRead>,
    id: &str,
    services: &ServiceState,
) -> Result<ApiResponse, Problem> {
    let found = reviews::get(&services.app, caller.tenant, review_id(id)?, services.world.now_ms()).await?;
    let (review, events) = found.ok_or(Problem::not_found("review"))?;
    let review = ReviewShape::of(review, caller.has(Scope::DecisionsRead));
    let events = events.into_iter().map(EventShape::from).collect();
    ApiResponse::json(Status::Ok, &ReviewWithEventsShape { review, events })
}

/// Claims a review for a while, so that nobody else works on it. Claiming it again renews the claim.
#[utoipa::path(
    tag = "reviews",
    responses((status = 200, body = ReviewShape), ReviewProblems),
    security(("oauth" = ["reviews:write"]))
)]
#[post("/reviews/<id>/claim")]
pub async fn claim(
    person: PersonWith<ReviewsWrite>,
    id: &str,
    services: &ServiceState,
) -> Result<ApiResponse, Problem> {
    let review = services.reviews.claim(person.tenant, person.user, review_id(id)?).await?;
    ApiResponse::json(Status::Ok, &ReviewShape::of(review, person.has(Scope::DecisionsRead)))
}

/// Hands a review back before the claim ends. Without a claim, nothing changes.
#[utoipa::path(
    tag = "reviews",
    responses((status = 200, body = ReviewShape), ReviewProblems),
    security(("oauth" = ["reviews:write"]))
)]
#[post("/reviews/<id>/hand-back")]
pub async fn hand_back(
    person: PersonWith<ReviewsWrite>,
    id: &str,
    services: &ServiceState,
) -> Result<ApiResponse, Problem> {
    let review = services.reviews.hand_back(person.tenant, person.user, review_id(id)?).await?;
    ApiResponse::json(Status::Ok, &ReviewShape::of(review, person.has(Scope::DecisionsRead)))
}

/// Decides a review that nobody else has claimed.
///
/// The decision of the payment stays as it is. A repeated request of the same person with the same
/// outcome and note returns the same answer.
#[utoipa::path(
    tag = "reviews",
    request_body(content = ReviewDecisionBody, content_type = "application/json"),
    responses((status = 200, body = ReviewShape), DecideReviewProblems),
    security(("oauth" = ["reviews:write"]))
)]
#[post("/reviews/<id>/decision", data = "<body>")]
pub async fn decide(
    person: PersonWith<ReviewsWrite>,
    id: &str,
    services: &ServiceState,
    body: JsonBody,
) -> Result<ApiResponse, Problem> {
    let id = review_id(id)?;
    let ReviewDecisionBody { outcome, note } = body.read(services.world.now_ms())?;
    let review = services.reviews.decide(person.tenant, person.user, id, outcome, note).await?;
    ApiResponse::json(Status::Ok, &ReviewShape::of(review, person.has(Scope::DecisionsRead)))
}

fn review_id(text: &str) -> Result<ReviewId, Problem> {
    text.parse().map(ReviewId).map_err(|_| Problem::not_found("review"))
}
