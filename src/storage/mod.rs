//! Postgres: everything that is stored, and all SQL.
//!
//! Owns the pools, the tenant transaction, the migrations, the journal and the
//! private server. Must never know HTTP, and never lets a tenant's rows be
//! reached outside the tenant transaction.

mod advisory_locks;
mod at_work;
pub mod audit;
pub mod backtests;
pub mod binaries;
mod canonical;
pub mod card_checks;
pub mod clock;
mod columns;
mod database_url;
pub mod decisions;
mod diagnosis;
pub mod evidence;
pub mod facts;
pub mod imports;
pub mod journal;
pub mod line;
pub mod lists;
pub mod migrate;
pub mod nodes;
pub mod partitions;
pub mod payment_events;
pub mod plugins;
pub mod pool;
pub mod private_server;
pub mod provision;
pub mod quarantines;
pub mod reach;
pub mod request_digest;
pub mod rulesets;
pub mod session;
pub mod shadow_runs;
pub mod signing_keys;
pub mod tenants;
pub mod transaction;
pub mod uploads;
pub mod values;
pub mod verification;
pub mod waiting;

use thiserror::Error;

use diagnosis::Failed;

/// What can go wrong between Tollgate and its database.
#[derive(Error)]
pub enum StorageError {
    /// It cannot be reached, is shutting down or has no connection to spare; trying again may help.
    #[error("the database cannot be reached: {0}")]
    Unavailable(Failed),
    #[error("the database rejected a statement: {0}")]
    Database(Failed),
    /// What is stored cannot be read back: damage, or a newer version wrote it.
    #[error("stored {what} cannot be read")]
    Unreadable { what: &'static str },
    /// The personal payload was nulled by erasure.
    #[error("the personal data has been erased")]
    Erased,
    /// The task that did the work ended without an answer.
    #[error("the database query was cancelled")]
    Abandoned,
}

/// As short as a line of the log wants it.
impl std::fmt::Debug for StorageError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unavailable(error) => write!(f, "Unavailable({error})"),
            Self::Database(error) => write!(f, "Database({error})"),
            Self::Unreadable { what } => write!(f, "Unreadable({what})"),
            Self::Erased => f.write_str("Erased"),
            Self::Abandoned => f.write_str("Abandoned"),
        }
    }
}

impl From<sqlx::Error> for StorageError {
    #[track_caller]
    fn from(error: sqlx::Error) -> Self {
        // Class 08 is a broken connection, 57P0x a server going down, 53 too few
        // resources, 3D a database that is being put in place, 25006 one that is a standby so far.
        let passing = match &error {
            // A session that is not proven is of no use either.
            sqlx::Error::Configuration(_)
            | sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::Protocol(_)
            | sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed => true,
            sqlx::Error::Database(database) => database.code().is_some_and(|code| {
                ["08", "25006", "3D", "53", "57P"].iter().any(|class| code.starts_with(class))
            }),
            _ => false,
        };
        let failed = Failed::new(error);
        if passing { Self::Unavailable(failed) } else { Self::Database(failed) }
    }
}

impl StorageError {
    /// Whether the same may work a moment later: the database cannot be reached, or a statement took
    /// too long, waited too long for a lock, or met a deadlock.
    pub fn is_passing(&self) -> bool {
        const PASSING: [&str; 4] = ["40001", "40P01", "55P03", "57014"];
        match self {
            Self::Unavailable(_) | Self::Abandoned => true,
            Self::Database(failed) => {
                let code = failed.as_database_error().and_then(|error| error.code());
                code.is_some_and(|code| PASSING.contains(&code.as_ref()))
            }
            Self::Unreadable { .. } | Self::Erased => false,
        }
    }

    /// The statement waited for a lock for longer than it may; the next one may get it.
    pub fn is_lock_timeout(&self) -> bool {
        self.database_error().is_some_and(|error| error.code().as_deref() == Some("55P03"))
    }

    /// The SQLSTATE of a unique violation, for callers that turn it into a conflict.
    pub fn is_unique_violation(&self) -> bool {
        self.database_error().is_some_and(|error| error.is_unique_violation())
    }

    fn database_error(&self) -> Option<&dyn sqlx::error::DatabaseError> {
        match self {
            Self::Database(failed) => failed.as_database_error(),
            _ => None,
        }
    }
}
