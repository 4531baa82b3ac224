//! One stored decision and what is tried on it.
//!
//! Owns what the outcome would have been. Must never judge by what the host did:
//! such a run is not told at all.

use tokio::time::Instant;

use super::super::evaluate::call_of;
use super::super::trial::Trial;
use super::due::Due;
use crate::domain::decision::{EngineId, Evidence, RuleEvidence};
use crate::domain::ruleset::Mode;
use crate::domain::shadow::{ShadowEvidence, ShadowKind, ShadowRun};
use crate::domain::verdict::{FoldResult, Outcome, OutcomeReason};
use crate::rules::{RuleCall, RuleRun, RulesetCall};

#[derive(Debug)]
pub struct Attempt {
    due: Due,
    /// Whether the deciding revision has rules in shadow mode.
    rules: bool,
    /// The shadow revision, and whether it has to be called at all.
    trial: Option<(Trial, bool)>,
}

impl Attempt {
    pub fn new(due: Due, engine: &EngineId) -> Self {
        let course = due.course();
        let evidence = &due.decision.decision.evidence;
        let trial = course.shadow.as_ref().zip(course.likeness.as_ref()).map(|(shadow, likeness)| {
            let facts = course.shadow_facts(&due.facts);
            (Trial::on_record(shadow, evidence, facts, likeness, engine), false)
        });
        let rules = course.ruleset.has_shadow_rules();
        Self { due, rules, trial }
    }

    /// What the engine has to do.
    pub fn calls(&mut self, deadline: Instant) -> Vec<RulesetCall> {
        let tenant = self.due.tenant();
        let mut calls = Vec::new();
        if self.rules {
            let payment = self.due.decision.decision.evidence.payment.clone();
            calls.push(RulesetCall { tenant, payment, rules: self.shadow_rules(), deadline });
        }
        if let Some((trial, called)) = &mut self.trial {
            let call = trial.call(tenant, deadline);
            *called = call.is_some();
            calls.extend(call);
        }
        calls
    }

    fn shadow_rules(&self) -> Vec<RuleCall> {
        let course = self.due.course();
        let facts = course.own_facts(&self.due.facts);
        let shadow = course.ruleset.rules.iter().filter(|rule| rule.prepared.entry.mode == Mode::Shadow);
        shadow.map(|rule| call_of(rule, facts)).collect()
    }

    /// Takes its answers, in the order of its calls, and says how many runs it
    /// had to give; those that came to nothing are missing.
    pub fn conclude(
        self,
        engine: &EngineId,
        answers: &mut impl Iterator<Item = Vec<RuleRun>>,
        runs: &mut Vec<ShadowRun>,
    ) -> usize {
        let Self { due, rules, trial } = self;
        let course = due.course();
        let tried = usize::from(rules) + usize::from(trial.is_some());
        if rules {
            let told = answers.next().and_then(|ran| with_shadow_rules(&due, engine, ran));
            let number = course.ruleset.revision.number;
            runs.extend(told.map(|(would_be, told)| run_of(&due, ShadowKind::Rules, number, would_be, told)));
        }
        if let (Some((trial, called)), Some(shadow)) = (trial, &course.shadow) {
            let ran = if called { answers.next().unwrap_or_default() } else { Vec::new() };
            let told = trial.conclude(engine, shadow, ran).map(|(would_be, evidence)| {
                let live = evidence.rules.into_iter().filter(|rule| rule.result.is_some()).collect();
                (would_be, evidence_of(engine, evidence.fold_version, live, evidence.reasons))
            });
            let number = shadow.revision.number;
            runs.extend(
                told.map(|(would_be, told)| run_of(&due, ShadowKind::Revision, number, would_be, told)),
            );
        }
        tried
    }
}

/// The outcome if the rules in shadow mode were live as well: what the others
/// said stands as recorded.
fn with_shadow_rules(due: &Due, engine: &EngineId, ran: Vec<RuleRun>) -> Option<(Outcome, ShadowEvidence)> {
    let mut evidence: Evidence = due.decision.decision.evidence.clone();
    let mut ran = ran.into_iter();
    for rule in evidence.rules.iter_mut().filter(|rule| rule.mode == Mode::Shadow) {
        let run = ran.next().filter(|run| run.result.is_reproducible())?;
        rule.result = Some(run.result);
        rule.fuel_used = run.fuel_used;
        rule.elapsed_us = run.elapsed_us;
    }
    let FoldResult { outcome, reasons } = evidence.fold();
    let shadow = evidence.rules.into_iter().filter(|rule| rule.mode == Mode::Shadow).collect();
    Some((outcome, evidence_of(engine, evidence.fold_version, shadow, reasons)))
}

fn evidence_of(
    engine: &EngineId,
    fold_version: u16,
    rules: Vec<RuleEvidence>,
    reasons: Vec<OutcomeReason>,
) -> ShadowEvidence {
    ShadowEvidence { engine: engine.clone(), fold_version, rules, reasons }
}

fn run_of(
    due: &Due,
    kind: ShadowKind,
    revision: i32,
    would_be: Outcome,
    evidence: ShadowEvidence,
) -> ShadowRun {
    let decision = &due.decision.decision;
    let payment = &decision.evidence.payment;
    ShadowRun {
        tenant: due.tenant(),
        kind,
        revision,
        payment: payment.id,
        decided_revision: due.course().ruleset.revision.number,
        received_at_ms: payment.received_at_ms,
        decided: decision.outcome,
        would_be,
        amount: payment.order.amount,
        evidence,
    }
}
