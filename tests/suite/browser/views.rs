//! All views of the page, and how to open them as a person does. A view that is missing here is
//! not looked at by any test of all views.

use std::time::{Duration, Instant};

use fantoccini::Locator;
use serde_json::json;

use super::devtools::Window;
use super::fixture::Fixture;
use super::wait_for_text;
use crate::support::people::PASSWORD;
use crate::support::program::TEST_TIMEOUT;
use crate::support::service::Node;

pub const ADMIN: &str = "ann@example.com";
pub const SECOND_ADMIN: &str = "bob@example.com";
pub const AUDITOR: &str = "audrey@example.com";
pub const TENANT: &str = "acme";

/// A view of the tenant of the fixture.
#[derive(Debug)]
pub struct View {
    pub address: String,
    /// What it shows once it has loaded.
    pub shows: &'static str,
    /// Whether an auditor may see it.
    pub for_auditors: bool,
}

impl View {
    /// A name for files, without the ids of its address.
    pub fn name(&self) -> String {
        let parts = self.address.split('/').map(|part| if part.len() == 36 { "one" } else { part });
        parts.collect::<Vec<_>>().join("-").replace(['?', '&', '='], "-")
    }
}

/// All views, for an administrator of the fixture's tenant.
pub fn views(fixture: &Fixture) -> Vec<View> {
    let view = |address: &str, shows, for_auditors| View { address: address.to_owned(), shows, for_auditors };
    let decision = |id: &str, shows| view(&format!("decisions/{id}"), shows, true);
    vec![
        view("now", "Newest decisions", true),
        view("rules", "Active: revision 2", true),
        view("rules/revisions", "Activated", true),
        view("rules/revisions/1", "Changes to the active revision", true),
        view("rules/revisions/2", "All amounts in every currency", true),
        view("rules/live", "Decided by the canary", true),
        view("rules/backtests", "finished", true),
        view(&format!("rules/backtests/{}", fixture.backtest), "outcomes would differ", true),
        view("rules/plugins", "refused", true),
        view("rules/edit/2", "Changes to the active revision 2", false),
        view("rules/edit/new", "New revision", false),
        view("rules/compare/1/2", "The other way round", true),
        view("decisions", "Received", true),
        view("decisions?outcome=reject&currency=EUR", "Received", true),
        view("decisions?reference=nothing-has-this", "No payment fits these conditions", true),
        decision(&fixture.approved, "approve"),
        decision(&fixture.reviewed, "review"),
        decision(&fixture.rejected, "reject"),
        decision(&fixture.erased, "The personal data of this payment was erased"),
        view("lists", "blocked", true),
        view("lists/blocked", "Quick Cash Ltd.", true),
        view("tables", "rates", true),
        view("tables/rates", "Version 2", true),
        view("reviews", "Queue", true),
        view("reviews?state=decided", "She called back", true),
        view("proposals", "Activate revision", true),
        view("settings/people", "Audrey", true),
        view("settings/clients", "Web shop", true),
        view("settings/second-person", "A second person is needed", true),
        view("settings/openid", "login.example.com", true),
        view("settings/reviews", "How reviews work", true),
        view("settings/audit", "revision.activated", true),
        view("settings/retention", "24 months", true),
        view("settings/erasure", "Erase personal data", false),
        view("settings/account", "Sign out everywhere", true),
        view("nothing/here", "There is nothing at this address", true),
    ]
}

pub async fn sign_in_page(window: &Window, node: &Node, view: &str, email: &str) {
    window.browser.goto(&format!("{}/admin/#/{view}", node.url)).await.unwrap();
    wait_for_text(&window.browser, "h1", "Sign in").await;
    fill_sign_in(window, TENANT, email).await;
    wait_for_text(&window.browser, "#session", TENANT).await;
}

/// Fills in the form to sign in that is shown, and sends it.
pub async fn fill_sign_in(window: &Window, tenant: &str, email: &str) {
    for (name, text) in [("tenant", tenant), ("email", email), ("password", PASSWORD)] {
        let css = format!("#sign-in-form [name={name}]");
        let control = window.browser.find(Locator::Css(&css)).await.expect(name);
        control.clear().await.unwrap();
        control.send_keys(text).await.unwrap();
    }
    super::click(&window.browser, "#sign-in-form button[type=submit]").await;
}

/// Shows a view of the page that is open, and waits until it has loaded.
pub async fn show(window: &Window, view: &View) {
    show_address(window, &view.address, view.shows).await;
}

pub async fn show_address(window: &Window, address: &str, shows: &str) {
    let leave = "document.querySelector('main').firstElementChild?.setAttribute('data-left', '');
        for (const one of document.querySelectorAll('.announcement')) one.remove();
        if (location.hash === arguments[0]) window.dispatchEvent(new HashChangeEvent('hashchange'));
        location.hash = arguments[0];";
    window.run(leave, vec![json!(format!("#/{address}"))]).await;
    loaded(window, address, shows).await;
}

/// Waits until the view has loaded, with all its parts and the names of all actors.
async fn loaded(window: &Window, address: &str, shows: &str) {
    let state = "const main = document.querySelector('main');
        const isLeft = main.firstElementChild?.hasAttribute('data-left');
        const waits = main.matches('[aria-busy]') || main.querySelector('.part[aria-busy], p[aria-busy]');
        const isUnnamed = [...main.querySelectorAll('.actor')].some((one) => /^(user|client):/.test(one.textContent));
        if (!isLeft && !waits && !isUnnamed && main.textContent.includes(arguments[0])) return null;
        return main.innerText;";
    let begun = Instant::now();
    loop {
        let shown = window.run(state, vec![json!(shows)]).await;
        if shown.is_null() {
            return;
        }
        assert!(begun.elapsed() < TEST_TIMEOUT, "{address} never showed {shows:?} whole, but {shown}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
