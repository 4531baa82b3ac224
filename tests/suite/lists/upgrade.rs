//! The upgrade of lists and entries from the version before kinds.

use std::time::{Duration, Instant};

use reqwest::StatusCode;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use sqlx::PgConnection;
use tollgate::storage::lists::{ListConversion, convert_lists};

use super::{add, close_now, list, outcome, values};
use crate::support::database::TestDatabase;
use crate::support::lists::write_as_before;
use crate::support::program::{self, TEST_TIMEOUT, tollgate_on};
use crate::support::service::{Caller, Node, payment_with};

/// Changes a list to the form before there were kinds.
async fn make_old(superuser: &mut PgConnection, list: &str) {
    sqlx::query("update lists set kinds = null where name = $1").bind(list).execute(superuser).await.unwrap();
}

/// An entry as the earlier version stored it.
async fn old_entry(superuser: &mut PgConnection, list: &str, value: &str, comparable: &str, from_ms: i64) {
    sqlx::query(
        "insert into list_entries (tenant_id, list, id, value, comparable, normalized_name, reason,
                                   valid_from_ms, added_by, comparison_version)
         select tenant_id, name, gen_random_uuid(), $2, $3, 'old', 'r', $4, 'alice', 1 from lists where name = $1",
    )
    .bind(list)
    .bind(value)
    .bind(comparable)
    .bind(from_ms)
    .execute(superuser)
    .await
    .unwrap();
}

