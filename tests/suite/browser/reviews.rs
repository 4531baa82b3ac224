//! The review queue, by keyboard, as a person who has signed in.

use fantoccini::{Client, Locator};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::{Driver, picture, wait_for_text};
use crate::support::database::TestDatabase;
use crate::support::people::{PASSWORD, create_user, sign_in};
use crate::support::service::{Caller, Node, payment_with};

/// Keys without a character, as WebDriver names them.
const ENTER: &str = "\u{e007}";
const ESCAPE: &str = "\u{e00c}";
const CONTROL: &str = "\u{e009}";

async fn keys(browser: &Client, keys: &str) {
    browser.active_element().await.expect("a focus").send_keys(keys).await.expect(keys);
}

async fn sign_in_page(browser: &Client, node: &Node, view: &str, email: &str) {
    browser.goto(&format!("{}/admin/#/{view}", node.url)).await.unwrap();
    wait_for_text(browser, "h1", "Sign in").await;
    for (name, text) in [("tenant", "acme"), ("email", email), ("password", PASSWORD)] {
        let css = format!("#sign-in-form [name={name}]");
        browser.find(Locator::Css(&css)).await.expect(name).send_keys(text).await.unwrap();
    }
    keys(browser, ENTER).await;
}

async fn open_view(browser: &Client, view: &str, title: &str) {
    browser.execute("location.hash = arguments[0]", vec![json!(format!("#/{view}"))]).await.unwrap();
    wait_for_text(browser, "h1", title).await;
}

/// A payment that waits, since the tenant has no rules.
async fn waiting(caller: &Caller, reference: &str) -> String {
    let (status, paid) =
        caller.pay(&reference.replace(' ', "-"), &payment_with(&json!({"reference": reference}))).await;
    assert_eq!((status, &paid["outcome"]), (StatusCode::CREATED, &json!("review")), "{paid}");
    paid["id"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reviewer_works_through_the_queue_by_keyboard() {
    let Some(driver) = Driver::start() else { return };
    let database = TestDatabase::create().await;
    let node = Node::start(&database).await;
    let caller = Caller::of_new_tenant(&node, "acme").await;
    for name in ["rita", "rob"] {
        create_user(&caller, &format!("{name}@example.com"), &["reviewer"]).await;
    }
    let rob = sign_in(&node, "acme", "rob@example.com").await;
    let [first, second] = [waiting(&caller, "first order").await, waiting(&caller, "second order").await];
    let browser = driver.browser().await;
    sign_in_page(&browser, &node, "reviews", "rita@example.com").await;
    wait_for_text(&browser, "#review .title", "first order").await;
    wait_for_text(&browser, "#review", "Ann Jones").await;
    wait_for_text(&browser, ".queue", "second order").await;
    keys(&browser, "?").await;
    wait_for_text(&browser, "dialog", "hand back").await;
    keys(&browser, ESCAPE).await;

    keys(&browser, "j").await;
    wait_for_text(&browser, "#review .title", "second order").await;
    keys(&browser, "k").await;
    wait_for_text(&browser, "#review .title", "first order").await;
    keys(&browser, "c").await;
    wait_for_text(&browser, "#review .lease", "yours for").await;
    picture(&browser, "reviews").await;
    keys(&browser, "h").await;
    wait_for_text(&browser, "#review .lease", "Nobody works on it").await;

    // The note has the letters of all keys, which act as letters while a person types.
    let note = "Jack rang back: he paid it";
    keys(&browser, "a").await;
    wait_for_text(&browser, ".note-form", "Approve this payment").await;
    keys(&browser, note).await;
    keys(&browser, ESCAPE).await;
    wait_for_text(&browser, "#review .lease", "yours for").await;
    keys(&browser, "a").await;
    wait_for_text(&browser, ".note-form", "Approve this payment").await;
    keys(&browser, &format!("{CONTROL}{ENTER}")).await;
    wait_for_text(&browser, "#review .title", "second order").await;
    let (_, decided) = rob.get(&format!("/reviews/{first}")).await;
    assert_eq!((&decided["outcome"], &decided["note"]), (&json!("approve"), &json!(note)), "{decided}");

    let decision = json!({"outcome": "reject", "note": "A stolen account."});
    let (status, answer): (StatusCode, Value) =
        rob.send(Method::POST, &format!("/reviews/{second}/decision"), &decision).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    keys(&browser, "c").await;
    wait_for_text(&browser, "#review .notice", "rejected").await;
    wait_for_text(&browser, ".queue-side", "Nothing waits for a person").await;
    picture(&browser, "reviews-conflict").await;
    waiting(&caller, "third order").await;
    wait_for_text(&browser, ".queue", "third order").await;

    open_view(&browser, &format!("decisions/{second}"), "second order").await;
    wait_for_text(&browser, ".notice", "rejected").await;
    open_view(&browser, "now", "Now").await;
    wait_for_text(&browser, "main", "Waiting for a person").await;
    open_view(&browser, "settings/reviews", "Settings").await;
    wait_for_text(&browser, "main", "15 minutes").await;
    browser.close().await.unwrap();
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_administrator_sets_how_reviews_work() {
    let Some(driver) = Driver::start() else { return };
    let database = TestDatabase::create().await;
    let node = Node::start(&database).await;
    let caller = Caller::of_new_tenant(&node, "acme").await;
    create_user(&caller, "ann@example.com", &["admin"]).await;
    let browser = driver.browser().await;
    sign_in_page(&browser, &node, "settings/reviews", "ann@example.com").await;
    wait_for_text(&browser, "h2", "How reviews work").await;
    let lease = browser.wait().for_element(Locator::XPath("//form//input")).await.unwrap();
    lease.clear().await.unwrap();
    lease.send_keys("0").await.unwrap();
    keys(&browser, ENTER).await;
    wait_for_text(&browser, "form", "Expected a whole number of minutes").await;
    lease.clear().await.unwrap();
    lease.send_keys("20").await.unwrap();
    browser.find(Locator::XPath("//label[contains(., 'fraud')]")).await.unwrap().click().await.unwrap();
    picture(&browser, "settings-reviews").await;
    browser.find(Locator::XPath("//form//button[@type='submit']")).await.unwrap().click().await.unwrap();
    wait_for_text(&browser, ".announcements", "Saved.").await;
    let (_, settings) = caller.get("/settings/reviews").await;
    assert_eq!(settings, json!({"lease_min": 20, "event_kinds": ["fraud"]}));
    browser.close().await.unwrap();
    node.stop().await;
}
