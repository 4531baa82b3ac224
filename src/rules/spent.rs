//! How much of a processor a piece of work takes.
//!
//! Owns the measure by which tenants are told apart. Must never count the time
//! in which somebody else had the processor: on a busy machine that would make
//! the quick look long.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use futures::future::BoxFuture;
use rustix::time::{ClockId, clock_gettime};

/// Of one piece of work in a row. What waits for something else is asked so often in vain.
const INTERRUPTIONS: usize = 2;

/// Work, and how much of a processor it has taken so far, on whichever threads.
pub(super) struct Metered<T> {
    work: BoxFuture<'static, T>,
    spent: Duration,
    /// Processor time of all the work of a tenant, in microseconds.
    account_us: Arc<AtomicU64>,
}

impl<T> Metered<T> {
    pub(super) fn new(account_us: Arc<AtomicU64>, work: impl Future<Output = T> + Send + 'static) -> Self {
        Self { work: Box::pin(work), spent: Duration::ZERO, account_us }
    }

    pub(super) fn spent(&self) -> Duration {
        self.spent
    }

    /// Works here until it is done or has taken more than `most`. What waits, or
    /// was interrupted while somebody else had the processor, goes on here.
    pub(super) async fn within(&mut self, most: Duration) -> Option<(T, Duration)> {
        poll_fn(|context| {
            // What was interrupted goes on at once: in its turn it would come after
            // everything that became ready meanwhile.
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

impl<T> Future for Metered<T> {
    /// The work's answer and its processor time.
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
    // The clock counts from the start of the thread, so it is never negative.
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
        let (answer, waited) = Metered::new(Arc::default(), async {
            std::thread::sleep(Duration::from_millis(30));
            tokio::time::sleep(Duration::from_millis(30)).await;
            7
        })
        .await;
        assert_eq!(answer, 7);
        assert!(waited < Duration::from_millis(15), "{waited:?}");
        let ((), worked) = Metered::new(Arc::default(), async { burn(Duration::from_millis(20)) }).await;
        assert!(worked >= Duration::from_millis(20), "{worked:?}");
    }

    #[tokio::test]
    async fn what_is_interrupted_without_having_taken_much_goes_on_where_it_began() {
        let most = Duration::from_millis(10);
        let mut interrupted = Metered::new(Arc::default(), async {
            for _ in 0..3 {
                tokio::task::yield_now().await;
            }
        });
        assert!(interrupted.within(most).await.is_some());
        let mut long = Metered::new(Arc::default(), async {
            burn(Duration::from_millis(20));
            tokio::task::yield_now().await;
            7
        });
        assert!(long.within(most).await.is_none());
        assert_eq!(long.await.0, 7, "it goes on wherever it is taken");
    }
}
