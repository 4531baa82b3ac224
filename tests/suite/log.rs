//! The log: one line per request, without data of its body.

use std::collections::BTreeMap;

use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};

use crate::support::database::TestDatabase;
use crate::support::program::{Program, tollgate_on};
use crate::support::service::{Caller, ROOT_SECRET, payment};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

/// None of these may appear in a log.
const PRIVATE: [&str; 15] = [
    "Zebulon",
    "Quixote",
    "DE02120300000000202051",
    "FR1420041010050500013M02606",
    "4111111111111111",
    "4111 1111 1111 1111",
    "fp_distinctive_7788",
    "distinctive-customer",
    "distinctive-reference",
    "distinctive-key",
    "203.0.113.77",
    "distinctive-metadata",
    "distinctive-entry",
    "distinctive-path",
    "hush-hush",
];

fn private_payment() -> Value {
    let mut body = payment();
    body["reference"] = json!("distinctive-reference");
    body["method"] = json!("card");
    body["debtor"] = json!({"name": "Zebulon Quixote", "account": {"iban": "DE02120300000000202051"}});
    body["creditor"] = json!({"name": "Quixote Ltd", "account": {"iban": "FR1420041010050500013M02606"}});
    body["customer"] = json!("distinctive-customer");
    body["card"] = json!({"fingerprint": "fp_distinctive_7788"});
    body["ip"] = json!("203.0.113.77");
    body["metadata"] = json!({"note": "distinctive-metadata"});
    body
}

/// Requests of all kinds with their expected status. Each has a different request id.
async fn send_all_requests(caller: &Caller) -> BTreeMap<String, u16> {
    let pay = |key: &str| caller.request(Method::POST, "/payments").header("Idempotency-Key", key);
    let private = private_payment();
    let mut changed = private.clone();
    changed["amount_minor"] = json!(77);
    let mut wrong = private.clone();
    wrong["card"] = json!({"fingerprint": "4111 1111 1111 1111", "pan": "4111111111111111"});
    wrong["debtor"]["account"] = json!({"iban": "4111111111111111"});
    wrong["Zebulon Quixote"] = json!("4111111111111111");
    let text = private.to_string();
    let raw = |key: &str, body: Vec<u8>| pay(key).header("Content-Type", "application/json").body(body);
    let stranger = |token: &str| {
        let request = reqwest::Client::new().get(format!("{}/api/v1/payments", caller.url));
        request.header("Authorization", token)
    };
    let sign_in = |id: &str, secret: &str| {
        let request = reqwest::Client::new().post(format!("{}/oauth/token", caller.url));
        request.basic_auth(id, Some(secret)).form(&[("grant_type", "client_credentials")])
    };
    let requests: Vec<(RequestBuilder, u16)> = vec![
        (pay("distinctive-key").json(&private), 201),
        (pay("distinctive-key").json(&private), 200),
        (pay("distinctive-key").json(&changed), 422),
        (pay("distinctive-key-2").json(&wrong), 422),
        (raw("distinctive-key-3", text.as_bytes()[..text.len() - 5].to_vec()), 400),
        (raw("distinctive-key-3", [text.as_bytes(), b"\xff Zebulon"].concat()), 400),
        (raw("distinctive-key-3", format!("[{text}]").into_bytes()), 422),
        (pay("distinctive key 4").json(&private), 400),
        (caller.request(Method::POST, "/payments").json(&private), 400),
        (
            pay("distinctive-key-5").header("Content-Type", "text/distinctive-metadata").body(text.clone()),
            415,
        ),
        (
            caller.request(
                Method::GET,
                "/payments?customer=distinctive-customer&account=DE02120300000000202051",
            ),
            200,
        ),
        (caller.request(Method::GET, "/payments?distinctive-customer=4111111111111111"), 400),
        (caller.request(Method::GET, "/payments?idempotency_key=distinctive-key"), 200),
        (caller.request(Method::GET, "/payments/distinctive-path"), 404),
        (caller.request(Method::GET, "/distinctive-path/4111111111111111"), 404),
        (caller.request(Method::DELETE, "/payments/distinctive-path"), 405),
        (stranger("Bearer hush-hush"), 401),
        (stranger("Basic hush-hush"), 401),
        (sign_in(&caller.client_id, "hush-hush"), 401),
        (sign_in("hush-hush", "hush-hush"), 401),
        (sign_in(&caller.client_id, &caller.client_secret), 200),
        (
            caller
                .request(Method::POST, "/lists")
                .json(&json!({"name": "watched", "kind": "name", "description": "Quixote"})),
            201,
        ),
        (
            caller
                .request(Method::POST, "/lists/watched/entries")
                .json(&json!({"value": "Zebulon Quixote", "reason": "distinctive-entry"})),
            201,
        ),
        (caller.request(Method::PUT, "/payments").body("Zebulon"), 405),
    ];
    let mut expected = BTreeMap::new();
    for (place, (request, status)) in requests.into_iter().enumerate() {
        let id = format!("request-{place:03}");
        let request = request.header("X-Request-Id", &id);
        let response = request
            .header("traceparent", format!("00-{TRACE}-00f067aa0ba902b7-01"))
            .header("User-Agent", "Zebulon/1.0")
            .send()
            .await
            .unwrap();
        assert_eq!(response.headers()["X-Request-Id"], id.as_str());
        assert_eq!(response.status().as_u16(), status, "{id}: {}", response.text().await.unwrap());
        expected.insert(id, status);
    }
    expected
}

