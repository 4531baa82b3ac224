//! Limits the open event streams, per tenant and per node.
//!
//! A stream whose client stopped reading cannot be closed. So a stream counts towards the limit
//! only until its token expires.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

use crate::domain::tenant::TenantId;
use crate::http::response::problem::{Problem, ProblemKind};

const TENANT_STREAMS_MAX: usize = 8;
const NODE_STREAMS_MAX: usize = 64;
/// The most streams per tenant whose token has expired but whose client neither reads nor closes
/// them. Each still holds a connection and its unsent events.
const TENANT_HANGING_STREAMS_MAX: usize = 16;

/// How long a shutdown waits for slow readers.
const STOP_MAX: Duration = Duration::from_secs(1);
/// From the last byte of a stream until its connection is closed.
const CLOSE_DELAY: Duration = Duration::from_millis(200);

#[derive(Debug, Clone, Copy)]
struct OpenStream {
    tenant: TenantId,
    valid_until_ms: u64,
}

#[derive(Debug, Default)]
struct OpenStreams {
    next_number: u64,
    by_number: HashMap<u64, OpenStream>,
}

#[derive(Debug, Default)]
pub struct Streams {
    open: Mutex<OpenStreams>,
    tracker: TaskTracker,
    stopping: CancellationToken,
}

/// The right to one open stream, until it is dropped.
#[derive(Debug)]
pub struct StreamSlot {
    streams: Arc<Streams>,
    number: u64,
    _tracked: TaskTrackerToken,
}

impl Streams {
    pub fn enter(
        self: &Arc<Self>,
        tenant: TenantId,
        now_ms: u64,
        valid_until_ms: u64,
    ) -> Result<StreamSlot, Problem> {
        if self.stopping.is_cancelled() {
            return Err(Problem::new(
                ProblemKind::Unavailable,
                "This node is shutting down. Connect to another node.",
            ));
        }
        let mut open = self.open();
        let is_valid = |stream: &&OpenStream| stream.valid_until_ms > now_ms;
        let (valid, hanging): (Vec<&OpenStream>, Vec<&OpenStream>) =
            open.by_number.values().filter(|stream| stream.tenant == tenant).partition(is_valid);
        if valid.len() >= TENANT_STREAMS_MAX || hanging.len() >= TENANT_HANGING_STREAMS_MAX {
            let detail = format!(
                "A tenant can have at most {TENANT_STREAMS_MAX} event streams on a node. Close one first."
            );
            return Err(Problem::new(ProblemKind::TooManyStreams, detail));
        }
        if open.by_number.values().filter(is_valid).count() >= NODE_STREAMS_MAX {
            return Err(Problem::new(
                ProblemKind::Busy,
                "This node has as many open event streams as it can serve.",
            ));
        }
        let number = open.next_number;
        open.next_number += 1;
        open.by_number.insert(number, OpenStream { tenant, valid_until_ms });
        set_gauge(&open);
        Ok(StreamSlot { streams: Arc::clone(self), number, _tracked: self.tracker.token() })
    }

    /// Completes when all streams must end.
    pub fn stopping(&self) -> impl Future<Output = ()> + Send + use<> {
        self.stopping.clone().cancelled_owned()
    }

    /// Ends all streams and refuses new ones. Must be called before Rocket is asked to stop:
    /// Rocket waits its whole grace period if any stream is open at that moment.
    pub async fn stop(&self) {
        self.stopping.cancel();
        self.tracker.close();
        if !self.tracker.is_empty() {
            // Rocket cuts off streams that still hang.
            let _ = timeout(STOP_MAX, self.tracker.wait()).await;
            sleep(CLOSE_DELAY).await;
        }
    }

    fn open(&self) -> MutexGuard<'_, OpenStreams> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for StreamSlot {
    fn drop(&mut self) {
        let mut open = self.streams.open();
        open.by_number.remove(&self.number);
        set_gauge(&open);
    }
}

fn set_gauge(open: &OpenStreams) {
    metrics::gauge!("event_streams_open").set(u32::try_from(open.by_number.len()).unwrap_or(u32::MAX));
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn tenant(number: u128) -> TenantId {
        TenantId(Uuid::from_u128(number))
    }

    fn refusal(entered: Result<StreamSlot, Problem>) -> ProblemKind {
        entered.expect_err("refused").kind
    }

    #[test]
    fn the_streams_of_a_tenant_and_of_a_node_are_limited_and_closing_one_admits_another() {
        let streams = Arc::new(Streams::default());
        let enter = |number| streams.enter(tenant(number), 0, 1);
        let mut slots: Vec<StreamSlot> = (0..8).map(|_| enter(0).expect("a slot")).collect();
        assert_eq!(refusal(enter(0)), ProblemKind::TooManyStreams);
        slots.extend((8..64).map(|slot| enter(slot / 8).expect("a slot")));
        assert_eq!(refusal(enter(8)), ProblemKind::Busy);
        slots.remove(0);
        slots.push(enter(0).expect("the slot of the closed stream"));
        assert_eq!(refusal(enter(8)), ProblemKind::Busy);
    }

    #[test]
    fn a_stream_whose_token_has_expired_does_not_count_although_it_still_hangs() {
        let streams = Arc::new(Streams::default());
        let hanging: Vec<_> = (0..8).map(|_| streams.enter(tenant(0), 0, 100)).collect();
        assert_eq!(refusal(streams.enter(tenant(0), 99, 200)), ProblemKind::TooManyStreams);
        let next: Vec<_> = (0..8).map(|_| streams.enter(tenant(0), 100, 200).expect("a slot")).collect();
        drop(hanging);
        assert_eq!(
            refusal(streams.enter(tenant(0), 101, 200)),
            ProblemKind::TooManyStreams,
            "closing an expired stream frees no slot"
        );
        drop(next);
    }

    #[test]
    fn the_number_of_streams_that_hang_beyond_their_tokens_is_limited() {
        let streams = Arc::new(Streams::default());
        let enter = |number, now_ms| streams.enter(tenant(number), now_ms, now_ms + 100);
        let mut hanging: Vec<_> = (0..8).map(|_| enter(0, 0).expect("a slot")).collect();
        hanging.extend((0..8).map(|_| enter(0, 100).expect("the slot of a hanging stream")));
        assert_eq!(refusal(enter(0, 200)), ProblemKind::TooManyStreams);
        let others: Vec<_> = (0..8).map(|_| enter(1, 200).expect("another tenant's slot")).collect();
        hanging.pop();
        let again = enter(0, 200).expect("a slot, now that one was closed");
        drop((others, again, hanging));
    }
}
