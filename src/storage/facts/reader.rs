//! Facts for live payments: what waits is asked together, as it is stored together.
//!
//! Owns who is asked for with whom. While one statement is under way the next
//! batch fills, so batches grow with the load and a lone payment waits for
//! nobody. Must never let one tenant's long windows hold up the others: what
//! takes too long together is asked apart, by tenant, for a while.

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

/// Connections that ask for all tenants together.
/// One: a second took half of each batch, and a batch costs more than its share.
pub const TOGETHER: usize = 1;
/// Connections for tenants apart. Each tenant has one of them at a time.
pub const APART: usize = 6;
/// Payments of one statement, and how many of a tenant at its turn.
const BATCH_MAX: usize = 64;
const TURN_MAX: usize = 16;
/// A statement for several tenants is given up after that, and then asked for
/// each of them apart.
const TOGETHER_MAX: Duration = Duration::from_millis(250);
/// The time limit for checking whether facts can be read.
const LOOK_MAX: Duration = Duration::from_secs(2);
const APART_MAX: Duration = Duration::from_secs(10);
/// Slow enough to keep a tenant apart.
const SLOW: Duration = Duration::from_millis(100);
/// For how long, where the tenant was slow by itself.
const KEPT_APART: Duration = Duration::from_secs(60);
/// For how long, where a batch was slow that the tenant was part of, and how
/// many quick answers by itself end that sooner.
const SUSPECTED: Duration = Duration::from_secs(5);
const ACQUITTED_BY: u32 = 4;

/// For how long a connection is held that nothing asks. What lies idle for longer
/// may be gone when it is needed: the pool sees to that.
const HELD_IDLE_MAX: Duration = Duration::from_millis(250);

type Answer = Result<FactAnswer, StorageError>;

#[derive(Debug)]
struct Waiting {
    request: FactRequest,
    waiter: oneshot::Sender<Answer>,
}

impl Waiting {
    /// A waiter that went away needs no answer.
    fn answer(self, answer: Answer) {
        let _ = self.waiter.send(answer);
    }
}

/// Cheap to clone; the clones share the connections.
#[derive(Debug, Clone)]
pub struct FactReader(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    pool: FactsPool,
    together: Mutex<FairQueue<Waiting>>,
    woken: Notify,
    apart: Mutex<HashMap<TenantId, Apart>>,
    apart_turns: Semaphore,
    end: CancellationToken,
    tasks: TaskTracker,
}

/// A tenant whose questions took too long for the others.
#[derive(Debug)]
struct Apart {
    until: Instant,
    /// Quick answers that are missing until it is acquitted; nothing where it was
    /// slow by itself.
    missing: Option<u32>,
    waiting: Vec<Waiting>,
    /// A task sees to what waits.
    under_way: bool,
}

impl FactReader {
    /// The callers limit how many requests wait.
    pub fn start(pool: FactsPool) -> Self {
        let shared = Arc::new(Shared {
            pool,
            together: Mutex::new(FairQueue::new(Load::UNBOUNDED, Load::UNBOUNDED)),
            woken: Notify::new(),
            apart: Mutex::default(),
            apart_turns: Semaphore::new(APART),
            end: CancellationToken::new(),
            tasks: TaskTracker::new(),
        });
        for _ in 0..TOGETHER {
            shared.tasks.spawn(whatever_happens(shared.clone(), |shared| shared.ask_together()));
        }
        Self(shared)
    }

    /// Answers all queries at one moment.
    pub async fn look_up(&self, request: FactRequest) -> Answer {
        if self.0.end.is_cancelled() {
            return Err(StorageError::Abandoned);
        }
        let (waiter, answer) = oneshot::channel();
        self.0.put(Waiting { request, waiter });
        answer.await.unwrap_or(Err(StorageError::Abandoned))
    }

