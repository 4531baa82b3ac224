//! Backtests of a candidate revision on stored decisions.
//!
//! Payments must only be shown to tokens with the scope `decisions:read`.

pub mod shapes;

use rocket::http::Status;
use rocket::{Route, get, post, routes};
use uuid::Uuid;

use crate::domain::backtest::Backtest;
use crate::domain::backtest::label::Label;
use crate::domain::tenant::TenantId;
use crate::domain::verdict::Outcome;
use crate::http::edge::guard::{Caller, DecisionsRead, RulesetsRead, RulesetsWrite};
use crate::http::openapi::problems::{CancelProblems, CreateBacktestProblems, ReadProblems, SublistProblems};
use crate::http::request::body::JsonBody;
use crate::http::request::query::Query;
use crate::http::response::problem::Problem;
use crate::http::response::{ApiResponse, Page};
use crate::http::routes::backtests::shapes::{BacktestBody, BacktestShape, ExampleShape, placed};
use crate::http::routes::rulesets::point_of;
use crate::http::services::ServiceState;
use crate::storage::backtests::{self, NewBacktest};

const EXPECTED_OUTCOME: &str = "expected approve, review or reject";

pub fn routes() -> Vec<Route> {
    routes![create, list, one, examples, cancel]
}

/// Starts a backtest: runs a revision on stored decisions and compares the outcomes.
///
/// A tenant can have at most three backtests waiting or running.
#[utoipa::path(
    tag = "backtests",
    request_body(content = BacktestBody, content_type = "application/json"),
    responses((status = 202, body = BacktestShape, headers(("Location"))), CreateBacktestProblems),
    security(("oauth" = ["rulesets:write"]))
)]
#[post("/rulesets/<point>/backtests", data = "<body>")]
pub async fn create(
    caller: Caller<RulesetsWrite>,
    point: &str,
    services: &ServiceState,
    body: JsonBody,
) -> Result<ApiResponse, Problem> {
    let point = point_of(point)?;
    let now_ms = services.world.now_ms();
    let body: BacktestBody = body.read(now_ms)?;
    let revision = body.revision;
    let (baseline, selection) = body.choices(now_ms);
    let (id, actor) = (services.world.uuid_v7(now_ms), caller.actor());
    let new = NewBacktest { id, point, revision, baseline, selection, actor, now_ms };
    let backtest = backtests::create(&services.app, caller.tenant, new).await?;
    let location = format!("/api/v1/rulesets/{}/backtests/{id}", point.name());
    Ok(ApiResponse::json(Status::Accepted, &BacktestShape::from(backtest))?.with("Location", location))
}

/// Lists the backtests, newest first, without their reports.
#[utoipa::path(
    tag = "backtests",
    params(
        ("limit" = Option<u32>, Query, description = "Page size, 1 to 200. Default: 50"),
        ("cursor" = Option<String>, Query),
    ),
    responses((status = 200, body = Page<BacktestShape>), SublistProblems),
    security(("oauth" = ["rulesets:read"]))
)]
#[get("/rulesets/<point>/backtests")]
pub async fn list(
    caller: Caller<RulesetsRead>,
    point: &str,
    query: Query,
    services: &ServiceState,
) -> Result<ApiResponse, Problem> {
    let point = point_of(point)?;
    let page = query.page(&services.cursors, caller.tenant, &format!("backtests {}", point.name()))?;
    let before = page.position::<Uuid>()?;
    let found = backtests::list(&services.app, caller.tenant, point, before, page.fetch_limit()).await?;
    let (found, next_cursor) = page.cut(&services.cursors, found, |backtest| backtest.id.to_string());
    let items: Vec<BacktestShape> = found.into_iter().map(BacktestShape::from).collect();
    ApiResponse::json(Status::Ok, &Page { items, next_cursor })
}

