//! Signing in by OpenID Connect: to the provider of the tenant, and back. Browsers come here by
//! navigation, so every response sends them on, and what fails is told by the page.
//!
//! Nothing of a query may be sent back, except what is known to be safe. Queries have secrets.

use rocket::http::{Cookie, CookieJar, SameSite, Status};
use rocket::time::Duration as CookieAge;
use rocket::{Route, get, routes};
use tokio::time::Instant;

use crate::auth::openid_flow::FLOW_LIFETIME_S;
use crate::domain::ruleset::is_slug;
use crate::http::openapi::problems::NavigationProblems;
use crate::http::response::ApiResponse;
use crate::http::routes::session::{RequestOrigin, is_secure, session_cookie};
use crate::http::services::{ServiceState, Services};
use crate::people::openid::{OpenidError, ProviderAnswer};

/// They wait for the provider, so they have the longer deadline.
pub fn routes() -> Vec<Route> {
    routes![start, finish]
}

const PAGE: &str = "/admin/";

/// In characters.
const PLACE_LENGTH_MAX: usize = 500;

fn cookie_name(services: &Services) -> &'static str {
    if is_secure(services) { "__Host-tollgate-openid" } else { "tollgate-openid" }
}

/// The provider sends the browser back from another site, so the cookie cannot be strict.
fn cookie(services: &Services, value: String, age: CookieAge) -> String {
    Cookie::build((cookie_name(services), value))
        .path("/")
        .http_only(true)
        .secure(is_secure(services))
        .same_site(SameSite::Lax)
        .max_age(age)
        .build()
        .to_string()
}

fn to(address: String) -> ApiResponse {
    ApiResponse::empty(Status::SeeOther).with("Location", address).with("Cache-Control", "no-store")
}

fn failed(error: &OpenidError, tenant: Option<&str>) -> ApiResponse {
    match error {
        OpenidError::Auth(_) | OpenidError::Storage(_) => {
            tracing::error!(%error, "a sign-in by OpenID Connect failed");
        }
        error => tracing::warn!(%error, "a sign-in by OpenID Connect was refused"),
    }
    let tenant = tenant.filter(|name| is_slug(name)).map(|name| format!("&tenant={name}"));
    to(format!("{PAGE}#/sign-in?refused={}{}", error.code(), tenant.unwrap_or_default()))
}

/// A place in the page, as it stands after `#/` in its address.
fn is_place(text: &str) -> bool {
    let is_safe = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./?=&%:,~+".contains(&byte);
    text.len() <= PLACE_LENGTH_MAX && text.bytes().all(is_safe)
}

/// Sends the browser to the provider of a tenant, for a person who signs in.
///
/// `place` is where the person wants to be in the page. If this cannot be, the browser is sent back to
/// the page, with a code that says why.
#[utoipa::path(
    tag = "session",
    params(
        ("tenant" = Option<String>, Query, description = "The tenant's name"),
        ("place" = Option<String>, Query, description = "A place in the page, such as `decisions`"),
    ),
    responses(
        (status = 303, description = "To the provider, or back to the page", headers(("Location"), ("Set-Cookie"))),
        NavigationProblems,
    ),
)]
#[get("/session/openid?<tenant>&<place>")]
pub async fn start(tenant: Option<&str>, place: Option<&str>, services: &ServiceState) -> ApiResponse {
    let place = place.filter(|place| is_place(place)).unwrap_or_default().to_owned();
    // No tenant has another name.
    let named = tenant.filter(|name| is_slug(name)).unwrap_or_default().to_owned();
    match services.openid.start(named, place).await {
        Ok(started) => {
            let age = CookieAge::seconds(FLOW_LIFETIME_S.into());
            to(started.address).with("Set-Cookie", cookie(services, started.cookie, age))
        }
        Err(error) => failed(&error, tenant),
    }
}

/// Where the provider sends the browser back to. Begins the session and leads to the page.
#[utoipa::path(
    tag = "session",
    params(
        ("code" = Option<String>, Query),
        ("state" = Option<String>, Query),
        ("iss" = Option<String>, Query),
        ("error" = Option<String>, Query),
    ),
    responses(
        (status = 303, description = "To the page", headers(("Location"), ("Set-Cookie"))),
        NavigationProblems,
    ),
)]
#[get("/session/openid/return?<code>&<state>&<iss>&<error>")]
pub async fn finish(
    code: Option<String>,
    state: Option<String>,
    iss: Option<String>,
    error: Option<String>,
    cookies: &CookieJar<'_>,
    origin: RequestOrigin,
    services: &ServiceState,
) -> ApiResponse {
    let answer = ProviderAnswer { code, state, issuer: iss, error };
    let flow = cookies.get(cookie_name(services)).map(|cookie| cookie.value());
    let finished = services.openid.finish(flow, answer, origin.0, Instant::now().into_std()).await;
    let response = match finished {
        Ok(finished) if finished.place.is_empty() => {
            to(PAGE.to_owned()).with("Set-Cookie", session_cookie(services, &finished.signed_in))
        }
        Ok(finished) => to(format!("{PAGE}#/{}", finished.place))
            .with("Set-Cookie", session_cookie(services, &finished.signed_in)),
        Err(error) => failed(&error, None),
    };
    response.with("Set-Cookie", cookie(services, String::new(), CookieAge::ZERO))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_in_the_page_has_only_safe_characters() {
        for place in ["", "decisions", "decisions/0199?cursor=a%20b&limit=50", "rules/revisions/4"] {
            assert!(is_place(place), "{place}");
        }
        for place in ["a b", "a\r\nb", "a#b", "<b>", "\"", "ä", &"a".repeat(PLACE_LENGTH_MAX + 1)] {
            assert!(!is_place(place), "{place}");
        }
    }
}
