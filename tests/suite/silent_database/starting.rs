//! Starting with a silent database.

use crate::support::database::TestDatabase;
use crate::support::program::{run_command, tollgate};
use crate::support::silent_proxy::{DatabaseRequest, SilentProxy};

#[tokio::test(flavor = "multi_thread")]
async fn a_start_with_a_silent_database_ends_with_an_error() {
    let statements = ["pg_advisory_lock", "pg_has_role", "set role tollgate_owner", "_sqlx_migrations"];
    let starts = statements.map(|statement| async move {
        // Each start has its own database, since others would wait for the lock that it leaves.
        let database = TestDatabase::create().await;
        let proxy = SilentProxy::start(database.databases().journal.options());
        proxy.silence_next(DatabaseRequest::Statement(statement));
        let url = proxy.url(&database.url);
        let mut command = tollgate(&["migrate"]);
        command.env("ROCKET_DATABASES", format!("{{main={{url={url:?},connect_timeout=60}}}}"));
        let (status, _, output) = tokio::task::spawn_blocking(|| run_command(command)).await.unwrap();
        proxy.wait_until_silenced().await;
        assert!(!status.success(), "{statement}: {output}");
        assert!(output.contains("the database does not respond"), "{statement}: {output}");
    });
    futures::future::join_all(starts).await;
}
