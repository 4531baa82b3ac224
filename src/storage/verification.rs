//! Reads batches, decisions and keys of all tenants in pages, in the order of the journal, for
//! verification.
//!
//! Rows may be added while pages are read. A batch and its rows are committed together. So rows that
//! a batch must have are read after it, and a batch that a row must have is not read before it.

use std::collections::HashMap;

use sqlx::postgres::PgRow;
use sqlx::{FromRow, PgConnection, Row};
use uuid::Uuid;

use super::StorageError;
use super::batch_ids::{self, BatchWithoutIds, ID_BYTES};
use super::pool::SystemPool;
use super::query_error::OfStatement;
use super::time_limit::TimeLimit;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WriterRow {
    pub id: Uuid,
    pub registered: bool,
}

impl FromRow<'_, PgRow> for WriterRow {
    fn from_row(row: &PgRow) -> sqlx::Result<Self> {
        Ok(Self { id: row.try_get("id")?, registered: row.try_get("registered")? })
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchRow {
    pub sequence: i64,
    pub previous_hash: Vec<u8>,
    pub decision_digests: Vec<u8>,
    /// Tenant and id of each decision, 16 bytes each. `None` only while they are being added.
    pub decision_ids: Option<Vec<u8>>,
    pub hash: Vec<u8>,
}

impl BatchRow {
    /// The decisions of the batch, in their positions.
    pub fn decisions(&self) -> impl Iterator<Item = DecisionId> {
        self.decision_ids.as_deref().unwrap_or_default().chunks_exact(ID_BYTES).map(|both| {
            let (tenant, id) = both.split_at(ID_BYTES / 2);
            let uuid = |bytes| Uuid::from_slice(bytes).unwrap_or_default();
            DecisionId { tenant: uuid(tenant), id: uuid(id) }
        })
    }
}

/// The primary key of a decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct DecisionId {
    pub tenant: Uuid,
    pub id: Uuid,
}

impl FromRow<'_, PgRow> for BatchRow {
    fn from_row(row: &PgRow) -> sqlx::Result<Self> {
        Ok(Self {
            sequence: row.try_get("sequence")?,
            previous_hash: row.try_get("previous_hash")?,
            decision_digests: row.try_get("decision_digests")?,
            decision_ids: row.try_get("decision_ids")?,
            hash: row.try_get("hash")?,
        })
    }
}

/// A decision whose columns name a place where its batch does not have it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StrayDecision {
    pub decision: DecisionId,
    pub writer: Uuid,
    pub sequence: i64,
    pub position: i32,
    /// How many decisions the batch has. `None` if there is no such batch.
    pub batch_length: Option<i32>,
}

/// Every column of a decision, and the decision to which its key is bound.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecisionRow {
    pub place: DecisionId,
    pub client: Uuid,
    pub key: String,
    pub request_hash: Vec<u8>,
    pub origin: String,
    pub outcome: String,
    pub received_at_ms: i64,
    pub revision: Option<i32>,
    pub reference: Option<String>,
    pub amount_minor: i64,
    pub currency: String,
    pub method: String,
    pub payload_version: i16,
    pub payload: Option<Vec<u8>>,
    pub payload_salt: Option<Vec<u8>>,
    pub payload_digest: Vec<u8>,
    pub digest: Vec<u8>,
    pub bound_to: Option<Uuid>,
    pub bound_request_hash: Option<Vec<u8>>,
}

/// A key, and whether its decision exists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRow {
    pub tenant: Uuid,
    pub client: Uuid,
    pub key: String,
    pub decision: Uuid,
    pub exists: bool,
    /// Whether the decision has this client, key and request hash.
    pub fits: bool,
}

impl FromRow<'_, PgRow> for KeyRow {
    fn from_row(row: &PgRow) -> sqlx::Result<Self> {
        Ok(Self {
            tenant: row.try_get("tenant")?,
            client: row.try_get("client")?,
            key: row.try_get("key")?,
            decision: row.try_get("decision")?,
            exists: row.try_get("exists")?,
            fits: row.try_get("fits")?,
        })
    }
}

/// All writers that appear in batches, registered or not. The recursion finds each by one lookup in
/// the index, without reading all rows.
pub async fn writers(system: &SystemPool) -> Result<Vec<WriterRow>, StorageError> {
    system
        .transaction_within(TimeLimit::LONG, |connection| {
            Box::pin(async move {
                only_reading(connection).await?;
                let writers = sqlx::query_as(
                    "with recursive written (id) as (
                     (select writer_id from journal_batches order by writer_id limit 1)
                     union all
                     select (select writer_id from journal_batches b where b.writer_id > before.id
                             order by writer_id limit 1)
                     from written before where before.id is not null
                 )
                 select id, exists (select from journal_writers w where w.id = written.id) as registered
                 from written
                 where id is not null
                 order by id",
                )
                .fetch_all(connection)
                .await?;
                Ok(writers)
            })
        })
        .await
}

