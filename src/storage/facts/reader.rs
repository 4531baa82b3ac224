//! Looks up facts for live payments in batches.
//!
//! During one statement the next batch fills. So batches grow with the load, and a single payment
//! does not wait for others. If a batch is slow, its tenants are looked up separately for a while, so
//! that the long windows of one tenant do not delay the others.

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::FutureExt;
use tokio::sync::{Notify, Semaphore, oneshot};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{FactAnswer, FactRequest, ask_all, prepare};
use crate::domain::fair_queue::{FairQueue, Load};
use crate::domain::tenant::TenantId;
use crate::storage::StorageError;
use crate::storage::pool::{FactsPool, TenantsReader};

/// Connections for batches of all tenants. With two, each would get half of a batch, and two half
/// batches cost more than a whole one.
pub const SHARED_CONNECTIONS: usize = 1;
/// Connections for separate tenants. Each tenant uses one of them at a time.
pub const SEPARATE_CONNECTIONS: usize = 6;
/// The most payments of one statement, and of one tenant at its turn.
const BATCH_MAX: usize = 64;
const TURN_MAX: usize = 16;
/// The time limit of a statement for several tenants. After a timeout they are looked up
/// separately.
const SHARED_MAX: Duration = Duration::from_millis(250);
/// The time limit for checking whether facts can be read.
const CHECK_MAX: Duration = Duration::from_secs(2);
/// The time limit of a statement for a separate tenant.
const SEPARATE_MAX: Duration = Duration::from_secs(10);
/// A slower statement makes its tenants separate.
const SLOW: Duration = Duration::from_millis(100);
/// How long a tenant stays separate if it was slow by itself.
const SLOW_TENANT_FOR: Duration = Duration::from_secs(60);
/// How long a tenant stays separate if it was part of a slow batch. It ends earlier, after
/// `QUICK_STATEMENTS` quick statements of the tenant.
const SLOW_BATCH_FOR: Duration = Duration::from_secs(5);
const QUICK_STATEMENTS: u32 = 4;

/// How long an idle connection is kept. The pool checks connections that were idle for longer.
const IDLE_MAX: Duration = Duration::from_millis(250);

type LookupResult = Result<FactAnswer, StorageError>;

#[derive(Debug)]
struct PendingLookup {
    request: FactRequest,
    waiter: oneshot::Sender<LookupResult>,
}

impl PendingLookup {
    fn respond(self, result: LookupResult) {
        // The waiter may be gone.
        let _ = self.waiter.send(result);
    }
}

/// Cheap to clone. The clones share the connections.
#[derive(Debug, Clone)]
pub struct FactReader(Arc<ReaderState>);

#[derive(Debug)]
struct ReaderState {
    pool: FactsPool,
    shared: Mutex<FairQueue<PendingLookup>>,
    woken: Notify,
    separate: Mutex<HashMap<TenantId, SeparateTenant>>,
    separate_turns: Semaphore,
    end: CancellationToken,
    tasks: TaskTracker,
}

/// A tenant that is looked up separately.
#[derive(Debug)]
struct SeparateTenant {
    until: Instant,
    /// How many more quick statements end the separation. `None` if the tenant was slow by itself.
    quick_left: Option<u32>,
    pending: Vec<PendingLookup>,
    /// Whether a task processes `pending`.
    is_running: bool,
}

impl FactReader {
    /// The queue has no limit: the callers limit how many requests wait.
    pub fn start(pool: FactsPool) -> Self {
        let state = Arc::new(ReaderState {
            pool,
            shared: Mutex::new(FairQueue::new(Load::UNBOUNDED, Load::UNBOUNDED)),
            woken: Notify::new(),
            separate: Mutex::default(),
            separate_turns: Semaphore::new(SEPARATE_CONNECTIONS),
            end: CancellationToken::new(),
            tasks: TaskTracker::new(),
        });
        for _ in 0..SHARED_CONNECTIONS {
            state.tasks.spawn(run_supervised(state.clone(), |state| state.run_shared()));
        }
        Self(state)
    }

    /// Answers all queries of the request from one snapshot of the database. Asks it nothing, not
    /// even for the key, if all are answered from memory.
    pub async fn look_up(&self, request: FactRequest) -> LookupResult {
        if let Some(answer) = request.without_lookup() {
            return Ok(answer);
        }
        if self.0.end.is_cancelled() {
            return Err(StorageError::Abandoned);
        }
        let (waiter, answer) = oneshot::channel();
        self.0.put(PendingLookup { request, waiter });
        answer.await.unwrap_or(Err(StorageError::Abandoned))
    }

