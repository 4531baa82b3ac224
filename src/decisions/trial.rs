//! A candidate ruleset on a payment whose decision is recorded.
//!
//! Recorded facts are reused, and so are results of rules that are the same: rules are pure, so the
//! same rule on the same facts has the same result. A result that the host influenced is computed
//! again, unless the candidate is compared with what was decided (see
//! [`RulesetOverlap::as_decided`]).

use std::sync::Arc;

use tokio::time::Instant;

use super::evaluate::{call_of, evidence_of};
use super::runnable_ruleset::{RunnableRule, RunnableRuleset};
use crate::domain::comparison::COMPARISON_VERSION;
use crate::domain::decision::{EngineId, Evidence};
use crate::domain::payment::Payment;
use crate::domain::plugin::Profile;
use crate::domain::ruleset::Mode;
use crate::domain::selector::Fact;
use crate::domain::tenant::TenantId;
use crate::domain::verdict::Outcome;
use crate::rules::{RuleCall, RuleRun, RulesetCall, was_starved};

/// What a candidate has in common with a recorded revision. Computed once for all decisions of that
/// revision.
#[derive(Debug)]
pub struct RulesetOverlap {
    /// For each query of the candidate, a recorded rule with the same query, and the position of
    /// the fact among that rule's.
    facts: Vec<Option<(usize, usize)>>,
    /// For each live rule of the candidate, the recorded rule that is the same.
    same_rules: Vec<Option<usize>>,
    /// Whether all rules of the candidate are small. The rules of a ruleset share a fuel budget
    /// that small rules can never use up, so only then can no rule take fuel from another.
    candidate_is_small: bool,
    as_decided: bool,
}

impl RulesetOverlap {
    /// `recorded` is the revision of the decisions; `None` if they were made without a ruleset.
    pub fn new(candidate: &RunnableRuleset, recorded: Option<&RunnableRuleset>) -> Self {
        let recorded = recorded.map_or(&[][..], |recorded| &recorded.rules);
        let facts = candidate.queries.iter().map(|query| {
            (0..).zip(recorded).find_map(|(rule, asked)| {
                let place = asked.prepared.queries.iter().position(|known| known == query)?;
                Some((rule, place))
            })
        });
        let same_rules = candidate.live_rules().map(|rule| {
            let same = |known: &RunnableRule| are_the_same(rule, known);
            let namesake = |known: &RunnableRule| known.prepared.entry.name == rule.prepared.entry.name;
            let named = recorded.iter().position(|known| namesake(known) && same(known));
            named.or_else(|| recorded.iter().position(same))
        });
        Self {
            facts: facts.collect(),
            same_rules: same_rules.collect(),
            candidate_is_small: candidate.rules.iter().all(|rule| rule.prepared.profile == Profile::Small),
            as_decided: false,
        }
    }

    /// For a comparison with what was decided. If the host stopped or skipped a rule, it would have
    /// done so to the same rule of the candidate. Running the rule now would show a change that the
    /// candidate does not make.
    pub fn as_decided(self) -> Self {
        Self { as_decided: true, ..self }
    }

    /// The recorded facts of the candidate's queries. `None` if there is none. If another version
    /// of the canonical forms was used, only `Absent` is reused, since other facts could differ
    /// now.
    pub fn recorded_facts(&self, evidence: &Evidence) -> Vec<Option<Fact>> {
        let holds = |fact: &Fact| evidence.comparison_version == COMPARISON_VERSION || *fact == Fact::Absent;
        let fact = |(rule, place): (usize, usize)| {
            evidence.rules.get(rule)?.facts.get(place).filter(|fact| holds(fact)).cloned()
        };
        self.facts.iter().map(|found| found.and_then(fact)).collect()
    }

    /// The recorded run of a live rule of the candidate, if it can be reused.
    fn known_run(
        &self,
        place: usize,
        rule: &RunnableRule,
        call: &RuleCall,
        evidence: &Evidence,
        engine: &EngineId,
    ) -> Option<RuleRun> {
        let same = (*self.same_rules.get(place)?)?;
        let recorded = evidence.rules.get(same)?;
        let result = recorded.result.clone()?;
        let holds = match &result {
            result if !result.is_reproducible() => {
                self.as_decided && recorded.name == rule.prepared.entry.name
            }
            _ => self.candidate_is_small && evidence.engine == *engine && !was_starved(&evidence.rules, same),
        };
        let usable = holds && recorded.plugin == call.plugin && recorded.facts == call.facts;
        usable.then_some(RuleRun { result, fuel_used: recorded.fuel_used, elapsed_us: 0 })
    }
}

fn are_the_same(rule: &RunnableRule, recorded: &RunnableRule) -> bool {
    rule.prepared.entry.plugin == recorded.prepared.entry.plugin
        && rule.prepared.profile == recorded.prepared.profile
        && rule.state == recorded.state
        && rule.prepared.queries == recorded.prepared.queries
        && recorded.prepared.entry.mode == Mode::Live
}

/// A candidate on one payment: the runs that are known, and the calls that are still needed.
#[derive(Debug)]
pub struct Trial {
    payment: Arc<Payment>,
    facts: Vec<Fact>,
    /// For each live rule, its run if it is known.
    known: Vec<Option<RuleRun>>,
    calls: Vec<RuleCall>,
}

impl Trial {
    /// Reuses the recorded runs of rules that are the same and had the same facts, if the engine is
    /// the same. `facts` are those of the candidate's queries.
    pub fn on_record(
        candidate: &RunnableRuleset,
        evidence: &Evidence,
        facts: Vec<Fact>,
        overlap: &RulesetOverlap,
        engine: &EngineId,
    ) -> Self {
        let payment = evidence.payment.clone();
        let mut trial = Self { payment, facts, known: Vec::new(), calls: Vec::new() };
        for (place, rule) in candidate.live_rules().enumerate() {
            let call = call_of(rule, &trial.facts);
            let run = overlap.known_run(place, rule, &call, evidence, engine);
            if run.is_none() {
                trial.calls.push(call);
            }
            trial.known.push(run);
        }
        trial
    }

    /// The call that the engine must make. `None` if all runs are known.
    pub fn call(&mut self, tenant: TenantId, deadline: Instant) -> Option<RulesetCall> {
        let rules = std::mem::take(&mut self.calls);
        let payment = self.payment.clone();
        (!rules.is_empty()).then_some(RulesetCall { tenant, payment, rules, deadline })
    }

    /// The outcome, from the runs of the call in their order. `None` if the host stopped a rule.
    pub fn conclude(
        self,
        engine: &EngineId,
        candidate: &RunnableRuleset,
        runs: Vec<RuleRun>,
    ) -> Option<(Outcome, Evidence)> {
        let mut runs = runs.into_iter();
        let mut all = Vec::with_capacity(self.known.len());
        for known in self.known {
            let run = match known {
                Some(run) => run,
                None => runs.next().filter(|run| run.result.is_reproducible())?,
            };
            all.push(run);
        }
        Some(evidence_of(engine, self.payment, Some(candidate), &self.facts, all))
    }
}

#[cfg(test)]
#[path = "trial_tests.rs"]
mod tests;