/// The next batches of a writer. A batch of an earlier release that does not have its ids yet gets
/// them from the positions that decisions name.
pub async fn batches(
    system: &SystemPool,
    writer: Uuid,
    after_sequence: Option<i64>,
) -> Result<Vec<BatchRow>, StorageError> {
    system
        .transaction_within(TimeLimit::LONG, move |connection| {
            Box::pin(async move {
                only_reading(connection).await?;
                let mut batches: Vec<BatchRow> = sqlx::query_as(
                    "select sequence, previous_hash, decision_digests, decision_ids, hash
                 from journal_batches
                 where writer_id = $1 and ($2::bigint is null or sequence > $2)
                 order by sequence
                 limit 64",
                )
                .bind(writer)
                .bind(after_sequence)
                .fetch_all(&mut *connection)
                .await?;
                add_missing_ids(connection, writer, &mut batches).await?;
                Ok(batches)
            })
        })
        .await
}

async fn add_missing_ids(
    connection: &mut PgConnection,
    writer: Uuid,
    batches: &mut [BatchRow],
) -> Result<(), StorageError> {
    let without: Vec<usize> =
        (0..batches.len()).filter(|place| batches[*place].decision_ids.is_none()).collect();
    if without.is_empty() {
        return Ok(());
    }
    let wanted: Vec<_> = without
        .iter()
        .map(|place| &batches[*place])
        .map(|batch| BatchWithoutIds {
            writer,
            sequence: batch.sequence,
            decision_digests: &batch.decision_digests,
        })
        .collect();
    let found = batch_ids::by_position(connection, &wanted).await?;
    for (place, ids) in without.into_iter().zip(found) {
        batches[place].decision_ids = Some(ids);
    }
    Ok(())
}

const DECISIONS: &str = "
    select d.tenant_id, d.id, d.client_id, d.idempotency_key, d.request_hash, d.origin, d.outcome,
           d.received_at_ms, d.revision, d.reference, d.amount_minor, d.currency, d.method,
           d.payload_version, d.payload, d.payload_salt, d.payload_digest, d.digest,
           bound.decision_id as bound_to, bound.request_hash as bound_request_hash
    from unnest($1::uuid[], $2::uuid[]) as wanted (tenant_id, id)
    join decisions d on d.tenant_id = wanted.tenant_id and d.id = wanted.id
    left join idempotency_keys bound
        on bound.tenant_id = d.tenant_id and bound.client_id = d.client_id and bound.key = d.idempotency_key";

/// Those of the decisions that exist, with their keys, in any order.
pub async fn decisions(
    system: &SystemPool,
    wanted: &[DecisionId],
) -> Result<HashMap<DecisionId, DecisionRow>, StorageError> {
    let (tenants, ids): (Vec<Uuid>, Vec<Uuid>) =
        wanted.iter().map(|wanted| (wanted.tenant, wanted.id)).unzip();
    system
        .transaction_within(TimeLimit::LONG, move |connection| {
            Box::pin(async move {
                only_reading(connection).await?;
                settle(connection).await?;
                let rows = sqlx::query(DECISIONS).bind(tenants).bind(ids).fetch_all(connection).await?;
                let rows: sqlx::Result<HashMap<_, _>> =
                    rows.iter().map(|row| read(row).map(|row| (row.place, row))).collect();
                rows.of_statement()
            })
        })
        .await
}

/// The number of decisions that one statement of [`strays`] compares with their batches.
const COMPARED: i64 = 5_000;

/// Until all batches have ids, the index by position shows which decisions share one.
const STRAYS: &str = "
    with page as materialized (
        select tenant_id, id, writer_id, batch_sequence, batch_position
        from decisions
        where (tenant_id, id) > ($1, $2)
        order by tenant_id, id
        limit $3
    ), compared as (
        select page.*, octet_length(b.decision_digests) / 32 as batch_length,
               case
                   when b.writer_id is null then true
                   when batch_position < 0 or batch_position >= octet_length(b.decision_digests) / 32 then true
                   when b.decision_ids is null then exists (
                       select from decisions other
                       where other.writer_id = page.writer_id and other.batch_sequence = page.batch_sequence
                         and other.batch_position = page.batch_position
                         and (other.tenant_id, other.id) < (page.tenant_id, page.id))
                   else substring(b.decision_ids from batch_position * 32 + 1 for 32)
                        <> uuid_send(tenant_id) || uuid_send(id)
               end as is_stray
        from page
        left join journal_batches b on b.writer_id = page.writer_id and b.sequence = page.batch_sequence
    )
    select last.tenant_id as last_tenant, last.id as last_id,
           stray.tenant_id, stray.id, stray.writer_id, stray.batch_sequence, stray.batch_position,
           stray.batch_length
    from (select tenant_id, id from page order by tenant_id desc, id desc limit 1) last
    left join compared stray on stray.is_stray
    order by stray.tenant_id, stray.id";

/// A page of decisions that was compared with their batches.
#[derive(Debug)]
pub struct ComparedPage {
    pub last: DecisionId,
    pub strays: Vec<StrayDecision>,
}

