//! One turn on one backtest: reads pages of the history, compares them and stores checkpoints.
//!
//! A report and the position that it reaches to must always be stored together.

use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt, stream};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::compare::HistoryComparison;
use super::connections::Connections;
use super::{BacktestError, Backtests};
use crate::domain::backtest::report::BacktestReport;
use crate::domain::backtest::{Backtest, BacktestSelection};
use crate::domain::payment::PaymentId;
use crate::domain::tenant::TenantId;
use crate::storage::StorageError;
use crate::storage::backtests::{self, BacktestClaim, BacktestProgress};
use crate::storage::decisions::history::{self, HistoryRow, PageSize};

/// How often the lease is renewed, the progress stored and a cancellation noticed.
const PROGRESS_EVERY: Duration = Duration::from_secs(1);

/// After this time another tenant may be next. Continuing a backtest later costs some milliseconds.
const TURN_MAX: Duration = Duration::from_secs(30);

/// Decisions that are compared together.
const PART: usize = 128;

const PAGE: PageSize = PageSize { decisions: 2_048, bytes: 8 << 20 };

/// Parts that are read and wait to be compared.
const PARTS_WAITING: usize = 4;

/// The report of a part of the history.
struct PartReport {
    count: u64,
    last: Option<PaymentId>,
    report: BacktestReport,
}

impl Backtests {
    pub(super) async fn run(
        &self,
        claim: BacktestClaim,
        backtest: Backtest,
        reached: Option<PaymentId>,
        end: &CancellationToken,
    ) -> Result<(), BacktestError> {
        let revisions = [backtest.revision].into_iter().chain(backtest.baseline_revision);
        let preparing = HistoryComparison::prepare(
            claim.tenant,
            self.engine.clone(),
            self.plugins.clone(),
            self.connections.clone(),
            self.reference.clone(),
            revisions,
        );
        let comparison = Arc::new(self.holding(claim, preparing).await?);
        let unknown = self.holding(claim, comparison.unknown_series()).await?;
        if !unknown.is_empty() {
            // Until another turn. Meanwhile this tenant's earlier payments are prepared.
            if let Err(error) = self.backfill.declare(claim.tenant, &unknown).await {
                tracing::warn!(tenant = %claim.tenant, %error, "a backtest waits for facts");
            }
            tokio::time::sleep(PROGRESS_EVERY).await;
            return self.release(claim).await;
        }
        if backtest.total.is_none() {
            self.holding(claim, self.count(claim, &backtest.selection)).await?;
        }
        let reading = HistoryReader {
            connections: self.connections.clone(),
            tenant: claim.tenant,
            left: backtest.selection.newest.unwrap_or(u64::MAX).saturating_sub(backtest.done),
            selection: backtest.selection,
            reported_before_ms: backtest.created_at_ms,
            before: reached,
        };
        let report = backtest.report.unwrap_or_default();
        let mut progress = BacktestProgress { done: backtest.done, reached, report };
        if self.compare_all(claim, reading, &comparison, &mut progress, end).await? {
            let now_ms = self.world.now_ms();
            let finishing = |system| async move { backtests::finish(&system, claim, progress, now_ms).await };
            return held(self.connections.run(finishing).await?);
        }
        self.checkpoint(claim, Some(progress)).await?;
        self.release(claim).await
    }

    async fn release(&self, claim: BacktestClaim) -> Result<(), BacktestError> {
        let releasing = |system| async move { backtests::release(&system, claim).await };
        held(self.connections.run_at_once(releasing).await?)
    }

    async fn count(&self, claim: BacktestClaim, selection: &BacktestSelection) -> Result<(), BacktestError> {
        let selection = selection.clone();
        let counting = |system| async move {
            let total = history::count(&system, claim.tenant, &selection).await?;
            backtests::set_total(&system, claim, total).await
        };
        held(self.connections.run(counting).await?)
    }

    /// Renews the lease while `work` runs.
    async fn holding<T>(
        &self,
        claim: BacktestClaim,
        work: impl Future<Output = Result<T, BacktestError>>,
    ) -> Result<T, BacktestError> {
        let mut work = std::pin::pin!(work);
        loop {
            match tokio::time::timeout(PROGRESS_EVERY, &mut work).await {
                Ok(done) => return done,
                Err(_) => self.checkpoint(claim, None).await?,
            }
        }
    }

