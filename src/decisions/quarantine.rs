//! Quarantine: live rules that fail too often are no longer run.
//!
//! A payment never waits for this. Only a person may lift a quarantine, since its cause may still
//! be there.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use uuid::Uuid;

use super::conduct;
use super::failure_window::FailureWindow;
use super::runnable_ruleset::{RunnableRule, RunnableRuleset};
use crate::domain::decision::Evidence;
use crate::domain::plugin::Profile;
use crate::domain::quarantine::{
    Conduct, Quarantine, QuarantineLift, QuarantineThreshold, RuleIdentity, RunCounts,
};
use crate::domain::ruleset::DecisionPoint;
use crate::domain::tenant::TenantId;
use crate::domain::time::World;
use crate::domain::verdict::FailureClass;
use crate::rules::MissedDeadline;
use crate::storage::pool::{AppPool, SystemPool};
use crate::storage::quarantines::OpenOutcome;
use crate::storage::{StorageError, quarantines};

/// Shards of the windows, so that payments of different tenants seldom wait for one another.
const SHARDS: usize = 16;

type Windows = HashMap<Arc<RuleIdentity>, FailureWindow>;

/// The rules of one tenant that are in quarantine.
#[derive(Debug, Clone, Default)]
pub struct QuarantinedRules(Option<Arc<HashSet<RuleIdentity>>>);

impl QuarantinedRules {
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    pub fn holds(&self, rule: &RunnableRule) -> bool {
        self.0.as_ref().is_some_and(|rules| rules.contains(rule.identity.as_ref()))
    }
}

#[derive(Debug)]
pub struct Quarantines {
    app: AppPool,
    system: SystemPool,
    world: World,
    threshold: QuarantineThreshold,
    open: RwLock<HashMap<TenantId, Arc<HashSet<RuleIdentity>>>>,
    /// Held while following, so that no older state replaces a newer one.
    following: tokio::sync::Mutex<()>,
    windows: [Mutex<HashMap<TenantId, Windows>>; SHARDS],
}

/// A rule that has reached the threshold.
struct FailingRule {
    identity: Arc<RuleIdentity>,
    record: RunCounts,
    last_failure: FailureClass,
}

impl Quarantines {
    pub fn new(app: AppPool, system: SystemPool, world: World, threshold: QuarantineThreshold) -> Self {
        let (open, following) = (RwLock::default(), tokio::sync::Mutex::default());
        let windows = std::array::from_fn(|_| Mutex::default());
        Self { app, system, world, threshold, open, following, windows }
    }

    pub fn of(&self, tenant: TenantId) -> QuarantinedRules {
        let open = self.open.read().unwrap_or_else(PoisonError::into_inner);
        QuarantinedRules(open.get(&tenant).cloned())
    }

    /// Counts how the rules of a decision behaved. A rule that reaches the threshold is put into
    /// quarantine by a task of its own.
    pub fn watch(self: &Arc<Self>, tenant: TenantId, ruleset: &RunnableRuleset, evidence: &Evidence) {
        let conducts = ruleset.rules.iter().zip(conduct::of_decided(&evidence.rules));
        self.note_all(tenant, ruleset, evidence.payment.received_at_ms, conducts);
    }

    /// Counts the runs of a payment that was not decided in time. Rules in `quarantined`
    /// were not called.
    pub fn watch_missed(
        self: &Arc<Self>,
        tenant: TenantId,
        ruleset: &RunnableRuleset,
        quarantined: &QuarantinedRules,
        missed: &MissedDeadline,
        at_ms: u64,
    ) {
        let called: Vec<&RunnableRule> =
            ruleset.live_rules().filter(|rule| !quarantined.holds(rule)).collect();
        let profiles: Vec<Profile> = called.iter().map(|rule| rule.prepared.profile).collect();
        let conducts = called.into_iter().zip(conduct::of_missed(missed, &profiles));
        self.note_all(tenant, ruleset, at_ms, conducts);
    }

    fn note_all<'r>(
        self: &Arc<Self>,
        tenant: TenantId,
        ruleset: &RunnableRuleset,
        at_ms: u64,
        conducts: impl Iterator<Item = (&'r RunnableRule, Option<Conduct>)>,
    ) {
        for FailingRule { identity, record, last_failure } in self.note(tenant, at_ms, conducts) {
            let now_ms = self.world.now_ms();
            let quarantine = Quarantine {
                id: self.world.uuid_v7(now_ms),
                identity: Arc::unwrap_or_clone(identity),
                revision: ruleset.revision.number,
                failures: record.failures.into(),
                runs: record.runs.into(),
                last_failure: last_failure.name().to_owned(),
                opened_at_ms: now_ms,
                lifted: None,
            };
            let this = self.clone();
            tokio::spawn(async move { this.open(tenant, quarantine).await });
        }
    }

