//! How often a shadow agrees with the decisions. Only the newest runs and decisions are counted.

use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row};
use uuid::Uuid;

use super::{ShadowRunSelection, WHAT, end_id, first_id};
use crate::domain::shadow::ShadowKind;
use crate::domain::verdict::Outcome;
use crate::storage::StorageError;
use crate::storage::columns::{ms, named};
use crate::storage::pool::AppPool;

/// The most runs that are counted.
pub const RUNS_MAX: u32 = 100_000;

/// The most decisions that are counted for the coverage.
pub const DECISIONS_MAX: u32 = 200_000;

#[derive(Debug, Clone, Default)]
pub struct Agreement {
    /// The number of runs that were counted.
    pub runs: u64,
    /// The number of decisions in the time of the runs. `compared` of them have a run.
    pub decided: u64,
    pub compared: u64,
    pub cells: Vec<OutcomePairCount>,
    pub rules: Vec<RuleVerdictCount>,
}

/// Payments in one currency with this outcome and this shadow outcome.
#[derive(Debug, Clone)]
pub struct OutcomePairCount {
    pub decided: Outcome,
    pub would_be: Outcome,
    pub currency: String,
    pub count: u64,
    pub total_minor: i64,
}

/// How often a rule had this verdict or failed.
#[derive(Debug, Clone)]
pub struct RuleVerdictCount {
    pub rule: String,
    pub said: String,
    pub count: u64,
}

pub async fn agreement(app: &AppPool, of: ShadowRunSelection) -> Result<Agreement, StorageError> {
    app.transaction(of.tenant, move |connection| {
        Box::pin(async move {
            // All parts of the report must be about the same runs.
            sqlx::query("set transaction isolation level repeatable read").execute(&mut *connection).await?;
            let cells = cells(connection, of).await?;
            let rules = rules(connection, of).await?;
            let runs = cells.iter().map(|cell| cell.count).sum();
            let (decided, compared) = coverage(connection, of, runs).await?;
            Ok(Agreement { runs, decided, compared, cells, rules })
        })
    })
    .await
}

async fn cells(
    connection: &mut PgConnection,
    of: ShadowRunSelection,
) -> Result<Vec<OutcomePairCount>, StorageError> {
    let rows = sqlx::query(
        "with looked_at as (
             select decided, would_be, amount_minor, currency
             from shadow_runs
             where tenant_id = $1 and kind = $2 and revision = $3 and payment_id >= $4 and payment_id < $5
             order by payment_id desc
             limit $6)
         select decided, would_be, currency, count(*) as count,
                least(sum(amount_minor), 9223372036854775807)::bigint as total_minor
         from looked_at
         group by decided, would_be, currency
         order by decided, would_be, currency",
    )
    .bind(of.tenant.0)
    .bind(of.kind.name())
    .bind(of.revision)
    .bind(first_id(of.from_ms))
    .bind(end_id(of.to_ms))
    .bind(i64::from(RUNS_MAX))
    .fetch_all(connection)
    .await?;
    rows.iter().map(read_cell).collect()
}

fn read_cell(row: &PgRow) -> Result<OutcomePairCount, StorageError> {
    Ok(OutcomePairCount {
        decided: named(Outcome::parse(row.try_get("decided")?), WHAT)?,
        would_be: named(Outcome::parse(row.try_get("would_be")?), WHAT)?,
        currency: row.try_get("currency")?,
        count: ms(row.try_get("count")?, WHAT)?,
        total_minor: row.try_get("total_minor")?,
    })
}

