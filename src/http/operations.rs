//! For operators: liveness, readiness, metrics.
//!
//! Owns what load balancers and monitoring see. Must never need a token, a
//! slot of the edge or, for liveness, the database.

use std::sync::Arc;
use std::time::Duration;

use rocket::http::{ContentType, MediaType, Status};
use rocket::{Route, State, get, routes};
use serde::Serialize;
use utoipa::ToSchema;

use super::answer::Answer;
use super::problem::{Kind, Problem};
use super::services::{Metrics, Readiness, Shared};

/// A database that takes longer to say hello cannot carry payments.
const DATABASE_WAIT: Duration = Duration::from_secs(1);

pub fn routes() -> Vec<Route> {
    routes![health, ready, metrics]
}

#[derive(Debug, Serialize, ToSchema)]
pub struct NodeState {
    #[schema(example = "up")]
    pub status: &'static str,
}

/// The process is alive. Does not look at the database.
#[utoipa::path(tag = "operations", responses((status = 200, body = NodeState)))]
#[get("/health")]
pub fn health() -> Result<Answer, Problem> {
    Answer::json(Status::Ok, &NodeState { status: "up" })
}

/// This node can decide payments: database and journal are there, and it is not going down.
#[utoipa::path(
    tag = "operations",
    responses((status = 200, body = NodeState), (status = 503, body = super::problem::ProblemBody<'static>, content_type = "application/problem+json"))
)]
#[get("/ready")]
pub async fn ready(readiness: &State<Arc<Readiness>>, services: &Shared) -> Result<Answer, Problem> {
    let not_ready = |detail: &'static str| Problem::new(Kind::Unavailable, detail);
    if readiness.is_shutting_down() {
        return Err(not_ready("This node is shutting down."));
    }
    if !readiness.journal_is_up() {
        return Err(not_ready("The journal cannot store decisions."));
    }
    // In a task of its own: giving up must not cancel database work.
    let app = services.app.clone();
    let greeting = rocket::tokio::spawn(async move { app.acquire().await.is_ok() });
    match rocket::tokio::time::timeout(DATABASE_WAIT, greeting).await {
        Ok(Ok(true)) => Answer::json(Status::Ok, &NodeState { status: "ready" }),
        _ => Err(not_ready("The database cannot be reached.")),
    }
}

/// Metrics in the text format of Prometheus.
#[utoipa::path(tag = "operations", responses((status = 200, body = String, content_type = "text/plain")))]
#[get("/metrics")]
pub fn metrics(metrics: &State<Metrics>) -> Answer {
    let format = MediaType::new("text", "plain").with_params([("version", "0.0.4"), ("charset", "utf-8")]);
    Answer::bytes(ContentType(format), metrics.0.render().into_bytes())
}
