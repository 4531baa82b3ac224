//! A rule from its upload to its rollback, with two programs on one database, over HTTP and the
//! command line.

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::task::JoinHandle;
use uuid::Uuid;

use crate::support::database::TestDatabase;
use crate::support::feed_client::FeedClient;
use crate::support::program::{Program, TEST_TIMEOUT, run_command, tollgate_on};
use crate::support::service::{Caller, FullResponse, payment_with, send, shipped_plugins};

const RULESET: &str = "/rulesets/payment";
const HONEST: usize = 20;
/// The number of stolen payments in the hour that the new rule checks. It allows three.
const STOLEN: usize = 8;
const CAUGHT: usize = STOLEN - 3;

/// A database, and a folder for its checkpoints.
struct StorySetup {
    database: TestDatabase,
    folder: TempDir,
}

impl StorySetup {
    fn tollgate(&self, arguments: &[&str]) -> Command {
        let mut command = tollgate_on(&self.database, arguments);
        command.env("ROCKET_TOLLGATE_DATA_DIR", self.folder.path());
        command
    }
}

/// Prints a step. Visible with `--no-capture`.
fn print_step(step: &str, seen: &str) {
    eprintln!("{step:10} {seen}");
}

/// The velocity rule with a section that makes its bytes unique.
fn unique_build() -> Vec<u8> {
    let mut bytes = std::fs::read(shipped_plugins().join("velocity/velocity.wasm")).unwrap();
    let build = Uuid::now_v7().simple().to_string();
    let section = [b"\x05build", build.as_bytes()].concat();
    bytes.extend([0, u8::try_from(section.len()).unwrap()]);
    bytes.extend(section);
    bytes
}

async fn create(caller: &Caller, path: &str, body: &Value) -> Value {
    let (status, made) = caller.post(path, body).await;
    assert!(matches!(status, StatusCode::CREATED | StatusCode::ACCEPTED | StatusCode::OK), "{path}: {made}");
    made
}

async fn fetch(caller: &Caller, path: &str) -> Value {
    let (status, shown) = caller.get(path).await;
    assert_eq!(status, StatusCode::OK, "{path}: {shown}");
    shown
}

async fn put(caller: &Caller, path: &str, body: &Value) -> Value {
    let (status, put) = send(caller.request(Method::PUT, path).json(body)).await;
    assert_eq!(status, StatusCode::OK, "{path}: {put}");
    put
}

