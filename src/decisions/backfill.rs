//! Fills in the aggregates of decisions that are older than a series, and lets activations wait
//! for it.
//!
//! It must not delay payments: each page is a transaction of its own, by the background role.

use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::domain::series::Series;
use crate::domain::tenant::TenantId;
use crate::domain::time::World;
use crate::storage::pool::{AppPool, SystemPool};
use crate::storage::series::{self, Backfill, DeclareError, SeriesProgress};
use crate::storage::{StorageError, partitions};

/// How often a node looks for series that another node declared.
const POLL_EVERY: Duration = Duration::from_secs(1);
/// How often a waiting activation looks.
const LOOK_EVERY: Duration = Duration::from_millis(25);

#[derive(Debug)]
pub struct AggregateBackfill {
    system: SystemPool,
    app: AppPool,
    world: World,
    woken: Notify,
}

impl AggregateBackfill {
    pub fn new(system: SystemPool, app: AppPool, world: World) -> Self {
        Self { system, app, world, woken: Notify::new() }
    }

    /// Declares the series that the tenant does not have yet, and begins to fill them in.
    pub async fn declare(&self, tenant: TenantId, series: &[Series]) -> Result<(), DeclareError> {
        series::declare(&self.app, tenant, series, self.world.now_ms()).await?;
        if !series.is_empty() {
            self.woken.notify_one();
        }
        Ok(())
    }

    /// Which of the series cannot be asked yet.
    pub async fn progress(
        &self,
        tenant: TenantId,
        series: Vec<Series>,
    ) -> Result<SeriesProgress, StorageError> {
        series::progress(&self.app, tenant, series).await
    }

    /// Waits until all series are complete. If the patience ends first, returns how far they are.
    pub async fn until_complete(
        &self,
        tenant: TenantId,
        series: &[Series],
        patience: Duration,
    ) -> Result<SeriesProgress, StorageError> {
        let until = Instant::now() + patience;
        loop {
            let progress = self.progress(tenant, series.to_vec()).await?;
            if progress.unknown.is_empty() || Instant::now() >= until {
                return Ok(progress);
            }
            sleep(LOOK_EVERY).await;
        }
    }

    /// Fills in everything that waits, and looks again when woken or after a while, until `end`.
    pub async fn work(&self, end: CancellationToken) {
        let mut has_failed = false;
        while !end.is_cancelled() {
            match self.fill_in_all(&end).await {
                Ok(()) => has_failed = false,
                Err(error) if !has_failed => {
                    tracing::warn!(%error, "filling in aggregates is on hold");
                    has_failed = true;
                }
                Err(_) => {}
            }
            end.run_until_cancelled(timeout(POLL_EVERY, self.woken.notified())).await;
        }
    }

    async fn fill_in_all(&self, end: &CancellationToken) -> Result<(), StorageError> {
        if !series::any_waits(&self.system).await? {
            return Ok(());
        }
        // Before the first row: a month with rows in the default partition gets none. Those rows are
        // correct as well, so an error is only logged.
        if let Err(error) = partitions::ensure_aggregates_of_history(&self.system).await {
            tracing::warn!(%error, "some months have no partition for aggregates");
        }
        while !end.is_cancelled() {
            if series::fill_in(&self.system, self.world.now_ms()).await? == Backfill::NothingToDo {
                break;
            }
        }
        Ok(())
    }
}
