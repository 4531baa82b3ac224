//! The records of removals, for signing and for verification.

use std::collections::HashSet;

use sqlx::postgres::PgRow;
use sqlx::{AssertSqlSafe, Row};
use uuid::Uuid;

use super::{ENTRY_BYTES, first_day, month_of};
use crate::domain::plugin::Digest;
use crate::domain::removal::{Removal, RemovalId, SignedRemoval};
use crate::domain::tenant::TenantId;
use crate::domain::time::Month;
use crate::storage::StorageError;
use crate::storage::columns::{digest, ms};
use crate::storage::pool::SystemPool;
use crate::storage::query_error::OfStatement;
use crate::storage::time_limit::TimeLimit;
use crate::storage::verification::{DecisionId, settle};

const WHAT: &str = "record of a removal";

/// Chunks of a page, each of up to 48 kB.
const CHUNKS: i64 = 64;

pub(super) const RECORD: &str = "
    select tenant_id, to_char(month, 'YYYY-MM') as month, number, state, decisions, hash, signed_at_ms, kid,
           signature
    from removals";

pub(super) fn read_id(row: &PgRow) -> Result<RemovalId, StorageError> {
    let month = Month::parse(row.try_get("month")?).ok_or(StorageError::Unreadable { what: WHAT })?;
    Ok(RemovalId { tenant: TenantId(row.try_get("tenant_id")?), month, number: row.try_get("number")? })
}

/// Fails if the record is not signed.
pub(super) fn read_signed(row: &PgRow) -> Result<SignedRemoval, StorageError> {
    let removal = Removal {
        id: read_id(row)?,
        decisions: row.try_get::<i64, _>("decisions")?.unsigned_abs(),
        hash: digest(row.try_get("hash")?, WHAT)?,
        at_ms: ms(row.try_get("signed_at_ms")?, WHAT)?,
    };
    Ok(SignedRemoval { removal, kid: row.try_get("kid")?, signature: row.try_get("signature")? })
}

/// All signed records.
pub async fn signed(system: &SystemPool) -> Result<Vec<SignedRemoval>, StorageError> {
    system
        .transaction_within(TimeLimit::LONG, |connection| {
            Box::pin(async move {
                let statement = format!(
                    "{RECORD} where signature is not null order by tenant_id, removals.month, number"
                );
                let rows = sqlx::query(AssertSqlSafe(statement)).fetch_all(connection).await?;
                rows.iter().map(read_signed).collect()
            })
        })
        .await
}

/// The entries of the next chunks of a record, in the order of their ids, with the last id.
pub async fn entries_after(
    system: &SystemPool,
    id: RemovalId,
    after: Uuid,
) -> Result<Vec<(Uuid, Vec<u8>)>, StorageError> {
    system
        .transaction_within(TimeLimit::PAGE, move |connection| {
            Box::pin(async move {
                sqlx::query_as(
                    "select last_id, entries from removal_chunks
                     where tenant_id = $1 and month = $2::text::date and number = $3 and last_id > $4
                     order by last_id
                     limit $5",
                )
                .bind(id.tenant.0)
                .bind(first_day(id.month))
                .bind(id.number)
                .bind(after)
                .bind(CHUNKS)
                .fetch_all(connection)
                .await
                .of_statement()
            })
        })
        .await
}

/// A decision that a record names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordedEntry {
    pub decision: DecisionId,
    pub digest: Digest,
    pub removal: RemovalId,
}

/// For each decision the chunks that can have it: one of each record of its month.
const CHUNKS_OF: &str = "
    with wanted as (
        select distinct r.tenant_id, r.month, r.number, chunk.last_id
        from unnest($1::uuid[], $2::uuid[], $3::text[]) as w (tenant_id, id, month)
        join removals r on r.tenant_id = w.tenant_id and r.month = w.month::date and r.signature is not null
        cross join lateral (
            select c.first_id, c.last_id from removal_chunks c
            where c.tenant_id = r.tenant_id and c.month = r.month and c.number = r.number and c.last_id >= w.id
            order by c.last_id
            limit 1) chunk
        where chunk.first_id <= w.id
    )
    select c.tenant_id, to_char(c.month, 'YYYY-MM') as month, c.number, c.entries
    from wanted
    join removal_chunks c using (tenant_id, month, number, last_id)";

/// What signed records say about these decisions. Whether the signatures are valid must be checked.
pub async fn recorded(
    system: &SystemPool,
    missing: Vec<DecisionId>,
) -> Result<Vec<RecordedEntry>, StorageError> {
    let months: Vec<String> = missing.iter().map(|decision| first_day(month_of(decision.id))).collect();
    let wanted: HashSet<DecisionId> = missing.iter().copied().collect();
    system
        .transaction_within(TimeLimit::LONG, move |connection| {
            Box::pin(async move {
                settle(connection).await?;
                let rows = sqlx::query(CHUNKS_OF)
                    .bind(missing.iter().map(|decision| decision.tenant).collect::<Vec<_>>())
                    .bind(missing.iter().map(|decision| decision.id).collect::<Vec<_>>())
                    .bind(months)
                    .fetch_all(connection)
                    .await?;
                let mut found = Vec::new();
                for row in &rows {
                    let removal = read_id(row)?;
                    let entries: &[u8] = row.try_get("entries")?;
                    found.extend(
                        entries.chunks_exact(ENTRY_BYTES).filter_map(|entry| read_entry(removal, entry)),
                    );
                }
                found.retain(|entry| wanted.contains(&entry.decision));
                Ok(found)
            })
        })
        .await
}

fn read_entry(removal: RemovalId, entry: &[u8]) -> Option<RecordedEntry> {
    let (id, digest) = entry.split_at_checked(16)?;
    let decision = DecisionId { tenant: removal.tenant.0, id: Uuid::from_slice(id).ok()? };
    Some(RecordedEntry { decision, digest: Digest(digest.try_into().ok()?), removal })
}
