//! Signing in and out. The refresh token lives in a cookie that no script can read; the access
//! token is in the response, for the page to keep in memory.
//!
//! Requests contain secrets and must not be logged.

use rocket::http::{Cookie, CookieJar, SameSite, Status};
use rocket::request::{FromRequest, Outcome};
use rocket::time::Duration as CookieAge;
use rocket::{Request, Route, delete, post, routes};
use serde::Serialize;
use tokio::time::Instant;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::auth::password::SecretText;
use crate::http::openapi::problems::{
    EndSessionProblems, RenewProblems, SetPasswordProblems, SignInProblems,
};
use crate::http::request::body::JsonBody;
use crate::http::request::codecs::{optional, text};
use crate::http::request::declaration::body;
use crate::http::response::ApiResponse;
use crate::http::response::failure::people::password_refused;
use crate::http::response::problem::{Problem, ProblemKind};
use crate::http::routes::users::UserShape;
use crate::http::services::{ServiceState, Services};
use crate::people::sign_in::{Credentials, Origin, SignInError, SignedIn};

pub fn routes() -> Vec<Route> {
    routes![begin, renew, end, set_password]
}

/// In characters. A password that is longer than any that can be set is simply wrong.
pub const PASSWORD_LENGTH_MAX: usize = 200;

body! {
    pub struct SignInBody as "SignIn" {
        /// The tenant's name.
        #[example = "acme"]
        tenant: String = text(64),
        #[example = "ann@example.com"]
        email: String = text(254),
        password: String = text(PASSWORD_LENGTH_MAX),
        /// A code of the second factor, or a recovery code. Only for users who have set one up.
        code: Option<String> = optional(text(32)),
    }
}

body! {
    pub struct SetPasswordBody as "PasswordByLink" {
        /// The last part of the link.
        token: String = text(200),
        /// 12 to 128 characters that are not easy to guess.
        password: String = text(PASSWORD_LENGTH_MAX),
    }
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = SessionTenant)]
pub struct SessionTenantShape {
    pub id: Uuid,
    pub name: String,
}

/// A new access token of a user. The cookie of the response has the refresh token.
#[derive(Serialize, ToSchema)]
#[schema(as = Session)]
pub struct SessionShape {
    pub access_token: String,
    #[schema(example = "Bearer")]
    pub token_type: &'static str,
    /// Lifetime in seconds.
    pub expires_in: u64,
    /// The scopes of the user's roles, separated by spaces.
    pub scope: String,
    pub user: UserShape,
    pub tenant: SessionTenantShape,
}

/// Where a request comes from.
pub struct RequestOrigin(pub Origin);

#[rocket::async_trait]
impl<'r> FromRequest<'r> for RequestOrigin {
    type Error = std::convert::Infallible;

    async fn from_request(request: &'r Request<'_>) -> Outcome<Self, Self::Error> {
        let user_agent = request.headers().get_one("User-Agent").map(str::to_owned);
        Outcome::Success(Self(Origin { address: request.client_ip(), user_agent }))
    }
}

/// Refuses what a browser sends on behalf of another site, in addition to `SameSite`.
#[derive(Debug)]
pub struct SameOrigin;

#[rocket::async_trait]
impl<'r> FromRequest<'r> for SameOrigin {
    type Error = ProblemKind;

    async fn from_request(request: &'r Request<'_>) -> Outcome<Self, ProblemKind> {
        match request.headers().get_one("Sec-Fetch-Site") {
            None | Some("same-origin" | "none") => Outcome::Success(Self),
            Some(_) => {
                let detail = "The page of another site cannot use a session.";
                Problem::new(ProblemKind::MalformedRequest, detail).refuse(request)
            }
        }
    }
}

/// With `__Host-`, browsers accept the cookie only over TLS and from this host itself. A server
/// without TLS cannot set such a cookie.
fn cookie_name(services: &Services) -> &'static str {
    if is_secure(services) { "__Host-tollgate-session" } else { "tollgate-session" }
}

pub(super) fn is_secure(services: &Services) -> bool {
    services.issuer.as_str().starts_with("https:")
}

