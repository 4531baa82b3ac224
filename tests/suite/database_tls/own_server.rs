//! A Postgres with TLS of its own, whose certificate and name are verified, and which verifies ours.

use sqlx::{Connection, PgConnection};

use crate::support::certificates::Authority;
use crate::support::database::TestDatabase;
use crate::support::program::{Program, run_command, tollgate};
use crate::support::tls_postgres::{CERTIFIED_USER, OPEN_USER, TlsPostgres};

fn command(url: &str, arguments: &[&str]) -> std::process::Command {
    let mut command = tollgate(arguments);
    command.env("ROCKET_DATABASES", format!("{{main={{url={url:?},max_connections=4}}}}"));
    command
}

/// Starts nothing if the database is refused. Returns whether it was not, and what was told.
async fn migrated(url: &str) -> (bool, String) {
    let command = command(url, &["migrate"]);
    let (status, _, stderr) = tokio::task::spawn_blocking(|| run_command(command)).await.unwrap();
    (status.success(), stderr)
}

#[tokio::test]
async fn a_server_is_verified_by_its_authority_name_and_age_and_verifies_the_certificate_of_tollgate() {
    let database = TestDatabase::create().await;
    let socket = database.url.split_once("?host=").unwrap().1.to_owned();
    let (authority, other) = (Authority::new("ca"), Authority::new("other"));
    let (ca, wrong_ca) = (authority.path().display().to_string(), other.path().display().to_string());
    let good = TlsPostgres::start(&authority.issue("DNS:localhost"), &authority, &socket);
    let old = TlsPostgres::start(&authority.issue_expired("DNS:localhost"), &authority, &socket);
    let url = |user: &str, host: &str, port: u16, rest: &str| {
        format!("postgres://{user}@{host}:{port}/postgres?sslmode=verify-full&sslrootcert={rest}")
    };
    let right = url(OPEN_USER, "localhost", good.port, &ca);
    for (url, works, told) in [
        (right.clone(), true, ""),
        (url(OPEN_USER, "localhost", good.port, &wrong_ca), false, "certificate"),
        (url(OPEN_USER, "127.0.0.1", good.port, &ca), false, "not valid for name"),
        (url(OPEN_USER, "localhost", old.port, &ca), false, "expired"),
    ] {
        let (worked, stderr) = migrated(&url).await;
        assert_eq!(worked, works, "{url}: {stderr}");
        assert!(stderr.contains(told), "{url}: {stderr}");
    }

    let mut connection = PgConnection::connect(&good.local_url()).await.unwrap();
    sqlx::raw_sql(sqlx::AssertSqlSafe(format!("create role {CERTIFIED_USER} superuser login")))
        .execute(&mut connection)
        .await
        .unwrap();
    let folder = tempfile::tempdir().unwrap();
    let files = |name: &str, authority: &Authority, subject: &str| {
        let (crt, key) =
            (folder.path().join(format!("{name}.crt")), folder.path().join(format!("{name}.key")));
        authority.issue_to(subject, "DNS:tollgate.example").write(&crt, &key);
        format!("&sslcert={}&sslkey={}", crt.display(), key.display())
    };
    let own = files("own", &authority, "/CN=certified");
    for (parameters, works, told) in [
        (own.clone(), true, ""),
        (files("mallory", &authority, "/CN=mallory"), false, "certificate authentication failed"),
        (files("unknown", &other, "/CN=certified"), false, "UnknownCA"),
        (String::new(), false, "certificate"),
    ] {
        let url = url(CERTIFIED_USER, "localhost", good.port, &ca) + &parameters;
        let (worked, stderr) = migrated(&url).await;
        assert_eq!(worked, works, "{url}: {stderr}");
        assert!(stderr.contains(told), "{url}: {stderr}");
    }

    let program =
        Program::start(command(&(url(CERTIFIED_USER, "localhost", good.port, &ca) + &own), &["serve"])).await;
    let ready = reqwest::get(format!("{}/ready", program.url)).await.unwrap();
    assert!(ready.status().is_success(), "{}", ready.text().await.unwrap());
    let encrypted: i64 = sqlx::query_scalar(
        "select count(*) from pg_stat_ssl join pg_stat_activity using (pid)
         where ssl and client_dn = '/CN=certified' and usename = 'certified'",
    )
    .fetch_one(&mut connection)
    .await
    .unwrap();
    assert!(encrypted > 0);
    let plain: i64 = sqlx::query_scalar(
        "select count(*) from pg_stat_ssl join pg_stat_activity using (pid)
         where not ssl and backend_type = 'client backend' and pid <> pg_backend_pid()",
    )
    .fetch_one(&mut connection)
    .await
    .unwrap();
    assert_eq!(plain, 0);
    program.stop().await;
}
