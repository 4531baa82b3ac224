//! The time limits of a shutdown.
//!
//! Abandoning a step loses nothing that was acknowledged: leases expire, other nodes take over,
//! and clients retry requests without a response.

use std::process::exit;
use std::time::Duration;

use tokio::time::timeout;

use crate::storage::databases::CLOSING_MAX;

/// The journal's own limits are shorter, unless its database stays unreachable.
pub const JOURNAL_MAX: Duration = Duration::from_secs(12);
/// For background work, shadow runs and facts, which stop concurrently.
pub const WORK_MAX: Duration = Duration::from_secs(5);
pub const LEAVING_MAX: Duration = Duration::from_secs(2);
pub const CHECKPOINTS_MAX: Duration = Duration::from_secs(2);
/// The sum of all limits above.
pub const STOP_MAX: Duration = Duration::from_secs(
    JOURNAL_MAX.as_secs()
        + WORK_MAX.as_secs()
        + LEAVING_MAX.as_secs()
        + CHECKPOINTS_MAX.as_secs()
        + CLOSING_MAX.as_secs(),
);
/// Added to the sum, for threads that wait for a processor.
const LATE_BY_MAX: Duration = Duration::from_secs(5);

/// Runs one step of the shutdown. A step that takes too long is logged and abandoned.
pub async fn unless_it_hangs(most: Duration, what: &'static str, step: impl Future<Output = ()>) {
    if timeout(most, step).await.is_err() {
        tracing::warn!(
            what,
            after_s = most.as_secs(),
            "a step of the shutdown took too long and was abandoned"
        );
    }
}

/// Ends the process if the shutdown takes too long. Uses a separate thread, because the runtime may
/// hang as well. `requests_max` bounds the requests in progress before the first step.
pub fn end_in_any_case(requests_max: Duration) {
    let most = requests_max + STOP_MAX + LATE_BY_MAX;
    let watch = move || {
        std::thread::sleep(most);
        tracing::error!(after_s = most.as_secs(), "the shutdown is stuck; the process exits now");
        // Gives the log time to write the line.
        std::thread::sleep(Duration::from_millis(200));
        exit(1);
    };
    if let Err(error) = std::thread::Builder::new().name("end".to_owned()).spawn(watch) {
        tracing::warn!(%error, "the thread that ends a stuck shutdown cannot be started");
    }
}
