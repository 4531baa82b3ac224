//! The entries of lists. DELETE closes an entry; it stays, to explain past decisions.

use rocket::http::Status;
use rocket::{Route, delete, get, post, routes};
use serde::Serialize;
use tokio_util::bytes::Bytes;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::domain::comparison::{ValueKind, normalized_name};
use crate::domain::line_format::LineFormat;
use crate::domain::list::{ListEntry, ListKinds};
use crate::domain::tenant::TenantId;
use crate::http::edge::guard::{Caller, ListsRead, ListsWrite};
use crate::http::openapi::problems::{CreateProblems, ReadProblems, SublistProblems};
use crate::http::request::body::{EntriesBody, JsonBody};
use crate::http::request::fields::text_error;
use crate::http::request::query::Query;
use crate::http::response::moment::Moment;
use crate::http::response::problem::{PartError, Problem, ProblemKind};
use crate::http::response::{ApiResponse, Page};
use crate::http::routes::lists::lines::{
    BadLines, EntryBody, EntryLine, EntryReader, LINES_MAX, VALUE_LENGTH_MAX,
};
use crate::http::routes::lists::list_name;
use crate::http::routes::proposals::proposed;
use crate::http::routes::proposals::shapes::ProposalShape;
use crate::http::services::{ServiceState, Services};
use crate::storage::lists::{self, EntryFilter, ListHead};

/// The most line numbers that are returned for values that are already on the list.
const SKIPPED_LINES_MAX: usize = 100;

pub fn routes() -> Vec<Route> {
    routes![entries, close_entry]
}

/// Separate from `routes`, since thousands of entries need a longer deadline.
pub fn filling_routes() -> Vec<Route> {
    routes![add_entries]
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ListEntry)]
pub struct EntryShape {
    pub id: Uuid,
    /// The value as it was entered.
    pub value: String,
    /// The form in which the value is compared with payments. It depends on the kind of the list.
    pub compared_as: String,
    /// Further forms, on a list of several kinds.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    pub also_compared_as: Vec<String>,
    /// On a list of names, the form used by `normalized_name`. Absent if normalising leaves nothing; the
    /// form above is then used instead.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub normalized_name: Option<String>,
    pub reason: String,
    /// When the entry becomes valid: two seconds after it was added, or later.
    pub valid_from_ms: Moment,
    /// When the entry stops being valid (exclusive). Absent while it has no end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub valid_to_ms: Option<Moment>,
    pub added_by: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub closed_by: Option<String>,
    /// Why Tollgate itself closed the entry. Absent if a person closed it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub closed_because: Option<String>,
}

impl EntryShape {
    fn of(mut entry: ListEntry, kinds: &ListKinds) -> Self {
        let main = kinds.main_form(&entry.value);
        entry.forms.sort_by_key(|form| main.as_ref() != Some(form));
        let mut forms = entry.forms.into_iter();
        let has_names = kinds.iter().any(|kind| kind == ValueKind::Name);
        let name = has_names.then(|| normalized_name(&entry.value));
        Self {
            id: entry.id,
            value: entry.value,
            compared_as: forms.next().unwrap_or_default(),
            also_compared_as: forms.collect(),
            normalized_name: name.filter(|name| !name.is_empty()),
            reason: entry.reason,
            valid_from_ms: entry.valid_from_ms.into(),
            valid_to_ms: entry.valid_to_ms.map(Moment),
            added_by: entry.added_by,
            closed_by: entry.closed_by,
            closed_because: entry.closed_because,
        }
    }
}

/// The result of adding several entries.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = AddedListEntries)]
pub struct AddedShape {
    pub added: usize,
    /// Number of entries that were skipped because an entry with the same value is already valid for at
    /// least the same period.
    pub already_there: usize,
    /// The numbers of the skipped lines, at most the first hundred.
    pub already_there_lines: Vec<u64>,
    /// When the added entries become valid that do not begin later. Absent if none was added.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub valid_from_ms: Option<Moment>,
}

/// The entry or a summary, depending on what was sent.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
#[schema(as = ListEntryOrAddedListEntries)]
pub enum AddedOrEntryShape {
    One(EntryShape),
    Many(AddedShape),
}

async fn head(services: &Services, tenant: TenantId, name: &str) -> Result<ListHead, Problem> {
    lists::head(&services.app, tenant, name).await?.ok_or(Problem::not_found("list"))
}

