//! Replay: a stored decision is computed again and compared with the record.
//!
//! "Identical" means the same evaluations, failure classes, reasons and outcome. If the engine is
//! the same, rules that gave a verdict must also have used the same fuel. Facts and settings must
//! be read only from the record and its revision.

use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use tokio::time::Instant;

use super::evaluate;
use super::plugins::Plugins;
use crate::domain::decision::{Decision, Evidence, Origin, RuleEvidence};
use crate::domain::payment::PaymentId;
use crate::domain::ruleset::{DecisionPoint, Revision};
use crate::domain::tenant::TenantId;
use crate::domain::verdict::{Outcome, OutcomeReason, RuleResult, fold_of};
use crate::rules::{EngineError, RuleCall, RuleEngine, RuleRun, RulesetCall};
use crate::storage::pool::AppPool;
use crate::storage::{StorageError, decisions, rulesets};

/// A replay is background work, so it may wait longer for its turn than a payment.
const REPLAY_DEADLINE: Duration = Duration::from_secs(10);

/// A value that differs between the record and the replay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplayDifference {
    /// JSON pointer into the evidence.
    pub path: String,
    pub recorded: EvidenceValue,
    pub computed: EvidenceValue,
}

/// A value of the evidence that is compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EvidenceValue {
    Outcome(Outcome),
    Reasons(Vec<OutcomeReason>),
    Result(Option<RuleResult>),
    Fuel(u64),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replay {
    pub differences: Vec<ReplayDifference>,
    /// Rules that cannot be compared and are taken as recorded: the host stopped them, or they ran
    /// out of fuel under only one of two engines.
    pub not_rerun: Vec<String>,
    pub same_engine: bool,
}

impl Replay {
    pub fn is_identical(&self) -> bool {
        self.differences.is_empty()
    }
}

