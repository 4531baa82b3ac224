//! A dry run: a ruleset on one payment, with all details.
//!
//! No decision may be stored, no run counted for a quarantine, and no revision created.

use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use tokio::time::Instant;

use super::diagnoses::RequestDiagnoses;
use super::evaluate::{call_of, evidence_of, fuel_of, run};
use super::rulesets::{RevisionError, Rulesets, lists_asked};
use super::runnable_ruleset::RunnableRuleset;
use super::trial::RulesetOverlap;
use crate::domain::decision::{Decision, Evidence};
use crate::domain::list::ListKinds;
use crate::domain::payment::{Payment, PaymentId, PaymentOrder};
use crate::domain::plugin::Digest;
use crate::domain::ruleset::{DecisionPoint, Mode, Revision, RuleEntry};
use crate::domain::selector::{Fact, FactQuery};
use crate::domain::series::{AskedSeries, Series};
use crate::domain::tenant::TenantId;
use crate::domain::time::World;
use crate::domain::verdict::{Outcome, RuleResult, Verdict};
use crate::rules::{Diagnosis, EngineError, FailedCall, RuleCall, RulesetCall};
use crate::storage::facts::{self, FactRequest, KnownFacts};
use crate::storage::pool::AppPool;
use crate::storage::reference::ReferenceMemory;
use crate::storage::series::DeclareError;
use crate::storage::{StorageError, decisions, lists, rulesets};

/// Short, since a person waits for the response.
const DEADLINE: Duration = Duration::from_secs(2);

/// How long a dry run waits for facts about earlier payments that nobody has asked for before.
const PREPARING_MAX: Duration = Duration::from_secs(2);

/// The revision number of a ruleset that was not saved.
const UNSAVED: i32 = 0;

/// The ruleset that is run.
#[derive(Debug)]
pub enum DryRunRuleset {
    Revision(i32),
    Unsaved(Vec<RuleEntry>),
}

/// The payment it is run on.
#[derive(Debug)]
pub enum DryRunPayment {
    /// As if it were submitted now.
    Order(Box<PaymentOrder>),
    Stored(PaymentId),
}

/// Where a fact comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FactSource {
    /// Recorded in the payment's decision.
    Recorded,
    /// Computed as of the time of a stored payment.
    Computed,
    /// Looked up as of now.
    Current,
    /// Not known yet: it is about earlier payments, which must first be prepared for it. The rule got
    /// it as absent.
    NotKnownYet,
}

/// How one rule took part in the outcome.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoldStep {
    pub rule: String,
    /// The outcome if this rule were alone.
    pub counts_as: Outcome,
    pub overridable: bool,
    /// The rules whose `allow` cancels it.
    pub cancelled_by: Vec<String>,
    /// Whether it is among the strictest that are not cancelled.
    pub decides: bool,
}

/// What was matched against a list, and in which form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListComparison {
    pub list: String,
    pub kinds: Option<ListKinds>,
    /// The payment's value and its canonical form. `None` if the payment has no such value.
    pub value: Option<(String, String)>,
}

#[derive(Debug)]
pub struct DryRun {
    pub outcome: Outcome,
    /// With the results of rules in shadow mode, which do not count.
    pub evidence: Evidence,
    pub ruleset: RunnableRuleset,
    /// The source of each fact, in the order of the ruleset's queries.
    pub sources: Vec<FactSource>,
    /// For each query of the ruleset. `None` if it does not ask a list.
    pub comparisons: Vec<Option<ListComparison>>,
    pub steps: Vec<FoldStep>,
    /// For each rule, why it failed. `None` if it did not fail or could not be diagnosed in time.
    pub diagnoses: Vec<Option<Diagnosis>>,
    /// The recorded outcome of a stored payment.
    pub decided: Option<Outcome>,
}

