//! Changes of lists take effect together and later, so that nodes can answer from memory.
//!
//! The database sees to it when entries are written. A change begins here before, so that the
//! program knows and tells the same time.

use sqlx::PgConnection;

use super::super::StorageError;
use super::super::columns::{bigint, ms};
use super::WHAT;
use crate::domain::reference::VALID_AFTER_MS;
use crate::domain::tenant::TenantId;

/// How long after it was begun a change takes effect. It must be stored half a second before then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Lead(u64);

impl Lead {
    pub const USUAL: Self = Self(VALID_AFTER_MS);
    /// For a conversion, and for entries that the database did not store within the usual lead.
    pub const LONG: Self = Self(30_000);
}

/// Begins a change of the list, and returns the time from which it holds. The list is locked until
/// the transaction ends; rows of entries must be locked before.
pub(super) async fn begin_change(
    connection: &mut PgConnection,
    tenant: TenantId,
    list: &str,
    Lead(lead_ms): Lead,
) -> Result<u64, StorageError> {
    let holds_from_ms: i64 = sqlx::query_scalar("select begin_list_change($1, $2, $3)")
        .bind(tenant.0)
        .bind(list)
        .bind(bigint(lead_ms))
        .fetch_one(connection)
        .await?;
    ms(holds_from_ms, WHAT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_database_has_the_usual_lead_for_programs_that_do_not_begin_their_changes() {
        let migration = include_str!("../../../migrations/0021_list_changes.sql");
        let begun = format!("begin_list_change(new.tenant_id, new.list, {})", Lead::USUAL.0);
        assert!(migration.contains(&begun));
    }
}