#[derive(Debug, Error)]
pub enum ReplayError {
    #[error("no such decision")]
    NotFound,
    #[error("imported, nothing to replay")]
    Imported,
    #[error("the rule engine could not run the replay")]
    Engine(#[from] EngineError),
    #[error(transparent)]
    Storage(#[from] StorageError),
}

#[derive(Debug)]
pub struct Replays {
    pub app: AppPool,
    pub engine: Arc<dyn RuleEngine>,
    pub plugins: Arc<Plugins>,
}

impl Replays {
    pub async fn replay(&self, tenant: TenantId, id: PaymentId) -> Result<Replay, ReplayError> {
        let stored = decisions::get(&self.app, tenant, id).await?.ok_or(ReplayError::NotFound)?;
        self.replay_decision(&stored.decision).await
    }

    pub async fn replay_decision(&self, recorded: &Decision) -> Result<Replay, ReplayError> {
        if recorded.origin == Origin::Import {
            return Err(ReplayError::Imported);
        }
        let evidence = &recorded.evidence;
        // A newer release made the decision, with a fold that this release does not have.
        if fold_of(evidence.fold_version).is_none() {
            return Err(StorageError::Unreadable { what: "fold version" }.into());
        }
        let mut replay = Replay {
            differences: Vec::new(),
            not_rerun: Vec::new(),
            same_engine: *self.engine.id() == evidence.engine,
        };
        let mut computed = evidence.clone();
        if let Some(reference) = evidence.revision {
            let point = DecisionPoint::Payment;
            let revision = rulesets::get(&self.app, recorded.tenant, point, reference.number)
                .await?
                .filter(|revision| revision.digest == reference.digest)
                .ok_or(StorageError::Unreadable { what: "revision of a decision" })?;
            self.run_again(recorded, &revision, &mut computed, &mut replay).await?;
        }
        let folded = computed.fold();
        computed.reasons = folded.reasons;
        compare(evidence, &computed, replay.same_engine, &mut replay.differences);
        if recorded.outcome != folded.outcome {
            replay.differences.push(ReplayDifference {
                path: "/outcome".to_owned(),
                recorded: EvidenceValue::Outcome(recorded.outcome),
                computed: EvidenceValue::Outcome(folded.outcome),
            });
        }
        Ok(replay)
    }

    async fn run_again(
        &self,
        recorded: &Decision,
        revision: &Revision,
        computed: &mut Evidence,
        replay: &mut Replay,
    ) -> Result<(), ReplayError> {
        let mut places = Vec::new();
        let mut calls = Vec::new();
        let mut fuel_spent: u64 = 0;
        for (place, rule) in computed.rules.iter().enumerate() {
            // The recorded fuel, since rules that are not run again used some as well.
            let fuel_spent_before = Some(fuel_spent);
            fuel_spent = fuel_spent.saturating_add(rule.fuel_used);
            let Some(result) = &rule.result else { continue };
            if !can_be_rerun(result, replay.same_engine) {
                replay.not_rerun.push(rule.name.clone());
                continue;
            }
            let prepared = revision
                .rules
                .iter()
                .find(|prepared| prepared.entry.name == rule.name)
                .ok_or(StorageError::Unreadable { what: "rule of a decision" })?;
            self.plugins.ensure_loaded(rule.plugin).await?;
            places.push(place);
            calls.push(RuleCall {
                plugin: rule.plugin,
                profile: rule.profile,
                state: prepared.state.as_slice().into(),
                facts: rule.facts.clone(),
                fuel_spent_before,
            });
        }
        if calls.is_empty() {
            return Ok(());
        }
        let call = RulesetCall {
            tenant: recorded.tenant,
            payment: computed.payment.clone(),
            rules: calls,
            deadline: Instant::now() + REPLAY_DEADLINE,
        };
        let runs = evaluate::run(self.engine.as_ref(), call).await?;
        for (place, RuleRun { result, fuel_used, elapsed_us }) in places.into_iter().zip(runs) {
            let rule = &mut computed.rules[place];
            if !result.is_reproducible() {
                // This says nothing about the rule. Another replay may succeed.
                let why = format!("the rule {} could not be run again", rule.name);
                return Err(EngineError::Unavailable(why).into());
            }
            if !replay.same_engine && result.is_out_of_fuel() {
                replay.not_rerun.push(rule.name.clone());
                continue;
            }
            rule.result = Some(result);
            rule.fuel_used = fuel_used;
            rule.elapsed_us = elapsed_us;
        }
        Ok(())
    }
}

/// A rule that ran out of fuel on one engine need not do so on another.
fn can_be_rerun(result: &RuleResult, same_engine: bool) -> bool {
    if same_engine { result.is_reproducible() } else { result.is_reproducible_elsewhere() }
}

fn compare(
    recorded: &Evidence,
    computed: &Evidence,
    same_engine: bool,
    differences: &mut Vec<ReplayDifference>,
) {
    for (place, (before, after)) in recorded.rules.iter().zip(&computed.rules).enumerate() {
        compare_rule(place, before, after, same_engine, differences);
    }
    if recorded.reasons != computed.reasons {
        differences.push(ReplayDifference {
            path: "/reasons".to_owned(),
            recorded: EvidenceValue::Reasons(recorded.reasons.clone()),
            computed: EvidenceValue::Reasons(computed.reasons.clone()),
        });
    }
}

fn compare_rule(
    place: usize,
    recorded: &RuleEvidence,
    computed: &RuleEvidence,
    same_engine: bool,
    differences: &mut Vec<ReplayDifference>,
) {
    let same_result = match (&recorded.result, &computed.result) {
        (Some(before), Some(after)) => before.is_same_as(after),
        (before, after) => before == after,
    };
    if !same_result {
        differences.push(ReplayDifference {
            path: format!("/rules/{place}/result"),
            recorded: EvidenceValue::Result(recorded.result.clone()),
            computed: EvidenceValue::Result(computed.result.clone()),
        });
    }
    // After a trap the fuel is not exact.
    let exact = recorded.result.as_ref().is_some_and(|result| result.verdict().is_some());
    if same_engine && exact && recorded.fuel_used != computed.fuel_used {
        differences.push(ReplayDifference {
            path: format!("/rules/{place}/fuel_used"),
            recorded: EvidenceValue::Fuel(recorded.fuel_used),
            computed: EvidenceValue::Fuel(computed.fuel_used),
        });
    }
}
