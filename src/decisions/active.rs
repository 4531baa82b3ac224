//! The rulesets that decide at the moment, in memory.
//!
//! Owns the snapshot of every tenant's deployment and keeps it in step with the
//! activation log. A payment takes one `Arc` and sees one deployment to its
//! end. Must never hand out a revision whose plugins this node has not loaded.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex as SyncMutex, PoisonError, RwLock, RwLockWriteGuard};
use std::time::Duration;

use futures::StreamExt;
use futures::future::join_all;
use thiserror::Error;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout, timeout_at};

use super::active_ruleset::ActiveRuleset;
use super::deployed::Deployed;
use super::plugins::Plugins;
use crate::domain::decision::RuleEvidence;
use crate::domain::plugin::Digest;
use crate::domain::ruleset::{Activation, DecisionPoint};
use crate::domain::tenant::TenantId;
use crate::domain::verdict::RuleResult;
use crate::rules::{EngineError, MissedDeadline};
use crate::storage::pool::SystemPool;
use crate::storage::{StorageError, rulesets};

/// For all activations of a turn together: what takes longer to load goes on
/// loading and is taken over in a later turn, and meanwhile the log is read on.
const LOADING_PATIENCE: Duration = Duration::from_secs(1);

/// Activations that are taken over side by side, each with a connection.
const AT_ONCE_MAX: usize = 3;

const MISSING: StorageError = StorageError::Unreadable { what: "revision" };

/// A ruleset is active, and this node cannot run it yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the active ruleset is not loaded on this node")]
pub struct NotLoaded;

#[derive(Debug)]
pub struct ActiveRulesets {
    system: SystemPool,
    plugins: Arc<Plugins>,
    /// Nothing for a tenant whose first activation is held back.
    by_tenant: RwLock<HashMap<TenantId, Option<Arc<Deployed>>>>,
    /// Held while catching up, so that two catch-ups cannot put an older
    /// revision over a newer one.
    log: Mutex<Log>,
    /// Every activation made before this moment is known here.
    read_at: SyncMutex<Option<Instant>>,
}

/// How far this node has followed the activation log.
#[derive(Debug, Default)]
struct Log {
    /// The last activation read.
    read_to: i64,
    /// The newest activation of each tenant that could not be taken over yet.
    held_back: HashMap<TenantId, HeldBack>,
}

#[derive(Debug)]
struct HeldBack {
    activation: Activation,
    told: bool,
}

/// Why an activation is held back.
#[derive(Debug, Error)]
enum NotYet {
    #[error("the plugin {0} is not loaded")]
    Plugin(Digest),
    #[error("its plugins are still loading")]
    Loading,
    #[error(transparent)]
    Storage(#[from] StorageError),
}

impl Log {
    /// Notes what is new. Only a tenant's newest activation is of interest.
    fn note(&mut self, gained: Vec<(TenantId, Activation)>) {
        for (tenant, activation) in gained {
            self.read_to = self.read_to.max(activation.sequence);
            let newer = |held: &HeldBack| held.activation.sequence > activation.sequence;
            if !self.held_back.get(&tenant).is_some_and(newer) {
                self.held_back.insert(tenant, HeldBack { activation, told: false });
            }
        }
    }

    /// Once for each activation, not at every turn.
    fn tell(&mut self, tenant: TenantId, error: &NotYet) {
        let Some(held) = self.held_back.get_mut(&tenant).filter(|held| !held.told) else { return };
        held.told = true;
        let revision = held.activation.deployment.revision;
        tracing::warn!(%tenant, revision, %error, "an activation is delayed on this node");
    }
}

impl ActiveRulesets {
    pub fn new(system: SystemPool, plugins: Arc<Plugins>) -> Self {
        Self {
            system,
            plugins,
            by_tenant: RwLock::default(),
            log: Mutex::default(),
            read_at: SyncMutex::default(),
        }
    }

    /// How long ago this node last read the log of activations.
    pub fn behind(&self) -> Duration {
        let read_at = *self.read_at.lock().unwrap_or_else(PoisonError::into_inner);
        read_at.map_or(Duration::MAX, |read_at| read_at.elapsed())
    }

