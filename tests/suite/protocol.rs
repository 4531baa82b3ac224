//! HTTP: conditional requests, content codings, methods, and the issuer of tokens.

use std::io::Write;
use std::process::Stdio;

use reqwest::{Client, Method, RequestBuilder};
use serde_json::{Value, json};

use crate::support::database::TestDatabase;
use crate::support::people::{create_user, sign_in};
use crate::support::program::{Program, run_command, tollgate, tollgate_on};
use crate::support::service::{Caller, FullResponse, Node, payment};

const ACTIVATIONS: &str = "/rulesets/payment/activations";

#[tokio::test(flavor = "multi_thread")]
async fn every_resource_with_a_tag_supports_if_none_match() {
    let database = TestDatabase::create().await;
    let node = Node::start(&database).await;
    let caller = Caller::of_new_tenant(&node, "acme").await;
    caller.activate(&[("account-check", json!({}))]).await;
    for path in ["/rulesets/payment/revisions/1", "/openapi.json"] {
        let get = |condition: &str| caller.request(Method::GET, path).header("If-None-Match", condition);
        let tag = FullResponse::of(caller.request(Method::GET, path)).await.header("ETag").to_owned();
        let in_two_lines = get("\"other\"").header("If-None-Match", &tag);
        assert_eq!(FullResponse::of(in_two_lines).await.status, 400, "{path}");
        for (condition, known) in [
            (tag.clone(), true),
            (format!("W/{tag}"), true),
            (format!("\"other\", {tag}"), true),
            ("*".to_owned(), true),
            ("\"other\"".to_owned(), false),
            // A malformed condition.
            ("other".to_owned(), false),
        ] {
            let response = FullResponse::of(get(&condition)).await;
            let expected = if known { (304, true) } else { (200, false) };
            assert_eq!((response.status, response.text.is_empty()), expected, "{path} {condition}");
            assert_eq!(response.header("ETag"), tag, "{path} {condition}");
        }
    }
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn different_responses_have_different_tags_and_the_deployment_is_always_sent() {
    let database = TestDatabase::create().await;
    let node = Node::start(&database).await;
    let mut tags = Vec::new();
    for tenant in ["acme", "other"] {
        let caller = Caller::of_new_tenant(&node, tenant).await;
        let rules = json!([{"name": "r", "plugin": caller.plugin("account-check").await, "settings": {}}]);
        let body = json!({"note": tenant, "rules": rules});
        let made =
            FullResponse::of(caller.request(Method::POST, "/rulesets/payment/revisions").json(&body)).await;
        let shown = FullResponse::of(caller.request(Method::GET, "/rulesets/payment/revisions/1")).await;
        assert_eq!(shown.header("ETag"), made.header("ETag"));
        tags.push(shown.header("ETag").to_owned());
        caller.post(ACTIVATIONS, &json!({"revision": 1})).await;
        // A quarantine does not change this tag.
        let active = || caller.request(Method::GET, "/rulesets/payment");
        let tag = FullResponse::of(active()).await.header("ETag").to_owned();
        let again = FullResponse::of(active().header("If-None-Match", &tag)).await;
        assert_eq!((again.status, again.header("ETag")), (200, tag.as_str()));
    }
    assert_ne!(tags[0], tags[1], "the same rules, made by others and with another note");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_with_if_match_needs_the_tag_of_the_deployment() {
    let database = TestDatabase::create().await;
    let node = Node::start(&database).await;
    let caller = Caller::of_new_tenant(&node, "acme").await;
    caller.activate(&[("account-check", json!({}))]).await;
    let tag = || async {
        FullResponse::of(caller.request(Method::GET, "/rulesets/payment")).await.header("ETag").to_owned()
    };
    let change = |lines: Vec<String>| {
        let request = caller.request(Method::POST, ACTIVATIONS).json(&json!({"revision": 1}));
        lines.into_iter().fold(request, |request, line| request.header("If-Match", line))
    };
    for (lines, status) in [
        (vec!["*"], 201),
        (vec!["TAG"], 201),
        (vec!["\"none\", TAG"], 201),
        (vec!["\"none\"", "TAG"], 400),
        (vec!["\"none\""], 412),
        (vec!["\"of-another-resource\""], 412),
        // A weak tag never matches for a change.
        (vec!["W/TAG"], 412),
        // The same number in another notation is another tag.
        (vec!["\"+NUMBER\""], 412),
        (vec!["\"00NUMBER\""], 412),
        (vec!["none"], 400),
        (vec!["TAG *"], 400),
    ] {
        let tag = tag().await;
        let number = tag.trim_matches('"');
        let sent = lines.iter().map(|line| line.replace("TAG", &tag).replace("NUMBER", number)).collect();
        let response = FullResponse::of(change(sent)).await;
        assert_eq!(response.status, status, "{lines:?}: {}", response.text);
    }
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_with_if_none_match_of_the_deployment_is_refused() {
    let database = TestDatabase::create().await;
    let node = Node::start(&database).await;
    let caller = Caller::of_new_tenant(&node, "acme").await;
    let first = caller.activate(&[("account-check", json!({}))]).await;
    let second = caller.activate(&[("account-check", json!({"iban_unregistered": "reject"}))]).await;
    let (revision, canary) = (json!({"revision": first}), json!({"revision": first, "share_percent": 50}));
    let routes = [
        (Method::PUT, "canary", Some(&canary), 200),
        (Method::DELETE, "canary", None, 200),
        (Method::PUT, "shadow", Some(&revision), 200),
        (Method::DELETE, "shadow", None, 200),
        (Method::POST, "activations", Some(&revision), 201),
        (Method::POST, "rollback", None, 201),
    ];
    for (method, route, body, made) in routes {
        let path = format!("/rulesets/payment/{route}");
        for (conditions, status) in [
            (vec![("If-None-Match", "*")], 412),
            (vec![("If-None-Match", "TAG")], 412),
            (vec![("If-None-Match", "\"none\", TAG")], 412),
            // `If-None-Match` uses the weak comparison (RFC 9110).
            (vec![("If-None-Match", "W/TAG")], 412),
            (vec![("If-Match", "TAG"), ("If-None-Match", "TAG")], 412),
            (vec![("If-Match", "\"none\""), ("If-None-Match", "\"none\"")], 412),
            (vec![("If-None-Match", "none")], 400),
            (vec![("If-Match", "TAG"), ("If-None-Match", "\"none\"")], made),
        ] {
            let tag = FullResponse::of(caller.request(Method::GET, "/rulesets/payment")).await;
            let request = caller.request(method.clone(), &path);
            let request = conditions.iter().fold(request, |request, (name, value)| {
                request.header(*name, value.replace("TAG", tag.header("ETag")))
            });
            let request = body.into_iter().fold(request, RequestBuilder::json);
            let response = FullResponse::of(request).await;
            assert_eq!(response.status, status, "{method} {path} {conditions:?}: {}", response.text);
        }
    }
    assert_eq!(second, caller.get("/rulesets/payment").await.1["activation"]["revision"]);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_compressed_body_is_refused_on_every_route_with_a_body() {
    let database = TestDatabase::create().await;
    let node = Node::start(&database).await;
    let caller = Caller::of_new_tenant(&node, "acme").await;
    create_user(&caller, "ann@example.com", &["admin"]).await;
    let ann = sign_in(&node, "acme", "ann@example.com").await;
    let document = caller.get("/openapi.json").await.1;
    let mut tried = 0;
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let Some(content) = operation["requestBody"]["content"].as_object() else { continue };
            let method = Method::from_bytes(method.to_uppercase().as_bytes()).unwrap();
            let path = path.replace("{point}", "payment").replace("{name}", "a").replace("{id}", "b");
            let request = || {
                let request = Client::new().request(method.clone(), format!("{}{path}", node.url));
                let is_of_people = ["me", "proposals", "reviews"]
                    .iter()
                    .any(|of| path.starts_with(&format!("/api/v1/{of}/")));
                let token = if is_of_people { ann.access_token() } else { caller.token() };
                request.bearer_auth(token).header("Idempotency-Key", "k").body("never read")
            };
            let typed =
                |request: RequestBuilder| request.header("Content-Type", content.keys().next().unwrap());
            for coding in ["gzip", "br", "GZIP", "identity, gzip"] {
                let refused = FullResponse::of(typed(request()).header("Content-Encoding", coding)).await;
                assert_eq!(refused.status, 415, "{method} {path} {coding}: {}", refused.text);
                assert_eq!(refused.header("Accept-Encoding"), "identity", "{method} {path} {coding}");
                assert_eq!(refused.json()["type"], "/problems/unsupported-media-type");
            }
            let taken = FullResponse::of(typed(request()).header("Content-Encoding", "identity")).await;
            assert_ne!(taken.status, 415, "{method} {path}: {}", taken.text);
            tried += 1;
        }
    }
    assert!(tried >= 12, "{tried}");
    let pay = caller.request(Method::POST, "/payments").header("Idempotency-Key", "plain");
    assert_eq!(FullResponse::of(pay.header("Content-Encoding", "").json(&payment())).await.status, 201);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_last_event_id_starts_the_feed_now() {
    let database = TestDatabase::create().await;
    let node = Node::start(&database).await;
    let caller = Caller::of_new_tenant(&node, "acme").await;
    for (id, status) in [("", 200), ("x", 400)] {
        let follow = caller.request(Method::GET, "/events").header("Last-Event-ID", id);
        assert_eq!(follow.send().await.unwrap().status(), status, "{id:?}");
    }
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_configured_issuer_a_node_uses_its_address() {
    let database = TestDatabase::create().await;
    for name in [None, Some("https://tollgate.example/")] {
        let mut command = tollgate_on(&database, &["serve"]);
        command.env_remove("ROCKET_TOLLGATE_ISSUER");
        if let Some(name) = name {
            command.env("ROCKET_TOLLGATE_ISSUER", name);
        }
        let program = Program::start(command).await;
        let url = format!("{}/.well-known/oauth-authorization-server", program.url);
        let metadata: Value = reqwest::get(url).await.unwrap().json().await.unwrap();
        let issuer = name.unwrap_or(&program.url);
        assert_eq!(metadata["issuer"], issuer);
        let at = issuer.trim_end_matches('/');
        assert_eq!(metadata["token_endpoint"], format!("{at}/oauth/token"));
        assert_eq!(metadata["response_types_supported"], json!([]));
        // The program accepts the tokens that it issues.
        let tenant = if name.is_some() { "told" } else { "derived" };
        let caller = program.caller_of_new_tenant(&database, tenant).await;
        assert_eq!(caller.get("/payments").await.0, 200);
        program.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_byte_order_mark_at_the_start_of_an_import_is_skipped() {
    let database = TestDatabase::create().await;
    assert!(run_command(tollgate_on(&database, &["tenant", "create", "acme"])).0.success());
    let (_, lines, _) = run_command(tollgate(&["demo", "--history", "3"]));
    let folder = tempfile::tempdir().unwrap();
    let history = folder.path().join("history.jsonl");
    std::fs::write(&history, format!("\u{feff}{lines}")).unwrap();
    let import = |more: &[&str]| tollgate_on(&database, &[&["import", "--tenant", "acme"], more].concat());
    let path = history.to_str().unwrap();
    let (status, output, log) = run_command(import(&["--strict", path]));
    assert!(status.success() && output.contains("3 stored"), "{output}\n{log}");
    let mut piped = import(&["-"]);
    let mut child = piped.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(format!("\u{feff}{lines}").as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(String::from_utf8(output.stdout).unwrap().contains("3 already stored, 0 refused"));
}
