//! Thousands of entries: over HTTP, and as files on the command line.

use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{add, close, list, values};
use crate::support::database::TestDatabase;
use crate::support::lists::until;
use crate::support::program::{run_command, tollgate_on};
use crate::support::service::{Caller, Node, send};

async fn post_entries(
    caller: &Caller,
    list: &str,
    media_type: &str,
    body: impl Into<String>,
) -> (StatusCode, Value) {
    let request = caller.request(Method::POST, &format!("/lists/{list}/entries"));
    send(request.header("Content-Type", media_type).body(body.into())).await
}

async fn open_entries(caller: &Caller, name: &str) -> u64 {
    let (_, page) = caller.get("/lists").await;
    let lists = page["items"].as_array().unwrap();
    lists.iter().find(|list| list["name"] == name).unwrap()["open_entries"].as_u64().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_entries_are_added_in_one_request_and_one_act() {
    let database = TestDatabase::create().await;
    let node = Node::start(&database).await;
    let caller = Caller::of_new_tenant(&node, "acme").await;
    list(&caller, "many", "customer").await;
    let csv: String = (0..10_000).map(|place| format!("c-{place},seen {place}\n")).collect();
    let csv = format!("value,reason\n{csv}");
    let (status, added) = post_entries(&caller, "many", "text/csv; charset=utf-8", csv.clone()).await;
    assert_eq!(status, StatusCode::CREATED, "{added}");
    let valid_from_ms = added["valid_from_ms"].clone();
    assert_eq!(
        added,
        json!({
            "added": 10_000, "already_there": 0, "already_there_lines": [],
            "valid_from_ms": valid_from_ms, "valid_from": added["valid_from"],
        })
    );
    assert_eq!(open_entries(&caller, "many").await, 10_000);
    let (_, page) = caller.get("/lists/many/entries?limit=3").await;
    assert_eq!(values(&page), ["c-0", "c-1", "c-2"], "in the order of the lines");
    assert!(page["items"].as_array().unwrap().iter().all(|entry| entry["valid_from_ms"] == valid_from_ms));
    // The same file again, after a lost response, adds no entry and no act.
    let (status, again) = post_entries(&caller, "many", "text/csv", csv.clone()).await;
    assert_eq!((status, &again["added"]), (StatusCode::CREATED, &json!(0)), "{again}");
    assert_eq!((&again["already_there"], again.get("valid_from_ms")), (&json!(10_000), None));
    assert_eq!(again["already_there_lines"].as_array().unwrap().len(), 100);
    let (_, acts) = caller.get("/audit?subject=many&action=list_entries.imported").await;
    assert_eq!(acts["items"].as_array().unwrap().len(), 1, "{acts}");
    assert_eq!(
        acts["items"][0]["after"],
        json!({"added": 10_000, "already_there": 0, "valid_from_ms": valid_from_ms})
    );

    let (status, problem) = post_entries(&caller, "many", "text/csv", format!("{csv}one-too-many,r\n")).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{problem}");
    assert_eq!(problem["errors"][0]["pointer"], "/10002", "{problem}");
    node.stop().await;
}

/// Sends the headers and only the beginning of a body, and returns the response. A client that
/// continues to write is cut off and may miss the response.
async fn announce(caller: &Caller, list: &str, length: usize) -> String {
    let address = caller.url.strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head = format!(
        "POST /api/v1/lists/{list}/entries HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {}\r\n\
         Content-Type: text/csv\r\nContent-Length: {length}\r\n\r\n{}",
        caller.token(),
        " ".repeat(1_024)
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut response = vec![0; 4_096];
    let length = stream.read(&mut response).await.unwrap();
    String::from_utf8_lossy(&response[..length]).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_single_entry_has_the_time_of_any_small_body() {
    let database = TestDatabase::create().await;
    let listener = json!({"body_part_max_ms": 500});
    let node = Node::start_with(&database, &[("listener", listener)]).await;
    let caller = Caller::of_new_tenant(&node, "acme").await;
    let address = node.url.strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head = format!(
        "POST /api/v1/lists/any/entries HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {}\r\n\
         Content-Type: application/json\r\nContent-Length: 60000\r\n\r\n{{",
        caller.token(),
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let (mut reading, mut writing) = stream.into_split();
    let trickle = tokio::spawn(async move {
        while writing.write_all(b" ").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    let mut response = vec![0; 4_096];
    // The limit must be below the deadline for lines, which is 120 seconds.
    let read = tokio::time::timeout(Duration::from_secs(100), reading.read(&mut response)).await;
    let length = read.expect("an answer before the deadline of lines").unwrap();
    trickle.abort();
    let response = String::from_utf8_lossy(&response[..length]).into_owned();
    let is_timeout = response.contains("/problems/request-timeout");
    assert!(response.starts_with("HTTP/1.1 408") && is_timeout, "{response}");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_or_no_entries_of_a_request_are_added_and_errors_name_their_lines() {
    let database = TestDatabase::create().await;
    let node = Node::start(&database).await;
    let caller = Caller::of_new_tenant(&node, "acme").await;
    list(&caller, "ips", "ip").await;
    add(&caller, "ips", "2001:db8::1").await;
    let lines = |values: &[&str]| -> String {
        values.iter().map(|value| format!("{}\n", json!({"value": value, "reason": "r"}))).collect()
    };
    let bad = lines(&["203.0.113.7", "nowhere", "203.0.113.0/24"]) + "{\"value\": 7}\n";
    let (status, problem) = post_entries(&caller, "ips", "application/x-ndjson", bad).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{problem}");
    let pointers: Vec<&str> = problem["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|error| error["pointer"].as_str().unwrap())
        .collect();
    assert_eq!(pointers, ["/2/value", "/4/value", "/4/reason"], "{problem}");
    assert!(problem["errors"][0]["detail"].as_str().unwrap().starts_with("line 2: "), "{problem}");
    assert!(!problem.to_string().contains("nowhere"), "{problem}");
    assert_eq!(open_entries(&caller, "ips").await, 1, "nothing was added");

    // These equal an open entry and an earlier line.
    let good = lines(&["2001:DB8:0::1", "203.0.113.7", "::ffff:203.0.113.7", "203.0.113.0/24"]);
    let (status, added) = post_entries(&caller, "ips", "application/x-ndjson", good).await;
    assert_eq!(status, StatusCode::CREATED, "{added}");
    assert_eq!((&added["added"], &added["already_there"]), (&json!(2), &json!(2)), "{added}");
    assert_eq!(added["already_there_lines"], json!([1, 3]));
    for (media_type, body, expected) in
        [("text/plain", "value,reason\n", 415), ("text/csv", "value,colour\n", 422), ("text/csv", "", 422)]
    {
        let (status, problem) = post_entries(&caller, "ips", media_type, body).await;
        assert_eq!(status.as_u16(), expected, "{media_type} {body:?}: {problem}");
    }
    let response = announce(&caller, "ips", (4 << 20) + 1).await;
    assert!(response.starts_with("HTTP/1.1 413 "), "{response}");
    let (status, problem) = post_entries(&caller, "nowhere", "text/csv", "value,reason\n").await;
    assert_eq!(status, StatusCode::NOT_FOUND, "{problem}");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exported_list_can_be_imported_unchanged() {
    let database = TestDatabase::create().await;
    let node = Node::start(&database).await;
    let caller = Caller::of_new_tenant(&node, "acme").await;
    let folder = tempfile::tempdir().unwrap();
    list(&caller, "blocked", "account").await;
    let later_ms = crate::support::decisions::now_ms() + 3_600_000;
    for body in [
        json!({"value": "gb33 bukb 2020 1555 5555 55", "reason": "a \"mule\", they say"}),
        json!({"value": "DE89370400440532013000", "reason": "é", "valid_from_ms": later_ms}),
        json!({"value": "GB33 BUKB", "reason": "the bank", "valid_to_ms": later_ms}),
    ] {
        let (status, entry) = caller.post("/lists/blocked/entries", &body).await;
        assert_eq!(status, StatusCode::CREATED, "{entry}");
    }
    let gone = add(&caller, "blocked", "closed").await.1;
    assert_eq!(close(&caller, "blocked", &gone).await.0, StatusCode::OK);

    let run = |arguments: &[&str], list: &str| {
        let mut command = tollgate_on(&database, &["list"]);
        command.args(arguments).args(["--tenant", "acme", "--list", list]);
        command
    };
    for format in ["csv", "jsonl"] {
        let (status, exported, stdout) = run_command(run(&["export", "--format", format], "blocked"));
        assert!(status.success(), "{stdout}");
        let file = folder.path().join(format!("entries.{format}"));
        std::fs::write(&file, &exported).unwrap();
        let copy = format!("copy-{format}");
        list(&caller, &copy, "account").await;
        for (added, already_there) in [(3, 0), (0, 3)] {
            let mut import = run(&["import"], &copy);
            import.arg(&file);
            let (status, stdout, log) = run_command(import);
            assert!(status.success(), "{log}");
            assert!(
                stdout.contains(&format!("3 entries: {added} added, {already_there} already on the list")),
                "{stdout}"
            );
        }
        let (_, again, _) = run_command(run(&["export", "--format", format], &copy));
        assert_eq!(again, exported);
    }

    std::fs::write(folder.path().join("bad.csv"), "value,reason\n-,r\nx,\n").unwrap();
    let mut import = run(&["import"], "copy-csv");
    import.arg(folder.path().join("bad.csv"));
    let (status, stdout, log) = run_command(import);
    assert!(!status.success() && stdout.contains("Lines with errors: 2"), "{stdout}");
    assert!(log.contains("line 2: /value: ") && log.contains("line 3: /reason: "), "{log}");
    let (status, _, log) = run_command(run(&["export"], "nowhere"));
    assert!(!status.success() && log.contains("has no list nowhere"), "{log}");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_future_entry_does_not_prevent_a_valid_one() {
    let database = TestDatabase::create().await;
    let node = Node::start(&database).await;
    let caller = Caller::of_new_tenant(&node, "acme").await;
    list(&caller, "blocked", "customer").await;
    let check = json!({"list": "blocked", "selector": "customer", "verdict": "reject"});
    caller.activate(&[("party-lists", json!({"lists": [check]}))]).await;
    let later_ms = crate::support::decisions::now_ms() + 3_600_000;
    let end_ms = later_ms + 3_600_000;
    let later = json!({"value": "c-1", "reason": "r", "valid_from_ms": later_ms});
    assert_eq!(caller.post("/lists/blocked/entries", &later).await.0, StatusCode::CREATED);
    let lines = format!(
        "value,reason,valid_from_ms,valid_to_ms\n\
         c-1,now,,\n\
         c-2,later,{later_ms},{end_ms}\n\
         c-2,now,,{end_ms}\n\
         c-3,later,{later_ms},\n\
         c-3,now,,\n\
         c-3,in between,{later_ms},{end_ms}\n"
    );
    let mut valid_from_ms = None;
    for (added, already_there_lines) in [(5, json!([7])), (0, json!([2, 3, 4, 5, 6, 7]))] {
        let (status, response) = post_entries(&caller, "blocked", "text/csv", lines.clone()).await;
        assert_eq!(status, StatusCode::CREATED, "{response}");
        assert_eq!(
            (&response["added"], &response["already_there_lines"]),
            (&json!(added), &already_there_lines),
            "{response}"
        );
        valid_from_ms = valid_from_ms.or(response["valid_from_ms"].as_u64());
    }
    until(valid_from_ms.expect("when the entries are valid")).await;
    for customer in ["c-1", "c-2", "c-3"] {
        let body = crate::support::service::payment_with(&json!({"customer": customer}));
        assert_eq!(super::outcome(&caller, customer, &body).await, "reject", "{customer}");
    }
    // Single requests too.
    let later = json!({"value": "c-4", "reason": "r", "valid_from_ms": later_ms});
    assert_eq!(caller.post("/lists/blocked/entries", &later).await.0, StatusCode::CREATED);
    assert_eq!(add(&caller, "blocked", "c-4").await.0, StatusCode::CREATED);
    assert_eq!(add(&caller, "blocked", "c-4").await.0, StatusCode::CONFLICT);
    assert_eq!(caller.post("/lists/blocked/entries", &later).await.0, StatusCode::CONFLICT);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_that_fails_halfway_reports_its_position_and_can_be_continued() {
    let database = TestDatabase::create().await;
    let node = Node::start(&database).await;
    let caller = Caller::of_new_tenant(&node, "acme").await;
    list(&caller, "blocked", "customer").await;
    for value in ["c-0", "other-1", "other-2"] {
        add(&caller, "blocked", value).await;
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("entries.csv");
    let lines: String = (0..10_500).map(|place| format!("c-{place},r\n")).collect();
    std::fs::write(&file, format!("value,reason\n{lines}")).unwrap();
    let import = |entries_max: &str| {
        let mut import = tollgate_on(&database, &["list", "import", "--tenant", "acme", "--list", "blocked"]);
        import.arg(&file).env("ROCKET_TOLLGATE_LIST_ENTRIES_MAX", entries_max);
        run_command(import)
    };
    let (status, stdout, log) = import("10500");
    assert!(!status.success(), "{stdout}");
    for part in
        ["adding 9999 of 10500 entries (1 were already on the list)", "Run it again", "at most 10500 entries"]
    {
        assert!(log.contains(part), "{part}: {log}");
    }
    assert_eq!(open_entries(&caller, "blocked").await, 3 + 9_999);
    let (status, stdout, log) = import("20000");
    assert!(status.success(), "{log}");
    assert!(stdout.contains("10500 entries: 500 added, 10000 already on the list"), "{stdout}");
    node.stop().await;
}
