//! Diagnoses: why a rule failed, found by repeating its recorded call.

use rocket::http::Status;
use rocket::{Route, get, routes};
use serde::Serialize;
use utoipa::ToSchema;

use crate::decisions::diagnoses::recorded_failure;
use crate::http::edge::guard::{Caller, DecisionsRead};
use crate::http::openapi::problems::ReadDecisionProblems;
use crate::http::response::ApiResponse;
use crate::http::response::problem::Problem;
use crate::http::routes::payments::payment_id;
use crate::http::services::ServiceState;
use crate::rules::{Diagnosis, Frame};

pub fn routes() -> Vec<Route> {
    routes![one]
}

/// The recorded failure and the diagnosis from another run of the same call. Nothing of it is stored.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = FailureDiagnosis)]
pub struct FailureDiagnosisShape {
    pub rule: String,
    pub class: &'static str,
    /// The recorded detail of the failure, for the author of the rule.
    pub detail: String,
    /// Absent if the call did not fail again, which is possible if the host had stopped it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub diagnosis: Option<DiagnosisShape>,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Diagnosis)]
pub struct DiagnosisShape {
    /// How the call failed in this run.
    pub class: &'static str,
    /// The limit that was exceeded, with its value, or the usual cause of such a failure.
    pub cause: String,
    /// The plugin's own last message, for example of a panic, with file and line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub said: Option<String>,
    /// The call stack, innermost function first.
    pub frames: Vec<FrameShape>,
    pub fuel_used: u64,
    pub fuel_max: u64,
    pub memory_bytes: u64,
    pub memory_max_bytes: u64,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Frame)]
pub struct FrameShape {
    /// The function's name in the plugin, or its number if it has no name.
    pub function: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<u32>,
}

impl From<Diagnosis> for DiagnosisShape {
    fn from(diagnosis: Diagnosis) -> Self {
        let Diagnosis { class, cause, said, frames, fuel_used, fuel_max, memory_bytes, memory_max_bytes } =
            diagnosis;
        let frame = |Frame { function, file, line }| FrameShape { function, file, line };
        let frames = frames.into_iter().map(frame).collect();
        let class = class.name();
        Self { class, cause, said, frames, fuel_used, fuel_max, memory_bytes, memory_max_bytes }
    }
}

/// Diagnoses the failure of one rule.
///
/// Runs the recorded call once more, isolated from live payments.
#[utoipa::path(
    tag = "decisions",
    operation_id = "diagnosis",
    responses((status = 200, body = FailureDiagnosisShape), ReadDecisionProblems),
    security(("oauth" = ["decisions:read"]))
)]
#[get("/decisions/<id>/rules/<rule>/diagnosis")]
pub async fn one(
    caller: Caller<DecisionsRead>,
    id: &str,
    rule: &str,
    services: &ServiceState,
) -> Result<ApiResponse, Problem> {
    let id = payment_id(id).ok_or(Problem::not_found("decision"))?;
    let diagnoses = &services.diagnoses;
    let found = recorded_failure::of_decision(&services.app, diagnoses, caller.tenant, id, rule).await?;
    let shape = FailureDiagnosisShape {
        rule: rule.to_owned(),
        class: found.class.name(),
        detail: found.detail,
        diagnosis: found.diagnosis.map(DiagnosisShape::from),
    };
    ApiResponse::json(Status::Ok, &shape)
}