async fn rules(
    connection: &mut PgConnection,
    of: ShadowRunSelection,
) -> Result<Vec<RuleVerdictCount>, StorageError> {
    // Equal lists of rules and verdicts are counted before they are split: there are few different
    // ones.
    let rows = sqlx::query(
        "with looked_at as (
             select rules, verdicts
             from shadow_runs
             where tenant_id = $1 and kind = $2 and revision = $3 and payment_id >= $4 and payment_id < $5
             order by payment_id desc
             limit $6),
         different as (select rules, verdicts, count(*) as count from looked_at group by rules, verdicts)
         select one.rule, one.said, sum(different.count)::bigint as count
         from different, unnest(different.rules, different.verdicts) as one (rule, said)
         group by one.rule, one.said
         order by one.rule, one.said",
    )
    .bind(of.tenant.0)
    .bind(of.kind.name())
    .bind(of.revision)
    .bind(first_id(of.from_ms))
    .bind(end_id(of.to_ms))
    .bind(i64::from(RUNS_MAX))
    .fetch_all(connection)
    .await?;
    let read = |row: &PgRow| {
        Ok(RuleVerdictCount {
            rule: row.try_get("rule")?,
            said: row.try_get("said")?,
            count: ms(row.try_get("count")?, WHAT)?,
        })
    };
    rows.iter().map(read).collect()
}

/// Counts the decisions in the time of the runs, and how many of them have a run.
async fn coverage(
    connection: &mut PgConnection,
    of: ShadowRunSelection,
    runs: u64,
) -> Result<(u64, u64), StorageError> {
    let (first, end) = if of.is_running && of.from_ms.is_some() && runs < u64::from(RUNS_MAX) {
        (first_id(of.from_ms), end_id(of.to_ms))
    } else {
        // If the shadow no longer runs, its oldest and newest run show when it ran.
        let span = span(connection, of, Uuid::nil()).await?;
        (span.oldest, if of.is_running { end_id(of.to_ms) } else { span.end })
    };
    // The limit applies to all rows that are read, including those that are not counted.
    let row = sqlx::query(
        "with looked_at as (
             select id, revision, origin from decisions
             where tenant_id = $1 and id >= $2 and id < $3
             order by id desc
             limit $6)
         select count(*) filter (where origin = 'api' and (revision = $4 or ($5 and revision is not null)))
                    as decided,
                (select id from looked_at order by id limit 1) as oldest
         from looked_at",
    )
    .bind(of.tenant.0)
    .bind(first)
    .bind(end)
    .bind(of.revision)
    .bind(of.kind == ShadowKind::Revision)
    .bind(i64::from(DECISIONS_MAX))
    .fetch_one(&mut *connection)
    .await?;
    let decided = ms(row.try_get("decided")?, WHAT)?;
    let oldest: Option<Uuid> = row.try_get("oldest")?;
    Ok((decided, span(connection, of, oldest.unwrap_or(first)).await?.runs))
}

/// The number of runs that are counted, and the range of their ids.
struct RunRange {
    runs: u64,
    oldest: Uuid,
    /// Exclusive.
    end: Uuid,
}

async fn span(
    connection: &mut PgConnection,
    of: ShadowRunSelection,
    first: Uuid,
) -> Result<RunRange, StorageError> {
    let row = sqlx::query(
        "with looked_at as (
             select payment_id
             from shadow_runs
             where tenant_id = $1 and kind = $2 and revision = $3 and payment_id >= $4 and payment_id < $5
             order by payment_id desc
             limit $6)
         select count(*) as count, (select payment_id from looked_at order by payment_id limit 1) as oldest,
                (select payment_id from looked_at order by payment_id desc limit 1) as newest
         from looked_at",
    )
    .bind(of.tenant.0)
    .bind(of.kind.name())
    .bind(of.revision)
    .bind(first.max(first_id(of.from_ms)))
    .bind(end_id(of.to_ms))
    .bind(i64::from(RUNS_MAX))
    .fetch_one(connection)
    .await?;
    let (oldest, newest): (Option<Uuid>, Option<Uuid>) = (row.try_get("oldest")?, row.try_get("newest")?);
    let end = newest.map(|newest| Uuid::from_u128(newest.as_u128().saturating_add(1)));
    let (oldest, end) = (oldest.unwrap_or(Uuid::max()), end.unwrap_or(Uuid::max()));
    Ok(RunRange { runs: ms(row.try_get("count")?, WHAT)?, oldest, end })
}
