//! Erasure: the personal data of a payment goes, its decision stays.

use rocket::http::Status;
use rocket::{Route, post, routes};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::http::edge::guard::{Caller, PaymentsErase};
use crate::http::openapi::problems::EraseProblems;
use crate::http::request::body::JsonBody;
use crate::http::request::codecs::text;
use crate::http::request::declaration::body;
use crate::http::response::ApiResponse;
use crate::http::response::moment::Moment;
use crate::http::response::problem::Problem;
use crate::http::routes::payments::payment_id;
use crate::http::routes::proposals::proposed;
use crate::http::routes::proposals::shapes::ProposalShape;
use crate::http::services::ServiceState;
use crate::storage::erasures::{self, NewErasure};

pub fn routes() -> Vec<Route> {
    routes![erase]
}

/// In characters.
pub const REASON_LENGTH_MAX: usize = 500;

body! {
    pub struct ErasureBody as "NewErasure" {
        /// Why it is erased, for the audit log, which is never changed: without personal data.
        reason: String = text(REASON_LENGTH_MAX),
    }
}

/// The erasure of a payment.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Erasure)]
pub struct ErasureShape {
    pub payment_id: Uuid,
    pub erased_at_ms: Moment,
    pub erased_by: String,
    pub reason: String,
}

/// Erases the personal data of a payment.
///
/// The decision, its amount, currency, method and times stay, so that the journal still verifies. Erasing
/// it again changes nothing and returns the first erasure.
#[utoipa::path(
    tag = "decisions",
    request_body(content = ErasureBody, content_type = "application/json"),
    responses(
        (status = 200, body = ErasureShape),
        (status = 202, body = ProposalShape, headers(("Location"))),
        EraseProblems,
    ),
    security(("oauth" = ["payments:erase"]))
)]
#[post("/decisions/<id>/erasure", data = "<body>")]
pub async fn erase(
    caller: Caller<PaymentsErase>,
    id: &str,
    services: &ServiceState,
    body: JsonBody,
) -> Result<ApiResponse, Problem> {
    let payment = payment_id(id).ok_or(Problem::not_found("decision"))?;
    let now_ms = services.world.now_ms();
    let ErasureBody { reason } = body.read(now_ms)?;
    if services.proposals.is_needed(caller.tenant).await? {
        let change = services.proposals.erasure(caller.tenant, payment, reason).await?;
        return proposed(services, &caller, change).await;
    }
    let new = NewErasure { payment, reason, actor: caller.actor().into(), now_ms };
    let erasure = erasures::erase(&services.app, caller.tenant, new).await?;
    let shape = ErasureShape {
        payment_id: payment.0,
        erased_at_ms: erasure.erased_at_ms.into(),
        erased_by: erasure.actor,
        reason: erasure.reason,
    };
    ApiResponse::json(Status::Ok, &shape)
}
