//! One turn on one backtest: from where it is, through its history, to its end
//! or the end of the turn.
//!
//! Owns the order of pages, comparing and checkpoints. Must never count a
//! decision whose place is not stored with the count.

use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt, stream};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::compare::Comparison;
use super::connections::Connections;
use super::{Backtests, Trouble};
use crate::domain::backtest::report::BacktestReport;
use crate::domain::backtest::{Backtest, BacktestSelection};
use crate::domain::payment::PaymentId;
use crate::domain::tenant::TenantId;
use crate::storage::StorageError;
use crate::storage::backtests::{self, Claim, Progress};
use crate::storage::decisions::history::{self, HistoryRow, PageSize};

/// The lease is renewed, what was counted is stored, and a cancellation noticed this often.
const CHECKPOINT_EVERY: Duration = Duration::from_secs(1);

/// Then somebody else's may be next. Going on costs a node some milliseconds.
const TURN_MAX: Duration = Duration::from_secs(30);

/// Decisions that are compared together.
const PART: usize = 128;

const PAGE: PageSize = PageSize { decisions: 2_048, bytes: 8 << 20 };

/// Parts that are read and wait. With those in work they are a page.
const PARTS_WAITING: usize = 4;

/// A part of the history, compared.
struct Compared {
    count: u64,
    last: Option<PaymentId>,
    report: BacktestReport,
}

impl Backtests {
    pub(super) async fn run(
        &self,
        claim: Claim,
        backtest: Backtest,
        reached: Option<PaymentId>,
        end: &CancellationToken,
    ) -> Result<(), Trouble> {
        let revisions = [backtest.revision].into_iter().chain(backtest.baseline_revision);
        let preparing = Comparison::prepare(
            claim.tenant,
            self.engine.clone(),
            self.plugins.clone(),
            self.connections.clone(),
            revisions,
        );
        let comparison = Arc::new(self.holding(claim, preparing).await?);
        if backtest.total.is_none() {
            self.holding(claim, self.count(claim, &backtest.selection)).await?;
        }
        let reading = Reading {
            connections: self.connections.clone(),
            tenant: claim.tenant,
            left: backtest.selection.newest.unwrap_or(u64::MAX).saturating_sub(backtest.done),
            selection: backtest.selection,
            told_before_ms: backtest.created_at_ms,
            before: reached,
        };
        let report = backtest.report.unwrap_or_default();
        let mut progress = Progress { done: backtest.done, reached, report };
        if self.compare_all(claim, reading, &comparison, &mut progress, end).await? {
            let now_ms = self.world.now_ms();
            let finishing = |system| async move { backtests::finish(&system, claim, progress, now_ms).await };
            return held(self.connections.run(finishing).await?);
        }
        self.checkpoint(claim, Some(progress)).await?;
        let letting_go = |system| async move { backtests::let_go(&system, claim).await };
        held(self.connections.run_at_once(letting_go).await?)
    }

    async fn count(&self, claim: Claim, selection: &BacktestSelection) -> Result<(), Trouble> {
        let selection = selection.clone();
        let counting = |system| async move {
            let total = history::count(&system, claim.tenant, &selection).await?;
            backtests::set_total(&system, claim, total).await
        };
        held(self.connections.run(counting).await?)
    }

    /// Renews the lease while something else is under way.
    async fn holding<T>(
        &self,
        claim: Claim,
        work: impl Future<Output = Result<T, Trouble>>,
    ) -> Result<T, Trouble> {
        let mut work = std::pin::pin!(work);
        loop {
            match tokio::time::timeout(CHECKPOINT_EVERY, &mut work).await {
                Ok(done) => return done,
                Err(_) => self.checkpoint(claim, None).await?,
            }
        }
    }

    async fn checkpoint(&self, claim: Claim, progress: Option<Progress>) -> Result<(), Trouble> {
        let writing = |system| async move { backtests::checkpoint(&system, claim, progress).await };
        held(self.connections.run_at_once(writing).await?)
    }

    /// Whether it came to the end of the history, rather than of the turn.
    async fn compare_all(
        &self,
        claim: Claim,
        reading: Reading,
        comparison: &Arc<Comparison>,
        progress: &mut Progress,
        end: &CancellationToken,
    ) -> Result<bool, Trouble> {
        let (sender, parts) = mpsc::channel(PARTS_WAITING);
        let _reading = AbortOnDropHandle::new(tokio::spawn(reading.read_on(sender)));
        let parts = stream::unfold(parts, async |mut parts| Some((parts.recv().await?, parts)));
        let compared = parts.map(|rows| self.compare(comparison.clone(), rows)).buffered(self.at_once);
        let mut compared = std::pin::pin!(compared);

        let mut checkpoints = interval(CHECKPOINT_EVERY);
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
                    let Compared { count, last, report } = next?;
                    progress.report.merge(report);
                    progress.done += count;
                    progress.reached = last.or(progress.reached);
                }
            }
        }
    }

    async fn compare(
        &self,
        comparison: Arc<Comparison>,
        rows: Result<Vec<HistoryRow>, StorageError>,
    ) -> Result<Compared, Trouble> {
        let rows = rows?;
        let (count, last) = (rows.len() as u64, rows.last().map(|row| row.id));
        let report = self.threads.run(async move { comparison.compare(rows).await }).await??;
        Ok(Compared { count, last, report })
    }
}

fn held(held: bool) -> Result<(), Trouble> {
    if held { Ok(()) } else { Err(Trouble::Gone) }
}

/// Reads page after page, as fast as they are taken.
struct Reading {
    connections: Connections,
    tenant: TenantId,
    selection: BacktestSelection,
    /// What was told later is left out: however often it is cut, a report is of one moment.
    told_before_ms: u64,
    before: Option<PaymentId>,
    /// Decisions that are still wanted.
    left: u64,
}

impl Reading {
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
        let told_before_ms = self.told_before_ms;
        let decisions = u32::try_from(self.left).map_or(PAGE.decisions, |left| left.min(PAGE.decisions));
        let size = PageSize { decisions, ..PAGE };
        let reading = |system| async move {
            history::page(&system, tenant, &selection, told_before_ms, before, size).await
        };
        self.connections.run(reading).await
    }
}