/// Returns a backtest with its report so far.
#[utoipa::path(
    tag = "backtests",
    responses((status = 200, body = BacktestShape), ReadProblems),
    security(("oauth" = ["rulesets:read"]))
)]
#[get("/rulesets/<point>/backtests/<id>")]
pub async fn one(
    caller: Caller<RulesetsRead>,
    point: &str,
    id: &str,
    services: &ServiceState,
) -> Result<ApiResponse, Problem> {
    let backtest = found(services, caller.tenant, point, id).await?;
    ApiResponse::json(Status::Ok, &BacktestShape::from(backtest))
}

async fn found(
    services: &ServiceState,
    tenant: TenantId,
    point: &str,
    id: &str,
) -> Result<Backtest, Problem> {
    let (point, id) = (point_of(point)?, backtest_id(id)?);
    let found = backtests::get(&services.app, tenant, point, id).await?;
    found.ok_or(Problem::not_found("backtest"))
}

fn backtest_id(text: &str) -> Result<Uuid, Problem> {
    text.parse().map_err(|_| Problem::not_found("backtest"))
}

/// Lists payments whose outcome would change.
///
/// Contains about the newest hundred payments of each change, and at least the newest ten of each label.
/// Also requires the scope `decisions:read`.
#[utoipa::path(
    tag = "backtests",
    params(
        ("was" = Option<String>, Query, description = "`approve`, `review` or `reject`"),
        ("would_be" = Option<String>, Query, description = "`approve`, `review` or `reject`"),
        (
            "label" = Option<String>, Query,
            description = "What happened to the payment after its decision, or `none`"
        ),
        ("limit" = Option<u32>, Query, description = "Page size, 1 to 200. Default: 50"),
        (
            "cursor" = Option<String>, Query,
            description = "Stable once the backtest has ended; while it runs, new examples may appear \
                           between pages"
        ),
    ),
    responses((status = 200, body = Page<ExampleShape>), SublistProblems),
    security(("oauth" = ["rulesets:read", "decisions:read"]))
)]
#[get("/rulesets/<point>/backtests/<id>/examples")]
pub async fn examples(
    caller: Caller<RulesetsRead>,
    _decisions: Caller<DecisionsRead>,
    point: &str,
    id: &str,
    mut query: Query,
    services: &ServiceState,
) -> Result<ApiResponse, Problem> {
    let outcome = |name: &str| Outcome::parse(name).ok_or(EXPECTED_OUTCOME);
    let (was, would_be) = (query.parsed("was", outcome), query.parsed("would_be", outcome));
    let label = query.parsed("label", |name| Label::parse(name).ok_or("expected a label used in the report"));
    let page = query.page(&services.cursors, caller.tenant, &format!("examples {id}"))?;
    let after = page.position::<usize>()?.unwrap_or(0);
    let backtest = found(services, caller.tenant, point, id).await?;
    let report = backtest.report.unwrap_or_default();
    let wanted = placed(&report).filter(|placed| {
        was.is_none_or(|was| was == placed.was)
            && would_be.is_none_or(|would_be| would_be == placed.would_be)
            && label.is_none_or(|label| label == placed.example.label)
    });
    let fetched: Vec<_> = (1_usize..).zip(wanted).skip(after).take(page.fetch_limit() as usize).collect();
    let (fetched, next_cursor) = page.cut(&services.cursors, fetched, |(place, _)| place.to_string());
    let items: Vec<ExampleShape> = fetched.into_iter().map(|(_, placed)| placed.into()).collect();
    ApiResponse::json(Status::Ok, &Page { items, next_cursor })
}

/// Cancels a waiting or running backtest. The results so far are kept.
#[utoipa::path(
    tag = "backtests",
    responses((status = 200, body = BacktestShape), CancelProblems),
    security(("oauth" = ["rulesets:write"]))
)]
#[post("/rulesets/<point>/backtests/<id>/cancel")]
pub async fn cancel(
    caller: Caller<RulesetsWrite>,
    point: &str,
    id: &str,
    services: &ServiceState,
) -> Result<ApiResponse, Problem> {
    let (point, id, now_ms) = (point_of(point)?, backtest_id(id)?, services.world.now_ms());
    let cancelled = backtests::cancel(&services.app, caller.tenant, point, id, caller.actor(), now_ms);
    ApiResponse::json(Status::Ok, &BacktestShape::from(cancelled.await?))
}
