//! Retention: removes the decisions that are older than their tenant wants to keep.
//!
//! A month is collected, signed, and only then removed. Whatever step a node dies at, the next one
//! goes on from there, and verification passes at every point between.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::checkpoints::Checkpoints;
use crate::domain::plugin::{Digest, DigestBuilder};
use crate::domain::removal::{Removal, RemovalId};
use crate::domain::time::World;
use crate::storage::pool::SystemPool;
use crate::storage::removals::{self, OpenRemoval, RemovalProgress, RemovalState};
use crate::storage::{StorageError, partitions};

/// How often a node looks for decisions that are older than their tenant keeps them.
const LOOK_EVERY: Duration = Duration::from_secs(30);

#[derive(Debug, Error)]
pub enum RetentionError {
    #[error(transparent)]
    Storage(#[from] StorageError),
    #[error("the signature of a removal could not be written to a file: {0}")]
    File(#[from] io::Error),
}

#[derive(Debug)]
pub struct Retention {
    system: SystemPool,
    checkpoints: Arc<Checkpoints>,
    world: World,
    /// Who removes, in the audit log.
    actor: String,
}

impl Retention {
    pub fn new(system: SystemPool, checkpoints: Arc<Checkpoints>, world: World, node: &str) -> Self {
        Self { system, checkpoints, world, actor: format!("retention on node {node}") }
    }

    /// Removes everything that is due, and looks again after a while, until `end`.
    pub async fn work(&self, end: CancellationToken) {
        let mut has_failed = false;
        while !end.is_cancelled() {
            match self.remove_all(&end).await {
                Ok(()) => has_failed = false,
                Err(error) if !has_failed => {
                    tracing::warn!(%error, "removing old decisions is on hold");
                    has_failed = true;
                }
                Err(_) => {}
            }
            end.run_until_cancelled(sleep(LOOK_EVERY)).await;
        }
    }

    async fn remove_all(&self, end: &CancellationToken) -> Result<(), RetentionError> {
        while !end.is_cancelled() && self.step().await? {}
        Ok(partitions::drop_empty(&self.system).await?)
    }

    /// Takes the next step, in a short transaction. Returns `false` if nothing is due, or another
    /// node is at it.
    pub async fn step(&self) -> Result<bool, RetentionError> {
        let Some(OpenRemoval { id, state }) = removals::open(&self.system).await? else {
            return Ok(removals::begin(&self.system, self.world.now_ms()).await?);
        };
        match state {
            RemovalState::Collecting => removals::collect(&self.system, id).await?,
            RemovalState::Collected { decisions } => {
                let (_, hash) = hash_of(&self.system, id).await?;
                let removal = Removal { id, decisions, hash, at_ms: self.world.now_ms() };
                removals::sign(&self.system, self.checkpoints.sign_removal(removal)).await?;
            }
            RemovalState::Signed(signed) => {
                let checkpoints = self.checkpoints.clone();
                let kept = tokio::task::spawn_blocking(move || checkpoints.keep_removal(*signed)).await;
                kept.map_err(io::Error::from)??;
                removals::begin_removing(&self.system, id).await?;
            }
            RemovalState::Removing => {
                let (actor, now_ms) = (self.actor.clone(), self.world.now_ms());
                let progress = removals::remove_next(&self.system, id, actor, now_ms).await?;
                if progress == RemovalProgress::Finished {
                    tracing::info!(tenant = %id.tenant, month = %id.month, "decisions were removed by retention");
                }
                return Ok(progress != RemovalProgress::NotOurs);
            }
        }
        Ok(true)
    }
}

/// The number and the hash of the entries of a record.
pub(super) async fn hash_of(system: &SystemPool, id: RemovalId) -> Result<(u64, Digest), StorageError> {
    let (mut hash, mut bytes, mut last) = (DigestBuilder::default(), 0, Uuid::nil());
    loop {
        let page = removals::entries_after(system, id, last).await?;
        let Some((reached, _)) = page.last() else {
            return Ok(((bytes / removals::ENTRY_BYTES) as u64, hash.finish()));
        };
        last = *reached;
        for (_, entries) in &page {
            bytes += entries.len();
            hash = hash.with(entries);
        }
    }
}
