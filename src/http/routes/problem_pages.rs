//! What each type of problem means: the address in `type` leads here.
//!
//! The texts are those of `docs/problems.md`, which a test holds against the code. Nothing that a
//! client sent may appear here.

use rocket::http::{ContentType, MediaType, Status};
use rocket::{Route, get, routes};
use serde::Serialize;
use utoipa::ToSchema;

use crate::http::request::accept::WantedForm;
use crate::http::response::problem::{Problem, ProblemBody};
use crate::http::response::{ApiResponse, Items};

const DOCUMENT: &str = include_str!("../../../docs/problems.md");

pub fn routes() -> Vec<Route> {
    routes![all, one]
}

/// What a type of problem means.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ProblemExplanation)]
pub struct ExplanationShape {
    #[serde(rename = "type")]
    #[schema(example = "/problems/invalid-body")]
    pub kind: String,
    pub status: u16,
    pub title: &'static str,
    /// What the client should do, as Markdown.
    pub what_to_do: &'static str,
}

/// The rows of the document's table.
fn explanations() -> impl Iterator<Item = ExplanationShape> {
    DOCUMENT.lines().filter_map(|line| {
        let mut cells = line.strip_prefix("| `")?.strip_suffix(" |")?.splitn(4, " | ");
        Some(ExplanationShape {
            kind: cells.next()?.strip_suffix('`')?.to_owned(),
            status: cells.next()?.parse().ok()?,
            title: cells.next()?,
            what_to_do: cells.next()?,
        })
    })
}

/// Lists all types of problems and what they mean.
#[utoipa::path(
    operation_id = "problems",
    tag = "operations",
    responses((status = 200, content(
        (Items<ExplanationShape> = "application/json"), (String = "text/html"), (String = "text/markdown")
    )))
)]
#[get("/problems")]
pub fn all(form: WantedForm) -> Result<ApiResponse, Problem> {
    match form {
        WantedForm::Json => answer_json(&Items { items: explanations().collect() }),
        WantedForm::Markdown => Ok(answer(markdown(), DOCUMENT.to_owned())),
        WantedForm::Html => {
            let item = |of: ExplanationShape| {
                format!("<li><a href=\"{0}\"><code>{0}</code></a> {1}</li>\n", of.kind, html(of.title))
            };
            let items: String = explanations().map(item).collect();
            Ok(answer(ContentType::HTML, page("Problems", &format!("<ul>\n{items}</ul>"))))
        }
    }
}

/// Returns what a type of problem means.
#[utoipa::path(
    operation_id = "problem",
    tag = "operations",
    responses(
        (status = 200, content(
            (ExplanationShape = "application/json"), (String = "text/html"), (String = "text/markdown")
        )),
        (status = 404, body = ProblemBody<'static>, content_type = "application/problem+json"),
    )
)]
#[get("/problems/<kind>")]
pub fn one(kind: &str, form: WantedForm) -> Result<ApiResponse, Problem> {
    let is_wanted = |of: &ExplanationShape| of.kind.strip_prefix("/problems/") == Some(kind);
    let found = explanations().find(is_wanted).ok_or(Problem::not_found("type of problem"))?;
    match form {
        WantedForm::Json => answer_json(&found),
        WantedForm::Markdown => {
            let ExplanationShape { kind, status, title, what_to_do } = found;
            let text = format!("# {title}\n\n`{kind}`, with the status {status}.\n\n{what_to_do}\n");
            Ok(answer(markdown(), text))
        }
        WantedForm::Html => {
            let text = format!(
                "<p><code>{}</code>, with the status {}.</p>\n<p>{}</p>\n\
                 <p><a href=\"/problems\">All problems</a></p>",
                found.kind,
                found.status,
                html(found.what_to_do)
            );
            Ok(answer(ContentType::HTML, page(found.title, &text)))
        }
    }
}

fn answer(content_type: ContentType, text: String) -> ApiResponse {
    cached(ApiResponse::bytes(content_type, text.into_bytes()))
}

fn answer_json(shape: &impl Serialize) -> Result<ApiResponse, Problem> {
    ApiResponse::json(Status::Ok, shape).map(cached)
}

fn cached(response: ApiResponse) -> ApiResponse {
    response.with("Vary", "Accept").with("Cache-Control", "no-cache").with_tag_of_body()
}

fn markdown() -> ContentType {
    ContentType(MediaType::new("text", "markdown").with_params([("charset", "utf-8")]))
}

fn page(title: &str, content: &str) -> String {
    let title = html(title);
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<title>{title}</title>\n\
         <main>\n<h1>{title}</h1>\n{content}\n</main>\n</html>\n"
    )
}

/// Markdown of one line as HTML. It may only have code in backticks.
fn html(markdown: &str) -> String {
    let escaped = markdown.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let parts = escaped.split('`').enumerate();
    parts
        .map(|(place, part)| if place % 2 == 0 { part.to_owned() } else { format!("<code>{part}</code>") })
        .collect()
}

#[cfg(test)]
mod tests {
    use rocket::http::{Accept, Header};
    use rocket::local::blocking::Client;

    use super::*;
    use crate::http::response::problem::{ProblemKind, default_catcher};

    #[test]
    fn the_type_of_every_problem_leads_to_its_explanation_in_each_form() {
        let config = rocket::Config { log_level: rocket::config::LogLevel::Off, ..Default::default() };
        let rocket = rocket::custom(config)
            .manage(crate::world::system())
            .mount("/", routes())
            .register("/", rocket::catchers![default_catcher]);
        let client = Client::untracked(rocket).expect("a rocket");
        for kind in ProblemKind::ALL {
            for (accept, content_type) in [
                (Accept::JSON, "application/json"),
                (Accept::HTML, "text/html; charset=utf-8"),
                (Accept::Markdown, "text/markdown; charset=utf-8"),
            ] {
                let response = client.get(kind.address()).header(accept).dispatch();
                assert_eq!(response.status(), Status::Ok, "{kind:?}");
                let headers = response.headers();
                assert_eq!(headers.get_one("Content-Type"), Some(content_type), "{kind:?}");
                assert_eq!(headers.get_one("Vary"), Some("Accept"), "{kind:?}");
                let text = response.into_string().expect("text");
                assert!(text.contains(kind.title()) && text.contains(&kind.address()), "{text}");
                assert!(text.contains(&kind.status().code.to_string()), "{text}");
            }
        }
        let unknown = client.get("/problems/%3Cscript%3E").header(Accept::HTML).dispatch();
        assert_eq!(unknown.status(), Status::NotFound);
        assert!(!unknown.into_string().expect("text").contains("script"));
        let known = client.get("/problems").dispatch();
        let tag = known.headers().get_one("ETag").expect("a tag").to_owned();
        let again = client.get("/problems").header(Header::new("If-None-Match", tag)).dispatch();
        assert_eq!(again.status(), Status::NotModified);
        let shown = serde_json::from_str::<serde_json::Value>(&known.into_string().expect("text"));
        assert_eq!(shown.expect("JSON")["items"].as_array().map(Vec::len), Some(ProblemKind::ALL.len()));
    }

    #[test]
    fn a_text_of_the_document_is_escaped() {
        assert_eq!(html("`<a>` & <b>"), "<code>&lt;a&gt;</code> &amp; &lt;b&gt;");
    }
}
