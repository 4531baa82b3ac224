//! Uploads on several nodes, and nodes that stop or die during an upload.

use std::time::{Duration, Instant};

use reqwest::{Method, StatusCode};
use rustix::process::Signal;
use serde_json::{Value, json};
use sqlx::PgConnection;
use tollgate::domain::plugin::Digest;
use uuid::Uuid;

use super::{revision, state, unique_component};
use crate::support::components::compile_bomb;
use crate::support::database::TestDatabase;
use crate::support::program::{Program, TEST_TIMEOUT};
use crate::support::service::{Caller, FullResponse, Node};

async fn insert_node(superuser: &mut PgConnection, name: &str) {
    sqlx::query(
        "insert into nodes (id, name, started_at_ms, seen_at) values ($1, $2, 0, now() + interval '1 hour')",
    )
    .bind(Uuid::now_v7())
    .bind(name)
    .execute(superuser)
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_activation_waits_until_its_plugins_are_ready_on_every_node() {
    let database = TestDatabase::create().await;
    let folder = tempfile::tempdir().unwrap();
    let first = Node::start(&database).await;
    let second = Node::start_with(&database, &[("data_dir", json!(folder.path()))]).await;
    let caller = Caller::of_new_tenant(&first, "acme").await;
    let plugin = caller.upload(unique_component(20, 1)).await;
    let digest = plugin["digest"].as_str().unwrap();
    let candidate = revision(&caller, &plugin["digest"]).await;
    // Activated at once: the activation waits until the second node has compiled the plugin.
    let (status, activation) = caller.post("/rulesets/payment/activations", &candidate).await;
    assert_eq!(status, StatusCode::CREATED, "{activation}");
    let (_, seen) = caller.at(&second.url).get(&format!("/plugins/{digest}")).await;
    let ready: Vec<&Value> = seen["nodes"].as_array().unwrap().iter().map(|node| &node["ready"]).collect();
    assert_eq!(ready, [&json!(true), &json!(true)], "{seen}");

    let mut superuser = database.superuser().await;
    insert_node(&mut superuser, "lagging").await;
    let next = revision(&caller, &plugin["digest"]).await;
    let changes = [
        (Method::POST, "/rulesets/payment/activations", next.clone()),
        (Method::PUT, "/rulesets/payment/shadow", next.clone()),
        (
            Method::PUT,
            "/rulesets/payment/canary",
            json!({"revision": next["revision"], "share_percent": 5.0}),
        ),
    ];
    for (method, path, body) in &changes {
        let refused = FullResponse::of(caller.request(method.clone(), path).json(body)).await;
        assert_eq!(refused.status, 409, "{path}: {}", refused.text);
        let problem = refused.json();
        assert_eq!(problem["type"], "/problems/plugins-not-ready", "{problem}");
        for words in ["lagging", digest] {
            assert!(problem["detail"].as_str().unwrap().contains(words), "{problem}");
        }
        assert!(!refused.header("Retry-After").is_empty());
    }
    let (_, seen) = caller.get(&format!("/plugins/{digest}")).await;
    let lagging = seen["nodes"].as_array().unwrap().iter().find(|node| node["name"] == "lagging").unwrap();
    assert_eq!(lagging["ready"], json!(false), "{seen}");
    // Activations do not wait for a node whose heartbeat is too old.
    sqlx::query("update nodes set seen_at = now() - interval '6 seconds' where name = 'lagging'")
        .execute(&mut superuser)
        .await
        .unwrap();
    let (status, activation) = caller.post("/rulesets/payment/activations", &next).await;
    assert_eq!(status, StatusCode::CREATED, "{activation}");
    // A rollback does not wait.
    sqlx::query("update nodes set seen_at = now() + interval '1 hour' where name = 'lagging'")
        .execute(&mut superuser)
        .await
        .unwrap();
    let (status, back) = caller.post("/rulesets/payment/rollback", &json!({})).await;
    assert_eq!((status, &back["revision"]), (StatusCode::CREATED, &candidate["revision"]), "{back}");
    second.stop().await;
    let left: Vec<String> = sqlx::query_scalar("select name from nodes where name <> 'lagging'")
        .fetch_all(&mut superuser)
        .await
        .unwrap();
    assert_eq!(left.len(), 1, "one that stopped in order is not waited for: {left:?}");
    first.stop().await;
}

async fn wait_until_compiling(database: &TestDatabase, digest: &str) {
    let begun = Instant::now();
    while state(database, digest).await.0 != "compiling" {
        assert!(begun.elapsed() < TEST_TIMEOUT, "no compiler runs");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// The compiling process, once it runs.
async fn compiler_of(program: &Program) -> String {
    let begun = Instant::now();
    loop {
        let processes = std::fs::read_dir("/proc").unwrap().flatten();
        let mut children = processes.filter(|process| {
            let read = |name: &str| std::fs::read_to_string(process.path().join(name)).unwrap_or_default();
            let parent = format!(" {} ", program.pid().as_raw_nonzero());
            // After the name in brackets: the state, then the parent.
            let of_program = read("stat")
                .rsplit(')')
                .next()
                .is_some_and(|rest| rest.get(2..).is_some_and(|rest| rest.starts_with(&parent)));
            of_program && read("cmdline").contains("compile-plugin")
        });
        if let Some(child) = children.next() {
            return child.file_name().into_string().unwrap();
        }
        assert!(begun.elapsed() < TEST_TIMEOUT, "nothing is compiled");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_survives_the_kill_of_its_node() {
    let database = TestDatabase::create().await;
    let mut program = Program::serve(&database).await;
    let caller = program.caller_of_new_tenant(&database, "acme").await;
    let bytes = unique_component(200, 4);
    let digest = Digest::of(&bytes).to_string();
    assert_eq!(caller.submit_plugin(bytes).await.0, StatusCode::ACCEPTED);
    wait_until_compiling(&database, &digest).await;
    let compiler = compiler_of(&program).await;
    program.signal(Signal::KILL);
    assert!(!program.wait().await.success());
    let begun = Instant::now();
    while std::fs::exists(format!("/proc/{compiler}/exe")).unwrap_or_default() {
        assert!(begun.elapsed() < TEST_TIMEOUT, "the compiler outlives its server");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(state(&database, &digest).await, ("compiling".to_owned(), 1));

    let program = Program::serve(&database).await;
    let settled = caller.at(&program.url).wait_for_plugin(&digest).await;
    assert_eq!(settled["state"], "ready", "{settled}");
    assert_eq!(state(&database, &digest).await.1, 2);
    program.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopping_node_releases_its_upload_at_once() {
    let database = TestDatabase::create().await;
    let program = Program::serve(&database).await;
    let caller = program.caller_of_new_tenant(&database, "acme").await;
    let (_, bomb) = caller.submit_plugin(compile_bomb()).await;
    let digest = bomb["digest"].as_str().unwrap();
    wait_until_compiling(&database, digest).await;
    program.stop().await;
    assert_eq!(state(&database, digest).await, ("waiting".to_owned(), 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_is_refused_after_three_nodes_died_with_it() {
    let database = TestDatabase::create().await;
    let node = Node::start(&database).await;
    let caller = Caller::of_new_tenant(&node, "acme").await;
    let mut superuser = database.superuser().await;
    sqlx::query(
        "insert into plugin_uploads (tenant_id, digest, bytes, size_bytes, state, uploaded_by, uploaded_at_ms,
                                     claimed_by, claimed_until, attempts)
         select id, sha256('x'), 'x', 1, 'compiling', 'client:x', 0, gen_random_uuid(), now(), 3 from tenants",
    )
    .execute(&mut superuser)
    .await
    .unwrap();
    let settled = caller.wait_for_plugin(&Digest::of(b"x").to_string()).await;
    assert_eq!(settled["state"], "refused", "{settled}");
    assert!(settled["why"].as_str().unwrap().contains("started 3 times"), "{settled}");
    node.stop().await;
}
