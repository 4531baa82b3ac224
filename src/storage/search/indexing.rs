//! Indexes the batches of the journal: reads them, computes the terms of their decisions, and writes
//! segments.
//!
//! Segments and progress must be written in one transaction, under the lock of the writer's
//! progress. Then no batch is indexed twice or left out, whichever node does it and wherever it is
//! killed.

use std::collections::HashMap;
use std::sync::Arc;

use sqlx::{PgConnection, Row};
use uuid::Uuid;

use super::batches::batches_after;
use super::segments::{IndexedDecision, TenantMonth, write};
use super::terms::{DecisionColumns, terms_of};
use crate::domain::decision::Decision;
use crate::storage::StorageError;
use crate::storage::columns::bigint;
use crate::storage::pool::SystemPool;
use crate::storage::time_limit::TimeLimit;

/// A batch that this process has committed, so that it need not be read again.
#[derive(Debug, Clone)]
pub struct CommittedBatch {
    pub writer: Uuid,
    pub sequence: i64,
    pub decisions: Vec<Arc<Decision>>,
}

/// What was indexed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Indexed {
    /// Writers, each with its last batch that is indexed now.
    pub reached: Vec<(Uuid, i64)>,
    pub decisions: u64,
    /// Where there are new segments, which may have to be merged.
    pub months: Vec<TenantMonth>,
    /// Whether more batches may be stored.
    pub has_more: bool,
}

/// Writers with a batch that was committed before this time and is not indexed. Only writers that
/// began since `begun_since_ms` are looked at, since a database has many that ended long ago.
pub async fn writers_behind(
    system: &SystemPool,
    begun_since_ms: u64,
    committed_before_ms: u64,
) -> Result<Vec<Uuid>, StorageError> {
    system
        .transaction(move |connection| {
            Box::pin(async move {
                let writers = sqlx::query_scalar(
                    "select w.id
                     from journal_writers w
                     left join search_progress p on p.writer_id = w.id
                     where w.started_at_ms >= $1
                       and exists (select from journal_batches b
                                   where b.writer_id = w.id and b.sequence > coalesce(p.sequence, 0)
                                     and b.committed_at_ms < $2)",
                )
                .bind(bigint(begun_since_ms))
                .bind(bigint(committed_before_ms))
                .fetch_all(connection)
                .await?;
                Ok(writers)
            })
        })
        .await
}

/// Indexes the next batches of a writer as they are stored. `None` if another process is indexing
/// this writer.
pub async fn index_stored(system: &SystemPool, writer: Uuid) -> Result<Option<Indexed>, StorageError> {
    system
        .transaction_within(TimeLimit::PAGE, move |connection| {
            Box::pin(async move {
                let progress = lock_progress(connection, &[writer]).await?;
                let Some(sequence) = progress.get(&writer).copied() else { return Ok(None) };
                let Some((last, decisions)) = batches_after(connection, writer, sequence).await? else {
                    return Ok(Some(Indexed { reached: vec![(writer, sequence)], ..Indexed::default() }));
                };
                let months = write(connection, &decisions).await?;
                let reached = vec![(writer, last)];
                record_progress(connection, &reached).await?;
                Ok(Some(Indexed { reached, decisions: decisions.len() as u64, months, has_more: true }))
            })
        })
        .await
}

/// Indexes batches that this process has committed, in the order of their sequences. Those that do
/// not follow what is indexed are left out; `index_stored` finds them.
pub async fn index_committed(
    system: &SystemPool,
    batches: Vec<CommittedBatch>,
) -> Result<Indexed, StorageError> {
    system
        .transaction_within(TimeLimit::PAGE, move |connection| {
            Box::pin(async move {
                let mut writers: Vec<Uuid> = batches.iter().map(|batch| batch.writer).collect();
                writers.sort_unstable();
                writers.dedup();
                let mut progress = lock_progress(connection, &writers).await?;
                let (mut reached, mut decisions) = (HashMap::new(), Vec::new());
                for batch in &batches {
                    let Some(sequence) = progress.get_mut(&batch.writer) else { continue };
                    if batch.sequence == *sequence + 1 {
                        *sequence = batch.sequence;
                        reached.insert(batch.writer, batch.sequence);
                        decisions.extend(batch.decisions.iter().map(|decision| indexed(decision)));
                    }
                }
                let reached: Vec<(Uuid, i64)> = reached.into_iter().collect();
                let months = write(connection, &decisions).await?;
                record_progress(connection, &reached).await?;
                Ok(Indexed { reached, decisions: decisions.len() as u64, months, has_more: false })
            })
        })
        .await
}

fn indexed(decision: &Decision) -> IndexedDecision {
    let columns = DecisionColumns::of(decision);
    let terms = terms_of(&columns, Some(&decision.evidence));
    IndexedDecision { tenant: decision.tenant, at_ms: decision.id().at_ms(), terms }
}

/// The last indexed batch of each writer that no other process is indexing. The rows stay locked.
///
/// The commit is not waited for: what a crash of the database loses is segments together with
/// their progress.
async fn lock_progress(
    connection: &mut PgConnection,
    writers: &[Uuid],
) -> Result<HashMap<Uuid, i64>, StorageError> {
    sqlx::raw_sql("set local synchronous_commit = off").execute(&mut *connection).await?;
    sqlx::query(
        "insert into search_progress (writer_id, sequence, history_until)
         select w.id, 0, 0 from unnest($1::uuid[]) as w (id)
         on conflict (writer_id) do nothing",
    )
    .bind(writers)
    .execute(&mut *connection)
    .await?;
    let rows = sqlx::query(
        "select writer_id, sequence from search_progress where writer_id = any ($1)
         order by writer_id
         for update skip locked",
    )
    .bind(writers)
    .fetch_all(connection)
    .await?;
    rows.iter().map(|row| Ok((row.try_get("writer_id")?, row.try_get("sequence")?))).collect()
}

/// The history of a writer ends where its batches do, since a node of the release before may add
/// to it meanwhile.
async fn record_progress(connection: &mut PgConnection, reached: &[(Uuid, i64)]) -> Result<(), StorageError> {
    sqlx::query(
        "update search_progress p
         set sequence = r.sequence,
             history_until = case
                 when p.sequence < p.history_until
                 then (select max(b.sequence) from journal_batches b where b.writer_id = p.writer_id)
                 else p.history_until end
         from unnest($1::uuid[], $2::bigint[]) as r (writer_id, sequence)
         where p.writer_id = r.writer_id",
    )
    .bind(reached.iter().map(|(writer, _)| *writer).collect::<Vec<_>>())
    .bind(reached.iter().map(|(_, sequence)| *sequence).collect::<Vec<_>>())
    .execute(connection)
    .await?;
    Ok(())
}
