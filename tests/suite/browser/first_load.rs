//! What the page loads before `Now` can be used, and what it keeps.

use serde_json::{Value, json};

use super::devtools::Window;
use super::fixture::Fixture;
use super::views::{ADMIN, sign_in_page};
use super::{Driver, wait_for_text};

const BYTES_MAX: u64 = 150_000;
/// The files of the frame and the view, which are kept afterwards.
const FILES_MAX: usize = 20;
/// With the calls of the API, which every card of the view makes by itself.
const REQUESTS_MAX: usize = 32;

/// All that was loaded: names, transferred bytes and when each ended.
async fn loaded(window: &Window) -> Vec<Value> {
    let script =
        "return [...performance.getEntriesByType('navigation'), ...performance.getEntriesByType('resource')]
        .map((one) => ({name: one.name, bytes: one.transferSize, ended_ms: one.responseEnd}))";
    serde_json::from_value(window.run(script, vec![]).await).unwrap()
}

fn bytes(entries: &[Value]) -> u64 {
    entries.iter().map(|entry| entry["bytes"].as_u64().unwrap()).sum()
}

fn is_file(entry: &Value) -> bool {
    let name = entry["name"].as_str().unwrap();
    [".js", ".css"].iter().any(|ending| name.ends_with(ending))
}

async fn open(window: &Window, url: &str) -> (Vec<Value>, f64) {
    window.browser.goto("about:blank").await.unwrap();
    window.browser.goto(&format!("{url}/admin/#/now")).await.unwrap();
    wait_for_text(&window.browser, "#newest tbody", "order").await;
    wait_for_text(&window.browser, ".live:not(.lost)", "Live").await;
    let now = window.run("return performance.now()", vec![]).await;
    (loaded(window).await, now.as_f64().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_loads_little_and_keeps_its_files() {
    let Some(driver) = Driver::start() else { return };
    let fixture = Fixture::new().await;
    let window = Window::open(&driver).await;
    sign_in_page(&window, &fixture.node, "settings/account", ADMIN).await;
    window.tell("Network.enable", &json!({})).await;
    window.tell("Network.clearBrowserCache", &json!({})).await;
    let (first, first_ms) = open(&window, &fixture.node.url).await;
    let (second, second_ms) = open(&window, &fixture.node.url).await;
    for (what, entries, ms) in [("first", &first, first_ms), ("second", &second, second_ms)] {
        let (files, calls): (Vec<Value>, Vec<Value>) = entries.iter().cloned().partition(is_file);
        let moved = entries.iter().filter(|entry| entry["bytes"] != 0).count();
        eprintln!(
            "{what} load: {} bytes; {moved} requests: {} files with {} bytes, {} others with {} bytes; usable after {ms:.0} ms",
            bytes(entries),
            files.len(),
            bytes(&files),
            calls.len(),
            bytes(&calls),
        );
    }
    for file in first.iter().filter(|entry| is_file(entry)) {
        let response = reqwest::get(file["name"].as_str().unwrap()).await.unwrap();
        let caching = response.headers()["cache-control"].to_str().unwrap();
        assert!(caching.contains("immutable"), "{file}: {caching}");
    }
    let again: Vec<&Value> = second.iter().filter(|entry| is_file(entry) && entry["bytes"] != 0).collect();
    assert!(again.is_empty(), "loaded again: {again:?}");
    let names: Vec<&Value> = first.iter().map(|entry| &entry["name"]).collect();
    assert!(bytes(&first) < BYTES_MAX, "{} bytes: {first:#?}", bytes(&first));
    assert!(first.iter().filter(|entry| is_file(entry)).count() < FILES_MAX, "{names:#?}");
    assert!(first.len() < REQUESTS_MAX, "{} requests: {names:#?}", first.len());
    window.browser.close().await.unwrap();
    fixture.node.stop().await;
}
