//! Sessions that end while somebody types: a dialog asks to sign in again, over the view, and what
//! is typed is kept and can be sent.

use reqwest::{Method, StatusCode};
use serde_json::json;

use super::devtools::Window;
use super::fixture::{done, person};
use super::rules::{press, type_into};
use super::views::{ADMIN, SECOND_ADMIN, TENANT, fill_sign_in, show_address, sign_in_page};
use super::{Driver, wait_for_text};
use crate::support::database::TestDatabase;
use crate::support::people::{SignedIn, sign_in};
use crate::support::service::{Caller, Node};

/// Holds back what the page plans for later than half a minute: the renewal of its session.
const HOLD: &str = "window.held = []; const real = window.setTimeout;
    window.setTimeout = (run, ms, ...rest) => (ms > 30_000 ? (held.push(run), 0) : real(run, ms, ...rest));";

struct Scene {
    database: TestDatabase,
    node: Node,
    client: Caller,
    bob: SignedIn,
    window: Window,
    _driver: Driver,
}

impl Scene {
    /// Ann has signed in in the page.
    async fn new() -> Option<Self> {
        let driver = Driver::start()?;
        let database = TestDatabase::create().await;
        let node = Node::start(&database).await;
        let client = Caller::of_new_tenant(&node, TENANT).await;
        person(&client, ADMIN, "Ann Miller", &["admin"]).await;
        person(&client, SECOND_ADMIN, "Bob Bernstein", &["admin"]).await;
        let bob = sign_in(&node, TENANT, SECOND_ADMIN).await;
        client.activate(&[("account-check", json!({}))]).await;
        done(client.post("/lists", &json!({"name": "blocked", "kind": "name"})).await);
        let window = Window::open(&driver).await;
        window.tell("Page.addScriptToEvaluateOnNewDocument", &json!({"source": HOLD})).await;
        sign_in_page(&window, &node, "lists", ADMIN).await;
        Some(Self { database, node, client, bob, window, _driver: driver })
    }

    async fn write_note(&self, note: &str) {
        show_address(&self.window, "rules/edit/1", "Changes to the active revision").await;
        type_into(&self.window.browser, "Why", note).await;
    }

    async fn write_entry(&self, value: &str) {
        show_address(&self.window, "lists/blocked", "Add one entry").await;
        // The first field with this label is that of the search.
        let script = "const labels = [...document.querySelectorAll('label')];
            const [value, why] = ['Value', 'Why'].map((text) => labels.filter((one) => one.textContent === text).at(-1).htmlFor);
            document.getElementById(value).value = arguments[0]; document.getElementById(why).value = 'seen twice';
            document.getElementById(value).focus();";
        self.window.run(script, vec![json!(value)]).await;
    }

    /// Waits for the dialog, which must lie above the view, and signs in.
    async fn sign_in_again(&self, what: &str) {
        wait_for_text(&self.window.browser, "dialog[open] h2", "Your session has ended").await;
        super::picture(&self.window.browser, &format!("session-ended-{what}")).await;
        let is_above = "return document.querySelector('dialog:modal #sign-in-form') !== null && document.querySelector('main h1') !== null";
        assert_eq!(self.window.run(is_above, vec![]).await, json!(true), "{what}");
        fill_sign_in(&self.window, TENANT, ADMIN).await;
    }

    async fn notes(&self) -> Vec<String> {
        let page = done(self.client.get("/rulesets/payment/revisions").await);
        let items = page["items"].as_array().unwrap().iter();
        items.map(|item| item["note"].as_str().unwrap_or_default().to_owned()).collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_typed_outlives_every_way_in_which_a_session_ends() {
    let Some(scene) = Scene::new().await else { return };
    let Scene { window, bob, .. } = &scene;

    scene.write_note("An expired session.").await;
    sqlx::query("update sign_ins set renewed_at_ms = 1, expires_at_ms = 2")
        .execute(&mut scene.database.superuser().await)
        .await
        .unwrap();
    window.run("for (const run of held.splice(0)) run()", vec![]).await;
    scene.sign_in_again("expired").await;
    press(&window.browser, "main", "Save as a new revision").await;
    wait_for_text(&window.browser, "h1", "Revision 2").await;
    eprintln!("expired while typing: the note was kept and sent");

    let users = done(scene.client.get("/users").await);
    let ann = users["items"].as_array().unwrap().iter().find(|user| user["email"] == ADMIN).unwrap();
    let sessions = format!("/users/{}/sessions", ann["id"].as_str().unwrap());
    scene.write_entry("Mallory").await;
    assert_eq!(bob.send(Method::DELETE, &sessions, &json!({})).await.0, StatusCode::NO_CONTENT);
    press(&window.browser, "main", "Add").await;
    scene.sign_in_again("revoked").await;
    wait_for_text(&window.browser, "main table", "Mallory").await;
    wait_for_text(&window.browser, "main table", "seen twice").await;
    eprintln!("revoked by an administrator: the entry was kept and sent");

    scene.write_note("Signed out elsewhere.").await;
    let elsewhere = sign_in(&scene.node, TENANT, ADMIN).await;
    assert_eq!(elsewhere.send(Method::DELETE, "/me/sessions", &json!({})).await.0, StatusCode::NO_CONTENT);
    press(&window.browser, "main", "Save as a new revision").await;
    scene.sign_in_again("elsewhere").await;
    wait_for_text(&window.browser, "h1", "Revision 3").await;
    eprintln!("signed out everywhere: the note was kept and sent");
    assert_eq!(scene.notes().await[..2], ["Signed out elsewhere.", "An expired session."]);

    scene.write_entry("Trudy").await;
    assert_eq!(bob.send(Method::DELETE, &sessions, &json!({})).await.0, StatusCode::NO_CONTENT);
    press(&window.browser, "main", "Add").await;
    wait_for_text(&window.browser, "dialog[open] h2", "Your session has ended").await;
    press(&window.browser, "dialog", "Leave without signing in").await;
    wait_for_text(&window.browser, "h1", "Sign in").await;
    let cookies = window.run("return document.querySelector('#session')?.textContent ?? null", vec![]).await;
    assert!(cookies.is_null(), "{cookies}");
    eprintln!("left without signing in: signed out");
    assert!(window.happened().await.is_empty(), "{:?}", window.happened().await);
    window.browser.clone().close().await.unwrap();
    scene.node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_person_who_signs_in_does_not_see_what_was_typed() {
    let Some(scene) = Scene::new().await else { return };
    let Scene { window, .. } = &scene;
    scene.write_note("Ann's own words").await;
    let elsewhere = sign_in(&scene.node, TENANT, ADMIN).await;
    assert_eq!(elsewhere.send(Method::DELETE, "/me/sessions", &json!({})).await.0, StatusCode::NO_CONTENT);
    press(&window.browser, "main", "Save as a new revision").await;
    wait_for_text(&window.browser, "dialog[open] h2", "Your session has ended").await;
    fill_sign_in(window, TENANT, SECOND_ADMIN).await;
    wait_for_text(&window.browser, "#session", "Bob Bernstein").await;
    wait_for_text(&window.browser, "h1", "Edit from revision 1").await;
    let typed =
        "return [...document.querySelectorAll('input')].some((one) => one.value.includes('own words'))";
    assert_eq!(window.run(typed, vec![]).await, json!(false));
    assert_eq!(scene.notes().await, [""], "nothing is sent in the name of another person");
    window.browser.clone().close().await.unwrap();
    scene.node.stop().await;
}
