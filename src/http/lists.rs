//! Lists: values that rules ask about.
//!
//! Owns their JSON shapes. Must never delete an entry: DELETE closes it, and
//! the moment before stays as it was.

use rocket::http::Status;
use rocket::{Route, delete, get, post, routes};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::answer::{Answer, Items, Page};
use super::body::JsonBody;
use super::documented::{Creating, Listing, ListingOf, Reading};
use super::guard::{Client, ListsRead, ListsWrite};
use super::problem::{Kind, Problem};
use super::query::{Query, TIME_MS_MAX};
use super::services::Shared;
use crate::domain::list::ListEntry;
use crate::domain::ruleset::is_slug;
use crate::storage::lists::{self, ListSummary, NewEntry};

const VALUE_LENGTH_MAX: usize = 200;

pub fn routes() -> Vec<Route> {
    routes![create, all, add_entry, entries, close_entry]
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = NewList)]
pub struct ListBody {
    /// Lower-case words joined by hyphens.
    #[schema(max_length = 64, example = "blocked-accounts")]
    pub name: String,
    #[schema(max_length = 500, required = false)]
    pub description: String,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = List)]
pub struct ListShape {
    pub name: String,
    pub description: String,
    /// Entries without an end.
    pub open_entries: u64,
    pub created_by: String,
    pub created_at_ms: u64,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = NewListEntry)]
pub struct EntryBody {
    /// As payments carry it; an IBAN may have its spaces.
    #[schema(max_length = 200)]
    pub value: String,
    #[schema(max_length = 500)]
    pub reason: String,
    /// Now when absent; never in the past.
    #[schema(required = false)]
    pub valid_from_ms: u64,
    /// Open when absent.
    #[schema(required = false)]
    pub valid_to_ms: u64,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ListEntry)]
pub struct EntryShape {
    pub id: Uuid,
    pub value: String,
    pub reason: String,
    pub valid_from_ms: u64,
    /// The first moment it is not valid any more; absent while open.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub valid_to_ms: Option<u64>,
    pub added_by: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub closed_by: Option<String>,
}

impl From<ListSummary> for ListShape {
    fn from(list: ListSummary) -> Self {
        Self {
            name: list.name,
            description: list.description,
            open_entries: list.open_entries,
            created_by: list.created_by,
            created_at_ms: list.created_at_ms,
        }
    }
}

impl From<ListEntry> for EntryShape {
    fn from(entry: ListEntry) -> Self {
        Self {
            id: entry.id,
            value: entry.value,
            reason: entry.reason,
            valid_from_ms: entry.valid_from_ms,
            valid_to_ms: entry.valid_to_ms,
            added_by: entry.added_by,
            closed_by: entry.closed_by,
        }
    }
}

/// A path may hold anything, and Postgres refuses some of it as text.
fn list_name(text: &str) -> Result<&str, Problem> {
    if is_slug(text) { Ok(text) } else { Err(Problem::not_found("list")) }
}

/// Makes an empty list.
#[utoipa::path(
    tag = "lists",
    request_body(content = ListBody, content_type = "application/json"),
    responses((status = 201, body = ListShape, headers(("Location"))), Creating),
    security(("oauth" = ["lists:write"]))
)]
#[post("/lists", data = "<body>")]
pub async fn create(
    client: Client<ListsWrite>,
    services: &Shared,
    body: JsonBody,
) -> Result<Answer, Problem> {
    let slug = |text: &str| {
        let expected = "expected lower-case words joined by hyphens, at most 64 characters";
        if is_slug(text) { Ok(text.to_owned()) } else { Err(expected) }
    };
    let (name, description) = body.read(|fields| {
        let name = fields.parsed("name", slug);
        let description = fields.optional_text("description", 500);
        Some((name?, description.unwrap_or_default()))
    })?;
    let (created_by, created_at_ms) = (client.actor(), services.clock.now_ms());
    let created =
        lists::create(&services.app, client.tenant, &name, &description, &created_by, created_at_ms).await;
    if created.as_ref().is_err_and(|error| error.is_unique_violation()) {
        return Err(Problem::new(Kind::Conflict, "There is a list of this name."));
    }
    created?;
    let location = format!("/api/v1/lists/{name}/entries");
    let shape = ListShape { name, description, open_entries: 0, created_by, created_at_ms };
    Ok(Answer::json(Status::Created, &shape)?.with("Location", location))
}

/// All lists.
#[utoipa::path(
    tag = "lists",
    responses((status = 200, body = Items<ListShape>), Listing),
    security(("oauth" = ["lists:read"]))
)]
#[get("/lists")]
pub async fn all(client: Client<ListsRead>, query: Query, services: &Shared) -> Result<Answer, Problem> {
    query.finish()?;
    let found = lists::lists(&services.app, client.tenant).await?;
    let items: Vec<ListShape> = found.into_iter().map(ListShape::from).collect();
    Answer::json(Status::Ok, &Items { items })
}

