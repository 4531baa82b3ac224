//! Nodes that share a database, and nodes that lost their compiled plugins.

use std::path::Path;
use std::time::{Duration, Instant};

use reqwest::StatusCode;
use serde_json::{Value, json};
use tollgate::domain::plugin::Digest;
use tollgate::storage::nodes;
use uuid::Uuid;

use crate::support::components::{component_of, good_rule};
use crate::support::database::TestDatabase;
use crate::support::program::TEST_TIMEOUT;
use crate::support::service::{Caller, Node, payment};

/// Submits payments until the outcome is the expected one.
async fn wait_for_outcome(caller: &Caller, what: &str, expected: &str) {
    let begun = Instant::now();
    for attempt in 0.. {
        let (status, response) = caller.pay(&format!("{what}-{attempt}"), &payment()).await;
        assert_eq!(status, StatusCode::CREATED, "{response}");
        if response["outcome"] == expected {
            return;
        }
        assert!(begun.elapsed() < TEST_TIMEOUT, "{what}: {response}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn maximum(maximum_minor: i64) -> (&'static str, Value) {
    ("amount-limits", json!({"limits": [{"currency": "EUR", "maximum_minor": maximum_minor}]}))
}

/// A valid rule whose bytes no other test has.
fn unique_rule(summary: &str) -> Vec<u8> {
    component_of(&good_rule(summary))
}

fn entries(plugin: &Value) -> Value {
    json!([{"name": "own", "plugin": plugin, "settings": {}, "on_failure": "reject"}])
}

/// Removes the compiled file of a plugin.
fn forget_compiled(data_dir: &Path, digest: &Value) {
    let digest = digest.as_str().unwrap();
    let files =
        std::fs::read_dir(data_dir.join("compiled-plugins")).unwrap().map(|entry| entry.unwrap().path());
    let own: Vec<_> = files.filter(|path| path.to_string_lossy().contains(digest)).collect();
    assert_eq!(own.len(), 1, "{own:?}");
    std::fs::remove_file(&own[0]).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_activation_on_one_node_takes_effect_on_the_others_and_after_a_restart() {
    let database = TestDatabase::create().await;
    let folder = tempfile::tempdir().unwrap();
    let first = Node::start(&database).await;
    // The second node has its own folder for compiled plugins, so it must compile them itself.
    let own = [("data_dir", json!(folder.path()))];
    let second = Node::start_with(&database, &own).await;
    let here = Caller::of_new_tenant(&first, "acme").await;
    let there = here.at(&second.url);

    here.activate(&[maximum(1_000_000)]).await;
    wait_for_outcome(&there, "activated", "approve").await;
    here.activate(&[maximum(100)]).await;
    wait_for_outcome(&there, "changed", "reject").await;
    let (status, _) = here.post("/rulesets/payment/rollback", &json!({})).await;
    assert_eq!(status, StatusCode::CREATED);
    wait_for_outcome(&there, "rolled-back", "approve").await;

    let plugin = here.upload(unique_rule("Of a test 1")).await;
    here.activate_entries(&entries(&plugin["digest"])).await;
    let reason = |response: Value| response["revision"].clone();
    let begun = Instant::now();
    let decided_by = async |key: String| reason(there.pay(&key, &payment()).await.1);
    let mut attempt = 0;
    while decided_by(format!("own-{attempt}")).await != json!(3) && begun.elapsed() < TEST_TIMEOUT {
        attempt += 1;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let (_, response) = there.pay("own", &payment()).await;
    assert_eq!((&response["outcome"], &response["reasons"]), (&json!("approve"), &json!([])), "{response}");

    second.stop().await;
    let second = Node::start_with(&database, &own).await;
    let (_, response) = here.at(&second.url).pay("restarted", &payment()).await;
    assert_eq!((&response["outcome"], &response["reasons"]), (&json!("approve"), &json!([])), "{response}");
    second.stop().await;
    first.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_whose_plugin_cannot_be_loaded_delays_no_other_and_recovers() {
    let database = TestDatabase::create().await;
    let folder = tempfile::tempdir().unwrap();
    let first = Node::start(&database).await;
    let own = [("data_dir", json!(folder.path()))];
    let second = Node::start_with(&database, &own).await;
    let broken = Caller::of_new_tenant(&first, "broken").await;
    let sound = Caller::of_new_tenant(&first, "sound").await;
    broken.activate(&[maximum(100)]).await;
    wait_for_outcome(&broken.at(&second.url), "before", "reject").await;

    // The second node is ready and then loses its compiled plugins. The stored bytes are damaged as
    // well.
    let bytes = unique_rule("Of a test 2");
    let digest = Digest::of(&bytes).0.to_vec();
    let mut superuser = database.superuser().await;
    sqlx::query("insert into node_plugins select id, $1, 0 from nodes")
        .bind(&digest)
        .execute(&mut superuser)
        .await
        .unwrap();
    let plugin = broken.upload(bytes).await;
    let bytes: Vec<u8> = sqlx::query_scalar("select bytes from plugins where digest = $1")
        .bind(&digest)
        .fetch_one(&mut superuser)
        .await
        .unwrap();
    let store = async |superuser: &mut sqlx::PgConnection, bytes: &[u8]| {
        sqlx::query("update plugins set bytes = $2 where digest = $1")
            .bind(&digest)
            .bind(bytes)
            .execute(superuser)
            .await
            .unwrap();
    };
    store(&mut superuser, b"damaged").await;
    broken.activate_entries(&entries(&plugin["digest"])).await;

    // Activations of other tenants follow. The tenant with the broken plugin keeps its deployment.
    sound.activate(&[maximum(1_000_000)]).await;
    wait_for_outcome(&sound.at(&second.url), "sound", "approve").await;
    sound.activate(&[maximum(100)]).await;
    wait_for_outcome(&sound.at(&second.url), "sound-again", "reject").await;
    let (_, response) = broken.at(&second.url).pay("meanwhile", &payment()).await;
    assert_eq!(response["outcome"], "reject", "{response}");
    // A rollback is newer than the activation that could not be loaded.
    broken.activate(&[maximum(1_000_000)]).await;
    wait_for_outcome(&broken.at(&second.url), "newer", "approve").await;
    let (_, response) = broken.post("/rulesets/payment/activations", &json!({"revision": 1})).await;
    assert_eq!(response["revision"], 1, "{response}");
    wait_for_outcome(&broken.at(&second.url), "first-again", "reject").await;

    broken.post("/rulesets/payment/activations", &json!({"revision": 2})).await;
    store(&mut superuser, &bytes).await;
    wait_for_outcome(&broken.at(&second.url), "mended", "approve").await;
    second.stop().await;
    first.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_whose_compiled_file_was_lost_is_loaded_again() {
    let database = TestDatabase::create().await;
    let folder = tempfile::tempdir().unwrap();
    // There is memory for one plugin only, so each plugin evicts the other.
    let settings = [("data_dir", json!(folder.path())), ("compiled_plugins_max", json!(1))];
    let node = Node::start_with(&database, &settings).await;
    let caller = Caller::of_new_tenant(&node, "acme").await;
    let other = Caller::of_new_tenant(&node, "other").await;
    let plugin = caller.upload(unique_rule("Of a test 3")).await;
    caller.activate_entries(&entries(&plugin["digest"])).await;
    other.activate(&[maximum(1_000_000)]).await;
    assert_eq!(caller.pay("before", &payment()).await.1["outcome"], "approve");
    other.pay("pushes-it-out", &payment()).await;
    forget_compiled(folder.path(), &plugin["digest"]);

    let (_, lost) = caller.pay("lost", &payment()).await;
    assert_eq!(lost["outcome"], "approve", "the payment waits until it is loaded: {lost}");

    // A rule whose plugin cannot be loaded counts as its failure outcome.
    other.pay("pushes-it-out-too", &payment()).await;
    forget_compiled(folder.path(), &plugin["digest"]);
    let damage = "with kept as (select digest, bytes from plugins where name = 'hostile')
                  update plugins set bytes = '\\x00' from kept where kept.digest = plugins.digest
                  returning kept.digest, kept.bytes";
    let mut superuser = database.superuser().await;
    let kept: Vec<(Vec<u8>, Vec<u8>)> = sqlx::query_as(damage).fetch_all(&mut superuser).await.unwrap();
    let (_, damaged) = caller.pay("damaged", &payment()).await;
    assert_eq!(damaged["outcome"], "reject", "{damaged}");
    assert_eq!(damaged["reasons"][0]["message"], "The rule own is not ready to run yet.", "{damaged}");
    for (digest, bytes) in kept {
        let repair = sqlx::query("update plugins set bytes = $2 where digest = $1").bind(digest).bind(bytes);
        repair.execute(&mut superuser).await.unwrap();
    }
    wait_for_outcome(&caller, "again", "approve").await;

    other.pay("pushes-it-out-again", &payment()).await;
    forget_compiled(folder.path(), &plugin["digest"]);
    caller.activate_entries(&entries(&plugin["digest"])).await;
    let (_, response) = caller.pay("another-revision", &payment()).await;
    assert_eq!(response["outcome"], "approve", "{response}");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_loads_a_few_plugins_of_each_tenant_in_turn() {
    let database = TestDatabase::create().await;
    let databases = database.databases();
    let mut superuser = database.superuser().await;
    // One tenant has nine plugins. All are newer than the two plugins of another tenant and than
    // the shared plugin.
    sqlx::raw_sql(
        "insert into tenants select gen_random_uuid(), name, 0 from unnest(array['many', 'few']) name;
         insert into plugins
             select sha256(place::text::bytea), '', '1.0.0', 'small', place::text, '1', '', '{}', 0, place = 0, place, '{}'
             from generate_series(0, 11) place;
         insert into tenant_plugins
             select (select id from tenants where name = case when place > 2 then 'many' else 'few' end),
                    sha256(place::text::bytea), 'u', place
             from generate_series(1, 11) place",
    )
    .execute(&mut superuser)
    .await
    .unwrap();
    let new = nodes::unreported(&databases.system, Uuid::now_v7(), 0, 3).await.unwrap();
    let new: Vec<Digest> = new.into_iter().map(|(digest, _)| digest).collect();
    let digest = |place: u8| Digest::of(place.to_string().as_bytes());
    let mut places: Vec<u8> = (0..12).filter(|place| new.contains(&digest(*place))).collect();
    places.sort_unstable();
    assert_eq!(places, [0, 1, 2, 9, 10, 11]);
    let first: Vec<u8> = (0..12).filter(|place| new[..3].contains(&digest(*place))).collect();
    assert_eq!(first, [0, 2, 11], "the newest of each come first");
}
