//! Output that nobody reads: closed pipes, full pipes, full disks.

use std::fs::File;
use std::io::{BufRead, BufReader, PipeReader, PipeWriter, Write};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::support::database::TestDatabase;
use crate::support::program::{Program, TEST_TIMEOUT, run_command, tollgate, tollgate_on};
use crate::support::service::{Caller, payment, shipped_plugins};

fn full_disk() -> Stdio {
    File::options().write(true).open("/dev/full").unwrap().into()
}

/// A pipe whose reader is closed.
fn closed_pipe() -> Stdio {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    writer.into()
}

/// A full pipe. It stays full while the reader is kept and does not read.
fn full_pipe() -> (PipeReader, Stdio) {
    let (reader, writer) = std::io::pipe().unwrap();
    fill(writer.try_clone().unwrap());
    (reader, writer.into())
}

/// Fills a pipe. A thread does this, since the last write blocks.
fn fill(mut writer: PipeWriter) {
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        while writer.write_all(&[b' '; 4_096]).is_ok() {
            let _ = sender.send(());
        }
    });
    while receiver.recv_timeout(Duration::from_millis(300)).is_ok() {}
}

/// A server that prints its address on standard output, so that tests need not read its log.
fn demonstration(database: &TestDatabase) -> Command {
    let mut command = tollgate_on(database, &["serve"]);
    command.env("ROCKET_TOLLGATE_DEMO", "true");
    command
}