/// Compares the next decisions, in the order of their primary key, with the places in batches that
/// their columns name. `None` at the end. Decisions and batches are read in the same snapshot.
pub async fn strays(system: &SystemPool, after: DecisionId) -> Result<Option<ComparedPage>, StorageError> {
    system
        .transaction_within(TimeLimit::LONG, move |connection| {
            Box::pin(async move {
                only_reading(connection).await?;
                settle(connection).await?;
                let rows = sqlx::query(STRAYS)
                    .bind(after.tenant)
                    .bind(after.id)
                    .bind(COMPARED)
                    .fetch_all(connection)
                    .await?;
                let Some(first) = rows.first() else { return Ok(None) };
                let last =
                    DecisionId { tenant: first.try_get("last_tenant")?, id: first.try_get("last_id")? };
                let strays: sqlx::Result<Vec<_>> =
                    rows.iter().filter_map(|row| read_stray(row).transpose()).collect();
                Ok(Some(ComparedPage { last, strays: strays? }))
            })
        })
        .await
}

fn read_stray(row: &PgRow) -> sqlx::Result<Option<StrayDecision>> {
    let Some(id) = row.try_get("id")? else { return Ok(None) };
    Ok(Some(StrayDecision {
        decision: DecisionId { tenant: row.try_get("tenant_id")?, id },
        writer: row.try_get("writer_id")?,
        sequence: row.try_get("batch_sequence")?,
        position: row.try_get("batch_position")?,
        batch_length: row.try_get("batch_length")?,
    }))
}

/// The next keys of all clients.
pub async fn keys(system: &SystemPool, after: Option<&KeyRow>) -> Result<Vec<KeyRow>, StorageError> {
    let (tenant, client, key) = after
        .map_or((Uuid::nil(), Uuid::nil(), String::new()), |row| (row.tenant, row.client, row.key.clone()));
    system
        .transaction_within(TimeLimit::LONG, move |connection| {
            Box::pin(async move {
                only_reading(connection).await?;
                let keys = sqlx::query_as(
                    "with page as materialized (
                     select tenant_id, client_id, key, decision_id, request_hash
                     from idempotency_keys
                     where (tenant_id, client_id, key) > ($1, $2, $3)
                     order by tenant_id, client_id, key
                     limit 1000
                 )
                 select page.tenant_id as tenant, page.client_id as client, page.key, decision_id as decision,
                        d.id is not null as exists,
                        coalesce(d.client_id = page.client_id and d.idempotency_key = page.key
                                 and d.request_hash = page.request_hash, false) as fits
                 from page
                 left join decisions d on d.tenant_id = page.tenant_id and d.id = page.decision_id
                 order by page.tenant_id, page.client_id, page.key",
                )
                .bind(tenant)
                .bind(client)
                .bind(key)
                .fetch_all(connection)
                .await?;
                Ok(keys)
            })
        })
        .await
}

/// The hash that is stored for a batch, and the last sequence of its writer.
pub async fn batch_hash(
    system: &SystemPool,
    writer: Uuid,
    sequence: i64,
) -> Result<(Option<Vec<u8>>, Option<i64>), StorageError> {
    system
        .transaction_within(TimeLimit::LONG, move |connection| {
            Box::pin(async move {
                only_reading(connection).await?;
                let found = sqlx::query_as(
                    "select (select hash from journal_batches where writer_id = $1 and sequence = $2),
                        (select max(sequence) from journal_batches where writer_id = $1)",
                )
                .bind(writer)
                .bind(sequence)
                .fetch_one(connection)
                .await?;
                Ok(found)
            })
        })
        .await
}

async fn only_reading(connection: &mut PgConnection) -> Result<(), StorageError> {
    sqlx::raw_sql("set transaction read only").execute(connection).await?;
    Ok(())
}

/// Without these, Postgres would read a whole table where it can look up each row by its key.
pub(super) async fn settle(connection: &mut PgConnection) -> Result<(), StorageError> {
    let settings = "set local enable_hashjoin = off; set local enable_mergejoin = off; set local jit = off";
    sqlx::raw_sql(settings).execute(connection).await?;
    Ok(())
}

fn read(row: &PgRow) -> sqlx::Result<DecisionRow> {
    Ok(DecisionRow {
        place: DecisionId { tenant: row.try_get("tenant_id")?, id: row.try_get("id")? },
        client: row.try_get("client_id")?,
        key: row.try_get("idempotency_key")?,
        request_hash: row.try_get("request_hash")?,
        origin: row.try_get("origin")?,
        outcome: row.try_get("outcome")?,
        received_at_ms: row.try_get("received_at_ms")?,
        revision: row.try_get("revision")?,
        reference: row.try_get("reference")?,
        amount_minor: row.try_get("amount_minor")?,
        currency: row.try_get("currency")?,
        method: row.try_get("method")?,
        payload_version: row.try_get("payload_version")?,
        payload: row.try_get("payload")?,
        payload_salt: row.try_get("payload_salt")?,
        payload_digest: row.try_get("payload_digest")?,
        digest: row.try_get("digest")?,
        bound_to: row.try_get("bound_to")?,
        bound_request_hash: row.try_get("bound_request_hash")?,
    })
}
