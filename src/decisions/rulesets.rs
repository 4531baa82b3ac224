//! Rulesets: revisions are created, activated and rolled back.
//!
//! Each rule checks its settings before a revision is stored, so no payment meets wrong settings.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use uuid::Uuid;

use super::backfill::AggregateBackfill;
use super::deployments::Deployments;
use super::diagnoses::{Diagnoses, RequestDiagnoses};
use super::nodes::Nodes;
use super::plugins::Plugins;
use super::query_checks::{QueryContext, RulesetFlaw, query_flaws};
use crate::domain::audit::Authority;
use crate::domain::backtest::GuardRefusal;
use crate::domain::decision::EvidenceVersion;
use crate::domain::plugin::{Digest, TenantPlugin, UploadState};
use crate::domain::ruleset::{
    Activation, DecisionPoint, PreparedRule, QUERIES_MAX, RULES_MAX, Revision, RuleEntry, is_slug,
};
use crate::domain::selector::FactQuery;
use crate::domain::series::AskedSeries;
use crate::domain::table::TableName;
use crate::domain::tenant::TenantId;
use crate::domain::time::World;
use crate::rules::{Diagnosis, EngineError, FailedCall, PrepareError, RuleEngine};
use crate::storage::nodes::PluginReadiness;
use crate::storage::pool::AppPool;
use crate::storage::rulesets::{
    self, ActivateError, ActivationRequest, CreateRevisionError, ExpectedActivation, NewActivation,
    NewRevision,
};
use crate::storage::series::{DeclareError, SERIES_MAX};
use crate::storage::{StorageError, backtests, lists, plugins, tables, tenants};

#[derive(Debug, Error)]
pub enum RevisionError {
    #[error("the ruleset is invalid")]
    Invalid(Vec<RulesetFlaw>),
    #[error("the ruleset already has {0} revisions")]
    TooMany(u32),
    #[error(transparent)]
    Engine(#[from] EngineError),
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// A backtest of the revision, and the share of outcomes that it may have changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ActivationGuard {
    pub backtest: Uuid,
    /// Of the compared outcomes.
    pub changed_max_ten_thousandths: u16,
}

#[derive(Debug, Error)]
pub enum GuardedActivationError {
    #[error("the guard does not allow the activation")]
    Refused(GuardRefusal),
    #[error(transparent)]
    Activate(#[from] ActivateError),
}

#[derive(Debug)]
pub struct Rulesets {
    pub app: AppPool,
    pub engine: Arc<dyn RuleEngine>,
    pub plugins: Arc<Plugins>,
    pub diagnoses: Arc<Diagnoses>,
    pub active: Arc<Deployments>,
    pub nodes: Arc<Nodes>,
    pub backfill: Arc<AggregateBackfill>,
    /// How long an activation waits for the nodes, and for facts.
    pub patience: Duration,
    /// The version in which decisions are stored.
    pub evidence: EvidenceVersion,
    /// How many revisions one ruleset may have.
    pub revisions_max: u32,
    pub world: World,
}

impl Rulesets {
    /// Lets each rule check its settings and stores a new revision. Returns the flaws of all
    /// entries together.
    pub async fn create_revision(
        &self,
        tenant: TenantId,
        actor: &str,
        entries: Vec<RuleEntry>,
        note: String,
    ) -> Result<Revision, RevisionError> {
        let rules = self.prepare_all(tenant, entries).await?;
        // Before the revision is stored: nothing may decide by it while payments lack its values.
        let series = AskedSeries::of(rules.iter().flat_map(|rule| &rule.queries));
        self.backfill.declare(tenant, &series).await.map_err(|error| match error {
            DeclareError::TooMany => RevisionError::Invalid(vec![too_many_series()]),
            DeclareError::Storage(error) => error.into(),
        })?;
        let revision = NewRevision {
            point: DecisionPoint::Payment,
            rules,
            note,
            created_by: actor.to_owned(),
            created_at_ms: self.world.now_ms(),
        };
        rulesets::create(&self.app, tenant, revision, self.revisions_max).await.map_err(|error| match error {
            CreateRevisionError::TooMany(most) => RevisionError::TooMany(most),
            CreateRevisionError::Storage(error) => error.into(),
        })
    }

    /// Prepares all rules from their settings. Returns the flaws of all entries together.
    pub async fn prepare_all(
        &self,
        tenant: TenantId,
        entries: Vec<RuleEntry>,
    ) -> Result<Vec<PreparedRule>, RevisionError> {
        let mut flaws = name_flaws(&entries);
        let mut diagnoses = RequestDiagnoses::new(&self.diagnoses, tenant);
        let mut rules = Vec::with_capacity(entries.len());
        let mut places = Vec::with_capacity(entries.len());
        for (place, entry) in entries.into_iter().enumerate() {
            match self.prepare(tenant, place, entry, &mut diagnoses).await {
                Ok(rule) => {
                    rules.push(rule);
                    places.push(place);
                }
                Err(RevisionError::Invalid(found)) => flaws.extend(found),
                Err(error) => return Err(error),
            }
        }
        let context = self.query_context(tenant, &rules).await?;
        flaws.extend(places.iter().zip(&rules).flat_map(|(place, rule)| query_flaws(*place, rule, &context)));
        flaws.extend(queries_flaw(&rules));
        if flaws.is_empty() { Ok(rules) } else { Err(RevisionError::Invalid(flaws)) }
    }

