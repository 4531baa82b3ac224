//! Every tenant's deployment, kept up to date with the activation log.
//!
//! A payment takes one `Arc` of it and sees the same deployment to its end. A revision must only be
//! handed out once this node has loaded all its plugins. The rulesets of a tenant are loaded for its
//! first payment: a node that starts must never read them tenant by tenant.

mod delayed;
mod known;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex as SyncMutex, PoisonError};
use std::time::Duration;

use futures::StreamExt;
use futures::future::join_all;
use thiserror::Error;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout_at};

use self::delayed::{ActivationDelay, DelayedActivations};
use self::known::{KnownDeployment, KnownDeployments};
use super::deployment::LoadedDeployment;
use super::plugins::Plugins;
use super::runnable_ruleset::RunnableRuleset;
use super::single_flight::SingleFlight;
use crate::domain::decision::RuleEvidence;
use crate::domain::plugin::Digest;
use crate::domain::ruleset::{ActivatedDeployment, DecisionPoint, Revision};
use crate::domain::tenant::TenantId;
use crate::domain::verdict::RuleResult;
use crate::rules::{EngineError, MissedDeadline};
use crate::storage::pool::{AppPool, SystemPool};
use crate::storage::rulesets::DeployedRules;
use crate::storage::{StorageError, rulesets};

/// How long all activations of one round together may take. Plugins that take longer go on loading,
/// and their activation is applied in a later round, so the log is still read often.
const LOADING_PATIENCE: Duration = Duration::from_secs(1);

/// Activations that are applied at the same time, and plugins that are loaded at start. Each takes
/// a connection.
const AT_ONCE_MAX: usize = 3;

const MISSING: StorageError = StorageError::Unreadable { what: "revision" };

/// Why a payment gets no deployment although its tenant has one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum DeploymentError {
    #[error("the active ruleset is not loaded on this node")]
    NotLoaded,
    #[error("the deadline passed while the active ruleset was loaded")]
    Deadline,
}

/// Who waits for a deployment. A payment must neither wait for the connections of background work
/// nor use their rights.
#[derive(Debug, Clone, Copy)]
enum LoadedFor {
    Payment,
    ActivationLog,
}

type LoadResult = Result<Arc<LoadedDeployment>, DeploymentError>;

#[derive(Debug)]
pub struct Deployments {
    app: AppPool,
    system: SystemPool,
    plugins: Arc<Plugins>,
    known: KnownDeployments,
    delayed: DelayedActivations,
    /// By tenant and sequence: a payment after an activation must not join a load from before it.
    loads: SingleFlight<(TenantId, i64), LoadResult>,
    /// The last activation read. Held while catching up, so that each is read once.
    read_to: Mutex<i64>,
    /// Every activation made before this moment is known here.
    read_at: SyncMutex<Option<Instant>>,
}

