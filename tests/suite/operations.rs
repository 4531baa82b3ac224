//! Health, metrics and documentation pages.

use std::collections::BTreeSet;
use std::time::Duration;

use reqwest::{Client, Method};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::support::database::TestDatabase;
use crate::support::program::TEST_TIMEOUT;
use crate::support::service::{Caller, FullResponse, Node, payment_with};
use crate::support::subprocess::{subprocess, subprocess_folder};

async fn get(node: &Node, path: &str) -> FullResponse {
    FullResponse::of(Client::new().get(format!("{}{path}", node.url))).await
}

#[tokio::test(flavor = "multi_thread")]
async fn health_readiness_and_metrics_are_public_and_have_no_payment_data() {
    let database = TestDatabase::create().await;
    let node = Node::start(&database).await;
    let caller = Caller::of_new_tenant(&node, "acme").await;
    assert_eq!(get(&node, "/health").await.json(), json!({"status": "up"}));
    assert_eq!(get(&node, "/ready").await.json(), json!({"status": "ready"}));

    let body = payment_with(&json!({"reference": "SECRET-REFERENCE", "customer": "SECRET-CUSTOMER"}));
    let (_, response) = caller.pay("SECRET-KEY", &body).await;
    let id = response["id"].as_str().unwrap();
    caller.get(&format!("/payments/{id}")).await;
    caller.get("/payments?reference=SECRET-REFERENCE").await;
    caller.get("/SECRET-PATH").await;
    let metrics = get(&node, "/metrics").await;
    assert!(metrics.header("Content-Type").starts_with("text/plain; version=0.0.4"), "{:?}", metrics.headers);
    let counted = |labels: &[&str]| {
        let of_requests = metrics.text.lines().filter(|line| line.starts_with("http_requests_total{"));
        of_requests.filter(|line| labels.iter().all(|label| line.contains(label))).count()
    };
    for labels in [
        &["route=\"/api/v1/payments\"", "method=\"POST\""][..],
        &["route=\"/api/v1/payments/<id>\"", "method=\"GET\""],
        &["route=\"unmatched\""],
        &["route=\"/oauth/token\""],
    ] {
        assert!(counted(labels) > 0, "{labels:?}: {}", metrics.text);
    }
    for secret in ["SECRET", id, "DE89370400440532013000", "Ann Jones", &caller.client_id, caller.token()] {
        assert!(!metrics.text.contains(secret), "{secret} is in the metrics");
    }
    node.stop().await;
}

/// Runs in a separate process, since it measures the memory of the whole process.
#[test]
#[ignore = "runs only as a process of its own, started by the test below it"]
fn node_with_metrics() {
    const MEASURED: usize = 4_000_000;
    let Some(_folder) = subprocess_folder() else { return };
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let database = TestDatabase::create().await;
        let node = Node::start(&database).await;
        let durations = metrics::histogram!("measured_seconds");
        let before = resident_bytes();
        for part in 0..10 {
            (0..MEASURED / 10).for_each(|place| durations.record(f64::from(part) + place as f64));
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        let grown = resident_bytes().saturating_sub(before);
        assert!(grown < 4 * MEASURED, "{MEASURED} durations that were not read use {grown} bytes");
        let reported = get(&node, "/metrics").await.text;
        let counted = reported.lines().find_map(|line| line.strip_prefix("measured_seconds_count ")).unwrap();
        // Not all values, since the library may lose some while it aggregates.
        assert!(counted.parse::<usize>().unwrap() > MEASURED / 2, "{counted} of {MEASURED} are counted");
        node.stop().await;
    });
}

#[tokio::test]
async fn metrics_that_are_not_read_do_not_accumulate() {
    if !cfg!(target_os = "linux") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let node = subprocess("operations::node_with_metrics", folder.path(), &log);
    let mut node = tokio::process::Command::from(node).kill_on_drop(true).spawn().unwrap();
    let ended = timeout(TEST_TIMEOUT, node.wait()).await;
    let ended = ended.map(|status| status.unwrap().success());
    assert!(ended == Ok(true), "{ended:?}: {}", std::fs::read_to_string(&log).unwrap());
}

fn resident_bytes() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let kilobytes = status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.strip_suffix("kB"));
    kilobytes.unwrap().trim().parse::<usize>().unwrap() * 1024
}

#[tokio::test(flavor = "multi_thread")]
async fn the_openapi_document_is_complete() {
    let database = TestDatabase::create().await;
    let node = Node::start(&database).await;
    let served = get(&node, "/api/v1/openapi.json").await;
    assert_eq!(served.header("Content-Type"), "application/json");
    let document = served.json();
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1."), "{}", document["openapi"]);
    for member in ["title", "version"] {
        assert!(document["info"][member].is_string(), "{member}");
    }
    let schemes: BTreeSet<&String> =
        document["components"]["securitySchemes"].as_object().unwrap().keys().collect();
    let mut ids = BTreeSet::new();
    let paths = document["paths"].as_object().unwrap();
    let operations = paths.iter().flat_map(|(path, item)| {
        item.as_object().unwrap().iter().map(move |(method, operation)| (path, method, operation))
    });
    for (path, method, operation) in operations {
        let what = format!("{method} {path}");
        let responses = operation["responses"].as_object().unwrap();
        assert!(!responses.is_empty(), "{what}");
        // Some only send a browser on.
        assert!(responses.keys().any(|status| status.starts_with(['2', '3'])), "{what} never succeeds");
        for (status, response) in responses {
            assert!(response["description"].is_string(), "{what} {status}");
            let problem = status.starts_with(['4', '5']) && path != "/oauth/token";
            if problem {
                assert!(
                    response["content"]["application/problem+json"].is_object(),
                    "{what} {status}: {response}"
                );
            }
        }
        let open = ["/", "/health", "/ready", "/metrics", "/api/v1/openapi.json"].contains(&path.as_str())
            || path.starts_with("/.well-known")
            || path.starts_with("/problems")
            // A person proves who it is with the body or the cookie.
            || path.starts_with("/session");
        let security = operation["security"].as_array().map_or(&[][..], Vec::as_slice);
        assert_eq!(security.is_empty(), open, "{what} and its security");
        for name in security.iter().flat_map(|scheme| scheme.as_object().unwrap().keys()) {
            assert!(schemes.contains(name), "{what}: {name}");
        }
        let described: BTreeSet<&str> = operation["parameters"]
            .as_array()
            .into_iter()
            .flatten()
            .filter(|parameter| parameter["in"] == "path")
            .map(|parameter| parameter["name"].as_str().unwrap())
            .collect();
        let templated: BTreeSet<&str> =
            path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}')).collect();
        assert_eq!(described, templated, "{what}: its parameters");
        assert!(
            ids.insert(operation["operationId"].as_str().unwrap_or_default().to_owned()),
            "{what}: its operationId"
        );
    }
    node.stop().await;
}

