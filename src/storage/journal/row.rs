//! A decision prepared for its rows: encoding, salt, digests and the keys of its values.
//!
//! The caller of `store` does this work, so that a writer only has to write.

use std::sync::Arc;

use uuid::Uuid;

use super::JournalError;
use crate::domain::decision::{Decision, EvidenceVersion, Origin};
use crate::domain::money::Currency;
use crate::domain::payment::PaymentOrder;
use crate::domain::plugin::Digest;
use crate::domain::rates::Rates;
use crate::domain::tenant::{ClientId, TenantId};
use crate::domain::time::Randomness;
use crate::domain::verdict::Outcome;
use crate::storage::evidence::{self, SALT_LENGTH_BYTES};
use crate::storage::series::{AggregateRow, KnownSeries, TenantSeries, rows_of};
use crate::storage::values::value_keys;

#[derive(Debug)]
pub(super) struct PreparedDecision {
    pub decision: Arc<Decision>,
    pub payload_version: i16,
    pub payload: Vec<u8>,
    pub salt: [u8; SALT_LENGTH_BYTES],
    pub payload_digest: Digest,
    pub digest: Digest,
    currency: Currency,
    /// Only for nodes of the release before.
    pub value_keys: Vec<Uuid>,
    pub aggregates: Vec<AggregateRow>,
    /// The series of `aggregates`.
    series: Option<Arc<TenantSeries>>,
    rates: Rates,
    /// Whether `rates` lacks a table that a series converts by.
    pub lacks_rates: bool,
}

/// An idempotency key with its scope. All writers claim keys in this order.
pub(super) type ScopedKey<'a> = (TenantId, ClientId, &'a str);

impl PreparedDecision {
    pub fn of(
        decision: Arc<Decision>,
        version: EvidenceVersion,
        known: &KnownSeries,
        rates: Rates,
        randomness: &dyn Randomness,
    ) -> Result<Self, JournalError> {
        let payload = evidence::encode(version, &decision.evidence).map_err(|_| JournalError::Refused)?;
        let mut salt = [0; SALT_LENGTH_BYTES];
        randomness.fill(&mut salt);
        let payload_version = version.number();
        let payload_digest = evidence::payload_digest(&salt, payload_version, &payload);
        let digest = evidence::decision_digest(&decision, payload_version, &payload_digest);
        let currency = decision.evidence.payment.order.amount.currency();
        let (value_keys, aggregates, series) = (Vec::new(), Vec::new(), None);
        let mut row = Self {
            decision,
            payload_version,
            payload,
            salt,
            payload_digest,
            digest,
            currency,
            value_keys,
            aggregates,
            series,
            rates,
            lacks_rates: false,
        };
        row.follow(known);
        Ok(row)
    }

    /// Brings `aggregates` up to date, if the tenant has other series than before.
    pub fn follow(&mut self, known: &KnownSeries) {
        if known.writes_values && self.value_keys.is_empty() {
            self.value_keys = value_keys(self.decision.tenant, self.order());
        }
        let Some(series) = known.of(self.decision.tenant) else { return };
        if self.series.as_ref().is_none_or(|own| !Arc::ptr_eq(own, series)) {
            let conversions = series.all().iter().filter_map(|series| series.conversion.as_ref());
            self.lacks_rates = conversions.into_iter().any(|conversion| !self.rates.serve(conversion));
            let payment = &self.decision.evidence.payment;
            self.aggregates = rows_of(self.decision.tenant, series.iter(), payment, &self.rates);
            self.series = Some(series.clone());
        }
    }

    pub fn order(&self) -> &PaymentOrder {
        &self.decision.evidence.payment.order
    }

    /// Whether it opens a review.
    pub fn waits_for_person(&self) -> bool {
        self.decision.outcome == Outcome::Review && self.decision.origin == Origin::Api
    }

    pub fn received_at_ms(&self) -> u64 {
        self.decision.evidence.payment.received_at_ms
    }

    pub fn currency(&self) -> &str {
        self.currency.code()
    }

    pub fn scoped_key(&self) -> ScopedKey<'_> {
        (self.decision.tenant, self.decision.client, self.decision.key.as_str())
    }
}
