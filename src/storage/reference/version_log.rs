//! Which version of a table is valid when, in memory.
//!
//! A version is valid two seconds after it was written, so a log that was read a moment ago is
//! complete for the payments of this moment. It must not be asked about later ones.

use sqlx::Row;

use crate::domain::reference::VALID_AFTER_MS;
use crate::domain::table::TableName;
use crate::domain::tenant::TenantId;
use crate::storage::StorageError;
use crate::storage::advisory_locks::DatabaseLock;
use crate::storage::columns::ms;
use crate::storage::pool::AppPool;

/// How far the clocks of two nodes may differ, and more.
const CLOCKS_DIFFER_MS: u64 = 500;

#[derive(Debug)]
pub(super) struct VersionLog {
    /// In the order in which they were written, each with the time from which it is valid.
    lines: Vec<(u64, i32)>,
    /// Until then the log is complete.
    pub known_until_ms: u64,
}

impl VersionLog {
    /// On a connection for requests, since payments wait for it.
    pub async fn load(app: &AppPool, tenant: TenantId, table: TableName) -> Result<Self, StorageError> {
        app.transaction(tenant, move |connection| {
            Box::pin(async move {
                // An activation that is not committed may be valid soon. It may be another
                // tenant's, so it is not waited for.
                let lock = DatabaseLock::TableActivationSequence;
                let none_is_open = lock.try_shared_in_transaction(connection).await?;
                let ahead_ms = if none_is_open { VALID_AFTER_MS - CLOCKS_DIFFER_MS } else { 0 };
                let rows = sqlx::query(
                    "select (extract(epoch from statement_timestamp()) * 1000)::bigint as now_ms,
                                a.valid_from_ms, a.version
                         from (select) as one
                         left join table_activations a on a.tenant_id = $1 and a.table_name = $2
                         order by a.sequence",
                )
                .bind(tenant.0)
                .bind(table.as_str())
                .fetch_all(connection)
                .await?;
                let (mut lines, mut known_until_ms) = (Vec::with_capacity(rows.len()), 0);
                for row in &rows {
                    let now_ms = ms(row.try_get("now_ms")?, "clock")?;
                    known_until_ms = now_ms + ahead_ms;
                    if let Some(valid_from_ms) = row.try_get("valid_from_ms")? {
                        lines.push((ms(valid_from_ms, "table activation")?, row.try_get("version")?));
                    }
                }
                Ok(Self { lines, known_until_ms })
            })
        })
        .await
    }

    /// `None` if the table had no version yet.
    pub fn version_at(&self, at_ms: u64) -> Option<i32> {
        self.lines
            .iter()
            .rev()
            .find(|(valid_from_ms, _)| *valid_from_ms <= at_ms)
            .map(|(_, version)| *version)
    }

    /// The versions that were valid at any time in between, each with the time from which it was.
    pub fn versions_between(&self, from_ms: u64, to_ms: u64) -> &[(u64, i32)] {
        let behind = self.lines.partition_point(|(valid_from_ms, _)| *valid_from_ms <= to_ms);
        let up_to = &self.lines[..behind];
        let first = up_to.partition_point(|(valid_from_ms, _)| *valid_from_ms <= from_ms);
        &up_to[first.saturating_sub(1)..]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_that_is_valid_counts() {
        let lines = vec![(100, 1), (200, 2), (200, 3), (300, 1)];
        let log = VersionLog { lines, known_until_ms: 1_000 };
        for (at_ms, version) in [(99, None), (100, Some(1)), (199, Some(1)), (200, Some(3)), (400, Some(1))] {
            assert_eq!(log.version_at(at_ms), version, "{at_ms}");
        }
        for (from_ms, to_ms, expected) in [
            (0, 99, &[][..]),
            (0, 100, &[(100, 1)]),
            (100, 199, &[(100, 1)]),
            (150, 250, &[(100, 1), (200, 2), (200, 3)]),
            (200, 299, &[(200, 3)]),
            (301, 302, &[(300, 1)]),
        ] {
            assert_eq!(log.versions_between(from_ms, to_ms), expected, "{from_ms} {to_ms}");
        }
    }
}
