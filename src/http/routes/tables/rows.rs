//! The rows of a version: downloaded, looked up by a value, and compared with another version.

use std::io;

use futures::{StreamExt, TryStreamExt, stream};
use rocket::http::{ContentType, Header, Status};
use rocket::response::{self, Responder, Response};
use rocket::{Request, Route, get, routes};
use serde::Serialize;
use serde_json::value::RawValue;
use tokio_util::io::StreamReader;
use utoipa::openapi::{ObjectBuilder, RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use super::activations::version_in;
use super::versions::find_version;
use crate::decisions::tables::writing::{header_line, row_line, row_object};
use crate::decisions::tables::{DifferenceCounts, Differences, DifferencesRequest};
use crate::domain::line_format::LineFormat;
use crate::domain::table::{CELL_TEXT_LENGTH_MAX, Row, RowChange, TableSchema, rows_of};
use crate::domain::tenant::TenantId;
use crate::http::edge::guard::{Caller, ListsRead};
use crate::http::openapi::problems::SublistProblems;
use crate::http::request::fields::text_error;
use crate::http::request::query::Query;
use crate::http::response::ApiResponse;
use crate::http::response::problem::{PartError, Problem, ProblemKind};
use crate::http::services::ServiceState;
use crate::storage::StorageError;
use crate::storage::pool::AppPool;
use crate::storage::tables::{self, StoredChunk, Table, TableVersion};

pub fn routes() -> Vec<Route> {
    routes![download, look_up]
}

/// Separate from `routes`, since comparing a million rows needs a longer deadline.
pub fn comparison_routes() -> Vec<Route> {
    routes![diff]
}

/// A row as an object with its key (`key`, or `from` and `to`) and its cells that are not empty, by
/// the names of their columns.
#[derive(Debug, Serialize)]
#[serde(transparent)]
pub struct RowShape(Box<RawValue>);

impl PartialSchema for RowShape {
    fn schema() -> RefOr<Schema> {
        let words = "The key of a row (`key`, or `from` and `to`) and its cells that are not empty, by the names \
                     of their columns.";
        ObjectBuilder::new().description(Some(words)).into()
    }
}

impl ToSchema for RowShape {
    fn name() -> std::borrow::Cow<'static, str> {
        "TableRow".into()
    }
}

impl RowShape {
    fn of(schema: &TableSchema, row: &Row) -> Result<Self, Problem> {
        RawValue::from_string(row_object(schema, row)).map(Self).map_err(|error| {
            tracing::error!(%error, "a row could not be written as JSON");
            Problem::new(ProblemKind::Internal, "The cause is logged under this request id.")
        })
    }
}

/// The row that a value finds.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = FoundTableRow)]
pub struct FoundRowShape {
    pub version: i32,
    pub row: RowShape,
}

/// How a row differs: it has `after` if it was added, `before` if it was removed, both if it was changed.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = TableRowChange)]
pub struct RowChangeShape {
    /// `added`, `removed` or `changed`.
    pub kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<RowShape>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<RowShape>,
}

impl RowChangeShape {
    fn of(schema: &TableSchema, change: &RowChange) -> Result<Self, Problem> {
        let shape = |row| RowShape::of(schema, row).map(Some);
        Ok(match change {
            RowChange::Added(after) => Self { kind: "added", before: None, after: shape(after)? },
            RowChange::Removed(before) => Self { kind: "removed", before: shape(before)?, after: None },
            RowChange::Changed { before, after } => {
                Self { kind: "changed", before: shape(before)?, after: shape(after)? }
            }
        })
    }
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = TableDiffCounts)]
pub struct DiffCountsShape {
    pub added: u64,
    pub removed: u64,
    pub changed: u64,
}

impl From<DifferenceCounts> for DiffCountsShape {
    fn from(counts: DifferenceCounts) -> Self {
        let DifferenceCounts { added, removed, changed } = counts;
        Self { added, removed, changed }
    }
}

