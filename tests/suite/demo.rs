//! The traffic of the demonstration, and the import of its history.

use std::process::Stdio;

use serde_json::json;
use sqlx::Row;
use tollgate::app::demo::TENANT;

use crate::support::database::TestDatabase;
use crate::support::program::{Program, run_command, tollgate, tollgate_on};

/// A server with the demonstration's tenant, lists and ruleset.
async fn demonstration(database: &TestDatabase) -> Program {
    let mut command = tollgate_on(database, &["serve"]);
    command.env("ROCKET_TOLLGATE_DEMO", "true");
    Program::start(command).await
}

async fn outcomes(database: &TestDatabase, origin: &str) -> Vec<(String, i64)> {
    sqlx::query("select outcome, count(*) from decisions where origin = $1 group by 1 order by 1")
        .bind(origin)
        .fetch_all(&mut database.superuser().await)
        .await
        .unwrap()
        .iter()
        .map(|row| (row.get(0), row.get(1)))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn demonstration_traffic_has_all_three_outcomes_and_a_summary() {
    let database = TestDatabase::create().await;
    let node = demonstration(&database).await;
    let arguments = ["demo", "--url", &node.url, "--rate", "100", "--seconds", "4", "--seed", "7"];
    let (status, output, log) = run_command(tollgate_on(&database, &arguments));
    assert!(status.success(), "{output}\n{log}");
    assert_eq!(output.lines().filter(|line| line.contains(" s  sent ")).count(), 4, "{output}");
    for words in ["(seed 7)", "p50", "p99", "errors 0", "payer ", "shopper ", "all ", "payments in 4."] {
        assert!(output.contains(words), "{words} is missing:\n{output}");
    }
    let decided = outcomes(&database, "api").await;
    let names: Vec<&str> = decided.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["approve", "reject", "review"], "{output}");
    let total: i64 = decided.iter().map(|(_, count)| count).sum();
    assert!((200..=410).contains(&total), "{total} decided:\n{output}");
    assert!(output.contains(&format!("{total} payments in")), "{total} decided:\n{output}");
    let made: i64 = sqlx::query_scalar("select count(*) from clients where name = 'demonstration traffic'")
        .fetch_one(&mut database.superuser().await)
        .await
        .unwrap();
    assert_eq!(made, 1);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_client_in_the_environment_no_database_is_needed() {
    let database = TestDatabase::create().await;
    let node = demonstration(&database).await;
    let caller = node.caller_of_new_tenant(&database, "acme").await;
    let run = || {
        let mut command =
            tollgate(&["demo", "--url", &node.url, "--rate", "200", "--count", "20", "--seed", "1"]);
        // This configuration would be refused. So the test shows that it is not loaded.
        command.env("ROCKET_PROFILE", "release").env("CLIENT_ID", &caller.client_id);
        command.env("CLIENT_SECRET", &caller.client_secret);
        run_command(command)
    };
    for expected in [20, 40] {
        let (status, output, log) = run();
        assert!(status.success() && output.contains("20 payments in"), "{output}\n{log}");
        assert!(!output.contains(&caller.client_secret) && !log.contains(&caller.client_secret));
        let stored: i64 = outcomes(&database, "api").await.iter().map(|(_, count)| count).sum();
        assert_eq!(stored, expected, "another run sends payments of its own");
    }
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_server_or_tenant_the_error_has_advice() {
    let database = TestDatabase::create().await;
    let nowhere = "http://127.0.0.1:9";
    for (arguments, variable) in [
        (&["demo", "--url", nowhere, "--count", "1"][..], ("ROCKET_PORT", "10")),
        (&["demo", "--count", "1"], ("TOLLGATE", nowhere)),
        (&["demo", "--count", "1"], ("ROCKET_PORT", "9")),
    ] {
        let mut command = tollgate_on(&database, arguments);
        command.env(variable.0, variable.1);
        let (status, output, log) = run_command(command);
        assert_eq!(status.code(), Some(1), "{output}\n{log}");
        assert!(log.contains(&format!("no Tollgate server at {nowhere}:")), "{variable:?}: {log}");
        assert!(log.contains("tollgate serve"), "{log}");
    }
    let node = Program::serve(&database).await;
    let (status, output, log) =
        run_command(tollgate_on(&database, &["demo", "--url", &node.url, "--count", "1"]));
    assert_eq!(status.code(), Some(1), "{output}\n{log}");
    assert!(log.contains("there is no tenant demo"), "{log}");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_generated_history_can_be_piped_into_the_import() {
    let database = TestDatabase::create().await;
    let node = demonstration(&database).await;
    let mut writing = tollgate(&["demo", "--history", "1500", "--days", "20", "--seed", "3"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut import = tollgate_on(&database, &["import", "--tenant", TENANT, "-"]);
    import.stdin(writing.stdout.take().unwrap());
    let (status, output, log) = run_command(import);
    assert!(status.success(), "{output}\n{log}");
    assert!(writing.wait().unwrap().success());
    assert!(output.contains("1500 stored, 0 already stored, 0 refused"), "{output}\n{log}");
    let stored = outcomes(&database, "import").await;
    assert_eq!(stored.len(), 3, "{stored:?}");
    let kinds: Vec<String> = sqlx::query_scalar("select distinct kind from payment_events order by 1")
        .fetch_all(&mut database.superuser().await)
        .await
        .unwrap();
    for kind in ["fraud", "refunded", "settled"] {
        assert!(kinds.iter().any(|found| found == kind), "{kind} is missing: {}", json!(kinds));
    }
    node.stop().await;
}