/// The URLs that a page loads.
fn references(html: &str) -> Vec<String> {
    ["src=\"", "href=\""]
        .iter()
        .flat_map(|before| html.split(before).skip(1))
        .map(|rest| rest.split('"').next().unwrap().to_owned())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_load_only_from_this_server_and_have_no_inline_scripts() {
    let database = TestDatabase::create().await;
    let node = Node::start(&database).await;
    for page in ["/docs/", "/admin"] {
        let response = Client::new().get(format!("{}{page}", node.url)).send().await.unwrap();
        let base = response.url().clone();
        assert_eq!(response.status(), 200, "{page}");
        let policy = response.headers()["Content-Security-Policy"].to_str().unwrap().to_owned();
        assert!(policy.starts_with("default-src 'none'"), "{page}: {policy}");
        let scripts =
            policy.split(';').find(|part| part.trim().starts_with("script-src")).expect("script-src");
        assert_eq!(scripts.trim(), "script-src 'self'", "{page}");
        let html = response.text().await.unwrap();
        for opening in html.split("<script").skip(1) {
            let tag = opening.split('>').next().unwrap();
            assert!(tag.contains("src="), "{page} has an inline script: {tag}");
        }
        assert!(!html.contains(" onload=") && !html.contains(" onclick="), "{page} has an inline handler");
        let references = references(&html);
        assert!(!references.is_empty(), "{page}");
        for reference in references.into_iter().filter(|reference| !reference.starts_with("data:")) {
            let url = base.join(&reference).unwrap();
            assert!(url.as_str().starts_with(&node.url), "{page} loads {url}");
            if url.path() == base.path() {
                continue;
            }
            let asset = FullResponse::of(Client::new().get(url.clone())).await;
            assert_eq!(asset.status, 200, "{page}: {url}");
            let kind = asset.header("Content-Type");
            let expected = [
                (".js", "text/javascript"),
                (".css", "text/css"),
                (".png", "image/png"),
                (".svg", "image/svg+xml"),
            ];
            let expected = expected.into_iter().find(|(end, _)| url.path().ends_with(end));
            assert!(expected.is_none_or(|(_, expected)| kind.starts_with(expected)), "{url}: {kind}");
        }
    }
    // The API page loads the document of this server.
    let start = get(&node, "/docs/swagger-initializer.js").await;
    assert_eq!(start.status, 200);
    assert!(start.text.contains("/api/v1/openapi.json") && !start.text.contains("http"), "{}", start.text);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_without_a_database_is_healthy_but_not_ready() {
    let database = TestDatabase::create().await;
    let node = Node::start(&database).await;
    let caller = Caller::of_new_tenant(&node, "acme").await;
    let url = node.url.clone();
    // Dropping the database closes every connection.
    drop(database);
    let ready = FullResponse::of(Client::new().get(format!("{url}/ready"))).await;
    assert_eq!(
        (ready.status, ready.json()["type"].as_str()),
        (503, Some("/problems/unavailable")),
        "{}",
        ready.text
    );
    assert_eq!(FullResponse::of(Client::new().get(format!("{url}/health"))).await.status, 200);
    let response = FullResponse::of(caller.request(Method::GET, "/lists")).await;
    assert_eq!(response.status, 503, "{}", response.text);
    assert!(!response.header("Retry-After").is_empty());
    let _: Value = response.json();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_root_leads_a_browser_to_the_page_and_a_program_to_everything_else() {
    let database = TestDatabase::create().await;
    let node = Node::start(&database).await;
    let http = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
    let get = |path: &str, accept: &str| {
        http.get(format!("{}{path}", node.url)).header("Accept", accept.to_owned())
    };
    let browser = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";
    let led = FullResponse::of(get("/", browser)).await;
    assert_eq!((led.status, led.header("Location"), led.header("Vary")), (303, "/admin/", "Accept"));
    let page = FullResponse::of(get("/admin/", browser)).await;
    assert_eq!((page.status, page.header("Content-Type")), (200, "text/html; charset=utf-8"));
    let index = FullResponse::of(get("/", "*/*")).await;
    assert_eq!((index.status, index.header("Vary")), (200, "Accept"));
    for (name, path) in index.json()["links"].as_object().unwrap() {
        let followed = reqwest::get(format!("{}{}", node.url, path.as_str().unwrap())).await.unwrap();
        assert!(followed.status().is_success(), "{name}: {path}");
    }
    node.stop().await;
}
