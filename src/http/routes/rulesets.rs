//! Revisions of rulesets: creating and reading them. Each rule checks its own settings.

pub mod canary;
pub mod deployments;
pub mod dry_runs;
pub mod quarantines;
pub mod report_counts;
pub mod rule_reports;
pub mod shadow;
pub mod shapes;

use rocket::http::Status;
use rocket::{Route, get, post, routes};

use crate::domain::ruleset::{DecisionPoint, Revision};
use crate::domain::tenant::TenantId;
use crate::http::edge::guard::{Caller, RulesetsRead, RulesetsWrite};
use crate::http::openapi::problems::{CreateProblems, ReadProblems, SublistProblems};
use crate::http::request::body::JsonBody;
use crate::http::request::query::Query;
use crate::http::response::problem::Problem;
use crate::http::response::{ApiResponse, Page};
use crate::http::routes::rulesets::shapes::{RevisionBody, RevisionShape, RevisionSummaryShape};
use crate::http::services::ServiceState;
use crate::storage::rulesets;

pub fn routes() -> Vec<Route> {
    routes![create, list, one]
}

pub fn point_of(name: &str) -> Result<DecisionPoint, Problem> {
    DecisionPoint::parse(name).ok_or(Problem::not_found("decision point"))
}

/// The revision with a number from a path.
async fn find_revision(
    services: &ServiceState,
    tenant: TenantId,
    point: DecisionPoint,
    number: &str,
) -> Result<Revision, Problem> {
    let not_found = || Problem::not_found("revision");
    let number = number.parse().map_err(|_| not_found())?;
    rulesets::get(&services.app, tenant, point, number).await?.ok_or_else(not_found)
}

/// Creates a revision.
///
/// Each rule validates its own settings. All errors are returned together.
#[utoipa::path(
    tag = "rulesets",
    request_body(content = RevisionBody, content_type = "application/json"),
    responses((status = 201, body = RevisionShape, headers(("Location"), ("ETag"))), CreateProblems),
    security(("oauth" = ["rulesets:write"]))
)]
#[post("/rulesets/<point>/revisions", data = "<body>")]
pub async fn create(
    caller: Caller<RulesetsWrite>,
    point: &str,
    services: &ServiceState,
    body: JsonBody,
) -> Result<ApiResponse, Problem> {
    let point = point_of(point)?;
    let RevisionBody { note, rules } = body.read(services.world.now_ms())?;
    let revision = services.rulesets.create_revision(caller.tenant, &caller.actor(), rules, note).await?;
    let location = format!("/api/v1/rulesets/{}/revisions/{}", point.name(), revision.number);
    let answer = ApiResponse::json(Status::Created, &RevisionShape::from(revision))?;
    Ok(answer.with("Location", location).with_tag_of_body())
}

/// Lists the revisions of a decision point, newest first.
#[utoipa::path(
    tag = "rulesets",
    params(
        ("limit" = Option<u32>, Query, description = "Page size, 1 to 200. Default: 50"),
        ("cursor" = Option<String>, Query),
    ),
    responses((status = 200, body = Page<RevisionSummaryShape>), SublistProblems),
    security(("oauth" = ["rulesets:read"]))
)]
#[get("/rulesets/<point>/revisions")]
pub async fn list(
    caller: Caller<RulesetsRead>,
    point: &str,
    query: Query,
    services: &ServiceState,
) -> Result<ApiResponse, Problem> {
    let point = point_of(point)?;
    let page = query.page(&services.cursors, caller.tenant, &format!("revisions {}", point.name()))?;
    let before = page.position::<i32>()?;
    let found = rulesets::list(&services.app, caller.tenant, point, before, page.fetch_limit()).await?;
    let (found, next_cursor) = page.cut(&services.cursors, found, |revision| revision.number.to_string());
    let items: Vec<RevisionSummaryShape> = found.into_iter().map(RevisionSummaryShape::from).collect();
    ApiResponse::json(Status::Ok, &Page { items, next_cursor })
}

/// Returns a revision.
#[utoipa::path(
    tag = "rulesets",
    params((
        "If-None-Match" = Option<String>,
        Header,
        description = "ETag of the version the client already has"
    )),
    responses(
        (status = 200, body = RevisionShape, headers(("ETag"))),
        (status = 304, description = "Not modified"),
        ReadProblems,
    ),
    security(("oauth" = ["rulesets:read"]))
)]
#[get("/rulesets/<point>/revisions/<number>")]
pub async fn one(
    caller: Caller<RulesetsRead>,
    point: &str,
    number: &str,
    services: &ServiceState,
) -> Result<ApiResponse, Problem> {
    let revision = find_revision(services, caller.tenant, point_of(point)?, number).await?;
    Ok(ApiResponse::json(Status::Ok, &RevisionShape::from(revision))?.with_tag_of_body())
}
