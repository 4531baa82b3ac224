//! Plugins over HTTP: uploads, visibility and refusals.

use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tollgate::domain::plugin::Digest;

use crate::support::components::{component, component_of};
use crate::support::database::TestDatabase;
use crate::support::program::TEST_TIMEOUT;
use crate::support::service::{Caller, FullResponse, Node};

/// A `Content-Digest` (RFC 9530).
fn digest_header(bytes: &[u8]) -> String {
    format!("sha-256=:{}:", STANDARD.encode(Digest::of(bytes).0))
}

async fn post(caller: &Caller, content_type: &str, headers: &[(&str, &str)], bytes: Vec<u8>) -> FullResponse {
    let mut request = caller.request(Method::POST, "/plugins").header("Content-Type", content_type);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    FullResponse::of(request.body(bytes)).await
}

async fn names(caller: &Caller) -> Vec<String> {
    let (_, page) = caller.get("/plugins").await;
    page["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|plugin| plugin["name"].as_str().unwrap_or_default().to_owned())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_uploaded_plugin_belongs_to_its_tenant_and_can_be_downloaded_unchanged() {
    let database = TestDatabase::create().await;
    let node = Node::start(&database).await;
    let caller = Caller::of_new_tenant(&node, "acme").await;
    let stranger = Caller::of_new_tenant(&node, "other").await;
    let bytes = component("good");
    let digest = Digest::of(&bytes).to_string();
    let path = format!("/plugins/{digest}");

    let made =
        post(&caller, "application/wasm", &[("Content-Digest", &digest_header(&bytes))], bytes.clone()).await;
    assert_eq!(made.status, 202, "{}", made.text);
    assert_eq!(made.header("Location"), format!("/api/v1{path}"));
    assert_eq!(made.json()["size_bytes"], json!(bytes.len()), "{}", made.text);
    let plugin = caller.wait_for_plugin(&digest).await;
    for (member, expected) in [
        ("digest", json!(digest)),
        ("state", json!("ready")),
        ("uploaded_by", json!(format!("client:{}", caller.client_id))),
        ("imports", json!(["tollgate:rules/types@1.0.0"])),
        ("shared", json!(false)),
        ("used_in", json!([])),
        ("size_bytes", json!(bytes.len())),
        ("contract", json!("1.0.0")),
        ("profile", json!("small")),
        ("name", json!("hostile")),
        ("version", json!("1.0.0")),
        ("summary", json!("Means harm.")),
        ("settings_schema", json!({})),
    ] {
        assert_eq!(plugin[member], expected, "{member}: {plugin}");
    }
    assert_eq!(plugin["nodes"].as_array().map(Vec::len), Some(1), "{plugin}");
    assert_eq!(plugin["nodes"][0]["ready"], json!(true), "{plugin}");
    let (_, page) = caller.get("/plugins").await;
    let listed = page["items"].as_array().unwrap().iter().find(|item| item["digest"] == digest.as_str());
    let mut without_nodes = plugin.clone();
    without_nodes.as_object_mut().unwrap().remove("nodes");
    assert_eq!(listed, Some(&without_nodes));
    let shared = caller.plugin("velocity").await;
    let (_, shared) = caller.get(&format!("/plugins/{shared}")).await;
    assert_eq!((&shared["state"], &shared["shared"]), (&json!("ready"), &json!(true)), "{shared}");
    assert_eq!(shared.get("uploaded_by"), None, "{shared}");
    assert_eq!(shared["imports"], json!(["tollgate:rules/types@1.1.0"]), "{shared}");
    let shipped = 9;
    assert_eq!(names(&caller).await.len(), shipped + 1);

    let again = post(&caller, "application/wasm", &[], bytes.clone()).await;
    assert_eq!(
        (again.status, &again.json()["digest"], &again.json()["uploaded_at_ms"]),
        (202, &plugin["digest"], &plugin["uploaded_at_ms"]),
        "the same bytes are one plugin"
    );
    assert_eq!(names(&caller).await.len(), shipped + 1);

    let download = caller.request(Method::GET, &format!("{path}/wasm")).send().await.unwrap();
    assert_eq!(download.headers()["Content-Type"], "application/wasm");
    assert_eq!(download.headers()["Repr-Digest"], digest_header(&bytes).as_str());
    assert!(download.bytes().await.unwrap() == bytes);

    assert_eq!(names(&stranger).await.len(), shipped);
    for path in [
        path.clone(),
        format!("{path}/wasm"),
        "/plugins/x".to_owned(),
        format!("/plugins/{}", digest.to_uppercase()),
    ] {
        let (status, problem) = stranger.get(&path).await;
        assert_eq!(
            (status, &problem["type"]),
            (StatusCode::NOT_FOUND, &json!("/problems/not-found")),
            "{path}"
        );
    }
    let rules = json!({"rules": [{"name": "theirs", "plugin": digest, "settings": {}}]});
    let (status, problem) = stranger.post("/rulesets/payment/revisions", &rules).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{problem}");
    assert_eq!(problem["errors"][0]["pointer"], "/rules/0/plugin", "{problem}");
    // Another tenant that has the bytes may upload the same plugin.
    let (status, same) = stranger.submit_plugin(bytes).await;
    assert_eq!(
        (status, &same["state"]),
        (StatusCode::ACCEPTED, &json!("waiting")),
        "the response does not reveal that another tenant has the plugin"
    );
    assert_eq!(stranger.wait_for_plugin(&digest).await["state"], "ready");
    assert_eq!(stranger.get(&path).await.0, StatusCode::OK);
    let stored: i64 = sqlx::query_scalar("select count(*) from plugins where not shared")
        .fetch_one(&mut database.superuser().await)
        .await
        .unwrap();
    assert_eq!(stored, 1);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_not_a_valid_plugin_is_refused_with_a_helpful_reason() {
    let database = TestDatabase::create().await;
    let limit_bytes = 20_000;
    let settings = [("plugin_size_max_bytes", json!(limit_bytes))];
    let node = Node::start_with(&database, &settings).await;
    let caller = Caller::of_new_tenant(&node, "acme").await;
    let good = component("good");
    let other = digest_header(b"other bytes");
    let wasm = "application/wasm";
    let import = wat::parse_file("tests/hostile/forbidden_import.wat").unwrap();
    let core = wat::parse_file("tests/hostile/core_module.wat").unwrap();
    type Headers<'a> = &'a [(&'a str, &'a str)];
    type Refusal<'a> = (&'a str, &'a str, Headers<'a>, Vec<u8>, u16, &'a str, &'a str);
    let empty = "(component (instance $rule) (export \"tollgate:rules/rule@1.0.0\" (instance $rule)))";
    let older = empty.replace("@1.0.0", "@0.9.0");
    let table: [Refusal; 14] = [
        (
            "other bytes than promised",
            wasm,
            &[("Content-Digest", &other)],
            good.clone(),
            400,
            "digest-mismatch",
            "",
        ),
        (
            "the same, as Repr-Digest",
            wasm,
            &[("Repr-Digest", &other)],
            good.clone(),
            400,
            "digest-mismatch",
            "",
        ),
        (
            "two promises",
            wasm,
            &[("Content-Digest", &other), ("Repr-Digest", &digest_header(&good))],
            good.clone(),
            400,
            "malformed-request",
            "",
        ),
        (
            "no digest at all",
            wasm,
            &[("Content-Digest", "sha-256=nonsense")],
            good.clone(),
            400,
            "malformed-request",
            "sha-256=:",
        ),
        ("too many bytes", wasm, &[], vec![0; limit_bytes + 1], 413, "body-too-large", "20000"),
        ("another type", "application/octet-stream", &[], good.clone(), 415, "unsupported-media-type", wasm),
        (
            "no WebAssembly",
            wasm,
            &[],
            b"#!/bin/sh".to_vec(),
            422,
            "plugin-refused",
            "not a WebAssembly binary",
        ),
        ("nothing", wasm, &[], Vec::new(), 422, "plugin-refused", "not a WebAssembly binary"),
        ("a core module", wasm, &[], core, 422, "plugin-refused", "tollgate plugin build"),
        ("an import", wasm, &[], import, 422, "plugin-refused", "wasi:clocks/wall-clock@0.2.0"),
        (
            "no functions",
            wasm,
            &[],
            wat::parse_str(empty).unwrap(),
            422,
            "plugin-refused",
            "without the functions describe, prepare, evaluate",
        ),
        (
            "another version",
            wasm,
            &[],
            wat::parse_str(older).unwrap(),
            422,
            "plugin-refused",
            "exports tollgate:rules/rule@0.9.0",
        ),
        ("cut off", wasm, &[], good[..good.len() / 2].to_vec(), 422, "plugin-refused", "damaged"),
        (
            "another contract",
            wasm,
            &[],
            wat::parse_str("(component)").unwrap(),
            422,
            "plugin-refused",
            "contract",
        ),
    ];
    for (what, content_type, headers, bytes, status, slug, words) in table {
        let response = post(&caller, content_type, headers, bytes).await;
        assert_eq!(response.status, status, "{what}: {}", response.text);
        let problem = response.json();
        assert_eq!(problem["type"], format!("/problems/{slug}"), "{what}");
        assert!(problem["detail"].as_str().unwrap().contains(words), "{what}: {problem}");
    }
    assert_eq!(names(&caller).await.len(), 9, "no further plugin is accepted");
    caller.upload(good).await;
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_in_the_folder_is_shared_with_all_tenants_and_a_bad_file_is_skipped() {
    let database = TestDatabase::create().await;
    let folder = tempfile::tempdir().unwrap();
    let node = Node::start_with(&database, &[("plugins_dir", json!(folder.path()))]).await;
    let first = Caller::of_new_tenant(&node, "first").await;
    let second = Caller::of_new_tenant(&node, "second").await;
    assert!(names(&first).await.is_empty());

    std::fs::write(folder.path().join("a-bad-one.wasm"), b"no plugin").unwrap();
    std::fs::write(folder.path().join("notes.txt"), component("good")).unwrap();
    std::fs::create_dir(folder.path().join("below")).unwrap();
    std::fs::write(folder.path().join("below/good.wasm"), component("good")).unwrap();
    let appeared = async |wanted: usize| {
        let begun = Instant::now();
        while names(&second).await.len() < wanted {
            assert!(begun.elapsed() < TEST_TIMEOUT, "it does not appear");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    appeared(1).await;
    assert_eq!(names(&first).await, ["hostile"]);
    // A new version with the same name is another plugin. The old one stays.
    let text = std::fs::read_to_string("tests/hostile/good.wat").unwrap();
    let newer = component_of(&text.replace("\"1.0.0\"", "\"1.0.1\""));
    std::fs::write(folder.path().join("below/good.wasm"), newer).unwrap();
    appeared(2).await;
    let (_, page) = first.get("/plugins").await;
    let versions: Vec<&Value> =
        page["items"].as_array().unwrap().iter().map(|plugin| &plugin["version"]).collect();
    assert_eq!(versions, ["1.0.0", "1.0.1"]);
    node.stop().await;
}