    /// Whether facts can be read now: asked beside what waits.
    pub async fn can_read(&self) -> Result<(), StorageError> {
        let mut reader = self.0.pool.reader();
        let answer = reader
            .run(&[], LOOK_MAX, |connection| {
                Box::pin(async move {
                    // The statement finds nothing; it shows whether facts can be read at all.
                    sqlx::query("select from payment_values where false").execute(connection).await?;
                    Ok(())
                })
            })
            .await;
        reader.release();
        answer
    }

    /// Answers what waits and ends.
    pub async fn stop(&self) {
        self.0.end.cancel();
        self.0.tasks.close();
        self.0.tasks.wait().await;
    }
}

impl Shared {
    fn put(self: &Arc<Self>, waiting: Waiting) {
        let tenant = waiting.request.tenant;
        let mut apart = self.apart();
        if let Some(own) = apart.get_mut(&tenant) {
            if own.under_way || Instant::now() < own.until {
                own.waiting.push(waiting);
                if !std::mem::replace(&mut own.under_way, true) {
                    let work = move |shared: Arc<Self>| shared.ask_apart(tenant);
                    self.tasks.spawn(whatever_happens(self.clone(), work));
                }
                return;
            }
            apart.remove(&tenant);
        }
        drop(apart);
        self.together().put(tenant, waiting, 0);
        self.woken.notify_one();
    }

    /// Of these tenants one may be slow: each is asked for by itself.
    fn suspect(&self, tenants: &[TenantId]) {
        let now = Instant::now();
        let mut apart = self.apart();
        apart.retain(|_, own| own.under_way || now < own.until);
        for tenant in tenants {
            let new = Apart { until: now, missing: None, waiting: Vec::new(), under_way: false };
            let own = apart.entry(*tenant).or_insert(new);
            if own.until <= now {
                (own.until, own.missing) = (now + SUSPECTED, Some(ACQUITTED_BY));
            }
        }
    }

    /// What a tenant's questions took by themselves. Without an acquittal a slow
    /// moment of the machine would part all tenants for long, and apart they cost more.
    fn judge(&self, tenant: TenantId, took: Duration) {
        let now = Instant::now();
        let mut apart = self.apart();
        let Some(own) = apart.get_mut(&tenant) else { return };
        if took > SLOW {
            (own.until, own.missing) = (now + KEPT_APART, None);
        } else if let Some(missing) = &mut own.missing {
            *missing = missing.saturating_sub(1);
            if *missing == 0 {
                own.until = now;
            }
        }
    }

    async fn ask_together(self: Arc<Self>) {
        let mut reader = self.pool.reader();
        while let Some(batch) = self.next_together(&mut reader).await {
            let (tenants, begun) = (tenants_of(&batch), Instant::now());
            let answered = ask(&mut reader, &batch, TOGETHER_MAX).await;
            let asked_too_much = answered.as_ref().is_err_and(is_of_the_questions);
            if asked_too_much || (answered.is_ok() && begun.elapsed() > SLOW) {
                self.suspect(&tenants);
            }
            match answered {
                Ok(answers) => answer_all(batch, answers),
                Err(_) if asked_too_much => batch.into_iter().for_each(|waiting| self.put(waiting)),
                Err(error) => abandon(batch, &error),
            }
        }
    }

