//! The page for administrators: static files that are built into the program.

use rocket::http::ContentType;
use rocket::response::Redirect;
use rocket::{Route, get, routes};

use crate::http::response::ApiResponse;
use crate::http::response::problem::Problem;

/// Allows scripts, styles and requests of its own origin only, and no frames and forms.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
                      img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

static FILES: [(&str, &[u8]); 9] = [
    ("index.html", include_bytes!("../../../static/index.html")),
    ("page.css", include_bytes!("../../../static/page.css")),
    ("page.js", include_bytes!("../../../static/page.js")),
    ("api.js", include_bytes!("../../../static/api.js")),
    ("elements.js", include_bytes!("../../../static/elements.js")),
    ("ruleset.js", include_bytes!("../../../static/ruleset.js")),
    ("decisions.js", include_bytes!("../../../static/decisions.js")),
    ("facts.js", include_bytes!("../../../static/facts.js")),
    ("plugins.js", include_bytes!("../../../static/plugins.js")),
];

pub fn routes() -> Vec<Route> {
    routes![index, file]
}

/// Relative addresses in the page need the slash, but Rocket's router ignores it.
#[get("/admin")]
pub fn index() -> Redirect {
    Redirect::to("/admin/index.html")
}

#[get("/admin/<name>")]
pub fn file(name: &str) -> Result<ApiResponse, Problem> {
    let (name, bytes) = FILES.iter().find(|(known, _)| *known == name).ok_or(Problem::not_found("page"))?;
    let content_type = match name.rsplit('.').next() {
        Some("html") => ContentType::HTML,
        Some("css") => ContentType::CSS,
        _ => ContentType::JavaScript,
    };
    Ok(ApiResponse::bytes(content_type, bytes.to_vec())
        .with("Content-Security-Policy", POLICY)
        .with("Cache-Control", "no-cache"))
}

#[cfg(test)]
mod tests {
    use rocket::http::Status;
    use rocket::local::blocking::Client;

    use super::*;
    use crate::http::response::problem::default_catcher;

    #[test]
    fn the_page_is_served_under_a_policy_that_its_files_keep() {
        let config = rocket::Config { log_level: rocket::config::LogLevel::Off, ..Default::default() };
        let rocket = rocket::custom(config)
            .manage(crate::world::system())
            .mount("/", routes())
            .register("/", rocket::catchers![default_catcher]);
        let client = Client::untracked(rocket).expect("a rocket");
        for (name, _) in FILES {
            let response = client.get(format!("/admin/{name}")).dispatch();
            assert_eq!(response.status(), Status::Ok, "{name}");
            assert_eq!(response.headers().get_one("Content-Security-Policy"), Some(POLICY), "{name}");
            let text = response.into_string().expect("text");
            for forbidden in [
                "innerHTML",
                "outerHTML",
                "insertAdjacentHTML",
                "style=",
                "onclick=",
                "http:",
                "https:",
                "localStorage",
            ] {
                assert!(!text.contains(forbidden), "{name} has {forbidden}");
            }
        }
        for path in ["/admin/Cargo.toml", "/admin/..%2fCargo.toml", "/admin/%2e%2e/Cargo.toml"] {
            assert_eq!(client.get(path).dispatch().status(), Status::NotFound, "{path}");
        }
    }
}
