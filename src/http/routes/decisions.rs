//! Decisions: their numbers, their evidence, their replay and their erasure.

pub mod counts;
pub mod diagnoses;
pub mod erasure;
pub mod evidence;

use rocket::http::Status;
use rocket::{Route, get, routes};
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use crate::decisions::replay::{EvidenceValue, Replay};
use crate::domain::ruleset::DecisionPoint;
use crate::http::edge::guard::{Caller, DecisionsRead};
use crate::http::openapi::problems::{ReadDecisionProblems, ReplayProblems};
use crate::http::response::ApiResponse;
use crate::http::response::problem::Problem;
use crate::http::routes::decisions::evidence::{DecisionShape, ResultShape};
use crate::http::routes::payments::{ReasonShape, payment_id};
use crate::http::routes::reviews::PaymentReviewShape;
use crate::http::services::ServiceState;
use crate::storage::{decisions, reviews, rulesets};

pub fn routes() -> Vec<Route> {
    routes![one, replay]
}

/// Whether evaluating the decision again gives the same result.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Replay)]
pub struct ReplayShape {
    pub identical: bool,
    pub differences: Vec<DifferenceShape>,
    /// Rules whose recorded result was used. They cannot be compared because the host stopped them, or a
    /// different engine ran out of fuel, either originally or now.
    pub not_rerun: Vec<String>,
    /// Fuel is only compared under the engine that made the decision.
    pub same_engine: bool,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Difference)]
pub struct DifferenceShape {
    /// JSON pointer into the decision.
    pub path: String,
    /// An outcome, a list of reasons, a rule's result or its fuel, in the form used in the decision.
    pub recorded: Value,
    pub computed: Value,
}

fn shape_of(part: &EvidenceValue) -> Value {
    match part {
        EvidenceValue::Outcome(outcome) => json!(outcome.name()),
        EvidenceValue::Reasons(reasons) => {
            json!(reasons.iter().map(|reason| ReasonShape::of(reason, true)).collect::<Vec<_>>())
        }
        EvidenceValue::Result(result) => json!(result.as_ref().map(ResultShape::from)),
        EvidenceValue::Fuel(fuel) => json!(fuel),
    }
}

impl From<Replay> for ReplayShape {
    fn from(replay: Replay) -> Self {
        let identical = replay.is_identical();
        let differences = replay.differences.into_iter().map(|difference| DifferenceShape {
            path: difference.path,
            recorded: shape_of(&difference.recorded),
            computed: shape_of(&difference.computed),
        });
        Self {
            identical,
            differences: differences.collect(),
            not_rerun: replay.not_rerun,
            same_engine: replay.same_engine,
        }
    }
}

/// Returns the evidence of a decision: everything the outcome depended on.
#[utoipa::path(
    tag = "decisions",
    responses((status = 200, body = DecisionShape), ReadDecisionProblems),
    security(("oauth" = ["decisions:read"]))
)]
#[get("/decisions/<id>")]
pub async fn one(
    caller: Caller<DecisionsRead>,
    id: &str,
    services: &ServiceState,
) -> Result<ApiResponse, Problem> {
    let id = payment_id(id).ok_or(Problem::not_found("decision"))?;
    let stored = decisions::get(&services.app, caller.tenant, id).await?;
    let stored = stored.ok_or(Problem::not_found("decision"))?;
    let revision = match stored.decision.evidence.revision {
        Some(reference) => {
            rulesets::get(&services.app, caller.tenant, DecisionPoint::Payment, reference.number).await?
        }
        None => None,
    };
    let review = reviews::of_payment(&services.app, caller.tenant, id, services.world.now_ms()).await?;
    let review = review.map(PaymentReviewShape::from);
    let shape = DecisionShape { review, ..DecisionShape::of(stored, revision.as_ref()) };
    ApiResponse::json(Status::Ok, &shape)
}

/// Replays a decision from its evidence and compares the results.
#[utoipa::path(
    tag = "decisions",
    responses((status = 200, body = ReplayShape), ReplayProblems),
    security(("oauth" = ["decisions:read"]))
)]
#[get("/decisions/<id>/replay")]
pub async fn replay(
    caller: Caller<DecisionsRead>,
    id: &str,
    services: &ServiceState,
) -> Result<ApiResponse, Problem> {
    let id = payment_id(id).ok_or(Problem::not_found("decision"))?;
    let replay = services.replays.replay(caller.tenant, id).await?;
    ApiResponse::json(Status::Ok, &ReplayShape::from(replay))
}