fn cookie(services: &Services, value: String, age: CookieAge) -> String {
    Cookie::build((cookie_name(services), value))
        .path("/")
        .http_only(true)
        .secure(is_secure(services))
        .same_site(SameSite::Strict)
        .max_age(age)
        .build()
        .to_string()
}

/// The cookie of a session that has just begun.
pub(super) fn session_cookie(services: &Services, signed_in: &SignedIn) -> String {
    let age = CookieAge::seconds(signed_in.lasts.as_secs().cast_signed());
    cookie(services, signed_in.refresh_token.clone(), age)
}

fn respond(services: &Services, signed_in: SignedIn) -> Result<ApiResponse, Problem> {
    let session_cookie = session_cookie(services, &signed_in);
    let SignedIn { tenant, user, access_token, .. } = signed_in;
    let shape = SessionShape {
        access_token: access_token.text,
        token_type: "Bearer",
        expires_in: access_token.lifetime_s,
        scope: access_token.scopes.to_string(),
        user: user.into(),
        tenant: SessionTenantShape { id: tenant.id.0, name: tenant.name },
    };
    Ok(ApiResponse::json(Status::Ok, &shape)?.with("Set-Cookie", session_cookie))
}

/// Signs a person in.
///
/// An unknown person and a wrong password get the same response. After several failures the next
/// attempt must wait.
#[utoipa::path(
    tag = "session",
    request_body(content = SignInBody, content_type = "application/json"),
    responses((status = 200, body = SessionShape, headers(("Set-Cookie"))), SignInProblems),
)]
#[post("/session", data = "<body>")]
pub async fn begin(
    _same_origin: SameOrigin,
    origin: RequestOrigin,
    services: &ServiceState,
    body: JsonBody,
) -> Result<ApiResponse, Problem> {
    let SignInBody { tenant, email, password, code } = body.read(services.world.now_ms())?;
    let password = SecretText::new(password);
    let credentials = Credentials { tenant, email, password, code, origin: origin.0 };
    let signed_in = services.sign_ins.sign_in(credentials, Instant::now().into_std()).await?;
    respond(services, signed_in)
}

/// Renews a session: a new access token, and the next refresh token in the cookie.
///
/// A spent refresh token gets the same successor for ten seconds. Used later, it ends the session,
/// since somebody must have copied it.
#[utoipa::path(
    tag = "session",
    responses((status = 200, body = SessionShape, headers(("Set-Cookie"))), RenewProblems),
)]
#[post("/session/refresh")]
pub async fn renew(
    _same_origin: SameOrigin,
    cookies: &CookieJar<'_>,
    services: &ServiceState,
) -> Result<ApiResponse, Problem> {
    let token = cookies.get(cookie_name(services)).ok_or(SignInError::Ended)?;
    let signed_in = services.sign_ins.renew(token.value()).await?;
    respond(services, signed_in)
}

/// Signs out. The session's tokens end at once.
#[utoipa::path(
    tag = "session",
    responses((status = 204, description = "Signed out", headers(("Set-Cookie"))), EndSessionProblems),
)]
#[delete("/session")]
pub async fn end(
    _same_origin: SameOrigin,
    cookies: &CookieJar<'_>,
    services: &ServiceState,
) -> Result<ApiResponse, Problem> {
    if let Some(token) = cookies.get(cookie_name(services)) {
        services.sign_ins.sign_out(token.value()).await?;
    }
    let cleared = cookie(services, String::new(), CookieAge::ZERO);
    Ok(ApiResponse::empty(Status::NoContent).with("Set-Cookie", cleared))
}

/// Sets a password with a one-time link. All sessions of the person end.
#[utoipa::path(
    tag = "session",
    request_body(content = SetPasswordBody, content_type = "application/json"),
    responses((status = 204, description = "The password is set"), SetPasswordProblems),
)]
#[post("/session/password", data = "<body>")]
pub async fn set_password(
    _same_origin: SameOrigin,
    services: &ServiceState,
    body: JsonBody,
) -> Result<ApiResponse, Problem> {
    let SetPasswordBody { token, password } = body.read(services.world.now_ms())?;
    let set = services.sign_ins.set_password_by_link(&token, &password).await;
    set.map_err(|error| password_refused(error, "/password"))?;
    Ok(ApiResponse::empty(Status::NoContent))
}
