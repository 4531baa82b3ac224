//! Checks of database sessions: if one fails, no request is served.

use std::time::{Duration, Instant};

use reqwest::StatusCode;
use sqlx::{AssertSqlSafe, ConnectOptions, PgConnection, PgPool};
use tollgate::storage::databases::{Databases, OpenError};
use tollgate::storage::pool::{DatabaseSettings, Role};
use tollgate::storage::private_server::PrivateServer;

use crate::support::database::TestDatabase;
use crate::support::pgbouncer::PgBouncer;
use crate::support::program::{Program, TEST_TIMEOUT, run_command, tollgate};
use crate::support::service::{Caller, Node, payment};
use crate::support::subprocess::server_settings;

/// Role, schema and limits of a session.
async fn state(pool: &PgPool) -> (String, String, String, bool) {
    sqlx::query_as(
        "select current_user::text, current_schema()::text, current_setting('statement_timeout'),
                row_security_active('tollgate.decisions')",
    )
    .fetch_one(pool)
    .await
    .unwrap()
}

async fn execute(connection: &mut PgConnection, statements: &str) {
    sqlx::raw_sql(AssertSqlSafe(statements.to_owned())).execute(connection).await.unwrap();
}

/// A login that only this test uses. It stays after the test, without rights in any database.
async fn login(superuser: &mut PgConnection, attributes: &str) -> String {
    let name = format!("login_{}", uuid::Uuid::now_v7().simple());
    execute(superuser, &format!("create role {name} login {attributes}")).await;
    name
}

