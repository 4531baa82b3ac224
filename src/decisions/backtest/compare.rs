//! A part of a history compared: what was, and what would be.
//!
//! Owns the way from stored rows to a report. Must never guess: a decision
//! that cannot be computed is counted as such, with the reason.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use backon::{ExponentialBuilder, Retryable};
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::Trouble;
use super::connections::Connections;
use crate::decisions::active_ruleset::ActiveRuleset;
use crate::decisions::plugins::Plugins;
use crate::decisions::trial::{Likeness, Trial};
use crate::domain::backtest::report::{
    BacktestReport, ComparisonSide, DecisionComparison, ReplayObstacle, VerdictKind,
};
use crate::domain::decision::{Evidence, RevisionReference};
use crate::domain::plugin::Digest;
use crate::domain::ruleset::{DecisionPoint, Mode, Revision};
use crate::domain::selector::Fact;
use crate::domain::tenant::TenantId;
use crate::domain::verdict::Outcome;
use crate::rules::{EngineError, RuleEngine, RuleRun, RulesetCall};
use crate::storage::decisions::history::HistoryRow;
use crate::storage::facts::{self, FactRequest};
use crate::storage::{StorageError, evidence, rulesets};

/// Payments of one call of the engine, which holds one of its threads.
const CALLS_AT_ONCE: usize = 32;

/// Whoever waits longer has lost its lease: no call is waited for that long.
const DEADLINE: Duration = Duration::from_secs(3_600);

/// How often a payment is tried on which the host stopped a rule.
const HOST_ATTEMPTS: usize = 3;

/// How often the engine is asked that cannot serve, each time after twice as long.
const ENGINE_BACKOFF: ExponentialBuilder =
    ExponentialBuilder::new().with_min_delay(Duration::from_millis(50)).without_max_delay().with_max_times(7);

/// Recorded revisions whose likeness is kept.
const LIKENESSES_MAX: usize = 100;

/// The rulesets that are tried beside one recorded revision, in their order.
type Likenesses = Vec<Likeness>;

#[derive(Debug)]
pub(super) struct Comparison {
    pub tenant: TenantId,
    pub engine: Arc<dyn RuleEngine>,
    pub plugins: Arc<Plugins>,
    pub connections: Connections,
    /// The candidate, then the baseline where it is run again.
    tried: Vec<ActiveRuleset>,
    /// By the revision that decided. Nothing for one that cannot be read.
    likenesses: Mutex<HashMap<Option<RevisionReference>, Option<Arc<Likenesses>>>>,
}

/// A decision whose record can be read.
struct Recorded {
    row: HistoryRow,
    evidence: Evidence,
    likenesses: Arc<Likenesses>,
}

/// A decision with everything that is tried on it.
struct Tried {
    recorded: Recorded,
    partly_computed: bool,
    /// For each ruleset, with the place of its call among all calls.
    trials: Vec<(Trial, Option<usize>)>,
}

impl Comparison {
    pub async fn prepare(
        tenant: TenantId,
        engine: Arc<dyn RuleEngine>,
        plugins: Arc<Plugins>,
        connections: Connections,
        revisions: impl IntoIterator<Item = i32>,
    ) -> Result<Self, Trouble> {
        let mut tried = Vec::new();
        for number in revisions {
            let found = revision(&connections, tenant, number).await?;
            let missing = || Trouble::Lasting(format!("revision {number} cannot be read"));
            tried.push(ActiveRuleset::new(without_shadow_rules(found.ok_or_else(missing)?)));
        }
        let likenesses = Mutex::default();
        let comparison = Self { tenant, engine, plugins, connections, tried, likenesses };
        comparison.load_plugins().await?;
        Ok(comparison)
    }

    async fn load_plugins(&self) -> Result<(), StorageError> {
        let rules = self.tried.iter().flat_map(ActiveRuleset::live_rules);
        let digests: BTreeSet<Digest> = rules.map(|rule| rule.prepared.entry.plugin).collect();
        for digest in digests {
            let plugins = self.plugins.clone();
            self.connections.run(|_| async move { plugins.ensure_loaded(digest).await }).await?;
        }
        Ok(())
    }