    /// Checks whether facts can be read now, on a separate connection.
    pub async fn can_read(&self) -> Result<(), StorageError> {
        let mut reader = self.0.pool.reader();
        let answer = reader
            .run(&[], CHECK_MAX, |connection| {
                Box::pin(async move {
                    // Returns no rows, but fails if facts cannot be read.
                    sqlx::query("select from aggregate_values where false").execute(connection).await?;
                    Ok(())
                })
            })
            .await;
        reader.release();
        answer
    }

    /// Finishes the pending lookups and ends.
    pub async fn stop(&self) {
        self.0.end.cancel();
        self.0.tasks.close();
        self.0.tasks.wait().await;
    }
}

impl ReaderState {
    fn put(self: &Arc<Self>, pending: PendingLookup) {
        let tenant = pending.request.tenant;
        let mut separate = self.separate();
        if let Some(own) = separate.get_mut(&tenant) {
            if own.is_running || Instant::now() < own.until {
                own.pending.push(pending);
                if !std::mem::replace(&mut own.is_running, true) {
                    let work = move |state: Arc<Self>| state.run_separate(tenant);
                    self.tasks.spawn(run_supervised(self.clone(), work));
                }
                return;
            }
            separate.remove(&tenant);
        }
        drop(separate);
        self.shared().put(tenant, pending, 0);
        self.woken.notify_one();
    }

    /// Makes these tenants separate: their batch was slow, and one of them may be the cause.
    fn separate_all(&self, tenants: &[TenantId]) {
        let now = Instant::now();
        let mut separate = self.separate();
        separate.retain(|_, own| own.is_running || now < own.until);
        for tenant in tenants {
            let new = SeparateTenant { until: now, quick_left: None, pending: Vec::new(), is_running: false };
            let own = separate.entry(*tenant).or_insert(new);
            if own.until <= now {
                (own.until, own.quick_left) = (now + SLOW_BATCH_FOR, Some(QUICK_STATEMENTS));
            }
        }
    }

    /// Decides by the time of a separate statement how long the tenant stays separate. Quick
    /// statements end the separation, since separate statements cost more, and after a slow moment
    /// of the machine all tenants may be separate.
    fn record_time(&self, tenant: TenantId, took: Duration) {
        let now = Instant::now();
        let mut separate = self.separate();
        let Some(own) = separate.get_mut(&tenant) else { return };
        if took > SLOW {
            (own.until, own.quick_left) = (now + SLOW_TENANT_FOR, None);
        } else if let Some(quick_left) = &mut own.quick_left {
            *quick_left = quick_left.saturating_sub(1);
            if *quick_left == 0 {
                own.until = now;
            }
        }
    }

    async fn run_shared(self: Arc<Self>) {
        let mut reader = self.pool.reader();
        while let Some(batch) = self.next_shared(&mut reader).await {
            let (tenants, begun) = (tenants_of(&batch), Instant::now());
            let result = ask(&mut reader, &batch, SHARED_MAX).await;
            let queries_failed = result.as_ref().is_err_and(is_caused_by_queries);
            if queries_failed || (result.is_ok() && begun.elapsed() > SLOW) {
                self.separate_all(&tenants);
            }
            match result {
                Ok(answers) => respond_all(batch, answers),
                Err(_) if queries_failed => batch.into_iter().for_each(|pending| self.put(pending)),
                Err(error) => abandon(batch, &error),
            }
        }
    }

    /// `None` once the reader has been stopped and no lookup is pending.
    async fn next_shared(&self, reader: &mut TenantsReader) -> Option<Vec<PendingLookup>> {
        loop {
            let mut batch = Vec::new();
            {
                let mut shared = self.shared();
                while batch.len() < BATCH_MAX {
                    let taken = shared.take(TURN_MAX.min(BATCH_MAX - batch.len()));
                    if taken.is_empty() {
                        break;
                    }
                    batch.extend(taken.into_iter().filter(|pending| !pending.waiter.is_closed()));
                }
            }
            if !batch.is_empty() {
                return Some(batch);
            }
            if self.end.is_cancelled() {
                return None;
            }
            tokio::select! {
                () = self.woken.notified() => {}
                () = self.end.cancelled() => {}
                // An idle connection is kept for a while: under traffic it is soon needed again,
                // and returning and acquiring a connection takes two round trips.
                () = sleep(IDLE_MAX), if reader.holds() => reader.release(),
            }
        }
    }

