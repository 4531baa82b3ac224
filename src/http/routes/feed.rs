//! The live feed: decisions and administrative acts as server-sent events.
//!
//! A stream reads the next events only after the client has taken the previous ones, and ends
//! when the token expires.

use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::future::select;
use futures::stream::{self, BoxStream};
use rocket::http::Header;
use rocket::request::{FromRequest, Outcome};
use rocket::response::stream::{Event, EventStream};
use rocket::response::{self, Responder};
use rocket::tokio::time::sleep;
use rocket::{Request, Route, Shutdown, State, get, routes};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::auth::token::{AccessTokens, Subject};
use crate::decisions::feed::{Feed, FeedEvent, FeedItem, FeedPosition, FeedSubscriber};
use crate::domain::audit::{Action, AuditEvent};
use crate::domain::review::ReviewOutcome;
use crate::domain::tenant::Scope;
use crate::domain::time::World;
use crate::domain::verdict::OutcomeReason;
use crate::http::edge::guard::{Caller, DecisionsRead};
use crate::http::edge::streams::{StreamSlot, Streams};
use crate::http::openapi::problems::FeedProblems;
use crate::http::response::moment::{Moment, to_json};
use crate::http::response::problem::{Problem, ProblemKind};
use crate::http::routes::audit::AuditEventShape;
use crate::http::routes::payments::OutcomeShape;
use crate::http::routes::reviews::ReviewOutcomeShape;
use crate::http::services::{ServiceState, Tokens};
use crate::storage::StorageError;
use crate::storage::decisions::NewDecision;

const READ_EVERY: Duration = Duration::from_millis(500);

/// Shorter than the timeouts of common proxies. A heartbeat also reveals that a client is gone.
const HEARTBEAT_EVERY: Duration = Duration::from_secs(15);

/// How long a browser waits before it connects again.
const RETRY_AFTER: Duration = Duration::from_secs(2);

pub fn routes() -> Vec<Route> {
    routes![follow]
}

/// The data of a `decision` event.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = DecisionEvent)]
pub struct DecisionEventShape {
    pub id: Uuid,
    pub outcome: OutcomeShape,
    /// Codes of all reasons, including overridden ones. Absent once they have been erased.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reasons: Option<Vec<String>>,
    pub amount_minor: i64,
    pub currency: String,
    pub method: String,
    /// Absent once it has been erased.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
    pub received_at_ms: Moment,
    /// Absent if no ruleset was active.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revision: Option<i32>,
    /// The client that submitted the payment.
    pub client: Uuid,
}

impl From<NewDecision> for DecisionEventShape {
    fn from(decision: NewDecision) -> Self {
        let codes = |reasons: Vec<_>| reasons.into_iter().map(code_of).collect();
        let summary = decision.summary;
        Self {
            id: summary.id.0,
            outcome: summary.outcome.into(),
            reasons: decision.reasons.map(codes),
            amount_minor: summary.amount_minor,
            currency: summary.currency,
            method: summary.method,
            reference: summary.reference,
            received_at_ms: summary.received_at_ms.into(),
            revision: summary.revision,
            client: summary.client.0,
        }
    }
}

/// The data of a `review` event: a review has ended.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ReviewEvent)]
pub struct ReviewEventShape {
    /// Increases in the order in which reviews ended. May have gaps.
    pub sequence: i64,
    pub id: Uuid,
    /// Also the id of the decision.
    pub payment_id: Uuid,
    pub outcome: ReviewOutcomeShape,
    /// Whether nobody decided in time.
    pub expired: bool,
    pub decided_by: String,
    pub decided_at_ms: Moment,
}

/// What the act that ends a review says of it.
#[derive(Deserialize)]
struct ReviewAct {
    payment: Uuid,
    outcome: String,
}

impl TryFrom<AuditEvent> for ReviewEventShape {
    type Error = StorageError;

