//! The search for decisions, newest or oldest first, in pages.
//!
//! Conditions are looked up as terms in the index of `storage/search.rs`; without any, decisions
//! are read in the order of their ids. What is found is checked before it is returned.

mod candidates;
mod events;
mod filter;
mod span;
mod walk;

use sqlx::Row;
use sqlx::postgres::PgRow;

pub use filter::DecisionFilter;
use span::Span;
use walk::Walk;

use super::WHAT;
use crate::domain::payment::PaymentId;
use crate::domain::tenant::{ClientId, TenantId};
use crate::domain::verdict::{Outcome, OutcomeReason};
use crate::storage::columns::{ms, named};
use crate::storage::pool::AppPool;
use crate::storage::{StorageError, evidence};

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

/// A decision that fulfils the conditions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundDecision {
    pub summary: DecisionSummary,
    /// `None` if they were erased, or written by a later version of the program.
    pub reasons: Option<Vec<OutcomeReason>>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DecisionPage {
    pub found: Vec<FoundDecision>,
    /// Where the next page goes on if this one ended before its limit, since it had looked at
    /// enough. `None` if the page is full or nothing is left.
    pub reached: Option<PaymentId>,
}

/// A page in the order of ids.
pub async fn list(
    app: &AppPool,
    tenant: TenantId,
    filter: &DecisionFilter,
) -> Result<DecisionPage, StorageError> {
    let filter = filter.clone();
    app.transaction(tenant, move |connection| {
        Box::pin(async move {
            // One snapshot, or segments that are merged meanwhile would be missed.
            let mode = "set transaction isolation level repeatable read, read only";
            sqlx::raw_sql(mode).execute(&mut *connection).await?;
            let (terms, span) = (filter.terms(tenant), Span::of(&filter));
            if span.is_empty() {
                return Ok(DecisionPage::default());
            }
            if terms.is_empty() && filter.event.is_none() {
                let found = candidates::in_span(connection, tenant, &filter, &span).await?;
                return Ok(DecisionPage { found, reached: None });
            }
            Walk::new(tenant, &filter, terms, span).page(connection).await
        })
    })
    .await
}

pub(super) fn read_found(row: &PgRow) -> Result<FoundDecision, StorageError> {
    let payload: Option<&[u8]> = row.try_get("payload")?;
    let version = row.try_get("payload_version")?;
    let evidence = payload.and_then(|payload| evidence::decode(version, payload).ok());
    Ok(FoundDecision { summary: read_summary(row)?, reasons: evidence.map(|evidence| evidence.reasons) })
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
