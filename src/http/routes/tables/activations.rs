//! Which version of a table is valid from when, and the changes of that.

use rocket::http::Status;
use rocket::{Route, get, post, routes};
use serde::Serialize;
use utoipa::ToSchema;

use super::table_name;
use crate::domain::table::TableActivation;
use crate::http::edge::guard::{Caller, Conditions, ListsRead, ListsWrite};
use crate::http::openapi::problems::{ActivateTableProblems, ActivateWithoutBodyProblems, SublistProblems};
use crate::http::request::body::JsonBody;
use crate::http::request::codecs::{Integer, integer};
use crate::http::request::declaration::body;
use crate::http::request::query::Query;
use crate::http::response::moment::Moment;
use crate::http::response::problem::Problem;
use crate::http::response::{ApiResponse, Page};
use crate::http::routes::proposals::proposed;
use crate::http::routes::proposals::shapes::ProposalShape;
use crate::http::services::ServiceState;
use crate::storage::tables::{self, LogFilter, TableActivationRequest};

pub fn routes() -> Vec<Route> {
    routes![activations, activate, roll_back]
}

body! {
    pub struct TableActivationBody as "NewTableActivation" {
        version: i32 = version_number(),
    }
}

fn version_number() -> Integer<i32> {
    integer(1..=i32::MAX.into())
}

/// Parses the number of a version from a query.
pub(super) fn version_in(text: &str) -> Result<i32, &'static str> {
    text.parse().ok().filter(|number| *number > 0).ok_or("expected the number of a version")
}

/// A line of the log: the version is valid from then on, until the next line takes effect.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = TableActivation)]
pub struct TableActivationShape {
    /// Increases across all tables.
    pub sequence: i64,
    pub version: i32,
    /// What happened: `upload`, `activate` or `roll_back`.
    pub kind: &'static str,
    pub activated_by: String,
    pub activated_at_ms: Moment,
    /// When the version takes effect: two seconds later, so that every node has it by then.
    pub valid_from_ms: Moment,
}

impl From<TableActivation> for TableActivationShape {
    fn from(activation: TableActivation) -> Self {
        Self {
            sequence: activation.sequence,
            version: activation.version,
            kind: activation.kind.name(),
            activated_by: activation.activated_by,
            activated_at_ms: activation.activated_at_ms.into(),
            valid_from_ms: activation.valid_from_ms.into(),
        }
    }
}

/// The ETag of a table: the sequence of its newest activation, or `none`.
pub(super) fn activation_tag(sequence: Option<i64>) -> String {
    sequence.map_or("\"none\"".to_owned(), |sequence| format!("\"{sequence}\""))
}

async fn add(
    services: &ServiceState,
    caller: &Caller<ListsWrite>,
    name: &str,
    request: TableActivationRequest,
    conditions: Conditions,
) -> Result<ApiResponse, Problem> {
    let (name, actor) = (table_name(name)?, caller.actor());
    let (app, world) = (&services.app, &services.world);
    let activated =
        tables::activate(app, world, caller.tenant, &name, request, actor.into(), conditions.0).await?;
    let tag = activation_tag(Some(activated.sequence));
    Ok(ApiResponse::json(Status::Created, &TableActivationShape::from(activated))?.with("ETag", tag))
}

/// Makes an earlier version valid again, two seconds later.
///
/// An uploaded version needs no activation. With `If-Match`, only if no activation was added since you
/// read the table.
#[utoipa::path(
    tag = "tables",
    params(
        ("If-Match" = Option<String>, Header, description = "ETag that the table must have"),
        ("If-None-Match" = Option<String>, Header, description = "ETags that the table must not have"),
    ),
    request_body(content = TableActivationBody, content_type = "application/json"),
    responses(
        (status = 201, body = TableActivationShape, headers(("ETag"))),
        (status = 202, body = ProposalShape, headers(("Location"))),
        ActivateTableProblems,
    ),
    security(("oauth" = ["lists:write"]))
)]
#[post("/tables/<name>/activations", data = "<body>")]
pub async fn activate(
    caller: Caller<ListsWrite>,
    name: &str,
    conditions: Conditions,
    services: &ServiceState,
    body: JsonBody,
) -> Result<ApiResponse, Problem> {
    let TableActivationBody { version } = body.read(services.world.now_ms())?;
    if services.proposals.is_needed(caller.tenant).await? {
        let table = table_name(name)?;
        let change = services.proposals.table_activation(caller.tenant, &table, version, &conditions.0);
        return proposed(services, &caller, change.await?).await;
    }
    add(services, &caller, name, TableActivationRequest::Activate { version }, conditions).await
}

/// Rolls back to the version before the active one, or to the one given, two seconds later.
#[utoipa::path(
    tag = "tables",
    params(
        ("version" = Option<i32>, Query, description = "Default: the one with the next lower number"),
        ("If-Match" = Option<String>, Header, description = "ETag that the table must have"),
        ("If-None-Match" = Option<String>, Header, description = "ETags that the table must not have"),
    ),
    responses((status = 201, body = TableActivationShape, headers(("ETag"))), ActivateWithoutBodyProblems),
    security(("oauth" = ["lists:write"]))
)]
#[post("/tables/<name>/rollback")]
pub async fn roll_back(
    caller: Caller<ListsWrite>,
    name: &str,
    conditions: Conditions,
    mut query: Query,
    services: &ServiceState,
) -> Result<ApiResponse, Problem> {
    let version = query.parsed("version", version_in);
    query.finish()?;
    add(services, &caller, name, TableActivationRequest::RollBack { version }, conditions).await
}

/// Lists the activations of a table, newest first.
#[utoipa::path(
    tag = "tables",
    params(
        ("limit" = Option<u32>, Query, description = "Page size, 1 to 200. Default: 50"),
        ("cursor" = Option<String>, Query),
    ),
    responses((status = 200, body = Page<TableActivationShape>), SublistProblems),
    security(("oauth" = ["lists:read"]))
)]
#[get("/tables/<name>/activations")]
pub async fn activations(
    caller: Caller<ListsRead>,
    name: &str,
    query: Query,
    services: &ServiceState,
) -> Result<ApiResponse, Problem> {
    let page = query.page(&services.cursors, caller.tenant, &format!("table activations {name}"))?;
    let filter = LogFilter { before: page.position::<i64>()?, ..LogFilter::default() };
    let table = super::table(services, caller.tenant, name).await?;
    let limit = page.fetch_limit();
    let found = tables::activations(&services.app, caller.tenant, &table.name, filter, limit).await?;
    let (found, next_cursor) =
        page.cut(&services.cursors, found, |activation| activation.sequence.to_string());
    let items: Vec<TableActivationShape> = found.into_iter().map(TableActivationShape::from).collect();
    ApiResponse::json(Status::Ok, &Page { items, next_cursor })
}
