//! Liveness, readiness and metrics, for load balancers and monitoring.
//!
//! They must work without a token and without a slot, and liveness without the database.

use std::sync::Arc;

use rocket::http::{ContentType, MediaType, Status};
use rocket::{Route, State, get, routes};
use serde::Serialize;
use utoipa::ToSchema;

use crate::http::readiness::Readiness;
use crate::http::response::ApiResponse;
use crate::http::response::problem::{PartError, Problem, ProblemKind};
use crate::http::services::Metrics;

pub fn routes() -> Vec<Route> {
    routes![health, ready, metrics]
}

#[derive(Debug, Serialize, ToSchema)]
pub struct NodeState {
    #[schema(example = "up")]
    pub status: &'static str,
}

/// Returns 200 while the process is running. Does not check the database.
#[utoipa::path(tag = "operations", responses((status = 200, body = NodeState)))]
#[get("/health")]
pub fn health() -> Result<ApiResponse, Problem> {
    ApiResponse::json(Status::Ok, &NodeState { status: "up" })
}

/// Returns whether this node can make decisions.
///
/// Checks the database, the facts, the journal, the clock and the active rules.
#[utoipa::path(
    tag = "operations",
    responses((status = 200, body = NodeState), (status = 503, body = crate::http::response::problem::ProblemBody<'static>, content_type = "application/problem+json"))
)]
#[get("/ready")]
pub async fn ready(readiness: &State<Arc<Readiness>>) -> Result<ApiResponse, Problem> {
    let reasons = readiness.reasons().await;
    let Some(first) = reasons.first() else {
        return ApiResponse::json(Status::Ok, &NodeState { status: "ready" });
    };
    let part = |reason: &&str| PartError { pointer: None, parameter: None, detail: (*reason).to_owned() };
    Err(Problem::with_errors(ProblemKind::Unavailable, *first, reasons.iter().map(part).collect()))
}

/// Returns metrics in the Prometheus text format.
#[utoipa::path(tag = "operations", responses((status = 200, body = String, content_type = "text/plain")))]
#[get("/metrics")]
pub fn metrics(metrics: &State<Metrics>) -> ApiResponse {
    let format = MediaType::new("text", "plain").with_params([("version", "0.0.4"), ("charset", "utf-8")]);
    ApiResponse::bytes(ContentType(format), (metrics.0)().into_bytes())
}