/// Asserts that the program serves and stops normally.
async fn assert_serves(mut program: Program, database: &TestDatabase, tenant: &str) {
    let caller = program.caller_of_new_tenant(database, tenant).await;
    for place in 0..20 {
        let (status, decision) = caller.pay(&format!("order-{place}"), &payment()).await;
        assert_eq!(status, 201, "{decision}");
    }
    assert_eq!(reqwest::get(format!("{}/health", program.url)).await.unwrap().status(), 200);
    program.signal(Signal::TERM);
    assert_eq!(program.wait().await.code(), Some(0), "{}", program.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_works_if_its_log_cannot_be_written() {
    let database = TestDatabase::create().await;
    let (_unread, full) = full_pipe();
    for (tenant, stderr) in [("disk", full_disk()), ("closed", closed_pipe()), ("full", full)] {
        let program = Program::start_with_output(demonstration(&database), Stdio::piped(), stderr).await;
        assert_serves(program, &database, tenant).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_works_if_its_welcome_cannot_be_written() {
    let database = TestDatabase::create().await;
    let (_unread, full) = full_pipe();
    for (tenant, stdout) in [("disk", full_disk()), ("closed", closed_pipe()), ("full", full)] {
        let mut command = demonstration(&database);
        // With one thread only. If output blocked it, no request would be served.
        command.env("ROCKET_WORKERS", "1");
        let program = Program::start_with_output(command, stdout, Stdio::piped()).await;
        assert_serves(program, &database, tenant).await;
    }
}

async fn lines_lost(program: &Program) -> u64 {
    let metrics = reqwest::get(format!("{}/metrics", program.url)).await.unwrap().text().await.unwrap();
    let lost = metrics.lines().find_map(|line| line.strip_prefix("tollgate_log_lines_lost_total "));
    lost.expect("the metric").parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_is_not_read_delays_no_request_and_lost_lines_are_counted() {
    let database = TestDatabase::create().await;
    let (log, stderr) = std::io::pipe().unwrap();
    let mut command = demonstration(&database);
    command.env("ROCKET_TOLLGATE_LOG_FILTER", "trace").env("ROCKET_TOLLGATE_LOG_FORMAT", "json");
    let program = Program::start_with_output(command, Stdio::piped(), stderr.into()).await;
    let begun = Instant::now();
    while lines_lost(&program).await == 0 {
        assert!(begun.elapsed() < TEST_TIMEOUT, "nothing is lost");
    }
    let reading = std::thread::spawn(move || {
        let lines = BufReader::new(log).lines().map_while(Result::ok);
        let lines = lines.map(|line| serde_json::from_str::<serde_json::Value>(&line).expect("JSON"));
        lines.filter_map(|line| line["lines"].as_u64()).collect::<Vec<u64>>()
    });
    assert_serves(program, &database, "acme").await;
    let lost = reading.join().unwrap();
    assert!(lost.iter().sum::<u64>() > 0, "{lost:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_an_unread_log_prints_nothing_to_standard_output() {
    let database = TestDatabase::create().await;
    let (_unread, stderr) = std::io::pipe().unwrap();
    let mut command = demonstration(&database);
    command.env("ROCKET_TOLLGATE_LOG_FILTER", "trace");
    let mut program = Program::start_with_output(command, Stdio::piped(), stderr.into()).await;
    let begun = Instant::now();
    while lines_lost(&program).await == 0 {
        assert!(begun.elapsed() < TEST_TIMEOUT, "nothing is lost");
    }
    let log_by_then = program.log();
    program.signal(Signal::TERM);
    assert_eq!(program.wait().await.code(), Some(0));
    assert_eq!(program.log(), log_by_then);
}

#[test]
fn a_failed_start_ends_normally_if_its_error_cannot_be_written() {
    let (_unread, full) = full_pipe();
    for stderr in [full_disk(), closed_pipe(), full] {
        let mut command = tollgate(&["serve"]);
        command.env("ROCKET_PORT", "many").stdout(Stdio::null()).stderr(stderr);
        assert_eq!(command.status().unwrap().code(), Some(1));
    }
}

/// Runs a command with these outputs. Returns its exit status and standard error.
fn run_with_outputs(mut command: Command, stdout: Stdio) -> (Option<i32>, String) {
    let output = command.stdout(stdout).stderr(Stdio::piped()).spawn().unwrap().wait_with_output().unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_whose_output_is_closed_does_its_work_and_ends_quietly() {
    let database = TestDatabase::create().await;
    let node = Program::start(demonstration(&database)).await;
    let folder = tempfile::tempdir().unwrap();
    let history = folder.path().join("history.jsonl");
    let (_, lines, _) = run_command(tollgate(&["demo", "--history", "5"]));
    std::fs::write(&history, format!("{lines}no JSON\n")).unwrap();
    // The folder of other tests has checkpoints of their databases.
    let checkpoints = folder.path().join("checkpoints.jsonl");
    std::fs::write(&checkpoints, "").unwrap();
    let rule = shipped_plugins().join("velocity/velocity.wasm");
    let (history, rule) = (history.to_str().unwrap(), rule.to_str().unwrap());
    let case = shipped_plugins().join("velocity/cases");
    let case = std::fs::read_dir(case).unwrap().next().unwrap().unwrap().path();
    let demo = ["demo", "--url", &node.url, "--rate", "50"];
    // Commands with their expected exit status, and with the status when they are repeated.
    for (arguments, code, again) in [
        (vec!["--help"], 0, 0),
        (vec!["fly"], 2, 2),
        (vec!["migrate"], 0, 0),
        (vec!["tenant", "create", "acme"], 0, 1),
        (vec!["client", "create", "--tenant", "acme", "--name", "till"], 0, 0),
        (vec!["plugin", "check", rule], 0, 0),
        (vec!["plugin", "run", rule, case.to_str().unwrap()], 0, 0),
        // The history has a bad line, which is reported and makes the import fail.
        (vec!["import", "--tenant", "acme", history], 1, 1),
        (vec!["import", "--tenant", "acme", "--strict", history], 1, 1),
        (vec!["demo", "--history", "100000"], 0, 0),
        ([&demo[..], &["--count", "60"]].concat(), 0, 0),
        // The demonstration runs until its output is closed.
        (demo.to_vec(), 0, 0),
        (vec!["replay"], 0, 0),
        (vec!["verify", "--checkpoints", checkpoints.to_str().unwrap()], 0, 0),
    ] {
        let (found, log) = run_with_outputs(tollgate_on(&database, &arguments), closed_pipe());
        assert_eq!(found, Some(code), "{arguments:?}: {log}");
        assert!(!log.contains("panic") && !log.contains("pipe"), "{arguments:?}: {log}");
        let mut command = tollgate_on(&database, &arguments);
        let ended = command.stdout(closed_pipe()).stderr(closed_pipe()).status().unwrap();
        assert_eq!(ended.code(), Some(again), "{arguments:?}, with standard error closed");
    }
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_work_of_a_command_with_a_closed_output_is_kept() {
    let database = TestDatabase::create().await;
    let node = Program::start(demonstration(&database)).await;
    let folder = tempfile::tempdir().unwrap();
    let history = folder.path().join("history.jsonl");
    let (_, lines, _) = run_command(tollgate(&["demo", "--history", "1500"]));
    std::fs::write(&history, lines).unwrap();
    let (code, log) = run_with_outputs(
        tollgate_on(&database, &["import", "--tenant", "demo", history.to_str().unwrap()]),
        closed_pipe(),
    );
    assert_eq!(code, Some(0), "{log}");
    let arguments = ["demo", "--url", &node.url, "--rate", "50", "--count", "60"];
    let (code, log) = run_with_outputs(tollgate_on(&database, &arguments), closed_pipe());
    assert_eq!(code, Some(0), "{log}");
    let stored: Vec<(String, i64)> =
        sqlx::query_as("select origin, count(*) from decisions group by 1 order by 1")
            .fetch_all(&mut database.superuser().await)
            .await
            .unwrap();
    assert_eq!(stored, [("api".to_owned(), 60), ("import".to_owned(), 1_500)]);
    node.stop().await;
}

#[test]
fn output_that_is_lost_on_a_full_disk_is_a_failure() {
    for arguments in [["demo", "--history", "5"].as_slice(), &["plugin", "check"]] {
        let mut command = tollgate(arguments);
        if arguments[0] == "plugin" {
            command.arg(shipped_plugins().join("velocity/velocity.wasm"));
        }
        let (code, log) = run_with_outputs(command, full_disk());
        assert_eq!(code, Some(1), "{log}");
        assert!(log.contains("No space left on device"), "{log}");
    }
}

/// A server that accepts every sign-in and decides no payment.
async fn server_that_never_decides() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let mut request = vec![0; 65_536];
                let length = stream.read(&mut request).await.unwrap_or_default();
                let response = if request[..length].starts_with(b"POST /api/") {
                    "503 Service Unavailable\r\nRetry-After: 0\r\nContent-Length: 0\r\n\r\n"
                } else {
                    "200 OK\r\nContent-Length: 22\r\n\r\n{\"access_token\": \"t\"}\n"
                };
                let _ = stream.write_all(format!("HTTP/1.1 {response}").as_bytes()).await;
            });
        }
    });
    url
}

#[tokio::test(flavor = "multi_thread")]
async fn a_demonstration_with_undecided_payments_fails() {
    let database = TestDatabase::create().await;
    let node = Program::start(demonstration(&database)).await;
    let caller = node.caller_of_new_tenant(&database, "acme").await;
    let demo = |url: &str, caller: &Caller| {
        let mut command = tollgate(&["demo", "--url", url, "--rate", "100", "--count", "5"]);
        command.env("CLIENT_ID", &caller.client_id).env("CLIENT_SECRET", &caller.client_secret);
        run_command(command)
    };
    let (status, summary, log) = demo(&node.url, &caller);
    assert!(status.success(), "{summary}\n{log}");
    let url = server_that_never_decides().await;
    let unanswered = tokio::task::spawn_blocking({
        let caller = caller.clone();
        move || demo(&url, &caller)
    });
    let (status, summary, log) = unanswered.await.unwrap();
    assert_eq!(status.code(), Some(1), "{summary}\n{log}");
    assert!(summary.contains("error: no response (5)"), "{summary}");
    assert!(log.contains("5 payments did not get a decision"), "{log}");
    node.stop().await;
}