    /// The lists and tables that the rules ask, and the tenant's retention.
    async fn query_context(
        &self,
        tenant: TenantId,
        rules: &[PreparedRule],
    ) -> Result<QueryContext, StorageError> {
        let queries = || rules.iter().flat_map(|rule| &rule.queries);
        let lists = lists::heads(&self.app, tenant, lists_asked(queries())).await?;
        let asked: BTreeSet<&str> = queries().filter_map(FactQuery::table).collect();
        let mut tables = Vec::with_capacity(asked.len());
        for name in asked.into_iter().filter_map(TableName::parse) {
            tables.extend(tables::get(&self.app, tenant, &name).await?);
        }
        let retention = tenants::retention(&self.app, tenant).await?;
        Ok(QueryContext { lists, tables, retention, evidence: self.evidence })
    }

    async fn prepare(
        &self,
        tenant: TenantId,
        place: usize,
        entry: RuleEntry,
        diagnoses: &mut RequestDiagnoses<'_>,
    ) -> Result<PreparedRule, RevisionError> {
        let flaw =
            |below: &str, detail: String| RulesetFlaw { pointer: format!("/rules/{place}{below}"), detail };
        if let Some(detail) = unusable(entry.plugin, plugins::get(&self.app, tenant, entry.plugin).await?) {
            return Err(RevisionError::Invalid(vec![flaw("/plugin", detail)]));
        }
        self.plugins.ensure_loaded(entry.plugin).await?;
        let prepared = match self.engine.prepare(entry.plugin, entry.settings.clone()).await {
            Ok(prepared) => prepared,
            Err(PrepareError::Refused(reasons)) => {
                let flaws = reasons.into_iter().map(|reason| {
                    let below = format!("/settings{}", reason.field.unwrap_or_default());
                    flaw(&below, reason.message)
                });
                return Err(RevisionError::Invalid(flaws.collect()));
            }
            Err(PrepareError::Engine(error)) => return Err(error.into()),
            Err(failed) => {
                let detail = explained(failed.to_string(), entry, diagnoses).await;
                return Err(RevisionError::Invalid(vec![flaw("/settings", detail)]));
            }
        };
        let (profile, queries, state) = (prepared.profile, prepared.queries, prepared.state);
        Ok(PreparedRule { entry, profile, queries, state })
    }

    /// Activates a revision, if its guard allows it.
    pub async fn activate_revision(
        &self,
        tenant: TenantId,
        point: DecisionPoint,
        revision: i32,
        guard: Option<ActivationGuard>,
        actor: Authority,
        expected: ExpectedActivation,
    ) -> Result<Activation, GuardedActivationError> {
        // A finished backtest never changes, so this still holds when the activation is written.
        self.check_guard(tenant, point, revision, guard).await?;
        let request =
            ActivationRequest::Activate { revision, guard_backtest: guard.map(|guard| guard.backtest) };
        Ok(self.activate(tenant, point, request, actor, expected).await?)
    }

    /// Whether the guard allows the revision to be activated.
    pub async fn check_guard(
        &self,
        tenant: TenantId,
        point: DecisionPoint,
        revision: i32,
        guard: Option<ActivationGuard>,
    ) -> Result<(), GuardedActivationError> {
        let Some(ActivationGuard { backtest, changed_max_ten_thousandths }) = guard else { return Ok(()) };
        let found = backtests::get(&self.app, tenant, point, backtest).await.map_err(ActivateError::from)?;
        let found = found.ok_or(GuardedActivationError::Refused(GuardRefusal::Unknown))?;
        found.permits(revision, changed_max_ten_thousandths).map_err(GuardedActivationError::Refused)
    }

