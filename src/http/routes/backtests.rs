//! Backtests: a candidate revision over stored decisions.
//!
//! Owns the reading of what is asked for. Must never name a payment to a token
//! without `decisions:read`.

mod shapes;

use rocket::http::Status;
use rocket::{Route, get, post, routes};
use uuid::Uuid;

use crate::domain::backtest::label::Label;
use crate::domain::backtest::{Backtest, BacktestFilter, BacktestSelection, Baseline};
use crate::domain::decision::Origin;
use crate::domain::money::{AMOUNT_MINOR_MAX, Currency};
use crate::domain::payment::Method;
use crate::domain::tenant::TenantId;
use crate::domain::verdict::Outcome;
use crate::http::edge::guard::{Client, DecisionsRead, RulesetsRead, RulesetsWrite};
use crate::http::openapi::problems::{CancelProblems, CreateBacktestProblems, ReadProblems, SublistProblems};
use crate::http::request::body::JsonBody;
use crate::http::request::fields::Fields;
use crate::http::request::query::{Query, TIME_MS_MAX};
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
    client: Client<RulesetsWrite>,
    point: &str,
    services: &ServiceState,
    body: JsonBody,
) -> Result<ApiResponse, Problem> {
    let point = point_of(point)?;
    let now_ms = services.world.now_ms();
    let (revision, baseline, selection) = body.read(|fields| {
        let revision = fields.integer("revision", 1..=i64::from(i32::MAX));
        let baseline = baseline(fields);
        let selection = selection(fields, now_ms);
        let revision = i32::try_from(revision?).ok()?;
        Some((revision, baseline, selection))
    })?;
    let (id, actor) = (services.world.uuid_v7(now_ms), client.actor());
    let new = NewBacktest { id, point, revision, baseline, selection, actor, now_ms };
    let backtest = backtests::create(&services.app, client.tenant, new).await?;
    let location = format!("/api/v1/rulesets/{}/backtests/{id}", point.name());
    Ok(ApiResponse::json(Status::Accepted, &BacktestShape::from(backtest))?.with("Location", location))
}

fn baseline(fields: &mut Fields<'_>) -> Baseline {
    let named = fields.optional_parsed("baseline", |name| match name {
        "recorded" => Ok(Baseline::Recorded),
        "active" => Ok(Baseline::Active),
        _ => Err("expected recorded or active"),
    });
    let number = fields.optional_integer("baseline_revision", 1..=i64::from(i32::MAX));
    if fields.has("baseline") && fields.has("baseline_revision") {
        fields.error("baseline_revision", "cannot be combined with baseline");
    }
    let number = number.and_then(|number| i32::try_from(number).ok()).map(Baseline::Revision);
    named.or(number).unwrap_or(Baseline::Recorded)
}

fn selection(fields: &mut Fields<'_>, now_ms: u64) -> BacktestSelection {
    let times = 0..=TIME_MS_MAX.cast_signed();
    let from_ms = fields.optional_integer("from_ms", times.clone()).map(i64::cast_unsigned);
    let to_ms = fields.optional_integer("to_ms", times).map(i64::cast_unsigned);
    if from_ms.zip(to_ms).is_some_and(|(from_ms, to_ms)| to_ms <= from_ms) {
        fields.error("to_ms", "must be later than from_ms");
    }
    let newest = fields.optional_integer("newest", 1..=i64::MAX).map(i64::cast_unsigned);
    let filter = fields.optional_nested("filter", |fields| Some(filter(fields))).unwrap_or_default();
    BacktestSelection { from_ms, to_ms: to_ms.map_or(now_ms, |to_ms| to_ms.min(now_ms)), newest, filter }
}

fn filter(fields: &mut Fields<'_>) -> BacktestFilter {
    let amounts = 1..=AMOUNT_MINOR_MAX;
    let expected_method = "expected card, credit_transfer, instant, direct_debit, wallet or other";
    let filter = BacktestFilter {
        outcome: fields.optional_parsed("outcome", |name| Outcome::parse(name).ok_or(EXPECTED_OUTCOME)),
        method: fields.optional_parsed("method", |name| Method::parse(name).ok_or(expected_method)),
        currency: fields.optional_parsed("currency", Currency::parse),
        amount_minor_min: fields.optional_integer("amount_minor_min", amounts.clone()),
        amount_minor_max: fields.optional_integer("amount_minor_max", amounts),
        origin: fields.optional_parsed("origin", |name| Origin::parse(name).ok_or("expected api or import")),
    };
    if filter.amount_minor_min.zip(filter.amount_minor_max).is_some_and(|(least, most)| most < least) {
        fields.error("amount_minor_max", "must not be less than amount_minor_min");
    }
    filter
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
    client: Client<RulesetsRead>,
    point: &str,
    query: Query,
    services: &ServiceState,
) -> Result<ApiResponse, Problem> {
    let point = point_of(point)?;
    let page = query.page(&services.cursors, client.tenant, &format!("backtests {}", point.name()))?;
    let before = page.position::<Uuid>()?;
    let found = backtests::list(&services.app, client.tenant, point, before, page.fetch_limit()).await?;
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
    client: Client<RulesetsRead>,
    point: &str,
    id: &str,
    services: &ServiceState,
) -> Result<ApiResponse, Problem> {
    let backtest = found(services, client.tenant, point, id).await?;
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
    client: Client<RulesetsRead>,
    _decisions: Client<DecisionsRead>,
    point: &str,
    id: &str,
    mut query: Query,
    services: &ServiceState,
) -> Result<ApiResponse, Problem> {
    let outcome = |name: &str| Outcome::parse(name).ok_or(EXPECTED_OUTCOME);
    let (was, would_be) = (query.parsed("was", outcome), query.parsed("would_be", outcome));
    let label = query.parsed("label", |name| Label::parse(name).ok_or("expected a label used in the report"));
    let page = query.page(&services.cursors, client.tenant, &format!("examples {id}"))?;
    let after = page.position::<usize>()?.unwrap_or(0);
    let backtest = found(services, client.tenant, point, id).await?;
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
    client: Client<RulesetsWrite>,
    point: &str,
    id: &str,
    services: &ServiceState,
) -> Result<ApiResponse, Problem> {
    let (point, id, now_ms) = (point_of(point)?, backtest_id(id)?, services.world.now_ms());
    let cancelled = backtests::cancel(&services.app, client.tenant, point, id, client.actor(), now_ms);
    ApiResponse::json(Status::Ok, &BacktestShape::from(cancelled.await?))
}
