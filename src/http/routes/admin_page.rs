//! The page for people: static files that are built into the program.
//!
//! All files but the first are addressed by a hash of all of them and may be kept for ever. A
//! file must never be served under another hash: browsers would mix two versions of the page.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::LazyLock;

use flate2::Compression;
use flate2::write::GzEncoder;
use rocket::http::ContentType;
use rocket::{Route, get, routes};
use rust_embed::Embed;
use tokio_util::bytes::Bytes;

use crate::domain::plugin::Digest;
use crate::http::request::accept::TakesGzip;
use crate::http::response::ApiResponse;
use crate::http::response::problem::Problem;

/// Allows scripts, styles and requests of its own origin only, no frames and forms, and no markup or
/// script made from text.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
                      img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
                      require-trusted-types-for 'script'; trusted-types 'none'";

const INDEX: &str = "index.html";

/// Stands in the index for the address of all other files.
const FILES_PLACEHOLDER: &str = "{files}";

#[derive(Embed)]
#[folder = "static/"]
struct Files;

/// Of the names and bytes of all files.
static HASH: LazyLock<String> = LazyLock::new(|| {
    let mut names: Vec<Cow<'static, str>> = Files::iter().collect();
    names.sort_unstable();
    let mut contents = Vec::new();
    for name in names {
        let file = Files::get(&name).map(|file| Digest::of(&file.data).to_string()).unwrap_or_default();
        contents.extend_from_slice(format!("{name} {file}\n").as_bytes());
    }
    Digest::of(&contents).to_string()
});

/// The files by name, each compressed once: a first load is then a third as large.
static COMPRESSED: LazyLock<BTreeMap<Cow<'static, str>, Bytes>> = LazyLock::new(|| {
    let compressed = |name: Cow<'static, str>| {
        let bytes = gzip(&Files::get(&name)?.data).ok()?;
        Some((name, Bytes::from(bytes)))
    };
    Files::iter().filter_map(compressed).collect()
});

fn gzip(bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes)?;
    encoder.finish()
}

pub fn routes() -> Vec<Route> {
    routes![index, file]
}

#[get("/admin")]
pub fn index() -> Result<ApiResponse, Problem> {
    let file = Files::get(INDEX).ok_or(Problem::not_found("page"))?;
    let text = String::from_utf8_lossy(&file.data);
    let text = text.replace(FILES_PLACEHOLDER, &format!("/admin/{}", *HASH));
    Ok(ApiResponse::bytes(ContentType::HTML, text.into_bytes())
        .with_tag_of_body()
        .with("Content-Security-Policy", POLICY)
        .with("Cache-Control", "no-cache"))
}

#[get("/admin/<hash>/<path..>")]
pub fn file(hash: &str, path: Option<PathBuf>, takes_gzip: TakesGzip) -> Result<ApiResponse, Problem> {
    let not_found = || Problem::not_found("page");
    let path = path.ok_or_else(not_found)?;
    let name = path.to_str().filter(|name| hash == *HASH && *name != INDEX).ok_or_else(not_found)?;
    let file = Files::get(name).ok_or_else(not_found)?;
    let content_type = path.extension().and_then(|extension| extension.to_str());
    let content_type = content_type.and_then(ContentType::from_extension).ok_or_else(not_found)?;
    let compressed = COMPRESSED.get(name).filter(|_| takes_gzip.0);
    let response = match compressed {
        Some(bytes) => ApiResponse::bytes(content_type, bytes.clone()).with("Content-Encoding", "gzip"),
        None => match file.data {
            Cow::Borrowed(bytes) => ApiResponse::bytes(content_type, bytes),
            Cow::Owned(bytes) => ApiResponse::bytes(content_type, bytes),
        },
    };
    Ok(response
        .with("Vary", "Accept-Encoding")
        .with("Content-Security-Policy", POLICY)
        .with("Cache-Control", "public, max-age=31536000, immutable"))
}

#[cfg(test)]
mod tests {
    use rocket::http::Status;
    use rocket::local::blocking::Client;

    use super::*;
    use crate::http::response::problem::default_catcher;

    fn client() -> Client {
        let config = rocket::Config { log_level: rocket::config::LogLevel::Off, ..Default::default() };
        let rocket = rocket::custom(config)
            .manage(crate::world::system())
            .mount("/", routes())
            .register("/", rocket::catchers![default_catcher]);
        Client::untracked(rocket).expect("a rocket")
    }

