//! Reference tables: their versions, look-ups, differences and activations.

mod command_line;
mod uploads;

use std::time::{Duration, Instant};

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tollgate::domain::table::TableName;
use tollgate::domain::tenant::TenantId;
use tollgate::storage::{tables, tenants};

use crate::support::database::TestDatabase;
use crate::support::program::TEST_TIMEOUT;
use crate::support::service::{Caller, FullResponse, Node, send};

async fn create(caller: &Caller, name: &str, lookup: &str, kind: &str) {
    let columns = json!([{"name": "issuer", "kind": "text"}, {"name": "rate", "kind": "number"}]);
    let table = json!({"name": name, "lookup": lookup, "kind": kind, "columns": columns});
    let (status, table) = caller.post("/tables", &table).await;
    assert_eq!(status, StatusCode::CREATED, "{table}");
}

async fn upload(caller: &Caller, table: &str, csv: impl Into<String>) -> (StatusCode, Value) {
    let request = caller.request(Method::POST, &format!("/tables/{table}/versions?note=test"));
    send(request.header("Content-Type", "text/csv").body(csv.into())).await
}

async fn uploaded(caller: &Caller, table: &str, csv: &str) -> Value {
    let (status, version) = upload(caller, table, csv).await;
    assert_eq!(status, StatusCode::CREATED, "{version}");
    version
}

