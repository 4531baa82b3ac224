//! Reference tables. DELETE closes a table; its versions stay, to explain past decisions.

pub mod activations;
pub mod rows;
pub mod versions;

use rocket::http::Status;
use rocket::{Route, delete, get, post, routes};
use serde::Serialize;
use utoipa::ToSchema;

use crate::domain::comparison::ValueKind;
use crate::domain::selector::TableLookup;
use crate::domain::table::{
    COLUMN_NAME_LENGTH_MAX, COLUMNS_MAX, CellKind, Column, ColumnName, SchemaError, TableActivation,
    TableName, TableSchema,
};
use crate::domain::tenant::TenantId;
use crate::http::edge::guard::{Caller, ListsRead, ListsWrite};
use crate::http::openapi::problems::{CancelProblems, CreateProblems, ListProblems, ReadProblems};
use crate::http::request::body::JsonBody;
use crate::http::request::codecs::{Parsed, items, named, object, or, parsed, text};
use crate::http::request::declaration::{body, named};
use crate::http::request::fields::refused;
use crate::http::request::query::Query;
use crate::http::response::moment::Moment;
use crate::http::response::problem::Problem;
use crate::http::response::{ApiResponse, Page};
use crate::http::routes::lists::{KindShape, slug};
use crate::http::routes::proposals::proposed;
use crate::http::routes::proposals::shapes::ProposalShape;
use crate::http::routes::tables::activations::{TableActivationShape, activation_tag};
use crate::http::services::{ServiceState, Services};
use crate::storage::tables::{self, NewTable, Table};

pub fn routes() -> Vec<Route> {
    routes![create, list, one, close]
}

named! {
    /// How a row is found. `exact`: its key is the value. `longest_prefix`: its key is the longest that
    /// the value begins with. `range`: its range contains every number that begins with the value.
    pub struct LookupShape(TableLookup) as "TableLookup";
}

named! {
    /// What the cells of a column are. `number`: a decimal number with at most six decimals. `flag`:
    /// `true` or `false`.
    pub struct CellKindShape(CellKind) as "TableColumnKind";
}

body! {
    pub struct ColumnBody as "TableColumn" {
        /// Lower-case words joined by underscores, other than `key`, `from` and `to`.
        #[example = "issuer"]
        name: ColumnName = column_name(),
        kind: CellKind = named::<CellKindShape>(),
    }
}

body! {
    pub struct TableBody as "NewTable" {
        /// Lower-case words joined by hyphens.
        #[example = "card-ranges"]
        name: String = slug(),
        lookup: TableLookup = named::<LookupShape>(),
        /// What the keys are. Decides how they are compared with values of payments.
        kind: ValueKind = named::<KindShape>(),
        /// The columns beside that of the key, `key`, or those of a range, `from` and `to`.
        columns: Vec<ColumnBody> = items(object::<ColumnBody>(), COLUMNS_MAX),
        description: String = or(text(500), String::new()),
    }
    check |fields, lookup, kind, columns| {
        match schema_of(*lookup, *kind, columns) {
            Ok(_) => {}
            Err(error @ SchemaError::Lookup) => fields.error("kind", error.to_string()),
            Err(error) => fields.error("columns", error.to_string()),
        }
    }
}

fn column_name() -> Parsed<ColumnName, &'static str> {
    let show = |name: &ColumnName| name.as_str().to_owned();
    parsed(ColumnName::parse, show).length(1..=COLUMN_NAME_LENGTH_MAX).pattern("^[a-z][a-z0-9_]*$")
}

fn schema_of(
    lookup: TableLookup,
    kind: ValueKind,
    columns: &[ColumnBody],
) -> Result<TableSchema, SchemaError> {
    let column = |body: &ColumnBody| Column { name: body.name.clone(), kind: body.kind };
    TableSchema::new(lookup, kind, columns.iter().map(column).collect())
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Table)]
pub struct TableShape {
    pub name: String,
    pub lookup: LookupShape,
    pub kind: KindShape,
    pub columns: Vec<ColumnBody>,
    pub description: String,
    /// The number of the newest version. Absent until one is uploaded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub newest_version: Option<i32>,
    /// The newest activation. Only in the response for one table.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub activation: Option<TableActivationShape>,
    pub created_by: String,
    pub created_at_ms: Moment,
    /// When the table was closed. A closed table accepts no more versions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub closed_at_ms: Option<Moment>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub closed_by: Option<String>,
}

impl TableShape {
    fn of(table: Table, activation: Option<TableActivation>) -> Self {
        let (closed_by, closed_at_ms) = table.closed.unzip();
        let column = |column: &Column| ColumnBody { name: column.name.clone(), kind: column.kind };
        Self {
            name: table.name.as_str().to_owned(),
            lookup: table.schema.lookup().into(),
            kind: table.schema.kind().into(),
            columns: table.schema.columns().iter().map(column).collect(),
            description: table.description,
            newest_version: table.newest_version,
            activation: activation.map(TableActivationShape::from),
            created_by: table.created_by,
            created_at_ms: table.created_at_ms.into(),
            closed_at_ms: closed_at_ms.map(Moment),
            closed_by,
        }
    }
}

