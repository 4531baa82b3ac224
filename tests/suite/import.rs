//! Import of the history of another system, with the program and a running node.

mod lines;

use std::io::Write;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use reqwest::StatusCode;
use serde_json::{Value, json};
use tempfile::TempDir;
use tollgate::app::tenants::create_tenant;
use uuid::Uuid;

use crate::support::database::TestDatabase;
use crate::support::decisions::now_ms;
use crate::support::program::{Program, TEST_TIMEOUT, run_command, tollgate_on};
use crate::support::service::{Caller, payment, payment_with};

const HOUR_MS: u64 = 3_600_000;
const DAY_MS: u64 = 24 * HOUR_MS;

/// An earlier payment that was approved and settled.
fn line(reference: &str, received_at_ms: u64) -> Value {
    json!({
        "payment": payment_with(&json!({"reference": reference})),
        "received_at_ms": received_at_ms,
        "outcome": "approve",
        "events": [{"kind": "settled", "at_ms": received_at_ms + 1, "note": "by the night run"}]
    })
}

struct HistoryFile {
    folder: TempDir,
}

impl HistoryFile {
    fn of(lines: &[String]) -> Self {
        let history = Self { folder: tempfile::tempdir().unwrap() };
        std::fs::write(history.path(), lines.join("\n")).unwrap();
        history
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("history.jsonl")
    }

    fn import(&self, database: &TestDatabase, arguments: &[&str]) -> (ExitStatus, String, String) {
        let mut command = import_command(database);
        command.args(arguments).arg(self.path());
        run_command(command)
    }
}

fn import_command(database: &TestDatabase) -> Command {
    tollgate_on(database, &["import", "--tenant", "acme"])
}

fn texts(lines: &[Value]) -> Vec<String> {
    lines.iter().map(Value::to_string).collect()
}

async fn count(database: &TestDatabase, table: &str) -> i64 {
    let statement = sqlx::AssertSqlSafe(format!("select count(*) from {table}"));
    sqlx::query_scalar(statement).fetch_one(&mut database.superuser().await).await.unwrap()
}

async fn find_imported(caller: &Caller, reference: &str) -> Value {
    let (_, page) = caller.get(&format!("/payments?reference={reference}")).await;
    assert_eq!(page["items"].as_array().unwrap().len(), 1, "{page}");
    let (status, decision) =
        caller.get(&format!("/decisions/{}", page["items"][0]["id"].as_str().unwrap())).await;
    assert_eq!(status, StatusCode::OK, "{decision}");
    decision
}