/// The rows that differ between two versions, in the order of their keys.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = TableDiff)]
pub struct DiffShape {
    /// How many rows differ. Only on the first page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub counts: Option<DiffCountsShape>,
    pub items: Vec<RowChangeShape>,
    /// Pass this as `cursor` to get the next page. Absent on the last page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
}

/// Downloads the rows of a version in the order of their keys, in a form that can be uploaded again.
///
/// Keys are in their canonical form.
#[utoipa::path(
    tag = "tables",
    params(("format" = Option<String>, Query, description = "`csv` or `jsonl`. Default: `csv`")),
    responses(
        (status = 200, content((String = "text/csv"), (String = "application/x-ndjson"))),
        SublistProblems,
    ),
    security(("oauth" = ["lists:read"]))
)]
#[get("/tables/<name>/versions/<number>/rows")]
pub async fn download(
    caller: Caller<ListsRead>,
    name: &str,
    number: &str,
    mut query: Query,
    services: &ServiceState,
) -> Result<RowsDownload, Problem> {
    let format = query.parsed("format", LineFormat::parse).unwrap_or(LineFormat::Csv);
    query.finish()?;
    let table = super::table(services, caller.tenant, name).await?;
    let version = find_version(services, caller.tenant, &table, number).await?;
    let file_name = format!("{name}-{}", version.number);
    let schema = table.schema;
    Ok(RowsDownload { app: services.app.clone(), tenant: caller.tenant, schema, version, format, file_name })
}

/// The rows of a version, of which only a part is in memory, since clients may read slowly.
#[derive(Debug)]
pub struct RowsDownload {
    app: AppPool,
    tenant: TenantId,
    schema: TableSchema,
    version: TableVersion,
    format: LineFormat,
    /// Without its extension.
    file_name: String,
}

impl RowsDownload {
    async fn part(&self, place: i32) -> Result<Vec<StoredChunk>, StorageError> {
        tables::chunks(&self.app, self.tenant, self.version.content, place).await
    }

    fn text_of(&self, chunk: &StoredChunk) -> Result<Vec<u8>, StorageError> {
        let mut text = String::with_capacity(2 * chunk.bytes.len());
        for row in rows_of(&chunk.bytes) {
            let row = Row::read(self.schema.lookup(), row?)?;
            text.push_str(&row_line(&self.schema, self.format, &row));
        }
        Ok(text.into_bytes())
    }
}

impl<'r> Responder<'r, 'r> for RowsDownload {
    /// If reading fails, the connection is closed before the end of the body, so that the client
    /// notices.
    fn respond_to(self, _: &'r Request<'_>) -> response::Result<'r> {
        let (content_type, extension) = match self.format {
            LineFormat::Csv => (ContentType::CSV, "csv"),
            LineFormat::Jsonl => (ContentType::new("application", "x-ndjson"), "jsonl"),
        };
        let file = format!("attachment; filename=\"{}.{extension}\"", self.file_name);
        let tag = format!("\"{}-{extension}\"", self.version.digest);
        let header = header_line(&self.schema, self.format).into_bytes();
        let parts = stream::try_unfold((self, 0), |(download, place)| async move {
            let part = download.part(place).await?;
            let Some(last) = part.last() else { return Ok::<_, StorageError>(None) };
            let next = last.place + 1;
            let text: Result<Vec<Vec<u8>>, StorageError> =
                part.iter().map(|chunk| download.text_of(chunk)).collect();
            Ok(Some((text?.concat(), (download, next))))
        });
        let parts = parts.map_err(|error| {
            tracing::warn!(?error, "a download of a table was interrupted");
            io::Error::other("the rows cannot be read")
        });
        let body = stream::once(async { Ok(header) }).chain(parts).map_ok(io::Cursor::new);
        let mut response = Response::build();
        response.header(content_type).header(Header::new("Content-Disposition", file));
        response.header(Header::new("ETag", tag)).streamed_body(StreamReader::new(Box::pin(body)));
        response.ok()
    }
}

