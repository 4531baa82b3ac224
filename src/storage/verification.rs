//! Reads batches, decisions and keys of all tenants in pages, in the order of the journal, for
//! verification.
//!
//! Rows may be added while pages are read. A batch and its rows are committed together, so they must
//! be read in one statement, or the batch before its rows.

use sqlx::postgres::PgRow;
use sqlx::{FromRow, PgConnection, Row};
use uuid::Uuid;

use super::StorageError;
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
    pub hash: Vec<u8>,
}

impl FromRow<'_, PgRow> for BatchRow {
    fn from_row(row: &PgRow) -> sqlx::Result<Self> {
        Ok(Self {
            sequence: row.try_get("sequence")?,
            previous_hash: row.try_get("previous_hash")?,
            decision_digests: row.try_get("decision_digests")?,
            hash: row.try_get("hash")?,
        })
    }
}

/// A position in the order of the journal. The next page begins after the position of the last row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct JournalPosition {
    pub sequence: i64,
    pub position: i32,
    pub tenant: Uuid,
    pub id: Uuid,
}

impl JournalPosition {
    pub const FIRST: Self =
        Self { sequence: i64::MIN, position: i32::MIN, tenant: Uuid::nil(), id: Uuid::nil() };

    pub fn after_batch(sequence: i64) -> Self {
        Self { sequence, position: i32::MAX, tenant: Uuid::max(), id: Uuid::max() }
    }
}

/// Every column of a decision, and the decision to which its key is bound.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecisionRow {
    pub place: JournalPosition,
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

/// All writers that appear in batches or decisions, registered or not. The recursion finds each by
/// one lookup in the index, without reading all rows.
pub async fn writers(system: &SystemPool) -> Result<Vec<WriterRow>, StorageError> {
    system
        .transaction_within(TimeLimit::LONG, |connection| {
            Box::pin(async move {
                only_reading(connection).await?;
                let writers = sqlx::query_as(
                    "with recursive of_batches (id) as (
                     (select writer_id from journal_batches order by writer_id limit 1)
                     union all
                     select (select writer_id from journal_batches b where b.writer_id > before.id
                             order by writer_id limit 1)
                     from of_batches before where before.id is not null
                 ), of_decisions (id) as (
                     (select writer_id from decisions order by writer_id limit 1)
                     union all
                     select (select writer_id from decisions d where d.writer_id > before.id
                             order by writer_id limit 1)
                     from of_decisions before where before.id is not null
                 ), written (id) as (select id from of_batches union select id from of_decisions)
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

/// The next batches of a writer. A batch has up to 128 KiB of digests.
pub async fn batches(
    system: &SystemPool,
    writer: Uuid,
    after_sequence: Option<i64>,
) -> Result<Vec<BatchRow>, StorageError> {
    system
        .transaction_within(TimeLimit::LONG, move |connection| {
            Box::pin(async move {
                only_reading(connection).await?;
                let batches = sqlx::query_as(
                    "select sequence, previous_hash, decision_digests, hash
                 from journal_batches
                 where writer_id = $1 and ($2::bigint is null or sequence > $2)
                 order by sequence
                 limit 64",
                )
                .bind(writer)
                .bind(after_sequence)
                .fetch_all(connection)
                .await?;
                Ok(batches)
            })
        })
        .await
}

/// The limits are constants, so that the plan uses the index and does not hash all keys for a page.
const DECISIONS: &str = "
    with page as materialized (
        select tenant_id, id, client_id, idempotency_key, request_hash, origin, outcome, received_at_ms,
               revision, reference, amount_minor, currency, method, payload_version, payload, payload_salt,
               payload_digest, digest, batch_sequence, batch_position
        from decisions
        where writer_id = $1 and batch_sequence >= $2 and batch_sequence <= $6
          and (batch_sequence, batch_position, tenant_id, id) > ($2, $3, $4, $5)
        order by batch_sequence, batch_position, tenant_id, id
        limit 500
    )
    select page.*, bound.decision_id as bound_to, bound.request_hash as bound_request_hash
    from page
    left join idempotency_keys bound
        on bound.tenant_id = page.tenant_id and bound.client_id = page.client_id
       and bound.key = page.idempotency_key
    order by batch_sequence, batch_position, page.tenant_id, id";

/// The next decisions of a writer, up to and including one batch.
pub async fn decisions(
    system: &SystemPool,
    writer: Uuid,
    after: JournalPosition,
    last_sequence: i64,
) -> Result<Vec<DecisionRow>, StorageError> {
    system
        .transaction_within(TimeLimit::LONG, move |connection| {
            Box::pin(async move {
                only_reading(connection).await?;
                let rows = sqlx::query(DECISIONS)
                    .bind(writer)
                    .bind(after.sequence)
                    .bind(after.position)
                    .bind(after.tenant)
                    .bind(after.id)
                    .bind(last_sequence)
                    .fetch_all(connection)
                    .await?;
                rows.iter().map(|row| read(row).of_statement()).collect()
            })
        })
        .await
}

/// The next decisions of a writer that no batch covers. In one statement, so that decisions and
/// batches are read in the same snapshot.
pub async fn uncovered(
    system: &SystemPool,
    writer: Uuid,
    after: JournalPosition,
) -> Result<Vec<JournalPosition>, StorageError> {
    system
        .transaction_within(TimeLimit::LONG, move |connection| {
            Box::pin(async move {
                only_reading(connection).await?;
                let rows = sqlx::query(
                    "select batch_sequence, batch_position, tenant_id, id
                 from decisions
                 where writer_id = $1 and batch_sequence >= $2
                   and (batch_sequence, batch_position, tenant_id, id) > ($2, $3, $4, $5)
                   and not exists (select from journal_batches b
                                   where b.writer_id = decisions.writer_id
                                     and b.sequence = decisions.batch_sequence)
                 order by batch_sequence, batch_position, tenant_id, id
                 limit 500",
                )
                .bind(writer)
                .bind(after.sequence)
                .bind(after.position)
                .bind(after.tenant)
                .bind(after.id)
                .fetch_all(connection)
                .await?;
                rows.iter().map(|row| read_place(row).of_statement()).collect()
            })
        })
        .await
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

fn read_place(row: &PgRow) -> sqlx::Result<JournalPosition> {
    Ok(JournalPosition {
        sequence: row.try_get("batch_sequence")?,
        position: row.try_get("batch_position")?,
        tenant: row.try_get("tenant_id")?,
        id: row.try_get("id")?,
    })
}

fn read(row: &PgRow) -> sqlx::Result<DecisionRow> {
    Ok(DecisionRow {
        place: read_place(row)?,
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
