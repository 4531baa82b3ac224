//! Fills in the decisions that are older than a series.
//!
//! A page of decisions and the place that it reaches are one transaction, so a process that is
//! killed goes on where it was, and no decision is counted twice.

use std::sync::Arc;

use sqlx::types::Json;
use sqlx::{PgConnection, Row};
use uuid::Uuid;

use super::keys::{AggregateRow, method_number, outcome_number, rows_of};
use crate::domain::decision::Decision;
use crate::domain::series::Series;
use crate::domain::tenant::TenantId;
use crate::storage::StorageError;
use crate::storage::advisory_locks::TenantLock;
use crate::storage::columns::bigint;
use crate::storage::decisions;
use crate::storage::pool::SystemPool;
use crate::storage::reference::ReferenceMemory;
use crate::storage::time_limit::TimeLimit;
use crate::storage::values::day_of;

/// A page is short, so that its locks are.
const PAGE: usize = 1_000;

/// What a call of [`fill_in`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backfill {
    /// All series are complete, or other nodes fill in the rest.
    NothingToDo,
    /// A page was filled in; there may be more.
    Page,
}

/// How many series are not complete, and how far the earliest of them is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WaitingCount {
    pub series: u64,
    /// Up to which time it is filled in. `None` if that has not begun.
    pub reached_ms: Option<u64>,
}

pub async fn waiting(system: &SystemPool) -> Result<WaitingCount, StorageError> {
    system
        .transaction(|connection| {
            Box::pin(async move {
                let (count, reached): (i64, Option<Uuid>) = sqlx::query_as(
                    "select count(*), (array_agg(reached order by reached nulls first))[1]
                     from value_series where complete_at_ms is null",
                )
                .fetch_one(connection)
                .await?;
                let reached_ms = reached.map(|id| id.as_u64_pair().0 >> 16);
                Ok(WaitingCount { series: count.unsigned_abs(), reached_ms })
            })
        })
        .await
}

/// Fills in one page of the series that is the least advanced, so that a long history of one tenant
/// does not hold up others.
pub async fn fill_in(
    system: &SystemPool,
    reference: &Arc<ReferenceMemory>,
    now_ms: u64,
) -> Result<Backfill, StorageError> {
    let reference = reference.clone();
    system
        .transaction_within(TimeLimit::PAGE, move |connection| {
            Box::pin(async move {
                // Others skip the series that this transaction has locked.
                let Some(row) = sqlx::query(
                    "select tenant_id, digest, definition, sequence, reached
                     from value_series
                     where complete_at_ms is null
                     order by reached nulls first, sequence
                     limit 1
                     for no key update skip locked",
                )
                .fetch_optional(&mut *connection)
                .await?
                else {
                    return Ok(Backfill::NothingToDo);
                };
                let Json(series) = row.try_get("definition")?;
                let waiting = WaitingSeries {
                    tenant: TenantId(row.try_get("tenant_id")?),
                    digest: row.try_get("digest")?,
                    series,
                    sequence: row.try_get("sequence")?,
                    reached: row.try_get::<Option<Uuid>, _>("reached")?.unwrap_or_default(),
                };
                waiting.fill_in_page(connection, &reference, now_ms).await
            })
        })
        .await
}

struct WaitingSeries {
    tenant: TenantId,
    digest: Uuid,
    series: Series,
    sequence: i64,
    reached: Uuid,
}