    /// Counts the rows in their order.
    pub async fn compare(&self, rows: Vec<HistoryRow>) -> Result<BacktestReport, Trouble> {
        let mut report = BacktestReport::default();
        let mut recorded = Vec::with_capacity(rows.len());
        for row in rows {
            match self.read(row).await? {
                Ok(decision) => recorded.push(decision),
                Err(why) => report.count_not_replayable(why),
            }
        }
        let mut calls = Vec::new();
        let tried = self.try_all(recorded, &mut calls).await?;
        let mut runs = self.evaluate_all(calls).await?;
        for decision in tried {
            self.count(&mut report, decision, &mut runs);
        }
        Ok(report)
    }

    async fn read(&self, mut row: HistoryRow) -> Result<Result<Recorded, ReplayObstacle>, StorageError> {
        let Some(payload) = row.payload.take() else { return Ok(Err(ReplayObstacle::Erased)) };
        let Ok(evidence) = evidence::decode(row.payload_version, &payload) else {
            return Ok(Err(ReplayObstacle::Unreadable));
        };
        let likenesses = self.likenesses_of(evidence.revision).await?;
        Ok(match likenesses {
            Some(likenesses) => Ok(Recorded { row, evidence, likenesses }),
            None => Err(ReplayObstacle::Unreadable),
        })
    }

    async fn likenesses_of(
        &self,
        reference: Option<RevisionReference>,
    ) -> Result<Option<Arc<Likenesses>>, StorageError> {
        let mut known = self.likenesses.lock().await;
        if let Some(likenesses) = known.get(&reference) {
            return Ok(likenesses.clone());
        }
        let likenesses = match reference {
            None => Some(self.likenesses_beside(None)),
            Some(reference) => {
                let found = match revision(&self.connections, self.tenant, reference.number).await {
                    Err(StorageError::Unreadable { .. }) => None,
                    found => found?.filter(|found| found.digest == reference.digest),
                };
                found.map(|found| self.likenesses_beside(Some(&ActiveRuleset::new(found))))
            }
        };
        if known.len() >= LIKENESSES_MAX {
            known.clear();
        }
        known.insert(reference, likenesses.clone());
        Ok(likenesses)
    }

    fn likenesses_beside(&self, recorded: Option<&ActiveRuleset>) -> Arc<Likenesses> {
        let run_again = self.tried.len() > 1;
        let likeness = |tried| {
            let likeness = Likeness::new(tried, recorded);
            if run_again { likeness } else { likeness.as_decided() }
        };
        Arc::new(self.tried.iter().map(likeness).collect())
    }

    /// Finds the facts of all, those that are not on record in one statement,
    /// and what has to run.
    async fn try_all(
        &self,
        recorded: Vec<Recorded>,
        calls: &mut Vec<RulesetCall>,
    ) -> Result<Vec<Tried>, Trouble> {
        let known: Vec<Vec<Vec<Option<Fact>>>> = recorded
            .iter()
            .map(|decision| {
                let likenesses = decision.likenesses.iter();
                likenesses.map(|likeness| likeness.recorded_facts(&decision.evidence)).collect()
            })
            .collect();
        let mut asking = Vec::new();
        let mut requests = Vec::new();
        for (decision, known) in recorded.iter().zip(&known) {
            let request = self.request_of(decision, known);
            asking.push(request.is_some());
            requests.extend(request);
        }
        let mut answers = self.facts(requests).await?.into_iter();
        let deadline = Instant::now() + DEADLINE;
        let mut all = Vec::with_capacity(recorded.len());
        for ((recorded, known), partly_computed) in recorded.into_iter().zip(known).zip(asking) {
            let answered = if partly_computed { answers.next().unwrap_or_default() } else { Vec::new() };
            let mut computed = answered.into_iter();
            let mut trials = Vec::with_capacity(self.tried.len());
            for ((ruleset, likeness), known) in self.tried.iter().zip(recorded.likenesses.iter()).zip(known) {
                let facts: Option<Vec<Fact>> =
                    known.into_iter().map(|fact| fact.or_else(|| computed.next())).collect();
                let facts = facts.ok_or(StorageError::Unreadable { what: "fact" })?;
                let mut trial =
                    Trial::on_record(ruleset, &recorded.evidence, facts, likeness, self.engine.id());
                let place = trial.call(self.tenant, deadline).map(|call| {
                    calls.push(call);
                    calls.len() - 1
                });
                trials.push((trial, place));
            }
            all.push(Tried { recorded, partly_computed, trials });
        }
        Ok(all)
    }

