//! Runs the migrations, which are embedded in the program.

use std::sync::LazyLock;

use sqlx::migrate::{MigrateError, Migration, MigrationType, Migrator};
use sqlx::{PgConnection, SqlStr};
use thiserror::Error;

use super::query_error::QueryError;
use crate::domain::plugin::DigestBuilder;

/// Each file of `migrations/`: its name without `.sql`, and its text.
const FILES: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/migrations.rs"));

static MIGRATIONS: LazyLock<Migrator> = LazyLock::new(|| {
    Migrator::with_migrations(FILES.iter().map(|(name, sql)| migration(name, sql)).collect())
});

/// `name` consists of the version, an underscore and a description.
fn migration(name: &'static str, sql: &'static str) -> Migration {
    let (version, description) = name.split_once('_').expect("the name of a migration has an underscore");
    let version = version.parse().expect("the name of a migration begins with its version");
    let description = description.replace('_', " ").into();
    Migration::new(version, description, MigrationType::Simple, SqlStr::from_static(sql), false)
}

#[derive(Debug, Error)]
pub enum MigrationError {
    #[error("the database was migrated by a newer Tollgate (migration {0}); run that version or a newer one")]
    NewerDatabase(i64),
    #[error("migration {0} was changed after it was applied; never edit a migration, add a new one instead")]
    Edited(i64),
    #[error("a migration failed and was rolled back")]
    Failed(#[source] MigrateError),
    #[error("a statement of the migration{} failed and was rolled back: {failed}", of(*version))]
    Statement { version: Option<i64>, failed: QueryError },
}

impl From<sqlx::Error> for MigrationError {
    #[track_caller]
    fn from(error: sqlx::Error) -> Self {
        Self::Statement { version: None, failed: QueryError::new(error) }
    }
}

fn of(version: Option<i64>) -> String {
    version.map_or_else(|| "s".to_owned(), |version| format!(" {version}"))
}

/// Applies missing migrations, and returns their number. The session must be the owner's. The
/// caller must close it, even after an error, which leaves the lock held.
pub async fn migrate(owner: &mut PgConnection) -> Result<usize, MigrationError> {
    let before = applied(owner).await?;
    MIGRATIONS.run(&mut *owner).await.map_err(|error| match error {
        MigrateError::VersionMissing(version) => MigrationError::NewerDatabase(version),
        MigrateError::VersionMismatch(version) => MigrationError::Edited(version),
        MigrateError::ExecuteMigration(error, version) => {
            MigrationError::Statement { version: Some(version), failed: error.into() }
        }
        MigrateError::Execute(error) => error.into(),
        other => MigrationError::Failed(other),
    })?;
    let made = applied(owner).await?.saturating_sub(before);
    if made > 0 {
        tracing::info!(migrations = made, "the database was migrated");
    }
    Ok(made)
}

/// Identifies this set of migrations. Tests use it in the name of a template database.
pub fn fingerprint() -> String {
    let all = MIGRATIONS.iter().fold(DigestBuilder::default(), |digest, migration| {
        digest.with(&migration.version.to_be_bytes()).with(&migration.checksum)
    });
    all.finish().short(6)
}

async fn applied(owner: &mut PgConnection) -> Result<usize, MigrationError> {
    let count = async {
        let exists: bool = sqlx::query_scalar("select to_regclass('_sqlx_migrations') is not null")
            .fetch_one(&mut *owner)
            .await?;
        if !exists {
            return Ok(0);
        }
        sqlx::query_scalar::<_, i64>("select count(*) from _sqlx_migrations").fetch_one(&mut *owner).await
    };
    let count = count.await?;
    Ok(usize::try_from(count).unwrap_or_default())
}
