//! Creation of roles, schema, migrations and partitions.

use std::str::FromStr;

use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, PgConnection};
use tollgate::storage::databases::Databases;
use tollgate::storage::migrate::{MigrationError, migrate};
use tollgate::storage::partitions::ensure_partitions;
use tollgate::storage::pool::Role;
use tollgate::storage::provision::{ProvisionError, administrator_statements, provision};

use crate::support::database::TestDatabase;

#[tokio::test]
async fn opening_an_up_to_date_database_changes_nothing() {
    let database = TestDatabase::create().await;
    let mut owner = database.settings().sessions(Role::Owner).unwrap().connect().await.unwrap();
    assert_eq!(migrate(&mut owner).await.unwrap(), 0);
    Databases::open(&database.settings()).await.unwrap();
}

#[tokio::test]
async fn the_tables_belong_to_the_owner_and_not_to_the_login() {
    let database = TestDatabase::create().await;
    let foreign: Vec<String> = sqlx::query_scalar(
        "select relname::text from pg_class where relnamespace = 'tollgate'::regnamespace and relowner <> 'tollgate_owner'::regrole",
    )
    .fetch_all(&mut database.superuser().await)
    .await
    .unwrap();
    assert_eq!(foreign, Vec::<String>::new());
}

#[tokio::test]
async fn a_database_of_a_newer_version_is_refused() {
    let database = TestDatabase::create().await;
    let mut owner = database.settings().sessions(Role::Owner).unwrap().connect().await.unwrap();
    sqlx::raw_sql("insert into _sqlx_migrations (version, description, success, checksum, execution_time) values (9999, 'later', true, '', 0)")
        .execute(&mut owner)
        .await
        .unwrap();
    assert!(matches!(migrate(&mut owner).await, Err(MigrationError::NewerDatabase(9999))));
}

#[tokio::test]
async fn the_partitions_of_three_months_are_created_once() {
    let database = TestDatabase::create().await;
    let databases = database.databases();
    assert_eq!(ensure_partitions(&databases.system).await.unwrap(), 0, "the template has them");
    let mut superuser = database.superuser().await;
    let partitions: Vec<String> = sqlx::query_scalar(
        "select inhrelid::regclass::text from pg_inherits where inhparent = 'decisions'::regclass order by 1",
    )
    .fetch_all(&mut superuser)
    .await
    .unwrap();
    assert_eq!(partitions.len(), 4, "three months and the rest: {partitions:?}");
    for partition in partitions.iter().filter(|name| *name != "decisions_rest") {
        sqlx::raw_sql(AssertSqlSafe(format!("drop table {partition}")))
            .execute(&mut superuser)
            .await
            .unwrap();
    }
    let both = tokio::join!(ensure_partitions(&databases.system), ensure_partitions(&databases.system));
    assert_eq!(both.0.unwrap() + both.1.unwrap(), 3);
}

#[tokio::test]
async fn databases_can_be_provisioned_concurrently() {
    let databases =
        [TestDatabase::create().await, TestDatabase::create().await, TestDatabase::create().await];
    for database in &databases {
        sqlx::raw_sql("drop schema tollgate cascade").execute(&mut database.superuser().await).await.unwrap();
    }
    let all = futures::future::join_all(databases.iter().flat_map(|database| {
        [database, database].map(|database| async { Databases::open(&database.settings()).await.map(drop) })
    }));
    for opened in all.await {
        opened.unwrap();
    }
}

#[tokio::test]
async fn a_login_without_rights_gets_the_statements_for_an_administrator() {
    let database = TestDatabase::create().await;
    let mut superuser = database.superuser().await;
    let login = format!("login_{}", uuid::Uuid::now_v7().simple());
    execute(&mut superuser, &format!("drop schema tollgate cascade; create role {login} login")).await;
    let url = database.url.replacen("tollgate@", &format!("{login}@"), 1);
    let mut weak = PgConnectOptions::from_str(&url).unwrap().connect().await.unwrap();

    let error = provision(&mut weak).await.unwrap_err();
    assert!(matches!(error, ProvisionError::NotAllowed { .. }), "{error}");
    assert!(error.to_string().contains(&administrator_statements(&login)), "{error}");

    execute(&mut superuser, &administrator_statements(&login)).await;
    let mut settings = database.settings();
    settings.url = url;
    let opened = Databases::open(&settings).await.unwrap();
    let role: String =
        sqlx::query_scalar("select current_user::text").fetch_one(opened.app.sqlx_pool()).await.unwrap();
    assert_eq!(role, "tollgate_app");
    opened.close().await;
    drop(weak);
    execute(&mut superuser, &format!("drop owned by {login}; drop role {login}")).await;
}

async fn execute(connection: &mut PgConnection, statements: &str) {
    sqlx::raw_sql(AssertSqlSafe(statements.to_owned())).execute(connection).await.unwrap();
}
