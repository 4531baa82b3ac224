//! A new database for each test, copied from a migrated template.

use std::str::FromStr;

use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, PgConnection};
use tollgate::storage::databases::Databases;
use tollgate::storage::migrate::fingerprint;
use tollgate::storage::pool::DatabaseSettings;
use uuid::Uuid;

use super::cluster;

/// The number of an advisory lock that is held while the template is created. Arbitrary.
const TEMPLATE_LOCK: i64 = 7_305_462;

/// A migrated, empty database. It is dropped with this value, even if there are connections.
pub struct TestDatabase {
    pub url: String,
    name: String,
    cluster_url: String,
}

impl TestDatabase {
    pub async fn create() -> Self {
        let cluster_url = cluster::url().await;
        let mut connection = connect(&cluster_url).await;
        let template = ensure_template(&mut connection, &cluster_url).await;
        let name = format!("test_{}", Uuid::now_v7().simple());
        execute(&mut connection, format!("create database {name} template {template}")).await;
        connection.close().await.unwrap();
        Self { url: with_database(&cluster_url, &name), name, cluster_url }
    }

    /// With small pools, since many tests run at once.
    pub fn settings(&self) -> DatabaseSettings {
        DatabaseSettings { max_connections: 4, ..DatabaseSettings::for_url(&self.url) }
    }

    pub fn databases(&self) -> Databases {
        Databases::connect_lazily(&self.settings()).unwrap()
    }

    /// Connects as the superuser, to whom row security does not apply.
    pub async fn superuser(&self) -> PgConnection {
        connect(&format!("{}&options=-csearch_path%3Dtollgate", self.url)).await
    }
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        let (name, cluster_url) = (std::mem::take(&mut self.name), std::mem::take(&mut self.cluster_url));
        // On another thread, since a runtime cannot be entered twice. Errors are ignored, since the
        // next supervisor drops the remaining databases.
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let Ok(mut connection) = PgConnectOptions::from_str(&cluster_url).unwrap().connect().await
                else {
                    return;
                };
                let statement = AssertSqlSafe(format!("drop database if exists {name} with (force)"));
                let _ = sqlx::raw_sql(statement).execute(&mut connection).await;
            });
        });
        let _ = thread.join();
    }
}

/// Creates the template for the current migrations. It gets its name only when it is complete, so
/// an unfinished template is never used.
async fn ensure_template(connection: &mut PgConnection, cluster_url: &str) -> String {
    let template = format!("template_{}", fingerprint());
    if exists(connection, &template).await {
        return template;
    }
    sqlx::query("select pg_advisory_lock($1)").bind(TEMPLATE_LOCK).execute(&mut *connection).await.unwrap();
    if !exists(connection, &template).await {
        execute(connection, "drop database if exists unfinished_template with (force)".to_owned()).await;
        execute(connection, "create database unfinished_template".to_owned()).await;
        let settings = DatabaseSettings::for_url(with_database(cluster_url, "unfinished_template"));
        Databases::open(&settings).await.unwrap().close().await;
        execute(connection, format!("alter database unfinished_template rename to {template}")).await;
    }
    sqlx::query("select pg_advisory_unlock($1)").bind(TEMPLATE_LOCK).execute(&mut *connection).await.unwrap();
    template
}

async fn exists(connection: &mut PgConnection, database: &str) -> bool {
    sqlx::query_scalar("select exists (select from pg_database where datname = $1)")
        .bind(database)
        .fetch_one(connection)
        .await
        .unwrap()
}

async fn connect(url: &str) -> PgConnection {
    PgConnectOptions::from_str(url).unwrap().connect().await.unwrap()
}

async fn execute(connection: &mut PgConnection, statement: String) {
    sqlx::raw_sql(AssertSqlSafe(statement)).execute(connection).await.unwrap();
}

fn with_database(cluster_url: &str, name: &str) -> String {
    cluster_url.replacen("/tollgate?", &format!("/{name}?"), 1)
}
