//! The second person: changes that one proposes and another approves.

use futures::future::join_all;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::kind;
use crate::support::database::TestDatabase;
use crate::support::people::{PASSWORD, SignedIn, create_user, set_password, sign_in};
use crate::support::service::{Caller, Node, payment, send};

const ACTIVATIONS: &str = "/rulesets/payment/activations";
const SETTING: &str = "/settings/second-person";

/// A tenant that needs a second person, with two administrators and a client.
struct TwoPeople {
    client: Caller,
    ann: SignedIn,
    bob: SignedIn,
    /// The id of each.
    ann_id: String,
    bob_id: String,
}

impl TwoPeople {
    async fn new(node: &Node) -> Self {
        let client = Caller::of_new_tenant(node, "acme").await;
        let mut ids = Vec::new();
        for email in ["ann@example.com", "bob@example.com"] {
            ids.push(create_user(&client, email, &["admin"]).await);
        }
        let ann = sign_in(node, "acme", "ann@example.com").await;
        let bob = sign_in(node, "acme", "bob@example.com").await;
        let on = ann.send(Method::PUT, SETTING, &json!({"needed": true})).await;
        assert_eq!(on, (StatusCode::OK, json!({"needed": true})));
        let [ann_id, bob_id] = ids.try_into().expect("two ids");
        Self { client, ann, bob, ann_id, bob_id }
    }

    /// Ann proposes a change. Returns the path of the proposal.
    async fn propose(&self, method: Method, path: &str, body: &Value) -> String {
        proposal(self.ann.send(method, path, body).await)
    }
}

fn proposal((status, proposal): (StatusCode, Value)) -> String {
    assert_eq!((status, &proposal["state"]), (StatusCode::ACCEPTED, &json!("open")), "{proposal}");
    format!("/proposals/{}", proposal["id"].as_str().expect("an id"))
}

async fn approve(by: &SignedIn, proposal: &str) -> (StatusCode, Value) {
    by.send(Method::POST, &format!("{proposal}/approve"), &json!({})).await
}

/// A revision that rejects every payment above a cent. Returns its number.
async fn strict_revision(client: &Caller) -> i64 {
    let settings = json!({"limits": [{"currency": "EUR", "maximum_minor": 1}]});
    let rule =
        json!({"name": "limits", "plugin": client.plugin("amount-limits").await, "settings": settings});
    let (status, made) = client.post("/rulesets/payment/revisions", &json!({"rules": [rule]})).await;
    assert_eq!(status, StatusCode::CREATED, "{made}");
    made["number"].as_i64().expect("a number")
}

#[tokio::test]
async fn an_activation_takes_effect_once_another_administrator_approves_it() {
    let database = TestDatabase::create().await;
    let node = Node::start(&database).await;
    let people = TwoPeople::new(&node).await;
    let revision = strict_revision(&people.client).await;
    let proposal = people.propose(Method::POST, ACTIVATIONS, &json!({"revision": revision})).await;
    assert_eq!(people.client.get("/rulesets/payment").await.1.get("activation"), None);

    let (status, problem) = approve(&people.ann, &proposal).await;
    assert_eq!((status, kind(&problem)), (StatusCode::FORBIDDEN, "second-person-required"));
    let (status, problem) = people.client.post(&format!("{proposal}/approve"), &json!({})).await;
    assert_eq!((status, kind(&problem)), (StatusCode::FORBIDDEN, "person-required"), "machines cannot");
    create_user(&people.client, "author@example.com", &["author"]).await;
    let author = sign_in(&node, "acme", "author@example.com").await;
    let (status, problem) = approve(&author, &proposal).await;
    assert_eq!((status, kind(&problem)), (StatusCode::FORBIDDEN, "insufficient-scope"));

    let (status, approved) = approve(&people.bob, &proposal).await;
    assert_eq!((status, &approved["proposal"]["state"]), (StatusCode::OK, &json!("approved")), "{approved}");
    let (_, active) = people.client.get("/rulesets/payment").await;
    assert_eq!(active["activation"]["activated_by"], format!("user:{}", people.ann_id));
    assert_eq!(people.client.pay("k", &payment()).await.1["revision"], revision);
    let (_, acts) = people.bob.get("/audit?action=revision.activated").await;
    assert_eq!(acts["items"][0]["actor"], format!("user:{}", people.ann_id));
    assert_eq!(acts["items"][0]["approved_by"], format!("user:{}", people.bob_id));
    let (status, problem) = approve(&people.bob, &proposal).await;
    assert_eq!((status, kind(&problem)), (StatusCode::CONFLICT, "conflict"), "it is made once");
    // A roll back is urgent and needs one person.
    let second = strict_revision(&people.client).await;
    let second = people.propose(Method::POST, ACTIVATIONS, &json!({"revision": second})).await;
    approve(&people.bob, &second).await;
    let rolled_back = people.ann.send(Method::POST, "/rulesets/payment/rollback", &json!({})).await;
    assert_eq!((rolled_back.0, &rolled_back.1["revision"]), (StatusCode::CREATED, &json!(revision)));
    node.stop().await;
}

