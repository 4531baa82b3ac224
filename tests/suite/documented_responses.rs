//! Responses of every operation match the schemas of the OpenAPI document.

mod schema;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use crate::support::components::component;
use crate::support::database::TestDatabase;
use crate::support::people::{PASSWORD, code_of, create_user, operator, sign_in};
use crate::support::program::TEST_TIMEOUT;
use crate::support::service::{Caller, FullResponse, Node, payment};

/// Nothing answers here.
const ISSUER: &str = "http://127.0.0.1:9";

/// A client that checks every response against the document.
struct DocumentedCaller {
    caller: Caller,
    document: Value,
    /// The operations with a successful JSON response so far.
    answered_operations: BTreeSet<String>,
}

impl DocumentedCaller {
    async fn new(node: &Node) -> Self {
        let caller = Caller::of_new_tenant(node, "acme").await;
        let (_, document) = caller.get("/openapi.json").await;
        Self { caller, document, answered_operations: BTreeSet::new() }
    }

    /// Sends a request and checks its response against the document.
    async fn send(&mut self, method: Method, path: &str, request: RequestBuilder) -> (u16, Value) {
        let response = FullResponse::of(request).await;
        let exchange = format!("{method} {path}: {} {}", response.status, response.text);
        let template = template_of(&self.document, path);
        let documented = &self.document["paths"][&template][method.as_str().to_lowercase()]["responses"]
            [response.status.to_string()];
        assert!(documented.is_object(), "a status that is not documented: {exchange}");
        if response.text.is_empty() {
            assert_eq!(documented.get("content"), None, "{exchange}");
            return (response.status, Value::Null);
        }
        let media_type = response.header("Content-Type").split(';').next().unwrap_or_default().to_owned();
        let schema = &documented["content"][&media_type]["schema"];
        assert!(schema.is_object(), "{media_type} is not documented: {exchange}");
        if let Err(why) = schema::fits(&self.document, schema, &response.json()) {
            panic!("{exchange}\n{why}");
        }
        if response.status < 300 {
            self.answered_operations.insert(format!("{method} {template}"));
        }
        (response.status, response.json())
    }

    /// Calls a path below `/api/v1`.
    async fn call(&mut self, method: Method, path: &str, body: Option<&Value>, status: u16) -> Value {
        let request = self.caller.request(method.clone(), path).header("Idempotency-Key", "asked");
        let request = body.into_iter().fold(request, RequestBuilder::json);
        let (found, response) = self.send(method, &format!("/api/v1{path}"), request).await;
        assert_eq!(found, status, "{path}: {response}");
        response
    }

    async fn get(&mut self, path: &str) -> Value {
        self.call(Method::GET, path, None, 200).await
    }

    async fn post(&mut self, path: &str, body: &Value, status: u16) -> Value {
        self.call(Method::POST, path, Some(body), status).await
    }

