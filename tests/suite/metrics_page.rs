//! The metrics page: complete from the first scrape, and correct.

use std::collections::BTreeSet;
use std::io::Write;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::database::TestDatabase;
use crate::support::program::{Program, TEST_TIMEOUT};
use crate::support::service::{Caller, payment, payment_with};

async fn page(program: &Program) -> String {
    reqwest::get(format!("{}/metrics", program.url)).await.unwrap().text().await.unwrap()
}

/// The value of the series that begins with this text.
fn value(page: &str, series: &str) -> f64 {
    let found = page.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    found.unwrap_or_else(|| panic!("{series} is missing:\n{page}")).parse().unwrap()
}

fn named_on<'a>(page: &'a str, before: &str) -> BTreeSet<&'a str> {
    page.lines().filter_map(|line| line.strip_prefix(before)?.split(' ').next()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_scrape_has_every_documented_family_with_its_help() {
    let database = TestDatabase::create().await;
    let program = Program::serve(&database).await;
    let page = page(&program).await;
    let manual = include_str!("../../docs/OPERATING.md");
    let rows = manual.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    let named: BTreeSet<&str> =
        rows.filter(|name| name.contains('_') && *name == name.to_lowercase()).collect();
    let families = named_on(&page, "# TYPE ");
    assert_eq!(families, named, "the page, and the manual");
    assert_eq!(families, named_on(&page, "# HELP "));
    for family in families {
        let has_a_series = page.lines().any(|line| line.starts_with(family) && !line.starts_with('#'));
        assert!(has_a_series, "{family} has no series");
    }
    program.stop().await;
}

async fn pay(caller: &Caller) {
    let large = payment_with(&json!({"amount_minor": 1_500_000}));
    for (key, body, status) in
        [("a", payment(), 201), ("b", payment(), 201), ("c", large, 201), ("a", payment(), 200)]
    {
        assert_eq!(caller.pay(key, &body).await.0, status);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn decisions_rules_connections_and_the_process_are_measured() {
    let database = TestDatabase::create().await;
    let program = Program::serve(&database).await;
    let caller = program.caller_of_new_tenant(&database, "acme").await;
    let limits = json!({"limits": [{"currency": "EUR", "review_above_minor": 1_000_000}]});
    caller.activate(&[("amount-limits", limits), ("account-check", json!({}))]).await;
    let before = page(&program).await;
    pay(&caller).await;
    let after = page(&program).await;
    let series = [
        ("tollgate_decisions_total{outcome=\"approve\"}", 2.0),
        ("tollgate_decisions_total{outcome=\"review\"}", 1.0),
        ("tollgate_decisions_total{outcome=\"reject\"}", 0.0),
        ("tollgate_rule_runs_total{result=\"pass\"}", 5.0),
        ("tollgate_rule_runs_total{result=\"review\"}", 1.0),
        ("tollgate_rule_failures_total{class=\"out-of-fuel\"}", 0.0),
        ("tollgate_journal_decisions_total", 3.0),
    ];
    for (name, grown_by) in series {
        assert_eq!(value(&after, name) - value(&before, name), grown_by, "{name}");
    }
    assert_eq!(value(&after, "tollgate_journal_queue_decisions"), 0.0);
    let connections = |state: &str| {
        value(&after, &format!("tollgate_database_connections{{pool=\"app\",state=\"{state}\"}}"))
    };
    assert!(connections("idle") + connections("in_use") >= 1.0, "{after}");
    assert_eq!(value(&after, "tollgate_database_connections_max{pool=\"app\"}"), 4.0);
    assert!(value(&after, "process_start_time_seconds") > 1_700_000_000.0);
    assert!(value(&after, "process_resident_memory_bytes") > 1_000_000.0);
    assert!(value(&after, "process_open_fds") > 3.0);
    program.stop().await;
}

/// Needs promtool. Without it the test passes with a message, unless `TOLLGATE_PROMTOOL=required`
/// is set, as in continuous integration.
#[tokio::test(flavor = "multi_thread")]
async fn facts_about_lists_are_counted_by_their_source() {
    let database = TestDatabase::create().await;
    let program = Program::serve(&database).await;
    let caller = program.caller_of_new_tenant(&database, "acme").await;
    caller.post("/lists", &json!({"name": "blocked", "kind": "customer"})).await;
    let check = json!({"list": "blocked", "selector": "customer", "verdict": "reject"});
    caller.activate(&[("party-lists", json!({"lists": [check]}))]).await;
    let from =
        |page: &str, source: &str| value(page, &format!("tollgate_list_facts_total{{source=\"{source}\"}}"));
    let (begun, mut paid) = (Instant::now(), 0);
    let page = loop {
        assert_eq!(caller.pay(&format!("k{paid}"), &payment()).await.0, 201);
        paid += 1;
        let page = page(&program).await;
        if from(&page, "memory") > 0.0 {
            break page;
        }
        assert!(begun.elapsed() < TEST_TIMEOUT, "{page}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    let database_answers = from(&page, "database");
    assert!(database_answers >= 1.0, "the first payment: {page}");
    assert!((from(&page, "memory") + database_answers - f64::from(paid)).abs() < 0.5, "{page}");
    assert!((value(&page, "tollgate_lists_in_memory") - 1.0).abs() < 0.5, "{page}");
    program.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn promtool_accepts_the_metrics_page() {
    let promtool = || {
        let mut command = Command::new("promtool");
        command
            .args(["check", "metrics"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command.spawn()
    };
    let Ok(mut empty) = promtool() else {
        let required = std::env::var("TOLLGATE_PROMTOOL").is_ok_and(|value| value == "required");
        assert!(!required, "promtool is missing: install the package prometheus");
        return;
    };
    drop(empty.stdin.take());
    empty.wait().unwrap();
    let database = TestDatabase::create().await;
    let program = Program::serve(&database).await;
    let first = page(&program).await;
    let caller = program.caller_of_new_tenant(&database, "acme").await;
    pay(&caller).await;
    for page in [first, page(&program).await] {
        let mut check = promtool().unwrap();
        check.stdin.take().unwrap().write_all(page.as_bytes()).unwrap();
        let output = check.wait_with_output().unwrap();
        let reported = [output.stdout, output.stderr].concat();
        assert!(output.status.success() && reported.is_empty(), "{}", String::from_utf8_lossy(&reported));
    }
    program.stop().await;
}