/// Puts a value on a list.
#[utoipa::path(
    tag = "lists",
    request_body(content = EntryBody, content_type = "application/json"),
    responses((status = 201, body = EntryShape, headers(("Location"))), Creating),
    security(("oauth" = ["lists:write"]))
)]
#[post("/lists/<name>/entries", data = "<body>")]
pub async fn add_entry(
    client: Client<ListsWrite>,
    name: &str,
    services: &Shared,
    body: JsonBody,
) -> Result<Answer, Problem> {
    let name = list_name(name)?;
    let now_ms = services.clock.now_ms();
    let added_by = client.actor();
    let entry = body.read(|fields| {
        let value = fields.text("value", VALUE_LENGTH_MAX);
        let reason = fields.text("reason", 500);
        let from_ms = fields.optional_integer("valid_from_ms", 0..=TIME_MS_MAX.cast_signed());
        let to_ms = fields.optional_integer("valid_to_ms", 0..=TIME_MS_MAX.cast_signed());
        let valid_from_ms = from_ms.map_or(now_ms, i64::cast_unsigned);
        let valid_to_ms = to_ms.map(i64::cast_unsigned);
        // What was decided yesterday was decided without this entry.
        if valid_from_ms < now_ms {
            fields.error("valid_from_ms", "is in the past");
        }
        if valid_to_ms.is_some_and(|valid_to_ms| valid_to_ms <= valid_from_ms) {
            fields.error("valid_to_ms", "must be later than valid_from_ms");
        }
        let id = services.randomness.uuid_v7(now_ms);
        Some(NewEntry { id, value: value?, reason: reason?, valid_from_ms, valid_to_ms, added_by })
    })?;
    lists::add_entry(&services.app, client.tenant, name, entry.clone(), now_ms).await?;
    let location = format!("/api/v1/lists/{name}/entries/{}", entry.id);
    let shape = EntryShape::from(ListEntry::from(entry));
    Ok(Answer::json(Status::Created, &shape)?.with("Location", location))
}

/// The entries of a list, closed ones too, oldest first.
#[utoipa::path(
    tag = "lists",
    params(
        ("at_ms" = Option<u64>, Query, description = "Only those valid at this moment"),
        ("value" = Option<String>, Query, description = "Only those of this value"),
        ("limit" = Option<u32>, Query, description = "1 to 200; 50 when absent"),
        ("cursor" = Option<String>, Query),
    ),
    responses((status = 200, body = Page<EntryShape>), ListingOf),
    security(("oauth" = ["lists:read"]))
)]
#[get("/lists/<name>/entries")]
pub async fn entries(
    client: Client<ListsRead>,
    name: &str,
    mut query: Query,
    services: &Shared,
) -> Result<Answer, Problem> {
    let name = list_name(name)?;
    let (app, tenant) = (&services.app, client.tenant);
    let at_ms = query.time_ms("at_ms");
    let value = query.text("value", VALUE_LENGTH_MAX);
    let page = query.page(&services.cursors, tenant, &format!("entries {name}"))?;
    let after = page.position::<Uuid>()?;
    let limit = page.fetch_limit();
    let found = lists::entries(app, tenant, name, at_ms, value.as_deref(), after, limit).await?;
    let known = !found.is_empty() || lists::lists(app, tenant).await?.iter().any(|list| list.name == name);
    if !known {
        return Err(Problem::not_found("list"));
    }
    let (found, next_cursor) = page.cut(&services.cursors, found, |entry| entry.id.to_string());
    let items: Vec<EntryShape> = found.into_iter().map(EntryShape::from).collect();
    Answer::json(Status::Ok, &Page { items, next_cursor })
}

/// Closes an entry: from now on it is not valid. It is kept.
#[utoipa::path(
    tag = "lists",
    responses((status = 204, description = "Closed"), Reading),
    security(("oauth" = ["lists:write"]))
)]
#[delete("/lists/<name>/entries/<id>")]
pub async fn close_entry(
    client: Client<ListsWrite>,
    name: &str,
    id: &str,
    services: &Shared,
) -> Result<Answer, Problem> {
    let name = list_name(name)?;
    let not_found = || Problem::not_found("open entry");
    let id: Uuid = id.parse().map_err(|_| not_found())?;
    let now_ms = services.clock.now_ms();
    let closed = lists::close_entry(&services.app, client.tenant, name, id, now_ms, &client.actor()).await?;
    if closed { Ok(Answer::empty(Status::NoContent)) } else { Err(not_found()) }
}
