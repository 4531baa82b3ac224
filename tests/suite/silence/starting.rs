//! A start whose database takes what it is asked and says nothing.

use crate::support::database::TestDatabase;
use crate::support::program::{outcome, tollgate};
use crate::support::swallow::{Asked, Swallower};

#[tokio::test(flavor = "multi_thread")]
async fn a_start_whose_database_says_nothing_ends_and_says_so() {
    let asked = ["pg_advisory_lock", "pg_has_role", "set role tollgate_owner", "_sqlx_migrations"];
    let starts = asked.map(|asked| async move {
        // Each has its own database: the first leaves a lock behind, for which others would wait.
        let database = TestDatabase::create().await;
        let line = Swallower::start(database.databases().journal.options());
        line.swallow_next(Asked::Statement(asked));
        let url = line.url(&database.url);
        let mut command = tollgate(&["migrate"]);
        command.env("ROCKET_DATABASES", format!("{{main={{url={url:?},connect_timeout=60}}}}"));
        let (status, _, said) = tokio::task::spawn_blocking(|| outcome(command)).await.unwrap();
        line.until_swallowed().await;
        assert!(!status.success(), "{asked}: {said}");
        assert!(said.contains("the database does not respond"), "{asked}: {said}");
    });
    futures::future::join_all(starts).await;
}
