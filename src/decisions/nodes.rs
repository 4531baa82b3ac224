//! This process among the nodes: that it lives, and which plugins it can run.
//!
//! Owns the wait of a change for the nodes that have to carry it out. Must
//! never load a plugin in the way of a payment.

use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt, TryStreamExt};
use sqlx::PgPool;
use tokio::time::Instant;
use uuid::Uuid;

use super::plugins::Plugins;
use crate::domain::plugin::Digest;
use crate::domain::time::Clock;
use crate::storage::StorageError;
use crate::storage::nodes::{self, Node, Readiness};

/// Looked at in one turn, a few side by side.
const LOADED_IN_TURN_MAX: u32 = 256;
const LOADED_AT_ONCE_MAX: usize = 3;

/// A plugin that takes longer goes on loading, and is reported in a later turn.
const LOADING_PATIENCE: Duration = Duration::from_secs(1);

/// What could not be loaded is tried again after so long.
const RETRIED_AFTER_MS: u64 = 10_000;

const ASKED_EVERY: Duration = Duration::from_millis(50);

/// What a node says of a plugin that it cannot load; its log says more.
const CANNOT_LOAD: &str = "It cannot be loaded there; the log of the node says why.";

#[derive(Debug)]
pub struct Nodes {
    system: PgPool,
    plugins: Arc<Plugins>,
    clock: Arc<dyn Clock>,
    own: Node,
}

impl Nodes {
    pub fn new(system: PgPool, plugins: Arc<Plugins>, clock: Arc<dyn Clock>, own: Node) -> Self {
        Self { system, plugins, clock, own }
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

    /// Loads what was taken in anywhere, and reports what this node can run now.
    pub async fn load_new(&self) -> Result<(), StorageError> {
        let retry_before_ms = self.clock.now_ms().saturating_sub(RETRIED_AFTER_MS);
        let id = self.own.id;
        let new = nodes::unreported(&self.system, id, retry_before_ms, LOADED_IN_TURN_MAX).await?;
        futures::stream::iter(new)
            .map(|digest| async move {
                let loaded = tokio::time::timeout(LOADING_PATIENCE, self.plugins.load(digest)).await;
                let why = match loaded {
                    Ok(true) => None,
                    Ok(false) => Some(CANNOT_LOAD),
                    Err(_) => return Ok(()),
                };
                nodes::report(&self.system, id, digest, why, self.clock.now_ms()).await
            })
            .buffer_unordered(LOADED_AT_ONCE_MAX)
            .try_collect()
            .await
    }

    /// How every node that lives stands with a plugin.
    pub async fn readiness(&self, plugin: Digest) -> Result<Vec<Readiness>, StorageError> {
        nodes::readiness(&self.system, &[plugin]).await
    }

    /// Waits until every node that lives can run the plugins. Answers the first
    /// that still cannot when the patience ends.
    pub async fn until_ready(
        &self,
        plugins: &[Digest],
        patience: Duration,
    ) -> Result<Option<Readiness>, StorageError> {
        let until = Instant::now() + patience;
        loop {
            let lacking = nodes::readiness(&self.system, plugins).await?;
            let lacking = lacking.into_iter().find(|node| !node.ready);
            if lacking.is_none() || Instant::now() >= until {
                return Ok(lacking);
            }
            tokio::time::sleep(ASKED_EVERY).await;
        }
    }
}