    /// Repeats a request until its response fulfils the condition. Every response must match the
    /// document.
    async fn wait_until(&mut self, path: &str, is_it: impl Fn(u16, &Value) -> bool) -> Value {
        let begun = Instant::now();
        loop {
            let request = self.caller.request(Method::GET, path);
            let (status, response) = self.send(Method::GET, &format!("/api/v1{path}"), request).await;
            if is_it(status, &response) {
                return response;
            }
            assert!(begun.elapsed() < TEST_TIMEOUT, "{path}: {response}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn submit_plugin(&mut self, fixture: &str) -> Value {
        let request =
            self.caller.request(Method::POST, "/plugins").header("Content-Type", "application/wasm");
        let (_, handed_in) =
            self.send(Method::POST, "/api/v1/plugins", request.body(component(fixture))).await;
        let path = format!("/plugins/{}", handed_in["digest"].as_str().expect("a digest"));
        self.wait_until(&path, |_, plugin| plugin["state"] == "ready" || plugin["state"] == "refused").await
    }

    async fn revision(&mut self, rules: &Value) -> Value {
        let made = self.post("/rulesets/payment/revisions", &json!({"rules": rules}), 201).await;
        json!({"revision": made["number"]})
    }
}

/// The documented path that matches a request's path. A path without parameters is preferred.
fn template_of(document: &Value, path: &str) -> String {
    let path: Vec<&str> = path.split('?').next().unwrap_or_default().split('/').collect();
    let fits = |template: &&String| {
        let steps: Vec<&str> = template.split('/').collect();
        let fit = |(step, given): (&&str, &&str)| step == given || step.starts_with('{');
        steps.len() == path.len() && steps.iter().zip(&path).all(fit)
    };
    let templates = document["paths"].as_object().unwrap().keys().filter(fits);
    templates.min_by_key(|template| template.matches('{').count()).expect("a documented path").clone()
}

/// All operations with a JSON response.
fn operations(document: &Value) -> BTreeSet<String> {
    let paths = document["paths"].as_object().unwrap().iter();
    let all = paths.flat_map(|(path, item)| item.as_object().unwrap().iter().map(move |of| (path, of)));
    let has_json = |operation: &Value| {
        let mut responses = operation["responses"].as_object().unwrap().iter();
        responses
            .any(|(status, it)| status.starts_with('2') && it["content"].get("application/json").is_some())
    };
    all.filter(|(_, (_, operation))| has_json(operation))
        .map(|(path, (method, _))| format!("{} {path}", method.to_uppercase()))
        .collect()
}

async fn public_routes(client: &mut DocumentedCaller, node: &Node) {
    let http = reqwest::Client::new();
    for path in [
        "/",
        "/problems",
        "/problems/busy",
        "/health",
        "/ready",
        "/.well-known/jwks.json",
        "/.well-known/oauth-authorization-server",
    ] {
        let request = http.get(format!("{}{path}", node.url));
        assert_eq!(client.send(Method::GET, path, request).await.0, 200, "{path}");
    }
    let (id, secret) = (client.caller.client_id.clone(), client.caller.client_secret.clone());
    let request = http.post(format!("{}/oauth/token", node.url)).basic_auth(id, Some(secret));
    let request = request.form(&[("grant_type", "client_credentials")]);
    assert_eq!(client.send(Method::POST, "/oauth/token", request).await.0, 200);
    client.get("/openapi.json").await;
}

async fn lists(client: &mut DocumentedCaller) {
    client.post("/lists", &json!({"name": "friends", "kind": "merchant"}), 201).await;
    let entry = json!({"value": "merchant-1", "reason": "r"});
    let entry = client.post("/lists/friends/entries", &entry, 201).await;
    let path = "/lists/friends/entries";
    let lines = client.caller.request(Method::POST, path).header("Content-Type", "text/csv");
    let lines = lines.body("value,reason\nmerchant-1,r\nmerchant-2,r\n");
    assert_eq!(client.send(Method::POST, &format!("/api/v1{path}"), lines).await.0, 201);
    let entry = format!("{path}/{}", entry["id"].as_str().unwrap());
    client.call(Method::DELETE, &entry, None, 200).await;
    client.get(path).await;
    client.post("/lists", &json!({"name": "closed", "kind": "text"}), 201).await;
    client.call(Method::DELETE, "/lists/closed", None, 204).await;
    client.get("/lists").await;
}

async fn tables(client: &mut DocumentedCaller) {
    let columns = json!([{"name": "rate", "kind": "number"}]);
    let table = json!({"name": "rates", "lookup": "exact", "kind": "text", "columns": columns});
    client.post("/tables", &table, 201).await;
    let path = "/tables/rates/versions";
    for (csv, status) in [("key,rate\nEUR,1.5\n", 201), ("key,rate\nEUR,2\nUSD,1\n", 201), ("rate\n", 422)] {
        let rows = client.caller.request(Method::POST, path).header("Content-Type", "text/csv").body(csv);
        assert_eq!(client.send(Method::POST, &format!("/api/v1{path}"), rows).await.0, status);
    }
    client.get("/tables").await;
    client.get("/tables/rates").await;
    client.get(path).await;
    client.get("/tables/rates/versions/1").await;
    client.get("/tables/rates/rows?key=EUR&version=1").await;
    client.get("/tables/rates/diff?from=1&to=2").await;
    client.call(Method::POST, "/tables/rates/rollback", None, 201).await;
    client.post("/tables/rates/activations", &json!({"version": 2}), 201).await;
    client.get("/tables/rates/activations").await;
    client.call(Method::DELETE, "/tables/rates", None, 204).await;
}

/// Uploads plugins in all states. Returns the digests of a valid one and of one that fails.
async fn plugins(client: &mut DocumentedCaller) -> [Value; 2] {
    let [good, broken] = [client.submit_plugin("good").await, client.submit_plugin("panic_message").await];
    assert_eq!((&good["state"], &broken["state"]), (&json!("ready"), &json!("ready")));
    assert_eq!(client.submit_plugin("bad_description").await["state"], "refused");
    let unused = client.submit_plugin("unreachable").await;
    let retire = format!("/plugins/{}/retire", unused["digest"].as_str().unwrap());
    client.call(Method::POST, &retire, None, 200).await;
    client.get("/plugins").await;
    [good["digest"].clone(), broken["digest"].clone()]
}

/// Activates rules that ask for facts, that fail, and that run in shadow. Returns them.
async fn rulesets(client: &mut DocumentedCaller, [good, broken]: &[Value; 2]) -> Value {
    client.get("/rulesets/payment").await;
    let limit = json!({"selector": "customer", "window_seconds": 60, "max_count": 100, "verdict": "review"});
    let friends = json!({"lists": [{"list": "friends", "selector": "merchant", "verdict": "allow"}]});
    let rules = json!([
        {"name": "velocity", "plugin": client.caller.plugin("velocity").await, "settings": {"limits": [limit]}},
        {"name": "friends", "plugin": client.caller.plugin("party-lists").await, "settings": friends},
        {"name": "broken", "plugin": broken, "settings": {}},
        {"name": "tried", "plugin": good, "settings": {}, "mode": "shadow"},
    ]);
    let revision = client.revision(&rules).await;
    client.get("/rulesets/payment/revisions").await;
    client.get("/rulesets/payment/revisions/1").await;
    client.post("/rulesets/payment/activations", &revision, 201).await;
    rules
}

async fn payments(client: &mut DocumentedCaller) -> Value {
    let paid = client.post("/payments", &payment(), 201).await;
    client.post("/payments", &payment(), 200).await;
    let id = paid["id"].as_str().unwrap();
    let events = format!("/payments/{id}/events");
    let event = json!({"kind": "settled", "at_ms": paid["received_at_ms"], "note": "batch 7"});
    for status in [201, 200] {
        client.post(&events, &event, status).await;
    }
    client.get(&events).await;
    client.get(&format!("/payments/{id}")).await;
    client.get("/payments").await;
    client.get(&format!("/decisions/{id}")).await;
    client.get(&format!("/decisions/{id}/replay")).await;
    client.wait_until(&format!("/decisions/{id}/rules/broken/diagnosis"), |status, _| status == 200).await;
    paid["id"].clone()
}

async fn erasure(client: &mut DocumentedCaller, payment_id: &Value) {
    let id = payment_id.as_str().unwrap();
    client.post(&format!("/decisions/{id}/erasure"), &json!({"reason": "asked to"}), 200).await;
    client.get(&format!("/payments/{id}")).await;
    client.post("/payments", &payment(), 410).await;
}

async fn deployments(client: &mut DocumentedCaller, rules: &Value) {
    let candidate = client.revision(&json!([rules[0], rules[1]])).await;
    let mut canary = candidate.clone();
    canary["share_percent"] = json!(50);
    client.call(Method::PUT, "/rulesets/payment/canary", Some(&canary), 200).await;
    client.get("/rulesets/payment/canary").await;
    client.get("/rulesets/payment/revisions/1/rules").await;
    client.call(Method::DELETE, "/rulesets/payment/canary", None, 200).await;
    client.call(Method::PUT, "/rulesets/payment/shadow", Some(&candidate), 200).await;
    // Five failures of the broken rule.
    for place in 0..5 {
        client.caller.pay(&format!("beside-{place}"), &payment()).await;
    }
    client
        .wait_until("/rulesets/payment/shadow", |_, shadow| shadow["report"]["coverage"]["compared"] != 0)
        .await;
    client.get("/rulesets/payment/shadow/examples").await;
    client.call(Method::DELETE, "/rulesets/payment/shadow", None, 200).await;
    let is_open = |_: u16, page: &Value| page["items"].as_array().is_some_and(|items| !items.is_empty());
    let open = client.wait_until("/rulesets/payment/quarantines", is_open).await;
    client.get("/rulesets/payment").await;
    let open = format!("/rulesets/payment/quarantines/{}", open["items"][0]["id"].as_str().unwrap());
    client.call(Method::DELETE, &open, None, 204).await;
    client.post("/rulesets/payment/activations", &candidate, 201).await;
    client.call(Method::POST, "/rulesets/payment/rollback", None, 201).await;
    client.get("/rulesets/payment/activations").await;
}

async fn run_trials(client: &mut DocumentedCaller, rules: &Value, payment_id: &Value) {
    let path = "/rulesets/payment/dry-runs";
    client.post(path, &json!({"rules": rules, "payment": payment()}), 200).await;
    client.post(path, &json!({"revision": 2, "payment_id": payment_id}), 200).await;
    let path = "/rulesets/payment/backtests";
    let made = client.post(path, &json!({"revision": 2}), 202).await;
    let one = format!("{path}/{}", made["id"].as_str().unwrap());
    client.wait_until(&one, |_, backtest| backtest["finished_at_ms"].is_u64()).await;
    client.get(&format!("{one}/examples")).await;
    client.get(path).await;
    // A backtest may end before it is cancelled. The conflict is also documented.
    for _ in 0..50 {
        let made = client.post(path, &json!({"revision": 2}), 202).await;
        let cancel = format!("{path}/{}/cancel", made["id"].as_str().unwrap());
        let request = client.caller.request(Method::POST, &cancel);
        if client.send(Method::POST, &format!("/api/v1{cancel}"), request).await.0 == 200 {
            break;
        }
    }
}

async fn people(client: &mut DocumentedCaller, node: &Node) {
    let shop = json!({"name": "shop", "scopes": ["payments:write"]});
    let shop = client.post("/clients", &shop, 201).await["client"]["id"].as_str().unwrap().to_owned();
    client.get("/clients").await;
    client.post(&format!("/clients/{shop}/secret"), &json!({"overlap_s": 60}), 200).await;
    let disabled = json!({"disabled": true});
    client.call(Method::PATCH, &format!("/clients/{shop}"), Some(&disabled), 200).await;
    let bob = json!({"email": "bob@example.com", "display_name": "Bob", "roles": ["auditor"]});
    let bob = client.post("/users", &bob, 201).await["user"]["id"].as_str().unwrap().to_owned();
    client.post(&format!("/users/{bob}/password-link"), &json!({}), 200).await;
    client.call(Method::DELETE, &format!("/users/{bob}/second-factor"), None, 204).await;
    client.call(Method::DELETE, &format!("/users/{bob}/sessions"), None, 204).await;
    client.call(Method::PATCH, &format!("/users/{bob}"), Some(&disabled), 200).await;
    client.get("/users").await;
    client.get(&format!("/actors?id=user:{bob}&id=client:{shop}&id=import")).await;
    client.get("/decisions/counts?step=15m").await;
    client.call(Method::PUT, "/settings/retention", Some(&json!({"months_kept": 12})), 200).await;
    client.get("/settings/retention").await;
    client.get("/settings/retention/preview?months_kept=3").await;
    client.get("/settings/retention/removals").await;
    client.call(Method::PUT, "/settings/retention", Some(&json!({"months_kept": null})), 200).await;
    client.get("/settings/openid").await;
    let issuer = ISSUER;
    let openid = json!({"issuer": issuer, "client_id": "tollgate", "password_sign_in": true,
        "role_mapping": [{"value": "auditors", "role": "auditor"}]});
    client.call(Method::PUT, "/settings/openid", Some(&openid), 200).await;
    client.post("/settings/openid/test", &json!({ "issuer": issuer }), 200).await;
    client.call(Method::DELETE, "/settings/openid", None, 204).await;

    create_user(&client.caller, "ann@example.com", &["admin"]).await;
    let ann = sign_in(node, "acme", "ann@example.com").await;
    let credentials = json!({"tenant": "acme", "email": "ann@example.com", "password": PASSWORD});
    for (path, body, status) in [("/session", credentials, 200), ("/session", json!({}), 422)] {
        let request = reqwest::Client::new().post(format!("{}{path}", node.url)).json(&body);
        assert_eq!(client.send(Method::POST, path, request).await.0, status);
    }
    let refresh = || reqwest::Client::new().post(format!("{}/session/refresh", node.url));
    assert_eq!(client.send(Method::POST, "/session/refresh", refresh()).await.0, 401);
    let refresh = refresh().header("Cookie", &ann.cookie);
    assert_eq!(client.send(Method::POST, "/session/refresh", refresh).await.0, 200);
    client.call(Method::GET, "/me", None, 403).await;
    let machine = client.caller.clone();
    client.caller = machine.with_token(ann.access_token());
    client.get("/me").await;
    client.get("/me/sessions").await;
    let new = client.call(Method::POST, "/me/second-factor", None, 200).await;
    let wrong = json!({"code": "000000"});
    client.post("/me/second-factor/confirm", &wrong, 422).await;
    let code = json!({"code": code_of(new["secret"].as_str().unwrap(), 0)});
    client.post("/me/second-factor/confirm", &code, 200).await;
    client.call(Method::DELETE, "/me/sessions", None, 204).await;
    client.caller = machine.clone();
    reviews(client, node).await;
    second_person(client, node, &machine).await;
    client.caller = machine.with_token(operator(node).await.access_token());
    client.post("/tenants", &json!({"name": "new-bank"}), 201).await;
    client.get("/tenants").await;
    client.caller = machine;
}

async fn reviews(client: &mut DocumentedCaller, node: &Node) {
    let settings =
        json!({"lease_min": 5, "expires_after_min": 60, "expires_to": "reject", "event_kinds": ["fraud"]});
    client.call(Method::PUT, "/settings/reviews", Some(&settings), 200).await;
    client.get("/settings/reviews").await;
    let (_, paid) = client.caller.pay("for-review", &payment()).await;
    let id = paid["id"].as_str().unwrap().to_owned();
    client.post(&format!("/payments/{id}/events"), &json!({"kind": "fraud"}), 201).await;
    for path in ["/reviews", "/reviews?state=open,claimed&cause=event", "/reviews/summary"] {
        client.get(path).await;
    }
    let path = client.get("/reviews").await["items"][0]["id"].as_str().unwrap().to_owned();
    let path = format!("/reviews/{path}");
    client.get(&path).await;
    let claim = format!("{path}/claim");
    client.call(Method::POST, &claim, None, 403).await;
    create_user(&client.caller, "rita@example.com", &["reviewer"]).await;
    let rita = sign_in(node, "acme", "rita@example.com").await;
    client.caller = client.caller.with_token(rita.access_token());
    client.call(Method::POST, &claim, None, 200).await;
    client.call(Method::POST, &format!("{path}/hand-back"), None, 200).await;
    let decision = json!({"outcome": "approve", "note": "The payer was called."});
    for (body, status) in [(json!({}), 422), (decision.clone(), 200), (decision, 200)] {
        client.post(&format!("{path}/decision"), &body, status).await;
    }
    client.call(Method::POST, &claim, None, 409).await;
    client.get(&path).await;
    client.get(&format!("/payments/{id}")).await;
    client.get(&format!("/decisions/{id}")).await;
}

/// The client becomes a person who approves what the machine proposes.
async fn second_person(client: &mut DocumentedCaller, node: &Node, machine: &Caller) {
    client.caller = machine.clone();
    client.get("/settings/second-person").await;
    let columns = json!([{"name": "fee", "kind": "number"}]);
    let table = json!({"name": "fees", "lookup": "exact", "kind": "text", "columns": columns});
    client.post("/tables", &table, 201).await;
    let settings = |needed: bool| Some(json!({ "needed": needed }));
    let path = "/settings/second-person";
    client.call(Method::PUT, path, settings(true).as_ref(), 409).await;
    let cleo = create_user(machine, "cleo@example.com", &["admin"]).await;
    client.call(Method::PUT, path, settings(true).as_ref(), 200).await;
    for removed in ["/settings/openid", "/tables/fees", &format!("/users/{cleo}/second-factor")] {
        client.call(Method::DELETE, removed, None, 202).await;
    }
    let close = client.call(Method::DELETE, "/lists/friends", None, 202).await;
    let entry = json!({"value": "Zoe", "reason": "known"});
    client.post("/lists/friends/entries", &entry, 202).await;
    let own = client.call(Method::PUT, path, settings(false).as_ref(), 202).await["id"].clone();
    let [close, own] = [&close["id"], &own].map(|id| format!("/proposals/{}", id.as_str().unwrap()));
    client.post(&format!("{close}/withdraw"), &json!({}), 200).await;
    client.get(&close).await;
    client.post(&format!("{own}/approve"), &json!({}), 403).await;
    client.caller = machine.with_token(sign_in(node, "acme", "cleo@example.com").await.access_token());
    let entries = client.get("/proposals?state=open").await["items"][1]["id"].clone();
    let entries = format!("/proposals/{}", entries.as_str().unwrap());
    client.post(&format!("{entries}/decline"), &json!({"note": "Who is Zoe?"}), 200).await;
    client.post(&format!("{own}/approve"), &json!({}), 200).await;
}

async fn problems(client: &mut DocumentedCaller) {
    for (method, path, body, status) in [
        (Method::GET, "/payments/nothing", None, 404),
        (Method::GET, "/payments?limit=0", None, 400),
        (Method::POST, "/payments", Some(json!({})), 422),
        (Method::POST, "/lists", Some(json!({"name": "friends", "kind": "merchant"})), 409),
        (Method::POST, "/rulesets/payment/activations", Some(json!({"revision": 99})), 422),
        (Method::POST, "/rulesets/payment/revisions", Some(json!({"rules": [{}]})), 422),
        (Method::DELETE, "/rulesets/payment/quarantines/nothing", None, 404),
    ] {
        client.call(method, path, body.as_ref(), status).await;
    }
    let pay = client.caller.request(Method::POST, "/payments").header("Content-Type", "text/plain");
    let pay = pay.header("Idempotency-Key", "problem").body("none");
    assert_eq!(client.send(Method::POST, "/api/v1/payments", pay).await.0, 415);
    let stranger = client.caller.with_token("none").request(Method::GET, "/payments");
    assert_eq!(client.send(Method::GET, "/api/v1/payments", stranger).await.0, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_operation_responds_as_documented() {
    let database = TestDatabase::create().await;
    let node = Node::start_with(
        &database,
        &[("quarantine_failures_min", json!(5)), ("openid_issuers", json!([ISSUER]))],
    )
    .await;
    let mut client = DocumentedCaller::new(&node).await;
    public_routes(&mut client, &node).await;
    lists(&mut client).await;
    tables(&mut client).await;
    let plugins = plugins(&mut client).await;
    let rules = rulesets(&mut client, &plugins).await;
    let payment_id = payments(&mut client).await;
    deployments(&mut client, &rules).await;
    run_trials(&mut client, &rules, &payment_id).await;
    erasure(&mut client, &payment_id).await;
    client.get("/audit").await;
    client.get("/audit/checkpoints").await;
    people(&mut client, &node).await;
    problems(&mut client).await;
    let missing: Vec<_> =
        operations(&client.document).difference(&client.answered_operations).cloned().collect();
    assert_eq!(missing, Vec::<String>::new(), "operations without a request");
    node.stop().await;
}
