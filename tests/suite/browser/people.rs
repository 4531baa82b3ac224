//! The views that show who did what, how much was decided, and how long it is kept.

use fantoccini::{Client, Locator};
use reqwest::Method;
use serde_json::json;
use tollgate::app::tenants::tenant_of;
use tollgate::domain::verdict::Outcome;

use super::rules::{press, type_into};
use super::{Driver, click, picture, wait_for_text};
use crate::support::database::TestDatabase;
use crate::support::decisions::{decision_on, index_everything, journal, now_ms, order};
use crate::support::people::{PASSWORD, create_user, sign_in};
use crate::support::service::{Caller, Node, payment};

async fn sign_in_as_ann(browser: &Client, node: &Node, view: &str) {
    browser.goto(&format!("{}/admin/#/{view}", node.url)).await.unwrap();
    wait_for_text(browser, "h1", "Sign in").await;
    for (name, value) in [("tenant", "acme"), ("email", "ann@example.com"), ("password", PASSWORD)] {
        let css = format!("#sign-in-form [name={name}]");
        browser.find(Locator::Css(&css)).await.unwrap().send_keys(value).await.unwrap();
    }
    click(browser, "#sign-in-form button[type=submit]").await;
}

async fn go(browser: &Client, view: &str) {
    browser.execute("location.hash = `#/${arguments[0]}`", vec![json!(view)]).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn every_view_shows_who_did_something_by_name_and_the_audit_log_is_filtered_by_it() {
    let Some(driver) = Driver::start() else { return };
    let database = TestDatabase::create().await;
    let node = Node::start(&database).await;
    let client = Caller::of_new_tenant(&node, "acme").await;
    let user = create_user(&client, "ann@example.com", &["admin"]).await;
    let ann = sign_in(&node, "acme", "ann@example.com").await;
    ann.send(Method::POST, "/lists", &json!({"name": "friends", "kind": "text"})).await;
    client.post("/lists", &json!({"name": "foes", "kind": "text"})).await;
    let browser = driver.browser().await;
    sign_in_as_ann(&browser, &node, "lists").await;
    wait_for_text(&browser, "tbody", "Ann Miller").await;
    let title = "return document.querySelector('tbody .actor').title";
    let shown = browser.execute(title, vec![]).await.unwrap();
    assert!(shown.as_str().unwrap().starts_with("client:") || shown == format!("user:{user}").as_str());

    go(&browser, "settings/audit").await;
    wait_for_text(&browser, "tbody", "list.created").await;
    let choose = "const choice = [...document.querySelectorAll('select option')]
        .find((one) => one.textContent === 'Ann Miller');
        choice.parentNode.value = choice.value;";
    browser.execute(choose, vec![]).await.unwrap();
    press(&browser, "form", "Search").await;
    let wait = "const [done] = arguments; const look = () => {
        const names = [...document.querySelectorAll('tbody .actor')].map((one) => one.textContent);
        if (names.length && names.every((name) => name === 'Ann Miller')) done(location.hash); else setTimeout(look, 50); };
        look();";
    let hash = browser.execute_async(wait, vec![]).await.unwrap();
    assert!(hash.as_str().unwrap().contains(&user), "{hash}");
    picture(&browser, "audit").await;
    browser.close().await.unwrap();
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_view_begins_with_what_was_decided_before_and_goes_on_live() {
    let Some(driver) = Driver::start() else { return };
    let database = TestDatabase::create().await;
    let node = Node::start(&database).await;
    let client = Caller::of_new_tenant(&node, "acme").await;
    create_user(&client, "ann@example.com", &["admin"]).await;
    let tenant = tenant_of(&node.databases.system, "acme").await.unwrap();
    let journal = journal(node.databases.journal.clone()).await;
    for (key, minutes) in [("a", 5), ("b", 5), ("c", 10), ("d", 120)] {
        let mut decision =
            decision_on(tenant, key, Outcome::Review, now_ms() - minutes * 60_000, order("c", 1, "EUR"));
        decision.evidence.reasons = decision.evidence.fold().reasons;
        journal.store(decision).await.unwrap();
    }
    index_everything(&node.databases.system).await;
    // It is too new to be counted, and the feed had it before the page was opened.
    client.pay("before", &payment()).await;
    let browser = driver.browser().await;
    sign_in_as_ann(&browser, &node, "now").await;
    let [hour, day] = [
        "#content .columns section:nth-child(1) .figures",
        "#content .columns section:nth-child(2) .figures",
    ];
    wait_for_text(&browser, hour, "4\npayments").await;
    wait_for_text(&browser, day, "5\npayments").await;
    client.pay("live", &payment()).await;
    wait_for_text(&browser, hour, "5\npayments").await;
    wait_for_text(&browser, day, "6\npayments").await;
    picture(&browser, "now").await;
    browser.close().await.unwrap();
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn how_long_decisions_are_kept_is_changed_after_typing_the_number() {
    let Some(driver) = Driver::start() else { return };
    let database = TestDatabase::create().await;
    let node = Node::start(&database).await;
    let client = Caller::of_new_tenant(&node, "acme").await;
    create_user(&client, "ann@example.com", &["admin"]).await;
    let browser = driver.browser().await;
    sign_in_as_ann(&browser, &node, "settings/retention").await;
    wait_for_text(&browser, "main", "All decisions are kept, for ever.").await;
    press(&browser, "main", "Change…").await;
    type_into(&browser, "Months that are kept before the current one", "13").await;
    press(&browser, "dialog", "See what would be removed").await;
    wait_for_text(&browser, "dialog", "Nothing is removed by this now.").await;
    type_into(&browser, "Type 13 to confirm", "12").await;
    press(&browser, "dialog", "Keep for this long").await;
    wait_for_text(&browser, "dialog", "This is not the number.").await;
    type_into(&browser, "Type 13 to confirm", "13").await;
    picture(&browser, "retention").await;
    press(&browser, "dialog", "Keep for this long").await;
    wait_for_text(&browser, "main", "Decisions are kept for 13 months before the current month.").await;
    assert_eq!(client.get("/settings/retention").await.1["months_kept"], 13);
    browser.close().await.unwrap();
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_is_bound_to_a_certificate_and_freed_again_in_the_page() {
    let Some(driver) = Driver::start() else { return };
    let database = TestDatabase::create().await;
    let node = Node::start(&database).await;
    let client = Caller::of_new_tenant(&node, "acme").await;
    create_user(&client, "ann@example.com", &["admin"]).await;
    client.post("/clients", &json!({"name": "shop", "scopes": ["payments:write"]})).await;
    let browser = driver.browser().await;
    sign_in_as_ann(&browser, &node, "settings/clients").await;
    wait_for_text(&browser, "tbody", "shop").await;
    let choose = "const label = [...document.querySelectorAll('dialog label')].find((one) => one.textContent === 'Certificate');
        const control = document.getElementById(label.htmlFor);
        control.value = arguments[0];
        control.dispatchEvent(new Event('change', { bubbles: true }));";
    press(&browser, "tbody/tr[2]", "Change").await;
    browser.execute(choose, vec![json!("san_dns")]).await.unwrap();
    press(&browser, "dialog", "Save").await;
    wait_for_text(&browser, "dialog", "Write the name or the hash").await;
    type_into(&browser, "Name or hash of the certificate", "*.example.com").await;
    press(&browser, "dialog", "Save").await;
    wait_for_text(&browser, "dialog", "without a wildcard").await;
    type_into(&browser, "Name or hash of the certificate", "pay.example.com").await;
    picture(&browser, "certificate").await;
    press(&browser, "dialog", "Save").await;
    wait_for_text(&browser, "tbody", "needs a certificate for pay.example.com").await;

    press(&browser, "tbody/tr[2]", "Change").await;
    browser.execute(choose, vec![json!("")]).await.unwrap();
    press(&browser, "dialog", "Save").await;
    wait_for_text(&browser, "body", "Saved").await;
    let freed = "const [done] = arguments; const look = () => {
        if (!document.querySelector('tbody').textContent.includes('certificate')) done(true); else setTimeout(look, 50); };
        look();";
    browser.execute_async(freed, vec![]).await.unwrap();
    browser.close().await.unwrap();
    node.stop().await;
}
