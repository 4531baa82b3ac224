//! How much a tenant may store of data that is never deleted.

/// Closed lists and entries are never deleted. There may be this many times as many in total as may
/// be open.
const KEPT_TO_OPEN: i64 = 10;

/// How many may exist, open and closed, if `open_max` may be open.
pub fn kept_max(open_max: u32) -> i64 {
    i64::from(open_max) * KEPT_TO_OPEN
}

/// The bounds for one tenant. docs/CONFIGURATION.md has the defaults.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quotas {
    /// Lists that are not closed.
    pub lists_max: u32,
    /// Entries of one list that have not ended.
    pub list_entries_max: u32,
    /// Revisions of one ruleset.
    pub revisions_max: u32,
    /// Events of one payment.
    pub payment_events_max: u32,
    pub tables: TableQuotas,
}

/// The bounds of the tables of one tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TableQuotas {
    /// Tables that are not closed.
    pub tables_max: u32,
    /// Versions of one table.
    pub versions_max: u32,
    /// Rows of one version.
    pub rows_max: u32,
    /// The rows of all versions of all tables.
    pub stored_bytes_max: u64,
}
