//! Stores decisions with the rates by which their payments are counted.
//!
//! The journal cannot look rates up: a writer must not wait for anything but its batch.

use std::sync::Arc;

use thiserror::Error;

use crate::domain::aggregate::Conversion;
use crate::domain::decision::Decision;
use crate::domain::rates::Rates;
use crate::domain::selector::FactQuery;
use crate::domain::series::Series;
use crate::domain::tenant::TenantId;
use crate::storage::StorageError;
use crate::storage::journal::{Journal, JournalError, StoreOutcome};
use crate::storage::reference::ReferenceMemory;

/// Payments in flight are not older.
const IN_FLIGHT_MAX_MS: u64 = 120_000;
/// How far into the future rates are known for certain.
pub const KNOWN_AHEAD_MS: u64 = 1_000;
/// New series may be declared again and again while a decision is stored.
const ATTEMPTS: u32 = 4;

#[derive(Debug, Error)]
pub enum CountedStoreError {
    #[error(transparent)]
    Journal(#[from] JournalError),
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// The rates that payments of the tenant need which are received now, and those in flight.
pub async fn current_rates(
    reference: &ReferenceMemory,
    tenant: TenantId,
    series: &[Series],
    queries: &[FactQuery],
    now_ms: u64,
) -> Result<Rates, StorageError> {
    let asked = queries.iter().filter_map(FactQuery::conversion);
    let conversions: Vec<&Conversion> = conversions(series).chain(asked).collect();
    if conversions.is_empty() {
        return Ok(Rates::default());
    }
    let earliest_ms = now_ms.saturating_sub(IN_FLIGHT_MAX_MS);
    reference.rates(tenant, conversions, earliest_ms, now_ms + KNOWN_AHEAD_MS).await
}

/// Stores the decision by these rates. If series were declared meanwhile that need others, looks
/// them up.
pub async fn store(
    journal: &Journal,
    reference: &ReferenceMemory,
    decision: Arc<Decision>,
    mut rates: Rates,
) -> Result<StoreOutcome, CountedStoreError> {
    let (tenant, at_ms) = (decision.tenant, decision.evidence.payment.received_at_ms);
    for _ in 1..ATTEMPTS {
        match journal.store_at(decision.clone(), rates).await {
            Err(JournalError::NeedsRates) => {}
            result => return Ok(result?),
        }
        let known = journal.series();
        let series = known.of(tenant).map_or(&[][..], |series| series.all());
        rates = reference.rates(tenant, conversions(series), at_ms, at_ms).await?;
    }
    Ok(journal.store_at(decision, rates).await?)
}

fn conversions(series: &[Series]) -> impl Iterator<Item = &Conversion> {
    series.iter().filter_map(|series| series.conversion.as_ref())
}
