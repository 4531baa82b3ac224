//! What may be logged of a database error, and which statement met it.
//!
//! Owns that choice for the whole program. Must never let a detail of Postgres
//! through, nor a message that may quote a value: a row may be a payment.

use std::panic::Location;

use super::StorageError;
use super::session::Unproven;

/// Classes of SQLSTATE whose messages name tables, columns, roles, limits and
/// files, never values. Not among them: 22, which quotes what it could not
/// read, P0 and what extensions raise.
const CLASSES_WITHOUT_VALUES: [&str; 18] = [
    "08", "0A", "23", "25", "26", "28", "2B", "34", "3D", "3F", "40", "42", "53", "54", "55", "57", "58",
    "XX",
];

/// A failure of the database or of the way to it, with the place of its
/// statement in the sources. The errors of the storage room are made here, so
/// each is told in the same way.
pub struct Failed {
    error: sqlx::Error,
    statement: &'static Location<'static>,
}

impl Failed {
    #[track_caller]
    pub(super) fn new(error: sqlx::Error) -> Self {
        Self { error, statement: Location::caller() }
    }
}

impl From<sqlx::Error> for Failed {
    #[track_caller]
    fn from(error: sqlx::Error) -> Self {
        Self::new(error)
    }
}

impl std::ops::Deref for Failed {
    type Target = sqlx::Error;

    fn deref(&self) -> &sqlx::Error {
        &self.error
    }
}

impl std::fmt::Display for Failed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&diagnosis(&self.error))?;
        // A call from inside the standard library has no place in our sources.
        match self.statement.file().strip_prefix("src/") {
            Some(file) => write!(f, " (statement {file}:{})", self.statement.line()),
            None => Ok(()),
        }
    }
}

impl std::fmt::Debug for Failed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{self}")
    }
}

/// Without a source: sqlx's own text quotes Postgres.
impl std::error::Error for Failed {}

/// Makes a storage error where `?` would make another one.
pub(super) trait OfStatement<T> {
    fn of_statement(self) -> Result<T, StorageError>;
}

impl<T> OfStatement<T> for Result<T, sqlx::Error> {
    #[track_caller]
    fn of_statement(self) -> Result<T, StorageError> {
        match self {
            Ok(value) => Ok(value),
            Err(error) => Err(StorageError::from(error)),
        }
    }
}

/// The SQLSTATE, the constraint and the message, or what kind of failure it was.
pub(super) fn diagnosis(error: &sqlx::Error) -> String {
    match error {
        sqlx::Error::Database(database) => {
            let code = database.code().unwrap_or_default();
            let constraint =
                database.constraint().map_or_else(String::new, |name| format!(", constraint {name}"));
            if CLASSES_WITHOUT_VALUES.iter().any(|class| code.starts_with(class)) {
                format!("SQLSTATE {code}{constraint}: {}", database.message())
            } else {
                format!("SQLSTATE {code}{constraint}")
            }
        }
        sqlx::Error::Io(error) => format!("connection: {error}"),
        sqlx::Error::Tls(error) => format!("TLS: {error}"),
        sqlx::Error::Protocol(_) => "protocol".to_owned(),
        sqlx::Error::Encode(_) => "a value that cannot be encoded".to_owned(),
        sqlx::Error::ColumnDecode { index, .. } => format!("column {index} cannot be decoded"),
        // Names of roles and tables, no values.
        sqlx::Error::Configuration(error) if error.is::<Unproven>() => error.to_string(),
        sqlx::Error::PoolTimedOut => "no connection in time".to_owned(),
        sqlx::Error::PoolClosed | sqlx::Error::WorkerCrashed => "the pool is closed".to_owned(),
        _ => "the driver refused".to_owned(),
    }
}