/// Repeats a request until the response is as expected.
async fn wait_until(caller: &Caller, path: &str, what: impl Fn(&Value) -> bool) -> Value {
    let begun = Instant::now();
    loop {
        let found = fetch(caller, path).await;
        if what(&found) {
            return found;
        }
        assert!(begun.elapsed() < TEST_TIMEOUT, "{path}: {found}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn pay(caller: &Caller, key: &str, customer: &str) -> Value {
    let payment = payment_with(&json!({"reference": key, "customer": customer, "amount_minor": 90_000}));
    let (status, decided) = caller.pay(key, &payment).await;
    assert_eq!(status, StatusCode::CREATED, "{decided}");
    decided
}

/// Submits this many payments of one customer. Returns the outcomes in order.
async fn pay_repeatedly(caller: &Caller, customer: &str) -> Vec<Value> {
    let mut decided = Vec::new();
    for number in 0..STOLEN {
        decided.push(pay(caller, &format!("{customer}-{number}"), customer).await);
    }
    decided
}

fn count_rejected(decided: &[Value]) -> usize {
    decided.iter().filter(|decided| decided["outcome"] == "reject").count()
}

/// The report of a backtest, once it is finished.
async fn backtest(caller: &Caller, body: &Value) -> Value {
    let begun = create(caller, &format!("{RULESET}/backtests"), body).await;
    let path = format!("{RULESET}/backtests/{}", begun["id"].as_str().unwrap());
    let done = wait_until(caller, &path, |backtest| backtest["finished_at_ms"].is_u64()).await;
    assert_eq!(done["state"], "finished", "{done}");
    done
}

/// Submits payments of honest customers at both nodes until stopped. Returns how many each revision
/// decided.
fn start_honest_load(callers: &[Caller], end: &Arc<AtomicBool>) -> Vec<JoinHandle<BTreeMap<i64, usize>>> {
    let payers = callers.iter().cloned().enumerate().map(|(payer, caller)| {
        let end = end.clone();
        tokio::spawn(async move {
            let mut decided_by = BTreeMap::new();
            for number in 0.. {
                if end.load(Ordering::SeqCst) {
                    break;
                }
                let key = format!("load-{payer}-{number}");
                let decided = pay(&caller, &key, &key).await;
                assert_eq!(decided["outcome"], "approve", "{decided}");
                *decided_by.entry(decided["revision"].as_i64().unwrap()).or_default() += 1;
            }
            decided_by
        })
    });
    payers.collect()
}

/// Waits until a node uses this revision. Returns how long that took, in milliseconds.
async fn time_until_followed(caller: &Caller, revision: &Value) -> u128 {
    // A canary decides half of the payments, so several are needed to see it.
    const IN_A_ROW: usize = 16;
    let begun = Instant::now();
    let (mut in_a_row, mut followed_ms) = (0, 0);
    while in_a_row < IN_A_ROW {
        let key = Uuid::now_v7().simple().to_string();
        if pay(caller, &key, &key).await["revision"] == *revision {
            in_a_row += 1;
            continue;
        }
        assert!(begun.elapsed() < TEST_TIMEOUT);
        tokio::time::sleep(Duration::from_millis(10)).await;
        (in_a_row, followed_ms) = (0, begun.elapsed().as_millis());
    }
    followed_ms
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_goes_from_upload_to_rollback() {
    let setup = StorySetup { database: TestDatabase::create().await, folder: tempfile::tempdir().unwrap() };
    let first = Program::start(setup.tollgate(&["serve"])).await;
    let second = Program::start(setup.tollgate(&["serve"])).await;
    let here = first.caller_of_new_tenant(&setup.database, "acme").await;
    let there = here.at(&second.url);
    let mut feed = FeedClient::open(&there).await;

    // The tenant has one rule, which does not detect the stolen payments.
    let limits = json!({"limits": [{"currency": "EUR", "review_above_minor": 1_000_000}]});
    let limits = json!({"name": "limits", "plugin": here.plugin("amount-limits").await, "settings": limits});
    let before = here.activate_entries(&json!([limits])).await;
    for number in 0..HONEST {
        let customer = format!("honest-{number}");
        pay(&here, &customer, &customer).await;
    }
    let stolen = pay_repeatedly(&here, "thief").await;
    assert_eq!(count_rejected(&stolen), 0);
    for payment in &stolen {
        let path = format!("/payments/{}/events", payment["id"].as_str().unwrap());
        create(&here, &path, &json!({"kind": "fraud"})).await;
    }
    print_step(
        "history",
        &format!("{} payments approved, {STOLEN} of them reported as fraud", HONEST + STOLEN),
    );

    let begun = Instant::now();
    let plugin = here.upload(unique_build()).await;
    print_step(
        "upload",
        &format!(
            "{} {} ready after {} ms, compiled in {} ms",
            plugin["name"],
            plugin["version"],
            begun.elapsed().as_millis(),
            plugin["compile_ms"]
        ),
    );
    let settings = json!({"limits": [
        {"selector": "customer", "window_seconds": 3_600, "max_count": 3, "verdict": "reject"}]});
    let rules = json!([limits, {"name": "sprees", "plugin": plugin["digest"], "settings": settings}]);

    // Dry run with a stored payment.
    let last = &stolen[STOLEN - 1]["id"];
    let run =
        create(&here, &format!("{RULESET}/dry-runs"), &json!({"rules": rules, "payment_id": last})).await;
    assert_eq!((&run["decided"], &run["outcome"]), (&json!("approve"), &json!("reject")), "{run}");
    assert_eq!(run["rules"][1]["facts"][0]["velocity"]["count"], STOLEN - 1, "as it was then: {run}");
    print_step(
        "dry run",
        &format!("was {}, would be {}: {}", run["decided"], run["outcome"], run["reasons"][0]["message"]),
    );

    let revision =
        create(&here, &format!("{RULESET}/revisions"), &json!({"rules": rules})).await["number"].clone();
    let tested = backtest(&here, &json!({"revision": revision})).await;
    let report = &tested["report"];
    assert_eq!(
        (&report["compared"], &report["changed"]),
        (&json!(HONEST + STOLEN), &json!(CAUGHT)),
        "{report}"
    );
    let of_fraud = &report["by_label"]["fraud"];
    let caught = of_fraud.as_array().unwrap().iter().find(|cell| cell["would_be"] == "reject");
    assert_eq!(caught.unwrap()["count"], CAUGHT, "all that it stops was fraud: {report}");
    print_step(
        "backtest",
        &format!(
            "{} of {} change, {} %; of fraud: {of_fraud}",
            report["changed"], report["compared"], report["changed_percent"]
        ),
    );

    put(&here, &format!("{RULESET}/shadow"), &json!({"revision": revision})).await;
    assert_eq!(count_rejected(&pay_repeatedly(&here, "second-thief").await), 0, "without effect");
    let path = format!("{RULESET}/shadow");
    let shadow = wait_until(&here, &path, |shadow| shadow["report"]["coverage"]["compared"] == STOLEN).await;
    let changes = &shadow["report"]["outcomes"];
    let change = changes.as_array().unwrap().iter().find(|change| change["would_be"] == "reject");
    assert_eq!(change.unwrap()["payments"], CAUGHT, "{shadow}");
    print_step(
        "shadow",
        &format!("{} of {STOLEN} payments would be rejected, none was", change.unwrap()["payments"]),
    );

    // Canary on both nodes.
    put(&here, &format!("{RULESET}/canary"), &json!({"revision": revision, "share_percent": 50})).await;
    tokio::time::sleep(Duration::from_millis(1_200)).await;
    for number in 0..40 {
        let (customer, caller) = (format!("canary-{number}"), if number % 2 == 0 { &here } else { &there });
        pay(caller, &customer, &customer).await;
    }
    let canary = fetch(&here, &format!("{RULESET}/canary")).await;
    let by = |part: &str| canary[part]["payments"].as_u64().unwrap();
    assert!(by("decided_by_canary") > 5 && by("decided_by_active") > 5, "{canary}");
    assert_eq!(by("decided_by_canary") + by("decided_by_active"), 40, "{canary}");
    print_step(
        "canary",
        &format!("{} payments by it, {} by the active one", by("decided_by_canary"), by("decided_by_active")),
    );

    // Activate under load, with a guard, and with a concurrent activation that fails.
    let end = Arc::new(AtomicBool::new(false));
    let load = start_honest_load(&[here.clone(), there.clone(), here.clone(), there.clone()], &end);
    let guarded = |percent: f64| json!({"revision": revision, "guard": {"backtest": tested["id"], "max_changed_percent": percent}});
    let path = format!("{RULESET}/activations");
    let (status, refused) = here.post(&path, &guarded(1.0)).await;
    assert_eq!((status, &refused["type"]), (StatusCode::CONFLICT, &json!("/problems/guard-refused")));
    print_step("guard", refused["detail"].as_str().unwrap());
    let tag = FullResponse::of(here.request(Method::GET, RULESET)).await.header("ETag").to_owned();
    let conditional =
        |caller: &Caller| caller.request(Method::POST, &path).header("If-Match", &tag).json(&guarded(20.0));
    let (mine, theirs) = tokio::join!(send(conditional(&here)), send(conditional(&there)));
    let mut statuses = [mine.0.as_u16(), theirs.0.as_u16()];
    statuses.sort_unstable();
    assert_eq!(statuses, [201, 412], "{mine:?} {theirs:?}");
    let delays_ms =
        tokio::join!(time_until_followed(&here, &revision), time_until_followed(&there, &revision));
    print_step(
        "activate",
        &format!("one of two administrators; followed after {} and {} ms", delays_ms.0, delays_ms.1),
    );
    let decided = pay_repeatedly(&here, "third-thief").await;
    let stopped = count_rejected(&decided);
    assert_eq!(stopped, CAUGHT, "{decided:#?}");
    print_step("decide", &format!("{stopped} of {STOLEN} payments of a spree are rejected"));

    // Rollback under load.
    let back = create(&there, &format!("{RULESET}/rollback"), &json!({})).await;
    assert_eq!(back["revision"], before, "{back}");
    let delays_ms = tokio::join!(
        time_until_followed(&here, &back["revision"]),
        time_until_followed(&there, &back["revision"])
    );
    end.store(true, Ordering::SeqCst);
    let mut decided_by = BTreeMap::<i64, usize>::new();
    for payer in load {
        payer.await.unwrap().into_iter().for_each(|(by, count)| *decided_by.entry(by).or_default() += count);
    }
    assert_eq!(decided_by.len(), 2, "{decided_by:?}");
    assert_eq!(count_rejected(&pay_repeatedly(&there, "fourth-thief").await), 0);
    print_step(
        "roll back",
        &format!(
            "followed after {} and {} ms; meanwhile decided by revision: {decided_by:?}",
            delays_ms.0, delays_ms.1
        ),
    );

    assert_replay_and_verify(&setup, &here, before).await;
    assert_recorded(&here, &mut feed).await;
    second.stop().await;
    first.stop().await;
}

/// Replays all decisions and verifies the journal.
async fn assert_replay_and_verify(setup: &StorySetup, caller: &Caller, active: i64) {
    let decided =
        Uuid::parse_str(fetch(caller, "/payments?limit=1").await["items"][0]["id"].as_str().unwrap());
    let replay = fetch(caller, &format!("/decisions/{}/replay", decided.unwrap())).await;
    assert_eq!(replay["identical"], true, "{replay}");
    for arguments in [&["replay", "--since", "1h"][..], &["verify"][..]] {
        let (status, output, log) = run_command(setup.tollgate(arguments));
        assert!(status.success(), "{output}{log}");
        print_step(arguments[0], output.trim());
    }
    let first = json!({"revision": active, "filter": {"outcome": "approve"}, "newest": HONEST});
    let again = backtest(caller, &first).await;
    assert_eq!(
        (&again["report"]["compared"], &again["report"]["changed"]),
        (&json!(HONEST), &json!(0)),
        "{again}"
    );
    print_step("again", &format!("the active revision on {HONEST} payments that it decided changes nothing"));
}

/// Each act is in the audit log and in the feed.
async fn assert_recorded(caller: &Caller, feed: &mut FeedClient) {
    let expected = [
        "revision.created",
        "revision.activated",
        "plugin.uploaded",
        "revision.created",
        "backtest.started",
        "shadow.changed",
        "canary.changed",
        "revision.activated",
        "revision.rolled_back",
        "backtest.started",
    ];
    let mut heard = Vec::new();
    while heard.len() < expected.len() {
        let event = feed.next_within(TEST_TIMEOUT).await.expect("an event");
        if event.name == "audit" {
            heard.push(event.data["action"].as_str().unwrap().to_owned());
        }
    }
    assert_eq!(heard, expected);
    let record = fetch(caller, "/audit?limit=100").await;
    let acts = record["items"].as_array().unwrap().iter().rev();
    let acts: Vec<&str> = acts.map(|act| act["action"].as_str().unwrap()).collect();
    assert_eq!(acts, [&["tenant.created", "client.created"], &expected[..]].concat());
    print_step("audit", &acts.join(", "));
}