impl WaitingSeries {
    /// Decisions that were stored after the series was declared carry it already, even if their ids
    /// are lower.
    async fn fill_in_page(
        self,
        connection: &mut PgConnection,
        reference: &ReferenceMemory,
        now_ms: u64,
    ) -> Result<Backfill, StorageError> {
        // A payment that is erased meanwhile would get its values back.
        TenantLock::Derivations(self.tenant).take_in_transaction(connection).await?;
        let rows = sqlx::query(
            "select d.id, d.tenant_id, d.client_id, d.idempotency_key, d.request_hash, d.origin, d.outcome,
                    d.payload_version, d.payload, d.writer_id, d.batch_sequence, d.batch_position,
                    coalesce(b.series_sequence, 0) >= $3 as carried
             from decisions d
             join journal_batches b on b.writer_id = d.writer_id and b.sequence = d.batch_sequence
             where d.tenant_id = $1 and d.id > $2
             order by d.id
             limit $4",
        )
        .bind(self.tenant.0)
        .bind(self.reached)
        .bind(self.sequence)
        .bind(PAGE as i64)
        .fetch_all(&mut *connection)
        .await?;
        // What is stored from now on carries the series, so a page that is not full is the last.
        let is_last = rows.len() < PAGE;
        let reached = rows.last().map(|last| last.try_get::<Uuid, _>("id")).transpose()?;
        let mut decisions = Vec::new();
        for row in &rows {
            // An erased payment has no values any more.
            let erased = row.try_get::<Option<&[u8]>, _>("payload")?.is_none();
            if erased || row.try_get("carried")? {
                continue;
            }
            let Ok(stored) = decisions::read(row) else {
                let id: Uuid = row.try_get("id")?;
                tracing::error!(%id, "a decision cannot be read, so aggregates do not count it");
                continue;
            };
            decisions.push(stored.decision);
        }
        let filled = self.rows(reference, decisions).await?;
        insert(connection, self.tenant, &filled).await?;
        sqlx::query(
            "update value_series set reached = coalesce($3, reached), complete_at_ms = $4
             where tenant_id = $1 and digest = $2",
        )
        .bind(self.tenant.0)
        .bind(self.digest)
        .bind(reached)
        .bind(is_last.then(|| bigint(now_ms)))
        .execute(connection)
        .await?;
        Ok(Backfill::Page)
    }
}

impl WaitingSeries {
    async fn rows(
        &self,
        reference: &ReferenceMemory,
        decisions: Vec<Arc<Decision>>,
    ) -> Result<Vec<(Arc<Decision>, AggregateRow)>, StorageError> {
        let times = || decisions.iter().map(|decision| decision.evidence.payment.received_at_ms);
        let (Some(first), Some(last)) = (times().min(), times().max()) else { return Ok(Vec::new()) };
        let rates = reference.rates(self.tenant, &self.series.conversion, first, last).await?;
        // Rolling up marks the rows.
        let series = [(&self.series, false)];
        let filled = decisions.into_iter().flat_map(|decision| {
            let rows = rows_of(self.tenant, series, &decision.evidence.payment, &rates);
            rows.into_iter().map(move |row| (decision.clone(), row))
        });
        Ok(filled.collect())
    }
}

async fn insert(
    connection: &mut PgConnection,
    tenant: TenantId,
    filled: &[(Arc<Decision>, AggregateRow)],
) -> Result<(), StorageError> {
    let payment = |place: usize| &filled[place].0.evidence.payment;
    let places = || 0..filled.len();
    sqlx::query(
        "insert into aggregate_values (tenant_id, value_key, received_day, received_at_ms, payment_id,
                                       amount_minor, method, outcome, distinct_key)
         select $1, v.*
         from unnest($2::uuid[], $3::int[], $4::bigint[], $5::uuid[], $6::bigint[], $7::smallint[],
                     $8::smallint[], $9::bigint[])
              as v (value_key, received_day, received_at_ms, payment_id, amount_minor, method, outcome,
                    distinct_key)
         -- The series may have been removed, and its rows were left.
         where not exists (
             select from aggregate_values known
             where known.received_day in (0, v.received_day) and known.value_key = v.value_key
               and known.received_at_ms = v.received_at_ms and known.payment_id = v.payment_id)",
    )
    .bind(tenant.0)
    .bind(filled.iter().map(|(_, row)| row.value_key).collect::<Vec<_>>())
    .bind(places().map(|place| day_of(bigint(payment(place).received_at_ms))).collect::<Vec<_>>())
    .bind(places().map(|place| bigint(payment(place).received_at_ms)).collect::<Vec<_>>())
    .bind(places().map(|place| payment(place).id.0).collect::<Vec<_>>())
    .bind(filled.iter().map(|(_, row)| row.amount_minor).collect::<Vec<_>>())
    .bind(places().map(|place| method_number(payment(place).order.method)).collect::<Vec<_>>())
    .bind(filled.iter().map(|(decision, _)| outcome_number(decision.outcome)).collect::<Vec<_>>())
    .bind(filled.iter().map(|(_, row)| row.distinct_key).collect::<Vec<_>>())
    .execute(connection)
    .await?;
    Ok(())
}
