//! One ruleset on one payment with its facts: the computation that live
//! decisions, and everything that tries rules, share.
//!
//! Owns the way from facts to evidence. Must never read the database, a clock
//! or anything else that is not among its arguments.

use std::sync::Arc;

use tokio::time::Instant;

use super::active::{ActiveRule, ActiveRuleset};
use crate::domain::decision::{Evidence, RuleEvidence};
use crate::domain::payment::Payment;
use crate::domain::ruleset::Mode;
use crate::domain::selector::Fact;
use crate::domain::tenant::TenantId;
use crate::domain::verdict::{FOLD_VERSION, Folded, Outcome};
use crate::rules::{EngineError, RuleCall, RuleEngine, RuleRun, RulesetCall};

/// Runs the live rules and folds their verdicts. `facts` answer
/// `ruleset.queries`, one for one; without a ruleset there are none.
pub async fn evaluate(
    engine: &dyn RuleEngine,
    tenant: TenantId,
    payment: Arc<Payment>,
    ruleset: Option<&ActiveRuleset>,
    facts: &[Fact],
    deadline: Instant,
) -> Result<(Outcome, Evidence), EngineError> {
    let facts_of =
        |rule: &ActiveRule| -> Vec<Fact> { rule.fact_places.iter().map(|place| facts[*place]).collect() };
    let calls: Vec<RuleCall> = ruleset
        .iter()
        .flat_map(|ruleset| ruleset.live_rules())
        .map(|rule| RuleCall {
            plugin: rule.prepared.entry.plugin,
            profile: rule.prepared.profile,
            state: rule.state.clone(),
            facts: facts_of(rule),
            fuel_spent_before: None,
        })
        .collect();
    let runs = if calls.is_empty() {
        Vec::new()
    } else {
        run(engine, RulesetCall { tenant, payment: payment.clone(), rules: calls, deadline }).await?
    };
    let mut runs = runs.into_iter();
    let rules = ruleset
        .iter()
        .flat_map(|ruleset| &ruleset.rules)
        .map(|rule| {
            let entry = &rule.prepared.entry;
            let run = if entry.mode == Mode::Live { runs.next() } else { None };
            let (fuel_used, elapsed_us) = run.as_ref().map_or((0, 0), |run| (run.fuel_used, run.elapsed_us));
            RuleEvidence {
                name: entry.name.clone(),
                plugin: entry.plugin,
                profile: rule.prepared.profile,
                on_failure: entry.on_failure,
                overridable: entry.overridable,
                mode: entry.mode,
                facts: facts_of(rule),
                result: run.map(|run| run.result),
                fuel_used,
                elapsed_us,
            }
        })
        .collect();
    let mut evidence = Evidence {
        payment: Arc::unwrap_or_clone(payment),
        revision: ruleset.map(|ruleset| ruleset.revision),
        rules,
        engine: engine.id().clone(),
        fold_version: FOLD_VERSION,
        reasons: Vec::new(),
    };
    let Folded { outcome, reasons } = evidence.fold();
    evidence.reasons = reasons;
    Ok((outcome, evidence))
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
