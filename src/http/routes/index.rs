//! The root of the server: the page for a browser, and for a program where everything else is.

use rocket::http::Status;
use rocket::{Route, get, routes};
use serde::Serialize;
use utoipa::ToSchema;

use crate::http::request::accept::WantedForm;
use crate::http::response::ApiResponse;
use crate::http::response::problem::Problem;

pub fn routes() -> Vec<Route> {
    routes![index]
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Index)]
pub struct IndexShape {
    #[schema(example = "Tollgate")]
    pub name: &'static str,
    pub links: LinksShape,
}

/// Paths on this server.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = IndexLinks)]
pub struct LinksShape {
    /// The OpenAPI document.
    pub openapi: &'static str,
    /// The reference of the API for people.
    pub docs: &'static str,
    /// The types of problems, which are the errors of the API.
    pub problems: &'static str,
    /// Where to get an access token (RFC 8414).
    pub authorization_server: &'static str,
    pub health: &'static str,
    pub ready: &'static str,
    /// The page for people.
    pub page: &'static str,
}

const LINKS: LinksShape = LinksShape {
    openapi: "/api/v1/openapi.json",
    docs: "/docs",
    problems: "/problems",
    authorization_server: "/.well-known/oauth-authorization-server",
    health: "/health",
    ready: "/ready",
    page: "/admin/",
};

/// Returns the addresses of the API, its description and its state. A browser is led to the page.
#[utoipa::path(
    tag = "operations",
    responses(
        (status = 200, body = IndexShape),
        (status = 303, description = "To the page, if HTML is wanted", headers(("Location"))),
    )
)]
#[get("/")]
pub fn index(form: WantedForm) -> Result<ApiResponse, Problem> {
    let response = match form {
        WantedForm::Html => ApiResponse::empty(Status::SeeOther).with("Location", LINKS.page),
        WantedForm::Json | WantedForm::Markdown => {
            ApiResponse::json(Status::Ok, &IndexShape { name: "Tollgate", links: LINKS })?
        }
    };
    Ok(response.with("Vary", "Accept"))
}
