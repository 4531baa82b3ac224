//! A change of the rules, from a new plugin to its roll back, as two administrators make it.

use std::time::Instant;

use fantoccini::Locator;
use reqwest::Method;
use serde_json::json;

use super::devtools::Window;
use super::fixture::{done, person};
use super::rules::{press, type_into};
use super::views::{ADMIN, SECOND_ADMIN, TENANT, show_address, sign_in_page};
use super::{Driver, click, picture, wait_for_text};
use crate::support::components::component;
use crate::support::database::TestDatabase;
use crate::support::people::sign_in;
use crate::support::program::TEST_TIMEOUT;
use crate::support::service::{Caller, Node, payment_with};

/// Prints each step with its time.
struct Steps(Instant);

impl Steps {
    fn passed(&mut self, step: &str) {
        eprintln!("{:>6} ms: {step}", self.0.elapsed().as_millis());
        self.0 = Instant::now();
    }
}

async fn tenant(node: &Node) -> Caller {
    let client = Caller::of_new_tenant(node, TENANT).await;
    person(&client, ADMIN, "Ann Miller", &["admin"]).await;
    person(&client, SECOND_ADMIN, "Bob Bernstein", &["admin"]).await;
    let limit = json!({"currency": "EUR", "review_above_minor": 1_000_000});
    client.activate(&[("amount-limits", json!({"limits": [limit]})), ("account-check", json!({}))]).await;
    for (key, amount_minor) in [("k1", 100), ("k2", 250_000), ("k3", 2_000_000)] {
        done(client.pay(key, &payment_with(&json!({"amount_minor": amount_minor, "reference": key}))).await);
    }
    let ann = sign_in(node, TENANT, ADMIN).await;
    done(ann.send(Method::PUT, "/settings/second-person", &json!({"needed": true})).await);
    client
}

/// Pays until revision 2 decides. Returns the id of the payment.
async fn paid_by_revision_2(client: &Caller) -> String {
    let begun = Instant::now();
    for number in 0.. {
        let reference = format!("after the approval {number}");
        let payment = payment_with(&json!({"amount_minor": 250_000, "reference": reference}));
        let decided = done(client.pay(&format!("after-{number}"), &payment).await);
        if decided["revision"] == 2 {
            assert_eq!(decided["outcome"], "review", "{decided}");
            return decided["id"].as_str().unwrap().to_owned();
        }
        assert!(begun.elapsed() < TEST_TIMEOUT, "{decided}");
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    unreachable!("the loop has no end")
}

async fn sign_out(window: &Window) {
    click(&window.browser, "#sign-out").await;
    wait_for_text(&window.browser, "h1", "Sign in").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_administrators_bring_a_change_of_the_rules_live_and_take_it_back() {
    let Some(driver) = Driver::start() else { return };
    let database = TestDatabase::create().await;
    let node = Node::start(&database).await;
    let client = tenant(&node).await;
    let window = Window::open(&driver).await;
    let browser = window.browser.clone();
    let mut steps = Steps(Instant::now());
    sign_in_page(&window, &node, "now", ADMIN).await;
    wait_for_text(&browser, "#newest", "k3").await;
    steps.passed("the first administrator has signed in and sees the payments");

    show_address(&window, "rules/plugins", "Upload a plugin").await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("hostile.wasm");
    std::fs::write(&file, component("good")).unwrap();
    browser.find(Locator::Id("plugin-file")).await.unwrap().send_keys(file.to_str().unwrap()).await.unwrap();
    wait_for_text(&browser, "main", "Accepted: hostile 1.0.0").await;
    steps.passed("a plugin is uploaded by its file and accepted");

    show_address(&window, "rules", "Active: revision 1").await;
    press(&browser, "main", "Edit").await;
    wait_for_text(&browser, "h1", "Edit from revision 1").await;
    click(&browser, "summary").await;
    type_into(&browser, "Review above", "1000\t").await;
    wait_for_text(&browser, "aside", "review above: 10,000.00 → 1,000.00 EUR").await;
    steps.passed("a setting is changed in the form, and told in words");

    type_into(&browser, "Amount", "2,500.00").await;
    press(&browser, "aside", "Run").await;
    wait_for_text(&browser, ".dry-run-result", "amount-limits: ").await;
    steps.passed("a dry run shows what the rules would say");

    type_into(&browser, "Why", "A lower threshold (CHANGE-7)").await;
    press(&browser, "main", "Save as a new revision").await;
    wait_for_text(&browser, "h1", "Revision 2").await;
    press(&browser, "main", "Start the backtest").await;
    wait_for_text(&browser, "main", "1 of 3 outcomes would differ").await;
    steps.passed("the revision is saved, and a backtest compares three decisions");

    show_address(&window, "rules/revisions/2", "A lower threshold").await;
    press(&browser, "main", "Activate").await;
    wait_for_text(&browser, "dialog", "Changed outcomes, at most").await;
    type_into(&browser, "Changed outcomes, at most (%)", "50").await;
    press(&browser, "dialog", "Activate").await;
    wait_for_text(&browser, ".announcements", "Another administrator has to approve this.").await;
    picture(&browser, "story-proposed").await;
    show_address(&window, "proposals", "Activate revision 2").await;
    steps.passed("the activation waits for a second person");

    sign_out(&window).await;
    sign_in_page(&window, &node, "proposals", SECOND_ADMIN).await;
    wait_for_text(&browser, "main", "Activate revision 2").await;
    steps.passed("the second administrator has signed in and sees the proposal");

    press(&browser, "main", "Approve").await;
    wait_for_text(&browser, "dialog", "only if a backtest changed at most 50 %").await;
    let clicked = Instant::now();
    press(&browser, "dialog", "Approve").await;
    let id = paid_by_revision_2(&client).await;
    eprintln!(
        "           from the click on Approve to the first payment decided: {} ms",
        clicked.elapsed().as_millis()
    );
    wait_for_text(&browser, ".announcements", "Approved: the change is made.").await;
    steps.passed("the proposal is approved and decides payments");

    show_address(&window, "now", "Newest decisions").await;
    wait_for_text(&browser, ".live:not(.lost)", "Live").await;
    // Rows do not move under the pointer, which is where the dialog was.
    click(&browser, "main h1").await;
    let payment = payment_with(&json!({"amount_minor": 260_000, "reference": "seen live"}));
    done(client.pay("live", &payment).await);
    wait_for_text(&browser, "#newest", "seen live").await;
    picture(&browser, "story-live").await;
    steps.passed("a payment that it decides appears live");

    show_address(&window, "rules", "Active: revision 2").await;
    press(&browser, "main", "Roll back").await;
    press(&browser, "dialog", "Roll back").await;
    wait_for_text(&browser, "main", "Active: revision 1").await;
    steps.passed("one administrator alone rolls back");

    show_address(&window, &format!("decisions/{id}"), "after the approval").await;
    press(&browser, "main", "Replay").await;
    wait_for_text(&browser, "#replay-result", "identical").await;
    picture(&browser, "story-replayed").await;
    steps.passed("the decision of the other revision replays identically");
    assert!(window.happened().await.is_empty(), "{:?}", window.happened().await);
    browser.close().await.unwrap();
    node.stop().await;
}