#[derive(Debug, Error)]
pub enum DryRunError {
    #[error("there is no such revision")]
    UnknownRevision,
    #[error("there is no such payment")]
    UnknownPayment,
    #[error(transparent)]
    Revision(#[from] RevisionError),
    #[error(transparent)]
    Engine(#[from] EngineError),
    #[error(transparent)]
    Storage(#[from] StorageError),
}

#[derive(Debug)]
pub struct DryRuns {
    pub app: AppPool,
    pub rulesets: Arc<Rulesets>,
    pub reference: Arc<ReferenceMemory>,
    pub world: World,
}

impl DryRuns {
    pub async fn run(
        &self,
        tenant: TenantId,
        point: DecisionPoint,
        tried: DryRunRuleset,
        subject: DryRunPayment,
    ) -> Result<DryRun, DryRunError> {
        let ruleset = self.ruleset(tenant, point, tried).await?;
        let recorded = match &subject {
            DryRunPayment::Order(_) => None,
            DryRunPayment::Stored(id) => {
                let stored = decisions::get(&self.app, tenant, *id).await?;
                Some(stored.ok_or(DryRunError::UnknownPayment)?.decision)
            }
        };
        let known = self.recorded_facts(&ruleset, recorded.as_deref()).await?;
        let payment = match (subject, &recorded) {
            (DryRunPayment::Order(order), _) => Arc::new(self.as_if_now(*order)),
            (DryRunPayment::Stored(_), Some(recorded)) => recorded.evidence.payment.clone(),
            (DryRunPayment::Stored(_), None) => return Err(DryRunError::UnknownPayment),
        };
        let otherwise = if recorded.is_some() { FactSource::Computed } else { FactSource::Current };
        let (facts, sources) = self.complete(tenant, &payment, &ruleset.queries, known, otherwise).await?;
        let comparisons = self.comparisons(tenant, &payment.order, &ruleset.queries).await?;
        let (outcome, evidence) = self.evaluate(tenant, payment, &ruleset, &facts).await?;
        let steps = steps_of(&evidence, outcome);
        let decided = recorded.map(|recorded| recorded.outcome);
        let diagnoses = self.diagnose(tenant, &evidence, &ruleset, &facts).await;
        Ok(DryRun { outcome, evidence, ruleset, sources, comparisons, steps, diagnoses, decided })
    }

    async fn diagnose(
        &self,
        tenant: TenantId,
        evidence: &Evidence,
        ruleset: &RunnableRuleset,
        facts: &[Fact],
    ) -> Vec<Option<Diagnosis>> {
        let mut request = RequestDiagnoses::new(&self.rulesets.diagnoses, tenant);
        let mut diagnoses = Vec::with_capacity(evidence.rules.len());
        for (place, (rule, tried)) in evidence.rules.iter().zip(&ruleset.rules).enumerate() {
            if rule.result.as_ref().and_then(RuleResult::failure_class).is_none() {
                diagnoses.push(None);
                continue;
            }
            let call = || {
                let spent_before = fuel_of(&evidence.rules[..place]);
                let rule = RuleCall { fuel_spent_before: Some(spent_before), ..call_of(tried, facts) };
                FailedCall::Evaluate { payment: evidence.payment.clone(), rule }
            };
            diagnoses.push(request.diagnose(call).await);
        }
        diagnoses
    }

    async fn ruleset(
        &self,
        tenant: TenantId,
        point: DecisionPoint,
        tried: DryRunRuleset,
    ) -> Result<RunnableRuleset, DryRunError> {
        let revision = match tried {
            DryRunRuleset::Revision(number) => {
                let found = rulesets::get(&self.app, tenant, point, number).await?;
                found.ok_or(DryRunError::UnknownRevision)?
            }
            DryRunRuleset::Unsaved(entries) => Revision {
                point,
                number: UNSAVED,
                digest: Digest([0; 32]),
                rules: self.rulesets.prepare_all(tenant, entries).await?,
                note: String::new(),
                created_by: String::new(),
                created_at_ms: 0,
            },
        };
        for rule in &revision.rules {
            self.rulesets.plugins.ensure_loaded(rule.entry.plugin).await?;
        }
        Ok(RunnableRuleset::new(revision))
    }

    /// For each query of the ruleset, the recorded fact if there is one.
    async fn recorded_facts(
        &self,
        ruleset: &RunnableRuleset,
        recorded: Option<&Decision>,
    ) -> Result<Vec<Option<Fact>>, StorageError> {
        let reference = recorded.and_then(|recorded| recorded.evidence.revision.map(|at| (recorded, at)));
        let Some((recorded, reference)) = reference else { return Ok(vec![None; ruleset.queries.len()]) };
        let point = DecisionPoint::Payment;
        let revision = rulesets::get(&self.app, recorded.tenant, point, reference.number)
            .await?
            .filter(|revision| revision.digest == reference.digest)
            .ok_or(StorageError::Unreadable { what: "revision of a decision" })?;
        let overlap = RulesetOverlap::new(ruleset, Some(&RunnableRuleset::new(revision)));
        Ok(overlap.recorded_facts(&recorded.evidence))
    }

    fn as_if_now(&self, order: PaymentOrder) -> Payment {
        let received_at_ms = self.world.now_ms();
        Payment { id: PaymentId(self.world.uuid_v7(received_at_ms)), received_at_ms, order }
    }

    /// Looks up the facts that are not known, as of the payment's time.
    async fn complete(
        &self,
        tenant: TenantId,
        payment: &Arc<Payment>,
        queries: &[FactQuery],
        known: Vec<Option<Fact>>,
        otherwise: FactSource,
    ) -> Result<(Vec<Fact>, Vec<FactSource>), StorageError> {
        let missing = queries.iter().zip(&known).filter(|(_, known)| known.is_none()).map(|(query, _)| query);
        let unknown = self.unknown_series(tenant, AskedSeries::of(missing.clone())).await?;
        let is_unknown =
            |query: &FactQuery| query.counted().is_some_and(|query| unknown.contains(&Series::of(&query)));
        let request = FactRequest {
            tenant,
            payment: payment.clone(),
            queries: missing.filter(|query| !is_unknown(query)).cloned().collect(),
            in_flight: Vec::new(),
            key: None,
            known: KnownFacts::default(),
        };
        let asked = request.queries.clone();
        let mut answer = facts::look_up(&self.app, request).await?;
        self.reference.complete(tenant, payment, &asked, &mut answer).await?;
        let mut looked_up = answer.facts.into_iter();
        let both = known.into_iter().zip(queries).map(|(known, query)| match known {
            Some(fact) => (fact, FactSource::Recorded),
            None if is_unknown(query) => (Fact::Absent, FactSource::NotKnownYet),
            None => (looked_up.next().unwrap_or(Fact::Absent), otherwise),
        });
        Ok(both.unzip())
    }

    /// Series that are new are prepared from now on, so a later dry run knows them.
    async fn unknown_series(
        &self,
        tenant: TenantId,
        asked: Vec<AskedSeries>,
    ) -> Result<Vec<Series>, StorageError> {
        let backfill = &self.rulesets.backfill;
        let progress = match backfill.until_complete_for_dry_run(tenant, &asked, PREPARING_MAX).await {
            Ok(progress) => progress,
            // It is not worth failing for.
            Err(DeclareError::Storage(error)) if !error.is_lock_timeout() => return Err(error),
            Err(DeclareError::TooMany | DeclareError::Storage(_)) => {
                let series = asked.into_iter().map(|asked| asked.series).collect();
                backfill.progress(tenant, series).await?
            }
        };
        Ok(progress.unknown)
    }

    async fn comparisons(
        &self,
        tenant: TenantId,
        order: &PaymentOrder,
        queries: &[FactQuery],
    ) -> Result<Vec<Option<ListComparison>>, StorageError> {
        let heads = lists::heads(&self.app, tenant, lists_asked(queries)).await?;
        let comparison = |query: &FactQuery| {
            let FactQuery::Listed { list, selector, matching } = query else { return None };
            let head = heads.iter().find(|head| head.name == *list);
            let value = selector.value_of(order).map(|value| {
                let name = selector.list_search_name(*matching, &value);
                let form = name.unwrap_or_else(|| selector.kind().form_of_value(&value));
                (value, form)
            });
            Some(ListComparison { list: list.clone(), kinds: head.map(|head| head.kinds.clone()), value })
        };
        Ok(queries.iter().map(comparison).collect())
    }

    /// Runs the rules in shadow mode as well, since an author wants to see their results.
    async fn evaluate(
        &self,
        tenant: TenantId,
        payment: Arc<Payment>,
        ruleset: &RunnableRuleset,
        facts: &[Fact],
    ) -> Result<(Outcome, Evidence), EngineError> {
        let engine = self.rulesets.engine.as_ref();
        let rules: Vec<_> = ruleset.rules.iter().map(|rule| call_of(rule, facts)).collect();
        let deadline = Instant::now() + DEADLINE;
        let call = RulesetCall { tenant, payment: payment.clone(), rules, deadline };
        let runs = if call.rules.is_empty() { Vec::new() } else { run(engine, call).await? };
        let is_live = |place: usize| ruleset.rules[place].prepared.entry.mode == Mode::Live;
        let live = runs.iter().enumerate().filter(|(place, _)| is_live(*place));
        let live = live.map(|(_, run)| run.clone()).collect();
        let (outcome, mut evidence) = evidence_of(engine.id(), payment, Some(ruleset), facts, live);
        for (place, run) in runs.into_iter().enumerate().filter(|(place, _)| !is_live(*place)) {
            let rule = &mut evidence.rules[place];
            (rule.result, rule.fuel_used, rule.elapsed_us) =
                (Some(run.result), run.fuel_used, run.elapsed_us);
        }
        Ok((outcome, evidence))
    }
}

/// The part of each live rule in the outcome. It is computed with the fold itself, so that the two
/// cannot differ.
fn steps_of(evidence: &Evidence, outcome: Outcome) -> Vec<FoldStep> {
    let live = || evidence.rules.iter().filter(|rule| rule.mode == Mode::Live);
    let allows: Vec<&str> = live()
        .filter(|rule| rule.result.as_ref().and_then(RuleResult::verdict).is_some_and(Verdict::is_allow))
        .map(|rule| rule.name.as_str())
        .collect();
    live()
        .map(|rule| {
            let alone = Evidence { rules: vec![rule.clone()], ..evidence.clone() };
            let counts_as = alone.fold().outcome;
            let is_cancelled =
                evidence.reasons.iter().any(|reason| reason.rule == rule.name && reason.overridden);
            let cancelled_by = allows.iter().filter(|_| is_cancelled).map(|rule| (*rule).to_owned());
            FoldStep {
                rule: rule.name.clone(),
                counts_as,
                overridable: rule.overridable,
                cancelled_by: cancelled_by.collect(),
                decides: !is_cancelled && counts_as == outcome && outcome > Outcome::Approve,
            }
        })
        .collect()
}
