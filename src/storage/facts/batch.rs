//! The facts of many payments in one statement, each as of its own time.
//!
//! Owns the same questions as a single look-up, asked side by side. Must never
//! answer otherwise than that one would: a test compares.

use sqlx::postgres::PgRow;
use sqlx::{PgConnection, PgPool, Row};
use uuid::Uuid;

use super::questions::Questions;
use super::{FactRequest, WHAT, fact_of};
use crate::domain::selector::Fact;
use crate::domain::tenant::TenantId;
use crate::storage::StorageError;
use crate::storage::columns::bigint;
use crate::storage::transaction::as_system;

/// Left to itself, Postgres reads whole tables where it has no figures of them
/// yet, and compiles a statement that looks large because it asks much.
const SETTINGS: &str = "set local enable_seqscan = off; set local jit = off";

/// Texts of one statement. A slice of an array is found from its beginning on,
/// so that twice as many take four times as long.
const TEXTS_MAX: usize = 4_096;

/// The columns of all questions, and the payments they are asked for.
#[derive(Debug, Default)]
struct Batch {
    questions: Questions,
    listed_at_ms: Vec<i64>,
    velocity_at_ms: Vec<i64>,
    payment_id: Vec<Uuid>,
    currency: Vec<String>,
}

/// The answers for each request, in order. All requests must be of the tenant;
/// keys are not asked for, and nothing is in flight in the past.
pub async fn look_up_many(
    system: &PgPool,
    tenant: TenantId,
    requests: Vec<FactRequest>,
) -> Result<Vec<Vec<Fact>>, StorageError> {
    let mut batches = vec![Batch::default()];
    let mut facts = Vec::new();
    let lengths: Vec<usize> = requests.iter().map(|request| request.queries.len()).collect();
    for request in &requests {
        let (questions, answers) = Questions::of(request);
        if let Some(batch) = batches.last_mut() {
            batch.append(request, questions, facts.len());
            if batch.questions.texts.len() >= TEXTS_MAX {
                batches.push(Batch::default());
            }
        }
        facts.extend(answers);
    }
    batches.retain(|batch| !batch.questions.is_empty());
    if !batches.is_empty() {
        let rows: Vec<PgRow> = as_system(system, move |connection| {
            Box::pin(async move {
                sqlx::raw_sql(SETTINGS).execute(&mut *connection).await?;
                let mut rows = Vec::new();
                for batch in batches {
                    rows.extend(ask(connection, tenant, batch).await?);
                }
                Ok::<_, StorageError>(rows)
            })
        })
        .await?;
        for row in &rows {
            let ordinal: i32 = row.try_get("ordinal")?;
            let place = usize::try_from(ordinal).ok().and_then(|ordinal| facts.get_mut(ordinal));
            *place.ok_or(StorageError::Unreadable { what: WHAT })? = fact_of(row)?;
        }
    }
    let mut facts = facts.into_iter();
    Ok(lengths.into_iter().map(|length| facts.by_ref().take(length).collect()).collect())
}

impl Batch {
    /// `before` is how many questions the payments before it have.
    fn append(&mut self, request: &FactRequest, questions: Questions, before: usize) {
        let number = |length: usize| i32::try_from(length).unwrap_or(i32::MAX);
        let (before, texts_before) = (number(before), number(self.questions.texts.len()));
        let Questions { listed, texts, velocity, excluded: _ } = questions;
        let at_ms = bigint(request.received_at_ms);

        let all = &mut self.questions;
        self.listed_at_ms.extend(listed.ordinal.iter().map(|_| at_ms));
        all.texts.extend(texts);
        all.listed.ordinal.extend(listed.ordinal.iter().map(|ordinal| ordinal + before));
        all.listed.list.extend(listed.list);
        all.listed.by_name.extend(listed.by_name);
        all.listed.first.extend(listed.first.iter().map(|first| first + texts_before));
        all.listed.last.extend(listed.last.iter().map(|last| last + texts_before));

        let currency = request.order.amount.currency();
        self.velocity_at_ms.extend(velocity.ordinal.iter().map(|_| at_ms));
        self.payment_id.extend(velocity.ordinal.iter().map(|_| request.payment_id.0));
        self.currency.extend(velocity.ordinal.iter().map(|_| currency.code().to_owned()));
        all.velocity.ordinal.extend(velocity.ordinal.iter().map(|ordinal| ordinal + before));
        all.velocity.value_key.extend(velocity.value_key);
        all.velocity.after_ms.extend(velocity.after_ms);
        all.velocity.approved_only.extend(velocity.approved_only);
    }
}

/// As the statement of the single look-up, with what belongs to the payment in
/// columns of its own.
const STATEMENT: &str = "
    select q.ordinal,
           exists (select from list_entries e
                   where not q.by_name and e.tenant_id = $1 and e.list = q.list
                     and e.comparable = any ($6[q.first:q.last])
                     and e.valid_from_ms <= q.at_ms and (e.valid_to_ms is null or e.valid_to_ms > q.at_ms))
           or exists (select from list_entries e
                   where q.by_name and e.tenant_id = $1 and e.list = q.list
                     and e.normalized_name = any ($6[q.first:q.last])
                     and e.valid_from_ms <= q.at_ms
                     and (e.valid_to_ms is null or e.valid_to_ms > q.at_ms)) as listed,
           null::bigint as count, null::bigint as total_minor
    from unnest($2::int[], $3::bigint[], $4::text[], $5::boolean[], $7::int[], $8::int[])
         as q (ordinal, at_ms, list, by_name, first, last)
    union all
    select q.ordinal, null, counted.count, least(counted.total, 9223372036854775807)::bigint
    from unnest($9::int[], $10::uuid[], $11::bigint[], $12::bigint[], $13::boolean[], $14::uuid[], $15::text[])
         as q (ordinal, value_key, after_ms, at_ms, approved_only, payment_id, currency)
    cross join lateral (
        select count(*) as count, coalesce(sum(v.amount_minor), 0) as total
        from payment_values v
        where v.value_key = q.value_key
          and v.received_at_ms > q.after_ms and v.received_at_ms <= q.at_ms
          and (v.received_at_ms < q.at_ms or v.payment_id < q.payment_id)
          and v.tenant_id = $1 and v.currency = q.currency and v.payment_id <> q.payment_id
          and (v.approved or not q.approved_only)
    ) counted";

async fn ask(
    connection: &mut PgConnection,
    tenant: TenantId,
    batch: Batch,
) -> Result<Vec<PgRow>, StorageError> {
    let Questions { listed, texts, velocity, .. } = batch.questions;
    let rows = sqlx::query(STATEMENT)
        .bind(tenant.0)
        .bind(listed.ordinal)
        .bind(batch.listed_at_ms)
        .bind(listed.list)
        .bind(listed.by_name)
        .bind(texts)
        .bind(listed.first)
        .bind(listed.last)
        .bind(velocity.ordinal)
        .bind(velocity.value_key)
        .bind(velocity.after_ms)
        .bind(batch.velocity_at_ms)
        .bind(velocity.approved_only)
        .bind(batch.payment_id)
        .bind(batch.currency)
        .fetch_all(connection)
        .await?;
    Ok(rows)
}
