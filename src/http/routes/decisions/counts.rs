//! How many decisions of each outcome there were, for charts that go on with the feed.
//!
//! Must never say that something is counted which may still be stored: a chart would count it twice.

use std::time::Duration;

use rocket::http::Status;
use rocket::{Route, get, routes};
use serde::Serialize;
use utoipa::ToSchema;

use crate::decisions::feed::{FeedPosition, stored_within};
use crate::domain::outcome_counts::{OutcomeCounts, SPAN_MS, SpanCounts, Step};
use crate::http::edge::guard::{Caller, DecisionsRead};
use crate::http::openapi::problems::ListProblems;
use crate::http::request::query::Query;
use crate::http::response::ApiResponse;
use crate::http::response::moment::Moment;
use crate::http::response::problem::Problem;
use crate::http::routes::feed::text_of;
use crate::http::services::ServiceState;

/// The longest time of one question.
const DAYS_MAX: u64 = 7;
const SPANS_MAX: u64 = 1_500;
/// By default the counts begin this long before their end.
const DEFAULT_MS: u64 = 3_600_000;
/// A decision is counted within this time once it is stored, also if its node died.
const COUNTED_WITHIN: Duration = Duration::from_secs(3);

pub fn routes() -> Vec<Route> {
    routes![counts]
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = DecisionCount)]
pub struct CountShape {
    pub from_ms: Moment,
    pub approve: u64,
    pub review: u64,
    pub reject: u64,
}

impl From<SpanCounts> for CountShape {
    fn from(span: SpanCounts) -> Self {
        let SpanCounts { from_ms, approve, review, reject } = span;
        Self { from_ms: from_ms.into(), approve, review, reject }
    }
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = DecisionCounts)]
pub struct CountsShape {
    pub from_ms: Moment,
    /// Payments that were received from this time on are not counted yet. Some seconds ago, or the end
    /// that was asked for.
    pub to_ms: Moment,
    /// With this `Last-Event-ID`, the feed goes on where the counts end. It begins a little earlier: leave
    /// out decisions that were received before `to_ms`.
    pub last_event_id: String,
    /// Whether all decisions from before an upgrade are counted.
    pub complete: bool,
    /// Of how many decisions it is known how long they took.
    pub timed: u64,
    /// Half of them were stored within so many milliseconds from receiving the payment, on whichever node.
    /// One of a few bounds; 10,000 also stands for longer. Absent if none is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stored_within_ms_p50: Option<u64>,
    /// The same for 99 of 100.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stored_within_ms_p99: Option<u64>,
    /// All spans of the time, also those without decisions. The first begins at a whole step in UTC.
    pub items: Vec<CountShape>,
}

impl CountsShape {
    fn of(counts: OutcomeCounts, is_complete: bool, (from_ms, to_ms): (u64, u64), step: Step) -> Self {
        let mut found = counts.spans.into_iter().peekable();
        let spans = (from_ms..to_ms).step_by(usize::try_from(step.ms()).unwrap_or(usize::MAX));
        let items = spans.map(|from_ms| {
            let found = found.next_if(|span| span.from_ms == from_ms);
            found.unwrap_or(SpanCounts { from_ms, ..SpanCounts::default() }).into()
        });
        Self {
            items: items.collect(),
            from_ms: from_ms.into(),
            to_ms: to_ms.into(),
            last_event_id: text_of(FeedPosition::at(to_ms)),
            complete: is_complete,
            timed: counts.durations.total(),
            stored_within_ms_p50: counts.durations.percentile(50),
            stored_within_ms_p99: counts.durations.percentile(99),
        }
    }
}

/// Returns how many payments were approved, rejected or sent to review.
///
/// Payments count by the time at which they were received, however late they were stored. Imported payments
/// do not count, since they were not decided here. A payment whose personal data was erased still counts; a
/// payment that was removed does not.
#[utoipa::path(
    tag = "decisions",
    params(
        ("from_ms" = Option<u64>, Query, description = "Default: an hour before the end. An earlier time than 7 days before it means 7 days"),
        ("to_ms" = Option<u64>, Query, description = "Default: up to what is counted, which is some seconds ago"),
        (
            "step" = Option<String>, Query,
            description = "The length of a span: `10s`, `1m`, `5m`, `15m`, `1h` or `1d`. Default: `1m`. At most \
                           1,500 spans"
        ),
    ),
    responses((status = 200, body = CountsShape), ListProblems),
    security(("oauth" = ["decisions:read"]))
)]
#[get("/decisions/counts")]
pub async fn counts(
    caller: Caller<DecisionsRead>,
    mut query: Query,
    services: &ServiceState,
) -> Result<ApiResponse, Problem> {
    let step = query.parsed("step", |name| Step::parse(name).ok_or("expected 10s, 1m, 5m, 15m, 1h or 1d"));
    let step = step.unwrap_or(Step::Minute);
    let lag = stored_within(services.submission_deadline) + COUNTED_WITHIN;
    let lag_ms = u64::try_from(lag.as_millis()).unwrap_or(u64::MAX);
    let counted_ms = services.world.now_ms().saturating_sub(lag_ms);
    let to_ms = query.time_ms("to_ms").unwrap_or(counted_ms).min(counted_ms) / SPAN_MS * SPAN_MS;
    let from_ms = query.time_ms("from_ms").unwrap_or(to_ms.saturating_sub(DEFAULT_MS));
    let earliest_ms = to_ms.saturating_sub(DAYS_MAX * Step::Day.ms());
    let from_ms = from_ms.clamp(earliest_ms, to_ms) / step.ms() * step.ms();
    if (to_ms - from_ms).div_ceil(step.ms()) > SPANS_MAX {
        query.error("step", format!("expected longer steps: at most {SPANS_MAX} are counted at once"));
    }
    query.finish()?;
    let span = (from_ms, to_ms);
    let (counts, is_complete) = services.search.counts(caller.tenant, span, step).await?;
    ApiResponse::json(Status::Ok, &CountsShape::of(counts, is_complete, span, step))
}
