//! Adds the ids of their decisions to batches of earlier releases, and then drops the index by
//! which those decisions were found.
//!
//! The index must stay until no batch without ids can be stored any more.

use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row};
use uuid::Uuid;

use super::StorageError;
use super::pool::SystemPool;
use super::time_limit::TimeLimit;
use super::verification::settle;

/// Bytes of a decision in the list of its batch: its tenant and its id.
pub const ID_BYTES: usize = 32;
const DIGEST_BYTES: usize = 32;

/// A page is short, so that its locks are.
const PAGE: i64 = 500;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BatchIds {
    /// All batches have ids, or another node adds them.
    NothingToDo,
    /// All batches have ids for now, but this node must not require them.
    NotYetRequired,
    /// A page of batches was read, and this many of them got their ids.
    Page { filled: u64 },
    /// The ids are complete, and the index is gone.
    Complete,
}

struct Progress {
    writer: Uuid,
    sequence: i64,
    are_required: bool,
}

/// A batch whose decisions are looked for by their positions.
pub(super) struct BatchWithoutIds<'b> {
    pub writer: Uuid,
    pub sequence: i64,
    pub decision_digests: &'b [u8],
}

/// Takes the next step. `may_require` says whether no node of an earlier release is left, which
/// could not store batches afterwards.
pub async fn fill_in(system: &SystemPool, may_require: bool) -> Result<BatchIds, StorageError> {
    system
        .transaction_within(TimeLimit::PAGE, move |connection| {
            Box::pin(async move {
                let Some(row) = sqlx::query(
                    "select writer_id, sequence, are_required from batch_ids_progress
                     where not is_complete
                     for update skip locked",
                )
                .fetch_optional(&mut *connection)
                .await?
                else {
                    return Ok(BatchIds::NothingToDo);
                };
                let progress = Progress {
                    writer: row.try_get("writer_id")?,
                    sequence: row.try_get("sequence")?,
                    are_required: row.try_get("are_required")?,
                };
                progress.step(connection, may_require).await
            })
        })
        .await
}

impl Progress {
    async fn step(self, connection: &mut PgConnection, may_require: bool) -> Result<BatchIds, StorageError> {
        let batches = sqlx::query(
            "select writer_id, sequence, case when decision_ids is null then decision_digests end as digests
             from journal_batches
             where (writer_id, sequence) > ($1, $2)
             order by writer_id, sequence
             limit $3",
        )
        .bind(self.writer)
        .bind(self.sequence)
        .bind(PAGE)
        .fetch_all(&mut *connection)
        .await?;
        let Some(last) = batches.last() else { return self.end_pass(connection, may_require).await };
        let mut without = Vec::new();
        for batch in &batches {
            if let Some(decision_digests) = batch.try_get::<Option<&[u8]>, _>("digests")? {
                let (writer, sequence) = (batch.try_get("writer_id")?, batch.try_get("sequence")?);
                without.push(BatchWithoutIds { writer, sequence, decision_digests });
            }
        }
        let filled = without.len() as u64;
        if filled > 0 {
            store(connection, &without).await?;
        }
        sqlx::query("update batch_ids_progress set writer_id = $1, sequence = $2")
            .bind(last.try_get::<Uuid, _>("writer_id")?)
            .bind(last.try_get::<i64, _>("sequence")?)
            .execute(connection)
            .await?;
        Ok(BatchIds::Page { filled })
    }

    async fn end_pass(
        self,
        connection: &mut PgConnection,
        may_require: bool,
    ) -> Result<BatchIds, StorageError> {
        let (step, done) = match (self.are_required, may_require) {
            (true, _) => ("select drop_decisions_by_position()", BatchIds::Complete),
            (false, true) => ("select require_batch_ids()", BatchIds::Page { filled: 0 }),
            // Nodes of the release before still store batches without ids: look again from the start.
            (false, false) => (
                "update batch_ids_progress set writer_id = '00000000-0000-0000-0000-000000000000', sequence = 0",
                BatchIds::NotYetRequired,
            ),
        };
        sqlx::query(step).execute(connection).await?;
        Ok(done)
    }
}

