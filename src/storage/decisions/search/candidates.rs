//! Reads decisions that may fulfil the conditions, and all decisions in the order of their ids.

use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row};

use super::filter::DecisionFilter;
use super::span::Span;
use super::{FoundDecision, WHAT, read_summary};
use crate::domain::decision::Evidence;
use crate::domain::tenant::TenantId;
use crate::storage::columns::{bigint, ms};
use crate::storage::search::{DecisionColumns, Rank, SearchOrder, read_columns};
use crate::storage::{StorageError, evidence};

/// The most decisions of one millisecond that are read at a time. History of another system may
/// have whole days at one time.
pub(super) const AT_ONE_TIME_MAX: usize = 65;

macro_rules! columns {
    () => {
        "id, tenant_id, client_id, idempotency_key, origin, outcome, received_at_ms, revision, reference,
         amount_minor, currency, method, payload_version, payload"
    };
}

macro_rules! at_times {
    ($order:literal) => {
        concat!(
            "select wanted.place, d.*
             from unnest($2::uuid[], $3::uuid[]) with ordinality as wanted (lowest, ends, place)
             cross join lateral (
                 select ",
            columns!(),
            " from decisions
                 where tenant_id = $1 and id >= wanted.lowest and id < wanted.ends
                 order by id ",
            $order,
            " limit $4) d
             order by wanted.place, d.id ",
            $order
        )
    };
}

macro_rules! in_span {
    ($order:literal) => {
        concat!(
            "select ",
            columns!(),
            " from decisions
             where tenant_id = $1 and id >= $2 and id < $3
               and ($4::bigint is null or received_at_ms >= $4)
               and ($5::bigint is null or received_at_ms < $5)
             order by id ",
            $order,
            " limit $6"
        )
    };
}

/// A decision, before its conditions are checked.
pub(super) struct Candidate {
    /// The place of its time among those that were asked for.
    pub place: usize,
    pub columns: DecisionColumns,
    /// `None` if it was erased, or written by a later version of the program.
    evidence: Option<Evidence>,
    pub found: FoundDecision,
}

impl Candidate {
    pub fn matches(&self, filter: &DecisionFilter) -> bool {
        filter.matches(&self.columns, self.found.summary.received_at_ms, self.evidence.as_ref())
    }
}

/// The decisions at these times, in the order of the search, and at most `AT_ONE_TIME_MAX` of each.
pub(super) async fn at_times(
    connection: &mut PgConnection,
    tenant: TenantId,
    order: SearchOrder,
    span: &Span,
    times: &[Rank],
) -> Result<Vec<Candidate>, StorageError> {
    let (lowest, ends): (Vec<_>, Vec<_>) = times.iter().map(|rank| span.ids_at(*rank)).unzip();
    let statement = match order {
        SearchOrder::Newest => at_times!("desc"),
        SearchOrder::Oldest => at_times!("asc"),
    };
    let rows = sqlx::query(statement)
        .bind(tenant.0)
        .bind(lowest)
        .bind(ends)
        .bind(AT_ONE_TIME_MAX as i64)
        .fetch_all(connection)
        .await?;
    let candidate = |row: &PgRow| {
        let place = ms(row.try_get::<i64, _>("place")? - 1, WHAT)?;
        read(row, usize::try_from(place).unwrap_or(usize::MAX))
    };
    rows.iter().map(candidate).collect()
}

/// The next decisions, whatever they are.
pub(super) async fn in_span(
    connection: &mut PgConnection,
    tenant: TenantId,
    filter: &DecisionFilter,
    span: &Span,
) -> Result<Vec<FoundDecision>, StorageError> {
    let (lowest, end) = span.ids();
    let statement = match filter.order {
        SearchOrder::Newest => in_span!("desc"),
        SearchOrder::Oldest => in_span!("asc"),
    };
    let rows = sqlx::query(statement)
        .bind(tenant.0)
        .bind(lowest)
        .bind(end)
        .bind(filter.from_ms.map(bigint))
        .bind(filter.to_ms.map(bigint))
        .bind(i64::from(filter.limit))
        .fetch_all(connection)
        .await?;
    rows.iter().map(|row| Ok(read(row, 0)?.found)).collect()
}

fn read(row: &PgRow, place: usize) -> Result<Candidate, StorageError> {
    let payload: Option<&[u8]> = row.try_get("payload")?;
    let version = row.try_get("payload_version")?;
    let evidence = payload.and_then(|payload| evidence::decode(version, payload).ok());
    let reasons = evidence.as_ref().map(|evidence| evidence.reasons.clone());
    let found = FoundDecision { summary: read_summary(row)?, reasons };
    Ok(Candidate { place, columns: read_columns(row)?, evidence, found })
}
