//! A tenant that has some of everything, so that every view has something to show.

use std::time::Instant;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::views::{ADMIN, AUDITOR, SECOND_ADMIN, TENANT};
use crate::support::components::component;
use crate::support::database::TestDatabase;
use crate::support::decisions::now_ms;
use crate::support::lists::until_valid;
use crate::support::openid::{self, set};
use crate::support::people::{PASSWORD, SignedIn, create_user, set_password, sign_in};
use crate::support::program::TEST_TIMEOUT;
use crate::support::service::{Caller, Node, payment_with, send};

/// Nobody connects to it.
const ISSUER: &str = "https://login.example.com";

pub struct Fixture {
    pub node: Node,
    pub client: Caller,
    pub ann: SignedIn,
    pub bob: SignedIn,
    /// Ids of a payment with each outcome, and of an erased one.
    pub approved: String,
    pub reviewed: String,
    pub rejected: String,
    pub erased: String,
    pub backtest: String,
    _database: TestDatabase,
}

impl Fixture {
    pub async fn new() -> Self {
        let database = TestDatabase::create().await;
        let settings = [("quarantine_failures_min", json!(5)), ("openid_issuers", json!([ISSUER]))];
        let node = Node::start_with(&database, &settings).await;
        let client = Caller::of_new_tenant(&node, TENANT).await;
        let (ann, bob) = people(&node, &client).await;
        clients(&client).await;
        lists_and_tables(&client).await;
        plugins(&client).await;
        let [approved, reviewed, rejected, erased] = decisions(&client).await;
        let backtest = trials(&client).await;
        let request = json!({"reason": "The customer asked for it (ticket 4711)."});
        done(client.post(&format!("/decisions/{erased}/erasure"), &request).await);
        done(ann.send(Method::PUT, "/settings/retention", &json!({"months_kept": 24})).await);
        reviews(&ann, &bob, &reviewed).await;
        set(&client, &openid::settings(ISSUER)).await;
        proposals(&ann, &bob).await;
        Self { node, client, ann, bob, approved, reviewed, rejected, erased, backtest, _database: database }
    }
}

/// The body of a successful response.
pub fn done((status, body): (StatusCode, Value)) -> Value {
    assert!(status.is_success(), "{status} {body}");
    body
}

fn id_of(body: &Value) -> String {
    body["id"].as_str().unwrap_or_else(|| panic!("no id: {body}")).to_owned()
}

/// Creates a person who sets the password of the tests.
pub async fn person(by: &Caller, email: &str, name: &str, roles: &[&str]) {
    let body = json!({"email": email, "display_name": name, "roles": roles});
    let created = done(by.post("/users", &body).await);
    let link = created["password_link"]["url"].as_str().unwrap();
    let token = link.rsplit('/').next().unwrap();
    assert_eq!(set_password(&by.url, token, PASSWORD).await.status(), StatusCode::NO_CONTENT);
}

async fn people(node: &Node, client: &Caller) -> (SignedIn, SignedIn) {
    person(client, ADMIN, "Ann Miller", &["admin"]).await;
    person(client, SECOND_ADMIN, "Bob Bernstein-Vanderbeek", &["admin", "author"]).await;
    person(client, AUDITOR, "Audrey Ó Súilleabháin", &["auditor"]).await;
    person(client, "rita@example.com", "Rita Reyes", &["reviewer"]).await;
    person(client, "arthur@example.com", "Arthur Author", &["author", "reviewer"]).await;
    let invited = json!({"email": "a.person.with.a.rather.long.address@payments.subsidiary.example.com",
                         "display_name": "Not yet here", "roles": ["auditor"]});
    done(client.post("/users", &invited).await);
    let gone = create_user(client, "gone@example.com", &["reviewer"]).await;
    let disabled = client.request(Method::PATCH, &format!("/users/{gone}")).json(&json!({"disabled": true}));
    done(send(disabled).await);
    (sign_in(node, TENANT, ADMIN).await, sign_in(node, TENANT, SECOND_ADMIN).await)
}

async fn clients(client: &Caller) {
    let shop =
        json!({"name": "Web shop", "scopes": ["payments:write", "payments:read"], "requests_per_s": 200});
    done(client.post("/clients", &shop).await);
    let old = json!({"name": "Back office of the branch in Saint-Remy-en-Bouzemont", "scopes": ["payments:read"],
                     "requests_per_s": null});
    let old = done(client.post("/clients", &old).await);
    let path = format!("/clients/{}", old["client"]["id"].as_str().unwrap());
    done(send(client.request(Method::PATCH, &path).json(&json!({"disabled": true}))).await);
}

