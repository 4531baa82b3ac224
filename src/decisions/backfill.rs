//! Fills in the aggregates of decisions that are older than a series, lets activations wait for it,
//! and has days rolled up.
//!
//! It must not delay payments: each page is a transaction of its own, by the background role.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::domain::decision::EvidenceVersion;
use crate::domain::series::{AskedSeries, Series};
use crate::domain::tenant::TenantId;
use crate::domain::time::World;
use crate::storage::pool::{AppPool, SystemPool};
use crate::storage::reference::ReferenceMemory;
use crate::storage::series::{self, Backfill, DeclareError, Rolling, SeriesProgress};
use crate::storage::{StorageError, partitions, rulesets};

/// How often a node looks for series that another node declared.
const POLL_EVERY: Duration = Duration::from_secs(1);
/// How often a waiting activation looks.
const LOOK_EVERY: Duration = Duration::from_millis(25);
/// How often a node looks for days that are over and payments that came late.
const ROLL_UP_EVERY: Duration = Duration::from_secs(10);
/// The rows that are rolled up in one transaction.
const ROLL_UP_PAGE: u16 = 5_000;
/// How often the progress of an upgrade is logged.
const TELL_EVERY: Duration = Duration::from_secs(5);
/// Series of revisions that decided in this time are kept, so that a rollback does not wait.
const IN_USE_MS: u64 = 30 * 86_400_000;

#[derive(Debug)]
pub struct AggregateBackfill {
    system: SystemPool,
    app: AppPool,
    reference: Arc<ReferenceMemory>,
    world: World,
    /// Whether nodes of the release before may still be started.
    for_nodes_of_before: bool,
    woken: Notify,
}

impl AggregateBackfill {
    pub fn new(
        system: SystemPool,
        app: AppPool,
        reference: Arc<ReferenceMemory>,
        world: World,
        evidence: EvidenceVersion,
    ) -> Self {
        let for_nodes_of_before = evidence == EvidenceVersion::V2;
        Self { system, app, reference, world, for_nodes_of_before, woken: Notify::new() }
    }

