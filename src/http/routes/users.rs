//! The users of a tenant, for its administrators.

use rocket::http::Status;
use rocket::{Route, delete, get, patch, post, routes};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::domain::proposal::Change;
use crate::domain::tenant::TenantId;
use crate::domain::user::{DISPLAY_NAME_LENGTH_MAX, EmailAddress, EmailAddressError, Role, UserId};
use crate::http::edge::guard::{Caller, UsersRead, UsersWrite};
use crate::http::openapi::problems::{CancelProblems, CreateProblems, ListProblems};
use crate::http::request::body::JsonBody;
use crate::http::request::codecs::{Parsed, flag, items, named, optional, parsed, text};
use crate::http::request::declaration::{body, named};
use crate::http::request::query::Query;
use crate::http::response::moment::Moment;
use crate::http::response::problem::Problem;
use crate::http::response::{ApiResponse, Page};
use crate::http::routes::proposals::proposed;
use crate::http::routes::proposals::shapes::ProposalShape;
use crate::http::services::ServiceState;
use crate::people::users::{PasswordLink, UserOrder};
use crate::storage::users::{self, User, UserChange};

pub fn routes() -> Vec<Route> {
    routes![create, list, change, new_link, remove_second_factor, end_sign_ins]
}

named! {
    /// What a user may do. `operator` exists only in the tenant of the operators, where it is the only
    /// role.
    pub struct RoleShape(Role) as "Role";
}

fn email() -> Parsed<EmailAddress, EmailAddressError> {
    parsed(EmailAddress::parse, |email: &EmailAddress| email.as_str().to_owned()).pattern("^[^@ ]+@[^@ ]+$")
}

body! {
    pub struct UserBody as "NewUser" {
        /// Compared without regard to case. Unique in the tenant.
        #[example = "ann@example.com"]
        email: EmailAddress = email(),
        display_name: String = text(DISPLAY_NAME_LENGTH_MAX),
        roles: Vec<Role> = items(named::<RoleShape>(), Role::ALL.len()),
    }
}

body! {
    pub struct UserChangeBody as "UserChange" {
        display_name: Option<String> = optional(text(DISPLAY_NAME_LENGTH_MAX)),
        /// Other roles end all sign-ins of the user.
        roles: Option<Vec<Role>> = optional(items(named::<RoleShape>(), Role::ALL.len())),
        /// A disabled user cannot sign in, and all sign-ins end at once.
        disabled: Option<bool> = optional(flag()),
    }
}

#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum UserState {
    /// Has not set a password yet, and never came from a provider.
    Invited,
    Active,
    Disabled,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = User)]
pub struct UserShape {
    pub id: Uuid,
    pub email: String,
    pub display_name: String,
    pub roles: Vec<RoleShape>,
    pub state: UserState,
    /// Whether the user has a password.
    pub password: bool,
    /// The provider of OpenID Connect from which the user comes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub openid_issuer: Option<String>,
    /// Whether signing in with a password needs a code of a second factor.
    pub second_factor: bool,
    pub created_at_ms: Moment,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_sign_in_at_ms: Option<Moment>,
}

impl From<User> for UserShape {
    fn from(user: User) -> Self {
        let can_sign_in = user.has_password || user.openid_issuer.is_some();
        let state = match (user.disabled_at_ms, can_sign_in) {
            (Some(_), _) => UserState::Disabled,
            (None, false) => UserState::Invited,
            (None, true) => UserState::Active,
        };
        Self {
            id: user.id.0,
            email: user.email.as_str().to_owned(),
            display_name: user.display_name,
            roles: user.roles.into_iter().map(RoleShape).collect(),
            state,
            password: user.has_password,
            openid_issuer: user.openid_issuer,
            second_factor: user.has_second_factor,
            created_at_ms: user.created_at_ms.into(),
            last_sign_in_at_ms: user.last_sign_in_at_ms.map(Moment),
        }
    }
}

/// The address of a page on which a person sets a password, once. It is shown only in this response.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = PasswordLink)]
pub struct PasswordLinkShape {
    pub url: String,
    pub expires_at_ms: Moment,
}

impl From<PasswordLink> for PasswordLinkShape {
    fn from(link: PasswordLink) -> Self {
        Self { url: link.address.as_str().to_owned(), expires_at_ms: link.expires_at_ms.into() }
    }
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = CreatedUser)]
pub struct CreatedUserShape {
    pub user: UserShape,
    pub password_link: PasswordLinkShape,
}

fn user_id(text: &str) -> Result<UserId, Problem> {
    text.parse().map(UserId).map_err(|_| Problem::not_found("user"))
}

/// Administrators approve what others propose. Where a second person is needed, nobody makes another
/// administrator alone.
async fn needs_second_person(
    services: &ServiceState,
    tenant: TenantId,
    user: Option<UserId>,
    change: &UserChange,
) -> Result<bool, Problem> {
    let proposals = &services.proposals;
    Ok(proposals.is_needed(tenant).await? && proposals.makes_administrator(tenant, user, change).await?)
}

/// Whether nobody may take over this user's account alone.
async fn is_guarded(services: &ServiceState, tenant: TenantId, user: UserId) -> Result<bool, Problem> {
    let proposals = &services.proposals;
    Ok(proposals.is_needed(tenant).await? && proposals.is_administrator(tenant, user).await?)
}