#[tokio::test]
async fn a_proposal_is_bound_to_the_state_that_its_author_saw() {
    let database = TestDatabase::create().await;
    let node = Node::start(&database).await;
    let people = TwoPeople::new(&node).await;
    let (one, other) = (strict_revision(&people.client).await, strict_revision(&people.client).await);
    let first = people.propose(Method::POST, ACTIVATIONS, &json!({"revision": one})).await;
    let stale = people.propose(Method::POST, ACTIVATIONS, &json!({"revision": other})).await;
    assert_eq!(approve(&people.bob, &first).await.0, StatusCode::OK);
    let (status, problem) = approve(&people.bob, &stale).await;
    assert_eq!((status, kind(&problem)), (StatusCode::PRECONDITION_FAILED, "precondition-failed"));
    assert_eq!(people.bob.get(&stale).await.1["state"], "open", "somebody may decline or withdraw it");
    // What could not be done at once cannot be proposed either.
    let request = people.ann.request(Method::POST, ACTIVATIONS).header("If-Match", "\"none\"");
    let (status, _) = send(request.json(&json!({"revision": other}))).await;
    assert_eq!(status, StatusCode::PRECONDITION_FAILED);
    let unknown = people.ann.send(Method::POST, ACTIVATIONS, &json!({"revision": 99})).await;
    assert_eq!(unknown.0, StatusCode::UNPROCESSABLE_ENTITY, "{}", unknown.1);
    let guard = json!({"revision": other, "guard": {"backtest": people.ann_id, "max_changed_percent": 1.0}});
    let (status, problem) = people.ann.send(Method::POST, ACTIVATIONS, &guard).await;
    assert_eq!((status, kind(&problem)), (StatusCode::UNPROCESSABLE_ENTITY, "invalid-body"), "{problem}");
    node.stop().await;
}

