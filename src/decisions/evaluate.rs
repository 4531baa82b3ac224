//! One ruleset on one payment with its facts: the computation that live
//! decisions, and everything that tries rules, share.
//!
//! Owns the way from facts to evidence. Must never read the database, a clock
//! or anything else that is not among its arguments.

use std::sync::Arc;

use tokio::time::Instant;

use super::active_ruleset::{ActiveRule, ActiveRuleset};
use super::quarantine::InQuarantine;
use crate::domain::comparison::COMPARISON_VERSION;
use crate::domain::decision::{EngineId, Evidence, RuleEvidence};
use crate::domain::payment::Payment;
use crate::domain::ruleset::Mode;
use crate::domain::selector::Fact;
use crate::domain::tenant::TenantId;
use crate::domain::verdict::{FOLD_VERSION, FoldResult, Outcome, RuleResult};
use crate::rules::{EngineError, RuleCall, RuleEngine, RuleRun, RulesetCall};

/// Runs the live rules that are not in quarantine and folds their verdicts.
/// `facts` answer `ruleset.queries`, one for one; without a ruleset there are none.
pub async fn evaluate(
    engine: &dyn RuleEngine,
    tenant: TenantId,
    payment: Arc<Payment>,
    ruleset: Option<&ActiveRuleset>,
    quarantined: &InQuarantine,
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

/// A rule with the facts it asked for. `facts` answer the queries of its ruleset.
pub fn call_of(rule: &ActiveRule, facts: &[Fact]) -> RuleCall {
    RuleCall {
        plugin: rule.prepared.entry.plugin,
        profile: rule.prepared.profile,
        state: rule.state.clone(),
        facts: rule.facts(facts),
        fuel_spent_before: None,
    }
}

/// What the runs of the live rules, in their order, make of a payment.
pub fn evidence_of(
    engine: &EngineId,
    payment: Arc<Payment>,
    ruleset: Option<&ActiveRuleset>,
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

/// What is kept of one rule; without a run, of one in shadow mode.
pub fn rule_evidence(rule: &ActiveRule, facts: &[Fact], run: Option<RuleRun>) -> RuleEvidence {
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

/// The fuel that earlier rules used of the budget that all rules share.
pub(super) fn fuel_of(before: &[RuleEvidence]) -> u64 {
    before.iter().fold(0, |spent: u64, rule| spent.saturating_add(rule.fuel_used))
}

/// A rule without an answer would count as one that has nothing to say.
pub(super) async fn run(engine: &dyn RuleEngine, call: RulesetCall) -> Result<Vec<RuleRun>, EngineError> {
    let expected = call.rules.len();
    let runs = engine.evaluate(call).await?;
    if runs.len() == expected {
        Ok(runs)
    } else {
        Err(EngineError::Unavailable(format!("{} of {expected} rules were answered", runs.len())))
    }
}