    /// Tenants with an active ruleset, and how many of them have one that this node cannot run.
    pub fn not_loaded(&self) -> (usize, usize) {
        let by_tenant = self.by_tenant.read().unwrap_or_else(PoisonError::into_inner);
        (by_tenant.len(), by_tenant.values().filter(|deployed| deployed.is_none()).count())
    }

    /// Nothing only where nothing was ever activated.
    pub fn of(&self, tenant: TenantId) -> Result<Option<Arc<Deployed>>, NotLoaded> {
        let by_tenant = self.by_tenant.read().unwrap_or_else(PoisonError::into_inner);
        by_tenant.get(&tenant).map(|active| active.clone().ok_or(NotLoaded)).transpose()
    }

    /// Loads the rules that could not run for want of their compiled code. Says
    /// whether any of them can run now; loading goes on beyond the deadline.
    pub async fn recover(&self, rules: &[RuleEvidence], deadline: Instant) -> Result<bool, EngineError> {
        let lacking = rules.iter().filter(|rule| rule.result == Some(RuleResult::Unavailable));
        let loading = join_all(lacking.map(|rule| self.plugins.load(rule.plugin)));
        let loaded = timeout_at(deadline, loading).await;
        loaded
            .map(|loaded| loaded.contains(&true))
            .map_err(|_| EngineError::Deadline(MissedDeadline::default()))
    }

    /// Takes over what the activation log has gained. A tenant whose newest
    /// activation cannot be taken over, as a plugin cannot be loaded, keeps its
    /// earlier revision, or has its payments refused where there is none. It
    /// holds up nobody; the next call tries again.
    pub async fn catch_up(&self) -> Result<(), StorageError> {
        self.catch_up_within(LOADING_PATIENCE).await
    }

    /// The same with another patience: a node that starts waits for everything.
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
        let due: Vec<(TenantId, Activation)> =
            log.held_back.iter().map(|(tenant, held)| (*tenant, held.activation.clone())).collect();
        // Side by side: one that has to be compiled first shall not delay the others.
        let attempts = due
            .into_iter()
            .map(|(tenant, activation)| async move { (tenant, self.take_over(tenant, &activation).await) });
        let mut attempts = futures::stream::iter(attempts).buffer_unordered(AT_ONCE_MAX);
        let taking_over = async {
            while let Some((tenant, result)) = attempts.next().await {
                match result {
                    Ok(()) => drop(log.held_back.remove(&tenant)),
                    Err(error) => log.tell(tenant, &error),
                }
            }
        };
        if timeout(patience, taking_over).await.is_err() {
            let late: Vec<TenantId> = log.held_back.keys().copied().collect();
            late.into_iter().for_each(|tenant| log.tell(tenant, &NotYet::Loading));
        }
        for tenant in log.held_back.keys() {
            self.write_by_tenant().entry(*tenant).or_insert(None);
        }
        Ok(())
    }

    async fn take_over(&self, tenant: TenantId, activation: &Activation) -> Result<(), NotYet> {
        let mut rulesets: HashMap<i32, Arc<ActiveRuleset>> = HashMap::new();
        for number in activation.deployment.revisions() {
            let ruleset = self.load_ruleset(tenant, activation.point, number).await?;
            rulesets.insert(number, Arc::new(ruleset));
        }
        let deployed = Deployed::new(activation.deployment, &rulesets).ok_or(MISSING)?;
        self.write_by_tenant().insert(tenant, Some(Arc::new(deployed)));
        Ok(())
    }

    async fn load_ruleset(
        &self,
        tenant: TenantId,
        point: DecisionPoint,
        number: i32,
    ) -> Result<ActiveRuleset, NotYet> {
        let revision = rulesets::revision_any(&self.system, tenant, point, number).await?.ok_or(MISSING)?;
        let digests: HashSet<Digest> = revision.rules.iter().map(|rule| rule.entry.plugin).collect();
        for digest in digests {
            if !self.plugins.load(digest).await {
                return Err(NotYet::Plugin(digest));
            }
        }
        Ok(ActiveRuleset::new(revision))
    }

    fn write_by_tenant(&self) -> RwLockWriteGuard<'_, HashMap<TenantId, Option<Arc<Deployed>>>> {
        self.by_tenant.write().unwrap_or_else(PoisonError::into_inner)
    }
}