fn assert_private(program: &Program, caller: &Caller) {
    let log = program.log();
    let token = caller.request(Method::GET, "/payments").build().unwrap().headers()["Authorization"]
        .to_str()
        .unwrap()
        .trim_start_matches("Bearer ")
        .to_owned();
    for private in PRIVATE.into_iter().chain([caller.client_secret.as_str(), ROOT_SECRET, &token]) {
        let found: Vec<&str> = log.lines().filter(|line| line.contains(private)).collect();
        assert!(found.is_empty(), "{private} is in the log:\n{}", found.join("\n"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_has_no_payment_data_tokens_or_secrets() {
    let database = TestDatabase::create().await;
    let mut program = Program::serve(&database).await;
    let caller = program.caller_of_new_tenant(&database, "acme").await;
    let expected = send_all_requests(&caller).await;
    program.signal(rustix::process::Signal::TERM);
    assert!(program.wait().await.success());
    assert_private(&program, &caller);
    let log = program.log();
    assert!(!log.contains('\u{1b}'), "escapes in a log that is no terminal");
    for id in expected.keys() {
        let reported = log.lines().filter(|line| line.contains("answered") && line.contains(id)).count();
        assert_eq!(reported, 1, "{id}:\n{log}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn in_the_release_profile_every_line_is_json() {
    let database = TestDatabase::create().await;
    let mut command = tollgate_on(&database, &["serve"]);
    command.env("ROCKET_PROFILE", "release").env("ROCKET_ADDRESS", "127.0.0.1");
    let mut program = Program::start(command).await;
    let caller = program.caller_of_new_tenant(&database, "acme").await;
    let expected = send_all_requests(&caller).await;
    let fresh = caller.get("/payments").await;
    assert_eq!(fresh.0, StatusCode::OK);
    program.signal(rustix::process::Signal::TERM);
    assert!(program.wait().await.success());
    assert_private(&program, &caller);

    let tenant: String = sqlx::query_scalar("select id::text from tenants")
        .fetch_one(&mut database.superuser().await)
        .await
        .unwrap();
    let mut reported = BTreeMap::new();
    let mut traces = BTreeMap::new();
    for line in program.lines().iter() {
        let line: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        assert!(line["timestamp"].is_string() && line["level"].is_string(), "{line}");
        if line["message"] != "answered" {
            continue;
        }
        for (name, is_there) in [
            ("method", line["method"].is_string()),
            ("route", line["route"].is_string()),
            ("status", line["status"].is_u64()),
            ("latency_us", line["latency_us"].is_u64()),
            ("request_id", line["request_id"].is_string()),
            ("trace_id", line["trace_id"].as_str().is_some_and(|id| id.len() == 32)),
        ] {
            assert!(is_there, "{name}: {line}");
        }
        let id = line["request_id"].as_str().unwrap().to_owned();
        let status = u16::try_from(line["status"].as_u64().unwrap()).unwrap();
        if line["route"].as_str().unwrap().starts_with("/api/v1/") && status != 401 {
            assert!(line["tenant"] == tenant.as_str() || status == 405, "{line}");
        }
        traces.insert(id.clone(), line["trace_id"].as_str().unwrap().to_owned());
        assert!(reported.insert(id, (status, line)).is_none(), "logged twice");
    }
    for (id, status) in expected {
        assert_eq!(reported.get(&id).unwrap_or_else(|| panic!("{id} is not logged")).0, status);
        assert_eq!(traces[&id], TRACE);
    }
    assert_eq!(reported["request-000"].1["route"], "/api/v1/payments");
    assert_eq!(reported["request-013"].1["route"], "/api/v1/payments/<id>");
    assert!(traces.values().any(|trace| trace != TRACE), "others have their own");
}
