//! The tenants, for operators. An operator sees no data of a tenant.

use rocket::http::Status;
use rocket::{Route, get, post, routes};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::domain::user::OPERATORS;
use crate::http::edge::guard::{Caller, TenantsRead, TenantsWrite};
use crate::http::openapi::problems::{CreateProblems, ListProblems};
use crate::http::request::body::JsonBody;
use crate::http::request::declaration::body;
use crate::http::request::query::Query;
use crate::http::response::moment::Moment;
use crate::http::response::problem::{Problem, ProblemKind};
use crate::http::response::{ApiResponse, Page};
use crate::http::routes::lists::slug;
use crate::http::services::ServiceState;
use crate::storage::tenants::Tenant;

pub fn routes() -> Vec<Route> {
    routes![create, list]
}

body! {
    pub struct TenantBody as "NewTenant" {
        /// Lower-case words joined by hyphens. People type it when they sign in.
        #[example = "acme"]
        name: String = slug(),
    }
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Tenant)]
pub struct TenantShape {
    pub id: Uuid,
    pub name: String,
    pub created_at_ms: Moment,
}

impl From<Tenant> for TenantShape {
    fn from(tenant: Tenant) -> Self {
        Self { id: tenant.id.0, name: tenant.name, created_at_ms: tenant.created_at_ms.into() }
    }
}

/// The scopes alone do not suffice, in case a client of another tenant was given them.
fn operator<S>(caller: &Caller<S>) -> Result<(), Problem> {
    if caller.tenant == OPERATORS {
        return Ok(());
    }
    let detail = "Only users and clients of the tenant of the operators have this resource.";
    Err(Problem::new(ProblemKind::InsufficientScope, detail))
}

/// Creates a tenant.
#[utoipa::path(
    tag = "tenants",
    request_body(content = TenantBody, content_type = "application/json"),
    responses((status = 201, body = TenantShape), CreateProblems),
    security(("oauth" = ["tenants:write"]))
)]
#[post("/tenants", data = "<body>")]
pub async fn create(
    caller: Caller<TenantsWrite>,
    services: &ServiceState,
    body: JsonBody,
) -> Result<ApiResponse, Problem> {
    let TenantBody { name } = body.read(services.world.now_ms())?;
    operator(&caller)?;
    let tenant = services.tenants.create(name, &caller.actor()).await?;
    ApiResponse::json(Status::Created, &TenantShape::from(tenant))
}

/// Lists all tenants by name.
#[utoipa::path(
    tag = "tenants",
    params(
        ("limit" = Option<u32>, Query, description = "Page size, 1 to 200. Default: 50"),
        ("cursor" = Option<String>, Query),
    ),
    responses((status = 200, body = Page<TenantShape>), ListProblems),
    security(("oauth" = ["tenants:read"]))
)]
#[get("/tenants")]
pub async fn list(
    caller: Caller<TenantsRead>,
    query: Query,
    services: &ServiceState,
) -> Result<ApiResponse, Problem> {
    let page = query.page(&services.cursors, caller.tenant, "tenants")?;
    operator(&caller)?;
    let after = page.position::<String>()?;
    let found = services.tenants.list(after, page.fetch_limit()).await?;
    let (found, next_cursor) = page.cut(&services.cursors, found, |tenant| tenant.name.clone());
    let items: Vec<TenantShape> = found.into_iter().map(TenantShape::from).collect();
    ApiResponse::json(Status::Ok, &Page { items, next_cursor })
}