/// Creates a user, who sets a password with the link in the response.
///
/// If the tenant needs a second person, a user with the role `admin` is only proposed: the response is
/// 202.
#[utoipa::path(
    tag = "users",
    request_body(content = UserBody, content_type = "application/json"),
    responses(
        (status = 201, body = CreatedUserShape, headers(("Location"))),
        (status = 202, body = ProposalShape, headers(("Location"))),
        CreateProblems,
    ),
    security(("oauth" = ["users:write"]))
)]
#[post("/users", data = "<body>")]
pub async fn create(
    caller: Caller<UsersWrite>,
    services: &ServiceState,
    body: JsonBody,
) -> Result<ApiResponse, Problem> {
    let UserBody { email, display_name, roles } = body.read(services.world.now_ms())?;
    let order = UserOrder { email, display_name, roles };
    let change = UserChange { roles: Some(order.roles.clone()), ..UserChange::default() };
    if needs_second_person(services, caller.tenant, None, &change).await? {
        let change = services.proposals.new_user(caller.tenant, order).await?;
        return proposed(services, &caller, change).await;
    }
    let (user, link) = services.users.create(&caller.administrator(), order).await?;
    let location = format!("/api/v1/users/{}", user.id);
    let shape = CreatedUserShape { user: user.into(), password_link: link.into() };
    Ok(ApiResponse::json(Status::Created, &shape)?.with("Location", location))
}

/// Lists the users of the tenant, including disabled ones, the oldest first.
#[utoipa::path(
    tag = "users",
    params(
        ("limit" = Option<u32>, Query, description = "Page size, 1 to 200. Default: 50"),
        ("cursor" = Option<String>, Query),
    ),
    responses((status = 200, body = Page<UserShape>), ListProblems),
    security(("oauth" = ["users:read"]))
)]
#[get("/users")]
pub async fn list(
    caller: Caller<UsersRead>,
    query: Query,
    services: &ServiceState,
) -> Result<ApiResponse, Problem> {
    let page = query.page(&services.cursors, caller.tenant, "users")?;
    let after = page.position::<Uuid>()?;
    let found = users::list(&services.app, caller.tenant, after, page.fetch_limit()).await?;
    let (found, next_cursor) = page.cut(&services.cursors, found, |user| user.id.to_string());
    let items: Vec<UserShape> = found.into_iter().map(UserShape::from).collect();
    ApiResponse::json(Status::Ok, &Page { items, next_cursor })
}

/// Changes a user's name or roles, or disables or enables the user.
#[utoipa::path(
    tag = "users",
    request_body(content = UserChangeBody, content_type = "application/json"),
    responses(
        (status = 200, body = UserShape),
        (status = 202, body = ProposalShape, headers(("Location"))),
        CreateProblems,
    ),
    security(("oauth" = ["users:write"]))
)]
#[patch("/users/<id>", data = "<body>")]
pub async fn change(
    caller: Caller<UsersWrite>,
    id: &str,
    services: &ServiceState,
    body: JsonBody,
) -> Result<ApiResponse, Problem> {
    let id = user_id(id)?;
    let UserChangeBody { display_name, roles, disabled } = body.read(services.world.now_ms())?;
    let change = UserChange { display_name, roles, disabled };
    if needs_second_person(services, caller.tenant, Some(id), &change).await? {
        let change = services.proposals.user_change(caller.tenant, id, change).await?;
        return proposed(services, &caller, change).await;
    }
    let user = services.users.change(&caller.administrator(), id, change).await?;
    ApiResponse::json(Status::Ok, &UserShape::from(user))
}

/// Creates a link with which the user sets a new password. Earlier links end.
#[utoipa::path(
    tag = "users",
    responses(
        (status = 200, body = PasswordLinkShape),
        (status = 202, body = ProposalShape, headers(("Location"))),
        CancelProblems,
    ),
    security(("oauth" = ["users:write"]))
)]
#[post("/users/<id>/password-link")]
pub async fn new_link(
    caller: Caller<UsersWrite>,
    id: &str,
    services: &ServiceState,
) -> Result<ApiResponse, Problem> {
    let id = user_id(id)?;
    if is_guarded(services, caller.tenant, id).await? {
        let email = services.proposals.email_of(caller.tenant, id).await?;
        return proposed(services, &caller, Change::PasswordLink { user: id, email }).await;
    }
    let link = services.users.new_link(&caller.administrator(), id).await?;
    ApiResponse::json(Status::Ok, &PasswordLinkShape::from(link))
}

/// Removes the second factor of a user who has lost it. All sign-ins of the user end.
#[utoipa::path(
    tag = "users",
    responses(
        (status = 204, description = "Removed"),
        (status = 202, body = ProposalShape, headers(("Location"))),
        CancelProblems,
    ),
    security(("oauth" = ["users:write"]))
)]
#[delete("/users/<id>/second-factor")]
pub async fn remove_second_factor(
    caller: Caller<UsersWrite>,
    id: &str,
    services: &ServiceState,
) -> Result<ApiResponse, Problem> {
    let id = user_id(id)?;
    if is_guarded(services, caller.tenant, id).await? {
        let email = services.proposals.email_of(caller.tenant, id).await?;
        return proposed(services, &caller, Change::SecondFactorRemoved { user: id, email }).await;
    }
    services.users.remove_second_factor(&caller.administrator(), id).await?;
    Ok(ApiResponse::empty(Status::NoContent))
}

/// Signs a user out everywhere.
#[utoipa::path(
    tag = "users",
    responses((status = 204, description = "Signed out"), CancelProblems),
    security(("oauth" = ["users:write"]))
)]
#[delete("/users/<id>/sessions")]
pub async fn end_sign_ins(
    caller: Caller<UsersWrite>,
    id: &str,
    services: &ServiceState,
) -> Result<ApiResponse, Problem> {
    services.users.end_sign_ins(&caller.administrator(), user_id(id)?).await?;
    Ok(ApiResponse::empty(Status::NoContent))
}
