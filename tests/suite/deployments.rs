//! Deployments that are loaded for a payment and dropped again: no client may notice.

use std::time::{Duration, Instant};

use futures::future::join_all;
use reqwest::StatusCode;
use serde_json::json;
use tollgate::domain::plugin::Digest;

use crate::support::components::{component_of, good_rule};
use crate::support::database::TestDatabase;
use crate::support::program::{Program, TEST_TIMEOUT};
use crate::support::service::{Caller, Node, payment};

/// The outcome of the test payment under each maximum.
const MAXIMA: [(i64, &str); 2] = [(1_000_000, "approve"), (100, "reject")];

async fn activate(caller: &Caller, maximum_minor: i64) -> i64 {
    let settings = json!({"limits": [{"currency": "EUR", "maximum_minor": maximum_minor}]});
    caller.activate(&[("amount-limits", settings)]).await
}

/// Waits until another node's activation decides here.
async fn wait_for_revision(caller: &Caller, what: &str, revision: i64) -> serde_json::Value {
    let begun = Instant::now();
    for attempt in 0.. {
        let (status, response) = caller.pay(&format!("{what}-{attempt}"), &payment()).await;
        if status == StatusCode::CREATED && response["revision"] == revision {
            return response;
        }
        assert!(begun.elapsed() < TEST_TIMEOUT, "{what}: {response}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    unreachable!("the attempts do not end")
}

/// How many deployments this process has loaded.
async fn loads(url: &str) -> u64 {
    let page = reqwest::get(format!("{url}/metrics")).await.unwrap().text().await.unwrap();
    let found = page.lines().find_map(|line| line.strip_prefix("tollgate_deployments_loaded_total "));
    found.unwrap_or_else(|| panic!("{page}")).parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn tenants_of_whom_few_are_kept_in_memory_are_decided_by_their_newest_revision() {
    let database = TestDatabase::create().await;
    let first = Node::start(&database).await;
    let mut tenants = Vec::new();
    for number in 0..6 {
        let caller = Caller::of_new_tenant(&first, &format!("tenant-{number}")).await;
        activate(&caller, MAXIMA[number % 2].0).await;
        tenants.push(caller);
    }
    let few = Node::start_with(&database, &[("deployments_kept_max", json!(2))]).await;
    let there: Vec<Caller> = tenants.iter().map(|tenant| tenant.at(&few.url)).collect();
    for round in 0..3 {
        let decided = join_all(
            there.iter().map(async |tenant| tenant.pay(&format!("few-{round}"), &payment()).await.1),
        );
        for (number, response) in decided.await.into_iter().enumerate() {
            assert_eq!(response["outcome"], MAXIMA[number % 2].1, "{response}");
        }
    }
    assert_eq!(few.app.active.not_loaded(), (6, 0));
    // Half of the tenants change on the other node, and half on the node that keeps few.
    for (number, tenant) in tenants.iter().enumerate() {
        let changed = if number < 3 { tenant } else { &there[number] };
        let revision = activate(changed, MAXIMA[(number + 1) % 2].0).await;
        let response = wait_for_revision(&there[number], "changed", revision).await;
        assert_eq!(response["outcome"], MAXIMA[(number + 1) % 2].1, "{response}");
    }
    for (number, tenant) in there.iter().enumerate() {
        let (_, response) = tenant.pay("after-all", &payment()).await;
        assert_eq!(response["outcome"], MAXIMA[(number + 1) % 2].1, "{response}");
    }
    few.stop().await;
    first.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn payments_that_come_at_once_load_a_deployment_once_and_no_start_loads_one() {
    let database = TestDatabase::create().await;
    let program = Program::serve(&database).await;
    let caller = program.caller_of_new_tenant(&database, "acme").await;
    activate(&caller, 100).await;
    program.stop().await;

    let program = Program::serve(&database).await;
    let caller = caller.at(&program.url);
    assert_eq!(loads(&program.url).await, 0);
    // No load ends while the payments arrive.
    let mut superuser = database.superuser().await;
    sqlx::raw_sql("begin; lock table revisions").execute(&mut superuser).await.unwrap();
    let payments = tokio::spawn(async move {
        let body = payment();
        join_all(["a", "b", "c", "d"].map(|key| caller.pay(key, &body))).await
    });
    let waiting = "select count(*) from pg_locks join pg_database on pg_database.oid = database
                   where datname = current_database() and relation = 'revisions'::regclass and not granted";
    let begun = Instant::now();
    while sqlx::query_scalar::<_, i64>(waiting).fetch_one(&mut superuser).await.unwrap() == 0 {
        assert!(begun.elapsed() < TEST_TIMEOUT, "no payment loads the deployment");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    sqlx::raw_sql("commit").execute(&mut superuser).await.unwrap();
    for (status, response) in payments.await.unwrap() {
        assert_eq!((status, &response["outcome"]), (StatusCode::CREATED, &json!("reject")), "{response}");
    }
    assert_eq!(loads(&program.url).await, 1);
    program.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_starts_without_the_plugin_of_a_tenant_refuses_its_payments_and_decides_others() {
    let database = TestDatabase::create().await;
    let folder = tempfile::tempdir().unwrap();
    let first = Node::start(&database).await;
    let broken = Caller::of_new_tenant(&first, "broken").await;
    let sound = Caller::of_new_tenant(&first, "sound").await;
    activate(&sound, 100).await;
    let bytes = component_of(&good_rule("Of a test 4"));
    let plugin = broken.upload(bytes.clone()).await["digest"].clone();
    let revision = broken.activate_entries(&json!([{"name": "own", "plugin": plugin, "settings": {}}])).await;
    let store = async |stored: &[u8]| {
        let digest = Digest::of(&bytes).0.to_vec();
        let update = sqlx::query("update plugins set bytes = $2 where digest = $1").bind(digest).bind(stored);
        update.execute(&mut database.superuser().await).await.unwrap();
    };
    store(b"damaged").await;

    // It has compiled nothing yet, so it needs the stored bytes.
    let second = Node::start_with(&database, &[("data_dir", json!(folder.path()))]).await;
    let (broken, sound) = (broken.at(&second.url), sound.at(&second.url));
    let (status, response) = broken.pay("refused", &payment()).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{response}");
    let (_, response) = sound.pay("decided", &payment()).await;
    assert_eq!(response["outcome"], "reject", "{response}");
    assert_eq!(second.app.active.not_loaded(), (2, 1));
    store(&bytes).await;
    let response = wait_for_revision(&broken, "mended", revision).await;
    assert_eq!(response["outcome"], "approve", "{response}");
    second.stop().await;
    first.stop().await;
}