/// Adds values to a list: one as a JSON object, or up to 10,000 as JSON lines or CSV.
///
/// CSV needs a header line with `value`, `reason` and optionally `valid_from_ms` and `valid_to_ms`, or
/// `valid_from` and `valid_to` in the notation of RFC 3339.
/// Several entries are added together or not at all, and become valid two seconds later: the response
/// says when, as `valid_from_ms`. Errors name the line first, for example `/17/value`. A value that is already on the list, or appears earlier in the same body, is skipped and
/// its line is reported.
#[utoipa::path(
    tag = "lists",
    request_body(content((EntryBody = "application/json"), (String = "application/x-ndjson"), (String = "text/csv"))),
    responses(
        (status = 201, body = AddedOrEntryShape, headers(("Location"))),
        (status = 202, body = ProposalShape, headers(("Location"))),
        CreateProblems,
    ),
    security(("oauth" = ["lists:write"]))
)]
#[post("/lists/<name>/entries", data = "<body>")]
pub async fn add_entries(
    caller: Caller<ListsWrite>,
    name: &str,
    services: &ServiceState,
    body: EntriesBody,
) -> Result<ApiResponse, Problem> {
    let head = head(services, caller.tenant, list_name(name)?).await?;
    match body {
        EntriesBody::One(body) => add_one(caller, head, services, &body).await,
        EntriesBody::Lines { format, bytes, turn } => {
            let added = add_many(caller, head, services, format, bytes).await;
            drop(turn);
            added
        }
    }
}

async fn add_one(
    caller: Caller<ListsWrite>,
    head: ListHead,
    services: &ServiceState,
    body: &JsonBody,
) -> Result<ApiResponse, Problem> {
    let now_ms = services.world.now_ms();
    let (kinds, randomness) = (&head.kinds, services.world.randomness());
    let reader = EntryReader { kinds, added_by: caller.actor(), now_ms, randomness };
    let entry = reader.entry(body.read_in(reader.context(body.unchecked()))?);
    if services.proposals.is_needed(caller.tenant).await? {
        let change = services.proposals.list_entries(&head, vec![entry])?;
        return proposed(services, &caller, change).await;
    }
    let most = services.quotas.list_entries_max;
    let entry = lists::add_entry(
        &services.app,
        caller.tenant,
        &head.name,
        entry,
        most,
        caller.actor().into(),
        now_ms,
    )
    .await?;
    let location = format!("/api/v1/lists/{}/entries/{}", head.name, entry.id);
    let shape = AddedOrEntryShape::One(EntryShape::of(entry, kinds));
    Ok(ApiResponse::json(Status::Created, &shape)?.with("Location", location))
}

async fn add_many(
    caller: Caller<ListsWrite>,
    head: ListHead,
    services: &ServiceState,
    format: LineFormat,
    bytes: Bytes,
) -> Result<ApiResponse, Problem> {
    let (now_ms, actor) = (services.world.now_ms(), caller.actor());
    let (kinds, added_by, world) = (head.kinds.clone(), actor.clone(), services.world.clone());
    let unchecked = services.card_checks.unchecked(caller.tenant);
    // Reading thousands of lines would block other requests on this thread.
    let lines = tokio::task::spawn_blocking(move || {
        let randomness = world.randomness();
        let reader = EntryReader { kinds: &kinds, added_by, now_ms, randomness };
        reader.lines(format, &bytes, unchecked, LINES_MAX)
    });
    let lines = lines.await.map_err(|error| {
        tracing::error!(%error, "reading the submitted list entries failed");
        Problem::new(ProblemKind::Internal, "The cause is logged under this request id.")
    })?;
    let lines = lines.map_err(bad_lines)?;
    let numbers: Vec<(u64, Uuid)> = lines.iter().map(|line| (line.number, line.entry.id)).collect();
    let entries = lines.into_iter().map(|EntryLine { entry, .. }| entry).collect();
    if services.proposals.is_needed(caller.tenant).await? {
        let change = services.proposals.list_entries(&head, entries)?;
        return proposed(services, &caller, change).await;
    }
    let most = services.quotas.list_entries_max;
    let (app, tenant) = (&services.app, caller.tenant);
    let added = lists::add_entries(app, tenant, &head.name, entries, most, &actor.into(), now_ms).await?;
    let passed_over = numbers.iter().filter(|(_, id)| !added.ids.contains(id)).map(|(line, _)| *line);
    let count = added.ids.len();
    let shape = AddedShape {
        added: count,
        already_there: numbers.len() - count,
        already_there_lines: passed_over.take(SKIPPED_LINES_MAX).collect(),
        valid_from_ms: (count > 0).then_some(Moment(added.valid_from_ms)),
    };
    let location = format!("/api/v1/lists/{}/entries", head.name);
    Ok(ApiResponse::json(Status::Created, &AddedOrEntryShape::Many(shape))?.with("Location", location))
}

