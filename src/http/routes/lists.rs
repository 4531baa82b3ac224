//! Lists of values that rules query. DELETE closes a list; its entries stay, to explain past
//! decisions.

pub mod entries;
pub mod lines;

use rocket::http::Status;
use rocket::{Route, delete, get, post, routes};
use serde::Serialize;
use utoipa::ToSchema;

use crate::domain::comparison::ValueKind;
use crate::domain::ruleset::is_slug;
use crate::http::edge::guard::{Caller, ListsRead, ListsWrite};
use crate::http::openapi::problems::{CancelProblems, CreateProblems, ListProblems};
use crate::http::request::body::JsonBody;
use crate::http::request::codecs::{Parsed, named, or, parsed, text};
use crate::http::request::declaration::{body, named};
use crate::http::request::query::Query;
use crate::http::response::moment::Moment;
use crate::http::response::problem::Problem;
use crate::http::response::{ApiResponse, Page};
use crate::http::routes::proposals::proposed;
use crate::http::routes::proposals::shapes::ProposalShape;
use crate::http::services::ServiceState;
use crate::storage::lists::{self, List, NewList};

pub fn routes() -> Vec<Route> {
    routes![create, all, close]
}

named! {
    /// What the values on a list are. Decides how they are read and compared.
    ///
    /// `account`: IBANs and other account numbers, complete or only their beginnings. `bank`: BICs and
    /// other bank identifiers. `country`: ISO 3166-1 alpha-2 codes. `ip`: addresses and CIDR ranges.
    /// `text` can be used for customer, merchant, device, card and metadata.
    pub struct KindShape(ValueKind) as "ListKind";
}

body! {
    pub struct ListBody as "NewList" {
        /// Lower-case words joined by hyphens.
        #[example = "blocked-accounts"]
        name: String = slug(),
        kind: ValueKind = named::<KindShape>(),
        description: String = or(text(500), String::new()),
    }
}

pub(super) fn slug() -> Parsed<String, &'static str> {
    fn parse(text: &str) -> Result<String, &'static str> {
        let expected = "expected lower-case words joined by hyphens, at most 64 characters";
        if is_slug(text) { Ok(text.to_owned()) } else { Err(expected) }
    }
    parsed(parse, String::clone).length(1..=64).pattern("^[a-z0-9]+(-[a-z0-9]+)*$")
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = List)]
pub struct ListShape {
    pub name: String,
    pub kind: KindShape,
    /// Only on a list that was created before lists had a kind and that rules use for several kinds.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    pub further_kinds: Vec<KindShape>,
    pub description: String,
    /// Number of entries without an end.
    pub open_entries: u64,
    pub created_by: String,
    pub created_at_ms: Moment,
    /// When the list was closed. A closed list accepts no more entries, and new revisions cannot use it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub closed_at_ms: Option<Moment>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub closed_by: Option<String>,
}

impl From<List> for ListShape {
    fn from(list: List) -> Self {
        let mut kinds = list.kinds.iter().map(KindShape::from);
        let (closed_by, closed_at_ms) = list.closed.unzip();
        Self {
            name: list.name,
            kind: kinds.next().unwrap_or(KindShape(ValueKind::Text)),
            further_kinds: kinds.collect(),
            description: list.description,
            open_entries: list.open_entries,
            created_by: list.created_by,
            created_at_ms: list.created_at_ms.into(),
            closed_at_ms: closed_at_ms.map(Moment),
            closed_by,
        }
    }
}

/// Checks a name from a path: Postgres refuses some characters.
pub(super) fn list_name(text: &str) -> Result<&str, Problem> {
    if is_slug(text) { Ok(text) } else { Err(Problem::not_found("list")) }
}

/// Creates an empty list.
///
/// The kind decides how its entries are read and compared.
#[utoipa::path(
    tag = "lists",
    request_body(content = ListBody, content_type = "application/json"),
    responses((status = 201, body = ListShape, headers(("Location"))), CreateProblems),
    security(("oauth" = ["lists:write"]))
)]
#[post("/lists", data = "<body>")]
pub async fn create(
    caller: Caller<ListsWrite>,
    services: &ServiceState,
    body: JsonBody,
) -> Result<ApiResponse, Problem> {
    let now_ms = services.world.now_ms();
    let ListBody { name, kind, description } = body.read(now_ms)?;
    let new = NewList { name, kind, description, created_by: caller.actor(), created_at_ms: now_ms };
    lists::create(&services.app, caller.tenant, new.clone(), services.quotas.lists_max).await?;
    let location = format!("/api/v1/lists/{}/entries", new.name);
    let shape = ListShape::from(List::from(new));
    Ok(ApiResponse::json(Status::Created, &shape)?.with("Location", location))
}

/// Lists the lists by name, including closed ones.
#[utoipa::path(
    tag = "lists",
    params(
        ("limit" = Option<u32>, Query, description = "Page size, 1 to 200. Default: 50"),
        ("cursor" = Option<String>, Query),
    ),
    responses((status = 200, body = Page<ListShape>), ListProblems),
    security(("oauth" = ["lists:read"]))
)]
#[get("/lists")]
pub async fn all(
    caller: Caller<ListsRead>,
    query: Query,
    services: &ServiceState,
) -> Result<ApiResponse, Problem> {
    let page = query.page(&services.cursors, caller.tenant, "lists")?;
    let after = page.position::<String>()?;
    let found = lists::list(&services.app, caller.tenant, after, page.fetch_limit()).await?;
    let (found, next_cursor) = page.cut(&services.cursors, found, |list| list.name.clone());
    let items: Vec<ListShape> = found.into_iter().map(ListShape::from).collect();
    ApiResponse::json(Status::Ok, &Page { items, next_cursor })
}

/// Closes a list permanently.
///
/// A closed list accepts no more entries, and new revisions cannot use it. The list and its entries are
/// kept. Refused while an active, canary or shadow revision uses the list.
#[utoipa::path(
    tag = "lists",
    responses(
        (status = 204, description = "Closed"),
        (status = 202, body = ProposalShape, headers(("Location"))),
        CancelProblems,
    ),
    security(("oauth" = ["lists:write"]))
)]
#[delete("/lists/<name>")]
pub async fn close(
    caller: Caller<ListsWrite>,
    name: &str,
    services: &ServiceState,
) -> Result<ApiResponse, Problem> {
    let name = list_name(name)?;
    if services.proposals.is_needed(caller.tenant).await? {
        let change = services.proposals.list_closed(caller.tenant, name).await?;
        return proposed(services, &caller, change).await;
    }
    lists::close(&services.app, caller.tenant, name, services.world.now_ms(), caller.actor().into()).await?;
    Ok(ApiResponse::empty(Status::NoContent))
}
