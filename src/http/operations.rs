//! For operators: liveness, readiness, metrics.
//!
//! Owns what load balancers and monitoring see. Must never need a token, a
//! slot of the edge or, for liveness, the database.

use std::sync::Arc;
use std::time::Duration;

use rocket::http::{ContentType, MediaType, Status};
use rocket::{Route, State, get, routes};
use serde::Serialize;
use sqlx::PgPool;
use tokio::sync::Mutex;
use tokio::time::Instant;
use utoipa::ToSchema;

use super::answer::Answer;
use super::problem::{Kind, Problem};
use super::services::{Metrics, Readiness, Shared};

/// A database that takes longer to say hello cannot carry payments.
const DATABASE_WAIT: Duration = Duration::from_secs(1);

/// An answer of the database that young stands for another: whoever asks, and
/// however often, it takes one connection at a time from those who decide.
const DATABASE_ANSWER_AGE_MAX: Duration = Duration::from_millis(250);

/// Whether the database answered when it was last asked.
#[derive(Debug, Default)]
pub struct DatabaseProbe(Mutex<Option<(Instant, bool)>>);

impl DatabaseProbe {
    async fn answers<F: Future<Output = bool>>(&self, ask: impl FnOnce() -> F) -> bool {
        let mut last = self.0.lock().await;
        match *last {
            Some((asked, answered)) if asked.elapsed() < DATABASE_ANSWER_AGE_MAX => answered,
            _ => {
                let answered = ask().await;
                *last = Some((Instant::now(), answered));
                answered
            }
        }
    }
}

async fn database_answers(app: PgPool) -> bool {
    // In a task of its own: giving up must not cancel database work.
    let greeting = rocket::tokio::spawn(async move { app.acquire().await.is_ok() });
    matches!(rocket::tokio::time::timeout(DATABASE_WAIT, greeting).await, Ok(Ok(true)))
}

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

/// This node can decide payments: database and journal are there, the time is known, and it is not going down.
#[utoipa::path(
    tag = "operations",
    responses((status = 200, body = NodeState), (status = 503, body = super::problem::ProblemBody<'static>, content_type = "application/problem+json"))
)]
#[get("/ready")]
pub async fn ready(
    readiness: &State<Arc<Readiness>>,
    probe: &State<DatabaseProbe>,
    services: &Shared,
) -> Result<Answer, Problem> {
    let not_ready = |detail: &'static str| Problem::new(Kind::Unavailable, detail);
    if readiness.is_shutting_down() {
        return Err(not_ready("This node is shutting down."));
    }
    if !readiness.journal_is_up() {
        return Err(not_ready("The journal cannot store decisions."));
    }
    if !readiness.clock_is_trusted() {
        return Err(not_ready("The time of the database is not known closely enough."));
    }
    if !probe.answers(|| database_answers(services.app.clone())).await {
        return Err(not_ready("The database cannot be reached."));
    }
    Answer::json(Status::Ok, &NodeState { status: "ready" })
}

/// Metrics in the text format of Prometheus.
#[utoipa::path(tag = "operations", responses((status = 200, body = String, content_type = "text/plain")))]
#[get("/metrics")]
pub fn metrics(metrics: &State<Metrics>) -> Answer {
    let format = MediaType::new("text", "plain").with_params([("version", "0.0.4"), ("charset", "utf-8")]);
    Answer::bytes(ContentType(format), (metrics.0)().into_bytes())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[tokio::test]
    async fn however_many_ask_the_database_is_asked_once_in_a_while() {
        let (probe, asked) = (DatabaseProbe::default(), AtomicUsize::new(0));
        let ask = || async {
            tokio::time::sleep(Duration::from_millis(20)).await;
            asked.fetch_add(1, Ordering::Relaxed) > 0
        };
        let first = futures::future::join_all((0..50).map(|_| probe.answers(ask))).await;
        assert_eq!((asked.load(Ordering::Relaxed), first), (1, vec![false; 50]));
        tokio::time::sleep(DATABASE_ANSWER_AGE_MAX).await;
        assert!(probe.answers(ask).await, "asked anew");
        assert_eq!(asked.load(Ordering::Relaxed), 2);
    }
}