#[tokio::test]
async fn every_change_that_decides_about_payments_is_proposed() {
    let database = TestDatabase::create().await;
    let node = Node::start(&database).await;
    let people = TwoPeople::new(&node).await;
    let TwoPeople { client, ann, bob, .. } = &people;
    client.post("/lists", &json!({"name": "blocked", "kind": "name"})).await;
    let table = json!({"name": "bins", "kind": "text", "lookup": "exact",
                       "columns": [{"name": "issuer", "kind": "text"}]});
    assert_eq!(client.post("/tables", &table).await.0, StatusCode::CREATED);
    let paid = client.pay("k", &payment()).await.1["id"].as_str().expect("an id").to_owned();

    // A list: one entry, several, closing an entry, closing the list.
    let one = json!({"value": "Eve", "reason": "fraud"});
    let one = people.propose(Method::POST, "/lists/blocked/entries", &one).await;
    assert_eq!(approve(bob, &one).await.0, StatusCode::OK);
    let many = ann.request(Method::POST, "/lists/blocked/entries").header("Content-Type", "text/csv");
    let many = proposal(send(many.body("value,reason\nMallory,fraud\nTrudy,fraud\n")).await);
    let (_, shown) = bob.get(&many).await;
    assert_eq!((&shown["kind"], &shown["change"]["entry_count"]), (&json!("list_entries"), &json!(2)));
    assert_eq!(approve(bob, &many).await.0, StatusCode::OK);
    let (_, entries) = bob.get("/lists/blocked/entries").await;
    let entries = entries["items"].as_array().expect("entries").clone();
    assert_eq!(entries.len(), 3, "{entries:?}");
    assert_eq!(entries[0]["added_by"], format!("user:{}", people.ann_id));
    let entry = format!("/lists/blocked/entries/{}", entries[0]["id"].as_str().expect("an id"));
    let closing = people.propose(Method::DELETE, &entry, &json!({})).await;
    assert_eq!(bob.get(&closing).await.1["change"]["value"], "Eve");
    assert_eq!(approve(bob, &closing).await.0, StatusCode::OK);
    let (status, _) = ann.send(Method::DELETE, &entry, &json!({})).await;
    assert_eq!(status, StatusCode::NOT_FOUND, "it is closed");
    let closing = people.propose(Method::DELETE, "/lists/blocked", &json!({})).await;
    assert_eq!(approve(bob, &closing).await.0, StatusCode::OK);

    // A table: a version is stored and activated by the second person.
    let upload = ann.request(Method::POST, "/tables/bins/versions").header("Content-Type", "text/csv");
    let upload = proposal(send(upload.body("key,issuer\na,Bank A\n")).await);
    let (_, version) = bob.get("/tables/bins/versions/1").await;
    assert_eq!((&version["rows"], version.get("valid_from_ms")), (&json!(1), None), "{version}");
    assert_eq!(bob.get("/tables/bins/activations").await.1["items"], json!([]));
    assert_eq!(approve(bob, &upload).await.0, StatusCode::OK);
    assert_eq!(bob.get("/tables/bins/activations").await.1["items"][0]["version"], 1);
    // Rolling back leads to what was valid before, and to nothing else.
    let upload = ann.request(Method::POST, "/tables/bins/versions").header("Content-Type", "text/csv");
    proposal(send(upload.body("key,issuer\na,Eve's Bank\n")).await);
    for path in ["/tables/bins/rollback", "/tables/bins/rollback?version=2"] {
        let (status, problem) = ann.send(Method::POST, path, &json!({})).await;
        assert_eq!((status, kind(&problem)), (StatusCode::CONFLICT, "conflict"), "{path}");
    }
    let closing = people.propose(Method::DELETE, "/tables/bins", &json!({})).await;
    assert_eq!(approve(bob, &closing).await.0, StatusCode::OK);

    // A canary, which needs an active revision.
    let (active, canary) = (strict_revision(client).await, strict_revision(client).await);
    let active = people.propose(Method::POST, ACTIVATIONS, &json!({"revision": active})).await;
    assert_eq!(approve(bob, &active).await.0, StatusCode::OK);
    let share = json!({"revision": canary, "share_percent": 5.0});
    let start = people.propose(Method::PUT, "/rulesets/payment/canary", &share).await;
    assert_eq!(bob.get(&start).await.1["change"]["canary"], share);
    assert_eq!(approve(bob, &start).await.0, StatusCode::OK);
    assert_eq!(bob.get("/rulesets/payment").await.1["activation"]["canary"], share);
    let end = people.propose(Method::DELETE, "/rulesets/payment/canary", &json!({})).await;
    assert_eq!(approve(bob, &end).await.0, StatusCode::OK);

    // An erasure.
    let erasure = json!({"reason": "request 17"});
    let path = format!("/decisions/{paid}/erasure");
    let erasure = people.propose(Method::POST, &path, &erasure).await;
    assert_eq!(bob.get(&format!("/decisions/{paid}")).await.0, StatusCode::OK);
    assert_eq!(approve(bob, &erasure).await.0, StatusCode::OK);
    assert_eq!(bob.get(&format!("/decisions/{paid}")).await.0, StatusCode::GONE);

    // No longer to need a second person.
    let off = people.propose(Method::PUT, SETTING, &json!({"needed": false})).await;
    assert_eq!(approve(bob, &off).await.0, StatusCode::OK);
    assert_eq!(bob.get(SETTING).await.1, json!({"needed": false}));
    assert_eq!(
        ann.send(Method::POST, ACTIVATIONS, &json!({"revision": canary})).await.0,
        StatusCode::CREATED
    );
    node.stop().await;
}

