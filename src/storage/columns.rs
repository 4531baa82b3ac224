//! Conversion of times, digests and names between domain types and columns.
//!
//! A column with a value that no version of the program wrote is an error, never a default.

use super::StorageError;
use crate::domain::plugin::Digest;

/// UTC milliseconds as a bigint. Times more than 292 million years away are clamped.
pub(super) fn bigint(ms: u64) -> i64 {
    i64::try_from(ms).unwrap_or(i64::MAX)
}

pub(super) fn ms(stored: i64, what: &'static str) -> Result<u64, StorageError> {
    u64::try_from(stored).map_err(|_| StorageError::Unreadable { what })
}

pub(super) fn digest(stored: &[u8], what: &'static str) -> Result<Digest, StorageError> {
    stored.try_into().map(Digest).map_err(|_| StorageError::Unreadable { what })
}

/// Returns the parsed name, or the error if the stored name is unknown.
pub(super) fn named<T>(parsed: Option<T>, what: &'static str) -> Result<T, StorageError> {
    parsed.ok_or(StorageError::Unreadable { what })
}
