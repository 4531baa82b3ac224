//! Uploads: their outcomes, other uploads beside them, and interruptions.

mod nodes;

use std::time::Duration;

use futures::future::join_all;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::components::{
    compile_bomb, component, component_of, good_rule, rule_with_loops, with_section,
};
use crate::support::database::TestDatabase;
use crate::support::program::Program;
use crate::support::service::{Caller, FullResponse, Node, payment};

fn rule(digest: &Value) -> Value {
    json!([{"name": "own", "plugin": digest, "settings": {}, "on_failure": "reject"}])
}

/// Unique bytes, so that they are compiled.
fn unique_component(depth: usize, functions: usize) -> Vec<u8> {
    let summary = Uuid::now_v7().simple().to_string();
    rule_with_loops(&summary[summary.len() - 11..], depth, functions)
}

/// A component with a meaningless section of this size.
fn with_padding(component: Vec<u8>, pad_bytes: usize) -> Vec<u8> {
    with_section(component, &vec![0; pad_bytes])
}

async fn revision(caller: &Caller, plugin: &Value) -> Value {
    let (status, made) = caller.post("/rulesets/payment/revisions", &json!({"rules": rule(plugin)})).await;
    assert_eq!(status, StatusCode::CREATED, "{made}");
    json!({"revision": made["number"]})
}

async fn state(database: &TestDatabase, digest: &str) -> (String, i32) {
    sqlx::query_as("select state, attempts from plugin_uploads where encode(digest, 'hex') = $1")
        .bind(digest)
        .fetch_one(&mut database.superuser().await)
        .await
        .unwrap()
}

