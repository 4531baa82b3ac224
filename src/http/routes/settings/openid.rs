//! How the people of a tenant sign in with their company's accounts, for its administrators.
//!
//! A secret must never be in a response.

use rocket::http::Status;
use rocket::{Route, delete, get, post, put, routes};
use serde::Serialize;
use utoipa::ToSchema;
use zeroize::Zeroizing;

use crate::domain::openid::{ISSUER_LENGTH_MAX, MappedRole};
use crate::domain::proposal::Change;
use crate::domain::tenant::TenantId;
use crate::domain::user::Role;
use crate::http::edge::guard::{Caller, SettingsRead, SettingsWrite};
use crate::http::openapi::problems::{CommonProblems, CreateProblems};
use crate::http::request::body::JsonBody;
use crate::http::request::codecs::{flag, items, named, object, optional, or, text};
use crate::http::request::declaration::body;
use crate::http::response::ApiResponse;
use crate::http::response::moment::Moment;
use crate::http::response::problem::Problem;
use crate::http::routes::proposals::proposed;
use crate::http::routes::proposals::shapes::ProposalShape;
use crate::http::routes::users::RoleShape;
use crate::http::services::{ServiceState, Services};
use crate::people::openid::{OpenidOrder, ProviderError};
use crate::storage::openid::StoredOpenidSettings;

pub fn routes() -> Vec<Route> {
    routes![read, change, remove]
}

/// It waits for the provider, so it has the longer deadline.
pub fn test_routes() -> Vec<Route> {
    routes![test]
}

const MAPPING_LENGTH_MAX: usize = 100;

body! {
    pub struct MappedRoleBody as "MappedRole" {
        /// A value of the claim.
        #[example = "payments-admins"]
        value: String = text(200),
        role: Role = named::<RoleShape>(),
    }
}

body! {
    pub struct OpenidSettingsBody as "OpenidSettingsChange" {
        /// One that the operator allows.
        #[example = "https://login.example.com"]
        issuer: String = text(ISSUER_LENGTH_MAX),
        client_id: String = text(200),
        /// If it is absent, the present one stays, as long as issuer and client id are the same.
        client_secret: Option<String> = optional(text(500)),
        /// The claim that names the roles of a person. Default: `groups`.
        roles_claim: String = or(text(100), "groups".to_owned()),
        /// At most the roles that the caller may give. Whoever has none of these values is refused.
        role_mapping: Vec<MappedRoleBody> = items(object::<MappedRoleBody>(), MAPPING_LENGTH_MAX),
        /// Whether people may sign in with passwords too.
        password_sign_in: bool = flag(),
    }
}

body! {
    pub struct OpenidTestBody as "OpenidTest" {
        issuer: String = text(ISSUER_LENGTH_MAX),
    }
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = MappedRoleShown)]
pub struct MappedRoleShape {
    pub value: String,
    pub role: RoleShape,
}

impl From<MappedRole> for MappedRoleShape {
    fn from(mapped: MappedRole) -> Self {
        Self { value: mapped.value, role: RoleShape(mapped.role) }
    }
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = OpenidSettings)]
pub struct OpenidSettingsShape {
    pub issuer: String,
    pub client_id: String,
    /// Whether there is a secret. It is never shown.
    pub has_client_secret: bool,
    pub roles_claim: String,
    pub role_mapping: Vec<MappedRoleShape>,
    pub password_sign_in: bool,
    pub changed_by: String,
    pub changed_at_ms: Moment,
}

impl From<StoredOpenidSettings> for OpenidSettingsShape {
    fn from(stored: StoredOpenidSettings) -> Self {
        let StoredOpenidSettings { settings, changed_by, changed_at_ms } = stored;
        Self {
            issuer: settings.issuer.as_str().to_owned(),
            client_id: settings.client_id,
            has_client_secret: settings.client_secret_sealed.is_some(),
            roles_claim: settings.roles_claim,
            role_mapping: settings.role_mapping.into_iter().map(MappedRoleShape::from).collect(),
            password_sign_in: settings.password_sign_in,
            changed_by,
            changed_at_ms: changed_at_ms.into(),
        }
    }
}

/// What is set, and what one needs to set it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = OpenidState)]
pub struct OpenidStateShape {
    /// The address to which the provider sends people back. Register it with the provider.
    pub redirect_uri: String,
    /// The issuers, or origins of issuers, that the operator allows.
    pub allowed_issuers: Vec<String>,
    /// Absent if nobody of the tenant can sign in by OpenID Connect.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub settings: Option<OpenidSettingsShape>,
}

/// What a provider answered.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = OpenidTestResult)]
pub struct OpenidTestShape {
    pub works: bool,
    /// Why it does not work.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub authorization_endpoint: Option<String>,
    /// How many keys the provider signs with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keys: Option<u32>,
    /// The scopes that the provider says it has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scopes: Option<Vec<String>>,
}

