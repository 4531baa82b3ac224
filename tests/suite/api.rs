//! The rest of the API over HTTP: rulesets, lists, plugins, tokens, operations.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::support::database::TestDatabase;
use crate::support::service::{Caller, Node, answer, payment, shipped_plugins};

#[tokio::test(flavor = "multi_thread")]
async fn a_revision_with_flaws_is_told_all_of_them_and_not_made() {
    let database = TestDatabase::create().await;
    let node = Node::start(&database).await;
    let caller = Caller::of_new_tenant(&node, "acme").await;
    let plugin = caller.plugin("amount-limits").await;
    let rules = json!({"rules": [
        {"name": "Amount Limits", "plugin": plugin, "settings": {"limits": []}},
        {"name": "unknown", "plugin": "0".repeat(64), "settings": {}},
    ]});
    let (status, problem) = caller.post("/rulesets/payment/revisions", &rules).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{problem}");
    let told = problem["errors"].as_array().expect("errors");
    let pointers: Vec<&str> = told.iter().filter_map(|error| error["pointer"].as_str()).collect();
    assert!(pointers.contains(&"/rules/0/name") && pointers.contains(&"/rules/1/plugin"), "{problem}");

    let (_, page) = caller.get("/rulesets/payment/revisions").await;
    assert_eq!(page["items"], json!([]));
    let (status, _) = caller.get("/rulesets/refund").await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_administrators_who_saw_the_same_ruleset_the_second_is_told() {
    let database = TestDatabase::create().await;
    let node = Node::start(&database).await;
    let caller = Caller::of_new_tenant(&node, "acme").await;
    let check = [("account-check", json!({}))];
    assert_eq!((caller.activate(&check).await, caller.activate(&check).await), (1, 2));

    let active = caller.request(Method::GET, "/rulesets/payment").send().await.expect("an answer");
    let seen = active.headers()["etag"].to_str().expect("text").to_owned();
    let activate = |revision: i32| {
        let request = caller.request(Method::POST, "/rulesets/payment/activations");
        answer(request.header("If-Match", &seen).json(&json!({"revision": revision})))
    };
    assert_eq!(activate(1).await.0, StatusCode::CREATED);
    let (status, problem) = activate(2).await;
    assert_eq!(
        (status, &problem["type"]),
        (StatusCode::PRECONDITION_FAILED, &json!("/problems/precondition-failed"))
    );

    let (status, back) = answer(caller.request(Method::POST, "/rulesets/payment/rollback")).await;
    assert_eq!((status, &back["revision"]), (StatusCode::CREATED, &json!(2)), "{back}");
    let (status, problem) = caller.post("/rulesets/payment/activations", &json!({"revision": 99})).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{problem}");
    let (_, log) = caller.get("/rulesets/payment/activations").await;
    let log: Vec<&Value> =
        log["items"].as_array().expect("items").iter().map(|line| &line["revision"]).collect();
    assert_eq!(log, [&json!(2), &json!(1), &json!(2), &json!(1)]);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_entry_of_a_list_is_kept_and_seen_at_its_time() {
    let database = TestDatabase::create().await;
    let node = Node::start(&database).await;
    let caller = Caller::of_new_tenant(&node, "acme").await;
    let list = json!({"name": "blocked", "description": "Nobody pays these"});
    assert_eq!(caller.post("/lists", &list).await.0, StatusCode::CREATED);
    assert_eq!(caller.post("/lists", &list).await.0, StatusCode::CONFLICT);

    let new = json!({"value": "DE89 3704 0044 0532 0130 00", "reason": "fraud"});
    let (status, entry) = caller.post("/lists/blocked/entries", &new).await;
    assert_eq!(status, StatusCode::CREATED, "{entry}");
    assert_eq!(caller.post("/lists/blocked/entries", &new).await.0, StatusCode::CONFLICT);
    assert_eq!(caller.post("/lists/nowhere/entries", &new).await.0, StatusCode::NOT_FOUND);

    let path = format!("/lists/blocked/entries/{}", entry["id"].as_str().expect("id"));
    assert_eq!(answer(caller.request(Method::DELETE, &path)).await.0, StatusCode::NO_CONTENT);
    assert_eq!(answer(caller.request(Method::DELETE, &path)).await.0, StatusCode::NOT_FOUND);
    let (_, page) = caller.get("/lists/blocked/entries?value=DE89370400440532013000").await;
    assert!(page["items"][0]["closed_by"].is_string(), "{page}");
    let at_ms = page["items"][0]["valid_to_ms"].as_u64().expect("an end");
    let (_, now) = caller.get(&format!("/lists/blocked/entries?at_ms={at_ms}")).await;
    assert_eq!(now["items"], json!([]));
    assert_eq!(caller.get("/lists/nowhere/entries").await.0, StatusCode::NOT_FOUND);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_is_taken_in_with_the_digest_it_promises_and_handed_out_unchanged() {
    let database = TestDatabase::create().await;
    let node = Node::start(&database).await;
    let caller = Caller::of_new_tenant(&node, "acme").await;
    let digest = caller.plugin("account-check").await;
    let path = format!("/plugins/{digest}/wasm");
    let response = caller.request(Method::GET, &path).send().await.expect("an answer");
    let promised = response.headers()["repr-digest"].to_str().expect("text").to_owned();
    let bytes = response.bytes().await.expect("bytes").to_vec();
    assert!(shipped_plugins().exists() && bytes.starts_with(b"\0asm"));

    let upload = |header: &'static str, digest: String, body: Vec<u8>| {
        let request = caller.request(Method::POST, "/plugins").header("Content-Type", "application/wasm");
        answer(request.header(header, digest).body(body))
    };
    let (status, plugin) = upload("Repr-Digest", promised.clone(), bytes.clone()).await;
    assert_eq!((status, &plugin["digest"]), (StatusCode::CREATED, &json!(digest)), "{plugin}");
    assert!(plugin["settings_schema"].is_object(), "{plugin}");
    let wrong = format!("sha-256=:{}:", STANDARD.encode([0; 32]));
    let (status, problem) = upload("Content-Digest", wrong, bytes).await;
    assert_eq!((status, &problem["type"]), (StatusCode::BAD_REQUEST, &json!("/problems/digest-mismatch")));
    let (status, problem) = upload("Accept", "*/*".to_owned(), b"no component".to_vec()).await;
    assert_eq!(
        (status, &problem["type"]),
        (StatusCode::UNPROCESSABLE_ENTITY, &json!("/problems/plugin-refused"))
    );
    let (status, _) = answer(caller.request(Method::POST, "/plugins").json(&json!({}))).await;
    assert_eq!(status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_token_endpoint_speaks_oauth_and_tells_nothing_of_clients() {
    let database = TestDatabase::create().await;
    let node = Node::start(&database).await;
    let caller = Caller::of_new_tenant(&node, "acme").await;
    let http = reqwest::Client::new();
    let token = |id: String, secret: &'static str, form: Vec<(&'static str, &'static str)>| {
        let request = http.post(format!("{}/oauth/token", node.url)).basic_auth(id, Some(secret));
        answer(request.form(&form))
    };
    let grant = vec![("grant_type", "client_credentials")];
    let known = token(caller.client_id.clone(), "wrong", grant.clone()).await;
    let unknown = token("0198c0de-0000-7000-8000-000000000000".to_owned(), "wrong", grant).await;
    assert_eq!((known.0, &known.1["error"]), (StatusCode::UNAUTHORIZED, &json!("invalid_client")));
    assert_eq!(known, unknown);
    let (status, error) = token(caller.client_id.clone(), "x", vec![("grant_type", "password")]).await;
    assert_eq!((status, &error["error"]), (StatusCode::BAD_REQUEST, &json!("unsupported_grant_type")));

    let form = [
        ("grant_type", "client_credentials"),
        ("client_id", &caller.client_id),
        ("client_secret", &caller.client_secret),
        ("scope", "lists:read"),
    ];
    let (status, given) = answer(http.post(format!("{}/oauth/token", node.url)).form(&form)).await;
    assert_eq!((status, &given["scope"]), (StatusCode::OK, &json!("lists:read")), "{given}");
    let (_, keys) = answer(http.get(format!("{}/.well-known/jwks.json", node.url))).await;
    assert_eq!(keys["keys"][0]["alg"], "EdDSA");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn operations_pages_and_wrong_paths_answer_without_a_token() {
    let database = TestDatabase::create().await;
    let node = Node::start(&database).await;
    let caller = Caller::of_new_tenant(&node, "acme").await;
    caller.pay("a-key-of-mine", &payment()).await;
    let http = reqwest::Client::new();
    let open = |method: Method, path: &str| answer(http.request(method, format!("{}{path}", node.url)));
    for path in ["/health", "/ready", "/docs/", "/docs/index.html", "/admin", "/api/v1/openapi.json"] {
        assert_eq!(open(Method::GET, path).await.0, StatusCode::OK, "{path}");
    }
    let (_, page) = open(Method::GET, "/docs/swagger-initializer.js").await;
    assert!(page.as_str().expect("text").contains("/api/v1/openapi.json"), "{page}");
    let (_, metrics) = open(Method::GET, "/metrics").await;
    let metrics = metrics.as_str().expect("text");
    assert!(metrics.contains("route=\"/api/v1/payments\""), "{metrics}");
    assert!(!metrics.contains("a-key-of-mine") && !metrics.contains("order-1"), "{metrics}");

    assert_eq!(open(Method::GET, "/api/v1/payments").await.0, StatusCode::UNAUTHORIZED);
    assert_eq!(open(Method::PUT, "/api/v1/payments").await.0, StatusCode::METHOD_NOT_ALLOWED);
    let (status, problem) = open(Method::GET, "/nowhere").await;
    assert_eq!((status, &problem["type"]), (StatusCode::NOT_FOUND, &json!("/problems/not-found")));
    node.stop().await;
}