/// Parses a name from a path: no table has any other name.
fn table_name(text: &str) -> Result<TableName, Problem> {
    TableName::parse(text).ok_or(Problem::not_found("table"))
}

/// The table with a name from a path.
async fn table(services: &Services, tenant: TenantId, name: &str) -> Result<Table, Problem> {
    let name = table_name(name)?;
    tables::get(&services.app, tenant, &name).await?.ok_or(Problem::not_found("table"))
}

/// Creates a table without rows.
///
/// How its rows are found, the kind of its keys and its columns can not be changed later.
#[utoipa::path(
    tag = "tables",
    request_body(content = TableBody, content_type = "application/json"),
    responses((status = 201, body = TableShape, headers(("Location"))), CreateProblems),
    security(("oauth" = ["lists:write"]))
)]
#[post("/tables", data = "<body>")]
pub async fn create(
    caller: Caller<ListsWrite>,
    services: &ServiceState,
    body: JsonBody,
) -> Result<ApiResponse, Problem> {
    let now_ms = services.world.now_ms();
    let TableBody { name, lookup, kind, columns, description } = body.read(now_ms)?;
    let schema = schema_of(lookup, kind, &columns).map_err(|_| refused(Vec::new()))?;
    let name = TableName::parse(&name).ok_or_else(|| refused(Vec::new()))?;
    let new = NewTable { name, description, schema, created_by: caller.actor(), created_at_ms: now_ms };
    tables::create(&services.app, caller.tenant, new.clone(), services.quotas.tables.tables_max).await?;
    let location = format!("/api/v1/tables/{}", new.name.as_str());
    let shape = TableShape::of(Table::from(new), None);
    Ok(ApiResponse::json(Status::Created, &shape)?.with("Location", location))
}

/// Lists the tables by name, including closed ones.
#[utoipa::path(
    tag = "tables",
    params(
        ("limit" = Option<u32>, Query, description = "Page size, 1 to 200. Default: 50"),
        ("cursor" = Option<String>, Query),
    ),
    responses((status = 200, body = Page<TableShape>), ListProblems),
    security(("oauth" = ["lists:read"]))
)]
#[get("/tables")]
pub async fn list(
    caller: Caller<ListsRead>,
    query: Query,
    services: &ServiceState,
) -> Result<ApiResponse, Problem> {
    let page = query.page(&services.cursors, caller.tenant, "tables")?;
    let after = page.position::<String>()?;
    let found = tables::list(&services.app, caller.tenant, after, page.fetch_limit()).await?;
    let (found, next_cursor) = page.cut(&services.cursors, found, |table| table.name.as_str().to_owned());
    let items: Vec<TableShape> = found.into_iter().map(|table| TableShape::of(table, None)).collect();
    ApiResponse::json(Status::Ok, &Page { items, next_cursor })
}

/// Returns a table and its newest activation.
///
/// Use the `ETag` as `If-Match` of the next activation or rollback.
#[utoipa::path(
    tag = "tables",
    responses((status = 200, body = TableShape, headers(("ETag"))), ReadProblems),
    security(("oauth" = ["lists:read"]))
)]
#[get("/tables/<name>")]
pub async fn one(
    caller: Caller<ListsRead>,
    name: &str,
    services: &ServiceState,
) -> Result<ApiResponse, Problem> {
    let table = table(services, caller.tenant, name).await?;
    let activation = tables::latest(&services.app, caller.tenant, &table.name).await?;
    let tag = activation_tag(activation.as_ref().map(|activation| activation.sequence));
    Ok(ApiResponse::json(Status::Ok, &TableShape::of(table, activation))?.with("ETag", tag))
}

/// Closes a table permanently.
///
/// A closed table accepts no more versions and activations. The table and its versions are kept.
#[utoipa::path(
    tag = "tables",
    responses(
        (status = 204, description = "Closed"),
        (status = 202, body = ProposalShape, headers(("Location"))),
        CancelProblems,
    ),
    security(("oauth" = ["lists:write"]))
)]
#[delete("/tables/<name>")]
pub async fn close(
    caller: Caller<ListsWrite>,
    name: &str,
    services: &ServiceState,
) -> Result<ApiResponse, Problem> {
    let name = table_name(name)?;
    if services.proposals.is_needed(caller.tenant).await? {
        let change = services.proposals.table_closed(caller.tenant, &name).await?;
        return proposed(services, &caller, change).await;
    }
    let now_ms = services.world.now_ms();
    tables::close(&services.app, caller.tenant, &name, now_ms, caller.actor().into()).await?;
    Ok(ApiResponse::empty(Status::NoContent))
}
