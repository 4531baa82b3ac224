//! Quarantine of live rules that fail too often: opened, followed by all nodes, lifted by a person.

use std::time::{Duration, Instant};

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tollgate::app::tenants::create_tenant;
use tollgate::domain::plugin::Digest;
use tollgate::domain::quarantine::{Quarantine, RuleIdentity};
use tollgate::domain::ruleset::DecisionPoint;
use tollgate::storage::quarantines::{OpenOutcome, open as open_stored};
use uuid::Uuid;

use crate::support::database::TestDatabase;
use crate::support::lists::until_valid;
use crate::support::program::TEST_TIMEOUT;
use crate::support::service::{Caller, FullResponse, Node, payment_with, send};

const QUARANTINES: &str = "/rulesets/payment/quarantines";
/// A quarantine needs five failures.
async fn node(database: &TestDatabase) -> Node {
    Node::start_with(database, &[("quarantine_failures_min", json!(5))]).await
}

/// A rule that allows payments to a friend, and one that always fails with the failure outcome
/// pass.
async fn friends_and_broken(caller: &Caller) -> Value {
    caller.post("/lists", &json!({"name": "friends", "kind": "merchant"})).await;
    let entry = json!({"value": "merchant-1", "reason": "r"});
    until_valid(&caller.post("/lists/friends/entries", &entry).await.1).await;
    let settings = json!({"lists": [{"list": "friends", "selector": "merchant", "verdict": "allow"}]});
    let broken = caller.upload_fixture("unreachable").await;
    json!([
        {"name": "friends", "plugin": caller.plugin("party-lists").await, "settings": settings},
        {"name": "broken", "plugin": broken, "settings": {}, "on_failure": "pass", "overridable": true}
    ])
}

async fn pay_friend(caller: &Caller, key: &str) -> Value {
    let (status, decided) = caller.pay(key, &payment_with(&json!({"merchant": "merchant-1"}))).await;
    assert_eq!(status, StatusCode::CREATED, "{decided}");
    decided
}

async fn open(caller: &Caller) -> Vec<Value> {
    let (status, page) = caller.get(QUARANTINES).await;
    assert_eq!(status, StatusCode::OK, "{page}");
    page["items"].as_array().unwrap().clone()
}

