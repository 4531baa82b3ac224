//! A tenant's decisions with their labels, in pages, newest first, for backtests.
//!
//! No connection is held between two pages.

use std::ops::Range;
use std::sync::LazyLock;

use sqlx::postgres::PgRow;
use sqlx::{AssertSqlSafe, PgConnection, Row};
use uuid::Uuid;

use super::WHAT;
use crate::domain::backtest::BacktestSelection;
use crate::domain::backtest::label::Label;
use crate::domain::decision::Origin;
use crate::domain::payment::{Method, PaymentId};
use crate::domain::tenant::TenantId;
use crate::domain::verdict::Outcome;
use crate::storage::StorageError;
use crate::storage::columns::{bigint, ms, named};
use crate::storage::pool::SystemPool;
use crate::storage::time_limit::TimeLimit;

/// The largest difference between the time in an id and the time in its row, since a clock may step
/// back. The range of ids only selects partitions. The time in the row decides.
const SKEW_MAX_MS: u64 = 86_400_000;

/// How much of the history one statement searches: about a partition.
const WINDOW_MS: u64 = 31 * 86_400_000;

/// Without statistics of a table, Postgres would read and sort all of it for each page.
const SETTINGS: &str =
    "set local enable_seqscan = off; set local enable_bitmapscan = off; set local jit = off";

/// The row of a decision, with its payload still encoded.
#[derive(Debug, Clone)]
pub struct HistoryRow {
    pub id: PaymentId,
    pub outcome: Outcome,
    pub amount_minor: i64,
    pub currency: String,
    pub payload_version: i16,
    /// `None` if it was erased.
    pub payload: Option<Vec<u8>>,
    pub label: Label,
}

const SELECTED: &str = "
    from decisions d
    where d.tenant_id = $1 and d.id >= $2 and d.id < $3
      and d.received_at_ms >= $4 and d.received_at_ms < $5
      and ($6::text is null or d.outcome = $6)
      and ($7::text is null or d.method = $7)
      and ($8::text is null or d.currency = $8)
      and ($9::bigint is null or d.amount_minor >= $9)
      and ($10::bigint is null or d.amount_minor <= $10)
      and ($11::text is null or d.origin = $11)";

/// The label comes from the event whose kind comes first in `Label::ALL`. Postgres knows the sizes
/// without reading the payloads, so it does not read payloads beyond the page's bytes.
static PAGE: LazyLock<String> = LazyLock::new(|| {
    format!(
        "select d.id, d.outcome, d.amount_minor, d.currency, d.payload_version, d.payload,
                (select e.kind
                 from payment_events e
                 where e.tenant_id = $1 and e.payment_id = d.id and e.recorded_at_ms < $12
                   and e.kind = any ($13)
                 order by array_position($13, e.kind)
                 limit 1) as kind
         from (select d.id, d.outcome, d.amount_minor, d.currency, d.payload_version, d.payload,
                      coalesce(sum(octet_length(d.payload)) over newer, 0) as bytes_before
               {SELECTED}
               window newer as (order by d.id desc rows between unbounded preceding and 1 preceding)
               order by d.id desc
               limit $14) d
         where d.bytes_before < $15
         order by d.id desc"
    )
});

const NEWEST: &str = "
    select d.id from decisions d
    where d.tenant_id = $1 and d.id >= $2 and d.id < $3
    order by d.id desc
    limit 1";

static COUNT: LazyLock<String> =
    LazyLock::new(|| format!("select count(*) from (select {SELECTED} limit $12) selected"));

/// Binds the values of a selection.
macro_rules! bound {
    ($query:expr, $tenant:expr, $selection:expr, $ids:expr) => {{
        let BacktestSelection { from_ms, to_ms, newest: _, filter } = $selection;
        $query
            .bind($tenant.0)
            .bind($ids.start)
            .bind($ids.end)
            .bind(bigint(from_ms.unwrap_or(0)))
            .bind(bigint(*to_ms))
            .bind(filter.outcome.map(Outcome::name))
            .bind(filter.method.map(Method::name))
            .bind(filter.currency.map(|currency| currency.code().to_owned()))
            .bind(filter.amount_minor_min)
            .bind(filter.amount_minor_max)
            .bind(filter.origin.map(Origin::name))
    }};
}

