//! How much a tenant may keep: what is never deleted must be bounded.

/// Lists and entries that are closed make room for others, but are kept for good: with
/// them there may be so many times as many.
const KEPT_TO_OPEN: i64 = 10;

/// How many may ever be made where so many may be open.
pub fn kept_max(open_max: u32) -> i64 {
    i64::from(open_max) * KEPT_TO_OPEN
}

/// The bounds for one tenant. `docs/CONFIGURATION.md` has each with its default.
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
}
