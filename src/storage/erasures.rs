//! Erases the personal data of a payment, and reads what is left of it.
//!
//! The values by which it is counted and found are computed from its payload, so they must go in
//! the same transaction. The digests stay, so that the chain still verifies.

use sqlx::{PgConnection, Row};
use thiserror::Error;
use uuid::Uuid;

use super::advisory_locks::TenantLock;
use super::columns::{bigint, ms};
use super::pool::AppPool;
use super::query_error::OfStatement;
use super::series::{self, aggregate_key};
use super::values::value_keys;
use super::{StorageError, audit, evidence, search};
use crate::domain::audit::{Act, Action, Authority};
use crate::domain::payment::{PaymentId, PaymentOrder};
use crate::domain::tenant::TenantId;

const WHAT: &str = "erasure";

#[derive(Debug, Clone)]
pub struct NewErasure {
    pub payment: PaymentId,
    pub reason: String,
    pub actor: Authority,
    pub now_ms: u64,
}

/// Who erased a payment, when and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Erasure {
    pub erased_at_ms: u64,
    pub actor: String,
    pub reason: String,
}

#[derive(Debug, Error)]
pub enum EraseError {
    #[error("there is no such payment")]
    UnknownPayment,
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// Erases a payment. If it is erased already, nothing changes, and the result is the first erasure.
pub async fn erase(app: &AppPool, tenant: TenantId, new: NewErasure) -> Result<Erasure, EraseError> {
    app.transaction(tenant, move |connection| {
        Box::pin(async move {
            // Nobody derives values from the payment meanwhile, and no event comes between.
            for lock in [TenantLock::Derivations(tenant), TenantLock::PaymentEvents(tenant, new.payment)] {
                lock.take_in_transaction(connection).await.of_statement()?;
            }
            let found = sqlx::query(
                "select received_at_ms, payload_version, payload, tenant_id, client_id, origin, outcome, revision,
                        amount_minor, currency, method
                 from decisions where tenant_id = $1 and id = $2",
            )
            .bind(tenant.0)
            .bind(new.payment.0)
            .fetch_optional(&mut *connection)
            .await
            .of_statement()?;
            let row = found.ok_or(EraseError::UnknownPayment)?;
            let payload: Option<&[u8]> = row.try_get("payload").of_statement()?;
            let before = erasure_of(connection, tenant, new.payment).await?;
            if let (None, Some(before)) = (payload, before) {
                return Ok(before);
            }
            let evidence = payload.and_then(|payload| {
                let version = row.try_get("payload_version").ok()?;
                evidence::decode(version, payload).ok()
            });
            // Its values could never be found again. A node of a newer release may read it.
            if payload.is_some() && evidence.is_none() {
                return Err(StorageError::Unreadable { what: "decision" }.into());
            }
            let received_at_ms = row.try_get("received_at_ms").of_statement()?;
            let terms = search::terms_to_erase(&row, evidence.as_ref())?;
            let order = evidence.map(|evidence| evidence.payment.order.clone());
            Ok(erase_now(connection, tenant, new, received_at_ms, order, terms).await?)
        })
    })
    .await
}

async fn erase_now(
    connection: &mut PgConnection,
    tenant: TenantId,
    new: NewErasure,
    received_at_ms: i64,
    order: Option<PaymentOrder>,
    terms: Vec<i64>,
) -> Result<Erasure, StorageError> {
    let NewErasure { payment, reason, actor, now_ms } = new;
    sqlx::query(
        "insert into erasures (tenant_id, payment_id, erased_at_ms, actor, reason, terms)
         values ($1, $2, $3, $4, $5, $6)
         on conflict (tenant_id, payment_id) do nothing",
    )
    .bind(tenant.0)
    .bind(payment.0)
    .bind(bigint(now_ms))
    .bind(actor.name())
    .bind(&reason)
    .bind(terms)
    .execute(&mut *connection)
    .await?;
    let keys = match &order {
        Some(order) => stored_keys(connection, tenant, order).await?,
        None => StoredKeys::default(),
    };
    sqlx::query("select erase_payment($1, $2, $3, $4)")
        .bind(payment.0)
        .bind(received_at_ms)
        .bind(keys.values)
        .bind(keys.aggregates)
        .execute(&mut *connection)
        .await?;
    let act = Act {
        at_ms: now_ms,
        actor: actor.clone(),
        action: Action::PaymentErased,
        subject: payment.to_string(),
        before: None,
        after: Some(serde_json::json!({ "reason": reason }).to_string()),
    };
    audit::record(connection, tenant, &act).await?;
    Ok(Erasure { erased_at_ms: now_ms, actor: actor.name().to_owned(), reason })
}

/// The keys of the rows that a payment can have.
#[derive(Debug, Default)]
struct StoredKeys {
    values: Vec<Uuid>,
    aggregates: Vec<Uuid>,
}

async fn stored_keys(
    connection: &mut PgConnection,
    tenant: TenantId,
    order: &PaymentOrder,
) -> Result<StoredKeys, StorageError> {
    let values = value_keys(tenant, order);
    let series = series::of_tenant(connection, tenant).await?;
    let aggregates = series.iter().filter_map(|series| aggregate_key(tenant, series, order)).collect();
    Ok(StoredKeys { values, aggregates })
}

/// The record of a payment's erasure. A payment that an operator erased in the database has none.
pub async fn get(
    app: &AppPool,
    tenant: TenantId,
    payment: PaymentId,
) -> Result<Option<Erasure>, StorageError> {
    app.transaction(tenant, move |connection| {
        Box::pin(async move { erasure_of(connection, tenant, payment).await })
    })
    .await
}

async fn erasure_of(
    connection: &mut PgConnection,
    tenant: TenantId,
    payment: PaymentId,
) -> Result<Option<Erasure>, StorageError> {
    let row = sqlx::query(
        "select erased_at_ms, actor, reason from erasures where tenant_id = $1 and payment_id = $2",
    )
    .bind(tenant.0)
    .bind(payment.0)
    .fetch_optional(connection)
    .await?;
    let Some(row) = row else { return Ok(None) };
    Ok(Some(Erasure {
        erased_at_ms: ms(row.try_get("erased_at_ms")?, WHAT)?,
        actor: row.try_get("actor")?,
        reason: row.try_get("reason")?,
    }))
}
