//! Removes from the segments what an erased payment was found by.
//!
//! A term is a hash, and whoever knows a value could ask whether a payment had it. What is left of
//! the payment, such as its outcome, still finds it.

use std::collections::BTreeSet;

use futures::TryStreamExt;
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row};
use uuid::Uuid;

use super::batches::{read, read_columns};
use super::chunks::{Chunk, ChunkWriter, Entry, entries};
use super::segments::first_day;
use super::terms::{Term, terms_of};
use crate::domain::decision::Evidence;
use crate::domain::payment::PaymentId;
use crate::domain::tenant::TenantId;
use crate::domain::time::Month;
use crate::storage::StorageError;
use crate::storage::columns::{bigint, ms};
use crate::storage::pool::SystemPool;
use crate::storage::time_limit::TimeLimit;

const WHAT: &str = "search segment";

/// The terms of a payment that nothing of it has after its erasure.
pub(in crate::storage) fn terms_to_erase(
    row: &PgRow,
    evidence: Option<&Evidence>,
) -> Result<Vec<i64>, StorageError> {
    let columns = read_columns(row)?;
    let left = terms_of(&columns, None);
    let erased = terms_of(&columns, evidence).into_iter().filter(|term| !left.contains(term));
    Ok(erased.map(|term| bigint(term.0)).collect())
}

/// Removes the terms of one erased payment whose batch is indexed. Returns `false` if there is none.
pub async fn remove_erased(system: &SystemPool) -> Result<bool, StorageError> {
    system
        .transaction_within(TimeLimit::PAGE, |connection| {
            Box::pin(async move {
                // A decision that retention removed has no segments any more.
                let Some(row) = sqlx::query(
                    "select e.tenant_id, e.payment_id, e.terms
                     from erasures e
                     left join decisions d on d.tenant_id = e.tenant_id and d.id = e.payment_id
                     left join search_progress p on p.writer_id = d.writer_id
                     where e.terms is not null and (d.id is null or p.sequence >= d.batch_sequence)
                     limit 1
                     for update of e skip locked",
                )
                .fetch_optional(&mut *connection)
                .await?
                else {
                    return Ok(false);
                };
                let (tenant, payment) =
                    (TenantId(row.try_get("tenant_id")?), PaymentId(row.try_get("payment_id")?));
                let terms: Vec<i64> = row.try_get("terms")?;
                let terms = terms.into_iter().map(|term| Ok(Term(ms(term, WHAT)?)));
                let terms: BTreeSet<Term> = terms.collect::<Result<_, StorageError>>()?;
                let erased = ErasedTerms { tenant, at_ms: payment.at_ms(), terms };
                erased.remove(connection, payment).await?;
                sqlx::query("update erasures set terms = null where tenant_id = $1 and payment_id = $2")
                    .bind(tenant.0)
                    .bind(payment.0)
                    .execute(connection)
                    .await?;
                Ok(true)
            })
        })
        .await
}

struct ErasedTerms {
    tenant: TenantId,
    at_ms: u64,
    terms: BTreeSet<Term>,
}

impl ErasedTerms {
    async fn remove(mut self, connection: &mut PgConnection, payment: PaymentId) -> Result<(), StorageError> {
        // An entry has no id: payments of one millisecond share it.
        self.keep_terms_beside(connection, payment).await?;
        let mut done: Vec<i64> = Vec::new();
        loop {
            let segments: Vec<i64> = sqlx::query_scalar(
                "select id from search_segments
                 where tenant_id = $1 and month = $2::date and first_ms <= $3 and last_ms >= $3
                   and id <> all ($4)
                 order by id
                 for update",
            )
            .bind(self.tenant.0)
            .bind(first_day(Month::of(self.at_ms)))
            .bind(bigint(self.at_ms))
            .bind(&done)
            .fetch_all(&mut *connection)
            .await?;
            if segments.is_empty() {
                // A merge that was waited for has put them into a segment that only a later
                // statement sees.
                if self.left(connection, &done).await? {
                    continue;
                }
                return Ok(());
            }
            for segment in &segments {
                self.remove_from(connection, *segment).await?;
            }
            done.extend(segments);
        }
    }

