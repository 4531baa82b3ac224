//! The report on a canary: its decisions compared with those of the active revision.

use rocket::http::Status;
use rocket::{Route, get, routes};
use serde::Serialize;
use utoipa::ToSchema;

use crate::domain::ruleset::deployed_since_ms;
use crate::http::edge::guard::{Caller, RulesetsRead};
use crate::http::openapi::problems::SublistProblems;
use crate::http::request::query::Query;
use crate::http::response::ApiResponse;
use crate::http::response::moment::Moment;
use crate::http::response::problem::Problem;
use crate::http::routes::rulesets::deployments::CanaryShape;
use crate::http::routes::rulesets::point_of;
use crate::http::routes::rulesets::report_counts::{OutcomeCountShape, OutcomeTotal, by_outcome};
use crate::http::services::ServiceState;
use crate::storage::decisions::{OutcomeCount, RevisionComparison, comparison};
use crate::storage::rulesets;

/// The most activations that are read to find the beginning of the canary.
const LOG_READ_MAX: u32 = 1_000;

pub fn routes() -> Vec<Route> {
    routes![report]
}

/// Results of the newest 200,000 payments since the canary began.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = CanaryReport)]
pub struct CanaryReportShape {
    pub point: &'static str,
    #[serde(flatten)]
    pub canary: CanaryShape,
    /// When the revision became the canary. A change of its share does not reset this.
    pub since_ms: Moment,
    /// Number of payments examined.
    pub looked_at: u64,
    pub decided_by_canary: RevisionReportShape,
    pub decided_by_active: RevisionReportShape,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = RevisionReport)]
pub struct RevisionReportShape {
    pub revision: i32,
    pub payments: u64,
    pub outcomes: Vec<OutcomeCountShape>,
    /// Number of newest payments whose reasons were counted, at most 1,000.
    pub reasons_sampled: u64,
    /// The most frequent first, at most 20.
    pub reasons: Vec<CodeShape>,
    /// What happened to the payments for which an event was reported.
    pub became: Vec<LabelCountShape>,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ReasonCount)]
pub struct CodeShape {
    pub code: String,
    pub payments: u64,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = BecameCount)]
pub struct LabelCountShape {
    #[schema(example = "fraud")]
    pub event: String,
    pub payments: u64,
    /// The outcomes decided for these payments.
    pub outcomes: Vec<OutcomeCountShape>,
}

impl RevisionReportShape {
    fn of(revision: i32, comparison: &RevisionComparison) -> Self {
        let outcomes: Vec<OutcomeTotal> =
            comparison.decided.iter().filter(|decided| decided.revision == revision).map(counted).collect();
        let reasons = comparison.reasons.iter().find(|reasons| reasons.revision == revision);
        let mut became: Vec<(String, Vec<OutcomeTotal>)> = Vec::new();
        for event in comparison.events.iter().filter(|event| event.decided.revision == revision) {
            match became.last_mut() {
                Some((kind, counts)) if *kind == event.kind => counts.push(counted(&event.decided)),
                _ => became.push((event.kind.clone(), vec![counted(&event.decided)])),
            }
        }
        let codes = reasons.iter().flat_map(|reasons| &reasons.codes);
        Self {
            revision,
            payments: sum(&outcomes),
            outcomes: by_outcome(&outcomes),
            reasons_sampled: reasons.map_or(0, |reasons| reasons.sampled),
            reasons: codes
                .map(|(code, payments)| CodeShape { code: code.clone(), payments: *payments })
                .collect(),
            became: became.into_iter().map(LabelCountShape::from).collect(),
        }
    }
}

impl From<(String, Vec<OutcomeTotal>)> for LabelCountShape {
    fn from((event, counts): (String, Vec<OutcomeTotal>)) -> Self {
        Self { event, payments: sum(&counts), outcomes: by_outcome(&counts) }
    }
}

fn counted(decided: &OutcomeCount) -> OutcomeTotal {
    OutcomeTotal {
        outcome: decided.outcome,
        currency: decided.currency.clone(),
        payments: decided.count,
        total_minor: decided.total_minor,
    }
}

fn sum(counts: &[OutcomeTotal]) -> u64 {
    counts.iter().map(|counted| counted.payments).sum()
}

/// Compares the decisions of the canary with those of the active revision.
///
/// Covers the time since the canary began, or a part of it. Returns 404 if there is no canary.
#[utoipa::path(
    operation_id = "canary_report",
    tag = "rulesets",
    params(
        ("from_ms" = Option<u64>, Query, description = "Default: when the canary began"),
        ("to_ms" = Option<u64>, Query, description = "Exclusive"),
    ),
    responses((status = 200, body = CanaryReportShape), SublistProblems),
    security(("oauth" = ["rulesets:read"]))
)]
#[get("/rulesets/<point>/canary")]
pub async fn report(
    caller: Caller<RulesetsRead>,
    point: &str,
    mut query: Query,
    services: &ServiceState,
) -> Result<ApiResponse, Problem> {
    let point = point_of(point)?;
    let (from_ms, to_ms) = (query.time_ms("from_ms"), query.time_ms("to_ms"));
    query.finish()?;
    let not_found = || Problem::not_found("canary");
    let log = rulesets::activations(&services.app, caller.tenant, point, None, LOG_READ_MAX).await?;
    let deployed = log.first().map(|latest| latest.deployment).ok_or_else(not_found)?;
    let canary = deployed.canary.ok_or_else(not_found)?;
    let since_ms = deployed_since_ms(&log, |earlier| {
        earlier.revision == deployed.revision
            && earlier.canary.is_some_and(|earlier| earlier.revision == canary.revision)
    });
    let since_ms = since_ms.ok_or_else(not_found)?;
    let both = vec![canary.revision, deployed.revision];
    let from_ms = from_ms.map_or(since_ms, |from_ms| from_ms.max(since_ms));
    let comparison = comparison(&services.app, caller.tenant, from_ms, to_ms, both).await?;
    let shape = CanaryReportShape {
        point: point.name(),
        canary: canary.into(),
        since_ms: Moment(since_ms),
        looked_at: comparison.decided.iter().map(|decided| decided.count).sum(),
        decided_by_canary: RevisionReportShape::of(canary.revision, &comparison),
        decided_by_active: RevisionReportShape::of(deployed.revision, &comparison),
    };
    ApiResponse::json(Status::Ok, &shape)
}