/// Returns the row that a value finds, as a rule would find it.
#[utoipa::path(
    tag = "tables",
    params(
        ("key" = String, Query, description = "A value, as payments carry it or as people write it"),
        ("version" = Option<i32>, Query, description = "Default: the version that is valid now"),
    ),
    responses((status = 200, body = FoundRowShape), SublistProblems),
    security(("oauth" = ["lists:read"]))
)]
#[get("/tables/<name>/rows")]
pub async fn look_up(
    caller: Caller<ListsRead>,
    name: &str,
    mut query: Query,
    services: &ServiceState,
) -> Result<ApiResponse, Problem> {
    let key = query.parsed("key", |text| match text_error(text, CELL_TEXT_LENGTH_MAX) {
        Some(error) => Err(error),
        None => Ok(text.to_owned()),
    });
    let number = query.parsed("version", version_in);
    query.finish()?;
    let key = key.ok_or_else(|| required("key"))?;
    let table = super::table(services, caller.tenant, name).await?;
    let version = match number {
        Some(number) => tables::version(&services.app, caller.tenant, &table.name, number).await?,
        None => services.tables.valid_version(caller.tenant, &table.name).await?,
    };
    let version = version.ok_or(Problem::not_found("version"))?;
    let row = services.tables.look_up(caller.tenant, &table.schema, &version, &key).await?;
    let row = row.ok_or(Problem::not_found("row"))?;
    let shape = FoundRowShape { version: version.number, row: RowShape::of(&table.schema, &row)? };
    ApiResponse::json(Status::Ok, &shape)
}

fn required(parameter: &str) -> Problem {
    let error =
        PartError { pointer: None, parameter: Some(parameter.to_owned()), detail: "is required".to_owned() };
    Problem::with_errors(ProblemKind::InvalidQuery, "The query has errors.", vec![error])
}

/// Compares two versions of a table: the rows that were added, removed and changed.
///
/// The first page has their numbers. Ranges are compared by their beginning.
#[utoipa::path(
    tag = "tables",
    params(
        ("from" = i32, Query, description = "The number of the earlier version"),
        ("to" = i32, Query, description = "The number of the later version"),
        ("limit" = Option<u32>, Query, description = "Page size, 1 to 200. Default: 50"),
        ("cursor" = Option<String>, Query),
    ),
    responses((status = 200, body = DiffShape), SublistProblems),
    security(("oauth" = ["lists:read"]))
)]
#[get("/tables/<name>/diff")]
pub async fn diff(
    caller: Caller<ListsRead>,
    name: &str,
    mut query: Query,
    services: &ServiceState,
) -> Result<ApiResponse, Problem> {
    let (from, to) = (query.parsed("from", version_in), query.parsed("to", version_in));
    let page = query.page(&services.cursors, caller.tenant, &format!("table diff {name}"))?;
    let (from, to) = (from.ok_or_else(|| required("from"))?, to.ok_or_else(|| required("to"))?);
    let Table { name, schema, .. } = super::table(services, caller.tenant, name).await?;
    let content = async |number| match tables::version(&services.app, caller.tenant, &name, number).await? {
        Some(version) => Ok(version.content),
        None => Err(Problem::not_found("version")),
    };
    let request = DifferencesRequest {
        tenant: caller.tenant,
        lookup: schema.lookup(),
        from: content(from).await?,
        to: content(to).await?,
        after: page.after.clone(),
        limit: page.fetch_limit() as usize,
    };
    let Differences { counts, changes } = services.tables.differences(request).await?;
    let (changes, next_cursor) = page.cut(&services.cursors, changes, |(position, _)| position.clone());
    let items: Result<Vec<_>, _> =
        changes.iter().map(|(_, change)| RowChangeShape::of(&schema, change)).collect();
    let shape = DiffShape { counts: counts.map(DiffCountsShape::from), items: items?, next_cursor };
    ApiResponse::json(Status::Ok, &shape)
}
