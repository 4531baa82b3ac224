//! How much a tenant may keep: what is never deleted must be bounded.

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