    fn try_from(event: AuditEvent) -> Result<Self, StorageError> {
        let unreadable = || StorageError::Unreadable { what: "act about a review" };
        let AuditEvent { sequence, act } = event;
        let told: ReviewAct =
            act.after.and_then(|after| serde_json::from_str(&after).ok()).ok_or_else(unreadable)?;
        Ok(Self {
            sequence,
            id: act.subject.parse().map_err(|_| unreadable())?,
            payment_id: told.payment,
            outcome: ReviewOutcome::parse(&told.outcome).ok_or_else(unreadable)?.into(),
            expired: act.action == Action::ReviewExpired,
            decided_by: act.actor.name().to_owned(),
            decided_at_ms: act.at_ms.into(),
        })
    }
}

fn code_of(reason: OutcomeReason) -> String {
    reason.reason.code
}

/// The `id` of an event: the decision's id, and after a dot the sequence of the last act.
pub(super) fn text_of(position: FeedPosition) -> String {
    match position.sequence {
        Some(sequence) => format!("{}.{sequence}", position.decision),
        None => position.decision.to_string(),
    }
}

fn parse_position(text: &str) -> Option<FeedPosition> {
    let (decision, sequence) = match text.split_once('.') {
        Some((decision, sequence)) => (decision, Some(sequence.parse().ok().filter(|at: &i64| *at >= 0)?)),
        None => (text, None),
    };
    Some(FeedPosition { decision: Uuid::from_str(decision).ok()?, sequence })
}

/// The header Last-Event-ID: the position after which the client resumes.
#[derive(Debug)]
pub struct LastEventId(Option<FeedPosition>);

#[rocket::async_trait]
impl<'r> FromRequest<'r> for LastEventId {
    type Error = ProblemKind;

    async fn from_request(request: &'r Request<'_>) -> Outcome<Self, ProblemKind> {
        let mut headers = request.headers().get("Last-Event-ID");
        match (headers.next(), headers.next()) {
            // By the specification of server-sent events, an empty id is the same as no id.
            (None, _) | (Some(""), None) => Outcome::Success(Self(None)),
            (Some(text), None) if let Some(position) = parse_position(text) => {
                Outcome::Success(Self(Some(position)))
            }
            _ => {
                let detail = "Last-Event-ID must be the id of an event of this feed.";
                Problem::new(ProblemKind::MalformedRequest, detail).refuse(request)
            }
        }
    }
}

/// The source of one stream's events.
struct FeedStream {
    feed: Feed,
    world: World,
    tokens: Arc<AccessTokens>,
    /// Whose token it is. If it is revoked, the stream ends.
    subject: Subject,
    valid_until_ms: u64,
    /// Whether the last read failed. Only the first failure in a row is logged.
    failed: bool,
    _slot: StreamSlot,
}

impl FeedStream {
    /// Waits for the next events. `None` if the token has expired or was revoked, or if reading
    /// cannot continue.
    async fn next(mut self) -> Option<(Vec<Event>, Self)> {
        loop {
            if self.failed || !self.feed.is_behind() {
                sleep(READ_EVERY).await;
            }
            if self.world.now_ms() >= self.valid_until_ms || self.tokens.has_revoked(self.subject) {
                return None;
            }
            match self.read().await {
                Ok(events) if events.is_empty() => {}
                Ok(events) => return Some((events, self)),
                Err(error @ (StorageError::Unavailable(_) | StorageError::Abandoned)) => {
                    if !self.failed {
                        tracing::warn!(?error, "an event stream is waiting for the database");
                    }
                    self.failed = true;
                }
                Err(error) => {
                    tracing::error!(?error, "an event stream cannot continue");
                    return None;
                }
            }
        }
    }

    async fn read(&mut self) -> Result<Vec<Event>, StorageError> {
        let told = self.feed.next(self.world.now_ms()).await?;
        self.failed = false;
        told.into_iter().map(event).collect()
    }
}

fn event(told: FeedEvent) -> Result<Event, StorageError> {
    let event = match told.news {
        FeedItem::Decision(decision) => json(&DecisionEventShape::from(decision))?.event("decision"),
        FeedItem::Act(act) => json(&AuditEventShape::try_from(act)?)?.event("audit"),
        FeedItem::Review(act) => json(&ReviewEventShape::try_from(act)?)?.event("review"),
    };
    Ok(event.id(text_of(told.position)))
}