#[tokio::test]
async fn nobody_becomes_the_second_person_of_their_own_proposal() {
    let database = TestDatabase::create().await;
    let node = Node::start(&database).await;
    let people = TwoPeople::new(&node).await;
    let TwoPeople { ann, bob, bob_id, .. } = &people;
    let revision = strict_revision(&people.client).await;

    // By a client of one's own.
    let robot = json!({"name": "robot", "scopes": ["rulesets:write", "rulesets:read"]});
    let (status, robot) = ann.send(Method::POST, "/clients", &robot).await;
    assert_eq!(status, StatusCode::CREATED, "{robot}");
    let secret = |of: &Value| of["client_secret"].as_str().expect("a secret").to_owned();
    let id = robot["client"]["id"].as_str().expect("an id");
    let caller = Caller::sign_in(&node.url, id, &secret(&robot)).await;
    let proposed = proposal(caller.post(ACTIVATIONS, &json!({"revision": revision})).await);
    let (status, problem) = approve(ann, &proposed).await;
    assert_eq!((status, kind(&problem)), (StatusCode::FORBIDDEN, "second-person-required"));
    let (status, renewed) =
        bob.send(Method::POST, &format!("/clients/{id}/secret"), &json!({"overlap_s": 0})).await;
    assert_eq!(status, StatusCode::OK, "{renewed}");
    assert_eq!(approve(bob, &proposed).await.0, StatusCode::FORBIDDEN, "Bob has a secret of the client now");

    // By a client of that client.
    let parent = json!({"name": "parent", "scopes": ["clients:write", "rulesets:write", "rulesets:read"]});
    let (_, parent) = ann.send(Method::POST, "/clients", &parent).await;
    let id = parent["client"]["id"].as_str().expect("an id");
    let parent = Caller::sign_in(&node.url, id, &secret(&parent)).await;
    let child = json!({"name": "child", "scopes": ["rulesets:write", "rulesets:read"]});
    let (_, child) = parent.post("/clients", &child).await;
    let id = child["client"]["id"].as_str().expect("an id");
    let child = Caller::sign_in(&node.url, id, &secret(&child)).await;
    let by_child = proposal(child.post(ACTIVATIONS, &json!({"revision": revision})).await);
    assert_eq!(approve(ann, &by_child).await.0, StatusCode::FORBIDDEN, "Ann's client made the client");
    assert_eq!(approve(bob, &by_child).await.0, StatusCode::OK);

    // By another administrator whom one makes, enables or takes over.
    let eve = json!({"email": "eve@example.com", "display_name": "Eve", "roles": ["admin"]});
    let eve = people.propose(Method::POST, "/users", &eve).await;
    assert_eq!(bob.get(&eve).await.1["change"]["email"], "eve@example.com");
    let carl = create_user(&people.client, "carl@example.com", &["author"]).await;
    let raise = json!({"roles": ["author", "admin"]});
    let raise = people.propose(Method::PATCH, &format!("/users/{carl}"), &raise).await;
    let link = people.propose(Method::POST, &format!("/users/{bob_id}/password-link"), &json!({})).await;
    let factor = people.propose(Method::DELETE, &format!("/users/{bob_id}/second-factor"), &json!({})).await;
    for own in [&eve, &raise, &link, &factor] {
        assert_eq!(approve(ann, own).await.0, StatusCode::FORBIDDEN);
    }
    // Taking access away needs nobody else, giving it back does.
    let (status, _) = ann.send(Method::PATCH, &format!("/users/{bob_id}"), &json!({"disabled": true})).await;
    assert_eq!(status, StatusCode::OK);
    people.propose(Method::PATCH, &format!("/users/{bob_id}"), &json!({"disabled": false})).await;

    node.stop().await;
}

#[tokio::test]
async fn who_approves_a_new_administrator_gets_the_link() {
    let database = TestDatabase::create().await;
    let node = Node::start(&database).await;
    let people = TwoPeople::new(&node).await;
    let eve = json!({"email": "eve@example.com", "display_name": "Eve", "roles": ["admin"]});
    let eve = people.propose(Method::POST, "/users", &eve).await;
    let (status, approved) = approve(&people.bob, &eve).await;
    assert_eq!(status, StatusCode::OK, "{approved}");
    let link = approved["password_link"]["url"].as_str().expect("a link");
    let (_, token) = link.split_once("/admin/#/set-password/").expect("a token");
    assert_eq!(set_password(&node.url, token, PASSWORD).await.status(), StatusCode::NO_CONTENT);
    let eve = sign_in(&node, "acme", "eve@example.com").await;
    assert_eq!(eve.get("/proposals").await.1["items"][0].get("password_link"), None, "it is shown once");
    node.stop().await;
}

#[tokio::test]
async fn of_many_decisions_about_a_proposal_one_counts() {
    let database = TestDatabase::create().await;
    let node = Node::start(&database).await;
    let people = TwoPeople::new(&node).await;
    people.client.post("/lists", &json!({"name": "blocked", "kind": "name"})).await;
    for round in 0..5 {
        let body = format!("value,reason\nEve {round},fraud\nMallory {round},fraud\n");
        let many =
            people.ann.request(Method::POST, "/lists/blocked/entries").header("Content-Type", "text/csv");
        let proposed = proposal(send(many.body(body)).await);
        let approvals = (0..6).map(|_| approve(&people.bob, &proposed));
        let path = format!("{proposed}/decline");
        let note = json!({"note": "no"});
        let decline = people.bob.send(Method::POST, &path, &note);
        let (approvals, declined) = tokio::join!(join_all(approvals), decline);
        // Approvals of one person at once may all get the response of the first.
        let is_approved = approvals.iter().any(|(status, _)| *status == StatusCode::OK);
        let is_declined = declined.0 == StatusCode::OK;
        assert!(is_approved != is_declined, "{approvals:?} {declined:?}");
        let state = if is_approved { "approved" } else { "declined" };
        assert_eq!(people.bob.get(&proposed).await.1["state"], state);
        let (_, entries) = people.bob.get("/lists/blocked/entries?limit=200").await;
        let entries = entries["items"].as_array().expect("entries").clone();
        let added = entries.iter().filter(|entry| {
            entry["value"].as_str().is_some_and(|value| value.ends_with(&format!(" {round}")))
        });
        assert_eq!(added.count(), if is_approved { 2 } else { 0 });
    }
    node.stop().await;
}