    /// Runs until the tenant has no pending lookups. Tenants take turns, since the semaphore is fair.
    async fn run_separate(self: Arc<Self>, tenant: TenantId) {
        let mut reader = self.pool.reader();
        loop {
            let turn = match self.separate_turns.try_acquire() {
                Ok(turn) => Some(turn),
                Err(_) => {
                    // The tenants that have a turn need the connection.
                    reader.release();
                    self.separate_turns.acquire().await.ok()
                }
            };
            let Some(_turn) = turn else { return };
            let Some(batch) = self.next_separate(tenant) else { return };
            if batch.is_empty() {
                continue;
            }
            let begun = Instant::now();
            match ask(&mut reader, &batch, SEPARATE_MAX).await {
                Ok(answers) => respond_all(batch, answers),
                Err(error) if is_caused_by_queries(&error) => ask_one_by_one(&mut reader, batch).await,
                // The database did not respond, so the tenant's queries are not to blame.
                Err(error) => {
                    abandon(batch, &error);
                    continue;
                }
            }
            self.record_time(tenant, begun.elapsed());
        }
    }

    fn next_separate(&self, tenant: TenantId) -> Option<Vec<PendingLookup>> {
        let mut separate = self.separate();
        let own = separate.get_mut(&tenant)?;
        if own.pending.is_empty() {
            own.is_running = false;
            return None;
        }
        // Skips callers that have given up.
        own.pending.retain(|pending| !pending.waiter.is_closed());
        let most = own.pending.len().min(BATCH_MAX);
        Some(own.pending.drain(..most).collect())
    }

    fn shared(&self) -> MutexGuard<'_, FairQueue<PendingLookup>> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn separate(&self) -> MutexGuard<'_, HashMap<TenantId, SeparateTenant>> {
        self.separate.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn ask(
    reader: &mut TenantsReader,
    batch: &[PendingLookup],
    most: Duration,
) -> Result<Vec<FactAnswer>, StorageError> {
    let (statements, answers) = prepare(batch.iter().map(|pending| &pending.request));
    if statements.is_empty() {
        return Ok(answers);
    }
    let tenants = tenants_of(batch);
    reader.run(&tenants, most, |connection| Box::pin(ask_all(connection, statements, answers))).await
}

/// Looks up one payment at a time, so that a failure does not affect the others.
async fn ask_one_by_one(reader: &mut TenantsReader, batch: Vec<PendingLookup>) {
    for pending in batch {
        let alone = std::slice::from_ref(&pending);
        let answer =
            ask(reader, alone, SEPARATE_MAX).await.map(|mut answers| answers.pop().unwrap_or_default());
        pending.respond(answer);
    }
}

/// Runs `work` again after a panic. The waiters of the lost batch get an error.
async fn run_supervised<F: Future<Output = ()>>(
    state: Arc<ReaderState>,
    work: impl Fn(Arc<ReaderState>) -> F,
) {
    while AssertUnwindSafe(work(state.clone())).catch_unwind().await.is_err() {
        tracing::error!("looking up facts panicked and will continue");
    }
}

/// Whether the queries caused the error: the database responded, but they took too long or were
/// rejected.
fn is_caused_by_queries(error: &StorageError) -> bool {
    matches!(error, StorageError::Database(_) | StorageError::Unreadable { .. })
}

fn tenants_of(batch: &[PendingLookup]) -> Vec<TenantId> {
    let mut tenants: Vec<TenantId> = batch.iter().map(|pending| pending.request.tenant).collect();
    tenants.sort_unstable();
    tenants.dedup();
    tenants
}

fn respond_all(batch: Vec<PendingLookup>, answers: Vec<FactAnswer>) {
    for (pending, answer) in batch.into_iter().zip(answers) {
        pending.respond(Ok(answer));
    }
}

fn abandon(batch: Vec<PendingLookup>, error: &StorageError) {
    tracing::warn!(%error, payments = batch.len(), "facts cannot be looked up");
    for pending in batch {
        pending.respond(Err(StorageError::Abandoned));
    }
}
