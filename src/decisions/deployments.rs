//! A snapshot of every tenant's deployment, kept up to date with the activation log.
//!
//! A payment takes one `Arc` of it and sees the same deployment to its end. A revision is only
//! handed out once this node has loaded all its plugins.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex as SyncMutex, PoisonError, RwLock, RwLockWriteGuard};
use std::time::Duration;

use futures::StreamExt;
use futures::future::join_all;
use thiserror::Error;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout, timeout_at};

use super::deployment::LoadedDeployment;
use super::plugins::Plugins;
use super::runnable_ruleset::RunnableRuleset;
use crate::domain::decision::RuleEvidence;
use crate::domain::plugin::Digest;
use crate::domain::ruleset::{Activation, DecisionPoint};
use crate::domain::tenant::TenantId;
use crate::domain::verdict::RuleResult;
use crate::rules::{EngineError, MissedDeadline};
use crate::storage::pool::SystemPool;
use crate::storage::{StorageError, rulesets};

/// How long all activations of one round together may take. Plugins that take longer go on loading,
/// and their activation is applied in a later round, so the log is still read often.
const LOADING_PATIENCE: Duration = Duration::from_secs(1);

/// Activations that are applied at the same time. Each takes a connection.
const AT_ONCE_MAX: usize = 3;

const MISSING: StorageError = StorageError::Unreadable { what: "revision" };

/// A ruleset is active, and this node cannot run it yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the active ruleset is not loaded on this node")]
pub struct RulesetNotLoaded;

#[derive(Debug)]
pub struct Deployments {
    system: SystemPool,
    plugins: Arc<Plugins>,
    /// `None` for a tenant whose first activation is delayed.
    by_tenant: RwLock<HashMap<TenantId, Option<Arc<LoadedDeployment>>>>,
    /// Held while catching up, so that no older deployment replaces a newer one.
    log: Mutex<ActivationLog>,
    /// Every activation made before this moment is known here.
    read_at: SyncMutex<Option<Instant>>,
}

/// How far this node has followed the activation log.
#[derive(Debug, Default)]
struct ActivationLog {
    /// The last activation read.
    read_to: i64,
    /// The newest activation of each tenant, if it could not be applied yet.
    held_back: HashMap<TenantId, DelayedActivation>,
}

#[derive(Debug)]
struct DelayedActivation {
    activation: Activation,
    logged: bool,
}

/// Why an activation is delayed.
#[derive(Debug, Error)]
enum ActivationDelay {
    #[error("the plugin {0} is not loaded")]
    Plugin(Digest),
    #[error("its plugins are still loading")]
    Loading,
    #[error(transparent)]
    Storage(#[from] StorageError),
}

impl ActivationLog {
    /// Keeps the newest activation of each tenant.
    fn note(&mut self, gained: Vec<(TenantId, Activation)>) {
        for (tenant, activation) in gained {
            self.read_to = self.read_to.max(activation.sequence);
            let newer = |held: &DelayedActivation| held.activation.sequence > activation.sequence;
            if !self.held_back.get(&tenant).is_some_and(newer) {
                self.held_back.insert(tenant, DelayedActivation { activation, logged: false });
            }
        }
    }

    /// Logs the delay, once for each activation.
    fn log_delay(&mut self, tenant: TenantId, error: &ActivationDelay) {
        let Some(held) = self.held_back.get_mut(&tenant).filter(|held| !held.logged) else { return };
        held.logged = true;
        let revision = held.activation.deployment.revision;
        tracing::warn!(%tenant, revision, %error, "an activation is delayed on this node");
    }
}

impl Deployments {
    pub fn new(system: SystemPool, plugins: Arc<Plugins>) -> Self {
        Self {
            system,
            plugins,
            by_tenant: RwLock::default(),
            log: Mutex::default(),
            read_at: SyncMutex::default(),
        }
    }

    /// How long ago this node last read the activation log.
    pub fn behind(&self) -> Duration {
        let read_at = *self.read_at.lock().unwrap_or_else(PoisonError::into_inner);
        read_at.map_or(Duration::MAX, |read_at| read_at.elapsed())
    }

    /// The number of tenants with a deployment, and of those whose deployment this node cannot run.
    pub fn not_loaded(&self) -> (usize, usize) {
        let by_tenant = self.by_tenant.read().unwrap_or_else(PoisonError::into_inner);
        (by_tenant.len(), by_tenant.values().filter(|deployment| deployment.is_none()).count())
    }