    fn note<'r>(
        &self,
        tenant: TenantId,
        at_ms: u64,
        conducts: impl Iterator<Item = (&'r RunnableRule, Option<Conduct>)>,
    ) -> Vec<FailingRule> {
        let mut broken = Vec::new();
        let mut shard = self.shard(tenant);
        let windows = shard.entry(tenant).or_default();
        for (rule, conduct) in conducts {
            let Some(conduct) = conduct else { continue };
            let failed = matches!(conduct, Conduct::Failed(_));
            let new = || FailureWindow::new(self.threshold.window_ms);
            let window = match windows.get_mut(rule.identity.as_ref()) {
                Some(window) => window,
                None => windows.entry(rule.identity.clone()).or_insert_with(new),
            };
            let record = window.note(at_ms, failed);
            if let Conduct::Failed(last_failure) = conduct
                && self.threshold.is_reached(record)
            {
                // If opening fails, the rule reaches the threshold again after as many failures.
                *window = new();
                broken.push(FailingRule { identity: rule.identity.clone(), record, last_failure });
            }
        }
        broken
    }

    async fn open(&self, tenant: TenantId, quarantine: Quarantine) {
        let rule = quarantine.identity.rule.clone();
        let (failures, runs, class) = (quarantine.failures, quarantine.runs, quarantine.last_failure.clone());
        match quarantines::open(&self.system, tenant, quarantine).await {
            Ok(OpenOutcome::Opened) => {
                tracing::warn!(
                    %tenant, rule, failures, runs, class,
                    "a rule failed too often and was put into quarantine"
                );
            }
            Ok(OpenOutcome::AlreadyOpen) => {}
            Ok(OpenOutcome::TooMany) => {
                tracing::error!(
                    %tenant, rule,
                    "a rule failed too often, but too many other rules are already in quarantine"
                );
            }
            Err(error) => tracing::error!(%tenant, rule, %error, "a rule could not be put into quarantine"),
        }
        if let Err(error) = self.follow().await {
            tracing::warn!(%error, "a new quarantine will take effect on this node later");
        }
    }

    /// False if there is no such quarantine, or it was lifted before.
    pub async fn lift(
        &self,
        tenant: TenantId,
        point: DecisionPoint,
        id: Uuid,
        actor: String,
    ) -> Result<bool, StorageError> {
        let lifted = QuarantineLift { at_ms: self.world.now_ms(), by: actor };
        let found = quarantines::lift(&self.app, tenant, point, id, lifted).await?;
        // The lift is committed. If this fails, the node follows at its next poll.
        if let Err(error) = self.follow().await {
            tracing::warn!(%error, "a lifted quarantine will take effect on this node later");
        }
        Ok(found)
    }

    /// Reads which rules are in quarantine, whichever node put them there.
    pub async fn follow(&self) -> Result<(), StorageError> {
        let _alone = self.following.lock().await;
        let mut found: HashMap<TenantId, HashSet<RuleIdentity>> = HashMap::new();
        for (tenant, identity) in quarantines::open_of_all(&self.system).await? {
            found.entry(tenant).or_default().insert(identity);
        }
        let count: usize = found.values().map(HashSet::len).sum();
        metrics::gauge!("tollgate_rules_in_quarantine").set(count as f64);
        let found = found.into_iter().map(|(tenant, rules)| (tenant, Arc::new(rules))).collect();
        let before = {
            let mut open = self.open.write().unwrap_or_else(PoisonError::into_inner);
            std::mem::replace(&mut *open, found)
        };
        self.restart_windows(&before);
        Ok(())
    }

    /// Clears the windows of rules that went into quarantine or came out of it.
    fn restart_windows(&self, before: &HashMap<TenantId, Arc<HashSet<RuleIdentity>>>) {
        let none = Arc::default();
        let open = self.open.read().unwrap_or_else(PoisonError::into_inner);
        for tenant in before.keys().chain(open.keys()) {
            let (before, after) = (before.get(tenant).unwrap_or(&none), open.get(tenant).unwrap_or(&none));
            if before == after {
                continue;
            }
            if let Some(windows) = self.shard(*tenant).get_mut(tenant) {
                before.symmetric_difference(after).for_each(|identity| {
                    windows.remove(identity);
                });
            }
        }
    }

    /// Drops the windows of rules that have not run for the length of a window.
    pub fn forget_idle(&self) {
        let now_ms = self.world.now_ms();
        for shard in &self.windows {
            let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            shard.retain(|_, windows| {
                windows.retain(|_, window| !window.is_over(now_ms));
                !windows.is_empty()
            });
        }
    }

    fn shard(&self, tenant: TenantId) -> MutexGuard<'_, HashMap<TenantId, Windows>> {
        // The last byte of a UUIDv7 is random.
        let place = usize::from(tenant.0.as_bytes()[15]) % SHARDS;
        self.windows[place].lock().unwrap_or_else(PoisonError::into_inner)
    }
}
