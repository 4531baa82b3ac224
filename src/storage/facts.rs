//! Looks up facts: the answers to the queries of a ruleset about a payment.
//!
//! One statement answers all queries and finds the idempotency key, for any number of payments, each
//! as of its own time. The caller counts the payments in flight on this node, so they are left out
//! here.

use std::sync::Arc;

use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row};
use uuid::Uuid;

use super::StorageError;
use super::columns::{digest, ms};
use super::pool::{AppPool, SystemPool};
use super::time_limit::TimeLimit;
use crate::domain::decision::IdempotencyKey;
use crate::domain::payment::{Payment, PaymentId};
use crate::domain::plugin::Digest;
use crate::domain::selector::{Fact, FactQuery};
use crate::domain::tenant::{ClientId, TenantId};

pub use reader::{FactReader, SEPARATE_CONNECTIONS, SHARED_CONNECTIONS};

use columns::FactColumns;

mod columns;
mod reader;

const WHAT: &str = "fact";

/// With the defaults, Postgres would read whole tables while it has no statistics, and would spend
/// time on compiling a statement that looks expensive.
const SETTINGS: &str = "set local enable_seqscan = off; set local jit = off";

/// A statement with this many texts gets no further requests. Postgres finds a slice by scanning
/// its array, so twice as many texts take four times as long.
const TEXTS_MAX: usize = 2_048;

/// The payments in flight on this node that have one value. The caller adds them to the stored count,
/// so they are excluded from it. Then it does not matter whether one of them commits meanwhile.
#[derive(Debug, Clone)]
pub struct InFlightValue {
    /// The key of the canonical form (`values::ValueKeys::own`).
    pub value_key: Uuid,
    pub payments: Vec<PaymentId>,
}

