//! Measures the processor time of a future.
//!
//! Elapsed time would be wrong here: on a busy machine even quick work takes long.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use futures::future::BoxFuture;
use rustix::time::{ClockId, clock_gettime};

/// How often pending work is polled again at once, in case it was only interrupted. If it waits for
/// something, these polls are wasted.
const INTERRUPTIONS: usize = 2;

/// A future with the processor time that it has taken so far, on any thread.
pub(super) struct MeteredFuture<T> {
    work: BoxFuture<'static, T>,
    spent: Duration,
    /// The processor time of all work of the tenant.
    account_us: Arc<AtomicU64>,
}

impl<T> MeteredFuture<T> {
    pub(super) fn new(account_us: Arc<AtomicU64>, work: impl Future<Output = T> + Send + 'static) -> Self {
        Self { work: Box::pin(work), spent: Duration::ZERO, account_us }
    }

    pub(super) fn spent(&self) -> Duration {
        self.spent
    }

    /// Polls the work on this task until it ends. Returns `None` once it has taken more than
    /// `most`. Work that waits or was interrupted continues on this task.
    pub(super) async fn within(&mut self, most: Duration) -> Option<(T, Duration)> {
        poll_fn(|context| {
            // Interrupted work continues at once. Otherwise it would run after all tasks that have
            // become ready.
            for _ in 0..=INTERRUPTIONS {
                match Pin::new(&mut *self).poll(context) {
                    Poll::Ready(answer) => return Poll::Ready(Some(answer)),
                    Poll::Pending if self.spent > most => return Poll::Ready(None),
                    Poll::Pending => {}
                }
            }
            Poll::Pending
        })
        .await
    }
}

impl<T> Future for MeteredFuture<T> {
    /// The result of the work and its processor time.
    type Output = (T, Duration);

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let begun = of_this_thread();
        let polled = self.work.as_mut().poll(context);
        let spent = of_this_thread().saturating_sub(begun);
        self.spent += spent;
        let spent_us = u64::try_from(spent.as_micros()).unwrap_or(u64::MAX);
        self.account_us.fetch_add(spent_us, Ordering::Relaxed);
        polled.map(|answer| (answer, self.spent))
    }
}

fn of_this_thread() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::try_from(time).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn burn(most: Duration) {
        let begun = of_this_thread();
        while of_this_thread() - begun < most {}
    }

    #[tokio::test]
    async fn work_counts_and_waiting_does_not() {
        let (answer, waited) = MeteredFuture::new(Arc::default(), async {
            std::thread::sleep(Duration::from_millis(30));
            tokio::time::sleep(Duration::from_millis(30)).await;
            7
        })
        .await;
        assert_eq!(answer, 7);
        assert!(waited < Duration::from_millis(15), "{waited:?}");
        let ((), worked) =
            MeteredFuture::new(Arc::default(), async { burn(Duration::from_millis(20)) }).await;
        assert!(worked >= Duration::from_millis(20), "{worked:?}");
    }

    #[tokio::test]
    async fn what_is_interrupted_without_having_taken_much_goes_on_where_it_began() {
        let most = Duration::from_millis(10);
        let mut interrupted = MeteredFuture::new(Arc::default(), async {
            for _ in 0..3 {
                tokio::task::yield_now().await;
            }
        });
        assert!(interrupted.within(most).await.is_some());
        let mut long = MeteredFuture::new(Arc::default(), async {
            burn(Duration::from_millis(20));
            tokio::task::yield_now().await;
            7
        });
        assert!(long.within(most).await.is_none());
        assert_eq!(long.await.0, 7, "it goes on wherever it is taken");
    }
}