async fn lists_and_tables(client: &Caller) {
    let list = json!({"name": "blocked", "kind": "name", "description": "Names that nobody may pay"});
    done(client.post("/lists", &list).await);
    done(client.post("/lists", &json!({"name": "friends", "kind": "merchant"})).await);
    for (value, reason) in [
        ("Quick Cash Ltd.", "Reported by three customers (ticket 4712)"),
        ("Señor Über-Schnell y Compañía", "An alias of the above"),
        ("Mallory", "fraud"),
    ] {
        done(client.post("/lists/blocked/entries", &json!({"value": value, "reason": reason})).await);
    }
    let later = json!({"value": "Eve", "reason": "from tomorrow", "valid_from_ms": now_ms() + 86_400_000,
                       "valid_to_ms": now_ms() + 2 * 86_400_000});
    let later = done(client.post("/lists/blocked/entries", &later).await);
    let trudy = json!({"value": "Trudy", "reason": "a mistake"});
    let trudy = done(client.post("/lists/blocked/entries", &trudy).await);
    assert_ne!(later["id"], trudy["id"]);
    until_valid(&trudy).await;
    let path = format!("/lists/blocked/entries/{}", trudy["id"].as_str().unwrap());
    done(send(client.request(Method::DELETE, &path)).await);

    let columns = json!([{"name": "risk", "kind": "text"}, {"name": "rate", "kind": "number"}]);
    let table = json!({"name": "rates", "kind": "country", "lookup": "exact", "columns": columns,
                       "description": "How risky a country is, and its rate"});
    done(client.post("/tables", &table).await);
    for csv in [
        "key,risk,rate\nDE,low,1\nNL,low,1\nUS,middle,1.5\n",
        "key,risk,rate\nDE,low,1\nUS,high,2.25\nFR,low,1\n",
    ] {
        let upload = client.request(Method::POST, "/tables/rates/versions?note=Of%20the%20risk%20team");
        done(send(upload.header("Content-Type", "text/csv").body(csv)).await);
    }
}

async fn plugins(client: &Caller) {
    client.upload(component("good")).await;
    let forbidden = wat::parse_file("tests/hostile/forbidden_import.wat").unwrap();
    for refused in [forbidden, component("bad_description")] {
        let (_, submitted) = client.submit_plugin(refused).await;
        if let Some(digest) = submitted["digest"].as_str() {
            assert_eq!(client.wait_for_plugin(digest).await["state"], "refused");
        }
    }
}

/// Two activated revisions and a third, and payments with every outcome.
async fn decisions(client: &Caller) -> [String; 4] {
    let limits = |review: i64, most: i64| {
        json!({"limits": [{"currency": "EUR", "review_above_minor": review, "maximum_minor": most},
                          {"currency": "USD", "review_above_minor": review}]})
    };
    client.activate(&[("amount-limits", limits(1_000_000, 9_000_000)), ("account-check", json!({}))]).await;
    let check = json!({"lists": [{"list": "blocked", "selector": "creditor_name", "matching": "normalized_name", "verdict": "reject"}]});
    let broken = client.upload_fixture("unreachable").await;
    let rules = json!([
        {"name": "amount-limits", "plugin": client.plugin("amount-limits").await, "settings": limits(500_000, 5_000_000), "overridable": true},
        {"name": "account-check", "plugin": client.plugin("account-check").await, "settings": {}},
        {"name": "blocked-names", "plugin": client.plugin("party-lists").await, "settings": check},
        {"name": "velocity", "plugin": client.plugin("velocity").await, "mode": "shadow",
         "settings": {"limits": [{"selector": "customer", "window_seconds": 3_600, "max_count": 10, "verdict": "review"}]}},
        {"name": "broken", "plugin": broken, "settings": {}, "on_failure": "pass"}
    ]);
    let body = json!({"rules": rules, "note": "All amounts in every currency, and the names that nobody may pay (CHANGE-1234)"});
    let revision = done(client.post("/rulesets/payment/revisions", &body).await)["number"].clone();
    let mut ids = vec![pay(client, "first of revision 1", &json!({"amount_minor": 120_000})).await];
    done(client.post("/rulesets/payment/activations", &json!({"revision": revision})).await);
    for (reference, changes) in [
        ("order 2026-11-0001", rich_payment()),
        ("order 2026-11-0002", json!({"amount_minor": 750_000, "currency": "USD"})),
        ("order 2026-11-0003", json!({"amount_minor": 7_000_000, "creditor": {"name": "Quick Cash Ltd."}})),
        ("order-2026-11-0004-of-Saint-Remy", json!({"customer": "customer-2"})),
        ("order 5", json!({"customer": "customer-3", "currency": "JPY", "amount_minor": 1_000_000})),
        ("order 6", json!({"customer": "customer-4", "method": "instant"})),
    ] {
        ids.push(pay(client, reference, &changes).await);
    }
    for (kind, note) in [("settled", "batch 7"), ("fraud", "The cardholder says that it was not she")] {
        let event = json!({"kind": kind, "note": note});
        done(client.post(&format!("/payments/{}/events", ids[1]), &event).await);
    }
    [ids[1].clone(), ids[2].clone(), ids[3].clone(), ids[4].clone()]
}