    /// Declares the series that the tenant does not have yet, and begins to fill them in.
    pub async fn declare(&self, tenant: TenantId, series: &[AskedSeries]) -> Result<(), DeclareError> {
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

    /// Waits until all series are complete, and declares those that are not declared. If the patience
    /// ends first, returns how far they are.
    pub async fn until_complete(
        &self,
        tenant: TenantId,
        asked: &[AskedSeries],
        patience: Duration,
    ) -> Result<SeriesProgress, DeclareError> {
        let until = Instant::now() + patience;
        self.declare(tenant, asked).await?;
        let series: Vec<Series> = asked.iter().map(|asked| asked.series.clone()).collect();
        let mut progress = self.progress(tenant, series.clone()).await?;
        while !progress.unknown.is_empty() && Instant::now() < until {
            sleep(LOOK_EVERY).await;
            // One may have been removed at the same moment.
            self.declare(tenant, asked).await?;
            progress = self.progress(tenant, series.clone()).await?;
        }
        Ok(progress)
    }

    /// As `until_complete`, for a dry run. If the tenant has many series already, none is declared.
    pub async fn until_complete_for_dry_run(
        &self,
        tenant: TenantId,
        asked: &[AskedSeries],
        patience: Duration,
    ) -> Result<SeriesProgress, DeclareError> {
        if series::have_room_in_dry_run(&self.app, tenant, asked).await? {
            self.until_complete(tenant, asked, patience).await
        } else {
            Err(DeclareError::TooMany)
        }
    }

    /// Removes the series that no revision has asked about lately.
    pub async fn remove_unused(&self) -> Result<(), StorageError> {
        // Nodes of the release before would not learn of it.
        if series::are_values_written(&self.system).await? {
            return Ok(());
        }
        let since_ms = self.world.now_ms().saturating_sub(IN_USE_MS);
        let in_use = rulesets::series_in_use(&self.system, since_ms).await?.into_iter();
        let in_use = in_use
            .map(|(tenant, asked)| (tenant, asked.into_iter().map(|asked| asked.series).collect()))
            .collect();
        let removed = series::remove_unused(&self.system, &in_use, since_ms).await?;
        if removed > 0 {
            tracing::info!(series = removed, "removed series that no rule has asked about for thirty days");
        }
        Ok(())
    }

    /// Brings a database of the release before up to date: waits until the series of all revisions
    /// that decided lately are complete. Payments must not be decided before.
    pub async fn upgrade(&self) -> Result<(), StorageError> {
        if !series::are_values_written(&self.system).await? {
            return Ok(());
        }
        self.declare_in_use().await?;
        let mut told_at = Instant::now();
        self.make_partitions().await;
        loop {
            let waiting = series::waiting(&self.system).await?;
            if waiting.series == 0 {
                // Nodes of the release before may have activated revisions meanwhile.
                self.declare_in_use().await?;
                if series::waiting(&self.system).await?.series == 0 {
                    return Ok(());
                }
                continue;
            }
            if told_at.elapsed() >= TELL_EVERY {
                told_at = Instant::now();
                let series::WaitingCount { series, reached_ms } = waiting;
                tracing::info!(series, reached_ms, "counting the payments of before the upgrade");
            }
            if series::fill_in(&self.system, &self.reference, self.world.now_ms()).await?
                == Backfill::NothingToDo
            {
                // Another node fills in the rest.
                sleep(LOOK_EVERY).await;
            }
        }
    }

    /// Nodes of the release before do not declare what their activations ask.
    async fn declare_in_use(&self) -> Result<(), StorageError> {
        let since_ms = self.world.now_ms().saturating_sub(IN_USE_MS);
        for (tenant, series) in rulesets::series_in_use(&self.system, since_ms).await? {
            for asked in &series {
                match series::declare(&self.app, tenant, std::slice::from_ref(asked), self.world.now_ms())
                    .await
                {
                    Ok(()) => {}
                    Err(DeclareError::Storage(error)) => return Err(error),
                    Err(error @ DeclareError::TooMany) => {
                        tracing::error!(%tenant, %error, "some payments of a tenant cannot be counted");
                    }
                }
            }
        }
        Ok(())
    }

    /// Goes on with an upgrade while nodes of the release before may run. Returns whether it is done.
    async fn go_on_upgrading(&self) -> Result<bool, StorageError> {
        if series::are_values_written(&self.system).await? {
            self.declare_in_use().await?;
            if self.for_nodes_of_before || series::waiting(&self.system).await?.series > 0 {
                return Ok(false);
            }
        }
        series::retire_values(&self.system).await
    }

    /// Fills in everything that waits, and looks again when woken or after a while, until `end`.
    pub async fn work(&self, end: CancellationToken) {
        let (mut has_failed, mut is_upgraded) = (false, false);
        let mut roll_up_at = Instant::now();
        while !end.is_cancelled() {
            if !is_upgraded {
                // Held up by locks at times, and then tried again.
                is_upgraded = self.go_on_upgrading().await.unwrap_or(false);
            }
            let mut result = self.fill_in_all(&end).await;
            if is_upgraded && Instant::now() >= roll_up_at {
                result = result.and(self.roll_up_all(&end).await);
                roll_up_at = Instant::now() + ROLL_UP_EVERY;
            }
            match result {
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
        if series::waiting(&self.system).await?.series == 0 {
            return Ok(());
        }
        self.make_partitions().await;
        while !end.is_cancelled() {
            if series::fill_in(&self.system, &self.reference, self.world.now_ms()).await?
                == Backfill::NothingToDo
            {
                break;
            }
        }
        Ok(())
    }

    /// A step at a time, so that series that are new do not wait.
    async fn roll_up_all(&self, end: &CancellationToken) -> Result<(), StorageError> {
        series::seal_days(&self.system, self.world.now_ms()).await?;
        while !end.is_cancelled() && series::roll_up(&self.system, ROLL_UP_PAGE).await? == Rolling::Page {
            self.fill_in_all(end).await?;
        }
        Ok(())
    }

    /// Creates the partitions of all months that have decisions. It must run before rows are filled in:
    /// Postgres cannot create a partition whose rows are in the default one. An error is only
    /// logged, since rows in the default partition are counted as well.
    async fn make_partitions(&self) {
        if let Err(error) = partitions::ensure_aggregates_of_history(&self.system).await {
            tracing::warn!(%error, "some months have no partition for aggregates");
        }
    }
}
