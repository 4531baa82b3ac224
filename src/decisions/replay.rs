//! Replay: a stored decision is computed again and compared with the record.
//!
//! "Identical" means the same evaluations, failure classes, reasons and outcome. If the engine is
//! the same, rules that gave a verdict must also have used the same fuel. Facts and settings must
//! be read only from the record and its revision.

pub mod history;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use tokio::time::Instant;

use super::evaluate;
use super::plugins::Plugins;
use crate::domain::decision::{Decision, EngineId, Evidence, Origin, RevisionReference, RuleEvidence};
use crate::domain::payment::PaymentId;
use crate::domain::ruleset::DecisionPoint;
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
        self.replay_decision(stored.decision).await
    }

    pub async fn replay_decision(&self, recorded: Arc<Decision>) -> Result<Replay, ReplayError> {
        let states = match recorded.evidence.revision {
            Some(reference) => Some(self.states(recorded.tenant, reference).await?),
            None => None,
        };
        let attempt = ReplayAttempt::new(self.engine.id(), recorded, states.as_ref())?;
        for call in &attempt.calls {
            self.plugins.ensure_loaded(call.plugin).await?;
        }
        let runs = match attempt.call(Instant::now() + REPLAY_DEADLINE) {
            Some(call) => evaluate::run(self.engine.as_ref(), call).await?,
            None => Vec::new(),
        };
        attempt.conclude(runs)
    }

    /// The states of the rules of a revision.
    async fn states(
        &self,
        tenant: TenantId,
        reference: RevisionReference,
    ) -> Result<RecordedStates, ReplayError> {
        let revision = rulesets::get(&self.app, tenant, DecisionPoint::Payment, reference.number)
            .await?
            .filter(|revision| revision.digest == reference.digest)
            .ok_or(StorageError::Unreadable { what: "revision of a decision" })?;
        let rules = revision.rules.into_iter();
        Ok(RecordedStates(rules.map(|rule| (rule.entry.name, rule.state.into())).collect()))
    }
}

/// The states of a revision's rules, by the names of the rules.
#[derive(Debug)]
struct RecordedStates(HashMap<String, Arc<[u8]>>);

/// A replay with the calls that it needs.
#[derive(Debug)]
struct ReplayAttempt {
    recorded: Arc<Decision>,
    replay: Replay,
    /// The place of each called rule in the evidence.
    places: Vec<usize>,
    calls: Vec<RuleCall>,
}

impl ReplayAttempt {
    /// `states` are those of the revision that decided; `None` if there was none.
    fn new(
        engine: &EngineId,
        recorded: Arc<Decision>,
        states: Option<&RecordedStates>,
    ) -> Result<Self, ReplayError> {
        if recorded.origin == Origin::Import {
            return Err(ReplayError::Imported);
        }
        // A newer release made the decision, with a fold that this release does not have.
        if fold_of(recorded.evidence.fold_version).is_none() {
            return Err(StorageError::Unreadable { what: "fold version" }.into());
        }
        let same_engine = *engine == recorded.evidence.engine;
        let replay = Replay { differences: Vec::new(), not_rerun: Vec::new(), same_engine };
        let mut attempt = Self { recorded: recorded.clone(), replay, places: Vec::new(), calls: Vec::new() };
        if let Some(states) = states {
            attempt.add_calls(&recorded.evidence.rules, states)?;
        }
        Ok(attempt)
    }

    fn add_calls(&mut self, rules: &[RuleEvidence], states: &RecordedStates) -> Result<(), ReplayError> {
        let mut fuel_spent: u64 = 0;
        for (place, rule) in rules.iter().enumerate() {
            // The recorded fuel, since rules that are not run again used some as well.
            let fuel_spent_before = Some(fuel_spent);
            fuel_spent = fuel_spent.saturating_add(rule.fuel_used);
            let Some(result) = &rule.result else { continue };
            if !can_be_rerun(result, self.replay.same_engine) {
                self.replay.not_rerun.push(rule.name.clone());
                continue;
            }
            let state = states.0.get(&rule.name);
            self.places.push(place);
            self.calls.push(RuleCall {
                plugin: rule.plugin,
                profile: rule.profile,
                state: state.ok_or(StorageError::Unreadable { what: "rule of a decision" })?.clone(),
                facts: rule.facts.clone(),
                fuel_spent_before,
            });
        }
        Ok(())
    }

    /// `None` if no rule has to be run.
    fn call(&self, deadline: Instant) -> Option<RulesetCall> {
        let payment = self.recorded.evidence.payment.clone();
        let (tenant, rules) = (self.recorded.tenant, self.calls.clone());
        (!rules.is_empty()).then_some(RulesetCall { tenant, payment, rules, deadline })
    }

    /// Compares the runs of the calls with the record.
    fn conclude(self, runs: Vec<RuleRun>) -> Result<Replay, ReplayError> {
        let Self { recorded, mut replay, places, .. } = self;
        let mut computed = recorded.evidence.clone();
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
        let folded = computed.fold();
        computed.reasons = folded.reasons;
        compare(&recorded.evidence, &computed, replay.same_engine, &mut replay.differences);
        if recorded.outcome != folded.outcome {
            replay.differences.push(ReplayDifference {
                path: "/outcome".to_owned(),
                recorded: EvidenceValue::Outcome(recorded.outcome),
                computed: EvidenceValue::Outcome(folded.outcome),
            });
        }
        Ok(replay)
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
