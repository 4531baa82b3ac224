//! Signing in with a company's account, through the login page of a real provider.

use fantoccini::Locator;
use serde_json::{Value, json};

use super::{Driver, click, picture, wait_for_text};
use crate::support::database::TestDatabase;
use crate::support::openid::{Provider, free_port, is_installed, set, settings};
use crate::support::service::{Caller, Node};

#[tokio::test(flavor = "multi_thread")]
async fn a_person_signs_in_through_the_page_of_the_company() {
    if !is_installed() {
        return;
    }
    let Some(driver) = Driver::start() else { return };
    let database = TestDatabase::create().await;
    let port = free_port();
    let issuer = format!("http://127.0.0.1:{port}");
    // The provider must send the browser back to this node, so its address is not the usual one.
    let node =
        Node::start_with(&database, &[("issuer", Value::Null), ("openid_issuers", json!([issuer]))]).await;
    let redirect = format!("{}/session/openid/return", node.url);
    let provider = tokio::task::spawn_blocking(move || Provider::start(port, &redirect)).await.unwrap();
    let admin = Caller::of_new_tenant(&node, "acme").await;
    set(&admin, &settings(&issuer)).await;
    let ann = |group: &str| json!({"ann": {"email": "ann@example.com", "email_verified": true, "name": "Ann Miller", "groups": [group]}});
    provider.set_accounts(&ann("payments-admins"));

    let browser = driver.browser().await;
    browser.goto(&format!("{}/admin/#/lists", node.url)).await.unwrap();
    wait_for_text(&browser, "h1", "Sign in").await;
    let way = browser.find(Locator::Css("#company-account")).await.unwrap();
    assert!(!way.is_displayed().await.unwrap(), "no tenant is typed yet");
    browser.find(Locator::Css("[name=tenant]")).await.unwrap().send_keys("acme").await.unwrap();
    wait_for_text(&browser, "#company-account", "company's account").await;
    picture(&browser, "sign-in-company").await;
    click(&browser, "#company-account").await;
    wait_for_text(&browser, "body", "Sign-in").await;
    browser.find(Locator::Css("[name=login]")).await.unwrap().send_keys("ann").await.unwrap();
    browser.find(Locator::Css("[name=password]")).await.unwrap().send_keys("any").await.unwrap();
    click(&browser, "[type=submit]").await;
    wait_for_text(&browser, "#session", "Ann Miller, acme").await;
    wait_for_text(&browser, "h1", "Lists").await;
    assert!(browser.current_url().await.unwrap().as_str().ends_with("/admin/#/lists"));

    browser.goto(&format!("{}/admin/#/settings/people", node.url)).await.unwrap();
    wait_for_text(&browser, "tbody", &format!("127.0.0.1:{port}")).await;
    browser.goto(&format!("{}/admin/#/settings/openid", node.url)).await.unwrap();
    wait_for_text(&browser, "#openid-form", "Roles").await;
    let buttons = browser.find_all(Locator::Css("#openid-form .actions button")).await.unwrap();
    buttons[1].click().await.unwrap();
    wait_for_text(&browser, "[role=status]:not(.announcements)", "The provider answers").await;
    picture(&browser, "settings-openid").await;
    buttons[0].click().await.unwrap();
    wait_for_text(&browser, ".announcements", "Saved.").await;
    let (_, kept) = admin.get("/settings/openid").await;
    assert_eq!(kept["settings"]["has_client_secret"], true);
    assert_eq!(kept["settings"]["role_mapping"], settings(&issuer)["role_mapping"]);

    provider.set_accounts(&ann("football"));
    click(&browser, "#sign-out").await;
    wait_for_text(&browser, "h1", "Sign in").await;
    browser.goto(&format!("{}/session/openid?tenant=acme", node.url)).await.unwrap();
    wait_for_text(&browser, ".failure", "in no group that has a role").await;
    browser.goto(&format!("{}/session/openid?tenant=nobody", node.url)).await.unwrap();
    wait_for_text(&browser, ".failure", "does not exist, or its people").await;
    picture(&browser, "sign-in-refused").await;
    browser.close().await.unwrap();
    node.stop().await;
}