    async fn checkpoint(
        &self,
        claim: BacktestClaim,
        progress: Option<BacktestProgress>,
    ) -> Result<(), BacktestError> {
        let writing = |system| async move { backtests::checkpoint(&system, claim, progress).await };
        held(self.connections.run_at_once(writing).await?)
    }

    /// Returns whether it reached the end of the history, rather than the end of the turn.
    async fn compare_all(
        &self,
        claim: BacktestClaim,
        reading: HistoryReader,
        comparison: &Arc<HistoryComparison>,
        progress: &mut BacktestProgress,
        end: &CancellationToken,
    ) -> Result<bool, BacktestError> {
        let (sender, parts) = mpsc::channel(PARTS_WAITING);
        let _reading = AbortOnDropHandle::new(tokio::spawn(reading.read_on(sender)));
        let parts = stream::unfold(parts, async |mut parts| Some((parts.recv().await?, parts)));
        let compared = parts.map(|rows| self.compare(comparison.clone(), rows)).buffered(self.at_once);
        let mut compared = std::pin::pin!(compared);

        let mut checkpoints = interval(PROGRESS_EVERY);
        checkpoints.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let turn_end = Instant::now() + TURN_MAX;
        let mut stored = progress.done;
        loop {
            tokio::select! {
                biased;
                () = end.cancelled() => return Ok(false),
                _ = checkpoints.tick() => {
                    let new = (progress.done > stored).then(|| progress.clone());
                    self.checkpoint(claim, new).await?;
                    stored = progress.done;
                    if Instant::now() >= turn_end {
                        return Ok(false);
                    }
                }
                next = compared.next() => {
                    let Some(next) = next else { return Ok(true) };
                    let PartReport { count, last, report } = next?;
                    progress.report.merge(report);
                    progress.done += count;
                    progress.reached = last.or(progress.reached);
                }
            }
        }
    }

    async fn compare(
        &self,
        comparison: Arc<HistoryComparison>,
        rows: Result<Vec<HistoryRow>, StorageError>,
    ) -> Result<PartReport, BacktestError> {
        let rows = rows?;
        let (count, last) = (rows.len() as u64, rows.last().map(|row| row.id));
        let report = self.threads.run(async move { comparison.compare(rows).await }).await??;
        Ok(PartReport { count, last, report })
    }
}

fn held(held: bool) -> Result<(), BacktestError> {
    if held { Ok(()) } else { Err(BacktestError::ClaimLost) }
}

/// Reads page after page, as fast as they are compared.
struct HistoryReader {
    connections: Connections,
    tenant: TenantId,
    selection: BacktestSelection,
    /// Payment events reported later are left out, so the report does not depend on interruptions.
    reported_before_ms: u64,
    before: Option<PaymentId>,
    /// How many decisions are still to be read.
    left: u64,
}

impl HistoryReader {
    async fn read_on(mut self, parts: mpsc::Sender<Result<Vec<HistoryRow>, StorageError>>) {
        while self.left > 0 {
            let mut page = match self.page().await {
                Ok(page) => page,
                Err(error) => return drop(parts.send(Err(error)).await),
            };
            let Some(last) = page.last() else { return };
            self.before = Some(last.id);
            self.left -= page.len() as u64;
            while !page.is_empty() {
                let rest = page.split_off(PART.min(page.len()));
                if parts.send(Ok(std::mem::replace(&mut page, rest))).await.is_err() {
                    return;
                }
            }
        }
    }

    async fn page(&self) -> Result<Vec<HistoryRow>, StorageError> {
        let (tenant, selection, before) = (self.tenant, self.selection.clone(), self.before);
        let reported_before_ms = self.reported_before_ms;
        let decisions = u32::try_from(self.left).map_or(PAGE.decisions, |left| left.min(PAGE.decisions));
        let size = PageSize { decisions, ..PAGE };
        let reading = |system| async move {
            history::page(&system, tenant, &selection, reported_before_ms, before, size).await
        };
        self.connections.run(reading).await
    }
}
