//! The shadow runs of one stored decision.
//!
//! A run that the host stopped is left out, since it says nothing about the rule.

use tokio::time::Instant;

use super::super::evaluate::call_of;
use super::super::trial::Trial;
use super::task::ShadowTask;
use crate::domain::decision::{EngineId, Evidence, RuleEvidence};
use crate::domain::ruleset::Mode;
use crate::domain::shadow::{ShadowEvidence, ShadowKind, ShadowRun};
use crate::domain::verdict::{FoldResult, Outcome, OutcomeReason};
use crate::rules::{RuleCall, RuleRun, RulesetCall};

#[derive(Debug)]
pub struct ShadowTrial {
    task: ShadowTask,
    /// Whether the deciding revision has rules in shadow mode.
    rules: bool,
    /// The trial of the shadow revision, and whether it needs a call.
    trial: Option<(Trial, bool)>,
}

impl ShadowTrial {
    pub fn new(task: ShadowTask, engine: &EngineId) -> Self {
        let path = task.path();
        let evidence = &task.decision.decision.evidence;
        let trial = path.shadow.as_ref().zip(path.overlap.as_ref()).map(|(shadow, overlap)| {
            let facts = path.shadow_facts(&task.facts);
            (Trial::on_record(shadow, evidence, facts, overlap, engine), false)
        });
        let rules = path.ruleset.has_shadow_rules();
        Self { task, rules, trial }
    }

    /// The calls that the engine must make.
    pub fn calls(&mut self, deadline: Instant) -> Vec<RulesetCall> {
        let tenant = self.task.tenant();
        let mut calls = Vec::new();
        if self.rules {
            let payment = self.task.decision.decision.evidence.payment.clone();
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
        let path = self.task.path();
        let facts = path.own_facts(&self.task.facts);
        let shadow = path.ruleset.rules.iter().filter(|rule| rule.prepared.entry.mode == Mode::Shadow);
        shadow.map(|rule| call_of(rule, facts)).collect()
    }

    /// Adds the runs to `runs`, from the results of the calls in their order. Returns how many runs
    /// were expected; those that the host stopped are missing.
    pub fn conclude(
        self,
        engine: &EngineId,
        answers: &mut impl Iterator<Item = Vec<RuleRun>>,
        runs: &mut Vec<ShadowRun>,
    ) -> usize {
        let Self { task, rules, trial } = self;
        let path = task.path();
        let expected = usize::from(rules) + usize::from(trial.is_some());
        if rules {
            let run = answers.next().and_then(|ran| with_shadow_rules(&task, engine, ran));
            let number = path.ruleset.revision.number;
            runs.extend(run.map(|(would_be, run)| run_of(&task, ShadowKind::Rules, number, would_be, run)));
        }
        if let (Some((trial, called)), Some(shadow)) = (trial, &path.shadow) {
            let ran = if called { answers.next().unwrap_or_default() } else { Vec::new() };
            let run = trial.conclude(engine, shadow, ran).map(|(would_be, evidence)| {
                let live = evidence.rules.into_iter().filter(|rule| rule.result.is_some()).collect();
                (would_be, evidence_of(engine, evidence.fold_version, live, evidence.reasons))
            });
            let number = shadow.revision.number;
            runs.extend(
                run.map(|(would_be, run)| run_of(&task, ShadowKind::Revision, number, would_be, run)),
            );
        }
        expected
    }
}

/// The outcome if the rules in shadow mode were live as well. The results of the other rules are
/// those recorded.
fn with_shadow_rules(
    task: &ShadowTask,
    engine: &EngineId,
    ran: Vec<RuleRun>,
) -> Option<(Outcome, ShadowEvidence)> {
    let mut evidence: Evidence = task.decision.decision.evidence.clone();
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
    task: &ShadowTask,
    kind: ShadowKind,
    revision: i32,
    would_be: Outcome,
    evidence: ShadowEvidence,
) -> ShadowRun {
    let decision = &task.decision.decision;
    let payment = &decision.evidence.payment;
    ShadowRun {
        tenant: task.tenant(),
        kind,
        revision,
        payment: payment.id,
        decided_revision: task.path().ruleset.revision.number,
        received_at_ms: payment.received_at_ms,
        decided: decision.outcome,
        would_be,
        amount: payment.order.amount,
        evidence,
    }
}