    /// Writes a new activation once every node can run the plugins that it adds, and the facts that
    /// it adds are known. A rollback does not wait for plugins, and its facts are known unless the
    /// revision has been out of use for long.
    pub async fn activate(
        &self,
        tenant: TenantId,
        point: DecisionPoint,
        request: ActivationRequest,
        actor: Authority,
        expected: ExpectedActivation,
    ) -> Result<Activation, ActivateError> {
        let now_ms = self.world.now_ms();
        let mut new = NewActivation { tenant, point, actor, now_ms, expected };
        // A rollback is urgent. A node that lacks a plugin follows once it has it.
        if !matches!(request, ActivationRequest::RollBack { .. }) {
            let plugins = rulesets::plugins_to_add(&self.app, &new, request).await?;
            if let Some(lacking) = self.nodes.until_ready(&plugins, self.patience).await? {
                let PluginReadiness { node, digest: plugin, why, .. } = lacking;
                return Err(ActivateError::PluginNotReady { plugin, node, why });
            }
        }
        let series = rulesets::series_to_add(&self.app, &new, request).await?;
        let progress = self.backfill.until_complete(tenant, &series, self.patience).await?;
        if !progress.unknown.is_empty() {
            return Err(ActivateError::FactsNotReady { reached_ms: progress.reached_ms });
        }
        // The time of the activation is the time after waiting.
        new.now_ms = self.world.now_ms();
        let activation = rulesets::activate(&self.app, new, request).await?;
        // The activation is committed. If this fails, the node follows at its next poll.
        if let Err(error) = self.active.catch_up().await {
            tracing::warn!(%error, "the activation will take effect on this node later");
        }
        Ok(activation)
    }
}

/// Adds the rule's own message to a failure, if a diagnosis finds one in time.
async fn explained(failure: String, entry: RuleEntry, diagnoses: &mut RequestDiagnoses<'_>) -> String {
    let RuleEntry { plugin, settings, .. } = entry;
    match diagnoses.diagnose(|| FailedCall::Prepare { plugin, settings }).await {
        Some(Diagnosis { said: Some(said), .. }) => format!("{failure}; its message: {said}"),
        Some(Diagnosis { cause, .. }) => format!("{failure}. {cause}"),
        None => failure,
    }
}

/// Why a new revision cannot use a plugin. `None` if it can.
fn unusable(digest: Digest, seen: Option<TenantPlugin>) -> Option<String> {
    let Some(seen) = seen else { return Some(format!("there is no plugin {digest}")) };
    match seen.state {
        UploadState::Ready if seen.retired_at_ms.is_some() => Some(format!("the plugin {digest} is retired")),
        UploadState::Ready => None,
        UploadState::Refused => Some(format!("the plugin {digest} was refused")),
        UploadState::Waiting | UploadState::Compiling => {
            Some(format!("the plugin {digest} is not ready yet"))
        }
    }
}

/// The names of the lists that the queries ask, each once.
pub(super) fn lists_asked<'q>(queries: impl IntoIterator<Item = &'q FactQuery>) -> Vec<String> {
    let lists: BTreeSet<&str> =
        queries.into_iter().filter_map(FactQuery::list).map(|(list, _)| list).collect();
    lists.into_iter().map(str::to_owned).collect()
}

fn too_many_series() -> RulesetFlaw {
    let detail = format!(
        "expected all revisions of the tenant together to ask for aggregates of at most {SERIES_MAX} different \
         combinations of selectors"
    );
    RulesetFlaw { pointer: "/rules".into(), detail }
}

fn queries_flaw(rules: &[PreparedRule]) -> Option<RulesetFlaw> {
    let asked: BTreeSet<&FactQuery> = rules.iter().flat_map(|rule| &rule.queries).collect();
    let detail = format!("expected the rules to ask for at most {QUERIES_MAX} different facts in total");
    (asked.len() > QUERIES_MAX).then(|| RulesetFlaw { pointer: "/rules".into(), detail })
}

fn name_flaws(entries: &[RuleEntry]) -> Vec<RulesetFlaw> {
    let mut flaws = Vec::new();
    if entries.len() > RULES_MAX {
        flaws.push(RulesetFlaw {
            pointer: "/rules".into(),
            detail: format!("expected at most {RULES_MAX} rules"),
        });
    }
    let mut names = BTreeSet::new();
    for (place, entry) in entries.iter().enumerate() {
        let pointer = format!("/rules/{place}/name");
        if !is_slug(&entry.name) {
            let detail = "expected lower-case words joined by hyphens, at most 64 characters".to_owned();
            flaws.push(RulesetFlaw { pointer, detail });
        } else if !names.insert(&entry.name) {
            flaws.push(RulesetFlaw {
                pointer,
                detail: "another rule of this revision has the same name".to_owned(),
            });
        }
    }
    flaws
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::plugin::Profile;
    use crate::domain::ruleset::Mode;
    use crate::domain::selector::{Counting, Selector};
    use crate::domain::verdict::FailureOutcome;

    fn rule_that_asks(windows_ms: std::ops::Range<u64>) -> PreparedRule {
        let entry = RuleEntry {
            name: "r".to_owned(),
            plugin: Digest([0; 32]),
            settings: "{}".to_owned(),
            on_failure: FailureOutcome::Review,
            overridable: false,
            mode: Mode::Live,
        };
        let ask = |window_ms| {
            let (selector, counting) = (Selector::Customer, Counting::Submitted);
            FactQuery::Velocity { selector, window_ms, counting }
        };
        let queries = windows_ms.map(ask).collect();
        PreparedRule { entry, profile: Profile::Small, queries, state: Vec::new() }
    }

    #[test]
    fn the_different_questions_of_all_rules_together_are_bounded() {
        let most = QUERIES_MAX as u64;
        assert_eq!(queries_flaw(&[rule_that_asks(0..most), rule_that_asks(0..most)]), None);
        let flaw = queries_flaw(&[rule_that_asks(0..most), rule_that_asks(most..most + 1)]);
        assert_eq!(flaw.map(|flaw| flaw.pointer).as_deref(), Some("/rules"));
    }
}
