//! Reads the decisions of stored batches, for indexing.
//!
//! Must read by the ids in the batches; only batches of earlier releases need the position.

use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row};
use uuid::Uuid;

use super::segments::IndexedDecision;
use super::terms::{DecisionColumns, terms_of};
use crate::domain::decision::Origin;
use crate::domain::payment::PaymentId;
use crate::domain::tenant::{ClientId, TenantId};
use crate::domain::verdict::Outcome;
use crate::storage::StorageError;
use crate::storage::batch_ids::{BatchWithoutIds, ID_BYTES, by_position};
use crate::storage::columns::named;
use crate::storage::decision_counts::Counted;
use crate::storage::evidence;
use crate::storage::verification::settle;

const WHAT: &str = "decision";

/// How many decisions a page has, and one batch more. A larger page takes longer than a search
/// should wait for.
const PAGE_DECISIONS: usize = 4_000;
const PAGE_BATCHES: i64 = 1_000;

/// The next batches of a writer: the last sequence and the decisions. `None` if there are none.
pub(super) async fn batches_after(
    connection: &mut PgConnection,
    writer: Uuid,
    sequence: i64,
) -> Result<Option<(i64, Vec<IndexedDecision>)>, StorageError> {
    let Some((last, ids)) = ids_after(connection, writer, (sequence, i64::MAX)).await? else {
        return Ok(None);
    };
    Ok(Some((last, decisions(connection, &ids).await?)))
}

/// The same for counting, up to a batch. The payments themselves are not read.
pub(super) async fn counted_after(
    connection: &mut PgConnection,
    writer: Uuid,
    (sequence, until): (i64, i64),
) -> Result<Option<(i64, Vec<Counted>)>, StorageError> {
    let Some((last, ids)) = ids_after(connection, writer, (sequence, until)).await? else { return Ok(None) };
    let (tenants, ids) = tenants_and_ids(&ids);
    settle(connection).await?;
    let rows = sqlx::query(
        "select d.id, d.tenant_id, d.origin, d.outcome
         from unnest($1::uuid[], $2::uuid[]) as wanted (tenant_id, id)
         join decisions d on d.tenant_id = wanted.tenant_id and d.id = wanted.id",
    )
    .bind(tenants)
    .bind(ids)
    .fetch_all(connection)
    .await?;
    let counted: Result<Vec<Option<Counted>>, StorageError> = rows.iter().map(read_counted).collect();
    Ok(Some((last, counted?.into_iter().flatten().collect())))
}

/// `None` for history of another system.
fn read_counted(row: &PgRow) -> Result<Option<Counted>, StorageError> {
    let id = PaymentId(row.try_get("id")?);
    let counted = Counted {
        tenant: TenantId(row.try_get("tenant_id")?),
        at_ms: id.at_ms(),
        outcome: named(Outcome::parse(row.try_get("outcome")?), WHAT)?,
        stored_within_ms: None,
    };
    Ok((named(Origin::parse(row.try_get("origin")?), WHAT)? == Origin::Api).then_some(counted))
}

/// The ids of the decisions of the next batches, each preceded by its tenant, with the last batch.
async fn ids_after(
    connection: &mut PgConnection,
    writer: Uuid,
    (sequence, until): (i64, i64),
) -> Result<Option<(i64, Vec<u8>)>, StorageError> {
    let rows = sqlx::query(
        "select sequence, decision_ids,
                case when decision_ids is null then decision_digests end as digests
         from journal_batches
         where writer_id = $1 and sequence > $2 and sequence <= $4
         order by sequence limit $3",
    )
    .bind(writer)
    .bind(sequence)
    .bind(PAGE_BATCHES)
    .bind(until)
    .fetch_all(&mut *connection)
    .await?;
    let (mut last, mut ids, mut without) = (None, Vec::new(), Vec::new());
    for row in &rows {
        let sequence = row.try_get("sequence")?;
        ids.extend_from_slice(row.try_get::<Option<&[u8]>, _>("decision_ids")?.unwrap_or_default());
        if let Some(decision_digests) = row.try_get::<Option<&[u8]>, _>("digests")? {
            without.push(BatchWithoutIds { writer, sequence, decision_digests });
        }
        last = Some(sequence);
        let unnamed: usize = without.iter().map(|batch| batch.decision_digests.len() / 32).sum();
        if ids.len() / ID_BYTES + unnamed >= PAGE_DECISIONS {
            break;
        }
    }
    let Some(last) = last else { return Ok(None) };
    if !without.is_empty() {
        ids.extend(by_position(connection, &without).await?.concat());
    }
    Ok(Some((last, ids)))
}

fn tenants_and_ids(ids: &[u8]) -> (Vec<Uuid>, Vec<Uuid>) {
    let uuid = |bytes: &[u8]| Uuid::from_slice(bytes).unwrap_or_default();
    let both = ids.chunks_exact(ID_BYTES).map(|both| both.split_at(ID_BYTES / 2));
    both.map(|(tenant, id)| (uuid(tenant), uuid(id))).unzip()
}

/// The decisions with these ids, each preceded by its tenant. Some may have been removed.
async fn decisions(connection: &mut PgConnection, ids: &[u8]) -> Result<Vec<IndexedDecision>, StorageError> {
    let (tenants, ids) = tenants_and_ids(ids);
    settle(connection).await?;
    let rows = sqlx::query(
        "select d.id, d.tenant_id, d.client_id, d.origin, d.outcome, d.revision, d.amount_minor, d.currency,
                d.method, d.payload_version, d.payload
         from unnest($1::uuid[], $2::uuid[]) as wanted (tenant_id, id)
         join decisions d on d.tenant_id = wanted.tenant_id and d.id = wanted.id",
    )
    .bind(tenants)
    .bind(ids)
    .fetch_all(connection)
    .await?;
    rows.iter().map(read).collect()
}

/// An erased payment is found by its columns only, and so is one whose evidence cannot be read.
pub(super) fn read(row: &PgRow) -> Result<IndexedDecision, StorageError> {
    let (id, columns) = (PaymentId(row.try_get("id")?), read_columns(row)?);
    let payload: Option<&[u8]> = row.try_get("payload")?;
    let version = row.try_get("payload_version")?;
    let evidence = payload.and_then(|payload| {
        let decoded = evidence::decode(version, payload);
        decoded.inspect_err(|_| tracing::error!(id = %id.0, "a decision cannot be read; a search does not find its values")).ok()
    });
    Ok(IndexedDecision {
        tenant: columns.tenant,
        at_ms: id.at_ms(),
        terms: terms_of(&columns, evidence.as_ref()),
        counted: read_counted(row)?,
    })
}

pub(in crate::storage) fn read_columns(row: &PgRow) -> Result<DecisionColumns, StorageError> {
    Ok(DecisionColumns {
        tenant: TenantId(row.try_get("tenant_id")?),
        client: ClientId(row.try_get("client_id")?),
        origin: named(Origin::parse(row.try_get("origin")?), WHAT)?,
        outcome: named(Outcome::parse(row.try_get("outcome")?), WHAT)?,
        revision: row.try_get("revision")?,
        amount_minor: row.try_get("amount_minor")?,
        currency: row.try_get("currency")?,
        method: row.try_get("method")?,
    })
}
