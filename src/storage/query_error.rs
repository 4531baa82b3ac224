//! A database error with the place of its statement, and the part of its text that may be logged.
//!
//! Must never log Postgres' details, or a message that may quote a value: a row may be a payment.

use std::panic::Location;

use thiserror::Error;

use super::StorageError;

/// Classes of SQLSTATE whose messages name tables, columns, roles, limits and files, but never
/// values. Class 22 is left out, since it quotes malformed values, and so are P0 and the classes
/// of extensions.
const CLASSES_WITHOUT_VALUES: [&str; 18] = [
    "08", "0A", "23", "25", "26", "28", "2B", "34", "3D", "3F", "40", "42", "53", "54", "55", "57", "58",
    "XX",
];

/// A session to which row security may not apply. It is closed without being used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("a connection of `databases.main.{key}` was refused: {found}; expected {expected}")]
pub struct RefusedSession {
    pub key: &'static str,
    pub(super) found: String,
    pub(super) expected: String,
}

/// An error of the database or of the connection to it, with the place of the statement in the
/// source code.
pub struct QueryError {
    error: sqlx::Error,
    statement: &'static Location<'static>,
}

impl QueryError {
    #[track_caller]
    pub(super) fn new(error: sqlx::Error) -> Self {
        Self { error, statement: Location::caller() }
    }
}

impl From<sqlx::Error> for QueryError {
    #[track_caller]
    fn from(error: sqlx::Error) -> Self {
        Self::new(error)
    }
}

impl std::ops::Deref for QueryError {
    type Target = sqlx::Error;

    fn deref(&self) -> &sqlx::Error {
        &self.error
    }
}

impl std::fmt::Display for QueryError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&describe(&self.error))?;
        // A call from inside the standard library has no place in this source code.
        match self.statement.file().strip_prefix("src/") {
            Some(file) => write!(f, " (statement {file}:{})", self.statement.line()),
            None => Ok(()),
        }
    }
}

impl std::fmt::Debug for QueryError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{self}")
    }
}

/// `source` is left out: sqlx's own text quotes Postgres.
impl std::error::Error for QueryError {}

/// Converts to a storage error where `?` would convert to another type.
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

/// The SQLSTATE, constraint and message of a database error, or the kind of another error.
pub(super) fn describe(error: &sqlx::Error) -> String {
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
        // Contains names of roles and tables, but no values.
        sqlx::Error::Configuration(error) if error.is::<RefusedSession>() => error.to_string(),
        sqlx::Error::PoolTimedOut => "no connection in time".to_owned(),
        sqlx::Error::PoolClosed | sqlx::Error::WorkerCrashed => "the pool is closed".to_owned(),
        _ => "the driver refused".to_owned(),
    }
}
