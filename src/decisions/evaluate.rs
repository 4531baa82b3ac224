//! Runs a ruleset on a payment with its facts. Live decisions, dry runs, backtests, shadow runs and
//! replays share this code.
//!
//! This code must read only its arguments, and never the database or a clock: otherwise a decision
//! could not be replayed.

use std::sync::Arc;

use tokio::time::Instant;

use super::quarantine::QuarantinedRules;
use super::runnable_ruleset::{RunnableRule, RunnableRuleset};
use crate::domain::comparison::COMPARISON_VERSION;
use crate::domain::decision::{EngineId, Evidence, RuleEvidence};
use crate::domain::payment::Payment;
use crate::domain::ruleset::Mode;
use crate::domain::selector::Fact;
use crate::domain::tenant::TenantId;
use crate::domain::verdict::{FOLD_VERSION, FoldResult, Outcome, RuleResult};
use crate::rules::{EngineError, RuleCall, RuleEngine, RuleRun, RulesetCall};

/// Runs the live rules that are not in quarantine and folds their verdicts. `facts` has one fact
/// for each of `ruleset.queries`, in their order.
pub async fn evaluate(
    engine: &dyn RuleEngine,
    tenant: TenantId,
    payment: Arc<Payment>,
    ruleset: Option<&RunnableRuleset>,
    quarantined: &QuarantinedRules,
    facts: &[Fact],
    deadline: Instant,
) -> Result<(Outcome, Evidence), EngineError> {
    let live = || ruleset.iter().flat_map(|ruleset| ruleset.live_rules());
    let rules: Vec<RuleCall> =
        live().filter(|rule| !quarantined.holds(rule)).map(|rule| call_of(rule, facts)).collect();
    let mut runs = if rules.is_empty() {
        Vec::new()
    } else {
        run(engine, RulesetCall { tenant, payment: payment.clone(), rules, deadline }).await?
    };
    if !quarantined.is_empty() {
        let not_run = || RuleRun { result: RuleResult::Quarantined, fuel_used: 0, elapsed_us: 0 };
        let mut ran = runs.into_iter();
        let all =
            live().filter_map(|rule| if quarantined.holds(rule) { Some(not_run()) } else { ran.next() });
        runs = all.collect();
    }
    Ok(evidence_of(engine.id(), payment, ruleset, facts, runs))
}

/// A call of a rule with its facts. `facts` are those of the ruleset's queries.
pub fn call_of(rule: &RunnableRule, facts: &[Fact]) -> RuleCall {
    RuleCall {
        plugin: rule.prepared.entry.plugin,
        profile: rule.prepared.profile,
        state: rule.state.clone(),
        facts: rule.facts(facts),
        fuel_spent_before: None,
    }
}

/// Folds the runs of the live rules. `runs` are in the order of the rules.
pub fn evidence_of(
    engine: &EngineId,
    payment: Arc<Payment>,
    ruleset: Option<&RunnableRuleset>,
    facts: &[Fact],
    runs: Vec<RuleRun>,
) -> (Outcome, Evidence) {
    let mut runs = runs.into_iter();
    let rules = ruleset
        .iter()
        .flat_map(|ruleset| &ruleset.rules)
        .map(|rule| {
            let run = if rule.prepared.entry.mode == Mode::Live { runs.next() } else { None };
            rule_evidence(rule, facts, run)
        })
        .collect();
    let mut evidence = Evidence {
        payment,
        revision: ruleset.map(|ruleset| ruleset.revision),
        rules,
        engine: engine.clone(),
        fold_version: FOLD_VERSION,
        reasons: Vec::new(),
        comparison_version: COMPARISON_VERSION,
    };
    let FoldResult { outcome, reasons } = evidence.fold();
    evidence.reasons = reasons;
    (outcome, evidence)
}

/// The evidence of one rule. A rule in shadow mode has no run.
pub fn rule_evidence(rule: &RunnableRule, facts: &[Fact], run: Option<RuleRun>) -> RuleEvidence {
    let entry = &rule.prepared.entry;
    let (fuel_used, elapsed_us) = run.as_ref().map_or((0, 0), |run| (run.fuel_used, run.elapsed_us));
    RuleEvidence {
        name: entry.name.clone(),
        plugin: entry.plugin,
        profile: rule.prepared.profile,
        on_failure: entry.on_failure,
        overridable: entry.overridable,
        mode: entry.mode,
        facts: rule.facts(facts),
        result: run.map(|run| run.result),
        fuel_used,
        elapsed_us,
    }
}

/// How much of the ruleset's shared fuel budget these rules used.
pub(super) fn fuel_of(before: &[RuleEvidence]) -> u64 {
    before.iter().fold(0, |spent: u64, rule| spent.saturating_add(rule.fuel_used))
}

/// Fails unless the engine returns one run for each rule: a missing run would count as no result.
pub(super) async fn run(engine: &dyn RuleEngine, call: RulesetCall) -> Result<Vec<RuleRun>, EngineError> {
    let expected = call.rules.len();
    let runs = engine.evaluate(call).await?;
    if runs.len() == expected {
        Ok(runs)
    } else {
        Err(EngineError::Unavailable(format!("{} of {expected} rules were answered", runs.len())))
    }
}
