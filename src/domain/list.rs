//! Temporal lists: entries are opened and closed, never deleted, so that any
//! earlier moment can be seen as it was.

use uuid::Uuid;

use super::party::Iban;
use super::text::electronic;

/// One value on a list, valid in `[valid_from_ms, valid_to_ms)`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListEntry {
    pub id: Uuid,
    /// As the administrator wrote it.
    pub value: String,
    pub reason: String,
    pub valid_from_ms: u64,
    pub valid_to_ms: Option<u64>,
    pub added_by: String,
    pub closed_by: Option<String>,
}

/// How an entry's value is compared: trimmed, and an IBAN written in its
/// printed form loses its spaces, since payments carry the electronic form.
pub fn comparable_value(value: &str) -> String {
    let trimmed = value.trim();
    if Iban::parse(trimmed).is_ok() { electronic(trimmed) } else { trimmed.to_owned() }
}