impl Deployments {
    /// Keeps the rulesets of about `kept_max` tenants in memory.
    pub fn new(app: AppPool, system: SystemPool, plugins: Arc<Plugins>, kept_max: usize) -> Self {
        Self {
            app,
            system,
            plugins,
            known: KnownDeployments::new(kept_max),
            delayed: DelayedActivations::default(),
            loads: SingleFlight::default(),
            read_to: Mutex::default(),
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
        self.known.counts()
    }

    /// `None` if the tenant never activated a revision. Waits only if the rulesets are not in memory.
    pub async fn of(
        self: &Arc<Self>,
        tenant: TenantId,
        deadline: Instant,
    ) -> Result<Option<Arc<LoadedDeployment>>, DeploymentError> {
        let activated = match self.known.of(tenant) {
            None => return Ok(None),
            Some(KnownDeployment::Loaded(deployment)) => return Ok(Some(deployment)),
            Some(KnownDeployment::Delayed) => return Err(DeploymentError::NotLoaded),
            Some(KnownDeployment::NotInMemory(activated)) => activated,
        };
        let this = self.clone();
        let load = || async move { this.load(tenant, activated).await };
        let flight = self.loads.join_or_start((tenant, activated.sequence), load);
        let loaded = timeout_at(deadline, flight.result()).await.map_err(|_| DeploymentError::Deadline)?;
        loaded.unwrap_or(Err(DeploymentError::NotLoaded)).map(Some)
    }

    /// Loads a deployment for payments. If it cannot be loaded, payments no longer try it: the next
    /// rounds of catching up do.
    async fn load(&self, tenant: TenantId, activated: ActivatedDeployment) -> LoadResult {
        // Another load may have ended just before this one began.
        if let Some(KnownDeployment::Loaded(deployment)) = self.known.of(tenant) {
            return Ok(deployment);
        }
        self.apply(tenant, activated, LoadedFor::Payment).await.map_err(|error| {
            let passes = matches!(&error, ActivationDelay::Storage(error) if error.is_passing());
            if !passes && self.known.delay(tenant, activated) {
                self.delayed.note([(tenant, activated)]);
                self.delayed.log(tenant, &error);
            }
            DeploymentError::NotLoaded
        })
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
        let mut read_to = self.read_to.lock().await;
        let begun = Instant::now();
        let until = begun + patience;
        let gained = if *read_to == 0 {
            self.note_all(until).await?
        } else {
            let gained = rulesets::activations_since(&self.system, *read_to).await?;
            self.delayed.note(gained.iter().copied());
            gained
        };
        let sequences = gained.iter().map(|(_, activated)| activated.sequence);
        *read_to = sequences.fold(*read_to, i64::max);
        *self.read_at.lock().unwrap_or_else(PoisonError::into_inner) = Some(begun);
        self.apply_delayed(until).await;
        Ok(())
    }

    /// Reads what all tenants have deployed, and loads the plugins. The rulesets are loaded later,
    /// except those of which a plugin or the rules could not be loaded now.
    async fn note_all(&self, until: Instant) -> Result<Vec<(TenantId, ActivatedDeployment)>, StorageError> {
        let point = DecisionPoint::Payment;
        let latest = rulesets::latest_activations(&self.system, point).await?;
        let numbered = latest.iter().map(|(tenant, activated)| (tenant, activated.deployment.revisions()));
        let revisions =
            numbered.flat_map(|(tenant, numbers)| numbers.into_iter().map(|number| (*tenant, number)));
        let rules = rulesets::deployed_rules(&self.system, point, revisions.collect()).await?;
        let plugins: BTreeSet<Digest> =
            rules.iter().filter_map(|used| used.plugins.as_ref()).flatten().copied().collect();
        let loaded = self.load_plugins(plugins, until).await;
        let lacks =
            |used: &DeployedRules| used.plugins.as_ref().is_none_or(|plugins| !plugins.is_subset(&loaded));
        let lacking: HashSet<TenantId> =
            rules.into_iter().filter(lacks).flat_map(|used| used.tenants).collect();
        self.known.note(latest.iter().filter(|(tenant, _)| !lacking.contains(tenant)).copied());
        self.delayed.note(latest.iter().filter(|(tenant, _)| lacking.contains(tenant)).copied());
        Ok(latest)
    }

    /// Returns the plugins that could be loaded in time.
    async fn load_plugins(&self, plugins: BTreeSet<Digest>, until: Instant) -> BTreeSet<Digest> {
        let loads =
            plugins.into_iter().map(|digest| async move { (digest, self.plugins.load(digest).await) });
        let mut loads = futures::stream::iter(loads).buffer_unordered(AT_ONCE_MAX);
        let mut loaded = BTreeSet::new();
        while let Ok(Some((digest, is_loaded))) = timeout_at(until, loads.next()).await {
            if is_loaded {
                loaded.insert(digest);
            }
        }
        loaded
    }

    async fn apply_delayed(&self, until: Instant) {
        // Concurrently, since a plugin that must be compiled would delay the others.
        let attempts = self.delayed.all().into_iter().map(|(tenant, activated)| async move {
            (tenant, self.apply(tenant, activated, LoadedFor::ActivationLog).await)
        });
        let mut attempts = futures::stream::iter(attempts).buffer_unordered(AT_ONCE_MAX);
        let applying = async {
            while let Some((tenant, result)) = attempts.next().await {
                match result {
                    Ok(_) => self.delayed.remove(tenant),
                    Err(error) => self.delayed.log(tenant, &error),
                }
            }
        };
        let is_late = timeout_at(until, applying).await.is_err();
        for (tenant, activated) in self.delayed.all() {
            if is_late {
                self.delayed.log(tenant, &ActivationDelay::Loading);
            }
            self.known.delay(tenant, activated);
        }
    }

    async fn apply(
        &self,
        tenant: TenantId,
        activated: ActivatedDeployment,
        loaded_for: LoadedFor,
    ) -> Result<Arc<LoadedDeployment>, ActivationDelay> {
        let mut rulesets: HashMap<i32, Arc<RunnableRuleset>> = HashMap::new();
        for number in activated.deployment.revisions() {
            let revision = self.revision(tenant, activated.point, number, loaded_for).await?;
            let ruleset = self.load_ruleset(revision.ok_or(MISSING)?).await?;
            rulesets.insert(number, Arc::new(ruleset));
        }
        let deployment = Arc::new(LoadedDeployment::new(activated.deployment, &rulesets).ok_or(MISSING)?);
        self.known.make_effective(tenant, activated, deployment.clone());
        metrics::counter!("tollgate_deployments_loaded_total").increment(1);
        Ok(deployment)
    }

    async fn revision(
        &self,
        tenant: TenantId,
        point: DecisionPoint,
        number: i32,
        loaded_for: LoadedFor,
    ) -> Result<Option<Revision>, StorageError> {
        match loaded_for {
            LoadedFor::Payment => rulesets::get(&self.app, tenant, point, number).await,
            LoadedFor::ActivationLog => rulesets::revision_any(&self.system, tenant, point, number).await,
        }
    }

    async fn load_ruleset(&self, revision: Revision) -> Result<RunnableRuleset, ActivationDelay> {
        let digests: HashSet<Digest> = revision.rules.iter().map(|rule| rule.entry.plugin).collect();
        for digest in digests {
            if !self.plugins.load(digest).await {
                return Err(ActivationDelay::Plugin(digest));
            }
        }
        Ok(RunnableRuleset::new(revision))
    }
}
