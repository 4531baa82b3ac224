//! The versions of a table: uploading and reading them.

use rocket::http::Status;
use rocket::{Route, get, post, routes};
use serde::Serialize;
use utoipa::ToSchema;

use crate::decisions::spool::SpoolError;
use crate::decisions::tables::RowsUpload;
use crate::domain::tenant::TenantId;
use crate::http::edge::guard::{Caller, ListsRead, ListsWrite};
use crate::http::openapi::problems::{ReadProblems, SublistProblems, UploadRowsProblems};
use crate::http::request::body::RowsBody;
use crate::http::request::query::Query;
use crate::http::response::moment::Moment;
use crate::http::response::problem::Problem;
use crate::http::response::{ApiResponse, Page};
use crate::http::routes::proposals::proposed;
use crate::http::routes::proposals::shapes::ProposalShape;
use crate::http::routes::tables::activations::activation_tag;
use crate::http::services::{ServiceState, Services};
use crate::storage::rulesets::ExpectedActivation;
use crate::storage::tables::{self, Table, TableVersion};

const NOTE_LENGTH_MAX: usize = 500;

pub fn routes() -> Vec<Route> {
    routes![versions, version]
}

/// Separate from `routes`, since a million rows need a longer deadline.
pub fn upload_routes() -> Vec<Route> {
    routes![upload]
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = TableVersion)]
pub struct TableVersionShape {
    pub number: i32,
    pub rows: u32,
    /// The size of the rows as they are stored.
    pub size_bytes: u64,
    /// SHA-256 of the columns and rows, in hexadecimal. The order of the uploaded rows does not matter.
    pub digest: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    #[schema(required = false)]
    pub note: String,
    pub created_by: String,
    pub created_at_ms: Moment,
    /// When the version first takes effect: two seconds after it was stored, so that every node has it
    /// by then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub valid_from_ms: Option<Moment>,
}

impl From<TableVersion> for TableVersionShape {
    fn from(version: TableVersion) -> Self {
        Self {
            number: version.number,
            rows: version.rows,
            size_bytes: version.size_bytes,
            digest: version.digest.to_string(),
            note: version.note,
            created_by: version.created_by,
            created_at_ms: version.created_at_ms.into(),
            valid_from_ms: version.valid_from_ms.map(Moment),
        }
    }
}

/// The version with a number from a path.
pub(super) async fn find_version(
    services: &Services,
    tenant: TenantId,
    table: &Table,
    number: &str,
) -> Result<TableVersion, Problem> {
    let not_found = || Problem::not_found("version");
    let number: i32 = number.parse().map_err(|_| not_found())?;
    tables::version(&services.app, tenant, &table.name, number).await?.ok_or_else(not_found)
}

/// Uploads a version: all rows of the table, as CSV or JSON lines.
///
/// CSV needs a header line with the names of all columns, in any order; an empty cell has no value.
/// Either all rows are stored or none. Errors name the line and the column, for example `/17/issuer`.
/// The version takes effect at `valid_from_ms`. If the tenant needs a second person, the response is 202
/// with a proposal to activate it. After a lost response, list the versions before you
/// repeat the upload: each upload is a new version.
#[utoipa::path(
    tag = "tables",
    params(("note" = Option<String>, Query, description = "Why the version was made")),
    request_body(content((String = "application/x-ndjson"), (String = "text/csv"))),
    responses(
        (status = 201, body = TableVersionShape, headers(("Location"), ("ETag"))),
        (status = 202, body = ProposalShape, headers(("Location"))),
        UploadRowsProblems,
    ),
    security(("oauth" = ["lists:write"]))
)]
#[post("/tables/<name>/versions", data = "<body>")]
pub async fn upload(
    caller: Caller<ListsWrite>,
    name: &str,
    mut query: Query,
    services: &ServiceState,
    body: RowsBody,
) -> Result<ApiResponse, Problem> {
    let note = query.text("note", NOTE_LENGTH_MAX).unwrap_or_default();
    query.finish()?;
    let table = super::table(services, caller.tenant, name).await?;
    let location = format!("/api/v1/tables/{name}/versions");
    let RowsBody { format, spool, turn } = body;
    let activates = !services.proposals.is_needed(caller.tenant).await?;
    let table_name = table.name.clone();
    let upload = RowsUpload {
        tenant: caller.tenant,
        table,
        format,
        source: spool.into_reader().map_err(SpoolError::Keep)?,
        unchecked: services.card_checks.unchecked(caller.tenant),
        note,
        actor: caller.actor(),
        activates,
    };
    let uploaded = services.tables.upload(upload).await;
    drop(turn);
    let (version, activation) = uploaded?;
    let Some(activation) = activation else {
        let (number, expected) = (version.number, ExpectedActivation::default());
        let change = services.proposals.table_activation(caller.tenant, &table_name, number, &expected);
        return proposed(services, &caller, change.await?).await;
    };
    let location = format!("{location}/{}", version.number);
    let shape = TableVersionShape::from(version);
    let tag = activation_tag(Some(activation.sequence));
    Ok(ApiResponse::json(Status::Created, &shape)?.with("Location", location).with("ETag", tag))
}

/// Lists the versions of a table, newest first.
#[utoipa::path(
    tag = "tables",
    params(
        ("limit" = Option<u32>, Query, description = "Page size, 1 to 200. Default: 50"),
        ("cursor" = Option<String>, Query),
    ),
    responses((status = 200, body = Page<TableVersionShape>), SublistProblems),
    security(("oauth" = ["lists:read"]))
)]
#[get("/tables/<name>/versions")]
pub async fn versions(
    caller: Caller<ListsRead>,
    name: &str,
    query: Query,
    services: &ServiceState,
) -> Result<ApiResponse, Problem> {
    let page = query.page(&services.cursors, caller.tenant, &format!("table versions {name}"))?;
    let before = page.position::<i32>()?;
    let table = super::table(services, caller.tenant, name).await?;
    let limit = page.fetch_limit();
    let found = tables::versions(&services.app, caller.tenant, &table.name, before, limit).await?;
    let (found, next_cursor) = page.cut(&services.cursors, found, |version| version.number.to_string());
    let items: Vec<TableVersionShape> = found.into_iter().map(TableVersionShape::from).collect();
    ApiResponse::json(Status::Ok, &Page { items, next_cursor })
}

/// Returns a version.
#[utoipa::path(
    tag = "tables",
    responses((status = 200, body = TableVersionShape), ReadProblems),
    security(("oauth" = ["lists:read"]))
)]
#[get("/tables/<name>/versions/<number>")]
pub async fn version(
    caller: Caller<ListsRead>,
    name: &str,
    number: &str,
    services: &ServiceState,
) -> Result<ApiResponse, Problem> {
    let table = super::table(services, caller.tenant, name).await?;
    let version = find_version(services, caller.tenant, &table, number).await?;
    ApiResponse::json(Status::Ok, &TableVersionShape::from(version))
}
