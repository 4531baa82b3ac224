//! Time limits for waiting on the database. A connection that does not respond is closed.
//!
//! Connections of a pool must only be used through here: if the database's host vanishes, any
//! other wait lasts forever.

use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use futures::future::BoxFuture;
use futures::task::AtomicWaker;
use sqlx::pool::PoolConnection;
use sqlx::{PgConnection, PgPool, Postgres};
use tokio::time::{Instant, sleep, timeout};

use super::StorageError;

/// How long a statement may take. After this time the server cancels it. If the error does not
/// arrive either, the connection counts as dead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeLimit(Duration);

/// How long the error of a cancelled statement may take to arrive.
const CANCEL_DELAY_MAX: Duration = Duration::from_secs(1);

/// The limit for checking a connection that is returned to the pool.
const RETURN_CHECK_MAX: Duration = Duration::from_secs(5);

impl TimeLimit {
    /// For work that other nodes or `/ready` wait for, or that is repeated soon.
    pub const SHORT: Self = Self(Duration::from_secs(2));
    /// For requests, and for background work on a few rows.
    pub const USUAL: Self = Self(Duration::from_secs(10));
    /// For a page of history.
    pub const PAGE: Self = Self(Duration::from_secs(60));
    /// For whole tables.
    pub const LONG: Self = Self(Duration::from_secs(600));

    pub fn of(statement_max: Duration) -> Self {
        Self(statement_max)
    }

    pub fn statement_max_ms(self) -> u64 {
        u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX)
    }

    fn silence_max(self) -> Duration {
        self.0 + CANCEL_DELAY_MAX
    }
}

/// A connection of a pool. Dropping it closes it; only `give_back` returns it to the pool.
#[derive(Debug)]
pub struct LimitedConnection(Option<PoolConnection<Postgres>>);

impl LimitedConnection {
    /// The pool limits how long this takes, including connecting and checking an idle
    /// connection.
    pub async fn acquire(pool: &PgPool) -> Result<Self, StorageError> {
        Ok(Self(Some(pool.acquire().await?)))
    }

    /// Runs work on the connection. If the database is silent for too long, the connection is
    /// closed, and it is unknown whether the work was done.
    pub async fn run<T, E, F>(&mut self, limit: TimeLimit, work: F) -> Result<T, E>
    where
        E: From<StorageError>,
        F: for<'c> FnOnce(&'c mut PgConnection) -> BoxFuture<'c, Result<T, E>>,
    {
        // Taken out while it is used, so that dropping this future closes it.
        let mut own = Self(self.0.take());
        let Some(connection) = &mut own.0 else { return Err(no_response().into()) };
        match unless_silent(limit.silence_max(), work(connection)).await {
            Some(answer) => {
                self.0 = own.0.take();
                answer
            }
            None => {
                let waited_ms = limit.silence_max().as_millis();
                tracing::warn!(waited_ms, "the database does not respond; its connection is closed");
                Err(no_response().into())
            }
        }
    }

    /// Returns the connection to the pool, which checks it first. sqlx does the same when a
    /// connection is dropped, but without a limit for that check.
    pub fn give_back(mut self) {
        let Some(mut connection) = self.0.take() else { return };
        tokio::spawn(async move {
            if timeout(RETURN_CHECK_MAX, connection.return_to_pool()).await.is_err() {
                tracing::warn!("the database does not respond; a connection returned to the pool is closed");
            }
        });
    }
}

impl Drop for LimitedConnection {
    fn drop(&mut self) {
        if let Some(connection) = self.0.take() {
            drop(connection.detach());
        }
    }
}

/// Limits a wait on a connection that is not from a pool, such as connecting.
pub(super) async fn within<T>(
    most: Duration,
    work: impl Future<Output = Result<T, sqlx::Error>>,
) -> Result<T, sqlx::Error> {
    timeout(most, work).await.unwrap_or_else(|_| Err(timed_out()))
}

pub(super) fn no_response() -> StorageError {
    timed_out().into()
}

fn timed_out() -> sqlx::Error {
    sqlx::Error::Io(io::Error::new(io::ErrorKind::TimedOut, "the database does not respond"))
}

/// Wakes the task, and records that the work made progress. The timer wakes the task directly.
struct ProgressWaker {
    progressed: AtomicBool,
    task: AtomicWaker,
}

impl Wake for ProgressWaker {
    fn wake(self: Arc<Self>) {
        self.progressed.store(true, Ordering::Release);
        self.task.wake();
    }
}

/// `None` once the work has made no progress for `most`. Each response, and each part of a long
/// one, restarts the wait: only silence is limited, not the duration of the work.
async fn unless_silent<F: Future>(most: Duration, work: F) -> Option<F::Output> {
    let progress = Arc::new(ProgressWaker { progressed: AtomicBool::new(true), task: AtomicWaker::new() });
    let waker = Waker::from(progress.clone());
    let (mut work, mut end) = (pin!(work), pin!(sleep(most)));
    let mut progressed_at = Instant::now();
    poll_fn(|context| {
        progress.task.register(context.waker());
        if progress.progressed.swap(false, Ordering::AcqRel) {
            if let Poll::Ready(output) = work.as_mut().poll(&mut Context::from_waker(&waker)) {
                return Poll::Ready(Some(output));
            }
            progressed_at = Instant::now();
        }
        while end.as_mut().poll(context).is_ready() {
            if progressed_at + most <= Instant::now() {
                return Poll::Ready(None);
            }
            end.as_mut().reset(progressed_at + most);
        }
        Poll::Pending
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOST: Duration = Duration::from_secs(2);

    #[tokio::test]
    async fn work_that_makes_progress_may_last_longer_than_the_limit() {
        let work = async {
            for _ in 0..25 {
                sleep(MOST / 20).await;
            }
        };
        assert_eq!(unless_silent(MOST, work).await, Some(()));
    }

    #[tokio::test]
    async fn silence_is_measured_from_the_last_progress() {
        let begun = Instant::now();
        let work = async {
            sleep(MOST / 2).await;
            std::future::pending::<()>().await;
        };
        assert_eq!(unless_silent(MOST, work).await, None);
        assert!(begun.elapsed() >= MOST + MOST / 2, "{:?}", begun.elapsed());
    }
}
