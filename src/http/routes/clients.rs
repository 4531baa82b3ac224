//! The machine clients of a tenant, for its administrators.

use std::time::Duration;

use rocket::http::Status;
use rocket::{Route, get, patch, post, routes};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::auth::password::SecretText;
use crate::domain::tenant::{ClientId, REQUESTS_PER_S_MAX, Scope};
use crate::http::edge::guard::{Caller, ClientsRead, ClientsWrite};
use crate::http::openapi::problems::{CreateProblems, ListProblems};
use crate::http::request::body::JsonBody;
use crate::http::request::codecs::{flag, integer, items, named, optional, or_null, text};
use crate::http::request::declaration::{body, named};
use crate::http::request::query::Query;
use crate::http::response::moment::Moment;
use crate::http::response::problem::Problem;
use crate::http::response::{ApiResponse, Page};
use crate::http::services::ServiceState;
use crate::people::clients::{ClientOrder, OVERLAP_MAX};
use crate::storage::clients::{self, Client, ClientChange};

pub fn routes() -> Vec<Route> {
    routes![create, list, change, replace_secret]
}

/// In characters.
const NAME_LENGTH_MAX: usize = 100;

named! {
    /// What a client may do.
    pub struct ScopeShape(Scope) as "Scope";
}

body! {
    pub struct ClientBody as "NewClient" {
        name: String = text(NAME_LENGTH_MAX),
        /// At most the scopes of the caller, and `payments:write`.
        scopes: Vec<Scope> = items(named::<ScopeShape>(), Scope::ALL.len()),
        /// The client's own rate. 0 means no limit. Default: the server's setting.
        requests_per_s: Option<u32> = optional(integer::<u32>(0..=REQUESTS_PER_S_MAX.into())),
    }
}

body! {
    pub struct ClientChangeBody as "ClientChange" {
        name: Option<String> = optional(text(NAME_LENGTH_MAX)),
        /// Other scopes end all tokens of the client.
        scopes: Option<Vec<Scope>> = optional(items(named::<ScopeShape>(), Scope::ALL.len())),
        /// The client's own rate. 0 means no limit, and null the server's setting.
        requests_per_s: Option<Option<u32>> = optional(or_null(integer::<u32>(0..=REQUESTS_PER_S_MAX.into()))),
        /// A disabled client gets no tokens, and all its tokens end at once.
        disabled: Option<bool> = optional(flag()),
    }
}

body! {
    pub struct NewSecretBody as "NewClientSecret" {
        /// For how many seconds the present secret is accepted beside the new one. With 0, it and every
        /// token that was requested with it end at once, which is the way out if it has leaked.
        overlap_s: u32 = integer::<u32>(0..=OVERLAP_MAX.as_secs().cast_signed()),
    }
}

#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum ClientState {
    Active,
    Disabled,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Client)]
pub struct ClientShape {
    pub id: Uuid,
    pub name: String,
    pub scopes: Vec<ScopeShape>,
    pub state: ClientState,
    /// The client's own rate. 0 means no limit. Absent if the server's setting applies.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests_per_s: Option<u32>,
    pub created_at_ms: Moment,
    /// Until when the secret before the present one is accepted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub previous_secret_until_ms: Option<Moment>,
}

impl From<Client> for ClientShape {
    fn from(client: Client) -> Self {
        let is_disabled = client.disabled_at_ms.is_some();
        Self {
            id: client.id.0,
            name: client.name,
            scopes: client.scopes.into_iter().map(ScopeShape).collect(),
            state: if is_disabled { ClientState::Disabled } else { ClientState::Active },
            requests_per_s: client.requests_per_s,
            created_at_ms: client.created_at_ms.into(),
            previous_secret_until_ms: client.previous_secret_until_ms.map(Moment),
        }
    }
}

/// A client with its new secret, which is shown only in this response.
#[derive(Serialize, ToSchema)]
#[schema(as = ClientWithSecret)]
pub struct ClientWithSecretShape {
    pub client: ClientShape,
    pub client_secret: String,
}