    /// Nothing once this has ended and nothing waits.
    async fn next_together(&self, reader: &mut TenantsReader) -> Option<Vec<Waiting>> {
        loop {
            let mut batch = Vec::new();
            {
                let mut together = self.together();
                while batch.len() < BATCH_MAX {
                    let taken = together.take(TURN_MAX.min(BATCH_MAX - batch.len()));
                    if taken.is_empty() {
                        break;
                    }
                    batch.extend(taken.into_iter().filter(|waiting| !waiting.waiter.is_closed()));
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
                // Not at once: it comes back soon where there is any traffic, and giving
                // back and asking for a connection takes two round trips.
                () = sleep(HELD_IDLE_MAX), if reader.holds() => reader.release(),
            }
        }
    }

    /// Until nothing of the tenant waits. Tenants take turns: the semaphore is fair.
    async fn ask_apart(self: Arc<Self>, tenant: TenantId) {
        let mut reader = self.pool.reader();
        loop {
            let turn = match self.apart_turns.try_acquire() {
                Ok(turn) => Some(turn),
                Err(_) => {
                    // Whoever has a turn must find a connection.
                    reader.release();
                    self.apart_turns.acquire().await.ok()
                }
            };
            let Some(_turn) = turn else { return };
            let Some(batch) = self.next_apart(tenant) else { return };
            if batch.is_empty() {
                continue;
            }
            let begun = Instant::now();
            match ask(&mut reader, &batch, APART_MAX).await {
                Ok(answers) => answer_all(batch, answers),
                Err(error) if is_of_the_questions(&error) => ask_one_by_one(&mut reader, batch).await,
                // The database did not respond, so the tenant's queries are not to blame.
                Err(error) => {
                    abandon(batch, &error);
                    continue;
                }
            }
            self.judge(tenant, begun.elapsed());
        }
    }

    fn next_apart(&self, tenant: TenantId) -> Option<Vec<Waiting>> {
        let mut apart = self.apart();
        let own = apart.get_mut(&tenant)?;
        if own.waiting.is_empty() {
            own.under_way = false;
            return None;
        }
        // Whoever has given up needs no statement.
        own.waiting.retain(|waiting| !waiting.waiter.is_closed());
        let most = own.waiting.len().min(BATCH_MAX);
        Some(own.waiting.drain(..most).collect())
    }

    fn together(&self) -> MutexGuard<'_, FairQueue<Waiting>> {
        self.together.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn apart(&self) -> MutexGuard<'_, HashMap<TenantId, Apart>> {
        self.apart.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn ask(
    reader: &mut TenantsReader,
    batch: &[Waiting],
    most: Duration,
) -> Result<Vec<FactAnswer>, StorageError> {
    let (statements, answers) = prepare(batch.iter().map(|waiting| &waiting.request));
    if statements.is_empty() {
        return Ok(answers);
    }
    let tenants = tenants_of(batch);
    reader.run(&tenants, most, |connection| Box::pin(ask_all(connection, statements, answers))).await
}

/// What cannot be answered for one payment must not fail its neighbours.
async fn ask_one_by_one(reader: &mut TenantsReader, batch: Vec<Waiting>) {
    for waiting in batch {
        let alone = std::slice::from_ref(&waiting);
        let answer = ask(reader, alone, APART_MAX).await.map(|mut answers| answers.pop().unwrap_or_default());
        waiting.answer(answer);
    }
}

/// A panic loses its batch, whose waiters see theirs gone, and not those that come after.
async fn whatever_happens<F: Future<Output = ()>>(shared: Arc<Shared>, work: impl Fn(Arc<Shared>) -> F) {
    while AssertUnwindSafe(work(shared.clone())).catch_unwind().await.is_err() {
        tracing::error!("looking up facts panicked and will continue");
    }
}

/// The database could be reached: it is what was asked that took too long or was refused.
fn is_of_the_questions(error: &StorageError) -> bool {
    matches!(error, StorageError::Database(_) | StorageError::Unreadable { .. })
}

fn tenants_of(batch: &[Waiting]) -> Vec<TenantId> {
    let mut tenants: Vec<TenantId> = batch.iter().map(|waiting| waiting.request.tenant).collect();
    tenants.sort_unstable();
    tenants.dedup();
    tenants
}

fn answer_all(batch: Vec<Waiting>, answers: Vec<FactAnswer>) {
    for (waiting, answer) in batch.into_iter().zip(answers) {
        waiting.answer(Ok(answer));
    }
}

fn abandon(batch: Vec<Waiting>, error: &StorageError) {
    tracing::warn!(%error, payments = batch.len(), "facts cannot be looked up");
    for waiting in batch {
        waiting.answer(Err(StorageError::Abandoned));
    }
}
