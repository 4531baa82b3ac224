//! Tests of the page in a real browser. With `TOLLGATE_PICTURES=folder` they store screenshots
//! there.
//!
//! They need chromium and chromedriver. Without these they pass with a message, unless
//! `TOLLGATE_BROWSER=required` is set, as in continuous integration.

mod accessibility;
mod administrator;
mod auditor;
mod devtools;
mod ended_sessions;
mod first_load;
mod fixture;
mod injection;
mod layout;
mod openid;
mod people;
mod reviews;
mod rules;
mod views;

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use fantoccini::{Client, ClientBuilder, Locator};
use serde_json::json;

use crate::support::database::TestDatabase;
use crate::support::program::TEST_TIMEOUT;
use crate::support::service::Node;

/// A browser driver. Stopped with its browsers when dropped.
struct Driver {
    process: Child,
    url: String,
    _profile: tempfile::TempDir,
    profile_path: String,
}

impl Driver {
    fn start() -> Option<Self> {
        let installed = Command::new("chromedriver").arg("--version").stdout(Stdio::null()).status().is_ok();
        if !installed {
            let required = std::env::var("TOLLGATE_BROWSER").is_ok_and(|value| value == "required");
            assert!(!required, "chromedriver is missing: install the packages chromium and chromium-driver");
            eprintln!("not tested in a browser: chromedriver is not installed");
            return None;
        }
        let profile = tempfile::tempdir().unwrap();
        let log = profile.path().join("driver.log");
        let process = Command::new("chromedriver")
            .arg("--port=0")
            .stdout(std::fs::File::create(&log).unwrap())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let begun = Instant::now();
        let port = loop {
            let text = std::fs::read_to_string(&log).unwrap();
            let reported = text.split("started successfully on port ").nth(1);
            if let Some(port) = reported.and_then(|rest| rest.split('.').next()) {
                break port.to_owned();
            }
            assert!(begun.elapsed() < TEST_TIMEOUT, "chromedriver did not start: {text}");
            std::thread::sleep(Duration::from_millis(20));
        };
        let profile_path = profile.path().join("profile").display().to_string();
        Some(Self { process, url: format!("http://127.0.0.1:{port}"), _profile: profile, profile_path })
    }

    async fn browser(&self) -> Client {
        let arguments = json!([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--window-size=1280,1600",
            format!("--user-data-dir={}", self.profile_path)
        ]);
        let capabilities = json!({
            "goog:chromeOptions": {"args": arguments},
            "goog:loggingPrefs": {"browser": "ALL"}
        });
        ClientBuilder::new(hyper_util::client::legacy::connect::HttpConnector::new())
            .capabilities(capabilities.as_object().unwrap().clone())
            .connect(&self.url)
            .await
            .expect("a browser")
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

async fn wait_for_text(browser: &Client, css: &str, text: &str) {
    let begun = Instant::now();
    loop {
        let shown = match browser.find(Locator::Css(css)).await {
            Ok(element) => element.text().await.unwrap_or_default(),
            Err(_) => String::new(),
        };
        if shown.contains(text) {
            return;
        }
        assert!(begun.elapsed() < TEST_TIMEOUT, "{css} never showed {text:?}, but {shown:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn click(browser: &Client, css: &str) {
    browser.find(Locator::Css(css)).await.expect(css).click().await.expect(css);
}

async fn picture(browser: &Client, name: &str) {
    if let Some(folder) = std::env::var_os("TOLLGATE_PICTURES") {
        let png = browser.screenshot().await.unwrap();
        std::fs::write(std::path::Path::new(&folder).join(format!("{name}.png")), png).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_asks_who_is_there_and_keeps_the_address() {
    let Some(driver) = Driver::start() else { return };
    let database = TestDatabase::create().await;
    let node = Node::start(&database).await;
    let browser = driver.browser().await;
    browser.goto(&format!("{}/admin/#/decisions", node.url)).await.unwrap();
    wait_for_text(&browser, "h1", "Sign in").await;
    click(&browser, "#sign-in-form button[type=submit]").await;
    wait_for_text(&browser, "#sign-in-form", "This is required.").await;
    picture(&browser, "sign-in").await;
    assert!(browser.current_url().await.unwrap().as_str().ends_with("/admin/#/decisions"));
    browser.close().await.unwrap();
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_page_shows_its_operations_without_a_network() {
    let Some(driver) = Driver::start() else { return };
    let database = TestDatabase::create().await;
    let node = Node::start(&database).await;
    let browser = driver.browser().await;
    browser.goto(&format!("{}/docs/", node.url)).await.unwrap();
    wait_for_text(&browser, "body", "/api/v1/payments").await;
    picture(&browser, "api").await;
    let origins =
        "return [...new Set(performance.getEntriesByType('resource').map(e => new URL(e.name).origin))]";
    let origins = browser.execute(origins, vec![]).await.unwrap();
    assert_eq!(origins, json!([node.url]), "nothing comes from elsewhere");
    browser.close().await.unwrap();
    node.stop().await;
}
