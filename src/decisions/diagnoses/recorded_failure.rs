//! Why a rule failed in a stored decision. The recorded call is repeated on request, and the
//! diagnosis is not stored.

use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;

use super::{Diagnoses, DiagnosisError};
use crate::decisions::evaluate::fuel_of;
use crate::domain::decision::Decision;
use crate::domain::payment::PaymentId;
use crate::domain::ruleset::DecisionPoint;
use crate::domain::tenant::TenantId;
use crate::domain::verdict::{FailureClass, RuleResult};
use crate::rules::{Diagnosis, FailedCall, RuleCall};
use crate::storage::pool::AppPool;
use crate::storage::{StorageError, decisions, rulesets};

/// A person waits for the response. If compiling a large plugin takes longer, the next request
/// finds it compiled.
const PATIENCE: Duration = Duration::from_secs(2);

/// A recorded failure, and the result of repeating the call.
#[derive(Debug)]
pub struct RecordedFailure {
    pub class: FailureClass,
    pub detail: String,
    /// `None` if the call does not fail again.
    pub diagnosis: Option<Diagnosis>,
}

#[derive(Debug, Error)]
pub enum RecordedFailureError {
    #[error("no such decision")]
    UnknownDecision,
    #[error("there is no such rule in the decision, or it did not fail")]
    NotFailed,
    #[error(transparent)]
    Diagnosis(#[from] DiagnosisError),
}

impl From<StorageError> for RecordedFailureError {
    fn from(error: StorageError) -> Self {
        Self::Diagnosis(error.into())
    }
}

/// Diagnoses the failure of one rule of a stored decision.
pub async fn of_decision(
    app: &AppPool,
    diagnoses: &Arc<Diagnoses>,
    tenant: TenantId,
    id: PaymentId,
    rule: &str,
) -> Result<RecordedFailure, RecordedFailureError> {
    let stored = decisions::get(app, tenant, id).await?.ok_or(RecordedFailureError::UnknownDecision)?;
    let recorded = &stored.decision.evidence.rules;
    let place = recorded.iter().position(|recorded| recorded.name == rule);
    let place = place.ok_or(RecordedFailureError::NotFailed)?;
    let Some(RuleResult::Failed { class, detail }) = &recorded[place].result else {
        return Err(RecordedFailureError::NotFailed);
    };
    let call = failed_call(app, &stored.decision, place).await?;
    let diagnosis = diagnoses.diagnose(tenant, call, PATIENCE).await?;
    Ok(RecordedFailure { class: *class, detail: detail.clone(), diagnosis })
}

async fn failed_call(app: &AppPool, decision: &Decision, place: usize) -> Result<FailedCall, StorageError> {
    let evidence = &decision.evidence;
    let (before, from_here) = evidence.rules.split_at(place);
    let unreadable = StorageError::Unreadable { what: "revision of a decision" };
    let (Some(rule), Some(reference)) = (from_here.first(), evidence.revision) else {
        return Err(unreadable);
    };
    let revision = rulesets::get(app, decision.tenant, DecisionPoint::Payment, reference.number).await?;
    let revision = revision.filter(|revision| revision.digest == reference.digest);
    let prepared = revision
        .as_ref()
        .and_then(|revision| revision.rules.iter().find(|prepared| prepared.entry.name == rule.name))
        .ok_or(unreadable)?;
    Ok(FailedCall::Evaluate {
        payment: evidence.payment.clone(),
        rule: RuleCall {
            plugin: rule.plugin,
            profile: rule.profile,
            state: prepared.state.as_slice().into(),
            facts: rule.facts.clone(),
            fuel_spent_before: Some(fuel_of(before)),
        },
    })
}
