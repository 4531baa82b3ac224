//! What may be logged of a database error.
//!
//! Owns that choice. Must never let a message or a detail of Postgres through:
//! both may quote the row, and a row may be a payment.

use super::session::Unproven;

/// The SQLSTATE and the constraint, or what kind of failure it was.
pub(super) fn diagnosis(error: &sqlx::Error) -> String {
    match error {
        sqlx::Error::Database(database) => {
            let code = database.code().unwrap_or_default();
            match database.constraint() {
                Some(constraint) => format!("SQLSTATE {code}, constraint {constraint}"),
                None => format!("SQLSTATE {code}"),
            }
        }
        sqlx::Error::Io(error) => format!("connection: {error}"),
        sqlx::Error::Tls(_) => "TLS".to_owned(),
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
