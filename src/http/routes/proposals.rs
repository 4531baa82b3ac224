//! Changes that wait for a second person.
//!
//! A route that makes such a change answers with `proposed` instead, if the tenant wants it so.

pub mod shapes;

use rocket::http::Status;
use rocket::{Route, get, post, routes};
use serde::Serialize;
use utoipa::ToSchema;

use crate::domain::proposal::{Change, ProposalId, ProposalState};
use crate::http::edge::guard::{Caller, PersonWith, ProposalsApprove, RulesetsRead};
use crate::http::openapi::problems::{ApproveProblems, DeclineProblems, ListProblems, ReadProblems};
use crate::http::request::body::JsonBody;
use crate::http::request::codecs::{or, text};
use crate::http::request::declaration::body;
use crate::http::request::query::Query;
use crate::http::response::problem::Problem;
use crate::http::response::{ApiResponse, Page};
use crate::http::routes::users::PasswordLinkShape;
use crate::http::services::ServiceState;
use crate::proposals::Approver;
use crate::storage::proposals;
use shapes::ProposalShape;

pub fn routes() -> Vec<Route> {
    routes![list, one, approve, decline, withdraw]
}

/// In characters.
const NOTE_LENGTH_MAX: usize = 500;

body! {
    pub struct DeclineBody as "Decline" {
        /// Why. Without personal data, since it stays in the audit log.
        note: String = or(text(NOTE_LENGTH_MAX), String::new()),
    }
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ApprovedProposal)]
pub struct ApprovedShape {
    pub proposal: ProposalShape,
    /// The link with which the person of the proposal sets a password. It is shown only in this response.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password_link: Option<PasswordLinkShape>,
}

fn proposal_id(text: &str) -> Result<ProposalId, Problem> {
    text.parse().map(ProposalId).map_err(|_| Problem::not_found("proposal"))
}

impl PersonWith<ProposalsApprove> {
    fn approver(&self) -> Approver {
        Approver { tenant: self.tenant, user: self.user, scopes: self.scopes }
    }
}

/// Stores a change that needs a second person, instead of making it.
pub async fn proposed<S>(
    services: &ServiceState,
    caller: &Caller<S>,
    change: Change,
) -> Result<ApiResponse, Problem> {
    let proposal = services.proposals.propose(caller.tenant, caller.actor(), change).await?;
    let location = format!("/api/v1/proposals/{}", proposal.id);
    let shape = ProposalShape::of(proposal, |scope| caller.has(scope));
    Ok(ApiResponse::json(Status::Accepted, &shape)?.with("Location", location))
}

/// Lists proposals, newest first.
#[utoipa::path(
    tag = "proposals",
    params(
        ("state" = Option<String>, Query, description = "`open`, `approved`, `declined` or `withdrawn`"),
        ("limit" = Option<u32>, Query, description = "Page size, 1 to 200. Default: 50"),
        ("cursor" = Option<String>, Query),
    ),
    responses((status = 200, body = Page<ProposalShape>), ListProblems),
    security(("oauth" = ["rulesets:read"]))
)]
#[get("/proposals")]
pub async fn list(
    caller: Caller<RulesetsRead>,
    mut query: Query,
    services: &ServiceState,
) -> Result<ApiResponse, Problem> {
    let state = query.parsed("state", |text| {
        ProposalState::parse(text).ok_or("expected open, approved, declined or withdrawn")
    });
    let page = query.page(&services.cursors, caller.tenant, "proposals")?;
    let before = page.position()?;
    let found = proposals::list(&services.app, caller.tenant, state, before, page.fetch_limit()).await?;
    let (found, next_cursor) = page.cut(&services.cursors, found, |proposal| proposal.id.to_string());
    let shape_of = |proposal| ProposalShape::of(proposal, |scope| caller.has(scope));
    let items: Vec<ProposalShape> = found.into_iter().map(shape_of).collect();
    ApiResponse::json(Status::Ok, &Page { items, next_cursor })
}

/// Returns a proposal.
#[utoipa::path(
    tag = "proposals",
    responses((status = 200, body = ProposalShape), ReadProblems),
    security(("oauth" = ["rulesets:read"]))
)]
#[get("/proposals/<id>")]
pub async fn one(
    caller: Caller<RulesetsRead>,
    id: &str,
    services: &ServiceState,
) -> Result<ApiResponse, Problem> {
    let found = proposals::get(&services.app, caller.tenant, proposal_id(id)?).await?;
    let proposal = found.ok_or(Problem::not_found("proposal"))?;
    ApiResponse::json(Status::Ok, &ProposalShape::of(proposal, |scope| caller.has(scope)))
}

/// Approves a proposal of another person, and makes its change.
///
/// If the change cannot be made, the response says why, and the proposal stays open.
#[utoipa::path(
    tag = "proposals",
    responses((status = 200, body = ApprovedShape), ApproveProblems),
    security(("oauth" = ["proposals:approve"]))
)]
#[post("/proposals/<id>/approve")]
pub async fn approve(
    person: PersonWith<ProposalsApprove>,
    id: &str,
    services: &ServiceState,
) -> Result<ApiResponse, Problem> {
    let approved = services.proposals.approve(&person.approver(), proposal_id(id)?).await?;
    let shape = ApprovedShape {
        proposal: ProposalShape::of(approved.proposal, |scope| person.scopes.contains(scope)),
        password_link: approved.link.map(PasswordLinkShape::from),
    };
    ApiResponse::json(Status::Ok, &shape)
}

/// Declines a proposal. Its change is never made.
#[utoipa::path(
    tag = "proposals",
    request_body(content = DeclineBody, content_type = "application/json"),
    responses((status = 200, body = ProposalShape), DeclineProblems),
    security(("oauth" = ["proposals:approve"]))
)]
#[post("/proposals/<id>/decline", data = "<body>")]
pub async fn decline(
    person: PersonWith<ProposalsApprove>,
    id: &str,
    services: &ServiceState,
    body: JsonBody,
) -> Result<ApiResponse, Problem> {
    let id = proposal_id(id)?;
    let DeclineBody { note } = body.read(services.world.now_ms())?;
    let proposal = services.proposals.decline(&person.approver(), id, note).await?;
    let shape = ProposalShape::of(proposal, |scope| person.scopes.contains(scope));
    ApiResponse::json(Status::Ok, &shape)
}

/// Withdraws the caller's own proposal.
#[utoipa::path(
    tag = "proposals",
    responses((status = 200, body = ProposalShape), ApproveProblems),
    security(("oauth" = ["rulesets:read"]))
)]
#[post("/proposals/<id>/withdraw")]
pub async fn withdraw(
    caller: Caller<RulesetsRead>,
    id: &str,
    services: &ServiceState,
) -> Result<ApiResponse, Problem> {
    let proposal = services.proposals.withdraw(caller.tenant, caller.actor(), proposal_id(id)?).await?;
    ApiResponse::json(Status::Ok, &ProposalShape::of(proposal, |scope| caller.has(scope)))
}