    /// Policy, media type, rule for caches and text.
    fn read(client: &Client, path: &str) -> (Option<String>, String, String, String) {
        let response = client.get(path).dispatch();
        assert_eq!(response.status(), Status::Ok, "{path}");
        let header = |name| response.headers().get_one(name).map(str::to_owned);
        let policy = header("Content-Security-Policy");
        let media_type = header("Content-Type").expect("a media type");
        let caching = header("Cache-Control").expect("a rule for caches");
        (policy, media_type, caching, response.into_string().expect("text"))
    }

    #[test]
    fn every_file_is_served_for_ever_under_a_policy_that_it_keeps() {
        let client = client();
        for name in Files::iter().filter(|name| *name != INDEX) {
            let (policy, media_type, caching, text) = read(&client, &format!("/admin/{}/{name}", *HASH));
            assert_eq!(policy.as_deref(), Some(POLICY), "{name}");
            assert!(caching.contains("immutable"), "{name}: {caching}");
            assert!(
                ["text/javascript", "text/css; charset=utf-8"].contains(&media_type.as_str()),
                "{name}: {media_type}"
            );
            for forbidden in [
                "innerHTML",
                "outerHTML",
                "insertAdjacentHTML",
                "document.write",
                "eval(",
                "\"style\"",
                "onclick",
                "https:",
                "localStorage",
                "sessionStorage",
            ] {
                assert!(!text.contains(forbidden), "{name} has {forbidden}");
            }
        }
    }

    #[test]
    fn a_browser_gets_a_file_compressed_and_with_the_same_content() {
        let client = client();
        let path = format!("/admin/{}/page.js", *HASH);
        let plain = client.get(&path).dispatch();
        assert_eq!(plain.headers().get_one("Content-Encoding"), None);
        assert_eq!(plain.headers().get_one("Vary"), Some("Accept-Encoding"));
        let plain = plain.into_bytes().expect("bytes");
        let asked = client.get(&path).header(rocket::http::Header::new("Accept-Encoding", "br, gzip"));
        let compressed = asked.dispatch();
        assert_eq!(compressed.headers().get_one("Content-Encoding"), Some("gzip"));
        let compressed = compressed.into_bytes().expect("bytes");
        let mut decoder = flate2::write::GzDecoder::new(Vec::new());
        decoder.write_all(&compressed).expect("gzip");
        assert!(decoder.finish().expect("gzip") == plain && compressed.len() < plain.len() / 2);
    }

    #[test]
    fn every_module_that_a_module_imports_exists() {
        for name in Files::iter().filter(|name| name.ends_with(".js")) {
            let text =
                String::from_utf8(Files::get(&name).expect("a file").data.into_owned()).expect("UTF-8");
            let folder = name.rsplit_once('/').map_or("", |(folder, _)| folder);
            for imported in text.split('"').filter(|part| part.starts_with("./") || part.starts_with("../")) {
                let mut path: Vec<&str> = folder.split('/').filter(|part| !part.is_empty()).collect();
                for part in imported.split('/').filter(|part| *part != ".") {
                    if part == ".." {
                        path.pop();
                    } else {
                        path.push(part);
                    }
                }
                assert!(Files::get(&path.join("/")).is_some(), "{name} imports {imported}");
            }
        }
    }

    #[test]
    fn the_page_names_the_files_of_its_own_version_and_is_asked_for_again() {
        let client = client();
        let (policy, _, caching, text) = read(&client, "/admin");
        assert_eq!((policy.as_deref(), caching.as_str()), (Some(POLICY), "no-cache"));
        assert_eq!(read(&client, "/admin/").3, text);
        assert!(!text.contains(FILES_PLACEHOLDER), "{text}");
        let addresses: Vec<&str> = text.split('"').filter(|part| part.starts_with("/admin/")).collect();
        assert!(!addresses.is_empty(), "{text}");
        for address in addresses {
            read(&client, address);
        }
    }

    #[test]
    fn no_other_file_and_no_other_version_is_served() {
        let client = client();
        let hash = HASH.as_str();
        for path in [
            "/admin/page.js".to_owned(),
            "/admin/0/page.js".to_owned(),
            format!("/admin/{hash}"),
            format!("/admin/{hash}/index.html"),
            format!("/admin/{hash}/Cargo.toml"),
            format!("/admin/{hash}/..%2fCargo.toml"),
            format!("/admin/{hash}/%2e%2e/Cargo.toml"),
        ] {
            assert_eq!(client.get(&path).dispatch().status(), Status::NotFound, "{path}");
        }
    }
}
