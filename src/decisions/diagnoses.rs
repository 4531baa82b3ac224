//! Why a rule failed in a decision: its recorded call made again on demand.
//!
//! Owns which call that is. Must never store what comes of it: a rule is pure,
//! so it can be asked again, and what it says is no part of the evidence.

use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;

use super::looks::LookError;
use super::plugins::Plugins;
use crate::domain::decision::{Decision, RuleEvidence};
use crate::domain::payment::PaymentId;
use crate::domain::ruleset::DecisionPoint;
use crate::domain::tenant::TenantId;
use crate::domain::verdict::{FailureClass, RuleResult};
use crate::rules::{Diagnosis, FailedCall, RuleCall};
use crate::storage::pool::AppPool;
use crate::storage::{StorageError, decisions, rulesets};

/// A person waits for the answer. Compiling a large plugin can take longer; then the next request
/// finds it compiled.
const PATIENCE: Duration = Duration::from_secs(2);

/// What is on record of a failure, and what another run of it tells.
#[derive(Debug)]
pub struct Diagnosed {
    pub class: FailureClass,
    pub detail: String,
    /// `None` where the call does not fail again.
    pub diagnosis: Option<Diagnosis>,
}

#[derive(Debug, Error)]
pub enum DiagnosisError {
    #[error("no such decision")]
    UnknownDecision,
    #[error("there is no such rule in the decision, or it did not fail")]
    NotFailed,
    #[error(transparent)]
    Look(#[from] LookError),
}

impl From<StorageError> for DiagnosisError {
    fn from(error: StorageError) -> Self {
        Self::Look(error.into())
    }
}

/// Looks into the failure of one rule of a stored decision.
pub async fn of_decision(
    app: &AppPool,
    plugins: &Arc<Plugins>,
    tenant: TenantId,
    id: PaymentId,
    rule: &str,
) -> Result<Diagnosed, DiagnosisError> {
    let stored = decisions::get(app, tenant, id).await?.ok_or(DiagnosisError::UnknownDecision)?;
    let recorded = &stored.decision.evidence.rules;
    let place = recorded.iter().position(|recorded| recorded.name == rule);
    let place = place.ok_or(DiagnosisError::NotFailed)?;
    let Some(RuleResult::Failed { class, detail }) = &recorded[place].result else {
        return Err(DiagnosisError::NotFailed);
    };
    let call = failed_call(app, &stored.decision, place).await?;
    let diagnosis = plugins.look_into(tenant, call, PATIENCE).await?;
    Ok(Diagnosed { class: *class, detail: detail.clone(), diagnosis })
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

/// The fuel that earlier rules used of the budget that all rules share.
pub(super) fn fuel_of(before: &[RuleEvidence]) -> u64 {
    before.iter().fold(0, |spent: u64, rule| spent.saturating_add(rule.fuel_used))
}
