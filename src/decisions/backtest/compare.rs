//! Compares stored decisions with what a candidate would have decided.
//!
//! A decision that cannot be computed again is counted with the reason, and never guessed.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use backon::{ExponentialBuilder, Retryable};
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::BacktestError;
use super::connections::Connections;
use crate::decisions::plugins::Plugins;
use crate::decisions::runnable_ruleset::RunnableRuleset;
use crate::decisions::trial::{RulesetOverlap, Trial};
use crate::domain::backtest::report::{
    BacktestReport, ComparisonSide, DecisionComparison, ReplayObstacle, VerdictKind,
};
use crate::domain::decision::{Evidence, RevisionReference};
use crate::domain::plugin::Digest;
use crate::domain::ruleset::{DecisionPoint, Mode, Revision};
use crate::domain::selector::Fact;
use crate::domain::series::{AskedSeries, Series};
use crate::domain::tenant::TenantId;
use crate::domain::verdict::Outcome;
use crate::rules::{EngineError, RuleEngine, RuleRun, RulesetCall};
use crate::storage::decisions::history::HistoryRow;
use crate::storage::facts::{self, FactRequest, KnownFacts};
use crate::storage::reference::ReferenceMemory;
use crate::storage::{StorageError, evidence, rulesets, series};

/// Payments in one call of the engine. A call occupies one of its threads.
const CALLS_AT_ONCE: usize = 32;

/// Never reached: the turn of the backtest ends long before.
const DEADLINE: Duration = Duration::from_secs(3_600);

/// Attempts for a payment on which the host stops a rule.
const HOST_ATTEMPTS: usize = 3;

/// The backoff while the engine is unavailable.
const ENGINE_BACKOFF: ExponentialBuilder =
    ExponentialBuilder::new().with_min_delay(Duration::from_millis(50)).without_max_delay().with_max_times(7);

/// Recorded revisions whose overlaps are kept.
const OVERLAPS_MAX: usize = 100;

/// The overlap of each candidate with one recorded revision, in the order of the candidates.
type RulesetOverlaps = Vec<RulesetOverlap>;

#[derive(Debug)]
pub(super) struct HistoryComparison {
    pub tenant: TenantId,
    pub engine: Arc<dyn RuleEngine>,
    pub plugins: Arc<Plugins>,
    pub connections: Connections,
    pub reference: Arc<ReferenceMemory>,
    /// The candidate, then the baseline if that is run again.
    candidates: Vec<RunnableRuleset>,
    /// By the revision that decided. The value is `None` if that revision cannot be read.
    overlaps: Mutex<HashMap<Option<RevisionReference>, Option<Arc<RulesetOverlaps>>>>,
}

/// A row of the history.
enum HistoryDecision {
    Recorded(Box<RecordedDecision>),
    NotReplayable(ReplayObstacle),
}

/// A decision whose record can be read.
struct RecordedDecision {
    row: HistoryRow,
    evidence: Evidence,
    overlaps: Arc<RulesetOverlaps>,
}

/// A decision with the trials of all candidates.
struct DecisionTrials {
    recorded: RecordedDecision,
    partly_computed: bool,
    /// For each candidate, with the position of its call among all calls.
    trials: Vec<(Trial, Option<usize>)>,
}

impl HistoryComparison {
    pub async fn prepare(
        tenant: TenantId,
        engine: Arc<dyn RuleEngine>,
        plugins: Arc<Plugins>,
        connections: Connections,
        reference: Arc<ReferenceMemory>,
        revisions: impl IntoIterator<Item = i32>,
    ) -> Result<Self, BacktestError> {
        let mut candidates = Vec::new();
        for number in revisions {
            let found = revision(&connections, tenant, number).await?;
            let missing = || BacktestError::Permanent(format!("revision {number} cannot be read"));
            candidates.push(RunnableRuleset::new(without_shadow_rules(found.ok_or_else(missing)?)));
        }
        let overlaps = Mutex::default();
        let comparison = Self { tenant, engine, plugins, connections, reference, candidates, overlaps };
        comparison.load_plugins().await?;
        Ok(comparison)
    }

    async fn load_plugins(&self) -> Result<(), StorageError> {
        let rules = self.candidates.iter().flat_map(RunnableRuleset::live_rules);
        let digests: BTreeSet<Digest> = rules.map(|rule| rule.prepared.entry.plugin).collect();
        for digest in digests {
            let plugins = self.plugins.clone();
            self.connections.run(|_| async move { plugins.ensure_loaded(digest).await }).await?;
        }
        Ok(())
    }

    /// The series of the candidates by which earlier payments are not counted yet.
    pub async fn unknown_series(&self) -> Result<Vec<AskedSeries>, BacktestError> {
        let queries = self.candidates.iter().flat_map(|candidate| &candidate.queries);
        let mut asked = AskedSeries::of(queries);
        let series: Vec<Series> = asked.iter().map(|asked| asked.series.clone()).collect();
        let tenant = self.tenant;
        let reading = move |system| {
            let series = series.clone();
            async move { series::progress_in_background(&system, tenant, series).await }
        };
        let unknown = self.connections.run(reading).await?.unknown;
        asked.retain(|asked| unknown.contains(&asked.series));
        Ok(asked)
    }

