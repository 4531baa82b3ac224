//! Compares the decisions of several revisions, for the report on a canary.
//!
//! Only the newest decisions are counted. Reasons are counted for fewer of them, since they must be
//! read from the payload.

use std::collections::{BTreeSet, HashMap};
use std::ops::Range;

use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row};
use uuid::Uuid;

use super::{WHAT, first_id};
use crate::domain::tenant::TenantId;
use crate::domain::verdict::Outcome;
use crate::storage::columns::{ms, named};
use crate::storage::pool::AppPool;
use crate::storage::{StorageError, evidence};

/// The most payments that are counted.
pub const COUNTED_MAX: u32 = 200_000;

/// The most payments of a revision whose reasons are counted.
pub const SAMPLED_MAX: u32 = 1_000;

/// The most codes that are returned for a revision.
const CODES_MAX: usize = 20;

#[derive(Debug, Clone, Default)]
pub struct RevisionComparison {
    pub decided: Vec<OutcomeCount>,
    pub events: Vec<EventCount>,
    pub reasons: Vec<ReasonCounts>,
}

/// Payments of a revision with one outcome in one currency.
#[derive(Debug, Clone)]
pub struct OutcomeCount {
    pub revision: i32,
    pub outcome: Outcome,
    pub currency: String,
    pub count: u64,
    pub total_minor: i64,
}

/// As `OutcomeCount`, but only payments for which an event of this kind was reported.
#[derive(Debug, Clone)]
pub struct EventCount {
    pub kind: String,
    pub decided: OutcomeCount,
}

#[derive(Debug, Clone)]
pub struct ReasonCounts {
    pub revision: i32,
    /// The number of payments whose reasons were read.
    pub sampled: u64,
    /// Each code, with the number of payments that have it, the most frequent first.
    pub codes: Vec<(String, u64)>,
}

/// Compares the newest payments received since `since_ms`, and before `until_ms`.
pub async fn comparison(
    app: &AppPool,
    tenant: TenantId,
    since_ms: u64,
    until_ms: Option<u64>,
    revisions: Vec<i32>,
) -> Result<RevisionComparison, StorageError> {
    app.transaction(tenant, move |connection| {
        Box::pin(async move {
            // All parts of the report must be about the same payments.
            sqlx::query("set transaction isolation level repeatable read").execute(&mut *connection).await?;
            let ids = first_id(since_ms)..until_ms.map_or(Uuid::max(), first_id);
            let decided = decided(connection, tenant, &ids, &revisions).await?;
            let events = events(connection, tenant, &ids, &revisions).await?;
            let mut reasons = Vec::with_capacity(revisions.len());
            for revision in revisions {
                reasons.push(reasons_of(connection, tenant, &ids, revision).await?);
            }
            Ok(RevisionComparison { decided, events, reasons })
        })
    })
    .await
}

async fn decided(
    connection: &mut PgConnection,
    tenant: TenantId,
    ids: &Range<Uuid>,
    revisions: &[i32],
) -> Result<Vec<OutcomeCount>, StorageError> {
    let rows = sqlx::query(
        "with counted as (
             select revision, outcome, currency, amount_minor
             from decisions
             where tenant_id = $1 and id >= $2 and id < $5 and revision = any ($3) and origin = 'api'
             order by id desc
             limit $4)
         select revision, outcome, currency, count(*) as count,
                least(sum(amount_minor), 9223372036854775807)::bigint as total_minor
         from counted
         group by revision, outcome, currency
         order by revision, outcome, currency",
    )
    .bind(tenant.0)
    .bind(ids.start)
    .bind(revisions)
    .bind(i64::from(COUNTED_MAX))
    .bind(ids.end)
    .fetch_all(connection)
    .await?;
    rows.iter().map(read).collect()
}

async fn events(
    connection: &mut PgConnection,
    tenant: TenantId,
    ids: &Range<Uuid>,
    revisions: &[i32],
) -> Result<Vec<EventCount>, StorageError> {
    let rows = sqlx::query(
        "with counted as (
             select tenant_id, id, revision, outcome, currency, amount_minor
             from decisions
             where tenant_id = $1 and id >= $2 and id < $5 and revision = any ($3) and origin = 'api'
             order by id desc
             limit $4),
         told as (
             select distinct counted.id, revision, outcome, currency, amount_minor, kind
             from counted
             join payment_events event on event.tenant_id = counted.tenant_id and event.payment_id = counted.id)
         select kind, revision, outcome, currency, count(*) as count,
                least(sum(amount_minor), 9223372036854775807)::bigint as total_minor
         from told
         group by kind, revision, outcome, currency
         order by kind, revision, outcome, currency",
    )
    .bind(tenant.0)
    .bind(ids.start)
    .bind(revisions)
    .bind(i64::from(COUNTED_MAX))
    .bind(ids.end)
    .fetch_all(connection)
    .await?;
    rows.iter().map(|row| Ok(EventCount { kind: row.try_get("kind")?, decided: read(row)? })).collect()
}

fn read(row: &PgRow) -> Result<OutcomeCount, StorageError> {
    Ok(OutcomeCount {
        revision: row.try_get("revision")?,
        outcome: named(Outcome::parse(row.try_get("outcome")?), WHAT)?,
        currency: row.try_get("currency")?,
        count: ms(row.try_get("count")?, WHAT)?,
        total_minor: row.try_get("total_minor")?,
    })
}

async fn reasons_of(
    connection: &mut PgConnection,
    tenant: TenantId,
    ids: &Range<Uuid>,
    revision: i32,
) -> Result<ReasonCounts, StorageError> {
    let rows = newest_payloads(connection, tenant, ids, revision).await?;
    let mut counts: HashMap<String, u64> = HashMap::new();
    for (_, version, payload) in &rows {
        let reasons = evidence::decode(*version, payload)?.reasons;
        let codes: BTreeSet<String> = reasons.into_iter().map(|given| given.reason.code).collect();
        for code in codes {
            *counts.entry(code).or_default() += 1;
        }
    }
    let mut codes: Vec<(String, u64)> = counts.into_iter().collect();
    codes.sort_by(|(code, count), (other_code, other)| other.cmp(count).then_with(|| code.cmp(other_code)));
    codes.truncate(CODES_MAX);
    Ok(ReasonCounts { revision, sampled: rows.len() as u64, codes })
}

/// The newest payloads of a revision's decisions, with their ids and versions. Without those that were
/// erased.
pub(super) async fn newest_payloads(
    connection: &mut PgConnection,
    tenant: TenantId,
    ids: &Range<Uuid>,
    revision: i32,
) -> Result<Vec<(Uuid, i16, Vec<u8>)>, StorageError> {
    // The inner limit bounds the search: a revision with a small share may have few decisions.
    let rows = sqlx::query_as(
        "select id, payload_version, payload
         from (select id, revision, payload_version, payload
               from decisions
               where tenant_id = $1 and id >= $2 and id < $6 and origin = 'api'
               order by id desc
               limit $3) counted
         where revision = $4 and payload is not null
         order by id desc
         limit $5",
    )
    .bind(tenant.0)
    .bind(ids.start)
    .bind(i64::from(COUNTED_MAX))
    .bind(revision)
    .bind(i64::from(SAMPLED_MAX))
    .bind(ids.end)
    .fetch_all(connection)
    .await?;
    Ok(rows)
}
