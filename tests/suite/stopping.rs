//! Stopping a process: no decision is lost and no process stays behind.

use std::path::Path;
use std::time::{Duration, Instant};

use reqwest::StatusCode;
use rustix::process::{Pid, Signal, test_kill_process};
use serde_json::json;
use sqlx::Connection;
use tempfile::TempDir;
use tollgate::storage::private_server::PrivateServer;

use crate::support::database::TestDatabase;
use crate::support::program::{Program, TEST_TIMEOUT, run_command, tollgate_in, tollgate_on};
use crate::support::service::{Caller, payment, payment_with};

async fn status_of(url: &str) -> Option<StatusCode> {
    Some(reqwest::get(url).await.ok()?.status())
}

/// Waits until `/ready` responds with this status. `None` waits until it no longer responds.
async fn wait_for_status(url: &str, expected: Option<StatusCode>) {
    let begun = Instant::now();
    loop {
        let status = status_of(url).await;
        if status == expected {
            return;
        }
        assert!(begun.elapsed() < TEST_TIMEOUT, "{url} answers {status:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopping_node_is_not_ready_and_completes_open_requests() {
    let database = TestDatabase::create().await;
    let mut command = tollgate_on(&database, &["serve"]);
    command
        .env("ROCKET_TOLLGATE_SHUTDOWN_NOTICE_MS", "1000")
        .env("ROCKET_TOLLGATE_DEADLINE_MS", "6000")
        .env("ROCKET_SHUTDOWN", "{grace=1}");
    let mut program = Program::start(command).await;
    let caller = program.caller_of_new_tenant(&database, "acme").await;
    assert_eq!(caller.pay("before", &payment()).await.0, StatusCode::CREATED);
    let ready = format!("{}/ready", program.url);
    assert_eq!(status_of(&ready).await, Some(StatusCode::OK));

    // The journal is locked, so these requests stay open.
    let mut superuser = database.superuser().await;
    let mut transaction = superuser.begin().await.unwrap();
    sqlx::raw_sql("lock table decisions in access exclusive mode").execute(&mut *transaction).await.unwrap();
    let under_way: Vec<_> = (0..10)
        .map(|place| {
            let caller = caller.clone();
            tokio::spawn(async move { caller.pay(&format!("under-way-{place}"), &payment()).await })
        })
        .collect();
    // The requests have arrived when the journal waits for the lock.
    let begun = Instant::now();
    loop {
        let waiting: bool = sqlx::query_scalar("select exists (select from pg_locks where not granted and database = (select oid from pg_database where datname = current_database()))")
            .fetch_one(&mut *transaction)
            .await
            .unwrap();
        if waiting {
            break;
        }
        assert!(begun.elapsed() < TEST_TIMEOUT, "nothing waits");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }

    program.signal(Signal::TERM);
    wait_for_status(&ready, Some(StatusCode::SERVICE_UNAVAILABLE)).await;
    assert_eq!(status_of(&format!("{}/health", program.url)).await, Some(StatusCode::OK));
    wait_for_status(&ready, None).await;
    transaction.rollback().await.unwrap();
    let mut ids = Vec::new();
    for request in under_way {
        let (status, decision) = request.await.unwrap();
        assert_eq!(status, StatusCode::CREATED, "{decision}");
        ids.push(decision["id"].as_str().unwrap().to_owned());
    }
    let status = program.wait().await;
    assert_eq!(status.code(), Some(0), "{}", program.log());
    assert!(program.lines().last().unwrap().contains("stopped"), "{}", program.log());

    let stored: Vec<String> = sqlx::query_scalar(
        "select id::text from decisions where idempotency_key like 'under-way%' order by 1",
    )
    .fetch_all(&mut superuser)
    .await
    .unwrap();
    ids.sort();
    assert_eq!(stored, ids);
    assert_eq!(crate::journal::chain::verify(&database).await, 11);
}

/// There may be a decision without an acknowledgement, but none may be missing.
#[tokio::test(flavor = "multi_thread")]
async fn a_stop_under_load_keeps_all_acknowledged_decisions() {
    let database = TestDatabase::create().await;
    let mut command = tollgate_on(&database, &["serve"]);
    // Clients that reconnect at once use the whole grace period, which depends on the deadline.
    command.env("ROCKET_TOLLGATE_DEADLINE_MS", "3000");
    let mut program = Program::start(command).await;
    let caller = program.caller_of_new_tenant(&database, "acme").await;
    let clients: Vec<_> = (0..8)
        .map(|client| {
            let caller = caller.clone();
            tokio::spawn(async move {
                let mut acknowledged = Vec::new();
                for place in 0.. {
                    let request = caller
                        .request(reqwest::Method::POST, "/payments")
                        .header("Idempotency-Key", format!("{client}-{place}"))
                        .json(&payment());
                    let Ok(response) = request.send().await else { break };
                    assert!(response.status() == StatusCode::CREATED, "{}", response.status());
                    let Ok(decision) = response.json::<serde_json::Value>().await else { break };
                    acknowledged.push(decision["id"].as_str().unwrap().to_owned());
                }
                acknowledged
            })
        })
        .collect();
    wait_for_status(&format!("{}/ready", program.url), Some(StatusCode::OK)).await;
    program.signal(Signal::INT);
    let status = program.wait().await;
    assert_eq!(status.code(), Some(0), "{}", program.log());
    let mut superuser = database.superuser().await;
    for client in clients {
        let ids = client.await.unwrap();
        let stored: i64 = sqlx::query_scalar("select count(*) from decisions where id::text = any($1)")
            .bind(&ids)
            .fetch_one(&mut superuser)
            .await
            .unwrap();
        assert_eq!(stored as usize, ids.len());
    }
    crate::journal::chain::verify(&database).await;
}

fn folder() -> TempDir {
    let folder = crate::private_server::folder();
    std::fs::create_dir(folder.path().join("plugins")).unwrap();
    folder
}

fn postgres(folder: &Path) -> Pid {
    let file = std::fs::read_to_string(folder.join("data/postgres/cluster/postmaster.pid")).unwrap();
    Pid::from_raw(file.lines().next().unwrap().parse().unwrap()).unwrap()
}

async fn client(folder: &Path, url: &str, tenant: &str) -> Caller {
    let command = tollgate_in(folder, &["client", "create", "--tenant", tenant, "--name", "till"]);
    let (status, output, log) = tokio::task::spawn_blocking(|| run_command(command)).await.unwrap();
    assert!(status.success(), "{log}");
    let value = |name: &str| output.lines().find_map(|line| line.strip_prefix(name)).unwrap().to_owned();
    assert!(!log.contains(&value("client_secret=")), "{log}");
    Caller::sign_in(url, &value("client_id="), &value("client_secret=")).await
}

/// Also runs the commands of a new user while the server runs.
#[tokio::test(flavor = "multi_thread")]
async fn a_private_postgres_serves_commands_and_stops_with_its_program() {
    let folder = folder();
    let mut keys: Vec<(String, serde_json::Value)> = Vec::new();
    let mut known: Option<Caller> = None;
    for signal in [Signal::TERM, Signal::INT] {
        let mut program = Program::start(tollgate_in(folder.path(), &["serve"])).await;
        let server = postgres(folder.path());
        let caller = if let Some(known) = &known {
            known.at(&program.url)
        } else {
            for arguments in [["migrate"].as_slice(), &["tenant", "create", "acme"]] {
                let command = tollgate_in(folder.path(), arguments);
                let (status, _, log) = tokio::task::spawn_blocking(|| run_command(command)).await.unwrap();
                assert!(status.success(), "{log}");
            }
            client(folder.path(), &program.url, "acme").await
        };
        assert_eq!(postgres(folder.path()), server, "a command has left the server alone");
        for (key, decision) in &keys {
            assert_eq!(
                caller.pay(key, &payment_with(&json!({"reference": key}))).await,
                (StatusCode::OK, decision.clone())
            );
        }
        let key = format!("key-{signal:?}").replace(['(', ')', ' '], "-");
        let (status, decision) = caller.pay(&key, &payment_with(&json!({"reference": key}))).await;
        assert_eq!(status, StatusCode::CREATED, "{decision}");
        keys.push((key, decision));
        known = Some(caller);

        program.signal(signal);
        assert_eq!(program.wait().await.code(), Some(0), "{}", program.log());
        assert!(test_kill_process(server).is_err(), "Postgres still runs");
        let running = PrivateServer::running(&folder.path().join("data/postgres")).await.unwrap();
        assert_eq!(running, None);
    }
    // No program runs it now, so the command starts it for its own duration.
    let again = tollgate_in(folder.path(), &["tenant", "create", "acme"]);
    let (status, _, log) = tokio::task::spawn_blocking(|| run_command(again)).await.unwrap();
    assert!(!status.success() && log.contains("the tenant acme already exists"), "{log}");
    assert!(
        !folder.path().join("data/postgres/cluster/postmaster.pid").exists(),
        "it was not stopped in order"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_private_postgres_of_a_killed_program_is_reused_with_its_data() {
    let folder = folder();
    let mut program = Program::start(tollgate_in(folder.path(), &["serve"])).await;
    let command = tollgate_in(folder.path(), &["tenant", "create", "acme"]);
    let (status, _, log) = tokio::task::spawn_blocking(|| run_command(command)).await.unwrap();
    assert!(status.success(), "{log}");
    let caller = client(folder.path(), &program.url, "acme").await;
    let (_, decision) = caller.pay("kept", &payment()).await;
    program.signal(Signal::KILL);
    program.wait().await;

    let again = Program::start(tollgate_in(folder.path(), &["serve"])).await;
    assert_eq!(caller.at(&again.url).pay("kept", &payment()).await, (StatusCode::OK, decision));
    again.stop().await;
}