async fn pay(client: &Caller, reference: &str, changes: &Value) -> String {
    let mut payment = payment_with(changes);
    payment["reference"] = json!(reference);
    id_of(&done(client.pay(&reference.replace(" ", "-"), &payment).await))
}

fn rich_payment() -> Value {
    json!({
        "debtor": {"name": "Ann Jones", "account": {"iban": "DE89370400440532013000"}, "country": "DE",
                   "address": {"street_name": "Hauptstraße", "building_number": "7 b", "post_code": "10115",
                               "town_name": "Berlin", "country": "DE"}},
        "creditor": {"name": "Compagnie Internationale des Wagons-Lits et des Grands Express Européens",
                     "account": {"iban": "NL91ABNA0417164300"}, "country": "NL"},
        "merchant": "merchant-1", "device": "a-device-0f3c9d", "ip": "203.0.113.7",
        "remittance": "Invoice 2026/118, thank you for your order",
        "metadata": {"basket": "17 items", "campaign": "black-friday-2026-returning-customers"}
    })
}

/// A backtest, a canary and a shadow. Returns the backtest's id.
async fn trials(client: &Caller) -> String {
    let stricter = json!({"limits": [{"currency": "EUR", "review_above_minor": 1_000}]});
    let rules = json!([{"name": "amount-limits", "plugin": client.plugin("amount-limits").await, "settings": stricter}]);
    let body = json!({"rules": rules, "note": "Everything above ten euros"});
    let revision = done(client.post("/rulesets/payment/revisions", &body).await)["number"].clone();
    let backtest =
        id_of(&done(client.post("/rulesets/payment/backtests", &json!({"revision": revision})).await));
    let begun = Instant::now();
    while !done(client.get(&format!("/rulesets/payment/backtests/{backtest}")).await)["finished_at_ms"]
        .is_u64()
    {
        assert!(begun.elapsed() < TEST_TIMEOUT, "the backtest does not end");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    let canary = json!({"revision": revision, "share_percent": 50.0});
    done(send(client.request(Method::PUT, "/rulesets/payment/canary").json(&canary)).await);
    let shadow = json!({"revision": revision});
    done(send(client.request(Method::PUT, "/rulesets/payment/shadow").json(&shadow)).await);
    for number in 10..26 {
        let changes = json!({"amount_minor": 400 * number, "customer": format!("customer-{number}")});
        pay(client, &format!("order {number}"), &changes).await;
    }
    backtest
}

/// Leaves one review decided, one claimed and the others open.
async fn reviews(ann: &SignedIn, bob: &SignedIn, decided: &str) {
    let settings = json!({"lease_min": 30, "event_kinds": ["fraud", "refunded"]});
    done(ann.send(Method::PUT, "/settings/reviews", &settings).await);
    let decision = json!({"outcome": "approve", "note": "She called back from the number that we know."});
    done(ann.send(Method::POST, &format!("/reviews/{decided}/decision"), &decision).await);
    let (_, page) = bob.get("/reviews?state=open").await;
    let claimed = page["items"][1]["id"].as_str().unwrap().to_owned();
    done(bob.send(Method::POST, &format!("/reviews/{claimed}/claim"), &json!({})).await);
}

/// Turns the second person on, and leaves proposals in every state.
async fn proposals(ann: &SignedIn, bob: &SignedIn) {
    done(ann.send(Method::PUT, "/settings/second-person", &json!({"needed": true})).await);
    let propose = async |by: &SignedIn, path: &str, body: Value| {
        let proposal = done(by.send(Method::POST, path, &body).await);
        assert_eq!(proposal["state"], "open", "{proposal}");
        format!("/proposals/{}", proposal["id"].as_str().unwrap())
    };
    propose(ann, "/rulesets/payment/activations", json!({"revision": 1})).await;
    propose(bob, "/rulesets/payment/activations", json!({"revision": 3})).await;
    let entry = json!({"value": "Oscar", "reason": "Seen with Mallory"});
    propose(bob, "/lists/blocked/entries", entry).await;
    let entry = propose(bob, "/lists/blocked/entries", json!({"value": "Peggy", "reason": "a guess"})).await;
    let note = json!({"note": "She is a good customer: look at the history first."});
    done(ann.send(Method::POST, &format!("{entry}/decline"), &note).await);
    let entry = propose(ann, "/lists/blocked/entries", json!({"value": "Victor", "reason": "fraud"})).await;
    done(bob.send(Method::POST, &format!("{entry}/approve"), &json!({})).await);
    let entry = propose(ann, "/lists/blocked/entries", json!({"value": "Walter", "reason": "a slip"})).await;
    done(ann.send(Method::POST, &format!("{entry}/withdraw"), &json!({})).await);
}