#[derive(Debug, Clone)]
pub struct FactRequest {
    pub tenant: TenantId,
    /// Facts are looked up as of the time it was received.
    pub payment: Arc<Payment>,
    pub queries: Arc<[FactQuery]>,
    pub in_flight: Vec<InFlightValue>,
    /// Looked up in the same round trip.
    pub key: Option<(ClientId, IdempotencyKey)>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FactAnswer {
    /// One for each query, in order. Velocities do not include payments in flight.
    pub facts: Vec<Fact>,
    /// The decision to which the key is already bound.
    pub bound: Option<BoundKey>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BoundKey {
    pub decision: PaymentId,
    pub request_hash: Digest,
}

/// Answers all queries of one payment, from one snapshot of the database. Sends no statement if
/// none is needed.
pub async fn look_up(app: &AppPool, request: FactRequest) -> Result<FactAnswer, StorageError> {
    let tenant = request.tenant;
    let (statements, mut answers) = prepare(std::iter::once(&request));
    if !statements.is_empty() {
        answers = app
            .transaction(tenant, move |connection| {
                Box::pin(async move {
                    sqlx::raw_sql(SETTINGS).execute(&mut *connection).await?;
                    ask_all(connection, statements, answers).await
                })
            })
            .await?;
    }
    Ok(answers.pop().unwrap_or_default())
}

/// Looks up the facts of many payments, for background work. Returns an answer for each request, in
/// order.
pub async fn look_up_many(
    system: &SystemPool,
    requests: Vec<FactRequest>,
) -> Result<Vec<FactAnswer>, StorageError> {
    let (statements, answers) = prepare(requests.iter());
    if statements.is_empty() {
        return Ok(answers);
    }
    system
        .transaction_within(TimeLimit::PAGE, move |connection| {
            Box::pin(async move {
                sqlx::raw_sql(SETTINGS).execute(&mut *connection).await?;
                ask_all(connection, statements, answers).await
            })
        })
        .await
}

/// The statements for the requests, and the answers as far as they are known without a lookup.
fn prepare<'r>(requests: impl Iterator<Item = &'r FactRequest>) -> (Vec<FactColumns>, Vec<FactAnswer>) {
    let (mut statements, mut answers) = (vec![FactColumns::default()], Vec::new());
    for (place, request) in requests.enumerate() {
        if statements.last().is_some_and(|columns| columns.texts.len() >= TEXTS_MAX) {
            statements.push(FactColumns::default());
        }
        let facts = statements.last_mut().map(|columns| columns.add(place, request));
        answers.push(FactAnswer { facts: facts.unwrap_or_default(), bound: None });
    }
    statements.retain(|columns| !columns.is_empty());
    (statements, answers)
}

async fn ask_all(
    connection: &mut PgConnection,
    statements: Vec<FactColumns>,
    mut answers: Vec<FactAnswer>,
) -> Result<Vec<FactAnswer>, StorageError> {
    for columns in statements {
        for row in ask(connection, columns).await? {
            add_row(&mut answers, &row)?;
        }
    }
    Ok(answers)
}

/// Returns three kinds of rows with the same columns: for lists, for velocities and for keys.
/// `place` is the index of the payment, and `ordinal` the index of the query that the row answers;
/// it is null for the key. The texts of a query are a slice of one array, since arrays of arrays
/// must be rectangular.
///
/// The arrays are read by subscript: with `unnest`, Postgres would materialise each column, which
/// took as long as the lookups. Postgres finds a text by scanning its array, so repeated texts are
/// in `$5` once, and are referred to by number.
///
/// The index of values begins with the day, so each window has its days. A value with two keys has
/// two rows: with both keys in one condition, Postgres would scan all values of the day.
const STATEMENT: &str = "
    select q.place, q.ordinal,
           exists (select from list_entries e
                   where not q.by_name and e.tenant_id = q.tenant_id and e.list = q.list
                     and e.comparable = any (($9::text[])[q.first:q.last])
                     and e.valid_from_ms <= q.at_ms and (e.valid_to_ms is null or e.valid_to_ms > q.at_ms))
           or exists (select from list_entries e
                   where q.by_name and e.tenant_id = q.tenant_id and e.list = q.list
                     and e.normalized_name = any (($9::text[])[q.first:q.last])
                     and e.valid_from_ms <= q.at_ms
                     and (e.valid_to_ms is null or e.valid_to_ms > q.at_ms)) as listed,
           null::bigint as count, null::bigint as total_minor,
           null::uuid as decision_id, null::bytea as request_hash
    from (select ($1::int[])[i] as place, ($2::int[])[i] as ordinal, ($3::uuid[])[i] as tenant_id,
                 ($4::bigint[])[i] as at_ms, ($5::text[])[($22::int[])[i]] as list,
                 ($6::boolean[])[i] as by_name, ($7::int[])[i] as first, ($8::int[])[i] as last
          from generate_series(1, cardinality($1)) as i) q
    union all
    -- Of two payments in one millisecond, the one with the lower id is first.
    select q.place, q.ordinal, null, counted.count,
           -- A sum of bigints is numeric. It is capped instead of failing.
           least(counted.total, 9223372036854775807)::bigint,
           null, null
    from (select ($10::int[])[i] as place, ($11::int[])[i] as ordinal, ($12::uuid[])[i] as tenant_id,
                 ($13::bigint[])[i] as at_ms, ($14::uuid[])[i] as payment_id,
                 $5[($15::int[])[i]] as currency, ($16::uuid[])[i] as value_key,
                 ($17::bigint[])[i] as after_ms, ($18::boolean[])[i] as approved_only,
                 ($19::int[])[i] as first, ($20::int[])[i] as last,
                 ($28::int[])[i] as first_day, ($29::int[])[i] as last_day
          from generate_series(1, cardinality($10)) as i) q
    cross join lateral (
        select count(*) as count, coalesce(sum(v.amount_minor), 0) as total
        from payment_values v
        where v.received_day = any (($27::int[])[q.first_day:q.last_day])
          and v.value_key = q.value_key
          and v.received_at_ms > q.after_ms and v.received_at_ms <= q.at_ms
          and (v.received_at_ms < q.at_ms or v.payment_id < q.payment_id)
          and v.tenant_id = q.tenant_id and v.currency = q.currency and v.payment_id <> q.payment_id
          and (v.approved or not q.approved_only)
          and v.payment_id <> all (($21::uuid[])[q.first:q.last])
    ) counted
    union all
    select q.place, null, null, null, null, bound.decision_id, bound.request_hash
    from (select ($23::int[])[i] as place, ($24::uuid[])[i] as tenant_id, ($25::uuid[])[i] as client_id,
                 ($26::text[])[i] as key
          from generate_series(1, cardinality($23)) as i) q
    -- The limit forces a lookup for each key: a join that was planned while the table was empty
    -- would later scan all of it.
    cross join lateral (
        select k.decision_id, k.request_hash from idempotency_keys k
        where k.tenant_id = q.tenant_id and k.client_id = q.client_id and k.key = q.key
        limit 1
    ) bound";

async fn ask(connection: &mut PgConnection, columns: FactColumns) -> Result<Vec<PgRow>, StorageError> {
    let FactColumns { listed, names, texts, velocity, excluded, keys } = columns;
    let days = velocity.days();
    let rows = sqlx::query(STATEMENT)
        .bind(listed.place)
        .bind(listed.ordinal)
        .bind(listed.tenant)
        .bind(listed.at_ms)
        .bind(names)
        .bind(listed.by_name)
        .bind(listed.first)
        .bind(listed.last)
        .bind(texts)
        .bind(velocity.place)
        .bind(velocity.ordinal)
        .bind(velocity.tenant)
        .bind(velocity.at_ms)
        .bind(velocity.payment)
        .bind(velocity.currency)
        .bind(velocity.value_key)
        .bind(velocity.after_ms)
        .bind(velocity.approved_only)
        .bind(velocity.first)
        .bind(velocity.last)
        .bind(excluded)
        .bind(listed.list)
        .bind(keys.place)
        .bind(keys.tenant)
        .bind(keys.client)
        .bind(keys.key)
        .bind(days.all)
        .bind(days.first)
        .bind(days.last)
        .fetch_all(connection)
        .await?;
    Ok(rows)
}

fn add_row(answers: &mut [FactAnswer], row: &PgRow) -> Result<(), StorageError> {
    let unreadable = || StorageError::Unreadable { what: WHAT };
    let place: i32 = row.try_get("place")?;
    let answer = usize::try_from(place).ok().and_then(|place| answers.get_mut(place));
    let answer = answer.ok_or_else(unreadable)?;
    let ordinal: Option<i32> = row.try_get("ordinal")?;
    let Some(ordinal) = ordinal else {
        answer.bound = Some(BoundKey {
            decision: PaymentId(row.try_get("decision_id")?),
            request_hash: digest(row.try_get("request_hash")?, "idempotency key")?,
        });
        return Ok(());
    };
    let fact = usize::try_from(ordinal).ok().and_then(|ordinal| answer.facts.get_mut(ordinal));
    let fact = fact.ok_or_else(unreadable)?;
    *fact = both(std::mem::replace(fact, Fact::Absent), fact_of(row)?);
    Ok(())
}

/// Adds the counts of a value's two keys. A payment is stored under one of them.
fn both(known: Fact, found: Fact) -> Fact {
    match (known, found) {
        (Fact::Velocity { count, total_minor }, Fact::Velocity { count: more, total_minor: more_minor }) => {
            let (count, total_minor) = (count.saturating_add(more), total_minor.saturating_add(more_minor));
            Fact::Velocity { count, total_minor }
        }
        (_, found) => found,
    }
}

fn fact_of(row: &PgRow) -> Result<Fact, StorageError> {
    let listed: Option<bool> = row.try_get("listed")?;
    Ok(match listed {
        Some(listed) => Fact::Listed(listed),
        None => Fact::Velocity {
            count: ms(row.try_get("count")?, WHAT)?,
            total_minor: row.try_get("total_minor")?,
        },
    })
}
