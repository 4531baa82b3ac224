//! This process as one of the nodes: its heartbeat, and the plugins it can run.
//!
//! Plugins are loaded before a ruleset uses them, so that no payment waits for one.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::future::try_join_all;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use uuid::Uuid;

use super::plugins::Plugins;
use crate::domain::plugin::{Digest, Profile};
use crate::domain::time::World;
use crate::storage::StorageError;
use crate::storage::nodes::{self, NodeRecord, PluginReadiness};
use crate::storage::pool::SystemPool;

/// How many plugins of each profile are loaded at once.
const LOADED_AT_ONCE_MAX: usize = 12;
const LOADED_OF_TENANT_MAX: u32 = 3;

/// A plugin that takes longer goes on loading, and the others do not wait for it.
const LOADING_PATIENCE: Duration = Duration::from_secs(1);

/// The pause before a plugin that could not be loaded is tried again.
const RETRY_AFTER_MS: u64 = 10_000;

const POLL_EVERY: Duration = Duration::from_millis(50);

/// What a node reports about a plugin that it cannot load.
const CANNOT_LOAD: &str = "The plugin cannot be loaded there; see that node's log.";

#[derive(Debug)]
pub struct Nodes {
    system: SystemPool,
    plugins: Arc<Plugins>,
    world: World,
    own: NodeRecord,
    /// The plugins that `load_new` is loading.
    loading: Mutex<HashMap<Digest, Profile>>,
}

impl Nodes {
    pub fn new(system: SystemPool, plugins: Arc<Plugins>, world: World, own: NodeRecord) -> Self {
        Self { system, plugins, world, own, loading: Mutex::default() }
    }

    pub fn own_id(&self) -> Uuid {
        self.own.id
    }

    pub async fn beat(&self) -> Result<(), StorageError> {
        nodes::beat(&self.system, &self.own).await
    }

    pub async fn leave(&self) -> Result<(), StorageError> {
        nodes::leave(&self.system, self.own.id).await
    }

    /// Loads the plugins that were stored by any node, and reports which ones this node can run.
    pub async fn load_new(self: &Arc<Self>) -> Result<(), StorageError> {
        loop {
            let retry_before_ms = self.world.now_ms().saturating_sub(RETRY_AFTER_MS);
            let new =
                nodes::unreported(&self.system, self.own.id, retry_before_ms, LOADED_OF_TENANT_MAX).await?;
            let begun: Vec<JoinHandle<_>> =
                new.into_iter().filter_map(|(digest, profile)| self.begin(digest, profile)).collect();
            if begun.is_empty() {
                return Ok(());
            }
            let patience = tokio::time::timeout(LOADING_PATIENCE, try_join_all(begun));
            if let Ok(reported) = patience.await {
                let reported = reported.map_err(|_| StorageError::Abandoned)?;
                let reported = reported.into_iter().collect::<Result<Vec<bool>, StorageError>>()?;
                if !reported.contains(&true) {
                    // No report was stored: this node counts as dead until its next heartbeat.
                    return Ok(());
                }
            }
        }
    }

    /// Loads and reports a plugin in a task of its own. `None` if the plugin, or too many others,
    /// are being loaded.
    fn begin(
        self: &Arc<Self>,
        digest: Digest,
        profile: Profile,
    ) -> Option<JoinHandle<Result<bool, StorageError>>> {
        let mut loading = self.loading();
        let alike = loading.values().filter(|other| **other == profile).count();
        if alike >= LOADED_AT_ONCE_MAX || loading.contains_key(&digest) {
            return None;
        }
        loading.insert(digest, profile);
        // A runtime that shuts down drops the task inside `spawn`, and that takes the lock again.
        drop(loading);
        let entry = LoadSlot { nodes: self.clone(), digest };
        Some(tokio::spawn(async move {
            let LoadSlot { nodes, digest } = &entry;
            let why = if nodes.plugins.load(*digest).await { None } else { Some(CANNOT_LOAD) };
            nodes::report(&nodes.system, nodes.own.id, *digest, why, nodes.world.now_ms()).await
        }))
    }

    fn loading(&self) -> MutexGuard<'_, HashMap<Digest, Profile>> {
        self.loading.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether each live node can run a plugin.
    pub async fn readiness(&self, plugin: Digest) -> Result<Vec<PluginReadiness>, StorageError> {
        nodes::readiness(&self.system, &[plugin]).await
    }

    /// Waits until every live node can run the plugins. If the patience ends first, returns a node
    /// that cannot run one of them.
    pub async fn until_ready(
        &self,
        plugins: &[Digest],
        patience: Duration,
    ) -> Result<Option<PluginReadiness>, StorageError> {
        let until = Instant::now() + patience;
        loop {
            let lacking = nodes::readiness(&self.system, plugins).await?;
            let lacking = lacking.into_iter().find(|node| !node.ready);
            if lacking.is_none() || Instant::now() >= until {
                return Ok(lacking);
            }
            tokio::time::sleep(POLL_EVERY).await;
        }
    }
}

/// A plugin that is loading, until this is dropped with its task.
struct LoadSlot {
    nodes: Arc<Nodes>,
    digest: Digest,
}

impl Drop for LoadSlot {
    fn drop(&mut self) {
        self.nodes.loading().remove(&self.digest);
    }
}