fn url_of(database: &TestDatabase, login: &str) -> String {
    database.url.replacen("tollgate@", &format!("{login}@"), 1)
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_a_pooler_in_session_mode_a_tenant_sees_only_its_own_rows() {
    for ignored in ["", "ignore_startup_parameters = extra_float_digits, options", "server_reset_query ="] {
        let database = TestDatabase::create().await;
        let settings = format!("pool_mode = session\n{ignored}");
        let pooler = PgBouncer::start(&database.url, &settings, &["tollgate"]);
        let databases = Databases::open(&DatabaseSettings::for_url(pooler.url(&database.url))).await.unwrap();
        for (pool, role, timeout) in [
            (databases.app.sqlx_pool(), Role::App, "10s"),
            (databases.facts.sqlx_pool(), Role::Journal, "30s"),
            (databases.system.sqlx_pool(), Role::System, "10min"),
        ] {
            let expected = (role.name().to_owned(), "tollgate".to_owned(), timeout.to_owned(), true);
            assert_eq!(state(pool).await, expected, "{ignored}");
        }
        databases.close().await;

        let node = Node::start_at(&database, &pooler.url(&database.url), &[]).await;
        let (ours, theirs) =
            (Caller::of_new_tenant(&node, "ours").await, Caller::of_new_tenant(&node, "theirs").await);
        for key in ["1", "2"] {
            let (status, response) = ours.pay(key, &payment()).await;
            assert_eq!(status, StatusCode::CREATED, "{response}");
        }
        let (_, mine) = ours.get("/payments").await;
        let (_, foreign) = theirs.get("/payments").await;
        assert_eq!(mine["items"].as_array().unwrap().len(), 2, "{mine}");
        assert_eq!(foreign["items"].as_array().unwrap().len(), 0, "{foreign}");
        node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_that_bypasses_row_security_is_refused_at_start() {
    let database = TestDatabase::create().await;
    let mut superuser = database.superuser().await;
    let bypasses =
        login(&mut superuser, "bypassrls in role tollgate_app, tollgate_journal, tollgate_system").await;
    let owns =
        login(&mut superuser, "in role tollgate_app, tollgate_journal, tollgate_system, tollgate_owner")
            .await;
    let stranger = login(&mut superuser, "").await;
    let by_membership = login(
        &mut superuser,
        &format!("in role tollgate_app, tollgate_journal, tollgate_system, {bypasses}"),
    )
    .await;
    for (who, reported) in [
        (by_membership.as_str(), "has BYPASSRLS"),
        ("tollgate", "is a superuser"),
        (bypasses.as_str(), "has BYPASSRLS"),
        (owns.as_str(), "may become the owner"),
        (stranger.as_str(), "cannot act as the role"),
    ] {
        for key in ["app_url", "journal_url", "system_url"] {
            let mut command = tollgate(&["serve"]);
            let own = url_of(&database, who);
            command.env("ROCKET_DATABASES", format!("{{main={{url={:?},{key}={own:?}}}}}", database.url));
            let (status, _, output) = tokio::task::spawn_blocking(|| run_command(command)).await.unwrap();
            assert!(!status.success(), "{who} in {key} is taken");
            for part in [&format!("databases.main.{key}"), reported, "expected"] {
                assert!(output.contains(part), "{part} is missing: {output}");
            }
        }
    }
    for who in [by_membership, bypasses, owns, stranger] {
        execute(&mut superuser, &format!("drop role {who}")).await;
    }
}

#[tokio::test]
async fn a_separate_login_that_is_a_member_of_its_role_is_accepted() {
    let database = TestDatabase::create().await;
    let mut superuser = database.superuser().await;
    let who = login(&mut superuser, "in role tollgate_app").await;
    let settings = DatabaseSettings { app_url: Some(url_of(&database, &who)), ..database.settings() };
    let databases = Databases::open(&settings).await.unwrap();
    assert_eq!(state(databases.app.sqlx_pool()).await.0, "tollgate_app");
    databases.close().await;
    execute(&mut superuser, &format!("drop role {who}")).await;
}

#[tokio::test]
async fn a_session_that_was_reset_is_not_reused() {
    let database = TestDatabase::create().await;
    let settings = DatabaseSettings { max_connections: 1, ..database.settings() };
    let databases = Databases::connect_lazily(&settings).unwrap();
    for reset in
        ["reset role", "discard all", "reset all", "set row_security = off", "set search_path = public"]
    {
        let mut connection = databases.app.sqlx_pool().acquire().await.unwrap();
        execute(&mut connection, reset).await;
        drop(connection);
        let expected = ("tollgate_app".to_owned(), "tollgate".to_owned(), "10s".to_owned(), true);
        assert_eq!(state(databases.app.sqlx_pool()).await, expected, "after {reset}");
    }
}

#[tokio::test]
async fn a_table_without_row_security_prevents_the_start_and_is_named() {
    let database = TestDatabase::create().await;
    let mut superuser = database.superuser().await;
    execute(&mut superuser, "create table copied as select * from lists").await;
    Databases::open(&database.settings()).await.expect("only its owner can read it").close().await;
    for (table, statement) in [
        ("copied", "grant select (name) on copied to tollgate_app"),
        ("lists", "drop table copied; alter table lists disable row level security"),
    ] {
        execute(&mut superuser, statement).await;
        let refused = Databases::open(&database.settings()).await.unwrap_err();
        let OpenError::Storage(error) = &refused else { panic!("{refused}") };
        let reported = format!("{error:?}");
        assert!(
            reported.contains(&format!("row security does not apply to tollgate_app on: {table}")),
            "{reported}"
        );
    }
}

/// Runs `tollgate migrate` on this URL. Returns whether it succeeded, and its error output.
async fn migrate(url: &str) -> (bool, String) {
    let mut command = tollgate(&["migrate"]);
    command.env("ROCKET_DATABASES", format!("{{main={{url={url:?}}}}}"));
    let (status, _, output) = tokio::task::spawn_blocking(|| run_command(command)).await.unwrap();
    (status.success(), output)
}

#[tokio::test]
async fn a_pooler_without_session_mode_is_refused_before_any_write() {
    for settings in [
        "pool_mode = transaction",
        "pool_mode = transaction\nignore_startup_parameters = extra_float_digits, options",
        "pool_mode = transaction\nserver_round_robin = 1\nmin_pool_size = 2",
        "pool_mode = transaction\ndefault_pool_size = 1",
        "pool_mode = statement",
    ] {
        let database = TestDatabase::create().await;
        execute(&mut database.superuser().await, "drop schema tollgate cascade").await;
        let pooler = PgBouncer::start(&database.url, settings, &["tollgate"]);
        let (worked, output) = migrate(&pooler.url(&database.url)).await;
        assert!(!worked, "{settings}: {output}");
        for part in ["`databases.main.url`", "session"] {
            assert!(output.contains(part), "{settings}: {output}");
        }
        let made: bool = sqlx::query_scalar("select to_regnamespace('tollgate') is not null")
            .fetch_one(&mut database.superuser().await)
            .await
            .unwrap();
        assert!(!made, "{settings}");
    }
}

#[tokio::test]
async fn sessions_that_could_change_their_role_are_reported_once_at_start() {
    let database = TestDatabase::create().await;
    let (worked, output) = migrate(&database.url).await;
    assert!(worked, "{output}");
    assert_eq!(output.matches("can switch to the roles of other connections").count(), 1, "{output}");
}

async fn wait_for_ready_status(url: &str, expected: StatusCode) {
    let begun = Instant::now();
    loop {
        let status = reqwest::get(format!("{url}/ready")).await.unwrap().status();
        if status == expected {
            return;
        }
        assert!(begun.elapsed() < TEST_TIMEOUT, "/ready never answers {expected}, but {status}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_that_gains_rights_stops_a_running_node_from_serving_until_they_are_revoked() {
    let folder = crate::private_server::folder();
    let server = PrivateServer::start(server_settings(folder.path().join("postgres"), false)).await.unwrap();
    let mut command = tollgate(&["serve"]);
    command.env("ROCKET_DATABASES", format!("{{main={{url={:?},max_connections=4}}}}", server.url()));
    let program = Program::start(command).await;
    let settings = DatabaseSettings::for_url(server.url());
    let caller = program.caller_in(&settings, "acme").await;
    let mut superuser = server.connect_options().connect().await.unwrap();
    for role in ["tollgate_app", "tollgate_journal"] {
        wait_for_ready_status(&program.url, StatusCode::OK).await;
        let (status, response) = caller.pay(role, &payment()).await;
        assert_eq!(status, StatusCode::CREATED, "{response}");
        execute(&mut superuser, &format!("alter role {role} bypassrls")).await;
        // Closes the existing connections, so that new ones are opened and checked.
        execute(
            &mut superuser,
            &format!(
                "select pg_terminate_backend(pid) from pg_stat_activity where application_name = '{role}'"
            ),
        )
        .await;
        let begun = Instant::now();
        for key in 0.. {
            // Requests in progress may still succeed. Afterwards none does.
            let (status, _) = caller.pay(&format!("{role}-{key}"), &payment()).await;
            let (listed, _) = caller.get("/payments").await;
            if [status, listed] == [StatusCode::SERVICE_UNAVAILABLE; 2] {
                break;
            }
            assert!(begun.elapsed() < TEST_TIMEOUT, "{status} {listed}");
        }
        wait_for_ready_status(&program.url, StatusCode::SERVICE_UNAVAILABLE).await;
        execute(&mut superuser, &format!("alter role {role} nobypassrls")).await;
    }
    wait_for_ready_status(&program.url, StatusCode::OK).await;
    for role in ["tollgate_app", "tollgate_journal"] {
        let reported = format!("{role} is a superuser or has BYPASSRLS");
        let lines = program.lines().iter().filter(|line| line.contains(&reported)).count();
        assert_eq!(lines, 1, "{}", program.log());
    }
    program.stop().await;
    server.stop().await.unwrap();
}