#[tokio::test]
async fn proposals_are_listed_declined_withdrawn_and_bounded() {
    let database = TestDatabase::create().await;
    let node = Node::start(&database).await;
    let people = TwoPeople::new(&node).await;
    let TwoPeople { client, ann, bob, .. } = &people;
    client.post("/lists", &json!({"name": "blocked", "kind": "name"})).await;
    let entry = json!({"value": "Eve", "reason": "fraud"});
    let declined = people.propose(Method::POST, "/lists/blocked/entries", &entry).await;
    let path = format!("{declined}/decline");
    let (status, shown) = bob.send(Method::POST, &path, &json!({"note": "Eve is a customer."})).await;
    assert_eq!((status, &shown["note"]), (StatusCode::OK, &json!("Eve is a customer.")), "{shown}");
    let withdrawn = people.propose(Method::POST, "/lists/blocked/entries", &entry).await;
    let (status, problem) = bob.send(Method::POST, &format!("{withdrawn}/withdraw"), &json!({})).await;
    assert_eq!((status, kind(&problem)), (StatusCode::FORBIDDEN, "second-person-required"));
    let (status, _) = ann.send(Method::POST, &format!("{withdrawn}/withdraw"), &json!({})).await;
    assert_eq!(status, StatusCode::OK);
    for (state, count) in [("open", 0), ("declined", 1), ("withdrawn", 1), ("approved", 0)] {
        let (_, page) = bob.get(&format!("/proposals?state={state}")).await;
        assert_eq!(page["items"].as_array().map(Vec::len), Some(count), "{state}");
    }
    let stranger = Caller::of_new_tenant(&node, "other").await;
    assert_eq!(stranger.get("/proposals").await.1["items"], json!([]));
    assert_eq!(stranger.get(&declined).await.0, StatusCode::NOT_FOUND);
    for number in 0..100 {
        let entry = json!({"value": format!("Name {number}"), "reason": "fraud"});
        people.propose(Method::POST, "/lists/blocked/entries", &entry).await;
    }
    let (status, problem) = ann.send(Method::POST, "/lists/blocked/entries", &entry).await;
    assert_eq!((status, kind(&problem)), (StatusCode::TOO_MANY_REQUESTS, "quota-exceeded"));
    let (_, page) = bob.get("/proposals?state=open&limit=60").await;
    let cursor = page["next_cursor"].as_str().expect("a cursor");
    let (_, rest) = bob.get(&format!("/proposals?state=open&limit=60&cursor={cursor}")).await;
    assert_eq!(rest["items"].as_array().map(Vec::len), Some(40));
    // Kinds of details need the scope for reading them.
    let few = [tollgate::domain::tenant::Scope::RulesetsRead].into_iter().collect();
    let (_, page) = Caller::of_tenant(&node, "acme", few).await.get("/proposals?state=open").await;
    assert_eq!((&page["items"][0]["kind"], page["items"][0].get("change")), (&json!("list_entries"), None));
    node.stop().await;
}

#[tokio::test]
async fn a_tenant_needs_two_administrators_for_a_second_person() {
    let database = TestDatabase::create().await;
    let node = Node::start(&database).await;
    let client = Caller::of_new_tenant(&node, "acme").await;
    create_user(&client, "ann@example.com", &["admin"]).await;
    let on = || client.request(Method::PUT, SETTING).json(&json!({"needed": true}));
    let (status, problem) = send(on()).await;
    assert_eq!((status, kind(&problem)), (StatusCode::CONFLICT, "conflict"), "{problem}");
    create_user(&client, "bob@example.com", &["auditor"]).await;
    assert_eq!(send(on()).await.0, StatusCode::CONFLICT);
    create_user(&client, "cleo@example.com", &["admin"]).await;
    assert_eq!(send(on()).await.0, StatusCode::OK);
    node.stop().await;
}