/// Waits until a version is valid.
async fn wait_until_valid(caller: &Caller, table: &str, key: &str, version: i64) -> Value {
    let begun = Instant::now();
    loop {
        let (status, found) = caller.get(&format!("/tables/{table}/rows?key={key}")).await;
        if status == StatusCode::OK && found["version"] == version {
            return found;
        }
        assert!(begun.elapsed() < TEST_TIMEOUT, "{found}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_is_uploaded_looked_up_and_downloaded() {
    let database = TestDatabase::create().await;
    let node = Node::start(&database).await;
    let caller = Caller::of_new_tenant(&node, "acme").await;
    create(&caller, "bins", "range", "card").await;
    let csv = "to,from,issuer,rate\n411199,411100,Bank A,1.25\n4112,4112,,\n";
    let version = uploaded(&caller, "bins", csv).await;
    assert_eq!(
        (&version["number"], &version["rows"], &version["note"]),
        (&json!(1), &json!(2), &json!("test"))
    );
    let (from_ms, at_ms) =
        (version["valid_from_ms"].as_u64().unwrap(), version["created_at_ms"].as_u64().unwrap());
    assert_eq!(from_ms, at_ms + 2_000);
    assert_eq!(caller.get("/tables/bins/versions/1").await, (StatusCode::OK, version));

    let found = wait_until_valid(&caller, "bins", "41110000", 1).await;
    assert_eq!(found["row"], json!({"from": "411100", "to": "411199", "issuer": "Bank A", "rate": 1.25}));
    assert!(crate::support::decisions::now_ms() + 200 >= from_ms, "it was valid too early");
    for (key, status, issuer) in [
        ("411199", 200, json!("Bank A")),
        ("4112", 200, Value::Null),
        ("41129", 200, Value::Null),
        ("411", 404, Value::Null),
        ("4113", 404, Value::Null),
        ("abc", 400, Value::Null),
        ("", 400, Value::Null),
    ] {
        let (found, answer) = caller.get(&format!("/tables/bins/rows?key={key}&version=1")).await;
        assert_eq!((found.as_u16(), &answer["row"]["issuer"]), (status, &issuer), "{key}: {answer}");
    }
    for (format, media_type, text) in [
        ("csv", "text/csv", "from,to,issuer,rate\n411100,411199,Bank A,1.25\n4112,4112,,\n"),
        (
            "jsonl",
            "application/x-ndjson",
            "{\"from\":\"411100\",\"to\":\"411199\",\"issuer\":\"Bank A\",\"rate\":1.25}\n{\"from\":\"4112\",\"to\":\"4112\"}\n",
        ),
    ] {
        let rows = caller.request(Method::GET, &format!("/tables/bins/versions/1/rows?format={format}"));
        let rows = FullResponse::of(rows).await;
        assert_eq!((rows.status, rows.text.as_str()), (200, text));
        assert!(rows.header("Content-Type").starts_with(media_type), "{}", rows.header("Content-Type"));
        let again = caller.request(Method::POST, "/tables/bins/versions").header("Content-Type", media_type);
        let (status, again) = send(again.body(rows.text)).await;
        assert_eq!(status, StatusCode::CREATED, "{again}");
    }
    let (_, versions) = caller.get("/tables/bins/versions").await;
    let digests: Vec<&Value> = versions["items"].as_array().unwrap().iter().map(|it| &it["digest"]).collect();
    assert!(digests.len() == 3 && digests.iter().all(|digest| *digest == digests[0]), "{versions}");
    let (_, acts) = caller.get("/audit?subject=bins").await;
    let acts: Vec<&str> =
        acts["items"].as_array().unwrap().iter().map(|act| act["action"].as_str().unwrap()).collect();
    let uploads = ["table_version.uploaded"; 3];
    assert_eq!(acts, [&uploads[..], &["table.created"]].concat());
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_longest_prefix_is_found_in_whichever_part_of_a_large_version_it_is() {
    let database = TestDatabase::create().await;
    let node = Node::start(&database).await;
    let caller = Caller::of_new_tenant(&node, "acme").await;
    create(&caller, "accounts", "longest_prefix", "account").await;
    // Between the prefix and the value there are several parts of 256 kB.
    let between: String =
        (0..40_000).map(|number| format!("DE37040044X{number:05},a bank of many words,\n")).collect();
    uploaded(&caller, "accounts", &format!("key,issuer,rate\nde,all,\nDE3704,some,2\n{between}")).await;
    for (key, row) in [
        ("DE37%200400%2044Y1", json!({"key": "DE3704", "issuer": "some", "rate": 2})),
        ("DE37040044X39999777", json!({"key": "DE37040044X39999", "issuer": "a bank of many words"})),
        ("DE99", json!({"key": "DE", "issuer": "all"})),
        ("AT", Value::Null),
        ("ZZ", Value::Null),
    ] {
        let (_, found) = caller.get(&format!("/tables/accounts/rows?key={key}&version=1")).await;
        assert_eq!(found["row"], row, "{key}: {found}");
    }
    let (name, tenant) = (TableName::parse("accounts").unwrap(), tenant(&node).await);
    let contents =
        tables::load(&node.databases.system, tenant, &name, 1).await.unwrap().expect("the version");
    assert_eq!(contents.len(), 40_002);
    assert!(contents.longest_prefix("DE37040044Y1").is_some() && contents.longest_prefix("AT").is_none());
    node.stop().await;
}

async fn tenant(node: &Node) -> TenantId {
    tenants::tenant_by_name(&node.databases.system, "acme").await.unwrap().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn versions_are_compared_in_pages() {
    let database = TestDatabase::create().await;
    let node = Node::start(&database).await;
    let caller = Caller::of_new_tenant(&node, "acme").await;
    create(&caller, "countries", "exact", "country").await;
    uploaded(&caller, "countries", "key,issuer,rate\nAT,a,1\nDE,d,1\nFR,f,1\nIT,i,1\n").await;
    uploaded(&caller, "countries", "key,issuer,rate\nBE,b,1\nDE,d,1.5\nFR,f,1\nIT,,1\n").await;
    let (mut items, mut cursor) = (Vec::new(), String::new());
    loop {
        let (status, page) = caller.get(&format!("/tables/countries/diff?from=1&to=2&limit=2{cursor}")).await;
        assert_eq!(status, StatusCode::OK, "{page}");
        let counts =
            if cursor.is_empty() { json!({"added": 1, "removed": 1, "changed": 2}) } else { Value::Null };
        assert_eq!(page["counts"], counts);
        items.extend(page["items"].as_array().unwrap().clone());
        let Some(next) = page["next_cursor"].as_str() else { break };
        cursor = format!("&cursor={next}");
    }
    let row = |key: &str, issuer: &str, rate: f64| json!({"key": key, "issuer": issuer, "rate": rate});
    let whole = |key, issuer| json!({"key": key, "issuer": issuer, "rate": 1});
    assert_eq!(
        items,
        [
            json!({"kind": "removed", "before": whole("AT", "a")}),
            json!({"kind": "added", "after": whole("BE", "b")}),
            json!({"kind": "changed", "before": whole("DE", "d"), "after": row("DE", "d", 1.5)}),
            json!({"kind": "changed", "before": whole("IT", "i"), "after": {"key": "IT", "rate": 1}}),
        ]
    );
    let (_, same) = caller.get("/tables/countries/diff?from=2&to=2").await;
    assert_eq!(same, json!({"counts": {"added": 0, "removed": 0, "changed": 0}, "items": []}));
    for (query, status) in [("from=1", 400), ("from=1&to=x", 400), ("from=1&to=3", 404)] {
        let (found, answer) = caller.get(&format!("/tables/countries/diff?{query}")).await;
        assert_eq!(found.as_u16(), status, "{query}: {answer}");
    }
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rolling_back_adds_a_line_that_takes_effect_later_and_can_be_conditional() {
    let database = TestDatabase::create().await;
    let node = Node::start(&database).await;
    let caller = Caller::of_new_tenant(&node, "acme").await;
    create(&caller, "rates", "exact", "text").await;
    let (status, _) = caller.post("/tables/rates/activations", &json!({"version": 1})).await;
    assert_eq!(status, StatusCode::NOT_FOUND, "there is no version yet");
    for rate in 1..=3 {
        uploaded(&caller, "rates", &format!("key,issuer,rate\nEUR,,{rate}\n")).await;
    }
    let read = FullResponse::of(caller.request(Method::GET, "/tables/rates")).await;
    let tag = read.header("ETag").to_owned();
    assert_eq!(read.json()["activation"]["version"], 3);
    let roll_back = |path: &str, tag: &str| caller.request(Method::POST, path).header("If-Match", tag);
    let back = FullResponse::of(roll_back("/tables/rates/rollback", &tag)).await;
    let line = back.json();
    assert_eq!((back.status, &line["version"], &line["kind"]), (201, &json!(2), &json!("roll_back")));
    assert!(line["valid_from_ms"].as_u64().unwrap() >= line["activated_at_ms"].as_u64().unwrap() + 2_000);
    let (status, problem) = send(roll_back("/tables/rates/rollback", &tag)).await;
    assert_eq!(status, StatusCode::PRECONDITION_FAILED, "{problem}");
    let (status, line) = send(roll_back("/tables/rates/rollback", back.header("ETag"))).await;
    assert_eq!((status, &line["version"]), (StatusCode::CREATED, &json!(1)), "further back");
    for (path, body, status) in [
        ("/tables/rates/rollback", Value::Null, 409),
        ("/tables/rates/rollback?version=9", Value::Null, 404),
        ("/tables/rates/activations", json!({"version": 1}), 409),
        ("/tables/rates/activations", json!({"version": 9}), 404),
        ("/tables/rates/activations", json!({"version": 3}), 201),
        ("/tables/rates/rollback?version=1", Value::Null, 201),
    ] {
        let (found, answer) = caller.post(path, &body).await;
        assert_eq!(found.as_u16(), status, "{path} {body}: {answer}");
    }
    let found = wait_until_valid(&caller, "rates", "EUR", 1).await;
    assert_eq!(found["row"]["rate"], 1);

    let (_, log) = caller.get("/tables/rates/activations").await;
    let lines = log["items"].as_array().unwrap();
    let shown: Vec<_> = lines
        .iter()
        .map(|line| (line["kind"].as_str().unwrap(), line["version"].as_i64().unwrap()))
        .collect();
    let uploads = [("upload", 3), ("upload", 2), ("upload", 1)];
    let later = [("roll_back", 1), ("activate", 3), ("roll_back", 1), ("roll_back", 2)];
    assert_eq!(shown, [&later[..], &uploads[..]].concat());
    for name in ["sequence", "valid_from_ms"] {
        let values = lines.iter().rev().map(|line| line[name].as_u64().unwrap());
        assert!(values.is_sorted(), "{name}: {log}");
    }
    let (_, acts) = caller.get("/audit?subject=rates&action=table_version.rolled_back").await;
    assert_eq!(acts["items"].as_array().unwrap().len(), 3, "{acts}");
    assert_eq!(acts["items"][2]["before"], json!({"version": 3}));
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_table_keeps_its_versions_and_takes_no_more() {
    let database = TestDatabase::create().await;
    let node = Node::start(&database).await;
    let caller = Caller::of_new_tenant(&node, "acme").await;
    create(&caller, "rates", "exact", "text").await;
    let csv = "key,issuer,rate\nEUR,,1\n";
    uploaded(&caller, "rates", csv).await;
    for status in [StatusCode::NO_CONTENT, StatusCode::NOT_FOUND] {
        assert_eq!(send(caller.request(Method::DELETE, "/tables/rates")).await.0, status);
    }
    assert_eq!(upload(&caller, "rates", csv).await.0, StatusCode::CONFLICT);
    let (status, _) = caller.post("/tables/rates/activations", &json!({"version": 1})).await;
    assert_eq!(status, StatusCode::CONFLICT);
    let (_, table) = caller.get("/tables/rates").await;
    assert!(table["closed_at_ms"].is_u64() && table["newest_version"] == 1, "{table}");
    assert_eq!(caller.get("/tables/rates/rows?key=EUR&version=1").await.0, StatusCode::OK);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_sees_only_its_own_tables() {
    let database = TestDatabase::create().await;
    let node = Node::start(&database).await;
    let ours = Caller::of_new_tenant(&node, "acme").await;
    let theirs = Caller::of_new_tenant(&node, "other").await;
    create(&ours, "rates", "exact", "text").await;
    uploaded(&ours, "rates", "key,issuer,rate\nEUR,,1\n").await;
    for path in [
        "",
        "/versions",
        "/versions/1",
        "/versions/1/rows",
        "/rows?key=EUR&version=1",
        "/diff?from=1&to=1",
        "/activations",
    ] {
        let (status, problem) = theirs.get(&format!("/tables/rates{path}")).await;
        assert_eq!(status, StatusCode::NOT_FOUND, "{path}: {problem}");
    }
    assert_eq!(theirs.get("/tables").await.1, json!({"items": []}));
    let csv = "key,issuer,rate\nEUR,,2\n";
    assert_eq!(upload(&theirs, "rates", csv).await.0, StatusCode::NOT_FOUND);
    create(&theirs, "rates", "exact", "text").await;
    assert_eq!(uploaded(&theirs, "rates", csv).await["number"], 1);
    let (_, found) = ours.get("/tables/rates/rows?key=EUR&version=1").await;
    assert_eq!(found["row"]["rate"], 1);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_makes_no_sense_is_refused() {
    let database = TestDatabase::create().await;
    let node = Node::start(&database).await;
    let caller = Caller::of_new_tenant(&node, "acme").await;
    create(&caller, "taken", "exact", "text").await;
    let column = |name: &str| json!({"name": name, "kind": "text"});
    for (name, lookup, kind, columns, status, pointer) in [
        ("taken", "exact", "text", json!([]), 409, ""),
        ("Bad Name", "exact", "text", json!([]), 422, "/name"),
        ("t", "fuzzy", "text", json!([]), 422, "/lookup"),
        ("t", "longest_prefix", "ip", json!([]), 422, "/kind"),
        ("t", "range", "country", json!([]), 422, "/kind"),
        ("t", "exact", "text", json!([column("a"), column("a")]), 422, "/columns"),
        ("t", "exact", "text", json!([column("key")]), 422, "/columns/0/name"),
        ("t", "exact", "text", json!([{"name": "a", "kind": "date"}]), 422, "/columns/0/kind"),
    ] {
        let body = json!({"name": name, "lookup": lookup, "kind": kind, "columns": columns});
        let (found, problem) = caller.post("/tables", &body).await;
        assert_eq!(found.as_u16(), status, "{body}: {problem}");
        assert_eq!(problem["errors"][0]["pointer"].as_str().unwrap_or_default(), pointer, "{problem}");
    }
    node.stop().await;
}
