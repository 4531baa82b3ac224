//! The page that shows the OpenAPI document: Swagger UI, built into the program, so that it loads
//! nothing from other servers.
//!
//! Its files are kept compressed only. They must not be compressed again, or sent to a client that
//! cannot read them.

use std::io::{self, Read};
use std::path::PathBuf;
use std::sync::{Arc, LazyLock};

use flate2::read::GzDecoder;
use rocket::http::ContentType;
use rocket::http::uri::Origin;
use rocket::response::Redirect;
use rocket::{Either, Route, get, routes};
use utoipa_swagger_ui::{Config, serve};

use crate::http::request::accept::TakesGzip;
use crate::http::response::ApiResponse;
use crate::http::response::problem::Problem;

/// With a slash, since the page names its files relative to itself.
const ADDRESS: &str = "/docs/";

static CONFIG: LazyLock<Arc<Config<'static>>> =
    LazyLock::new(|| Arc::new(Config::from("/api/v1/openapi.json").use_base_layout()));

pub fn routes() -> Vec<Route> {
    routes![file]
}

#[get("/docs/<path..>")]
fn file(
    path: Option<PathBuf>,
    origin: &Origin<'_>,
    takes_gzip: TakesGzip,
) -> Result<Either<ApiResponse, Redirect>, Problem> {
    if !origin.path().starts_with(ADDRESS) {
        return Ok(Either::Right(Redirect::found(ADDRESS)));
    }
    let not_found = || Problem::not_found("page");
    let path = path.ok_or_else(not_found)?;
    let file = path.to_str().and_then(|name| serve(name, CONFIG.clone()).ok().flatten());
    let file = file.ok_or_else(not_found)?;
    let content_type = ContentType::parse_flexible(&file.content_type).ok_or_else(not_found)?;
    let bytes = file.bytes.into_owned();
    let response = match (file.gzpipped, takes_gzip.0) {
        (true, true) => ApiResponse::bytes(content_type, bytes).with("Content-Encoding", "gzip"),
        (true, false) => ApiResponse::bytes(content_type, decompressed(&bytes).map_err(|_| not_found())?),
        (false, _) => ApiResponse::bytes(content_type, bytes),
    };
    Ok(Either::Left(
        response.with("Vary", "Accept-Encoding").with("Cache-Control", "no-cache").with_tag_of_body(),
    ))
}

fn decompressed(compressed: &[u8]) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    GzDecoder::new(compressed).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use rocket::http::{Header, Status};
    use rocket::local::blocking::Client;

    use super::*;
    use crate::http::response::problem::default_catcher;

    #[test]
    fn a_file_is_the_same_for_a_client_that_reads_gzip_and_for_one_that_does_not() {
        let config = rocket::Config { log_level: rocket::config::LogLevel::Off, ..Default::default() };
        let rocket = rocket::custom(config)
            .manage(crate::world::system())
            .mount("/", routes())
            .register("/", rocket::catchers![default_catcher]);
        let client = Client::untracked(rocket).expect("a rocket");
        for name in
            ["", "index.html", "swagger-ui-bundle.js", "swagger-ui-standalone-preset.js", "swagger-ui.css"]
        {
            let address = format!("{ADDRESS}{name}");
            let plain = client.get(&address).dispatch();
            assert_eq!(plain.status(), Status::Ok, "{name}");
            assert_eq!(plain.headers().get_one("Content-Encoding"), None, "{name}");
            let plain = plain.into_bytes().expect("bytes");
            assert!(plain.len() > 500, "{name}");
            let compressed = client.get(&address).header(Header::new("Accept-Encoding", "gzip")).dispatch();
            assert_eq!(compressed.headers().get_one("Content-Encoding"), Some("gzip"), "{name}");
            assert!(decompressed(&compressed.into_bytes().expect("bytes")).expect("gzip") == plain, "{name}");
        }
        let start = client.get("/docs/swagger-initializer.js").dispatch().into_string().expect("text");
        assert!(start.contains("/api/v1/openapi.json"), "{start}");
        assert_eq!(client.get("/docs/nothing.js").dispatch().status(), Status::NotFound);
        let redirect = client.get("/docs").dispatch();
        assert_eq!(
            (redirect.status(), redirect.headers().get_one("Location")),
            (Status::Found, Some(ADDRESS))
        );
    }
}
