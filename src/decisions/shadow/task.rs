//! A queued decision with everything its shadow runs need. Nothing is looked up again.

use std::sync::Arc;

use super::super::deployment::{DecisionPath, LoadedDeployment};
use crate::domain::decision::{Decision, RuleEvidence};
use crate::domain::selector::Fact;
use crate::domain::tenant::TenantId;
use crate::domain::verdict::{OutcomeReason, Reason, RuleResult};
use crate::storage::decisions::StoredDecision;

/// A stored decision, and the tenant's deployment at the time of the decision.
#[derive(Debug)]
pub struct ShadowTask {
    pub decision: StoredDecision,
    pub deployment: Arc<LoadedDeployment>,
    /// Computed from the payment's key; it chooses the path.
    pub draw: u64,
    /// One for each query of the path.
    pub facts: Vec<Fact>,
}

impl ShadowTask {
    pub fn path(&self) -> &DecisionPath {
        self.deployment.path(self.draw)
    }

    pub fn tenant(&self) -> TenantId {
        self.decision.decision.tenant
    }

    /// Its size in memory, estimated from its texts.
    pub fn bytes(&self) -> usize {
        let evidence = &self.decision.decision.evidence;
        let metadata = evidence.payment.order.metadata.iter().map(|(key, value)| key.len() + value.len());
        let fixed = size_of::<Decision>() + size_of_val(self.facts.as_slice());
        fixed + metadata.sum::<usize>() + bytes_of(&evidence.rules, &evidence.reasons)
    }
}

pub fn bytes_of(rules: &[RuleEvidence], reasons: &[OutcomeReason]) -> usize {
    let reason = |reason: &Reason| size_of::<Reason>() + reason.code.len() + reason.message.len();
    let said = |result: &RuleResult| match result {
        RuleResult::Ran(evaluation) => {
            let notes: usize = evaluation.notes.iter().map(String::len).sum();
            notes + evaluation.verdict.reasons().iter().map(reason).sum::<usize>()
        }
        RuleResult::Failed { detail, .. } => detail.len(),
        RuleResult::Quarantined | RuleResult::Unavailable => 0,
    };
    let rules = rules.iter().map(|rule| {
        size_of::<RuleEvidence>() + size_of_val(rule.facts.as_slice()) + rule.result.as_ref().map_or(0, said)
    });
    rules.sum::<usize>() + reasons.iter().map(|given| reason(&given.reason)).sum::<usize>()
}
