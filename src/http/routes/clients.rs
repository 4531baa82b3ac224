//! The machine clients of a tenant, for its administrators.

use std::time::Duration;

use rocket::http::Status;
use rocket::{Route, get, patch, post, routes};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::auth::password::SecretText;
use crate::domain::client_certificate::{BoundDnsName, BoundUri, CertificateBinding, CertificateThumbprint};
use crate::domain::tenant::{ClientId, REQUESTS_PER_S_MAX, Scope};
use crate::http::edge::guard::{Caller, ClientsRead, ClientsWrite};
use crate::http::openapi::problems::{CreateProblems, ListProblems};
use crate::http::request::body::JsonBody;
use crate::http::request::codecs::{flag, integer, items, named, object, optional, or_null, parsed, text};
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
    /// The certificate that a client must show beside its secret (RFC 8705), by exactly one of these.
    pub struct CertificateBody as "CertificateBinding" {
        /// The SHA-256 of one certificate, in base64url, as `x5t#S256` in tokens. A renewed certificate has
        /// another one.
        sha256: Option<CertificateThumbprint> = optional(
            parsed(CertificateThumbprint::parse, ToString::to_string)
                .pattern("^[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]$"),
        ),
        /// A DNS name in the certificate's subject alternative names.
        #[example = "pay.example.com"]
        san_dns: Option<BoundDnsName> = optional(
            parsed(BoundDnsName::parse, |name| name.as_str().to_owned())
                .pattern("^[A-Za-z0-9_-]{1,63}([.][A-Za-z0-9_-]{1,63})*$"),
        ),
        /// A URI in the certificate's subject alternative names.
        #[example = "spiffe://example.com/pay"]
        san_uri: Option<BoundUri> = optional(
            parsed(BoundUri::parse, |uri| uri.as_str().to_owned())
                .pattern("^[A-Za-z][A-Za-z0-9+.-]*:[!-~]+$"),
        ),
    }
    check |fields| {
        let named = ["sha256", "san_dns", "san_uri"].into_iter().filter(|name| fields.has(name));
        match named.collect::<Vec<_>>()[..] {
            [_] => {}
            [] => fields.error("san_dns", "is required, or sha256 or san_uri"),
            [_, other, ..] => fields.error(other, "expected one of sha256, san_dns and san_uri"),
        }
    }
}

impl CertificateBody {
    /// The check leaves exactly one member.
    fn binding(self) -> Option<CertificateBinding> {
        let by_hash = self.sha256.map(CertificateBinding::Sha256);
        let by_dns = self.san_dns.map(CertificateBinding::SanDns);
        by_hash.or(by_dns).or(self.san_uri.map(CertificateBinding::SanUri))
    }
}

impl From<CertificateBinding> for CertificateBody {
    fn from(binding: CertificateBinding) -> Self {
        let mut body = Self { sha256: None, san_dns: None, san_uri: None };
        match binding {
            CertificateBinding::Sha256(thumbprint) => body.sha256 = Some(thumbprint),
            CertificateBinding::SanDns(name) => body.san_dns = Some(name),
            CertificateBinding::SanUri(uri) => body.san_uri = Some(uri),
        }
        body
    }
}

body! {
    pub struct ClientBody as "NewClient" {
        name: String = text(NAME_LENGTH_MAX),
        /// At most the scopes of the caller, and `payments:write`.
        scopes: Vec<Scope> = items(named::<ScopeShape>(), Scope::ALL.len()),
        /// The client's own rate. 0 means no limit. Default: the server's setting.
        requests_per_s: Option<u32> = optional(integer::<u32>(0..=REQUESTS_PER_S_MAX.into())),
        /// If absent, the client needs only its secret.
        certificate: Option<CertificateBody> = optional(object::<CertificateBody>()),
    }
}

body! {
    pub struct ClientChangeBody as "ClientChange" {
        name: Option<String> = optional(text(NAME_LENGTH_MAX)),
        /// Other scopes end all tokens of the client.
        scopes: Option<Vec<Scope>> = optional(items(named::<ScopeShape>(), Scope::ALL.len())),
        /// The client's own rate. 0 means no limit, and null the server's setting.
        requests_per_s: Option<Option<u32>> = optional(or_null(integer::<u32>(0..=REQUESTS_PER_S_MAX.into()))),
        /// Another certificate, or null for none, ends all tokens of the client.
        certificate: Option<Option<CertificateBody>> = optional(or_null(object::<CertificateBody>())),
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
    /// What the client must show to get tokens. Absent if its secret is enough.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate: Option<CertificateBody>,
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
            certificate: client.certificate.map(CertificateBody::from),
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
    let ClientBody { name, scopes, requests_per_s, certificate } = body.read(services.world.now_ms())?;
    let certificate = certificate.and_then(CertificateBody::binding);
    let order = ClientOrder { name, scopes, requests_per_s, certificate };
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
    let ClientChangeBody { name, scopes, requests_per_s, certificate, disabled } =
        body.read(services.world.now_ms())?;
    let certificate = certificate.map(|body| body.and_then(CertificateBody::binding));
    let change = ClientChange { name, scopes, requests_per_s, certificate, disabled };
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
