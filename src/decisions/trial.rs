//! A candidate ruleset on a payment whose decision is on record.
//!
//! Owns what may be taken from the record: facts that were asked for then, and
//! the results of rules that are the same. Rules are pure, so the same rule on
//! the same facts says the same. Must never guess: what is not on record is
//! told as missing, and a result that the host had a part in is computed anew,
//! except where the question is what would have become of it then.

use std::sync::Arc;

use tokio::time::Instant;

use super::active_ruleset::{ActiveRule, ActiveRuleset};
use super::evaluate::{call_of, evidence_of};
use crate::domain::comparison::COMPARISON_VERSION;
use crate::domain::decision::{EngineId, Evidence};
use crate::domain::payment::Payment;
use crate::domain::plugin::Profile;
use crate::domain::ruleset::Mode;
use crate::domain::selector::Fact;
use crate::domain::tenant::TenantId;
use crate::domain::verdict::Outcome;
use crate::rules::{RuleCall, RuleRun, RulesetCall, was_starved};

/// A candidate beside a revision that decided: worked out once, used for every
/// decision of that revision.
#[derive(Debug)]
pub struct Likeness {
    /// For each query of the candidate, the recorded rule that asked the same,
    /// and where in its facts the answer stands.
    facts: Vec<Option<(usize, usize)>>,
    /// For each live rule of the candidate, the recorded rule that is the same.
    same_rules: Vec<Option<usize>>,
    /// The budget of a ruleset is shared. Small rules can never use it up, so
    /// that only among them the fuel of one says nothing about another.
    candidate_is_small: bool,
    as_decided: bool,
}

impl Likeness {
    /// `recorded` must be the revision of the decisions it is used for; nothing
    /// for those that were made without a ruleset.
    pub fn new(candidate: &ActiveRuleset, recorded: Option<&ActiveRuleset>) -> Self {
        let recorded = recorded.map_or(&[][..], |recorded| &recorded.rules);
        let facts = candidate.queries.iter().map(|query| {
            (0..).zip(recorded).find_map(|(rule, asked)| {
                let place = asked.prepared.queries.iter().position(|known| known == query)?;
                Some((rule, place))
            })
        });
        let same_rules = candidate.live_rules().map(|rule| {
            let same = |known: &ActiveRule| are_the_same(rule, known);
            let namesake = |known: &ActiveRule| known.prepared.entry.name == rule.prepared.entry.name;
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

    /// For the comparison with what was decided: what the host did to a rule then,
    /// it would have done to the same rule of the candidate. Run now instead, the
    /// host's doing would pass for a change that the candidate makes.
    pub fn as_decided(self) -> Self {
        Self { as_decided: true, ..self }
    }

    /// The recorded answers to the candidate's queries. Where values were compared by
    /// another version then, only `Absent` is taken over: other answers could differ now.
    pub fn recorded_facts(&self, evidence: &Evidence) -> Vec<Option<Fact>> {
        let holds = |fact: &Fact| evidence.comparison_version == COMPARISON_VERSION || *fact == Fact::Absent;
        let fact =
            |(rule, place): (usize, usize)| evidence.rules.get(rule)?.facts.get(place).copied().filter(holds);
        self.facts.iter().map(|found| found.and_then(fact)).collect()
    }

    /// The run of a live rule of the candidate, as it is on record.
    fn known_run(
        &self,
        place: usize,
        rule: &ActiveRule,
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

fn are_the_same(rule: &ActiveRule, recorded: &ActiveRule) -> bool {
    rule.prepared.entry.plugin == recorded.prepared.entry.plugin
        && rule.prepared.profile == recorded.prepared.profile
        && rule.state == recorded.state
        && rule.prepared.queries == recorded.prepared.queries
        && recorded.prepared.entry.mode == Mode::Live
}

/// A candidate on one payment: what has to run, and what is known already.
#[derive(Debug)]
pub struct Trial {
    payment: Arc<Payment>,
    facts: Vec<Fact>,
    /// For each live rule, its run where it is known.
    known: Vec<Option<RuleRun>>,
    calls: Vec<RuleCall>,
}

impl Trial {
    /// Takes over what the record holds of rules that are the same and were given
    /// the same, if this engine is the one that ran them. `facts` answer the
    /// candidate's queries.
    pub fn on_record(
        candidate: &ActiveRuleset,
        evidence: &Evidence,
        facts: Vec<Fact>,
        likeness: &Likeness,
        engine: &EngineId,
    ) -> Self {
        let payment = evidence.payment.clone();
        let mut trial = Self { payment, facts, known: Vec::new(), calls: Vec::new() };
        for (place, rule) in candidate.live_rules().enumerate() {
            let call = call_of(rule, &trial.facts);
            let run = likeness.known_run(place, rule, &call, evidence, engine);
            if run.is_none() {
                trial.calls.push(call);
            }
            trial.known.push(run);
        }
        trial
    }

    /// What the engine has to do; nothing when all is known.
    pub fn call(&mut self, tenant: TenantId, deadline: Instant) -> Option<RulesetCall> {
        let rules = std::mem::take(&mut self.calls);
        let payment = self.payment.clone();
        (!rules.is_empty()).then_some(RulesetCall { tenant, payment, rules, deadline })
    }

    /// The outcome, from the runs of what [`Self::call`] asked for, in its order.
    /// Nothing when the host stopped a rule: that says nothing about the rule.
    pub fn conclude(
        self,
        engine: &EngineId,
        candidate: &ActiveRuleset,
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