/// Submits payments until stopped. Returns how many.
async fn pay_until(caller: Caller, stop: tokio::sync::oneshot::Receiver<()>) -> usize {
    let (mut stop, mut paid) = (stop, 0);
    while stop.try_recv().is_err() {
        let (status, response) = caller.pay(&format!("meanwhile-{paid}"), &payment()).await;
        assert_eq!((status, &response["outcome"]), (StatusCode::CREATED, &json!("approve")), "{response}");
        paid += 1;
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    paid
}

#[tokio::test(flavor = "multi_thread")]
async fn a_compile_bomb_is_refused_with_the_reason_while_payments_are_decided() {
    let database = TestDatabase::create().await;
    let node = Node::start_with(&database, &[("compile_cpu_s", json!(2))]).await;
    let hostile = Caller::of_new_tenant(&node, "hostile").await;
    let payer = Caller::of_new_tenant(&node, "payer").await;
    payer.activate(&[("account-check", json!({}))]).await;
    let (stop, stopped) = tokio::sync::oneshot::channel();
    let paying = tokio::spawn(pay_until(payer, stopped));

    let (status, bomb) = hostile.submit_plugin(compile_bomb()).await;
    assert_eq!(status, StatusCode::ACCEPTED, "{bomb}");
    let digest = bomb["digest"].as_str().unwrap();
    let (status, flaws) =
        hostile.post("/rulesets/payment/revisions", &json!({"rules": rule(&bomb["digest"])})).await;
    assert_eq!(
        (status, &flaws["errors"][0]["pointer"]),
        (StatusCode::UNPROCESSABLE_ENTITY, &json!("/rules/0/plugin"))
    );
    assert!(flaws["errors"][0]["detail"].as_str().unwrap().contains("not ready yet"), "{flaws}");
    let settled = hostile.wait_for_plugin(digest).await;
    assert_eq!(settled["state"], "refused", "{settled}");
    assert!(settled["why"].as_str().unwrap().contains("more than 2 s of processor time"), "{settled}");
    assert_eq!(settled.get("name"), None, "nothing was found in it: {settled}");
    // Errors that only compilation detects are refused in the same way.
    let (_, silent) = hostile.submit_plugin(component("bad_description")).await;
    let silent = hostile.wait_for_plugin(silent["digest"].as_str().unwrap()).await;
    assert!(silent["why"].as_str().unwrap().contains("describe function failed"), "{silent}");

    stop.send(()).unwrap();
    assert!(paying.await.unwrap() > 1, "payments were decided meanwhile");

    let (status, again) = hostile.submit_plugin(component("bad_description")).await;
    assert_eq!(status, StatusCode::ACCEPTED, "a refused plugin may be uploaded again: {again}");
    assert_ne!(again["state"], "refused", "{again}");
    assert_eq!(hostile.wait_for_plugin(again["digest"].as_str().unwrap()).await["state"], "refused");
    let acts: Vec<String> =
        sqlx::query_scalar("select action from audit_events where action like 'plugin.%' order by sequence")
            .fetch_all(&mut database.superuser().await)
            .await
            .unwrap();
    let (uploaded, refused) = ("plugin.uploaded", "plugin.refused");
    assert_eq!(acts, [uploaded, refused, uploaded, refused, uploaded, refused]);
    let kept: i64 = sqlx::query_scalar("select count(*) from plugin_uploads where bytes is not null")
        .fetch_one(&mut database.superuser().await)
        .await
        .unwrap();
    assert_eq!(kept, 0, "the bytes of what has ended are not kept");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_uploads_of_one_tenant_are_bounded_and_delay_no_other_tenant() {
    let database = TestDatabase::create().await;
    let settings = [("tenant_uploads_waiting_max", json!(6))];
    let node = Node::start_with(&database, &settings).await;
    let greedy = Caller::of_new_tenant(&node, "greedy").await;
    let single = Caller::of_new_tenant(&node, "single").await;
    let payer = Caller::of_new_tenant(&node, "payer").await;
    payer.activate(&[("account-check", json!({}))]).await;
    let (stop, stopped) = tokio::sync::oneshot::channel();
    let paying = tokio::spawn(pay_until(payer, stopped));

    let bodies: Vec<Vec<u8>> = (0..20).map(|_| unique_component(120, 2)).collect();
    let requests = bodies.into_iter().map(|bytes| {
        let request = greedy.request(Method::POST, "/plugins").header("Content-Type", "application/wasm");
        FullResponse::of(request.body(bytes))
    });
    let responses = join_all(requests).await;
    let of_status = |status| responses.iter().filter(move |response| response.status == status);
    let taken: Vec<Value> = of_status(202).map(FullResponse::json).collect();
    assert!((1..=7).contains(&taken.len()), "{responses:#?}");
    assert_eq!(of_status(429).count(), 20 - taken.len(), "{responses:#?}");
    for refused in of_status(429) {
        assert_eq!(refused.json()["type"], "/problems/quota-exceeded", "{}", refused.text);
        assert!(!refused.header("Retry-After").is_empty());
    }

    // It is uploaded last but is among the first two that finish.
    let plugin = single.upload(component_of(&good_rule("The single."))).await;
    assert_eq!(plugin["state"], "ready");
    let (_, listed) = greedy.get("/plugins").await;
    let unfinished =
        listed["items"].as_array().unwrap().iter().filter(|item| item["state"] != "ready").count();
    assert!(unfinished + 3 > taken.len(), "the single one waited for the many: {unfinished} are left");
    for upload in &taken {
        let settled = greedy.wait_for_plugin(upload["digest"].as_str().unwrap()).await;
        assert_eq!(settled["state"], "ready", "{settled}");
    }
    stop.send(()).unwrap();
    assert!(paying.await.unwrap() > 1, "payments were decided meanwhile");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_small_plugin_does_not_wait_for_large_ones_and_each_has_a_position() {
    const LARGE_BYTES: usize = 5 << 20;
    let database = TestDatabase::create().await;
    let node = Node::start(&database).await;
    let caller = Caller::of_new_tenant(&node, "acme").await;
    let mut large = Vec::new();
    for _ in 0..3 {
        let (status, waits) = caller.submit_plugin(with_padding(unique_component(250, 6), LARGE_BYTES)).await;
        assert_eq!(status, StatusCode::ACCEPTED, "{waits}");
        assert!(waits["waiting_ms"].is_u64(), "{waits}");
        large.push(waits);
    }
    let places: Vec<u64> = large.iter().map(|waits| waits["ahead"].as_u64().unwrap()).collect();
    assert_eq!(places[0], 0, "nothing comes before the first");
    assert!(places.is_sorted() && places[2] <= 2, "{places:?}");
    let small = caller.upload(component_of(&good_rule("Small one.."))).await;
    for member in ["ahead", "waiting_ms", "compiling_ms"] {
        assert_eq!(small.get(member), None, "it waits for nothing any more: {small}");
    }
    let (_, last) = caller.get(&format!("/plugins/{}", large[2]["digest"].as_str().unwrap())).await;
    assert_ne!(last["state"], "ready", "the small one was to come before it: {last}");
    for upload in &large {
        let settled = caller.wait_for_plugin(upload["digest"].as_str().unwrap()).await;
        assert_eq!((&settled["state"], &settled["profile"]), (&json!("ready"), &json!("large")), "{settled}");
    }
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_needs_the_large_limits_moves_to_the_queue_of_large_uploads() {
    let database = TestDatabase::create().await;
    let node = Node::start(&database).await;
    let caller = Caller::of_new_tenant(&node, "acme").await;
    let plugin = caller.upload(component("roomy")).await;
    assert_eq!((&plugin["state"], &plugin["profile"]), (&json!("ready"), &json!("large")), "{plugin}");
    let digest = plugin["digest"].as_str().unwrap();
    let queue: String =
        sqlx::query_scalar("select profile from plugin_uploads where encode(digest, 'hex') = $1")
            .bind(digest)
            .fetch_one(&mut database.superuser().await)
            .await
            .unwrap();
    assert_eq!(queue, "large");
    assert_eq!(state(&database, digest).await, ("ready".to_owned(), 1), "no node has ended over it");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_uploads_use_the_memory_of_one() {
    const BODY_BYTES: usize = 20 << 20;
    let database = TestDatabase::create().await;
    let program = Program::serve(&database).await;
    let mut uploads = Vec::new();
    for tenant in ["one", "two", "three"] {
        let caller = program.caller_of_new_tenant(&database, tenant).await;
        for _ in 0..4 {
            let body = with_padding(unique_component(20, 1), BODY_BYTES);
            let request = caller.request(Method::POST, "/plugins").header("Content-Type", "application/wasm");
            uploads.push(request.body(body).send());
        }
    }
    let before = program.peak_memory_bytes();
    let responses = join_all(uploads).await;
    for response in responses {
        assert_eq!(response.unwrap().status(), StatusCode::ACCEPTED);
    }
    let taken = program.peak_memory_bytes() - before;
    // Enough for one upload that is inspected, encoded and sent, and one that is compiled.
    assert!(taken < 7 * BODY_BYTES as u64, "{taken} bytes for twelve uploads of {BODY_BYTES}");
    program.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn plugins_beyond_the_quota_are_refused_until_one_is_retired() {
    let database = TestDatabase::create().await;
    let node = Node::start_with(&database, &[("tenant_plugins_max", json!(2))]).await;
    let caller = Caller::of_new_tenant(&node, "acme").await;
    let bytes = |number: usize| component_of(&good_rule(&format!("Of quota {number:02}")));
    let first = caller.upload(bytes(1)).await;
    caller.upload(bytes(2)).await;
    let (status, problem) = caller.submit_plugin(bytes(3)).await;
    assert_eq!(
        (status, &problem["type"]),
        (StatusCode::TOO_MANY_REQUESTS, &json!("/problems/quota-exceeded"))
    );
    assert_eq!(caller.submit_plugin(bytes(2)).await.0, StatusCode::ACCEPTED, "what is there counts once");
    let path = format!("/plugins/{}/retire", first["digest"].as_str().unwrap());
    assert_eq!(caller.post(&path, &json!({})).await.0, StatusCode::OK);
    caller.upload(bytes(3)).await;
    assert_eq!(
        caller.submit_plugin(bytes(1)).await.0,
        StatusCode::TOO_MANY_REQUESTS,
        "back from retirement it counts"
    );
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retired_plugin_keeps_deciding_but_only_a_rollback_can_use_it_again() {
    let database = TestDatabase::create().await;
    let node = Node::start(&database).await;
    let caller = Caller::of_new_tenant(&node, "acme").await;
    let plugin = caller.upload(component_of(&good_rule("To retire.."))).await;
    let digest = &plugin["digest"];
    let path = format!("/plugins/{}", digest.as_str().unwrap());
    let retire = async || caller.post(&format!("{path}/retire"), &json!({})).await;
    caller.activate_entries(&rule(digest)).await;
    let (_, used) = caller.get(&path).await;
    let expected = json!([{
        "point": "payment", "revision": 1, "rule": "own", "active": true, "canary": false, "shadow": false
    }]);
    assert_eq!(used["used_in"], expected);

    let in_use = (StatusCode::CONFLICT, json!("/problems/conflict"));
    let refused = |(status, problem): (StatusCode, Value)| (status, problem["type"].clone());
    assert_eq!(refused(retire().await), in_use, "it decides");
    caller.activate(&[("account-check", json!({}))]).await;
    let shadow = caller.request(Method::PUT, "/rulesets/payment/shadow").json(&json!({"revision": 1}));
    assert_eq!(shadow.send().await.unwrap().status(), StatusCode::OK);
    assert_eq!(refused(retire().await), in_use, "it runs beside");
    let end = caller.request(Method::DELETE, "/rulesets/payment/shadow");
    assert_eq!(end.send().await.unwrap().status(), StatusCode::OK);

    let (status, retired) = retire().await;
    assert_eq!(status, StatusCode::OK, "{retired}");
    assert!(retired["retired_at_ms"].is_u64(), "{retired}");
    assert_eq!(retire().await, (status, retired), "twice is once");
    let (status, flaws) = caller.post("/rulesets/payment/revisions", &json!({"rules": rule(digest)})).await;
    assert_eq!(
        (status, &flaws["errors"][0]["pointer"]),
        (StatusCode::UNPROCESSABLE_ENTITY, &json!("/rules/0/plugin"))
    );
    assert!(flaws["errors"][0]["detail"].as_str().unwrap().contains("is retired"), "{flaws}");
    let activate = async || caller.post("/rulesets/payment/activations", &json!({"revision": 1})).await;
    assert_eq!(refused(activate().await), in_use, "it enters no deployment");
    let (status, response) = caller.post("/rulesets/payment/rollback", &json!({})).await;
    assert_eq!(
        (status, &response["revision"]),
        (StatusCode::CREATED, &json!(1)),
        "going back is allowed: {response}"
    );
    assert_eq!(caller.pay("after", &payment()).await.1["outcome"], "approve");

    // Uploaded again, it is usable as before.
    let bytes =
        caller.request(Method::GET, &format!("{path}/wasm")).send().await.unwrap().bytes().await.unwrap();
    let (status, back) = caller.submit_plugin(bytes.to_vec()).await;
    assert_eq!((status, &back["state"]), (StatusCode::ACCEPTED, &json!("ready")), "{back}");
    assert_eq!(back.get("retired_at_ms"), None, "{back}");
    revision(&caller, digest).await;

    let shared = caller.plugin("velocity").await;
    let response = caller.post(&format!("/plugins/{shared}/retire"), &json!({})).await;
    assert_eq!(refused(response), in_use, "a shared one is not the tenant's");
    let stranger = Caller::of_new_tenant(&node, "other").await;
    assert_eq!(stranger.post(&format!("{path}/retire"), &json!({})).await.0, StatusCode::NOT_FOUND);
    node.stop().await;
}