    /// What is not on record, for all rulesets; nothing when all is.
    fn request_of(&self, decision: &Recorded, known: &[Vec<Option<Fact>>]) -> Option<FactRequest> {
        let missing = self.tried.iter().zip(known).flat_map(|(ruleset, known)| {
            let queries = ruleset.queries.iter().zip(known);
            queries.filter(|(_, fact)| fact.is_none()).map(|(query, _)| query.clone())
        });
        let queries: Vec<_> = missing.collect();
        (!queries.is_empty()).then(|| FactRequest {
            tenant: self.tenant,
            payment: decision.evidence.payment.clone(),
            queries: queries.into(),
            in_flight: Vec::new(),
            key: None,
        })
    }

    async fn facts(&self, requests: Vec<FactRequest>) -> Result<Vec<Vec<Fact>>, StorageError> {
        if requests.is_empty() {
            return Ok(Vec::new());
        }
        let answers =
            self.connections.run(move |system| async move { facts::look_up_many(&system, requests).await });
        Ok(answers.await?.into_iter().map(|answer| answer.facts).collect())
    }

    /// One answer for each call; what the host stopped is tried again, and left as it is in the end.
    async fn evaluate_all(&self, calls: Vec<RulesetCall>) -> Result<Vec<Vec<RuleRun>>, Trouble> {
        let mut runs: Vec<Vec<RuleRun>> = vec![Vec::new(); calls.len()];
        let mut due: Vec<usize> = (0..calls.len()).collect();
        for attempt in 0..HOST_ATTEMPTS {
            if attempt > 0 {
                // The compiled code may have made room for another's.
                self.load_plugins().await?;
            }
            for part in due.chunks(CALLS_AT_ONCE) {
                let asked = part.iter().map(|place| calls[*place].clone()).collect();
                for (place, answer) in part.iter().zip(self.evaluate(asked).await?) {
                    runs[*place] = answer;
                }
            }
            due.retain(|place| !runs[*place].iter().all(|run| run.result.is_reproducible()));
            if due.is_empty() {
                break;
            }
        }
        Ok(runs)
    }

    async fn evaluate(&self, calls: Vec<RulesetCall>) -> Result<Vec<Vec<RuleRun>>, EngineError> {
        let expected = calls.len();
        let attempt = || async {
            let answers = self.engine.evaluate_in_background(calls.clone()).await?;
            if answers.len() == expected {
                return Ok(answers);
            }
            let why = format!("{} of {expected} payments were answered", answers.len());
            Err(EngineError::Unavailable(why))
        };
        attempt.retry(ENGINE_BACKOFF).await
    }

    fn count(&self, report: &mut BacktestReport, decision: Tried, runs: &mut [Vec<RuleRun>]) {
        let Tried { recorded: Recorded { row, evidence, .. }, partly_computed, trials } = decision;
        let mut concluded = Vec::with_capacity(trials.len());
        for (ruleset, (trial, place)) in self.tried.iter().zip(trials) {
            let runs = place.and_then(|place| runs.get_mut(place)).map(std::mem::take).unwrap_or_default();
            match trial.conclude(self.engine.id(), ruleset, runs) {
                Some(tried) => concluded.push(tried),
                None => return report.count_not_replayable(ReplayObstacle::HostFailure),
            }
        }
        let mut concluded = concluded.into_iter();
        let Some(would_be) = concluded.next() else { return };
        let run_again = concluded.next();
        let was_recorded = run_again.is_none();
        let was = run_again.unwrap_or((row.outcome, evidence));
        report.count(DecisionComparison {
            payment: row.id.0,
            amount_minor: row.amount_minor,
            currency: &row.currency,
            label: row.label,
            was: side(&was),
            would_be: side(&would_be),
            was_recorded,
            partly_computed,
        });
    }
}

async fn revision(
    connections: &Connections,
    tenant: TenantId,
    number: i32,
) -> Result<Option<Revision>, StorageError> {
    let point = DecisionPoint::Payment;
    connections
        .run(move |system| async move { rulesets::revision_any(&system, tenant, point, number).await })
        .await
}

/// What runs without effect has no part in a comparison, and its facts are not asked for.
fn without_shadow_rules(mut revision: Revision) -> Revision {
    revision.rules.retain(|rule| rule.entry.mode == Mode::Live);
    revision
}

fn side((outcome, evidence): &(Outcome, Evidence)) -> ComparisonSide<'_> {
    let ran = evidence.rules.iter().filter_map(|rule| {
        let result = rule.result.as_ref()?;
        Some((rule.name.as_str(), VerdictKind::from(result)))
    });
    ComparisonSide { outcome: *outcome, reasons: &evidence.reasons, rules: ran.collect() }
}
