//! Facts: the answers to what the rules of a ruleset asked about a payment.
//!
//! Owns the one statement that answers them all in a single round trip,
//! together with the idempotency key, and its form for many payments at once.
//! Must never count a payment that the caller counts itself: those in flight on
//! this node are passed in.

use std::sync::Arc;

use sqlx::postgres::PgRow;
use sqlx::{PgConnection, PgPool, Row};
use uuid::Uuid;

use super::StorageError;
use super::columns::{bigint, digest, ms};
use super::transaction::as_tenant;
use crate::domain::decision::IdempotencyKey;
use crate::domain::payment::{PaymentId, PaymentOrder};
use crate::domain::plugin::Digest;
use crate::domain::selector::{Fact, FactQuery};
use crate::domain::tenant::{ClientId, TenantId};

pub use batch::look_up_many;
use questions::Questions;

mod batch;
mod questions;

const WHAT: &str = "fact";

/// The payments in flight on this node that carry one value. The caller adds
/// those to the stored count itself, so they are left out of it: whether one
/// of them commits meanwhile then makes no difference.
#[derive(Debug, Clone)]
pub struct InFlightValue {
    /// By `values::value_key`.
    pub value_key: Uuid,
    pub payments: Vec<PaymentId>,
}

#[derive(Debug, Clone)]
pub struct FactRequest {
    pub tenant: TenantId,
    pub payment_id: PaymentId,
    pub received_at_ms: u64,
    pub order: Arc<PaymentOrder>,
    pub queries: Vec<FactQuery>,
    pub in_flight: Vec<InFlightValue>,
    /// Asked in the same round trip.
    pub key: Option<(ClientId, IdempotencyKey)>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
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

/// Answers all queries at one moment. Asks nothing where nothing needs asking.
pub async fn look_up(facts: &PgPool, request: FactRequest) -> Result<FactAnswer, StorageError> {
    let (questions, answers) = Questions::of(&request);
    if questions.is_empty() && request.key.is_none() {
        return Ok(FactAnswer { facts: answers, bound: None });
    }
    let tenant = request.tenant;
    as_tenant(facts, tenant, move |connection| {
        Box::pin(async move {
            let rows = ask(connection, &request, questions).await?;
            let mut answer = FactAnswer { facts: answers, bound: None };
            for row in &rows {
                take_in(&mut answer, row)?;
            }
            Ok(answer)
        })
    })
    .await
}

/// Three kinds of rows in one shape: `ordinal` says which query a row answers,
/// and is null for the key. Where a query compares several texts, they are a
/// slice of one array, since arrays of arrays must be rectangular.
const STATEMENT: &str = "
    select q.ordinal,
           exists (select from list_entries e
                   where not q.by_name and e.tenant_id = $1 and e.list = q.list
                     and e.comparable = any ($6[q.first:q.last])
                     and e.valid_from_ms <= $2 and (e.valid_to_ms is null or e.valid_to_ms > $2))
           or exists (select from list_entries e
                   where q.by_name and e.tenant_id = $1 and e.list = q.list
                     and e.normalized_name = any ($6[q.first:q.last])
                     and e.valid_from_ms <= $2 and (e.valid_to_ms is null or e.valid_to_ms > $2)) as listed,
           null::bigint as count, null::bigint as total_minor,
           null::uuid as decision_id, null::bytea as request_hash
    from unnest($3::int[], $4::text[], $5::boolean[], $7::int[], $8::int[])
         as q (ordinal, list, by_name, first, last)
    union all
    -- Of two payments of one millisecond the one with the lower id is ahead.
    select q.ordinal, null, counted.count,
           -- A sum of bigints is numeric: it saturates instead of failing.
           least(counted.total, 9223372036854775807)::bigint,
           null, null
    from unnest($9::int[], $10::uuid[], $11::bigint[], $12::boolean[], $13::int[], $14::int[])
         as q (ordinal, value_key, after_ms, approved_only, first, last)
    cross join lateral (
        select count(*) as count, coalesce(sum(v.amount_minor), 0) as total
        from payment_values v
        where v.value_key = q.value_key
          and v.received_at_ms > q.after_ms and v.received_at_ms <= $2
          and (v.received_at_ms < $2 or v.payment_id < $17)
          and v.tenant_id = $1 and v.currency = $16 and v.payment_id <> $17
          and (v.approved or not q.approved_only)
          and v.payment_id <> all ($15[q.first:q.last])
    ) counted
    union all
    select null, null, null, null, k.decision_id, k.request_hash
    from idempotency_keys k
    where k.tenant_id = $1 and k.client_id = $18 and k.key = $19";

async fn ask(
    connection: &mut PgConnection,
    request: &FactRequest,
    questions: Questions,
) -> Result<Vec<PgRow>, StorageError> {
    let Questions { listed, texts, velocity, excluded } = questions;
    let (client, key) = match &request.key {
        Some((client, key)) => (Some(client.0), Some(key.as_str())),
        None => (None, None),
    };
    let rows = sqlx::query(STATEMENT)
        .bind(request.tenant.0)
        .bind(bigint(request.received_at_ms))
        .bind(listed.ordinal)
        .bind(listed.list)
        .bind(listed.by_name)
        .bind(texts)
        .bind(listed.first)
        .bind(listed.last)
        .bind(velocity.ordinal)
        .bind(velocity.value_key)
        .bind(velocity.after_ms)
        .bind(velocity.approved_only)
        .bind(velocity.first)
        .bind(velocity.last)
        .bind(excluded)
        .bind(request.order.amount.currency().code())
        .bind(request.payment_id.0)
        .bind(client)
        .bind(key)
        .fetch_all(connection)
        .await?;
    Ok(rows)
}

fn take_in(answer: &mut FactAnswer, row: &PgRow) -> Result<(), StorageError> {
    let ordinal: Option<i32> = row.try_get("ordinal")?;
    let Some(ordinal) = ordinal else {
        answer.bound = Some(BoundKey {
            decision: PaymentId(row.try_get("decision_id")?),
            request_hash: digest(row.try_get("request_hash")?, "idempotency key")?,
        });
        return Ok(());
    };
    let place = usize::try_from(ordinal).ok().and_then(|ordinal| answer.facts.get_mut(ordinal));
    *place.ok_or(StorageError::Unreadable { what: WHAT })? = fact_of(row)?;
    Ok(())
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