fn creditor(member: &str, value: Value) -> Value {
    let mut creditor = json!({"name": "Quick Cash"});
    creditor[member] = value;
    payment_with(&json!({"creditor": creditor}))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upgrade_gives_old_lists_kinds_and_canonical_entries_without_losing_a_match() {
    let database = TestDatabase::create().await;
    let node = Node::start(&database).await;
    let caller = Caller::of_new_tenant(&node, "acme").await;
    let mut superuser = database.superuser().await;
    write_as_before(&mut superuser).await;
    for (name, kind) in [
        ("accounts", "account"),
        ("mixed", "account"),
        ("countries", "country"),
        ("ips", "text"),
        ("words", "ip"),
    ] {
        list(&caller, name, kind).await;
    }
    sqlx::query("update lists set kinds = '{account,merchant}' where name = 'mixed'")
        .execute(&mut superuser)
        .await
        .unwrap();
    let check = |list: &str, selector: &str| json!({"list": list, "selector": selector, "verdict": "reject"});
    let checks = [
        check("accounts", "creditor_account"),
        check("mixed", "debtor_account"),
        check("mixed", "merchant"),
        check("countries", "creditor_country"),
    ];
    caller.activate(&[("party-lists", json!({"lists": checks}))]).await;
    for (name, value, comparable, from_ms) in [
        ("accounts", "GB33BUKB20201555555555", "GB33BUKB20201555555555", 20),
        ("accounts", "gb33 bukb 2020 1555 5555 55", "gb33bukb20201555555555", 10),
        ("accounts", "FR1420041010050500013M02606", "FR1420041010050500013M02606", 30),
        ("mixed", "AB12 Motor Parts Ltd", "AB12MotorPartsLtd", 10),
        ("countries", "ir", "ir", 10),
        ("countries", "Iran", "Iran", 10),
        ("ips", "2001:DB8::1", "2001:DB8::1", 10),
        ("words", "word", "word", 10),
        ("words", "203.0.113.7", "203.0.113.7", 10),
    ] {
        old_entry(&mut superuser, name, value, comparable, from_ms).await;
    }
    for name in ["accounts", "mixed", "countries", "ips", "words"] {
        make_old(&mut superuser, name).await;
    }

    let done = convert_lists(&node.databases.system).await.unwrap();
    assert_eq!(done, ListConversion { lists: 5, entries: 9, closed: 1, never_match: 1 });
    assert_eq!(convert_lists(&node.databases.system).await.unwrap(), ListConversion::default(), "once");

    let (_, page) = caller.get("/lists").await;
    let kinds: Vec<_> = page["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|list| (list["name"].as_str().unwrap(), list["kind"].as_str().unwrap(), &list["further_kinds"]))
        .collect();
    let (none, merchant) = (Value::Null, json!(["merchant"]));
    assert_eq!(
        kinds,
        [
            ("accounts", "account", &none),
            ("countries", "country", &none),
            ("ips", "ip", &none),
            ("mixed", "account", &merchant),
            ("words", "text", &none)
        ]
    );
    for (key, body) in [
        ("account", creditor("account", json!({"iban": "GB33BUKB20201555555555"}))),
        ("country", creditor("country", json!("IR"))),
        ("merchant", payment_with(&json!({"merchant": "AB12 Motor Parts Ltd"}))),
        ("mixed", payment_with(&json!({"debtor": {"name": "a", "account": {"iban": "AB12MOTORPARTSLTD"}}}))),
    ] {
        assert_eq!(outcome(&caller, key, &body).await, "reject", "{key}");
    }
    // Of two entries that became equal, the earlier stays. The other is reported with its reason.
    let (_, page) = caller.get("/lists/accounts/entries?value=GB33BUKB20201555555555").await;
    let (open, closed): (Vec<_>, Vec<_>) =
        page["items"].as_array().unwrap().iter().partition(|entry| entry.get("valid_to_ms").is_none());
    assert_eq!((open.len(), closed.len()), (1, 1), "{page}");
    assert_eq!(open[0]["value"], "gb33 bukb 2020 1555 5555 55", "{page}");
    let reason =
        format!("compares equal to the entry {}, which began earlier", open[0]["id"].as_str().unwrap());
    assert_eq!(closed[0]["closed_because"], json!(reason));
    let (_, acts) = caller.get("/audit?action=list_entry.closed").await;
    assert_eq!(acts["items"][0]["after"]["closed_because"], json!(reason), "{acts}");
    assert_eq!(caller.get("/audit?action=list.brought_over").await.1["items"].as_array().unwrap().len(), 5);

    // An entry of several kinds is one entry: it is shown once, and closed with one request.
    let (_, page) = caller.get("/lists/mixed/entries").await;
    assert_eq!(values(&page), ["AB12 Motor Parts Ltd"]);
    let entry = &page["items"][0];
    assert_eq!(entry["compared_as"], "AB12MOTORPARTSLTD", "{entry}");
    assert_eq!(entry["also_compared_as"], json!(["AB12 Motor Parts Ltd"]), "{entry}");
    close_now(&caller, "mixed", entry).await;
    for (key, body) in [
        ("merchant-after", payment_with(&json!({"merchant": "AB12 Motor Parts Ltd"}))),
        (
            "mixed-after",
            payment_with(&json!({"debtor": {"name": "a", "account": {"iban": "AB12MOTORPARTSLTD"}}})),
        ),
    ] {
        assert_eq!(outcome(&caller, key, &body).await, "approve", "{key}");
    }
    let (status, again) = add(&caller, "mixed", "CD34 Motor Parts").await;
    assert_eq!(status, StatusCode::CREATED, "{again}");
    assert_eq!(again["also_compared_as"], json!(["CD34 Motor Parts"]), "{again}");
    node.stop().await;
}

const ENTRIES: i64 = 20_000;
/// Each of these entries is on the list in two notations.
const EQUAL: i64 = 200;

async fn count(superuser: &mut PgConnection, which: &str) -> i64 {
    let statement = sqlx::AssertSqlSafe(format!("select count(*) from list_entries where {which}"));
    sqlx::query_scalar(statement).fetch_one(superuser).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upgrade_that_is_killed_halfway_is_finished_once() {
    let database = TestDatabase::create().await;
    let node = Node::start(&database).await;
    let caller = Caller::of_new_tenant(&node, "acme").await;
    list(&caller, "blocked", "account").await;
    let check = json!({"list": "blocked", "selector": "creditor_account", "verdict": "reject"});
    caller.activate(&[("party-lists", json!({"lists": [check]}))]).await;
    let mut superuser = database.superuser().await;
    write_as_before(&mut superuser).await;
    sqlx::query(
        "insert into list_entries (tenant_id, list, id, value, comparable, normalized_name, reason,
                                   valid_from_ms, added_by, comparison_version)
         select tenant_id, name, gen_random_uuid(), value, value, 'old', 'r', from_ms, 'alice', 1
         from lists, (select 'acc-' || n, n from generate_series(1, $1) n
                      union all select 'ACC-' || n, $1 + n from generate_series(1, $2) n) as e (value, from_ms)",
    )
    .bind(ENTRIES)
    .bind(EQUAL)
    .execute(&mut superuser)
    .await
    .unwrap();
    make_old(&mut superuser, "blocked").await;
    let migrate = || {
        let mut command = tollgate_on(&database, &["migrate"]);
        command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
        command
    };

    let mut killed = migrate().spawn().unwrap();
    let begun = Instant::now();
    while count(&mut superuser, "comparison_version = 2").await == 0 {
        assert!(begun.elapsed() < TEST_TIMEOUT, "it did not begin");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    kill_process(Pid::from_child(&killed), Signal::KILL).unwrap();
    killed.wait().unwrap();
    let left = count(&mut superuser, "comparison_version = 1").await;
    assert!(left > 0, "it was killed half-way");

    let both = [migrate(), migrate()]
        .map(|command| tokio::task::spawn_blocking(move || program::run_command(command)));
    let mut log = String::new();
    for ended in futures::future::join_all(both).await {
        let (status, output, stderr) = ended.unwrap();
        assert!(status.success(), "{stderr}");
        log.push_str(&(output + &stderr));
    }
    assert_eq!(count(&mut superuser, "comparison_version = 1").await, 0);
    assert_eq!(count(&mut superuser, "valid_to_ms is null").await, ENTRIES);
    assert_eq!(count(&mut superuser, "closed_because is not null and value like 'ACC-%'").await, EQUAL);
    let acts: i64 =
        sqlx::query_scalar("select count(*) from audit_events where action = 'list_entry.closed'")
            .fetch_one(&mut superuser)
            .await
            .unwrap();
    assert_eq!(acts, EQUAL, "each was closed once");
    assert_eq!(log.matches("converted the lists of an earlier version").count(), 1, "{log}");
    assert!(log.contains("closed=") && log.contains("entries="), "{log}");
    let blocked = creditor("account", json!({"other": "acc-777"}));
    assert_eq!(outcome(&caller, "k", &blocked).await, "reject");
    node.stop().await;
}
