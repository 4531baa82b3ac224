//! Counts of decisions by outcome and time, which the follower of the journal keeps beside the search
//! index.
//!
//! Must be written in the transaction that records the follower's progress: so a decision is counted
//! once, whichever node does it and wherever it is killed.

use std::collections::BTreeMap;

use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row};
use uuid::Uuid;

use super::StorageError;
use super::columns::{bigint, ms};
use super::pool::AppPool;
use super::time_limit::TimeLimit;
use crate::domain::decision::{Decision, Origin};
use crate::domain::duration_counts::{BOUNDS_MS, DurationCounts};
use crate::domain::outcome_counts::{OutcomeCounts, SPAN_MS, SpanCounts, Step};
use crate::domain::tenant::TenantId;
use crate::domain::time::Month;
use crate::domain::verdict::Outcome;

/// A decision as it is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Counted {
    pub tenant: TenantId,
    /// The time in its id.
    pub at_ms: u64,
    pub outcome: Outcome,
    /// From receiving the payment until the decision was stored. `None` if no process remembers.
    pub stored_within_ms: Option<u64>,
}

impl Counted {
    /// `None` for history of another system, which was not decided here.
    pub fn of(decision: &Decision, stored_at_ms: u64) -> Option<Self> {
        let received_at_ms = decision.evidence.payment.received_at_ms;
        (decision.origin == Origin::Api).then(|| Self {
            tenant: decision.tenant,
            at_ms: decision.id().at_ms(),
            outcome: decision.outcome,
            stored_within_ms: Some(stored_at_ms.saturating_sub(received_at_ms)),
        })
    }
}

#[derive(Debug, Clone, Copy, Default)]
struct Added {
    counts: SpanCounts,
    durations: DurationCounts,
}

/// Adds decisions. Rows are locked in the order of their keys, so that nodes cannot deadlock.
pub(super) async fn add(connection: &mut PgConnection, decisions: &[Counted]) -> Result<(), StorageError> {
    let mut added: BTreeMap<(Uuid, u64), Added> = BTreeMap::new();
    for decision in decisions {
        let key = (decision.tenant.0, decision.at_ms / SPAN_MS * SPAN_MS);
        let Added { counts, durations } = added.entry(key).or_default();
        match decision.outcome {
            Outcome::Approve => counts.approve += 1,
            Outcome::Review => counts.review += 1,
            Outcome::Reject => counts.reject += 1,
        }
        if let Some(duration_ms) = decision.stored_within_ms {
            durations.add(duration_ms);
        }
    }
    if added.is_empty() {
        return Ok(());
    }
    let column = |of: fn(&SpanCounts) -> u64| -> Vec<i64> {
        added.values().map(|added| bigint(of(&added.counts))).collect()
    };
    sqlx::query(
        "insert into decision_counts as c (tenant_id, from_ms, approve, review, reject, durations)
         select a.tenant_id, a.from_ms, a.approve, a.review, a.reject,
                ($6::bigint[])[((a.place - 1) * $7 + 1)::int : (a.place * $7)::int]
         from unnest($1::uuid[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[])
              with ordinality as a (tenant_id, from_ms, approve, review, reject, place)
         on conflict (tenant_id, from_ms) do update
         set approve = c.approve + excluded.approve,
             review = c.review + excluded.review,
             reject = c.reject + excluded.reject,
             durations = array(select coalesce(b.stored, 0) + coalesce(b.more, 0)
                               from unnest(c.durations, excluded.durations)
                                    with ordinality as b (stored, more, place)
                               order by b.place)",
    )
    .bind(added.keys().map(|(tenant, _)| *tenant).collect::<Vec<_>>())
    .bind(added.keys().map(|(_, from_ms)| bigint(*from_ms)).collect::<Vec<_>>())
    .bind(column(|counts| counts.approve))
    .bind(column(|counts| counts.review))
    .bind(column(|counts| counts.reject))
    .bind(added.values().flat_map(|added| added.durations.0.map(bigint)).collect::<Vec<_>>())
    .bind(bigint(BOUNDS_MS.len() as u64))
    .execute(connection)
    .await?;
    Ok(())
}

/// The counts of a tenant from a time on and before another.
pub async fn read(
    app: &AppPool,
    tenant: TenantId,
    (from_ms, to_ms): (u64, u64),
    step: Step,
) -> Result<OutcomeCounts, StorageError> {
    app.transaction_within(tenant, TimeLimit::PAGE, move |connection| {
        Box::pin(async move {
            let rows = sqlx::query(
                "select from_ms / $4 * $4 as from_ms, sum(approve)::bigint as approve,
                        sum(review)::bigint as review, sum(reject)::bigint as reject
                 from decision_counts
                 where tenant_id = $1 and from_ms >= $2 and from_ms < $3
                 group by 1
                 order by 1",
            )
            .bind(tenant.0)
            .bind(bigint(from_ms))
            .bind(bigint(to_ms))
            .bind(bigint(step.ms()))
            .fetch_all(&mut *connection)
            .await?;
            let count = |row: &PgRow, name| -> Result<u64, StorageError> {
                Ok(row.try_get::<i64, _>(name)?.unsigned_abs())
            };
            let span = |row: &PgRow| -> Result<SpanCounts, StorageError> {
                Ok(SpanCounts {
                    from_ms: ms(row.try_get("from_ms")?, "count of decisions")?,
                    approve: count(row, "approve")?,
                    review: count(row, "review")?,
                    reject: count(row, "reject")?,
                })
            };
            let spans = rows.iter().map(span).collect::<Result<_, _>>()?;
            let durations = durations(connection, tenant, (from_ms, to_ms)).await?;
            Ok(OutcomeCounts { spans, durations })
        })
    })
    .await
}

async fn durations(
    connection: &mut PgConnection,
    tenant: TenantId,
    (from_ms, to_ms): (u64, u64),
) -> Result<DurationCounts, StorageError> {
    let rows: Vec<(i64, i64)> = sqlx::query_as(
        "select d.place, sum(d.count)::bigint
         from decision_counts c
         cross join unnest(c.durations) with ordinality as d (count, place)
         where c.tenant_id = $1 and c.from_ms >= $2 and c.from_ms < $3
         group by d.place",
    )
    .bind(tenant.0)
    .bind(bigint(from_ms))
    .bind(bigint(to_ms))
    .fetch_all(connection)
    .await?;
    let mut durations = DurationCounts::default();
    for (place, count) in rows {
        let place = usize::try_from(place).unwrap_or_default().clamp(1, BOUNDS_MS.len());
        durations.0[place - 1] += count.unsigned_abs();
    }
    Ok(durations)
}

/// Removes the counts of a month whose decisions are removed.
pub(super) async fn remove_month(
    connection: &mut PgConnection,
    tenant: TenantId,
    month: Month,
) -> Result<(), StorageError> {
    sqlx::query("delete from decision_counts where tenant_id = $1 and from_ms >= $2 and from_ms < $3")
        .bind(tenant.0)
        .bind(bigint(month.start_ms()))
        .bind(bigint(month.next().start_ms()))
        .execute(connection)
        .await?;
    Ok(())
}
