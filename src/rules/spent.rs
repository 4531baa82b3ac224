//! How much of a processor a piece of work takes.
//!
//! Owns the measure by which tenants are told apart. Must never count the time
//! in which somebody else had the processor: on a busy machine that would make
//! the quick look long.

use std::future::poll_fn;
use std::pin::pin;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// The work's answer and its processor time, on whichever threads it was.
pub(super) async fn spent<T>(work: impl Future<Output = T>) -> (T, Duration) {
    let mut work = pin!(work);
    let mut spent = Duration::ZERO;
    let answer = poll_fn(|context| {
        let begun = of_this_thread();
        let polled = work.as_mut().poll(context);
        spent += of_this_thread().saturating_sub(begun);
        polled
    });
    (answer.await, spent)
}

fn of_this_thread() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    // Never negative: it counts from the thread's start.
    Duration::try_from(time).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn work_counts_and_waiting_does_not() {
        let (answer, waited) = spent(async {
            std::thread::sleep(Duration::from_millis(30));
            tokio::time::sleep(Duration::from_millis(30)).await;
            7
        })
        .await;
        assert_eq!(answer, 7);
        assert!(waited < Duration::from_millis(15), "{waited:?}");
        let ((), worked) = spent(async {
            let begun = of_this_thread();
            while of_this_thread() - begun < Duration::from_millis(20) {}
        })
        .await;
        assert!(worked >= Duration::from_millis(20), "{worked:?}");
    }
}
