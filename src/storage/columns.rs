//! How domain values stand in columns: times, digests and names.
//!
//! Owns the conversions that every aggregate needs, in both directions. Must
//! never guess: a column that holds what no version wrote is unreadable.

use super::StorageError;
use crate::domain::plugin::Digest;

/// UTC milliseconds as a bigint; the clamp lies 292 million years ahead.
pub(super) fn bigint(ms: u64) -> i64 {
    i64::try_from(ms).unwrap_or(i64::MAX)
}

pub(super) fn ms(stored: i64, what: &'static str) -> Result<u64, StorageError> {
    u64::try_from(stored).map_err(|_| StorageError::Unreadable { what })
}

pub(super) fn digest(stored: &[u8], what: &'static str) -> Result<Digest, StorageError> {
    stored.try_into().map(Digest).map_err(|_| StorageError::Unreadable { what })
}

/// A name that one of our enums gave itself.
pub(super) fn named<T>(parsed: Option<T>, what: &'static str) -> Result<T, StorageError> {
    parsed.ok_or(StorageError::Unreadable { what })
}