#[tokio::test(flavor = "multi_thread")]
async fn imported_decisions_are_found_with_their_origin_and_events() {
    let database = TestDatabase::create().await;
    let node = Program::serve(&database).await;
    let caller = node.caller_of_new_tenant(&database, "acme").await;
    let (at_ms, long_ago_ms) = (now_ms() - 400 * DAY_MS, 946_684_800_000);
    let mut old = line("OLD-1", long_ago_ms);
    old["outcome"] = json!("reject");
    old["key"] = json!("order/1");
    let history = HistoryFile::of(&texts(&[line("HIST-1", at_ms), old]));

    let (status, output, log) = history.import(&database, &[]);
    assert!(status.success(), "{output}\n{log}");
    assert!(output.contains("2 stored, 0 already stored, 0 refused; 2 new events"), "{output}\n{log}");

    let decision = find_imported(&caller, "HIST-1").await;
    for (member, expected) in [
        ("origin", json!("import")),
        ("outcome", json!("approve")),
        ("received_at_ms", json!(at_ms)),
        ("idempotency_key", json!("HIST-1")),
        ("rules", json!([])),
        ("reasons", json!([])),
        ("revision", json!(null)),
        ("payment", payment_with(&json!({"reference": "HIST-1"}))),
    ] {
        assert_eq!(decision[member], expected, "{member} of {decision}");
    }
    let id: Uuid = decision["id"].as_str().unwrap().parse().unwrap();
    let (seconds, nanos) = id.get_timestamp().unwrap().to_unix();
    assert_eq!(seconds * 1_000 + u64::from(nanos) / 1_000_000, at_ms, "the id carries the time of then");
    let old = find_imported(&caller, "OLD-1").await;
    assert_eq!((&old["outcome"], &old["idempotency_key"]), (&json!("reject"), &json!("order/1")));

    let mut connection = database.superuser().await;
    let event: (String, i64, String, String) =
        sqlx::query_as("select kind, at_ms, note, actor from payment_events where payment_id = $1")
            .bind(id)
            .fetch_one(&mut connection)
            .await
            .unwrap();
    assert_eq!(event, ("settled".into(), at_ms as i64 + 1, "by the night run".into(), "import".into()));
    let rest: i64 = count(&database, "decisions_rest").await;
    assert_eq!(rest, 0, "each month has its partition");
    let act: (String, String, Value) =
        sqlx::query_as("select action, subject, after from audit_events order by sequence desc limit 1")
            .fetch_one(&mut connection)
            .await
            .unwrap();
    let counts = json!({"stored": 2, "already_there": 0, "refused": 0, "events": 2});
    assert_eq!(act, ("history.imported".into(), "history.jsonl".into(), counts));
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn velocity_counts_imported_payments() {
    let database = TestDatabase::create().await;
    let node = Program::serve(&database).await;
    let caller = node.caller_of_new_tenant(&database, "acme").await;
    let limit = json!({"selector": "customer", "window_seconds": 3600, "max_count": 3, "verdict": "review"});
    caller.activate(&[("velocity", json!({"limits": [limit]}))]).await;
    let recent: Vec<Value> =
        (0..3).map(|place| line(&format!("H-{place}"), now_ms() - 10_000 - place)).collect();
    let (_, before) = caller.pay("before", &payment()).await;
    assert_eq!(before["outcome"], "approve", "{before}");
    let (status, output, log) = HistoryFile::of(&texts(&recent)).import(&database, &[]);
    assert!(status.success(), "{output}\n{log}");
    let (_, after) = caller.pay("after", &payment()).await;
    assert_eq!(after["outcome"], "review", "{after}");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_import_stores_only_new_events() {
    let database = TestDatabase::create().await;
    let node = Program::serve(&database).await;
    let _caller = node.caller_of_new_tenant(&database, "acme").await;
    let at_ms = now_ms() - DAY_MS;
    let mut lines: Vec<Value> = (0..50).map(|place| line(&format!("H-{place}"), at_ms + place)).collect();
    // The same line twice in a file is also one payment.
    lines.push(lines[7].clone());
    let (_, output, log) = HistoryFile::of(&texts(&lines)).import(&database, &[]);
    assert!(output.contains("50 stored, 1 already stored, 0 refused; 50 new events"), "{output}\n{log}");

    lines[0]["events"].as_array_mut().unwrap().push(json!({"kind": "fraud", "at_ms": at_ms + HOUR_MS}));
    let history = HistoryFile::of(&texts(&lines));
    let (status, output, log) = history.import(&database, &[]);
    assert!(status.success(), "{output}\n{log}");
    assert!(output.contains("0 stored, 51 already stored, 0 refused; 1 new events"), "{output}\n{log}");
    assert_eq!(count(&database, "decisions").await, 50);
    assert_eq!(count(&database, "payment_events").await, 51);
    assert_eq!(count(&database, "clients where name = 'import'").await, 1);

    lines[3]["outcome"] = json!("reject");
    let (status, output, log) = HistoryFile::of(&texts(&lines)).import(&database, &[]);
    assert_eq!(status.code(), Some(1), "{output}\n{log}");
    assert!(log.contains("line 4: /key: another payment was already imported under this key"), "{log}");
    assert!(output.contains("0 stored, 50 already stored, 1 refused"), "{output}");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_lines_are_reported_with_number_and_field_and_good_ones_are_stored() {
    let database = TestDatabase::create().await;
    let node = Program::serve(&database).await;
    let _caller = node.caller_of_new_tenant(&database, "acme").await;
    let at_ms = now_ms() - DAY_MS;
    let changed_line = |reference: &str, pointer: &str, value: Value| {
        let mut line = line(reference, at_ms);
        *line.pointer_mut(pointer).expect(pointer) = value;
        line.to_string()
    };
    let mut lines = vec![
        line("GOOD-1", at_ms).to_string(),
        String::new(),
        "{\"payment\": hush-hush}".to_owned(),
        changed_line("B-1", "/payment/amount_minor", json!(0)),
        changed_line("B-2", "/received_at_ms", json!(now_ms() + HOUR_MS)),
        changed_line("B-3", "/received_at_ms", json!(at_ms / 1_000)),
        changed_line("B-4", "/outcome", json!("perhaps")),
        changed_line("B-5", "/events/0/kind", json!("claimed")),
        changed_line("B-6", "/payment/debtor/account/iban", json!("hush-hush")),
        "x".repeat(300_000),
        line("GOOD-2", at_ms).to_string(),
    ];
    lines.extend((0..60).map(|_| "[]".to_owned()));
    let history = HistoryFile::of(&lines);

    let (status, output, log) = history.import(&database, &["--strict"]);
    assert_eq!(status.code(), Some(1), "{output}\n{log}");
    assert!(output.contains("Nothing was imported. Lines with errors: 68."), "{output}");
    assert_eq!(count(&database, "decisions").await, 0);
    let strict_log = log;

    let (status, output, log) = history.import(&database, &[]);
    assert_eq!(status.code(), Some(1), "{output}\n{log}");
    assert!(
        output.contains("70 lines in") && output.contains("2 stored, 0 already stored, 68 refused"),
        "{output}"
    );
    assert_eq!(count(&database, "decisions").await, 2);
    for log in [strict_log, log] {
        for words in [
            "line 3: the line: expected JSON",
            "line 4: /payment/amount_minor: expected a whole number from 1 to ",
            "line 5: /received_at_ms: expected a whole number from 946684800000 to ",
            "line 6: /received_at_ms: ",
            "line 7: /outcome: expected approve, review or reject",
            "line 8: /events/0/kind: expected one of approved, ",
            "line 9: /payment/debtor/account/iban: expected an IBAN",
            "line 10: the line: expected at most 285536 bytes",
            "line 12: the line: expected an object, found an array",
            "counted but not listed",
        ] {
            assert!(log.contains(words), "{words} is missing:\n{log}");
        }
        assert!(!log.contains("hush-hush"), "{log}");
        assert_eq!(log.lines().filter(|line| line.starts_with("line ")).count(), 50, "{log}");
    }
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_strict_import_stores_good_lines_and_needs_a_file() {
    let database = TestDatabase::create().await;
    let node = Program::serve(&database).await;
    let _caller = node.caller_of_new_tenant(&database, "acme").await;
    let history = HistoryFile::of(&texts(&[line("H-1", now_ms() - DAY_MS)]));
    let (status, output, log) = history.import(&database, &["--strict"]);
    assert!(status.success() && output.contains("1 stored"), "{output}\n{log}");

    let (status, _, log) =
        run_command(tollgate_on(&database, &["import", "--tenant", "acme", "--strict", "-"]));
    assert!(
        status.code() == Some(1)
            && log.contains("--strict reads the input twice, so it needs a regular file"),
        "{log}"
    );
    let (status, _, log) = run_command(tollgate_on(&database, &["import", "--tenant", "nobody", "-"]));
    assert!(status.code() == Some(1) && log.contains("there is no tenant nobody"), "{log}");
    let (status, _, log) = run_command(tollgate_on(&database, &["import", "--tenant", "acme", "none.jsonl"]));
    assert!(status.code() == Some(1) && log.contains("none.jsonl: "), "{log}");
    node.stop().await;
}

/// The default partition already has decisions of this month, and gets the imported ones too.
#[tokio::test(flavor = "multi_thread")]
async fn a_month_without_a_possible_partition_is_still_imported() {
    let database = TestDatabase::create().await;
    let node = Program::serve(&database).await;
    let caller = node.caller_of_new_tenant(&database, "acme").await;
    let at_ms = 1_000_000_000_000;
    assert!(HistoryFile::of(&texts(&[line("H-1", at_ms)])).import(&database, &[]).0.success());
    let mut connection = database.superuser().await;
    sqlx::raw_sql(
        "create table moved as select * from decisions_2001_09; drop table decisions_2001_09;
         alter table moved drop column received_day; -- generated
         insert into decisions select * from moved; drop table moved",
    )
    .execute(&mut connection)
    .await
    .unwrap();
    let (status, output, log) = HistoryFile::of(&texts(&[line("H-2", at_ms + 1)])).import(&database, &[]);
    assert!(status.success() && output.contains("1 stored"), "{output}\n{log}");
    assert!(log.contains("2001-09") && !log.contains("Ann Jones"), "{log}");
    assert_eq!(count(&database, "decisions_rest").await, 2);
    assert_eq!(find_imported(&caller, "H-2").await["origin"], "import");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cutting_off_the_end_of_an_import_is_detected() {
    let database = TestDatabase::create().await;
    create_tenant(&database.databases().system, "acme", "test").await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let run = |arguments: &[&str]| {
        let mut command = tollgate_on(&database, arguments);
        command.env("ROCKET_TOLLGATE_DATA_DIR", folder.path());
        run_command(command)
    };
    let history = HistoryFile::of(&texts(&[line("H-1", now_ms() - DAY_MS)]));
    let (status, output, log) = run(&["import", "--tenant", "acme", history.path().to_str().unwrap()]);
    assert!(status.success(), "{output}\n{log}");
    let (status, output, _) = run(&["verify"]);
    assert!(status.success() && output.contains("1 checkpoints are valid"), "{output}");
    let cut = "delete from journal_batches; delete from decisions; delete from idempotency_keys";
    sqlx::raw_sql(cut).execute(&mut database.superuser().await).await.unwrap();
    let (status, output, _) = run(&["verify"]);
    assert!(status.code() == Some(1) && output.contains(" - cut off: a checkpoint from "), "{output}");
}

/// An import that has stored some lines and waits for more. Killed when dropped.
struct UnfinishedImport(Child);

impl UnfinishedImport {
    async fn after_some(database: &TestDatabase, lines: &[String]) -> Self {
        let mut command = import_command(database);
        command.arg("-").stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut running = Self(command.spawn().unwrap());
        let mut input = running.0.stdin.take().unwrap();
        input.write_all((lines.join("\n") + "\n{\"half a").as_bytes()).unwrap();
        input.flush().unwrap();
        running.0.stdin = Some(input);
        let begun = Instant::now();
        while count(database, "decisions").await == 0 {
            assert!(begun.elapsed() < TEST_TIMEOUT, "nothing is stored");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        running
    }
}

impl Drop for UnfinishedImport {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_killed_import_the_next_run_completes_it_without_duplicates() {
    let database = TestDatabase::create().await;
    let node = Program::serve(&database).await;
    let _caller = node.caller_of_new_tenant(&database, "acme").await;
    let at_ms = now_ms() - 90 * DAY_MS;
    let lines: Vec<Value> =
        (0..3_000).map(|place| line(&format!("H-{place}"), at_ms + place * HOUR_MS / 2)).collect();
    let lines = texts(&lines);
    drop(UnfinishedImport::after_some(&database, &lines[..1_500]).await);
    let stored_before = count(&database, "decisions").await;
    assert!(stored_before < 3_000);

    let (status, output, log) = HistoryFile::of(&lines).import(&database, &[]);
    assert!(status.success(), "{output}\n{log}");
    // The killed import may have stored more after it was counted.
    let number_before = |words: &str| -> i64 {
        let before = output.split(words).next().unwrap().trim_end();
        before.rsplit(' ').next().unwrap().parse().unwrap()
    };
    assert!(number_before("already stored") >= stored_before, "{output}");
    assert_eq!(number_before("stored") + number_before("already stored"), 3_000, "{output}");
    assert_eq!(count(&database, "decisions").await, 3_000);
    assert_eq!(count(&database, "payment_events").await, 3_000);
    let keys: i64 =
        sqlx::query_scalar("select count(distinct (payment_id, kind, at_ms)) from payment_events")
            .fetch_one(&mut database.superuser().await)
            .await
            .unwrap();
    assert_eq!(keys, 3_000);
    node.stop().await;
}