fn bad_lines(bad: BadLines) -> Problem {
    let errors = bad.errors.into_iter().map(|(line, error)| PartError {
        pointer: Some(format!("/{line}{}", error.pointer)),
        parameter: None,
        detail: format!("line {line}: {}", error.detail),
    });
    let detail = format!("Nothing was added. {} lines have errors.", bad.lines);
    Problem::with_errors(ProblemKind::InvalidBody, detail, errors.collect())
}

/// Lists the entries of a list, oldest first, including closed ones.
#[utoipa::path(
    tag = "lists",
    params(
        ("at_ms" = Option<u64>, Query, description = "Only entries valid at this time"),
        ("value" = Option<String>, Query, description = "Only entries that compare equal to this value"),
        ("limit" = Option<u32>, Query, description = "Page size, 1 to 200. Default: 50"),
        ("cursor" = Option<String>, Query),
    ),
    responses((status = 200, body = Page<EntryShape>), SublistProblems),
    security(("oauth" = ["lists:read"]))
)]
#[get("/lists/<name>/entries")]
pub async fn entries(
    caller: Caller<ListsRead>,
    name: &str,
    mut query: Query,
    services: &ServiceState,
) -> Result<ApiResponse, Problem> {
    let (app, tenant) = (&services.app, caller.tenant);
    let ListHead { name, kinds, .. } = head(services, tenant, list_name(name)?).await?;
    let at_ms = query.time_ms("at_ms");
    let forms = query.parsed("value", |text| match text_error(text, VALUE_LENGTH_MAX) {
        Some(error) => Err(error),
        None => kinds.forms(text).map_err(|error| error.to_string()),
    });
    let page = query.page(&services.cursors, tenant, &format!("entries {name}"))?;
    let after = page.position::<Uuid>()?;
    let filter = EntryFilter { at_ms, forms, not_ended_at_ms: None };
    let found = lists::entries(app, tenant, &name, filter, after, page.fetch_limit()).await?;
    let (found, next_cursor) = page.cut(&services.cursors, found, |entry| entry.id.to_string());
    let items: Vec<EntryShape> = found.into_iter().map(|entry| EntryShape::of(entry, &kinds)).collect();
    ApiResponse::json(Status::Ok, &Page { items, next_cursor })
}

/// Closes an entry: it stops being valid two seconds later. The entry is kept.
///
/// The response says when, as `valid_to_ms`. An entry that would begin after that never does.
#[utoipa::path(
    tag = "lists",
    responses(
        (status = 200, body = EntryShape),
        (status = 202, body = ProposalShape, headers(("Location"))),
        ReadProblems,
    ),
    security(("oauth" = ["lists:write"]))
)]
#[delete("/lists/<name>/entries/<id>")]
pub async fn close_entry(
    caller: Caller<ListsWrite>,
    name: &str,
    id: &str,
    services: &ServiceState,
) -> Result<ApiResponse, Problem> {
    let name = list_name(name)?;
    let not_found = || Problem::not_found("open entry");
    let id: Uuid = id.parse().map_err(|_| not_found())?;
    let head = head(services, caller.tenant, name).await?;
    if services.proposals.is_needed(caller.tenant).await? {
        let change = services.proposals.list_entry_closed(caller.tenant, name, id).await?;
        return proposed(services, &caller, change).await;
    }
    let now_ms = services.world.now_ms();
    let closed =
        lists::close_entry(&services.app, caller.tenant, name, id, now_ms, caller.actor().into()).await?;
    ApiResponse::json(Status::Ok, &EntryShape::of(closed.ok_or_else(not_found)?, &head.kinds))
}
