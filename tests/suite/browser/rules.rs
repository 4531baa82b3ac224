//! The views about rules, and the modules that they are made of.

use fantoccini::{Client, Locator};
use serde_json::{Map, Value, json};

use super::{Driver, click, picture, wait_for_text};
use crate::support::database::TestDatabase;
use crate::support::service::{Caller, Node, payment_with, shipped_plugins};

/// The settings schemas of the shipped rules, by their names.
fn schemas() -> Value {
    let mut schemas = Map::new();
    for entry in std::fs::read_dir(shipped_plugins()).unwrap() {
        let folder = entry.unwrap();
        if let Ok(text) = std::fs::read_to_string(folder.path().join("settings.schema.json")) {
            let name = folder.file_name().into_string().unwrap();
            schemas.insert(name, serde_json::from_str(&text).unwrap());
        }
    }
    assert!(schemas.len() >= 9, "{schemas:?}");
    schemas.into()
}

/// The folder of the page's files, with their hash.
async fn files(browser: &Client) -> String {
    let script = "return document.querySelector('script[src]').getAttribute('src')";
    let address = browser.execute(script, vec![]).await.unwrap();
    address.as_str().expect("an address").strip_suffix("page.js").expect("the page's script").to_owned()
}

/// What a script gives that is run in the page with its folder and the schemas.
async fn checked(script: &str) -> Option<Vec<String>> {
    let driver = Driver::start()?;
    let database = TestDatabase::create().await;
    let node = Node::start(&database).await;
    let browser = driver.browser().await;
    browser.goto(&format!("{}/admin", node.url)).await.unwrap();
    let arguments = vec![json!(files(&browser).await), schemas()];
    let found = browser.execute_async(script, arguments).await.unwrap();
    browser.close().await.unwrap();
    node.stop().await;
    Some(serde_json::from_value(found).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_are_edited_in_a_form_from_their_schema_and_nothing_else_changes() {
    let Some(failed) = checked(include_str!("settings_form.js")).await else { return };
    assert!(failed.is_empty(), "{failed:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_differences_of_revisions_are_told_in_words() {
    let Some(told) = checked(include_str!("words.js")).await else { return };
    let expected = [
        "account-check | changed | moved from place 3 to 1 | stage: live → shadow | iban: reject (default) → off",
        "amount-limits | changed | limits, limit 1 (JPY), maximum: 500,000 → 600,000 JPY \
         | limits, limit 2 (EUR), review above: 10,000.00 → 1,000.00 EUR | limits: order changed",
        "velocity | changed | overridable: no → yes | limits, limit 1 (debtor account), window: 1 day → 90 minutes",
        "name-screening | added | name-screening 1.1.0 (name-scr) | at place 4 \
         | list 1 (sanctions): review from score 80",
        "new-payee | removed | new-payee 1.1.0 (new-paye)",
    ];
    assert_eq!(told, expected);
}

/// Opens a view with the token of a client in place of a person's session.
async fn open_as(browser: &Client, node: &Node, caller: &Caller, view: &str) {
    browser.goto(&format!("{}/admin/#/{view}", node.url)).await.unwrap();
    wait_for_text(browser, "h1", "Sign in").await;
    let scopes = "rulesets:read rulesets:write plugins:read plugins:write lists:read lists:write \
                  payments:read decisions:read";
    let session = json!({
        "access_token": caller.token(), "token_type": "Bearer", "expires_in": 600, "scope": scopes,
        "user": {"id": "u", "email": "ann@acme.example", "display_name": "Ann", "roles": ["admin"]},
        "tenant": {"id": "t", "name": "acme"},
    });
    let script = "const [files, session, done] = arguments;
        const real = window.fetch;
        window.fetch = (path, options) =>
          (path === '/session' ? Promise.resolve(new Response(JSON.stringify(session))) : real(path, options));
        Promise.all([import(`${files}session.js`), import(`${files}router.js`)])
          .then(([{ signIn }, { showAddress }]) => signIn({}).then(showAddress)).then(() => done(null));";
    browser.execute_async(script, vec![json!(files(browser).await), session]).await.unwrap();
}

/// Types into the control with a label.
pub(super) async fn type_into(browser: &Client, label: &str, text: &str) {
    let script = "return [...document.querySelectorAll('label')]
        .find((label) => label.textContent.replace(' *', '') === arguments[0]).htmlFor";
    let id = browser.execute(script, vec![json!(label)]).await.unwrap();
    let control = browser.find(Locator::Id(id.as_str().expect(label))).await.expect(label);
    control.clear().await.unwrap();
    control.send_keys(text).await.unwrap();
}

pub(super) async fn press(browser: &Client, within: &str, text: &str) {
    let path = format!("//{within}//*[self::button or self::a][normalize-space(.)='{text}']");
    browser.wait().for_element(Locator::XPath(&path)).await.expect(text).click().await.expect(text);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revision_is_edited_tried_and_activated_in_the_page_and_rolled_back() {
    let Some(driver) = Driver::start() else { return };
    let database = TestDatabase::create().await;
    let node = Node::start(&database).await;
    let caller = Caller::of_new_tenant(&node, "acme").await;
    let limit = json!({"currency": "EUR", "review_above_minor": 1_000_000});
    caller.activate(&[("amount-limits", json!({"limits": [limit]})), ("account-check", json!({}))]).await;
    for (key, amount_minor) in [("k1", 100), ("k2", 250_000), ("k3", 2_000_000)] {
        caller.pay(key, &payment_with(&json!({"amount_minor": amount_minor}))).await;
    }
    let browser = driver.browser().await;
    open_as(&browser, &node, &caller, "rules").await;
    wait_for_text(&browser, "main", "Active: revision 1").await;
    wait_for_text(&browser, "table", "33.33 %").await;
    picture(&browser, "rules").await;

    press(&browser, "main", "Edit").await;
    wait_for_text(&browser, "h1", "Edit from revision 1").await;
    click(&browser, "summary").await;
    type_into(&browser, "Review above", "1000\t").await;
    wait_for_text(&browser, "aside", "review above: 10,000.00 → 1,000.00 EUR").await;
    type_into(&browser, "Amount", "2,500.00").await;
    press(&browser, "aside", "Run").await;
    wait_for_text(&browser, ".dry-run-result", "amount-limits: ").await;
    type_into(&browser, "Why", "A lower threshold").await;
    picture(&browser, "revision-editor").await;
    press(&browser, "main", "Save as a new revision").await;
    wait_for_text(&browser, "h1", "Revision 2").await;

    press(&browser, "main", "Start the backtest").await;
    wait_for_text(&browser, "main", "1 of 3 outcomes would differ").await;
    picture(&browser, "backtest").await;
    click(&browser, ".matrix-button").await;
    wait_for_text(&browser, "main", "2,500.00 EUR").await;

    open_view(&browser, "rules/revisions/2", "Revision 2").await;
    press(&browser, "main", "Activate").await;
    press(&browser, "dialog", "Activate").await;
    wait_for_text(&browser, "dialog", "33.3").await;
    type_into(&browser, "Changed outcomes, at most (%)", "50").await;
    press(&browser, "dialog", "Activate").await;
    wait_for_text(&browser, "main .badge", "active").await;
    let (_, decided) = caller.pay("k4", &payment_with(&json!({"amount_minor": 250_000}))).await;
    assert_eq!((&decided["outcome"], &decided["revision"]), (&json!("review"), &json!(2)), "{decided}");

    open_view(&browser, "rules", "Rules").await;
    press(&browser, "main", "Roll back").await;
    press(&browser, "dialog", "Roll back").await;
    wait_for_text(&browser, "main", "Active: revision 1").await;
    browser.close().await.unwrap();
    node.stop().await;
}

async fn open_view(browser: &Client, view: &str, title: &str) {
    browser.execute("location.hash = arguments[0]", vec![json!(format!("#/{view}"))]).await.unwrap();
    wait_for_text(browser, "h1", title).await;
}