/// Waits until this many quarantines are open.
async fn become_open(caller: &Caller, count: usize) -> Vec<Value> {
    let begun = Instant::now();
    loop {
        let open = open(caller).await;
        if open.len() == count {
            return open;
        }
        assert!(begun.elapsed() < TEST_TIMEOUT, "{open:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Submits payments until the outcome is the expected one. Returns how long that took.
async fn wait_for_outcome(caller: &Caller, what: &str, expected: &str) -> Duration {
    let begun = Instant::now();
    for attempt in 0.. {
        let decided = pay_friend(caller, &format!("{what}-{attempt}")).await;
        if decided["outcome"] == expected {
            break;
        }
        assert!(begun.elapsed() < TEST_TIMEOUT, "{what}: {decided}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    begun.elapsed()
}

async fn acts(database: &TestDatabase) -> Vec<(String, String, String)> {
    sqlx::query_as(
        "select action, actor, subject from audit_events where action like '%quarantine%' order by sequence",
    )
    .fetch_all(&mut database.superuser().await)
    .await
    .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quarantined_rule_leads_to_review_whatever_other_rules_return() {
    let database = TestDatabase::create().await;
    let node = node(&database).await;
    let caller = Caller::of_new_tenant(&node, "acme").await;
    let rules = friends_and_broken(&caller).await;
    caller.activate_entries(&rules).await;
    for place in 0..4 {
        assert_eq!(pay_friend(&caller, &format!("failing-{place}")).await["outcome"], "approve");
    }
    // A retry does not count as a run.
    for _ in 0..5 {
        let again = caller.pay("failing-0", &payment_with(&json!({"merchant": "merchant-1"}))).await;
        assert_eq!(again.1["outcome"], "approve");
    }
    assert_eq!(open(&caller).await, Vec::<Value>::new(), "four failures are none too many");
    let active = || caller.request(Method::GET, "/rulesets/payment");
    let before = FullResponse::of(active()).await;
    assert_eq!(before.json().get("quarantined"), None);

    pay_friend(&caller, "failing-4").await;
    let opened = become_open(&caller, 1).await.remove(0);
    // The response differs although there was no activation.
    let after = FullResponse::of(active().header("If-None-Match", before.header("ETag"))).await;
    assert_eq!((after.status, after.json()["quarantined"][0]["rule"] == "broken"), (200, true));
    assert_eq!(
        (&opened["rule"], &opened["failures"], &opened["runs"], &opened["last_failure"]),
        (&json!("broken"), &json!(5), &json!(5), &json!("unreachable"))
    );
    wait_for_outcome(&caller, "opened", "review").await;
    let decided = pay_friend(&caller, "quarantined").await;
    let reasons = decided["reasons"].as_array().unwrap();
    let reported = reasons.iter().find(|reason| reason["rule"] == "broken").unwrap();
    assert_eq!(reported["message"], "The rule broken is in quarantine because it failed too often.");
    assert_eq!(
        (&reported["verdict"], &reported["overridden"]),
        (&json!("review"), &json!(false)),
        "{decided}"
    );
    assert!(reasons.iter().any(|reason| reason["verdict"] == "allow"), "{decided}");

    let id = decided["id"].as_str().unwrap();
    let (_, evidence) = caller.get(&format!("/decisions/{id}")).await;
    assert_eq!(evidence["fold_version"], 2);
    assert_eq!(evidence["rules"][1]["result"], json!({"status": "quarantined"}));
    let (_, replay) = caller.get(&format!("/decisions/{id}/replay")).await;
    assert_eq!((&replay["identical"], &replay["not_rerun"]), (&json!(true), &json!(["broken"])), "{replay}");

    let (_, active) = caller.get("/rulesets/payment").await;
    assert_eq!(active["quarantined"], json!([opened]), "{active}");
    let reported = ("rule.quarantined".to_owned(), "tollgate".to_owned(), "broken".to_owned());
    assert_eq!(acts(&database).await, [reported]);
    let metrics = reqwest::get(format!("{}/metrics", node.url)).await.unwrap().text().await.unwrap();
    // The metric is of the whole process, which may have nodes of other tests.
    assert!(metrics.contains("\ntollgate_rules_in_quarantine "), "{metrics}");

    // A rule stays the same rule in a new revision. The same plugin under another name is another
    // rule.
    caller.activate_entries(&rules).await;
    assert_eq!(pay_friend(&caller, "another-revision").await["outcome"], "review");
    let mut renamed = rules.clone();
    renamed[1]["name"] = json!("renamed");
    caller.activate_entries(&renamed).await;
    assert_eq!(pay_friend(&caller, "renamed").await["outcome"], "approve");
    assert_eq!(caller.get("/rulesets/payment").await.1.get("quarantined"), None);

    // The rule of another tenant is another rule too.
    let other = Caller::of_new_tenant(&node, "other").await;
    other.activate_entries(&friends_and_broken(&other).await).await;
    assert_eq!(pay_friend(&other, "of-another").await["outcome"], "approve");
    assert_eq!(open(&other).await, Vec::<Value>::new());
    let foreign = other.request(Method::DELETE, &format!("{QUARANTINES}/{}", opened["id"].as_str().unwrap()));
    assert_eq!(send(foreign).await.0, StatusCode::NOT_FOUND);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_node_follows_a_quarantine_and_a_lifted_rule_starts_again() {
    let database = TestDatabase::create().await;
    let (first, second) = (node(&database).await, node(&database).await);
    let here = Caller::of_new_tenant(&first, "acme").await;
    let there = here.at(&second.url);
    here.activate_entries(&friends_and_broken(&here).await).await;
    let begun = Instant::now();
    while pay_friend(&there, &format!("arrives-{:?}", begun.elapsed())).await["revision"] != 1 {
        assert!(begun.elapsed() < TEST_TIMEOUT);
    }
    // Both nodes may detect the failures at the same time. There is still one quarantine.
    for place in 0..5 {
        let (here_key, there_key) = (format!("here-{place}"), format!("there-{place}"));
        tokio::join!(pay_friend(&here, &here_key), pay_friend(&there, &there_key));
    }
    let opened = become_open(&here, 1).await.remove(0);
    wait_for_outcome(&here, "followed-here", "review").await;
    wait_for_outcome(&there, "followed-there", "review").await;

    let lift = || here.request(Method::DELETE, &format!("{QUARANTINES}/{}", opened["id"].as_str().unwrap()));
    assert_eq!(send(lift()).await.0, StatusCode::NO_CONTENT);
    assert_eq!(send(lift()).await.0, StatusCode::NOT_FOUND, "it is lifted already");
    // Each of these failures counts in the new window.
    assert_eq!(pay_friend(&here, "lifted-here").await["outcome"], "approve");
    wait_for_outcome(&there, "lifted-there", "approve").await;
    for place in 1..4 {
        pay_friend(&here, &format!("anew-{place}")).await;
    }
    assert_eq!(open(&here).await, Vec::<Value>::new(), "what was before it was lifted does not count");
    pay_friend(&here, "anew-4").await;
    let again = become_open(&here, 1).await.remove(0);
    assert_ne!(again["id"], opened["id"]);
    wait_for_outcome(&there, "again-there", "review").await;

    let (_, page) = here.get(&format!("{QUARANTINES}?all=true&limit=1")).await;
    assert_eq!(page["items"], json!([again]), "{page}");
    let cursor = page["next_cursor"].as_str().unwrap();
    let (_, rest) = here.get(&format!("{QUARANTINES}?all=true&limit=1&cursor={cursor}")).await;
    let lifted = &rest["items"][0];
    assert_eq!((&lifted["id"], lifted["lifted_at_ms"].is_u64()), (&opened["id"], true), "{rest}");
    let client = here.client_id.clone();
    assert!(lifted["lifted_by"].as_str().unwrap().contains(&client), "{rest}");
    let actions: Vec<String> = acts(&database).await.into_iter().map(|(action, ..)| action).collect();
    assert_eq!(actions, ["rule.quarantined", "quarantine.lifted", "rule.quarantined"]);
    second.stop().await;
    first.stop().await;
}

/// Each of these rules uses up its fuel. Eight concurrent payments with fifty such rules miss
/// the deadline.
#[tokio::test(flavor = "multi_thread")]
async fn rules_that_cause_missed_deadlines_are_quarantined_and_other_rules_are_not() {
    let database = TestDatabase::create().await;
    let settings = [("quarantine_failures_min", json!(5)), ("deadline_ms", json!(500))];
    let node = Node::start_with(&database, &settings).await;
    // Administration takes longer than this deadline on a busy machine, so another node does it.
    let other = Node::start(&database).await;
    let caller = Caller::of_new_tenant(&other, "acme").await;
    let (good, burning) = (caller.upload_fixture("good").await, caller.upload_fixture("endless_loop").await);
    let mut rules = vec![json!({"name": "innocent", "plugin": good, "settings": {}})];
    rules.extend(
        (1..50).map(|place| json!({"name": format!("burning-{place}"), "plugin": burning, "settings": {}})),
    );
    caller.activate_entries(&json!(rules)).await;

    let payer = caller.at(&node.url);
    let begun = Instant::now();
    let mut round = 0;
    loop {
        let paying = (0..16).map(|place| {
            let (caller, key) = (payer.clone(), format!("{round}-{place}"));
            tokio::spawn(async move { caller.pay(&key, &payment_with(&json!({}))).await.0 })
        });
        let statuses = futures::future::try_join_all(paying.collect::<Vec<_>>()).await.unwrap();
        // All payments are decided before the node follows the activation as well.
        let all_decided = statuses.iter().all(|status| *status == StatusCode::CREATED);
        if all_decided && !open(&caller).await.is_empty() {
            break;
        }
        assert!(begun.elapsed() < 12 * TEST_TIMEOUT, "{statuses:?}");
        round += 1;
    }
    let open: Vec<Value> = open(&caller).await;
    assert!(open.len() >= 5, "{open:?}");
    assert!(open.iter().all(|quarantine| quarantine["rule"] != "innocent"), "{open:?}");
    other.stop().await;
    node.stop().await;
}

#[tokio::test]
async fn the_number_of_quarantined_rules_of_a_tenant_is_bounded() {
    let database = TestDatabase::create().await;
    let system = database.databases().system;
    let crowded = create_tenant(&system, "crowded", "test").await.unwrap();
    let other = create_tenant(&system, "other", "test").await.unwrap();
    let new = |name: &str| Quarantine {
        id: Uuid::now_v7(),
        identity: RuleIdentity {
            point: DecisionPoint::Payment,
            rule: name.to_owned(),
            binding: Digest([1; 32]),
        },
        revision: 1,
        failures: 20,
        runs: 20,
        last_failure: "trap".to_owned(),
        opened_at_ms: 1,
        lifted: None,
    };
    assert_eq!(open_stored(&system, crowded, new("first")).await.unwrap(), OpenOutcome::Opened);
    assert_eq!(open_stored(&system, crowded, new("first")).await.unwrap(), OpenOutcome::AlreadyOpen);
    sqlx::query(
        "insert into quarantines (tenant_id, id, point, rule, binding, revision, failures, runs, last_failure,
                                  opened_at_ms)
         select tenant_id, gen_random_uuid(), point, 'rule-' || n, binding, 1, 1, 1, 'trap', 1
         from quarantines, generate_series(1, 999) n",
    )
    .execute(&mut database.superuser().await)
    .await
    .unwrap();
    assert_eq!(open_stored(&system, crowded, new("last")).await.unwrap(), OpenOutcome::TooMany);
    assert_eq!(open_stored(&system, other, new("first")).await.unwrap(), OpenOutcome::Opened);
}
