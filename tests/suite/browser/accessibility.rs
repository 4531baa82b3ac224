//! Every view and the important dialogs, checked by axe-core in both colour schemes.

use std::collections::BTreeMap;
use std::path::Path;

use fantoccini::Locator;

use super::devtools::Window;
use super::fixture::Fixture;
use super::rules::press;
use super::views::{ADMIN, show, show_address, sign_in_page, views};
use super::{Driver, wait_for_text};

/// The checker, or none if it is not installed and not required.
fn axe() -> Option<String> {
    let file =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("target/tools/page/node_modules/axe-core/axe.min.js");
    let text = std::fs::read_to_string(file).ok();
    let required = std::env::var("TOLLGATE_BROWSER").is_ok_and(|value| value == "required");
    assert!(text.is_some() || !required, "axe-core is missing: run scripts/ensure-test-tools with npm");
    if text.is_none() {
        eprintln!("not checked for accessibility: run scripts/ensure-test-tools with npm");
    }
    text
}

/// What was found so far: how often by impact, and the serious and critical ones in words.
#[derive(Default)]
struct Findings {
    counts: BTreeMap<String, usize>,
    severe: Vec<String>,
    others: BTreeMap<String, usize>,
}

impl Findings {
    async fn check(&mut self, window: &Window, what: &str) {
        let script = "const done = arguments[0];
            axe.run(document, {resultTypes: ['violations']}).then(
              ({violations}) => done(violations.flatMap(({id, impact, nodes}) =>
                nodes.map(({html, failureSummary}) => ({id, impact, html, why: failureSummary})))),
              (error) => done([{id: 'axe', impact: 'critical', html: '', why: String(error)}]));";
        let found = window.browser.execute_async(script, vec![]).await.unwrap();
        for one in found.as_array().unwrap() {
            let word = |name: &str| one[name].as_str().unwrap_or_default().to_owned();
            let impact = word("impact");
            *self.counts.entry(impact.clone()).or_default() += 1;
            if ["serious", "critical"].contains(&impact.as_str()) {
                self.severe.push(format!("{what}: {} {}: {}", word("id"), word("html"), word("why")));
            } else {
                *self.others.entry(format!("{} ({impact})", word("id"))).or_default() += 1;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_view_and_no_dialog_has_a_serious_defect_of_accessibility() {
    let (Some(axe), Some(driver)) = (axe(), Driver::start()) else { return };
    let fixture = Fixture::new().await;
    let window = Window::open(&driver).await;
    let mut findings = Findings::default();
    window.browser.goto(&format!("{}/admin/#/now", fixture.node.url)).await.unwrap();
    wait_for_text(&window.browser, "h1", "Sign in").await;
    window.run(&axe, vec![]).await;
    findings.check(&window, "sign-in").await;
    sign_in_page(&window, &fixture.node, "settings/account", ADMIN).await;
    window.run(&axe, vec![]).await;
    let all = views(&fixture);
    for scheme in ["light", "dark"] {
        window.prefer(scheme).await;
        for view in &all {
            show(&window, view).await;
            open_folded(&window).await;
            findings.check(&window, &format!("{} ({scheme})", view.address)).await;
        }
        for (address, shows, acts) in dialogs() {
            show_address(&window, address, shows).await;
            for (within, button) in acts {
                press(&window.browser, within, button).await;
            }
            window.browser.wait().for_element(Locator::Css("dialog[open] h2")).await.expect(address);
            findings.check(&window, &format!("dialog of {address} ({scheme})")).await;
            close_dialogs(&window).await;
        }
    }
    eprintln!("accessibility: {} views and {} dialogs in two schemes", all.len(), dialogs().len());
    eprintln!("found by impact: {:?}; minor and moderate ones: {:?}", findings.counts, findings.others);
    assert!(findings.severe.is_empty(), "{:#?}", findings.severe);
    window.browser.close().await.unwrap();
    fixture.node.stop().await;
}

/// What is folded away is part of a view too.
pub async fn open_folded(window: &Window) {
    window.run("for (const one of document.querySelectorAll('main details')) one.open = true", vec![]).await;
}

pub async fn close_dialogs(window: &Window) {
    window.run("for (const one of document.querySelectorAll('dialog')) one.close()", vec![]).await;
}

type Dialog = (&'static str, &'static str, &'static [(&'static str, &'static str)]);

/// A view, what it shows, and what is pressed there, each within an element.
pub fn dialogs() -> Vec<Dialog> {
    vec![
        ("rules/revisions/3", "Everything above ten euros", &[("main", "Activate")]),
        ("rules/revisions/1", "Revision 1", &[("main", "Start as a canary")]),
        ("rules", "Active: revision 2", &[("main", "Roll back")]),
        ("settings/people", "Audrey", &[("main", "Invite a person")]),
        ("settings/people", "Audrey", &[("main//tr[2]", "Change")]),
        ("settings/clients", "Web shop", &[("main", "Create a client")]),
        ("settings/clients", "Web shop", &[("main", "New secret")]),
        ("settings/retention", "24 months", &[("main", "Change…")]),
        ("settings/account", "Sign out everywhere", &[("main", "Sign out everywhere")]),
        ("lists/blocked", "Quick Cash Ltd.", &[("main", "Close the list")]),
        ("proposals", "Activate revision", &[("main", "Approve")]),
        ("proposals", "Activate revision", &[("main", "Decline")]),
    ]
}
