//! A tenant's decisions in pages, the newest first, with what became of them.
//!
//! Owns the reading for what tries rules on history. Must never hold a
//! connection between two pages.

use std::sync::LazyLock;

use sqlx::postgres::PgRow;
use sqlx::{AssertSqlSafe, PgConnection, PgPool, Row};
use uuid::Uuid;

use super::WHAT;
use crate::domain::backtest::Selection;
use crate::domain::backtest::report::Label;
use crate::domain::decision::Origin;
use crate::domain::payment::{Method, PaymentId};
use crate::domain::tenant::TenantId;
use crate::domain::verdict::Outcome;
use crate::storage::StorageError;
use crate::storage::columns::{bigint, ms, named};
use crate::storage::transaction::as_system;

/// A clock that steps back makes an id and the time beside it differ; a day is
/// more than it may. The id's range only says which partitions to look into.
const SKEW_MAX_MS: u64 = 86_400_000;

/// Without figures of a table Postgres would read all of it and sort, for each page.
const SETTINGS: &str =
    "set local enable_seqscan = off; set local enable_bitmapscan = off; set local jit = off";

/// A decision as it stands in its row; the payload is not looked into.
#[derive(Debug, Clone)]
pub struct HistoryRow {
    pub id: PaymentId,
    pub outcome: Outcome,
    pub received_at_ms: u64,
    pub amount_minor: i64,
    pub currency: String,
    pub payload_version: i16,
    /// Nothing when it was erased.
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

/// What says most of what was told until the end of the selection.
static PAGE: LazyLock<String> = LazyLock::new(|| {
    format!(
        "select d.id, d.outcome, d.received_at_ms, d.amount_minor, d.currency, d.payload_version, d.payload,
                (select e.kind
                 from payment_events e
                 where e.tenant_id = d.tenant_id and e.payment_id = d.id and e.recorded_at_ms < $5
                   and e.kind = any ($12)
                 order by array_position($12, e.kind)
                 limit 1) as kind
         {SELECTED}
         order by d.id desc
         limit $13"
    )
});

static COUNT: LazyLock<String> =
    LazyLock::new(|| format!("select count(*) from (select {SELECTED} limit $12) selected"));

/// The bindings of what is selected.
macro_rules! bound {
    ($query:expr, $tenant:expr, $selection:expr, $before:expr) => {{
        let Selection { from_ms, to_ms, newest: _, filter } = $selection;
        let from_ms = from_ms.unwrap_or(0);
        let first = first_id(from_ms.saturating_sub(SKEW_MAX_MS));
        let end = $before.map_or(first_id(to_ms.saturating_add(SKEW_MAX_MS)), |before: PaymentId| before.0);
        $query
            .bind($tenant.0)
            .bind(first)
            .bind(end)
            .bind(bigint(from_ms))
            .bind(bigint(to_ms))
            .bind(filter.outcome.map(Outcome::name))
            .bind(filter.method.map(Method::name))
            .bind(filter.currency.map(|currency| currency.code().to_owned()))
            .bind(filter.amount_minor_min)
            .bind(filter.amount_minor_max)
            .bind(filter.origin.map(Origin::name))
    }};
}

/// How many decisions are selected.
pub async fn count(system: &PgPool, tenant: TenantId, selection: &Selection) -> Result<u64, StorageError> {
    let selection = selection.clone();
    as_system(system, move |connection| {
        Box::pin(async move {
            settle(connection).await?;
            let most = selection.newest.map_or(i64::MAX, bigint);
            let query = sqlx::query_scalar(AssertSqlSafe(COUNT.as_str()));
            let count: i64 = bound!(query, tenant, selection, None).bind(most).fetch_one(connection).await?;
            ms(count, WHAT)
        })
    })
    .await
}

/// The newest of those older than `before`. How many of `newest` are left is the caller's to know.
pub async fn page(
    system: &PgPool,
    tenant: TenantId,
    selection: &Selection,
    before: Option<PaymentId>,
    limit: u32,
) -> Result<Vec<HistoryRow>, StorageError> {
    let selection = selection.clone();
    as_system(system, move |connection| {
        Box::pin(async move {
            settle(connection).await?;
            let kinds: Vec<&str> = Label::ALL.iter().map(|label| label.name()).collect();
            let rows = bound!(sqlx::query(AssertSqlSafe(PAGE.as_str())), tenant, selection, before)
                .bind(kinds)
                .bind(i64::from(limit))
                .fetch_all(connection)
                .await?;
            rows.iter().map(read).collect()
        })
    })
    .await
}

async fn settle(connection: &mut PgConnection) -> Result<(), StorageError> {
    sqlx::raw_sql(SETTINGS).execute(connection).await?;
    Ok(())
}

/// A UUIDv7 begins with its 48 bits of milliseconds.
fn first_id(at_ms: u64) -> Uuid {
    Uuid::from_u128(u128::from(at_ms.min((1 << 48) - 1)) << 80)
}

fn read(row: &PgRow) -> Result<HistoryRow, StorageError> {
    let kind: Option<&str> = row.try_get("kind")?;
    Ok(HistoryRow {
        id: PaymentId(row.try_get("id")?),
        outcome: named(Outcome::parse(row.try_get("outcome")?), WHAT)?,
        received_at_ms: ms(row.try_get("received_at_ms")?, WHAT)?,
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
