//! Which version of a table is valid when, in memory.
//!
//! A version is valid two seconds after it was written, so a log that was read a moment ago is
//! complete for the payments of this moment. It must not be asked about later ones.

use sqlx::{PgConnection, Row};
use uuid::Uuid;

use super::KNOWN_AHEAD_MS;
use crate::domain::table::TableName;
use crate::domain::tenant::TenantId;
use crate::storage::StorageError;
use crate::storage::advisory_locks::DatabaseLock;
use crate::storage::columns::ms;
use crate::storage::pool::{AppPool, SystemPool};
use crate::storage::time_limit::TimeLimit;

const WHAT: &str = "table activation";

#[derive(Debug, Clone, Default)]
pub(super) struct VersionLog {
    /// In the order in which they were written, each with the time from which it is valid.
    lines: Vec<(u64, i32)>,
    /// Of the last line. Sequences rise in commit order.
    pub last_sequence: i64,
    /// Until then the log is complete.
    pub known_until_ms: u64,
}

/// A log of which the lines above a sequence are read.
#[derive(Debug, Clone)]
pub(super) struct LogSince {
    pub tenant: TenantId,
    pub table: TableName,
    pub sequence: i64,
}

#[derive(Debug, Clone, Copy)]
struct LogLine {
    sequence: i64,
    valid_from_ms: u64,
    version: i32,
}

/// Further lines of several logs, in their order.
#[derive(Debug)]
pub(super) struct NewerLines {
    by_log: Vec<Vec<LogLine>>,
    known_until_ms: u64,
}

impl NewerLines {
    /// These logs with their further lines.
    pub fn added_to<'l>(self, logs: impl IntoIterator<Item = &'l VersionLog>) -> Vec<VersionLog> {
        let Self { by_log, known_until_ms } = self;
        let both = logs.into_iter().zip(by_log);
        both.map(|(log, lines)| {
            // It was complete until then already, if an activation is not committed now.
            let known_until_ms = known_until_ms.max(log.known_until_ms);
            let mut log = VersionLog { known_until_ms, ..log.clone() };
            for LogLine { sequence, valid_from_ms, version } in lines {
                log.lines.push((valid_from_ms, version));
                log.last_sequence = sequence;
            }
            log
        })
        .collect()
    }
}

impl VersionLog {
    /// On a connection for requests, since payments wait for it.
    pub async fn load(app: &AppPool, tenant: TenantId, table: TableName) -> Result<Self, StorageError> {
        let since = vec![LogSince { tenant, table, sequence: 0 }];
        let newer = app.transaction(tenant, move |connection| Box::pin(newer_lines(connection, since)));
        Ok(newer.await?.added_to([&Self::default()]).pop().unwrap_or_default())
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

/// The lines of these logs above their sequences, for background work.
pub(super) async fn newer(system: &SystemPool, since: Vec<LogSince>) -> Result<NewerLines, StorageError> {
    system
        .transaction_within(TimeLimit::SHORT, move |connection| Box::pin(newer_lines(connection, since)))
        .await
}

async fn newer_lines(
    connection: &mut PgConnection,
    since: Vec<LogSince>,
) -> Result<NewerLines, StorageError> {
    // An activation that is not committed may be valid soon. It may be another tenant's, so it is
    // not waited for.
    let none_is_open = DatabaseLock::TableActivationSequence.try_shared_in_transaction(connection).await?;
    let ahead_ms = if none_is_open { KNOWN_AHEAD_MS } else { 0 };
    let rows = sqlx::query(
        "select (extract(epoch from statement_timestamp()) * 1000)::bigint as now_ms, q.place,
                a.sequence, a.valid_from_ms, a.version
         from unnest($1::uuid[], $2::text[], $3::bigint[]) with ordinality
              as q (tenant_id, table_name, sequence, place)
         left join table_activations a on a.tenant_id = q.tenant_id and a.table_name = q.table_name
                                       and a.sequence > q.sequence
         order by a.sequence",
    )
    .bind(since.iter().map(|log| log.tenant.0).collect::<Vec<Uuid>>())
    .bind(since.iter().map(|log| log.table.as_str()).collect::<Vec<_>>())
    .bind(since.iter().map(|log| log.sequence).collect::<Vec<_>>())
    .fetch_all(connection)
    .await?;
    let mut newer = NewerLines { by_log: vec![Vec::new(); since.len()], known_until_ms: 0 };
    for row in &rows {
        newer.known_until_ms = ms(row.try_get("now_ms")?, "clock")? + ahead_ms;
        let Some(sequence) = row.try_get("sequence")? else { continue };
        let place: i64 = row.try_get("place")?;
        let own = usize::try_from(place - 1).ok().and_then(|place| newer.by_log.get_mut(place));
        let valid_from_ms = ms(row.try_get("valid_from_ms")?, WHAT)?;
        let line = LogLine { sequence, valid_from_ms, version: row.try_get("version")? };
        own.ok_or(StorageError::Unreadable { what: WHAT })?.push(line);
    }
    Ok(newer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_that_is_valid_counts() {
        let lines = vec![(100, 1), (200, 2), (200, 3), (300, 1)];
        let log = VersionLog { lines, last_sequence: 4, known_until_ms: 1_000 };
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