impl From<(Client, SecretText)> for ClientWithSecretShape {
    fn from((client, secret): (Client, SecretText)) -> Self {
        Self { client: client.into(), client_secret: secret.expose().to_owned() }
    }
}

fn client_id(text: &str) -> Result<ClientId, Problem> {
    text.parse().map(ClientId).map_err(|_| Problem::not_found("client"))
}

/// Creates a client.
#[utoipa::path(
    tag = "clients",
    request_body(content = ClientBody, content_type = "application/json"),
    responses((status = 201, body = ClientWithSecretShape, headers(("Location"))), CreateProblems),
    security(("oauth" = ["clients:write"]))
)]
#[post("/clients", data = "<body>")]
pub async fn create(
    caller: Caller<ClientsWrite>,
    services: &ServiceState,
    body: JsonBody,
) -> Result<ApiResponse, Problem> {
    let ClientBody { name, scopes, requests_per_s } = body.read(services.world.now_ms())?;
    let order = ClientOrder { name, scopes, requests_per_s };
    let created = services.clients.create(&caller.administrator(), order).await?;
    let location = format!("/api/v1/clients/{}", created.0.id);
    let shape = ClientWithSecretShape::from(created);
    Ok(ApiResponse::json(Status::Created, &shape)?.with("Location", location))
}

/// Lists the clients of the tenant, including disabled ones, the oldest first.
#[utoipa::path(
    tag = "clients",
    params(
        ("limit" = Option<u32>, Query, description = "Page size, 1 to 200. Default: 50"),
        ("cursor" = Option<String>, Query),
    ),
    responses((status = 200, body = Page<ClientShape>), ListProblems),
    security(("oauth" = ["clients:read"]))
)]
#[get("/clients")]
pub async fn list(
    caller: Caller<ClientsRead>,
    query: Query,
    services: &ServiceState,
) -> Result<ApiResponse, Problem> {
    let page = query.page(&services.cursors, caller.tenant, "clients")?;
    let after = page.position::<Uuid>()?;
    let found = clients::list(&services.app, caller.tenant, after, page.fetch_limit()).await?;
    let (found, next_cursor) = page.cut(&services.cursors, found, |client| client.id.to_string());
    let items: Vec<ClientShape> = found.into_iter().map(ClientShape::from).collect();
    ApiResponse::json(Status::Ok, &Page { items, next_cursor })
}

/// Changes a client, or disables or enables it.
#[utoipa::path(
    tag = "clients",
    request_body(content = ClientChangeBody, content_type = "application/json"),
    responses((status = 200, body = ClientShape), CreateProblems),
    security(("oauth" = ["clients:write"]))
)]
#[patch("/clients/<id>", data = "<body>")]
pub async fn change(
    caller: Caller<ClientsWrite>,
    id: &str,
    services: &ServiceState,
    body: JsonBody,
) -> Result<ApiResponse, Problem> {
    let id = client_id(id)?;
    let ClientChangeBody { name, scopes, requests_per_s, disabled } = body.read(services.world.now_ms())?;
    let change = ClientChange { name, scopes, requests_per_s, disabled };
    let client = services.clients.change(&caller.administrator(), id, change).await?;
    ApiResponse::json(Status::Ok, &ClientShape::from(client))
}

/// Replaces the secret of a client.
#[utoipa::path(
    tag = "clients",
    request_body(content = NewSecretBody, content_type = "application/json"),
    responses((status = 200, body = ClientWithSecretShape), CreateProblems),
    security(("oauth" = ["clients:write"]))
)]
#[post("/clients/<id>/secret", data = "<body>")]
pub async fn replace_secret(
    caller: Caller<ClientsWrite>,
    id: &str,
    services: &ServiceState,
    body: JsonBody,
) -> Result<ApiResponse, Problem> {
    let id = client_id(id)?;
    let NewSecretBody { overlap_s } = body.read(services.world.now_ms())?;
    let overlap = Duration::from_secs(overlap_s.into());
    let replaced = services.clients.replace_secret(&caller.administrator(), id, overlap).await?;
    ApiResponse::json(Status::Ok, &ClientWithSecretShape::from(replaced))
}