    /// Whether there are segments that may have the payment, besides those that are done.
    async fn left(&self, connection: &mut PgConnection, done: &[i64]) -> Result<bool, StorageError> {
        let left = sqlx::query_scalar(
            "select exists (
                 select from search_segments
                 where tenant_id = $1 and month = $2::date and first_ms <= $3 and last_ms >= $3
                   and id <> all ($4))",
        )
        .bind(self.tenant.0)
        .bind(first_day(Month::of(self.at_ms)))
        .bind(bigint(self.at_ms))
        .bind(done);
        Ok(left.fetch_one(connection).await?)
    }

    /// There may be many: history of another system can have one time for a whole day.
    async fn keep_terms_beside(
        &mut self,
        connection: &mut PgConnection,
        payment: PaymentId,
    ) -> Result<(), StorageError> {
        let id_at = |at_ms: u64| Uuid::from_u128(u128::from(at_ms) << 80);
        let mut others = sqlx::query(
            "select id, tenant_id, client_id, origin, outcome, revision, amount_minor, currency, method,
                    payload_version, payload
             from decisions
             where tenant_id = $1 and id >= $2 and id < $3 and id <> $4",
        )
        .bind(self.tenant.0)
        .bind(id_at(self.at_ms))
        .bind(id_at(self.at_ms + 1))
        .bind(payment.0)
        .fetch(connection);
        while let Some(row) = others.try_next().await? {
            let other = read(&row)?;
            self.terms.retain(|term| !other.terms.contains(term));
        }
        Ok(())
    }

    async fn remove_from(&self, connection: &mut PgConnection, segment: i64) -> Result<(), StorageError> {
        let rows = sqlx::query(
            "select distinct c.first_term, c.first_ms, c.entries
             from unnest($3::bigint[]) as erased (term)
             join search_chunks c on c.tenant_id = $1 and c.segment_id = $2
                 and (c.first_term, c.first_ms) <= (erased.term, $4)
                 and (c.last_term, c.last_ms) >= (erased.term, $4)",
        )
        .bind(self.tenant.0)
        .bind(segment)
        .bind(self.terms.iter().map(|term| bigint(term.0)).collect::<Vec<_>>())
        .bind(bigint(self.at_ms))
        .fetch_all(&mut *connection)
        .await?;
        for row in &rows {
            let first = (row.try_get("first_term")?, row.try_get("first_ms")?);
            let kept = self.kept(row.try_get("entries")?)?;
            self.replace(connection, segment, first, kept).await?;
        }
        Ok(())
    }

    /// The chunk without the entries of the payment. `None` if no others are left.
    fn kept(&self, bytes: &[u8]) -> Result<Option<Chunk>, StorageError> {
        let is_erased = |entry: &Entry| entry.at_ms == self.at_ms && self.terms.contains(&entry.term);
        let kept: Vec<Entry> = entries(bytes)?.into_iter().filter(|entry| !is_erased(entry)).collect();
        let base_ms = kept.iter().map(|entry| entry.at_ms).min().unwrap_or_default();
        let mut writer = ChunkWriter::new(base_ms);
        // Fewer entries take less room, so they are one chunk.
        kept.into_iter().for_each(|entry| drop(writer.add(entry)));
        Ok(writer.finish())
    }

    async fn replace(
        &self,
        connection: &mut PgConnection,
        segment: i64,
        (first_term, first_ms): (i64, i64),
        kept: Option<Chunk>,
    ) -> Result<(), StorageError> {
        let statement = match &kept {
            Some(_) => {
                "update search_chunks
                 set first_term = $5, first_ms = $6, last_term = $7, last_ms = $8, entries = $9
                 where tenant_id = $1 and segment_id = $2 and first_term = $3 and first_ms = $4"
            }
            None => {
                "delete from search_chunks
                 where tenant_id = $1 and segment_id = $2 and first_term = $3 and first_ms = $4"
            }
        };
        let mut query =
            sqlx::query(statement).bind(self.tenant.0).bind(segment).bind(first_term).bind(first_ms);
        if let Some(Chunk { first, last, bytes }) = kept {
            query = query
                .bind(bigint(first.term.0))
                .bind(bigint(first.at_ms))
                .bind(bigint(last.term.0))
                .bind(bigint(last.at_ms))
                .bind(bytes);
        }
        query.execute(connection).await?;
        Ok(())
    }
}
