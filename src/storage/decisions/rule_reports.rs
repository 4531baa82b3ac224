//! What the rules of a revision did in its newest decisions, from their evidence.

use uuid::Uuid;

use super::comparison::newest_payloads;
use crate::domain::payment::PaymentId;
use crate::domain::rule_report::{RuleReport, RuleSample};
use crate::domain::tenant::TenantId;
use crate::storage::pool::AppPool;
use crate::storage::{StorageError, evidence};

/// The reports, and what they are about.
#[derive(Debug)]
pub struct SampledRules {
    pub sampled: u64,
    /// When the oldest and the newest of the sampled payments were received. `None` without any.
    pub from_ms: Option<u64>,
    pub to_ms: Option<u64>,
    pub rules: Vec<RuleReport>,
}

/// Reports on the rules of a revision, as `comparison` samples its decisions.
pub async fn rule_reports(
    app: &AppPool,
    tenant: TenantId,
    revision: i32,
) -> Result<SampledRules, StorageError> {
    app.transaction(tenant, move |connection| {
        Box::pin(async move {
            let rows = newest_payloads(connection, tenant, &(Uuid::nil()..Uuid::max()), revision).await?;
            let (mut sample, mut times_ms) = (RuleSample::default(), Vec::with_capacity(rows.len()));
            for (id, version, payload) in &rows {
                let evidence = evidence::decode(*version, payload)?;
                times_ms.push(evidence.payment.received_at_ms);
                sample.add(PaymentId(*id), evidence);
            }
            let (from_ms, to_ms) = (times_ms.iter().min().copied(), times_ms.iter().max().copied());
            Ok(SampledRules { sampled: rows.len() as u64, from_ms, to_ms, rules: sample.reports() })
        })
    })
    .await
}
