//! Raw requests that the door refuses: each with its exact answer, and none is ever executed.

use serde_json::json;

use super::refused::{Blamed, Case, all};
use crate::support::database::TestDatabase;
use crate::support::program::{Program, tollgate_on};
use crate::support::raw_client::{RawAnswer, RawClient, RawRequest};
use crate::support::service::{Caller, Node};

async fn stored_decisions(database: &TestDatabase) -> i64 {
    let counted = sqlx::query_scalar("select count(*) from decisions");
    counted.fetch_one(&mut database.superuser().await).await.unwrap()
}

/// Sends bytes and then a payment on the same connection. Returns the only answer: asserts that
/// the connection was closed after it.
async fn refusal_of(caller: &Caller, what: &str, bytes: &[u8]) -> RawAnswer {
    let mut client = RawClient::connect(&caller.url).await;
    let next = RawRequest::payment(caller, "next").bytes();
    client.send(&[bytes, &next].concat()).await;
    let answer = client.answer().await.unwrap_or_else(|| panic!("no answer to {what}"));
    assert_eq!(answer.header("Connection"), Some("close"), "{what}: {answer:?}");
    let rest = client.rest().await;
    assert_eq!(String::from_utf8_lossy(&rest), "", "{what}: the connection was used further");
    answer
}

async fn is_refused(caller: &Caller, case: &Case) -> String {
    let answer = refusal_of(caller, &case.what, &case.bytes).await;
    let problem = answer.has_problem(&case.what, case.status, case.problem);
    let named = problem["errors"][0]["parameter"].as_str();
    let is_blamed = match case.blamed {
        Blamed::Any => true,
        Blamed::None => named.is_none(),
        Blamed::One(name) => named == Some(name),
        Blamed::Either(one, other) => named == Some(one) || named == Some(other),
    };
    assert!(is_blamed, "{}: {:?} is expected: {problem}", case.what, case.blamed);
    problem["request_id"].as_str().expect("an id").to_owned()
}

