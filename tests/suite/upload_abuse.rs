//! Uploads that could harm other tenants or reveal something about them.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use sqlx::PgConnection;
use tollgate::app::tenants::create_tenant;
use tollgate::domain::plugin::Digest;
use tollgate::domain::tenant::Scope;

use crate::support::components::{component, component_of, good_rule};
use crate::support::database::TestDatabase;
use crate::support::program::Program;
use crate::support::program::TEST_TIMEOUT;
use crate::support::service::{Caller, Node};

/// A valid plugin that the compiler refuses: it has an export with a zero byte in its name.
fn exporting_a_zero_byte() -> Vec<u8> {
    let wrong = wat::parse_str("(component (component $c) (export \"a\\00b\" (component $c)))").unwrap();
    let mut bytes = component("good");
    bytes.extend_from_slice(&wrong[8..]);
    bytes
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_that_quotes_a_zero_byte_is_reported() {
    let database = TestDatabase::create().await;
    let node = Node::start(&database).await;
    let caller = Caller::of_new_tenant(&node, "hostile").await;
    let (status, handed_in) = caller.submit_plugin(exporting_a_zero_byte()).await;
    assert_eq!(status, StatusCode::ACCEPTED, "{handed_in}");
    let settled = caller.wait_for_plugin(handed_in["digest"].as_str().unwrap()).await;
    assert_eq!(settled["state"], "refused", "{settled}");
    let why = settled["why"].as_str().unwrap();
    assert!(why.contains("does not compile") && !why.contains('\0'), "{settled}");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_does_not_reveal_that_another_tenant_has_the_same_bytes() {
    let database = TestDatabase::create().await;
    let node = Node::start(&database).await;
    let owner = Caller::of_new_tenant(&node, "owner").await;
    let curious = Caller::of_new_tenant(&node, "curious").await;
    let bytes = component_of(&good_rule("Not for all"));
    let plugin = owner.upload(bytes.clone()).await;
    let compiled_in = Duration::from_millis(700);
    sqlx::query("update plugins set compile_ms = 700 where encode(digest, 'hex') = $1")
        .bind(plugin["digest"].as_str().unwrap())
        .execute(&mut database.superuser().await)
        .await
        .unwrap();
    let begun = Instant::now();
    let (status, handed_in) = curious.submit_plugin(bytes).await;
    assert_eq!((status, &handed_in["state"]), (StatusCode::ACCEPTED, &json!("waiting")), "{handed_in}");
    assert_eq!(handed_in.get("name"), None, "{handed_in}");
    let settled = curious.wait_for_plugin(handed_in["digest"].as_str().unwrap()).await;
    assert_eq!(settled["state"], "ready", "{settled}");
    assert!(begun.elapsed() >= compiled_in, "it took {:?} only", begun.elapsed());
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn uploading_a_shared_plugin_does_not_use_the_quota() {
    let database = TestDatabase::create().await;
    let node = Node::start_with(&database, &[("tenant_plugins_max", json!(1))]).await;
    let caller = Caller::of_new_tenant(&node, "acme").await;
    let shared = caller.plugin("velocity").await;
    let bytes = caller.request(Method::GET, &format!("/plugins/{shared}/wasm")).send().await.unwrap();
    let (status, seen) = caller.submit_plugin(bytes.bytes().await.unwrap().to_vec()).await;
    assert_eq!(
        (status, &seen["state"], &seen["shared"]),
        (StatusCode::ACCEPTED, &json!("ready"), &json!(true))
    );
    assert_eq!(seen.get("uploaded_by"), None, "{seen}");
    // The quota of one plugin is still free: an upload of the tenant's own plugin is accepted.
    caller.upload(component("good")).await;
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn retiring_and_uploading_plugins_is_bounded() {
    let database = TestDatabase::create().await;
    let settings = [("tenant_plugins_max", json!(1)), ("tenant_plugins_stored_max", json!(2))];
    let node = Node::start_with(&database, &settings).await;
    let caller = Caller::of_new_tenant(&node, "hoarder").await;
    let bytes = |number: usize| component_of(&good_rule(&format!("Hoarded {number:03}")));
    let retire = async |plugin: &Value| {
        let path = format!("/plugins/{}/retire", plugin["digest"].as_str().unwrap());
        assert_eq!(caller.post(&path, &json!({})).await.0, StatusCode::OK);
    };
    for number in [1, 2] {
        retire(&caller.upload(bytes(number)).await).await;
    }
    let (status, problem) = caller.submit_plugin(bytes(3)).await;
    assert_eq!(
        (status, &problem["type"]),
        (StatusCode::TOO_MANY_REQUESTS, &json!("/problems/quota-exceeded")),
        "{problem}"
    );
    assert!(problem["detail"].as_str().unwrap().contains("counting retired ones"), "{problem}");
    assert_eq!(caller.upload(bytes(1)).await.get("retired_at_ms"), None, "what is stored may come back");
    node.stop().await;
}

/// Inserts uploads with increasing times in the past.
async fn insert_uploads(superuser: &mut PgConnection, count: i32, state: &str, failures: i32) {
    sqlx::query(
        "insert into plugin_uploads (tenant_id, digest, bytes, size_bytes, state, why, uploaded_by, uploaded_at_ms,
                                     finished_at_ms, failures)
         select id, sha256(number::text::bytea), case $2 when 'waiting' then number::text::bytea end, 1, $2,
                case $2 when 'refused' then 'because' end, 'client:x', number,
                case $2 when 'refused' then number end, $3
         from tenants, generate_series(1, $1) number",
    )
    .bind(count)
    .bind(state)
    .bind(failures)
    .execute(superuser)
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_newest_hundred_refused_uploads_are_kept() {
    let database = TestDatabase::create().await;
    let node = Node::start(&database).await;
    let caller = Caller::of_new_tenant(&node, "hostile").await;
    insert_uploads(&mut database.superuser().await, 120, "refused", 0).await;
    let (_, newest) = caller.submit_plugin(component("bad_description")).await;
    assert_eq!(caller.wait_for_plugin(newest["digest"].as_str().unwrap()).await["state"], "refused");
    let (_, page) = caller.get("/plugins").await;
    let refused: Vec<&Value> =
        page["items"].as_array().unwrap().iter().filter(|item| item["state"] == "refused").collect();
    assert_eq!(refused.len(), 100);
    assert!(refused.iter().any(|item| item["digest"] == newest["digest"]));
    let oldest = refused.iter().map(|item| item["uploaded_at_ms"].as_u64().unwrap()).min();
    assert_eq!(oldest, Some(22), "the oldest have gone");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_fails_for_the_machine_is_retried_with_backoff_and_then_refused() {
    let database = TestDatabase::create().await;
    // A compiler that ends without output.
    let folder = tempfile::tempdir().unwrap();
    let node = Node::start_with_compiler(&database, folder.path(), "/bin/false").await;
    let caller = Caller::of_new_tenant(&node, "acme").await;
    let bytes = component_of(&good_rule("No machine."));
    let digest = Digest::of(&bytes).to_string();
    assert_eq!(caller.submit_plugin(bytes).await.0, StatusCode::ACCEPTED);
    let mut superuser = database.superuser().await;
    let mut after_failures = async |wanted: i32| {
        let begun = Instant::now();
        loop {
            let (failures, attempts, pause_s): (i32, i32, f64) = sqlx::query_as(
                "select failures, attempts, coalesce(extract(epoch from claimed_until - now()), 0)::float8
                 from plugin_uploads where state = 'waiting'",
            )
            .fetch_optional(&mut superuser)
            .await
            .unwrap()
            .unwrap_or_default();
            if failures == wanted {
                sqlx::query("update plugin_uploads set failures = 9, claimed_until = now()")
                    .execute(&mut superuser)
                    .await
                    .unwrap();
                return (attempts, pause_s);
            }
            assert!(begun.elapsed() < TEST_TIMEOUT, "{failures} failures");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let (attempts, first_s) = after_failures(1).await;
    assert!(attempts == 0 && first_s < 5.1, "{attempts} {first_s}");
    let (_, tenth_s) = after_failures(10).await;
    assert!(tenth_s > 200.0, "{tenth_s}");
    sqlx::query("update plugin_uploads set failures = 10, claimed_until = now()")
        .execute(&mut superuser)
        .await
        .unwrap();
    let settled = caller.wait_for_plugin(&digest).await;
    assert_eq!(settled["state"], "refused", "{settled}");
    assert!(settled["why"].as_str().unwrap().contains("an internal error"), "{settled}");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_downloads_plugins_without_reading_uses_no_memory() {
    const SIZE: usize = 16 << 20;
    const READERS: usize = 24;
    let database = TestDatabase::create().await;
    let program = Program::serve(&database).await;
    let caller = program.caller_of_new_tenant(&database, "hostile").await;
    let mut bytes = component("good");
    // A custom section: its size, a name of one byte, and arbitrary bytes.
    bytes.push(0);
    let mut size = SIZE + 2;
    while size >= 0x80 {
        bytes.push((size & 0x7f) as u8 | 0x80);
        size >>= 7;
    }
    bytes.extend([size as u8, 1, b'x']);
    bytes.extend((0..SIZE).map(|place| (place % 251) as u8));
    let plugin = caller.upload(bytes.clone()).await;
    let path = format!("/plugins/{}/wasm", plugin["digest"].as_str().unwrap());
    let whole = caller.request(Method::GET, &path).send().await.unwrap();
    assert_eq!(whole.headers()["Content-Length"], bytes.len().to_string().as_str());
    assert!(whole.bytes().await.unwrap() == bytes, "part by part it is the same");

    let before_mib = resident_mib(&program);
    let mut unread = Vec::new();
    for _ in 0..READERS {
        unread.push(caller.request(Method::GET, &path).send().await.unwrap());
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let grown_mib = resident_mib(&program).saturating_sub(before_mib);
    assert!(grown_mib < 80, "{READERS} readers of {} MiB hold {grown_mib} MiB", SIZE >> 20);
    drop(unread);
    program.stop().await;
}

fn resident_mib(program: &Program) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{}/status", program.pid().as_raw_nonzero())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.split_whitespace().next().unwrap().parse::<usize>().unwrap() / 1024
}

#[tokio::test(flavor = "multi_thread")]
async fn every_operation_needs_exactly_the_documented_scope() {
    let database = TestDatabase::create().await;
    let node = Node::start(&database).await;
    create_tenant(&node.databases.system, "acme", "test").await.unwrap();
    let reader = Caller::of_tenant(&node, "acme", [Scope::AuditRead].into_iter().collect()).await;
    let (_, document) = reader.get("/openapi.json").await;
    let mut operations = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            // One of several sets of scopes is enough.
            let sets = operation["security"].as_array().into_iter().flatten();
            let sets = sets.filter_map(|set| set["oauth"].as_array());
            let scope = |name: &serde_json::Value| Scope::parse(name.as_str().unwrap()).unwrap();
            let needed: Vec<Vec<Scope>> = sets.map(|set| set.iter().map(scope).collect()).collect();
            // Whoever is signed in has these, only operators have the tenants, and only people approve
            // proposals and change reviews.
            let is_of_people =
                needed == [[Scope::ProposalsApprove]] || path.starts_with("/api/v1/reviews/{id}/");
            if needed.iter().all(Vec::is_empty) || path == "/api/v1/tenants" || is_of_people {
                continue;
            }
            let path = path.strip_prefix("/api/v1").unwrap().replace("{point}", "payment");
            operations.push((method.to_uppercase(), path.replace(['{', '}'], ""), needed));
        }
    }
    assert!(operations.len() > 30, "{operations:?}");
    let mut sets: BTreeSet<Vec<&str>> = Scope::ALL.into_iter().map(|scope| vec![scope.name()]).collect();
    let needed = operations.iter().flat_map(|(.., needed)| needed);
    sets.extend(needed.map(|set| set.iter().map(|scope| scope.name()).collect()));
    for names in sets {
        let scopes: Vec<Scope> = names.iter().map(|name| Scope::parse(name).unwrap()).collect();
        let caller = Caller::of_tenant(&node, "acme", scopes.iter().copied().collect()).await;
        for (method, path, needed) in &operations {
            let method = Method::from_bytes(method.as_bytes()).unwrap();
            let response = caller.request(method.clone(), path).send().await.unwrap();
            let let_in = response.status() != StatusCode::FORBIDDEN;
            let expected = needed.iter().any(|set| set.iter().all(|scope| scopes.contains(scope)));
            assert_eq!(let_in, expected, "{method} {path} with {names:?}: {}", response.status());
        }
    }
    node.stop().await;
}
