//! Indexes the batches of the journal: reads them, computes the terms of their decisions, and writes
//! segments and counts.
//!
//! Segments, counts and progress must be written in one transaction, under the lock of the writer's
//! progress. Then no batch is indexed twice or left out, whichever node does it and wherever it is
//! killed.

use std::collections::HashMap;
use std::sync::Arc;

use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row};
use uuid::Uuid;

use super::batches::{batches_after, counted_after};
use super::segments::{IndexedDecision, TenantMonth, write};
use super::terms::{DecisionColumns, terms_of};
use crate::domain::decision::Decision;
use crate::storage::StorageError;
use crate::storage::columns::bigint;
use crate::storage::decision_counts::{self, Counted};
use crate::storage::pool::SystemPool;
use crate::storage::time_limit::TimeLimit;

/// A batch that this process has committed, so that it need not be read again.
#[derive(Debug, Clone)]
pub struct CommittedBatch {
    pub writer: Uuid,
    pub sequence: i64,
    /// When it was known to be committed.
    pub stored_at_ms: u64,
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

/// Writers with a batch that was committed before this time and is not indexed, or with one that is
/// not counted. Only writers that
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
                       and (p.counted < p.sequence
                            or exists (select from journal_batches b
                                       where b.writer_id = w.id and b.sequence > coalesce(p.sequence, 0)
                                         and b.committed_at_ms < $2))",
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
                let Some(progress) = progress.get(&writer).copied() else { return Ok(None) };
                if progress.counted < progress.sequence {
                    count_indexed(connection, writer, progress).await?;
                    let reached = vec![(writer, progress.sequence)];
                    return Ok(Some(Indexed { reached, has_more: true, ..Indexed::default() }));
                }
                let Some((last, decisions)) = batches_after(connection, writer, progress.sequence).await?
                else {
                    let reached = vec![(writer, progress.sequence)];
                    return Ok(Some(Indexed { reached, ..Indexed::default() }));
                };
                let months = write(connection, &decisions).await?;
                let counted: Vec<Counted> =
                    decisions.iter().filter_map(|decision| decision.counted).collect();
                decision_counts::add(connection, &counted).await?;
                let progress = Progress { sequence: last, counted: last };
                record_progress(connection, &[(writer, progress)]).await?;
                let reached = vec![(writer, last)];
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
                let (mut reached, mut decisions, mut counted) = (HashMap::new(), Vec::new(), Vec::new());
                for batch in &batches {
                    let Some(progress) = progress.get_mut(&batch.writer) else { continue };
                    if batch.sequence == progress.sequence + 1 {
                        let own = batch.decisions.iter().map(|one| indexed(one, batch.stored_at_ms));
                        let first = decisions.len();
                        decisions.extend(own);
                        if progress.counted == progress.sequence {
                            progress.counted = batch.sequence;
                            counted.extend(decisions[first..].iter().filter_map(|one| one.counted));
                        }
                        progress.sequence = batch.sequence;
                        reached.insert(batch.writer, *progress);
                    }
                }
                let months = write(connection, &decisions).await?;
                decision_counts::add(connection, &counted).await?;
                let progress: Vec<(Uuid, Progress)> = reached.into_iter().collect();
                record_progress(connection, &progress).await?;
                let reached =
                    progress.iter().map(|(writer, progress)| (*writer, progress.sequence)).collect();
                Ok(Indexed { reached, decisions: decisions.len() as u64, months, has_more: false })
            })
        })
        .await
}

fn indexed(decision: &Decision, stored_at_ms: u64) -> IndexedDecision {
    let columns = DecisionColumns::of(decision);
    let terms = terms_of(&columns, Some(&decision.evidence));
    let counted = Counted::of(decision, stored_at_ms);
    IndexedDecision { tenant: decision.tenant, at_ms: decision.id().at_ms(), terms, counted }
}

/// Counts the next batches that an earlier release indexed, which did not count.
async fn count_indexed(
    connection: &mut PgConnection,
    writer: Uuid,
    progress: Progress,
) -> Result<(), StorageError> {
    let found = counted_after(connection, writer, (progress.counted, progress.sequence)).await?;
    let (last, counted) = found.unwrap_or((progress.sequence, Vec::new()));
    decision_counts::add(connection, &counted).await?;
    record_progress(connection, &[(writer, Progress { counted: last, ..progress })]).await
}

/// Whether every decision that is indexed is counted too.
pub async fn are_all_counted(system: &SystemPool) -> Result<bool, StorageError> {
    system
        .transaction(|connection| {
            Box::pin(async move {
                let missing = "select exists (select from search_progress where counted < sequence)
                                   or exists (select from search_progress where sequence < history_until)";
                let missing: bool = sqlx::query_scalar(missing).fetch_one(connection).await?;
                Ok(!missing)
            })
        })
        .await
}

/// The last batches of a writer that are indexed and counted.
#[derive(Debug, Clone, Copy)]
struct Progress {
    sequence: i64,
    counted: i64,
}

/// The last indexed batch of each writer that no other process is indexing. The rows stay locked.
///
/// The commit is not waited for: what a crash of the database loses is segments together with
/// their progress.
async fn lock_progress(
    connection: &mut PgConnection,
    writers: &[Uuid],
) -> Result<HashMap<Uuid, Progress>, StorageError> {
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
        "select writer_id, sequence, counted from search_progress where writer_id = any ($1)
         order by writer_id
         for update skip locked",
    )
    .bind(writers)
    .fetch_all(connection)
    .await?;
    let progress = |row: &PgRow| -> Result<Progress, StorageError> {
        Ok(Progress { sequence: row.try_get("sequence")?, counted: row.try_get("counted")? })
    };
    rows.iter().map(|row| Ok((row.try_get("writer_id")?, progress(row)?))).collect()
}

/// The history of a writer ends where its batches do, since a node of the release before may add
/// to it meanwhile.
async fn record_progress(
    connection: &mut PgConnection,
    reached: &[(Uuid, Progress)],
) -> Result<(), StorageError> {
    sqlx::query(
        "update search_progress p
         set sequence = r.sequence, counted = r.counted,
             history_until = case
                 when p.sequence < p.history_until
                 then (select max(b.sequence) from journal_batches b where b.writer_id = p.writer_id)
                 else p.history_until end
         from unnest($1::uuid[], $2::bigint[], $3::bigint[]) as r (writer_id, sequence, counted)
         where p.writer_id = r.writer_id",
    )
    .bind(reached.iter().map(|(writer, _)| *writer).collect::<Vec<_>>())
    .bind(reached.iter().map(|(_, progress)| progress.sequence).collect::<Vec<_>>())
    .bind(reached.iter().map(|(_, progress)| progress.counted).collect::<Vec<_>>())
    .execute(connection)
    .await?;
    Ok(())
}