/// All answers that the metrics count.
fn answered(metrics: &str) -> f64 {
    let series = metrics.lines().filter(|line| line.starts_with("http_requests_total{"));
    series.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().expect("a number")).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_bad_head_is_refused_exactly_logged_and_counted_and_what_follows_is_not_executed() {
    let database = TestDatabase::create().await;
    let mut program = Program::serve(&database).await;
    let caller = program.caller_of_new_tenant(&database, "acme").await;
    let metrics = async || {
        let page = reqwest::get(format!("{}/metrics", program.url)).await.unwrap();
        answered(&page.text().await.unwrap())
    };
    let before = metrics().await;
    let cases = all(&caller);
    assert!(cases.len() >= 80, "{}", cases.len());
    let mut ids = Vec::new();
    for case in &cases {
        ids.push(is_refused(&caller, case).await);
    }
    // The first reading is counted as well.
    let counted = metrics().await - before - 1.0;
    assert_eq!(counted as usize, cases.len());
    assert_eq!(stored_decisions(&database).await, 0);
    program.signal(rustix::process::Signal::TERM);
    assert!(program.wait().await.success(), "{}", program.log());
    let log = program.log();
    for (case, id) in cases.iter().zip(ids) {
        let lines = log.lines().filter(|line| line.contains("answered") && line.contains(&id)).count();
        assert_eq!(lines, 1, "{}: {id}", case.what);
    }
    for secret in [caller.token(), "DE89370400440532013000", "X-Note", "elsewhere.example"] {
        assert!(!log.contains(secret), "{secret} is in the log");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_may_have_so_many_bytes_and_fields_and_no_more() {
    let database = TestDatabase::create().await;
    let listener = json!({"head_max_bytes": 8_192, "head_fields_max": 20, "target_max_bytes": 4_000});
    let node = Node::start_with(&database, &[("listener", listener)]).await;
    let caller = Caller::of_new_tenant(&node, "acme").await;
    let list = || RawRequest::get(&caller, "/api/v1/payments");
    let padded = |bytes: usize| {
        let length = list().field("X-Note: ").head().len();
        list().field(format!("X-Note: {}", "a".repeat(bytes - length))).bytes()
    };
    let fields = |count: usize| {
        let request = list();
        (request.fields_count()..count).fold(request, |request, place| request.field(format!("X-{place}: a")))
    };
    let target = |bytes: usize| {
        let path = "/api/v1/payments?limit=1&cursor=";
        RawRequest::get(&caller, &format!("{path}{}", "a".repeat(bytes - path.len()))).bytes()
    };
    // The cursor is none.
    for (what, bytes, status) in
        [("bytes", padded(8_192), 200), ("fields", fields(20).bytes(), 200), ("target", target(4_000), 400)]
    {
        let mut client = RawClient::connect(&node.url).await;
        client.send(&bytes).await;
        let answer = client.answer().await.unwrap_or_else(|| panic!("no answer: {what}"));
        answer.has_common_headers(what);
        assert_eq!((answer.status, answer.header("Connection")), (status, None), "{what}: {answer:?}");
        assert!(status == 200 || answer.json()["type"] == "/problems/invalid-query", "{what}");
    }
    for (what, bytes, status, kind) in [
        ("one byte more", padded(8_193), 431, "head-too-large"),
        ("many bytes more", padded(1 << 20), 431, "head-too-large"),
        ("one field more", fields(21).bytes(), 431, "head-too-large"),
        (
            "short fields",
            (0..2_000).fold(list(), |request, _| request.field("a:")).bytes(),
            431,
            "head-too-large",
        ),
        ("one byte more in the target", target(4_001), 414, "uri-too-long"),
        ("a target larger than a head", target(100_000), 414, "uri-too-long"),
    ] {
        refusal_of(&caller, what, &bytes).await.has_problem(what, status, kind);
    }
    assert_eq!(stored_decisions(&database).await, 0);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn paths_that_cannot_be_read_are_answered_as_any_other() {
    let database = TestDatabase::create().await;
    let node = Node::start(&database).await;
    let caller = Caller::of_new_tenant(&node, "acme").await;
    let expected: [(&str, u16); 21] = [
        ("/api/v1/payments/%", 404),
        ("/api/v1/payments/%2", 404),
        ("/api/v1/payments/%zz", 404),
        ("/api/v1/payments/%00", 404),
        ("/api/v1/payments/%ff%fe", 404),
        ("/api/v1/payments/%c0%af", 404),
        ("/api/v1/payments/%2e%2e%2fhealth", 404),
        ("/api/v1/payments/..", 404),
        ("/api/v1/payments/[", 404),
        ("/api/v1/payments/\"", 400),
        ("/api/v1/payments/<a>", 400),
        ("/api/v1/payments/{a}", 400),
        ("/api/v1/payments/|", 400),
        ("/api/v1/payments/\\", 400),
        ("/api/v1/payments/^`", 400),
        // Empty segments mean nothing.
        ("//api/v1/payments", 200),
        ("///", 200),
        ("/api/v1/payments?%", 400),
        ("/api/v1/payments?limit=%zz", 400),
        ("/api/v1/payments?[]={}|\"", 400),
        ("/api/v1/payments?limit=1?limit=2", 400),
    ];
    let mut found = Vec::new();
    for (path, _) in expected {
        let mut client = RawClient::connect(&node.url).await;
        client.send(&RawRequest::get(&caller, path).bytes()).await;
        let answer = client.answer().await.unwrap_or_else(|| panic!("no answer to {path}"));
        answer.has_common_headers(path);
        if answer.status >= 400 {
            assert!(answer.json()["type"].as_str().unwrap().starts_with("/problems/"), "{path}");
        }
        found.push((path, answer.status));
    }
    assert_eq!(found, expected);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_of_the_log_of_a_release_is_json_with_its_status() {
    let database = TestDatabase::create().await;
    let mut command = tollgate_on(&database, &["serve"]);
    command.env("ROCKET_PROFILE", "release").env("ROCKET_ADDRESS", "127.0.0.1");
    let mut program = Program::start(command).await;
    let caller = program.caller_of_new_tenant(&database, "acme").await;
    let request = || RawRequest::payment(&caller, "k");
    let mut expected = Vec::new();
    for (bytes, status) in [
        (request().line("FOO /api/v1/payments HTTP/1.1").bytes(), 501),
        (request().field("Idempotency-Key: k").bytes(), 400),
        (request().line("POST /api/v1/payments HTTP/1.0").bytes(), 505),
        (request().field(format!("X-Note: {}", "a".repeat(20_000))).bytes(), 431),
    ] {
        let answer = refusal_of(&caller, "refused", &bytes).await;
        assert_eq!(answer.status, status);
        expected.push((answer.header("X-Request-Id").unwrap().to_owned(), status));
    }
    program.signal(rustix::process::Signal::TERM);
    assert!(program.wait().await.success());
    let lines = program.lines().clone();
    for (id, status) in expected {
        let line = lines.iter().find(|line| line.contains("answered") && line.contains(&id)).expect("a line");
        let line: serde_json::Value = serde_json::from_str(line).expect("JSON");
        assert_eq!((&line["status"], &line["request_id"]), (&json!(status), &json!(id)), "{line}");
        for name in ["refusal", "route", "latency_us", "trace_id"] {
            assert!(!line[name].is_null(), "{name}: {line}");
        }
    }
}
