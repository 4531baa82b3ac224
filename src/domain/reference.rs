//! What lists and tables share: when their changes take effect.

/// A change is valid this long after it was written, so that every node knows it by then. The
/// database has the same number for lists (`migrations/0021_list_changes.sql`).
pub const VALID_AFTER_MS: u64 = 2_000;