    /// `None` if the tenant never activated a revision.
    pub fn of(&self, tenant: TenantId) -> Result<Option<Arc<LoadedDeployment>>, RulesetNotLoaded> {
        let by_tenant = self.by_tenant.read().unwrap_or_else(PoisonError::into_inner);
        by_tenant.get(&tenant).map(|active| active.clone().ok_or(RulesetNotLoaded)).transpose()
    }

    /// Loads the plugins of rules that could not run because their compiled code was missing.
    /// Returns whether any of them can run now. Loading goes on after the deadline.
    pub async fn recover(&self, rules: &[RuleEvidence], deadline: Instant) -> Result<bool, EngineError> {
        let lacking = rules.iter().filter(|rule| rule.result == Some(RuleResult::Unavailable));
        let loading = join_all(lacking.map(|rule| self.plugins.load(rule.plugin)));
        let loaded = timeout_at(deadline, loading).await;
        loaded
            .map(|loaded| loaded.contains(&true))
            .map_err(|_| EngineError::Deadline(MissedDeadline::default()))
    }

    /// Applies the new lines of the activation log. If a plugin of a tenant's newest activation
    /// cannot be loaded, the tenant keeps its earlier deployment, and its payments are refused if
    /// it has none. Other tenants are not delayed. The next call tries again.
    pub async fn catch_up(&self) -> Result<(), StorageError> {
        self.catch_up_within(LOADING_PATIENCE).await
    }

    /// Like [`Self::catch_up`], with another patience. A node waits longer when it starts.
    pub async fn catch_up_within(&self, patience: Duration) -> Result<(), StorageError> {
        let mut log = self.log.lock().await;
        let read_at = Instant::now();
        let gained = if log.read_to == 0 {
            rulesets::latest_activations(&self.system).await?
        } else {
            rulesets::activations_since(&self.system, log.read_to).await?
        };
        log.note(gained);
        *self.read_at.lock().unwrap_or_else(PoisonError::into_inner) = Some(read_at);
        let delayed: Vec<(TenantId, Activation)> =
            log.held_back.iter().map(|(tenant, held)| (*tenant, held.activation.clone())).collect();
        // Concurrently, since a plugin that must be compiled would delay the others.
        let attempts = delayed
            .into_iter()
            .map(|(tenant, activation)| async move { (tenant, self.apply(tenant, &activation).await) });
        let mut attempts = futures::stream::iter(attempts).buffer_unordered(AT_ONCE_MAX);
        let applying = async {
            while let Some((tenant, result)) = attempts.next().await {
                match result {
                    Ok(()) => drop(log.held_back.remove(&tenant)),
                    Err(error) => log.log_delay(tenant, &error),
                }
            }
        };
        if timeout(patience, applying).await.is_err() {
            let late: Vec<TenantId> = log.held_back.keys().copied().collect();
            late.into_iter().for_each(|tenant| log.log_delay(tenant, &ActivationDelay::Loading));
        }
        for tenant in log.held_back.keys() {
            self.write_by_tenant().entry(*tenant).or_insert(None);
        }
        Ok(())
    }

    async fn apply(&self, tenant: TenantId, activation: &Activation) -> Result<(), ActivationDelay> {
        let mut rulesets: HashMap<i32, Arc<RunnableRuleset>> = HashMap::new();
        for number in activation.deployment.revisions() {
            let ruleset = self.load_ruleset(tenant, activation.point, number).await?;
            rulesets.insert(number, Arc::new(ruleset));
        }
        let deployment = LoadedDeployment::new(activation.deployment, &rulesets).ok_or(MISSING)?;
        self.write_by_tenant().insert(tenant, Some(Arc::new(deployment)));
        Ok(())
    }

    async fn load_ruleset(
        &self,
        tenant: TenantId,
        point: DecisionPoint,
        number: i32,
    ) -> Result<RunnableRuleset, ActivationDelay> {
        let revision = rulesets::revision_any(&self.system, tenant, point, number).await?.ok_or(MISSING)?;
        let digests: HashSet<Digest> = revision.rules.iter().map(|rule| rule.entry.plugin).collect();
        for digest in digests {
            if !self.plugins.load(digest).await {
                return Err(ActivationDelay::Plugin(digest));
            }
        }
        Ok(RunnableRuleset::new(revision))
    }

    fn write_by_tenant(&self) -> RwLockWriteGuard<'_, HashMap<TenantId, Option<Arc<LoadedDeployment>>>> {
        self.by_tenant.write().unwrap_or_else(PoisonError::into_inner)
    }
}
