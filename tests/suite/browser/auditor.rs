//! Auditors see everything of their tenant, and change nothing: not in the page, not by the API.

use std::collections::BTreeSet;

use reqwest::Method;
use serde_json::{Value, json};

use super::Driver;
use super::devtools::Window;
use super::fixture::Fixture;
use super::views::{AUDITOR, TENANT, show, show_address, sign_in_page, views};
use crate::support::people::sign_in;
use crate::support::service::FullResponse;

/// Buttons that change nothing but what is shown. In the view of the own account there are more.
const HARMLESS: [&str; 18] = [
    "Skip to the content",
    "Sign out",
    "Search",
    "Clear",
    "All acts",
    "Show more",
    "Show",
    "All that waits",
    "Keys",
    "Copy",
    "Export as CSV",
    "Export as JSON lines",
    "History",
    "Compare",
    "Look up",
    "Replay",
    "Find the cause",
    "Try again",
];

#[tokio::test(flavor = "multi_thread")]
async fn an_auditor_sees_every_view_and_nothing_that_changes_anything() {
    let Some(driver) = Driver::start() else { return };
    let fixture = Fixture::new().await;
    let window = Window::open(&driver).await;
    sign_in_page(&window, &fixture.node, "settings/account", AUDITOR).await;
    let script = "return [...document.querySelectorAll('button, input[type=file], a[href^=\"#/rules/edit\"], a[href*=erasure]')]
        .filter((one) => one.checkVisibility() && !one.matches('.queue-item')).map((one) => one.textContent || one.type)";
    let (mut seen, mut found) = (0, BTreeSet::new());
    for view in views(&fixture) {
        if !view.for_auditors {
            let elsewhere = if view.address.starts_with("settings") {
                "Settings"
            } else {
                "There is nothing at this address"
            };
            show_address(&window, &view.address, elsewhere).await;
            continue;
        }
        show(&window, &view).await;
        seen += 1;
        if view.address == "settings/account" {
            continue;
        }
        let texts: Vec<String> = serde_json::from_value(window.run(script, vec![]).await).unwrap();
        let refused: Vec<&String> = texts.iter().filter(|text| !HARMLESS.contains(&text.as_str())).collect();
        assert!(refused.is_empty(), "{} shows {refused:?}", view.address);
        found.extend(texts);
    }
    assert!(window.happened().await.is_empty(), "{:?}", window.happened().await);
    eprintln!("an auditor sees {seen} views, with these buttons only: {found:?}");
    window.browser.close().await.unwrap();
    fixture.node.stop().await;
}

/// What everybody who has signed in may do, each to the own account and the own proposals.
fn is_own(path: &str) -> bool {
    path.starts_with("/api/v1/me") || path == "/api/v1/proposals/{id}/withdraw"
}

/// The path with something in the place of each parameter.
fn filled(path: &str) -> String {
    let parts = path.split('/').map(|part| match part {
        "{point}" => "payment",
        "{name}" => "blocked",
        "{digest}" => "0000000000000000000000000000000000000000000000000000000000000000",
        "{number}" | "{version}" => "1",
        _ if part.starts_with('{') => "0192f0c1-2345-7abc-8def-0123456789ab",
        _ => part,
    });
    parts.collect::<Vec<_>>().join("/")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_refuses_every_change_of_an_auditor() {
    let fixture = Fixture::new().await;
    let audrey = sign_in(&fixture.node, TENANT, AUDITOR).await;
    let (_, document) = audrey.get("/openapi.json").await;
    let (mut refused, mut allowed) = (Vec::new(), Vec::new());
    for (path, operations) in document["paths"].as_object().unwrap() {
        let Some(below) = path.strip_prefix("/api/v1") else { continue };
        for method in [Method::POST, Method::PUT, Method::PATCH, Method::DELETE] {
            let operation = &operations[method.as_str().to_lowercase()];
            if operation.is_null() || is_own(path) {
                continue;
            }
            let media_type = operation.pointer("/requestBody/content").and_then(Value::as_object);
            let media_type = media_type.and_then(|content| content.keys().next().cloned());
            let request = audrey.request(method.clone(), &filled(below)).header("Idempotency-Key", "k");
            let request = request.header("Content-Type", media_type.unwrap_or("application/json".to_owned()));
            let response = FullResponse::of(request.body(json!({}).to_string())).await;
            let line = format!("{method} {path}: {} {}", response.status, response.text);
            let is_refused = response.status == 403 && response.text.contains("insufficient-scope");
            if is_refused { refused.push(line) } else { allowed.push(line) }
        }
    }
    eprintln!("the API refuses {} changing operations to an auditor", refused.len());
    assert!(allowed.is_empty(), "{allowed:#?}");
    assert!(refused.len() > 30, "{refused:#?}");
    fixture.node.stop().await;
}
