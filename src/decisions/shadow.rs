//! Shadow runs: rules and whole revisions on live payments, after their answers.
//!
//! Owns what is tried beside the decisions and how much of that one tenant may
//! ask for. Must never make a payment wait or fail: what does not fit is
//! skipped and counted.

mod attempt;
mod due;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::domain::fair_queue::{FairQueue, Load};
use crate::domain::shadow::ShadowRun;
use crate::rules::{EngineError, MissedDeadline, RuleEngine, RuleRun, RulesetCall};
use crate::storage::pool::SystemPool;
use crate::storage::shadow_runs;

use attempt::Attempt;
pub use due::Due;
use due::bytes_of;

/// One batch is of one tenant; the next is another tenant's.
const BATCH_MAX: usize = 256;

/// What waits holds no more, a quarter of it of one tenant: rules may have said much.
const WAITING_BYTES_MAX: usize = 64 << 20;

/// So much of what the rules of a batch said is stored before it goes on.
const STORED_BYTES: usize = 4 << 20;

/// Batches under way at once.
const WORKERS: usize = 2;

/// Nothing of a batch begins later.
const BATCH_DEADLINE: Duration = Duration::from_millis(500);

/// What has begun may take that much longer: live payments go first.
const GRACE: Duration = Duration::from_secs(2);

/// Rules of one call of the engine. A call of as many that burn all their fuel
/// takes a quarter of a second; one of ordinary rules is worth its overhead.
const CALL_RULES_MAX: usize = 64;

/// How long what waits at the end has got.
const FLUSH: Duration = Duration::from_millis(800);

#[derive(Debug)]
pub struct ShadowRuns {
    engine: Arc<dyn RuleEngine>,
    system: SystemPool,
    queue: Mutex<FairQueue<Due>>,
    woken: Notify,
    end: CancellationToken,
    abandoned: CancellationToken,
    workers: TaskTracker,
}

impl ShadowRuns {
    /// At most `queue_max` payments wait, and a quarter of that of one tenant.
    pub fn start(engine: Arc<dyn RuleEngine>, system: SystemPool, queue_max: usize) -> Arc<Self> {
        let room = Load { items: queue_max, bytes: WAITING_BYTES_MAX };
        let queue = Mutex::new(FairQueue::new(room, room.quarter()));
        let (end, abandoned) = (CancellationToken::new(), CancellationToken::new());
        let (woken, workers) = (Notify::new(), TaskTracker::new());
        let runs = Arc::new(Self { engine, system, queue, woken, end, abandoned, workers });
        for _ in 0..WORKERS {
            let (worker, abandoned) = (runs.clone(), runs.abandoned.clone());
            runs.workers.spawn(async move { abandoned.run_until_cancelled(worker.work()).await });
        }
        runs.workers.close();
        runs
    }

    /// Takes a stored decision in, if there is room.
    pub fn offer(&self, due: Due) {
        let bytes = due.bytes();
        if self.queue().put(due.tenant(), due, bytes) {
            self.woken.notify_one();
        } else {
            skipped(1);
        }
    }

    /// Finishes what waits, or drops it within a second.
    pub async fn stop(&self) {
        self.end.cancel();
        if timeout(FLUSH, self.workers.wait()).await.is_err() {
            self.abandoned.cancel();
            self.workers.wait().await;
        }
    }

    async fn work(&self) {
        while let Some(batch) = self.next_batch().await {
            self.run(batch).await;
        }
    }

    async fn store(&self, runs: Vec<ShadowRun>) {
        let count = runs.len();
        if count == 0 {
            return;
        }
        if let Err(error) = shadow_runs::insert(&self.system, runs).await {
            skipped(count);
            tracing::warn!(%error, count, "shadow runs could not be stored");
        }
    }

    /// Nothing once this has ended and nothing waits.
    async fn next_batch(&self) -> Option<Vec<Due>> {
        loop {
            let batch = self.queue().take(BATCH_MAX);
            if !batch.is_empty() {
                return Some(batch);
            }
            if self.end.is_cancelled() {
                return None;
            }
            tokio::select! {
                () = self.woken.notified() => {}
                () = self.end.cancelled() => {}
            }
        }
    }

    async fn run(&self, batch: Vec<Due>) {
        let ends = Instant::now() + BATCH_DEADLINE;
        let (mut runs, mut bytes) = (Vec::with_capacity(batch.len()), 0);
        let mut waiting = batch.into_iter();
        while waiting.len() > 0 {
            if Instant::now() >= ends {
                skipped(waiting.len());
                break;
            }
            let (mut attempts, mut calls, mut rules) = (Vec::new(), Vec::new(), 0);
            while rules < CALL_RULES_MAX
                && let Some(due) = waiting.next()
            {
                let mut attempt = Attempt::new(due, self.engine.id());
                for call in attempt.calls(ends + GRACE) {
                    rules += call.rules.len();
                    calls.push(call);
                }
                // Also an attempt without a call has its work: the fold.
                rules += 1;
                attempts.push(attempt);
            }
            match self.evaluate(calls, ends + GRACE).await {
                Ok(answers) => bytes += self.conclude(attempts, answers, &mut runs),
                Err(error) => {
                    skipped(attempts.len());
                    tracing::debug!(%error, "shadow runs were abandoned");
                }
            }
            if bytes > STORED_BYTES {
                self.store(std::mem::take(&mut runs)).await;
                bytes = 0;
            }
        }
        self.store(runs).await;
    }

    async fn evaluate(
        &self,
        calls: Vec<RulesetCall>,
        deadline: Instant,
    ) -> Result<Vec<Vec<RuleRun>>, EngineError> {
        if calls.is_empty() {
            return Ok(Vec::new());
        }
        let evaluated = timeout_at(deadline, self.engine.evaluate_in_background(calls)).await;
        evaluated.unwrap_or(Err(EngineError::Deadline(MissedDeadline::default())))
    }

    /// Says how many bytes the new runs are.
    fn conclude(
        &self,
        attempts: Vec<Attempt>,
        answers: Vec<Vec<RuleRun>>,
        runs: &mut Vec<ShadowRun>,
    ) -> usize {
        let (mut answers, known) = (answers.into_iter(), runs.len());
        for attempt in attempts {
            let before = runs.len();
            let tried = attempt.conclude(self.engine.id(), &mut answers, runs);
            skipped(tried - (runs.len() - before));
        }
        runs[known..].iter().map(|run| bytes_of(&run.evidence.rules, &run.evidence.reasons)).sum()
    }

    fn queue(&self) -> MutexGuard<'_, FairQueue<Due>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn skipped(count: usize) {
    if count > 0 {
        metrics::counter!("tollgate_shadow_skipped_total").increment(count as u64);
    }
}
