//! Ends the reviews that nobody decides in time, and measures how much waits.
//!
//! Every node does this. A review ends once, since its row is locked.

use crate::domain::time::World;
use crate::storage::StorageError;
use crate::storage::pool::SystemPool;
use crate::storage::reviews::expiry;

/// The most reviews that end in one transaction.
const BATCH: u32 = 100;

/// The most batches of one tenant in a turn, so that other tenants need not wait for long.
const BATCHES_MAX: u32 = 20;

/// The most waiting reviews that are counted for the metrics.
const COUNTED_MAX: u32 = 100_000;

#[derive(Debug)]
pub struct ReviewExpiry {
    system: SystemPool,
    world: World,
    /// Who ends reviews, in the audit log.
    actor: String,
}

impl ReviewExpiry {
    pub fn new(system: SystemPool, world: World, node: &str) -> Self {
        Self { system, world, actor: format!("expiry on node {node}") }
    }

    /// Ends what is due.
    pub async fn expire_due(&self) -> Result<(), StorageError> {
        for tenant in expiry::expiring_tenants(&self.system).await? {
            for _ in 0..BATCHES_MAX {
                let (actor, now_ms) = (self.actor.clone(), self.world.now_ms());
                if expiry::expire(&self.system, tenant, actor, now_ms, BATCH).await? < BATCH {
                    break;
                }
            }
        }
        Ok(())
    }

    /// Sets the gauges, which cannot query the database when they are read.
    pub async fn measure(&self) -> Result<(), StorageError> {
        let waiting = expiry::waiting(&self.system, COUNTED_MAX).await?;
        let now_ms = self.world.now_ms();
        let age_ms = waiting.oldest_opened_at_ms.map_or(0, |oldest_ms| now_ms.saturating_sub(oldest_ms));
        metrics::gauge!("tollgate_reviews_waiting").set(waiting.count as f64);
        metrics::gauge!("tollgate_reviews_oldest_age_seconds").set(age_ms as f64 / 1e3);
        Ok(())
    }
}