async fn store(connection: &mut PgConnection, batches: &[BatchWithoutIds<'_>]) -> Result<(), StorageError> {
    let ids = by_position(connection, batches).await?;
    sqlx::query(
        "update journal_batches b set decision_ids = new.ids
         from unnest($1::uuid[], $2::bigint[], $3::bytea[]) as new (writer_id, sequence, ids)
         where b.writer_id = new.writer_id and b.sequence = new.sequence",
    )
    .bind(batches.iter().map(|batch| batch.writer).collect::<Vec<_>>())
    .bind(batches.iter().map(|batch| batch.sequence).collect::<Vec<_>>())
    .bind(ids)
    .execute(connection)
    .await?;
    Ok(())
}

/// The list of ids of each batch, as its decisions name their positions. A position that no
/// decision names stays zero. If several name it, the first whose digest the batch has is taken.
pub(super) async fn by_position(
    connection: &mut PgConnection,
    batches: &[BatchWithoutIds<'_>],
) -> Result<Vec<Vec<u8>>, StorageError> {
    settle(connection).await?;
    let rows = sqlx::query(
        "select b.place, d.batch_position, d.tenant_id, d.id, d.digest
         from unnest($1::uuid[], $2::bigint[]) with ordinality as b (writer_id, sequence, place)
         join decisions d on d.writer_id = b.writer_id and d.batch_sequence = b.sequence
         order by d.tenant_id, d.id",
    )
    .bind(batches.iter().map(|batch| batch.writer).collect::<Vec<_>>())
    .bind(batches.iter().map(|batch| batch.sequence).collect::<Vec<_>>())
    .fetch_all(connection)
    .await?;
    let found = rows.iter().map(|row| Named::read(row, batches)).collect::<sqlx::Result<Vec<_>>>()?;
    let (fitting, others): (Vec<_>, Vec<_>) = found.into_iter().partition(|named| named.fits);
    let mut ids: Vec<Vec<u8>> =
        batches.iter().map(|batch| vec![0; batch.decision_digests.len() / DIGEST_BYTES * ID_BYTES]).collect();
    for named in fitting.into_iter().chain(others) {
        let slots = ids.get_mut(named.batch).map(|ids| ids.chunks_exact_mut(ID_BYTES));
        let slot = slots.and_then(|mut slots| slots.nth(named.position));
        if let Some(slot) = slot.filter(|slot| slot.iter().all(|byte| *byte == 0)) {
            slot.copy_from_slice(&named.id);
        }
    }
    Ok(ids)
}

/// A decision that names a position of a batch.
struct Named {
    batch: usize,
    position: usize,
    id: [u8; ID_BYTES],
    /// Whether the batch has its digest there.
    fits: bool,
}

impl Named {
    fn read(row: &PgRow, batches: &[BatchWithoutIds<'_>]) -> sqlx::Result<Self> {
        let batch = usize::try_from(row.try_get::<i64, _>("place")? - 1).unwrap_or(usize::MAX);
        let position = usize::try_from(row.try_get::<i32, _>("batch_position")?).unwrap_or(usize::MAX);
        let expected = batches
            .get(batch)
            .and_then(|batch| batch.decision_digests.chunks_exact(DIGEST_BYTES).nth(position));
        let (tenant, own): (Uuid, Uuid) = (row.try_get("tenant_id")?, row.try_get("id")?);
        let mut id = [0; ID_BYTES];
        id[..ID_BYTES / 2].copy_from_slice(tenant.as_bytes());
        id[ID_BYTES / 2..].copy_from_slice(own.as_bytes());
        Ok(Self { batch, position, id, fits: expected == Some(row.try_get("digest")?) })
    }
}
