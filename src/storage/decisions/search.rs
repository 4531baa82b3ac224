//! The search for decisions, newest first.
//!
//! The statement's text depends on the filter. Values must be bound, and never be part of the text.

use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Postgres, QueryBuilder, Row};
use uuid::Uuid;

use super::WHAT;
use crate::domain::payment::PaymentId;
use crate::domain::selector::Selector;
use crate::domain::tenant::{ClientId, TenantId};
use crate::domain::verdict::Outcome;
use crate::storage::StorageError;
use crate::storage::columns::{bigint, ms, named};
use crate::storage::pool::AppPool;
use crate::storage::values::{ValueKeys, day_of};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecisionSummary {
    pub id: PaymentId,
    pub client: ClientId,
    pub key: String,
    pub outcome: Outcome,
    pub received_at_ms: u64,
    /// `None` if it was erased.
    pub reference: Option<String>,
    pub amount_minor: i64,
    pub currency: String,
    pub method: String,
    pub revision: Option<i32>,
}

/// All conditions must hold. Values match in any spelling.
#[derive(Debug, Clone, Default)]
pub struct DecisionFilter {
    pub outcome: Option<Outcome>,
    pub from_ms: Option<u64>,
    /// Exclusive.
    pub to_ms: Option<u64>,
    pub values: Vec<(Selector, String)>,
    /// The account of the debtor or the creditor.
    pub account: Option<String>,
    /// The last id of the previous page.
    pub before: Option<PaymentId>,
    pub limit: u32,
}

/// Newest first by id.
pub async fn list(
    app: &AppPool,
    tenant: TenantId,
    filter: &DecisionFilter,
) -> Result<Vec<DecisionSummary>, StorageError> {
    let (filter, keys) = (filter.clone(), searched_keys(tenant, filter));
    app.transaction(tenant, move |connection| {
        Box::pin(async move {
            let days =
                if keys.is_empty() { vec![] } else { searched_days(connection, tenant, &filter).await? };
            let mut query = statement(tenant, &filter, keys, &days);
            // Not prepared, so that the plan fits the values: a rare value is best looked up
            // first, and a common one best checked for each row.
            let rows = query.build().persistent(false).fetch_all(connection).await?;
            rows.iter().map(read_summary).collect()
        })
    })
    .await
}

/// The days on which there can be a match. They are needed because the index of values begins with
/// the day. The range is one day longer at both ends, since the times in an id and in its row may
/// differ if a clock steps back.
async fn searched_days(
    connection: &mut PgConnection,
    tenant: TenantId,
    filter: &DecisionFilter,
) -> Result<Vec<i32>, StorageError> {
    let (first, last): (Option<i64>, Option<i64>) = sqlx::query_as(
        "select (select received_at_ms from decisions where tenant_id = $1 order by id limit 1),
                (select received_at_ms from decisions where tenant_id = $1 order by id desc limit 1)",
    )
    .bind(tenant.0)
    .fetch_one(connection)
    .await?;
    let (Some(first), Some(last)) = (first, last) else { return Ok(vec![]) };
    let from = filter.from_ms.map_or(0, |from_ms| day_of(bigint(from_ms)));
    let to = filter.to_ms.map_or(i32::MAX, |to_ms| day_of(bigint(to_ms)));
    Ok((from.max(day_of(first) - 1)..=to.min(day_of(last) + 1)).collect())
}

fn statement(
    tenant: TenantId,
    filter: &DecisionFilter,
    keys: Vec<Vec<Uuid>>,
    days: &[i32],
) -> QueryBuilder<Postgres> {
    let mut query = QueryBuilder::new(
        "select id, client_id, idempotency_key, outcome, received_at_ms, reference, amount_minor, currency,
                method, revision
         from decisions
         where tenant_id = ",
    );
    query.push_bind(tenant.0);
    if let Some(outcome) = filter.outcome {
        query.push(" and outcome = ").push_bind(outcome.name());
    }
    if let Some(from_ms) = filter.from_ms {
        query.push(" and received_at_ms >= ").push_bind(bigint(from_ms));
    }
    if let Some(to_ms) = filter.to_ms {
        query.push(" and received_at_ms < ").push_bind(bigint(to_ms));
    }
    if let Some(before) = filter.before {
        query.push(" and id < ").push_bind(before.0);
    }
    for keys in keys {
        // Both conditions on the day are needed: the plan may start from the values or from the
        // decisions.
        query.push(
            " and exists (select from payment_values v
                          where v.tenant_id = decisions.tenant_id
                            and v.payment_id = decisions.id
                            and v.received_at_ms = decisions.received_at_ms
                            and v.received_day = decisions.received_day
                            and v.received_day = any (",
        );
        query.push_bind(days.to_vec()).push(") and v.value_key = any (").push_bind(keys).push("))");
    }
    query.push(" order by id desc limit ").push_bind(i64::from(filter.limit));
    query
}

/// One list of keys for each condition. A payment matches if it has at least one key of every list.
fn searched_keys(tenant: TenantId, filter: &DecisionFilter) -> Vec<Vec<Uuid>> {
    let keys = |selector: &Selector, value: &str| ValueKeys::of(tenant, selector, value).all();
    let values = filter.values.iter().map(|(selector, value)| keys(selector, value));
    let account = filter.account.iter().map(|account| {
        let either = [Selector::DebtorAccount, Selector::CreditorAccount];
        either.iter().flat_map(|selector| keys(selector, account)).collect()
    });
    values.chain(account).collect()
}

pub(super) fn read_summary(row: &PgRow) -> Result<DecisionSummary, StorageError> {
    Ok(DecisionSummary {
        id: PaymentId(row.try_get("id")?),
        client: ClientId(row.try_get("client_id")?),
        key: row.try_get("idempotency_key")?,
        outcome: named(Outcome::parse(row.try_get("outcome")?), WHAT)?,
        received_at_ms: ms(row.try_get("received_at_ms")?, WHAT)?,
        reference: row.try_get("reference")?,
        amount_minor: row.try_get("amount_minor")?,
        currency: row.try_get("currency")?,
        method: row.try_get("method")?,
        revision: row.try_get("revision")?,
    })
}
