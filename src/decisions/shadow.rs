//! Shadow runs: rules in shadow mode and shadow revisions on live payments, after their response.
//!
//! A payment never waits for this. A decision that finds no room in the queue is skipped and
//! counted.

mod task;
mod trial;

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

pub use task::ShadowTask;
use task::bytes_of;
use trial::ShadowTrial;

/// Decisions of one batch. A batch is of one tenant; tenants take turns.
const BATCH_MAX: usize = 256;

/// The most memory of the queue. One tenant may use a quarter of it.
const WAITING_BYTES_MAX: usize = 64 << 20;

/// A batch stores its runs whenever they take this much memory.
const STORED_BYTES: usize = 4 << 20;

/// Batches that run at once.
const WORKERS: usize = 2;

/// The runs of a batch that have not started after this time are skipped.
const BATCH_DEADLINE: Duration = Duration::from_millis(500);

/// Runs that have started may take this much longer, since live payments delay them.
const GRACE: Duration = Duration::from_secs(2);

/// Rules in one call of the engine. If all use up their fuel, the call takes a quarter of a second.
/// With fewer rules, a call would cost ordinary rules too much overhead.
const CALL_RULES_MAX: usize = 64;

/// How long the queue may take to empty at shutdown.
const FLUSH: Duration = Duration::from_millis(800);

#[derive(Debug)]
pub struct ShadowRuns {
    engine: Arc<dyn RuleEngine>,
    system: SystemPool,
    queue: Mutex<FairQueue<ShadowTask>>,
    woken: Notify,
    end: CancellationToken,
    abandoned: CancellationToken,
    workers: TaskTracker,
}

impl ShadowRuns {
    /// At most `queue_max` payments wait. One tenant may use a quarter of that.
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

    /// Queues a stored decision, if there is room.
    pub fn offer(&self, task: ShadowTask) {
        let bytes = task.bytes();
        if self.queue().put(task.tenant(), task, bytes) {
            self.woken.notify_one();
        } else {
            skipped(1);
        }
    }

    /// Runs the rest of the queue. Decisions that have not run within a second are dropped.
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

    /// `None` after shutdown, once the queue is empty.
    async fn next_batch(&self) -> Option<Vec<ShadowTask>> {
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

    async fn run(&self, batch: Vec<ShadowTask>) {
        let ends = Instant::now() + BATCH_DEADLINE;
        let (mut runs, mut bytes) = (Vec::with_capacity(batch.len()), 0);
        let mut waiting = batch.into_iter();
        while waiting.len() > 0 {
            if Instant::now() >= ends {
                skipped(waiting.len());
                break;
            }
            let (mut trials, mut calls, mut rules) = (Vec::new(), Vec::new(), 0);
            while rules < CALL_RULES_MAX
                && let Some(task) = waiting.next()
            {
                let mut trial = ShadowTrial::new(task, self.engine.id());
                for call in trial.calls(ends + GRACE) {
                    rules += call.rules.len();
                    calls.push(call);
                }
                // A trial without a call still costs a fold.
                rules += 1;
                trials.push(trial);
            }
            match self.evaluate(calls, ends + GRACE).await {
                Ok(answers) => bytes += self.conclude(trials, answers, &mut runs),
                Err(error) => {
                    skipped(trials.len());
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

    /// Returns how many bytes the new runs take.
    fn conclude(
        &self,
        trials: Vec<ShadowTrial>,
        answers: Vec<Vec<RuleRun>>,
        runs: &mut Vec<ShadowRun>,
    ) -> usize {
        let (mut answers, known) = (answers.into_iter(), runs.len());
        for trial in trials {
            let before = runs.len();
            let expected = trial.conclude(self.engine.id(), &mut answers, runs);
            skipped(expected - (runs.len() - before));
        }
        runs[known..].iter().map(|run| bytes_of(&run.evidence.rules, &run.evidence.reasons)).sum()
    }

    fn queue(&self) -> MutexGuard<'_, FairQueue<ShadowTask>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn skipped(count: usize) {
    if count > 0 {
        metrics::counter!("tollgate_shadow_skipped_total").increment(count as u64);
    }
}
