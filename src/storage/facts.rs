//! Facts: the answers to what the rules of a ruleset asked about a payment.
//!
//! Owns the one statement that answers them all in a single round trip, together
//! with the idempotency key, for any number of payments, each as of its own
//! time. Must never count a payment that the caller counts itself: those in
//! flight on this node are passed in.

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

pub use reader::{APART, FactReader, TOGETHER};

use questions::Questions;

mod questions;
mod reader;

const WHAT: &str = "fact";

/// Left to itself, Postgres reads whole tables where it has no figures of them
/// yet, and compiles a statement that looks large because it asks much.
const SETTINGS: &str = "set local enable_seqscan = off; set local jit = off";

/// Texts of one statement. A slice of an array is found from its beginning on,
/// so that twice as many take four times as long.
const TEXTS_MAX: usize = 2_048;

/// The payments in flight on this node that carry one value. The caller adds
/// those to the stored count itself, so they are left out of it: whether one
/// of them commits meanwhile then makes no difference.
#[derive(Debug, Clone)]
pub struct InFlightValue {
    /// The key of the canonical form (`values::ValueKeys::own`).
    pub value_key: Uuid,
    pub payments: Vec<PaymentId>,
}

#[derive(Debug, Clone)]
pub struct FactRequest {
    pub tenant: TenantId,
    /// Facts are as of when it was received.
    pub payment: Arc<Payment>,
    pub queries: Arc<[FactQuery]>,
    pub in_flight: Vec<InFlightValue>,
    /// Asked in the same round trip.
    pub key: Option<(ClientId, IdempotencyKey)>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FactAnswer {
    /// One for each query, in order. Velocities are what is stored, without those in flight.
    pub facts: Vec<Fact>,
    /// What the key is bound to already.
    pub bound: Option<BoundKey>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BoundKey {
    pub decision: PaymentId,
    pub request_hash: Digest,
}

/// Answers all queries of one payment at one moment. Sends no statement if none is needed.
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

/// The facts of many payments, for the background: an answer for each request, in order.
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

/// What to ask, in statements, and the answers as far as they are known without.
fn prepare<'r>(requests: impl Iterator<Item = &'r FactRequest>) -> (Vec<Questions>, Vec<FactAnswer>) {
    let (mut statements, mut answers) = (vec![Questions::default()], Vec::new());
    for (place, request) in requests.enumerate() {
        if statements.last().is_some_and(|questions| questions.texts.len() >= TEXTS_MAX) {
            statements.push(Questions::default());
        }
        let facts = statements.last_mut().map(|questions| questions.add(place, request));
        answers.push(FactAnswer { facts: facts.unwrap_or_default(), bound: None });
    }
    statements.retain(|questions| !questions.is_empty());
    (statements, answers)
}

async fn ask_all(
    connection: &mut PgConnection,
    statements: Vec<Questions>,
    mut answers: Vec<FactAnswer>,
) -> Result<Vec<FactAnswer>, StorageError> {
    for questions in statements {
        for row in ask(connection, questions).await? {
            take_in(&mut answers, &row)?;
        }
    }
    Ok(answers)
}

/// Three kinds of rows in one shape: `place` says which payment, `ordinal` which
/// of its queries a row answers, and is null for the key. Where a query compares
/// several texts, they are a slice of one array, since arrays of arrays must be
/// rectangular.
///
/// The columns are read by subscript: where a column is a function of its own,
/// as with unnest, Postgres stores each away and reads it again, which took as
/// long as the look-ups. A text is found from the beginning of its array on, so
/// those that repeat stand in `$5` once and are named by their number.
///
/// The index of values begins with the day, so each window names its days. A value
/// with two keys has two rows here: with both in one condition Postgres would go
/// through all values of the day.
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
    -- Of two payments of one millisecond the one with the lower id is ahead.
    select q.place, q.ordinal, null, counted.count,
           -- A sum of bigints is numeric: it saturates instead of failing.
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
    -- The limit keeps it a look-up for each key: a join planned while the table
    -- was empty would go through all of it later.
    cross join lateral (
        select k.decision_id, k.request_hash from idempotency_keys k
        where k.tenant_id = q.tenant_id and k.client_id = q.client_id and k.key = q.key
        limit 1
    ) bound";

async fn ask(connection: &mut PgConnection, questions: Questions) -> Result<Vec<PgRow>, StorageError> {
    let Questions { listed, names, texts, velocity, excluded, keys } = questions;
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

fn take_in(answers: &mut [FactAnswer], row: &PgRow) -> Result<(), StorageError> {
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
    *fact = both(*fact, fact_of(row)?);
    Ok(())
}

/// A payment is stored under one of a value's two keys, so none is counted twice.
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