    /// Compares the rows and returns the report on them.
    pub async fn compare(&self, rows: Vec<HistoryRow>) -> Result<BacktestReport, BacktestError> {
        let mut report = BacktestReport::default();
        let mut recorded = Vec::with_capacity(rows.len());
        for row in rows {
            match self.read(row).await? {
                HistoryDecision::Recorded(decision) => recorded.push(*decision),
                HistoryDecision::NotReplayable(why) => report.count_not_replayable(why),
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

    async fn read(&self, mut row: HistoryRow) -> Result<HistoryDecision, StorageError> {
        let Some(payload) = row.payload.take() else {
            return Ok(HistoryDecision::NotReplayable(ReplayObstacle::Erased));
        };
        let Ok(evidence) = evidence::decode(row.payload_version, &payload) else {
            return Ok(HistoryDecision::NotReplayable(ReplayObstacle::Unreadable));
        };
        let overlaps = self.overlaps_of(evidence.revision).await?;
        Ok(match overlaps {
            Some(overlaps) => {
                HistoryDecision::Recorded(Box::new(RecordedDecision { row, evidence, overlaps }))
            }
            None => HistoryDecision::NotReplayable(ReplayObstacle::Unreadable),
        })
    }

    async fn overlaps_of(
        &self,
        reference: Option<RevisionReference>,
    ) -> Result<Option<Arc<RulesetOverlaps>>, StorageError> {
        let mut known = self.overlaps.lock().await;
        if let Some(overlaps) = known.get(&reference) {
            return Ok(overlaps.clone());
        }
        let overlaps = match reference {
            None => Some(self.overlaps_with(None)),
            Some(reference) => {
                let found = match revision(&self.connections, self.tenant, reference.number).await {
                    Err(StorageError::Unreadable { .. }) => None,
                    found => found?.filter(|found| found.digest == reference.digest),
                };
                found.map(|found| self.overlaps_with(Some(&RunnableRuleset::new(found))))
            }
        };
        if known.len() >= OVERLAPS_MAX {
            known.clear();
        }
        known.insert(reference, overlaps.clone());
        Ok(overlaps)
    }

    fn overlaps_with(&self, recorded: Option<&RunnableRuleset>) -> Arc<RulesetOverlaps> {
        let run_again = self.candidates.len() > 1;
        let overlap = |tried| {
            let overlap = RulesetOverlap::new(tried, recorded);
            if run_again { overlap } else { overlap.as_decided() }
        };
        Arc::new(self.candidates.iter().map(overlap).collect())
    }

    /// Prepares the trials of all decisions and adds the calls that they need to `calls`. Facts
    /// that are not recorded are looked up in one statement.
    async fn try_all(
        &self,
        recorded: Vec<RecordedDecision>,
        calls: &mut Vec<RulesetCall>,
    ) -> Result<Vec<DecisionTrials>, BacktestError> {
        let known: Vec<Vec<Vec<Option<Fact>>>> = recorded
            .iter()
            .map(|decision| {
                let overlaps = decision.overlaps.iter();
                overlaps.map(|overlap| overlap.recorded_facts(&decision.evidence)).collect()
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
            let mut trials = Vec::with_capacity(self.candidates.len());
            for ((ruleset, overlap), known) in self.candidates.iter().zip(recorded.overlaps.iter()).zip(known)
            {
                let facts: Option<Vec<Fact>> =
                    known.into_iter().map(|fact| fact.or_else(|| computed.next())).collect();
                let facts = facts.ok_or(StorageError::Unreadable { what: "fact" })?;
                let mut trial =
                    Trial::on_record(ruleset, &recorded.evidence, facts, overlap, self.engine.id());
                let place = trial.call(self.tenant, deadline).map(|call| {
                    calls.push(call);
                    calls.len() - 1
                });
                trials.push((trial, place));
            }
            all.push(DecisionTrials { recorded, partly_computed, trials });
        }
        Ok(all)
    }

    /// The request for the facts that are not recorded, of all candidates. `None` if all are
    /// recorded.
    fn request_of(&self, decision: &RecordedDecision, known: &[Vec<Option<Fact>>]) -> Option<FactRequest> {
        let missing = self.candidates.iter().zip(known).flat_map(|(ruleset, known)| {
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
            known: KnownFacts::default(),
        })
    }

    async fn facts(&self, requests: Vec<FactRequest>) -> Result<Vec<Vec<Fact>>, StorageError> {
        if requests.is_empty() {
            return Ok(Vec::new());
        }
        let asked = requests.clone();
        let answers =
            self.connections.run(move |system| async move { facts::look_up_many(&system, requests).await });
        let mut completed = Vec::with_capacity(asked.len());
        for (request, mut answer) in asked.into_iter().zip(answers.await?) {
            let FactRequest { tenant, payment, queries, .. } = request;
            self.reference.complete(tenant, &payment, &queries, &mut answer).await?;
            completed.push(answer.facts);
        }
        Ok(completed)
    }

    /// The runs of each call. If the host stopped a rule, the call is repeated a few times.
    async fn evaluate_all(&self, calls: Vec<RulesetCall>) -> Result<Vec<Vec<RuleRun>>, BacktestError> {
        let mut runs: Vec<Vec<RuleRun>> = vec![Vec::new(); calls.len()];
        let mut due: Vec<usize> = (0..calls.len()).collect();
        for attempt in 0..HOST_ATTEMPTS {
            if attempt > 0 {
                // The compiled code may have been evicted.
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

    fn count(&self, report: &mut BacktestReport, decision: DecisionTrials, runs: &mut [Vec<RuleRun>]) {
        let DecisionTrials { recorded: RecordedDecision { row, evidence, .. }, partly_computed, trials } =
            decision;
        let mut concluded = Vec::with_capacity(trials.len());
        for (ruleset, (trial, place)) in self.candidates.iter().zip(trials) {
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

/// Rules in shadow mode are not compared, and their facts are not looked up.
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
