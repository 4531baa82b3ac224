//! What a signed-in person sees and changes of their own: sessions, password, second factor.

use rocket::http::Status;
use rocket::{Route, delete, get, post, routes};
use serde::Serialize;
use tokio::time::Instant;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::auth::password::SecretText;
use crate::domain::user::SignInId;
use crate::http::edge::guard::Person;
use crate::http::openapi::problems::{OwnChangeProblems, OwnProblems, OwnResourceProblems};
use crate::http::request::body::JsonBody;
use crate::http::request::codecs::text;
use crate::http::request::declaration::body;
use crate::http::response::failure::people::password_refused;
use crate::http::response::moment::Moment;
use crate::http::response::problem::Problem;
use crate::http::response::{ApiResponse, Items};
use crate::http::routes::session::{PASSWORD_LENGTH_MAX, SessionTenantShape};
use crate::http::routes::users::UserShape;
use crate::http::services::ServiceState;
use crate::storage::sign_ins::SignIn;
use crate::storage::{tenants, users};

pub fn routes() -> Vec<Route> {
    routes![
        me,
        sessions,
        end_session,
        end_sessions,
        change_password,
        prepare_second_factor,
        confirm_second_factor,
        remove_second_factor,
    ]
}

body! {
    pub struct PasswordChangeBody as "PasswordChange" {
        current_password: String = text(PASSWORD_LENGTH_MAX),
        /// 12 to 128 characters that are not easy to guess.
        new_password: String = text(PASSWORD_LENGTH_MAX),
    }
}

body! {
    pub struct CodeBody as "SecondFactorCode" {
        /// Of the authenticator app.
        #[example = "123456"]
        code: String = text(32),
    }
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Me)]
pub struct MeShape {
    pub user: UserShape,
    pub tenant: SessionTenantShape,
    pub scopes: Vec<&'static str>,
    pub session: Uuid,
}

/// A session of the person, in one browser.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = OwnSession)]
pub struct OwnSessionShape {
    pub id: Uuid,
    pub created_at_ms: Moment,
    pub last_used_at_ms: Moment,
    /// It ends then at the latest.
    pub expires_at_ms: Moment,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_agent: Option<String>,
    /// Whether it is the one of this request.
    pub is_current: bool,
}

impl OwnSessionShape {
    fn of(sign_in: SignIn, current: SignInId) -> Self {
        Self {
            id: sign_in.id.0,
            created_at_ms: sign_in.begun_at_ms.into(),
            last_used_at_ms: sign_in.renewed_at_ms.into(),
            expires_at_ms: sign_in.expires_at_ms.into(),
            address: sign_in.address,
            user_agent: sign_in.user_agent,
            is_current: sign_in.id == current,
        }
    }
}

/// What a person puts into an authenticator app. Shown only in this response.
#[derive(Serialize, ToSchema)]
#[schema(as = NewSecondFactor)]
pub struct NewSecondFactorShape {
    /// In base 32, to type.
    pub secret: String,
    /// For a QR code.
    #[schema(example = "otpauth://totp/Tollgate:ann%40example.com?secret=JBSWY3DPEHPK3PXP&issuer=Tollgate")]
    pub otpauth_uri: String,
}

/// Codes for a person who has lost the second factor. Each works once. Shown only in this response.
#[derive(Serialize, ToSchema)]
#[schema(as = RecoveryCodes)]
pub struct RecoveryCodesShape {
    pub recovery_codes: Vec<String>,
}

/// Returns the person, the tenant and what the person may do.
#[utoipa::path(
    tag = "me",
    responses((status = 200, body = MeShape), OwnProblems),
    security(("oauth" = []))
)]
#[get("/me")]
pub async fn me(person: Person, services: &ServiceState) -> Result<ApiResponse, Problem> {
    let found = users::find(&services.app, person.tenant, person.user).await?;
    let tenant = tenants::find(&services.app, person.tenant).await?;
    let (found, tenant) = found.zip(tenant).ok_or(Problem::not_found("user"))?;
    let shape = MeShape {
        user: found.user.into(),
        tenant: SessionTenantShape { id: tenant.id.0, name: tenant.name },
        scopes: person.scopes.iter().map(|scope| scope.name()).collect(),
        session: person.sign_in.0,
    };
    ApiResponse::json(Status::Ok, &shape)
}