fn json(shape: &impl Serialize) -> Result<Event, StorageError> {
    let json = to_json(shape).ok().and_then(|json| String::from_utf8(json).ok());
    json.map(Event::data).ok_or(StorageError::Unreadable { what: "event of the feed" })
}

/// The response: events until the token expires or the server stops.
pub struct Events(EventStream<BoxStream<'static, Event>>);

impl<'r> Responder<'r, 'r> for Events {
    fn respond_to(self, request: &'r Request<'_>) -> response::Result<'r> {
        let mut response = self.0.respond_to(request)?;
        // The connection closes after the stream, so that a shutdown need not wait for it.
        response.set_header(Header::new("Connection", "close"));
        // Otherwise some proxies would buffer the response and delay events.
        response.set_header(Header::new("X-Accel-Buffering", "no"));
        Ok(response)
    }
}

/// Streams decisions and administrative acts as they happen.
///
/// Server-sent events: `decision` carries a `DecisionEvent`, `review` a `ReviewEvent` once a review was
/// decided or has expired, and `audit` an `AuditEvent` if the token also has the scope `audit:read`. Events arrive within about a second, whichever node made the
/// decision.
///
/// The stream starts with new events. With `Last-Event-ID` it resumes after the event with that `id`,
/// however long ago it was. After resuming, some events may be sent again: identify a decision by the
/// `id` in its data, and a review or an act by its `sequence`. Decisions arrive almost in the order of
/// their ids, reviews and acts in the order of their sequences.
///
/// A comment is sent every 15 seconds. The stream ends when the access token expires or is revoked, or
/// the server stops: reconnect with a new token and the last `id`. A tenant can have at most 8 streams per node. A
/// client that disconnected silently counts until the next comment. Imported payments are not included.
#[utoipa::path(
    tag = "events",
    params((
        "Last-Event-ID" = Option<String>,
        Header,
        description = "The `id` of the last event received"
    )),
    responses((status = 200, body = String, content_type = "text/event-stream"), FeedProblems),
    security(("oauth" = ["decisions:read"]))
)]
#[get("/events")]
pub async fn follow(
    caller: Caller<DecisionsRead>,
    from: LastEventId,
    services: &ServiceState,
    streams: &State<Arc<Streams>>,
    tokens: &State<Tokens>,
    shutdown: Shutdown,
) -> Result<Events, Problem> {
    let (world, valid_until_ms) = (services.world.clone(), caller.valid_until_ms);
    let slot = streams.enter(caller.tenant, world.now_ms(), valid_until_ms)?;
    let follower = FeedSubscriber {
        app: services.app.clone(),
        tenant: caller.tenant,
        sees_acts: caller.has(Scope::AuditRead),
        submission_deadline: services.submission_deadline,
    };
    let feed = Feed::open(follower, from.0, world.now_ms()).await?;
    // Browsers do not dispatch an event without data, but keep its id. A client that loses the
    // connection before the first event resumes from here.
    let begin = Event::retry(RETRY_AFTER).id(text_of(feed.position()));
    let (tokens, subject) = (tokens.0.clone(), caller.subject);
    let source = FeedStream { feed, world, tokens, subject, valid_until_ms, failed: false, _slot: slot };
    let events = stream::unfold(source, FeedStream::next).flat_map(stream::iter);
    let stopped = select(Box::pin(streams.stopping()), shutdown);
    let events = stream::iter([begin]).chain(events).take_until(stopped).boxed();
    Ok(Events(EventStream::from(events).heartbeat(HEARTBEAT_EVERY)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_is_read_back_from_the_id_of_an_event_and_nothing_else_is() {
        let decision = Uuid::from_u128(7);
        for sequence in [None, Some(0), Some(41)] {
            let position = FeedPosition { decision, sequence };
            assert_eq!(parse_position(&text_of(position)), Some(position));
        }
        for text in
            ["", ".", "7", &format!("{decision}."), &format!("{decision}.-1"), &format!("{decision}.1.2")]
        {
            assert_eq!(parse_position(text), None, "{text}");
        }
    }
}
