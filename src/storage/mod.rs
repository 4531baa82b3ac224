//! Postgres: pools, migrations, the journal, the private server and all SQL.
//!
//! A tenant's rows must be accessed only in a transaction of that tenant, or by the journal's or
//! the background role.

mod active_session;
pub mod actors;
mod advisory_locks;
pub mod audit;
pub mod backtests;
pub mod batch_ids;
pub mod binaries;
mod canonical;
pub mod card_checks;
mod certificate_bindings;
pub mod clients;
pub mod clock;
mod columns;
mod database_url;
pub mod databases;
pub mod decision_counts;
pub mod decisions;
pub mod erasures;
pub mod evidence;
pub mod facts;
pub mod imports;
pub mod journal;
pub mod lists;
pub mod migrate;
pub mod nodes;
pub mod openid;
pub mod partitions;
pub mod payment_events;
pub mod plugins;
pub mod pool;
pub mod private_server;
pub mod proposals;
pub mod provision;
pub mod quarantines;
mod query_error;
pub mod reach;
pub mod reference;
pub mod removals;
pub mod request_digest;
pub mod reviews;
pub mod revocations;
pub mod rulesets;
pub mod search;
pub mod series;
pub mod session;
pub mod shadow_runs;
pub mod sign_ins;
pub mod signing_keys;
pub mod tables;
pub mod tenants;
pub mod time_limit;
pub mod transaction;
pub mod uploads;
pub mod users;
pub mod values;
pub mod verification;
pub mod waiting;

use thiserror::Error;

use query_error::QueryError;

#[derive(Error)]
pub enum StorageError {
    /// The database cannot be reached, is shutting down or has no free connection. A retry may
    /// succeed.
    #[error("the database cannot be reached: {0}")]
    Unavailable(QueryError),
    #[error("the database rejected a statement: {0}")]
    Database(QueryError),
    /// Stored data cannot be read: it is damaged, or a newer version wrote it.
    #[error("stored {what} cannot be read")]
    Unreadable { what: &'static str },
    /// The personal data has been erased.
    #[error("the personal data has been erased")]
    Erased,
    /// The proposal of a change was decided in the meantime, so the change was not made.
    #[error("the proposal is not open any more")]
    ProposalDecided,
    /// The task that did the work ended without a result.
    #[error("the database query was cancelled")]
    Abandoned,
}

/// Short, for log lines.
impl std::fmt::Debug for StorageError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unavailable(error) => write!(f, "Unavailable({error})"),
            Self::Database(error) => write!(f, "Database({error})"),
            Self::Unreadable { what } => write!(f, "Unreadable({what})"),
            Self::Erased => f.write_str("Erased"),
            Self::ProposalDecided => f.write_str("ProposalDecided"),
            Self::Abandoned => f.write_str("Abandoned"),
        }
    }
}

impl From<sqlx::Error> for StorageError {
    #[track_caller]
    fn from(error: sqlx::Error) -> Self {
        // 08: broken connection. 57P: the server shuts down. 53: too few resources. 3D: the
        // database does not exist yet. 25006: a standby.
        let passing = match &error {
            // A refused session.
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
        let error = QueryError::new(error);
        if passing { Self::Unavailable(error) } else { Self::Database(error) }
    }
}

impl StorageError {
    /// Whether a retry may succeed: the database cannot be reached, or a statement took too long,
    /// waited too long for a lock, or met a deadlock.
    pub fn is_passing(&self) -> bool {
        const PASSING: [&str; 4] = ["40001", "40P01", "55P03", "57014"];
        match self {
            Self::Unavailable(_) | Self::Abandoned => true,
            Self::Database(error) => {
                let code = error.as_database_error().and_then(|error| error.code());
                code.is_some_and(|code| PASSING.contains(&code.as_ref()))
            }
            Self::Unreadable { .. } | Self::Erased | Self::ProposalDecided => false,
        }
    }

    /// Whether a change of a list would have been stored after the time from which it holds. No
    /// other transaction fails in this way, since none is serializable.
    fn is_late_change(&self) -> bool {
        self.has_code("40001")
    }

    /// Whether the statement waited too long for a lock.
    pub fn is_lock_timeout(&self) -> bool {
        self.has_code("55P03")
    }

    /// Whether the database answered with this SQLSTATE.
    fn has_code(&self, code: &str) -> bool {
        self.database_error().is_some_and(|error| error.code().as_deref() == Some(code))
    }

    /// Whether the statement violated a unique constraint.
    pub fn is_unique_violation(&self) -> bool {
        self.database_error().is_some_and(|error| error.is_unique_violation())
    }

    fn database_error(&self) -> Option<&dyn sqlx::error::DatabaseError> {
        match self {
            Self::Database(error) => error.as_database_error(),
            _ => None,
        }
    }
}
