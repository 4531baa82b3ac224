//! Database errors in the log and in responses. They contain no values, and responses advise
//! whether to retry.

use reqwest::StatusCode;
use sqlx::AssertSqlSafe;
use tollgate::domain::tenant::TenantId;
use tollgate::storage::{StorageError, decisions};
use uuid::Uuid;

use crate::support::database::TestDatabase;
use crate::support::service::{Caller, Node};

#[tokio::test]
async fn a_database_error_is_logged_with_its_sqlstate_and_without_values() {
    let database = TestDatabase::create().await;
    let databases = database.databases();
    for (statement, reported, may_quote) in [
        ("select from nowhere", "SQLSTATE 42P01: relation \"nowhere\" does not exist", false),
        ("select 'hush-hush'::uuid", "SQLSTATE 22P02", true),
        ("select 9999999999999::int", "SQLSTATE 22003", true),
        ("select 1 / 0", "SQLSTATE 22012", true),
        ("do $$ begin raise exception 'hush-hush'; end $$", "SQLSTATE P0001", true),
        (
            "create temp table t (v text unique); insert into t values ('hush-hush'), ('hush-hush')",
            "SQLSTATE 23505, constraint t_v_key: duplicate key value violates unique constraint",
            false,
        ),
        ("set local statement_timeout = 1; select pg_sleep(9)", "SQLSTATE 57014: canceling statement", false),
    ] {
        let tenant = TenantId(Uuid::now_v7());
        let error: StorageError = databases
            .app
            .transaction::<(), StorageError>(tenant, move |connection| {
                Box::pin(async move {
                    sqlx::raw_sql(AssertSqlSafe(statement)).execute(connection).await?;
                    Ok(())
                })
            })
            .await
            .unwrap_err();
        for text in [error.to_string(), format!("{error:?}")] {
            assert!(text.contains(reported), "{statement}: {text}");
            assert!(!text.contains("hush-hush") && !text.contains("9999999"), "{statement}: {text}");
            assert!(
                !may_quote || text.ends_with(reported) || text.ends_with(&format!("{reported})")),
                "{text}"
            );
        }
    }
}

#[tokio::test]
async fn a_database_error_names_its_statement() {
    let database = TestDatabase::create().await;
    let mut superuser = database.superuser().await;
    sqlx::raw_sql("alter table decisions rename to elsewhere").execute(&mut superuser).await.unwrap();
    let error = decisions::since_in_pages(&database.databases().system, None, 0, None, 10).await.unwrap_err();
    let text = error.to_string();
    assert!(text.contains("SQLSTATE 42P01") && text.contains("(statement storage/decisions"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_timeout_is_reported_as_retryable() {
    let database = TestDatabase::create().await;
    let node = Node::start(&database).await;
    let caller = Caller::of_new_tenant(&node, "acme").await;
    let mut superuser = database.superuser().await;
    sqlx::raw_sql("begin; lock table tollgate.lists in access exclusive mode")
        .execute(&mut superuser)
        .await
        .unwrap();
    let (status, problem) = caller.get("/lists").await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{problem}");
    assert_eq!(problem["type"], "/problems/unavailable", "{problem}");
    sqlx::raw_sql("commit").execute(&mut superuser).await.unwrap();
    assert_eq!(caller.get("/lists").await.0, StatusCode::OK);
    node.stop().await;
}