/// The range of ids that decisions of the selection can have.
fn ids_of(selection: &BacktestSelection) -> Range<Uuid> {
    let first = first_id(selection.from_ms.unwrap_or(0).saturating_sub(SKEW_MAX_MS));
    first..first_id(selection.to_ms.saturating_add(SKEW_MAX_MS))
}

/// The number of selected decisions.
pub async fn count(
    system: &SystemPool,
    tenant: TenantId,
    selection: &BacktestSelection,
) -> Result<u64, StorageError> {
    let selection = selection.clone();
    system
        .transaction_within(TimeLimit::LONG, move |connection| {
            Box::pin(async move {
                settle(connection).await?;
                let most = selection.newest.map_or(i64::MAX, bigint);
                let query = sqlx::query_scalar(AssertSqlSafe(COUNT.as_str()));
                let count: i64 = bound!(query, tenant, &selection, ids_of(&selection))
                    .bind(most)
                    .fetch_one(connection)
                    .await?;
                ms(count, WHAT)
            })
        })
        .await
}

/// The limits of a page. Its last payload may exceed the limit of bytes.
#[derive(Debug, Clone, Copy)]
pub struct PageSize {
    pub decisions: u32,
    pub bytes: u64,
}

/// The newest decisions older than `before`, with labels from events that were recorded before
/// `recorded_before_ms`. Empty only at the end. The caller limits how many decisions it reads in
/// total.
pub async fn page(
    system: &SystemPool,
    tenant: TenantId,
    selection: &BacktestSelection,
    recorded_before_ms: u64,
    before: Option<PaymentId>,
    size: PageSize,
) -> Result<Vec<HistoryRow>, StorageError> {
    let selection = selection.clone();
    system
        .transaction_within(TimeLimit::PAGE, move |connection| {
            Box::pin(async move {
                settle(connection).await?;
                let kinds: Vec<&str> = Label::ALL.iter().map(|label| label.name()).collect();
                let all = ids_of(&selection);
                let mut end = before.map_or(all.end, |before| before.0);
                // One window at a time. Otherwise Postgres would search every partition for a
                // first match, for each page, and read those without a match completely.
                loop {
                    let ids = all.start.max(first_id(at_ms(end).saturating_sub(WINDOW_MS)))..end;
                    let rows = bound!(sqlx::query(AssertSqlSafe(PAGE.as_str())), tenant, &selection, ids)
                        .bind(bigint(recorded_before_ms))
                        .bind(&kinds)
                        .bind(i64::from(size.decisions))
                        .bind(bigint(size.bytes))
                        .fetch_all(&mut *connection)
                        .await?;
                    let next = if rows.is_empty() {
                        newest(connection, tenant, all.start..ids.start).await?
                    } else {
                        None
                    };
                    match next {
                        Some(next) => end = Uuid::from_u128(next.as_u128().saturating_add(1)),
                        None => return rows.iter().map(read).collect(),
                    }
                }
            })
        })
        .await
}

/// The newest id in the range, to skip windows without decisions.
async fn newest(
    connection: &mut PgConnection,
    tenant: TenantId,
    ids: Range<Uuid>,
) -> Result<Option<Uuid>, StorageError> {
    let query = sqlx::query_scalar(NEWEST).bind(tenant.0).bind(ids.start).bind(ids.end);
    Ok(query.fetch_optional(connection).await?)
}

async fn settle(connection: &mut PgConnection) -> Result<(), StorageError> {
    sqlx::raw_sql(SETTINGS).execute(connection).await?;
    Ok(())
}

/// The lowest id of a time. A UUIDv7 begins with its time in milliseconds, as 48 bits.
fn first_id(at_ms: u64) -> Uuid {
    Uuid::from_u128(u128::from(at_ms.min((1 << 48) - 1)) << 80)
}

fn at_ms(id: Uuid) -> u64 {
    id.as_u64_pair().0 >> 16
}

fn read(row: &PgRow) -> Result<HistoryRow, StorageError> {
    let kind: Option<&str> = row.try_get("kind")?;
    Ok(HistoryRow {
        id: PaymentId(row.try_get("id")?),
        outcome: named(Outcome::parse(row.try_get("outcome")?), WHAT)?,
        amount_minor: row.try_get("amount_minor")?,
        currency: row.try_get("currency")?,
        payload_version: row.try_get("payload_version")?,
        payload: row.try_get("payload")?,
        label: match kind {
            Some(kind) => named(Label::parse(kind), WHAT)?,
            None => Label::None,
        },
    })
}