/// Lists the person's sessions, the newest first.
#[utoipa::path(
    tag = "me",
    responses((status = 200, body = Items<OwnSessionShape>), OwnProblems),
    security(("oauth" = []))
)]
#[get("/me/sessions")]
pub async fn sessions(person: Person, services: &ServiceState) -> Result<ApiResponse, Problem> {
    let found = services.sign_ins.list(person.tenant, person.user).await?;
    let items: Vec<_> =
        found.into_iter().map(|sign_in| OwnSessionShape::of(sign_in, person.sign_in)).collect();
    ApiResponse::json(Status::Ok, &Items { items })
}

/// Ends one of the person's sessions.
#[utoipa::path(
    tag = "me",
    responses((status = 204, description = "Ended"), OwnResourceProblems),
    security(("oauth" = []))
)]
#[delete("/me/sessions/<id>")]
pub async fn end_session(person: Person, id: &str, services: &ServiceState) -> Result<ApiResponse, Problem> {
    let not_found = || Problem::not_found("session");
    let id = id.parse().map(SignInId).map_err(|_| not_found())?;
    if !services.sign_ins.end(person.tenant, person.user, id).await? {
        return Err(not_found());
    }
    Ok(ApiResponse::empty(Status::NoContent))
}

/// Signs the person out everywhere, here as well.
#[utoipa::path(
    tag = "me",
    responses((status = 204, description = "Signed out"), OwnProblems),
    security(("oauth" = []))
)]
#[delete("/me/sessions")]
pub async fn end_sessions(person: Person, services: &ServiceState) -> Result<ApiResponse, Problem> {
    services.sign_ins.end_all(person.tenant, person.user).await?;
    Ok(ApiResponse::empty(Status::NoContent))
}

/// Changes the person's password. All sessions end, this one as well.
#[utoipa::path(
    tag = "me",
    request_body(content = PasswordChangeBody, content_type = "application/json"),
    responses((status = 204, description = "Changed"), OwnChangeProblems),
    security(("oauth" = []))
)]
#[post("/me/password", data = "<body>")]
pub async fn change_password(
    person: Person,
    services: &ServiceState,
    body: JsonBody,
) -> Result<ApiResponse, Problem> {
    let PasswordChangeBody { current_password, new_password } = body.read(services.world.now_ms())?;
    let current = SecretText::new(current_password);
    let now = Instant::now().into_std();
    let sign_ins = &services.sign_ins;
    let changed = sign_ins.change_password(person.tenant, person.user, current, &new_password, now).await;
    changed.map_err(|error| password_refused(error, "/new_password"))?;
    Ok(ApiResponse::empty(Status::NoContent))
}

/// Begins to set up a second factor. It takes effect when a code from it is confirmed.
#[utoipa::path(
    tag = "me",
    responses((status = 200, body = NewSecondFactorShape), OwnResourceProblems),
    security(("oauth" = []))
)]
#[post("/me/second-factor")]
pub async fn prepare_second_factor(person: Person, services: &ServiceState) -> Result<ApiResponse, Problem> {
    let new = services.sign_ins.prepare_second_factor(person.tenant, person.user).await?;
    let shape = NewSecondFactorShape { secret: new.secret_base32, otpauth_uri: new.address };
    ApiResponse::json(Status::Ok, &shape)
}

/// Confirms the second factor with a code. From now on, signing in needs one.
#[utoipa::path(
    tag = "me",
    request_body(content = CodeBody, content_type = "application/json"),
    responses((status = 200, body = RecoveryCodesShape), OwnChangeProblems),
    security(("oauth" = []))
)]
#[post("/me/second-factor/confirm", data = "<body>")]
pub async fn confirm_second_factor(
    person: Person,
    services: &ServiceState,
    body: JsonBody,
) -> Result<ApiResponse, Problem> {
    let CodeBody { code } = body.read(services.world.now_ms())?;
    let recovery_codes = services.sign_ins.confirm_second_factor(person.tenant, person.user, &code).await?;
    ApiResponse::json(Status::Ok, &RecoveryCodesShape { recovery_codes })
}

/// Removes the second factor, with a code of it or a recovery code. All sessions end.
#[utoipa::path(
    tag = "me",
    request_body(content = CodeBody, content_type = "application/json"),
    responses((status = 204, description = "Removed"), OwnChangeProblems),
    security(("oauth" = []))
)]
#[delete("/me/second-factor", data = "<body>")]
pub async fn remove_second_factor(
    person: Person,
    services: &ServiceState,
    body: JsonBody,
) -> Result<ApiResponse, Problem> {
    let CodeBody { code } = body.read(services.world.now_ms())?;
    let now = Instant::now().into_std();
    services.sign_ins.remove_second_factor(person.tenant, person.user, &code, now).await?;
    Ok(ApiResponse::empty(Status::NoContent))
}
