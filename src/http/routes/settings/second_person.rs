//! Whether changes that decide about payments need a second person.

use rocket::http::Status;
use rocket::{Route, get, put, routes};

use crate::domain::proposal::Change;
use crate::http::edge::guard::{Caller, SettingsRead, SettingsWrite};
use crate::http::openapi::problems::{CommonProblems, CreateProblems};
use crate::http::request::body::JsonBody;
use crate::http::request::codecs::flag;
use crate::http::request::declaration::body;
use crate::http::response::ApiResponse;
use crate::http::response::problem::Problem;
use crate::http::routes::proposals::proposed;
use crate::http::routes::proposals::shapes::ProposalShape;
use crate::http::services::ServiceState;

pub fn routes() -> Vec<Route> {
    routes![setting, change]
}

body! {
    /// Whether changes that decide about payments need a second person.
    pub struct SecondPersonShape as "SecondPerson" {
        needed: bool = flag(),
    }
}

/// Returns whether changes need a second person.
#[utoipa::path(
    operation_id = "second_person",
    tag = "settings",
    responses((status = 200, body = SecondPersonShape), CommonProblems),
    security(("oauth" = ["settings:read"]))
)]
#[get("/settings/second-person")]
pub async fn setting(caller: Caller<SettingsRead>, services: &ServiceState) -> Result<ApiResponse, Problem> {
    let needed = services.proposals.is_needed(caller.tenant).await?;
    ApiResponse::json(Status::Ok, &SecondPersonShape { needed })
}

/// Sets whether changes need a second person.
///
/// To stop needing one, one is needed.
#[utoipa::path(
    operation_id = "set_second_person",
    tag = "settings",
    request_body(content = SecondPersonShape, content_type = "application/json"),
    responses(
        (status = 200, body = SecondPersonShape),
        (status = 202, body = ProposalShape, headers(("Location"))),
        CreateProblems,
    ),
    security(("oauth" = ["settings:write"]))
)]
#[put("/settings/second-person", data = "<body>")]
pub async fn change(
    caller: Caller<SettingsWrite>,
    services: &ServiceState,
    body: JsonBody,
) -> Result<ApiResponse, Problem> {
    let SecondPersonShape { needed } = body.read(services.world.now_ms())?;
    match (services.proposals.is_needed(caller.tenant).await?, needed) {
        (true, false) => return proposed(services, &caller, Change::SecondPersonOff).await,
        (false, true) => services.proposals.turn_on(caller.tenant, caller.actor().into()).await?,
        _ => {}
    }
    ApiResponse::json(Status::Ok, &SecondPersonShape { needed })
}