impl From<ProviderError> for OpenidTestShape {
    fn from(error: ProviderError) -> Self {
        let why = Some(error.to_string());
        Self { works: false, why, authorization_endpoint: None, keys: None, scopes: None }
    }
}

async fn state_of(services: &Services, tenant: TenantId) -> Result<ApiResponse, Problem> {
    let allowed = services.openid.providers.allowed.iter();
    let shape = OpenidStateShape {
        redirect_uri: services.openid.redirect_address(),
        allowed_issuers: allowed.map(|issuer| issuer.as_str().to_owned()).collect(),
        settings: services.openid.settings(tenant).await?.map(OpenidSettingsShape::from),
    };
    ApiResponse::json(Status::Ok, &shape)
}

/// Returns how people sign in by OpenID Connect.
#[utoipa::path(
    operation_id = "openid",
    tag = "settings",
    responses((status = 200, body = OpenidStateShape), CommonProblems),
    security(("oauth" = ["settings:read"]))
)]
#[get("/settings/openid")]
pub async fn read(caller: Caller<SettingsRead>, services: &ServiceState) -> Result<ApiResponse, Problem> {
    state_of(services, caller.tenant).await
}

/// Sets how people sign in by OpenID Connect.
///
/// Passwords can be switched off once somebody who may change users has signed in by the provider.
#[utoipa::path(
    operation_id = "set_openid",
    tag = "settings",
    request_body(content = OpenidSettingsBody, content_type = "application/json"),
    responses(
        (status = 200, body = OpenidStateShape),
        (status = 202, body = ProposalShape, headers(("Location"))),
        CreateProblems,
    ),
    security(("oauth" = ["settings:write"]))
)]
#[put("/settings/openid", data = "<body>")]
pub async fn change(
    caller: Caller<SettingsWrite>,
    services: &ServiceState,
    body: JsonBody,
) -> Result<ApiResponse, Problem> {
    let body: OpenidSettingsBody = body.read(services.world.now_ms())?;
    let mapped = |mapped: MappedRoleBody| MappedRole { value: mapped.value, role: mapped.role };
    let order = OpenidOrder {
        issuer: body.issuer,
        client_id: body.client_id,
        client_secret: body.client_secret.map(Zeroizing::new),
        roles_claim: body.roles_claim,
        role_mapping: body.role_mapping.into_iter().map(mapped).collect(),
        password_sign_in: body.password_sign_in,
    };
    let settings = services.openid.checked(&caller.administrator(), order).await?;
    if services.proposals.is_needed(caller.tenant).await? {
        return proposed(services, &caller, Change::Openid { settings: Some(Box::new(settings)) }).await;
    }
    services.openid.apply(caller.tenant, caller.actor().into(), Some(settings)).await?;
    state_of(services, caller.tenant).await
}

/// Ends sign-in by OpenID Connect. Passwords work again.
#[utoipa::path(
    operation_id = "remove_openid",
    tag = "settings",
    responses(
        (status = 204, description = "Removed"),
        (status = 202, body = ProposalShape, headers(("Location"))),
        CommonProblems,
    ),
    security(("oauth" = ["settings:write"]))
)]
#[delete("/settings/openid")]
pub async fn remove(caller: Caller<SettingsWrite>, services: &ServiceState) -> Result<ApiResponse, Problem> {
    if services.proposals.is_needed(caller.tenant).await? {
        return proposed(services, &caller, Change::Openid { settings: None }).await;
    }
    services.openid.apply(caller.tenant, caller.actor().into(), None).await?;
    Ok(ApiResponse::empty(Status::NoContent))
}

/// Asks a provider for what it publishes, and says what was found.
#[utoipa::path(
    operation_id = "test_openid",
    tag = "settings",
    request_body(content = OpenidTestBody, content_type = "application/json"),
    responses((status = 200, body = OpenidTestShape), CreateProblems),
    security(("oauth" = ["settings:write"]))
)]
#[post("/settings/openid/test", data = "<body>")]
pub async fn test(
    _caller: Caller<SettingsWrite>,
    services: &ServiceState,
    body: JsonBody,
) -> Result<ApiResponse, Problem> {
    let OpenidTestBody { issuer } = body.read(services.world.now_ms())?;
    let shape = match services.openid.test(issuer).await? {
        Ok(found) => OpenidTestShape {
            works: true,
            why: None,
            authorization_endpoint: Some(found.authorization_endpoint),
            keys: u32::try_from(found.keys).ok(),
            scopes: found.scopes,
        },
        Err(error) => error.into(),
    };
    ApiResponse::json(Status::Ok, &shape)
}
