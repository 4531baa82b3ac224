//! How many streams are open.
//!
//! Owns their places: so many for a tenant, so many on this node. Must never
//! let one that nobody reads hold its place for ever: a place ends with the
//! token that it was given for.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

use crate::domain::tenant::TenantId;
use crate::http::response::problem::{Kind, Problem};

const OF_A_TENANT_MAX: usize = 8;
const ON_A_NODE_MAX: usize = 64;
/// Those whose token has ended and whose client neither reads nor closes them:
/// each still holds a connection and what was read for it.
const HANGING_OF_A_TENANT_MAX: usize = 16;

/// How long a stop waits for those who read slowly.
const STOP_WAITS_MAX: Duration = Duration::from_secs(1);
/// From the last byte of a stream until its connection is closed.
const CLOSING: Duration = Duration::from_millis(200);

/// Whose stream it is, and until when.
#[derive(Debug, Clone, Copy)]
struct Open {
    tenant: TenantId,
    valid_until_ms: u64,
}

#[derive(Debug, Default)]
struct Places {
    next: u64,
    open: HashMap<u64, Open>,
}

#[derive(Debug, Default)]
pub struct Streams {
    places: Mutex<Places>,
    taken: TaskTracker,
    stopping: CancellationToken,
}

/// Given back when it is dropped.
#[derive(Debug)]
pub struct Place {
    streams: Arc<Streams>,
    number: u64,
    _taken: TaskTrackerToken,
}

impl Streams {
    pub fn enter(
        self: &Arc<Self>,
        tenant: TenantId,
        now_ms: u64,
        valid_until_ms: u64,
    ) -> Result<Place, Problem> {
        if self.stopping.is_cancelled() {
            return Err(Problem::new(
                Kind::Unavailable,
                "This node is shutting down. Connect to another node.",
            ));
        }
        let mut places = self.places();
        let lasts = |open: &&Open| open.valid_until_ms > now_ms;
        let (own, hanging): (Vec<&Open>, Vec<&Open>) =
            places.open.values().filter(|open| open.tenant == tenant).partition(lasts);
        if own.len() >= OF_A_TENANT_MAX || hanging.len() >= HANGING_OF_A_TENANT_MAX {
            let detail = format!(
                "A tenant can have at most {OF_A_TENANT_MAX} event streams on a node. Close one first."
            );
            return Err(Problem::new(Kind::TooManyStreams, detail));
        }
        if places.open.values().filter(lasts).count() >= ON_A_NODE_MAX {
            return Err(Problem::new(
                Kind::Busy,
                "This node has as many open event streams as it can serve.",
            ));
        }
        let number = places.next;
        places.next += 1;
        places.open.insert(number, Open { tenant, valid_until_ms });
        tell(&places);
        Ok(Place { streams: Arc::clone(self), number, _taken: self.taken.token() })
    }

    /// Ends when all streams shall.
    pub fn stopping(&self) -> impl Future<Output = ()> + Send + use<> {
        self.stopping.clone().cancelled_owned()
    }

    /// Ends all streams, and lets nobody in again. Rocket must be told to stop
    /// only after that: while anything is open then, it waits its whole grace.
    pub async fn stop(&self) {
        self.stopping.cancel();
        self.taken.close();
        if !self.taken.is_empty() {
            // Those that hang are cut off by Rocket.
            let _ = timeout(STOP_WAITS_MAX, self.taken.wait()).await;
            sleep(CLOSING).await;
        }
    }

    fn places(&self) -> MutexGuard<'_, Places> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut places = self.streams.places();
        places.open.remove(&self.number);
        tell(&places);
    }
}

fn tell(places: &Places) {
    metrics::gauge!("event_streams_open").set(u32::try_from(places.open.len()).unwrap_or(u32::MAX));
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn tenant(number: u128) -> TenantId {
        TenantId(Uuid::from_u128(number))
    }

    fn refusal(entered: Result<Place, Problem>) -> Kind {
        entered.expect_err("refused").kind
    }

    #[test]
    fn a_tenant_and_a_node_have_so_many_places_and_get_them_back() {
        let streams = Arc::new(Streams::default());
        let enter = |number| streams.enter(tenant(number), 0, 1);
        let mut places: Vec<Place> = (0..8).map(|_| enter(0).expect("a place")).collect();
        assert_eq!(refusal(enter(0)), Kind::TooManyStreams);
        places.extend((8..64).map(|place| enter(place / 8).expect("a place")));
        assert_eq!(refusal(enter(8)), Kind::Busy);
        places.remove(0);
        places.push(enter(0).expect("the place that was given back"));
        assert_eq!(refusal(enter(8)), Kind::Busy);
    }

    #[test]
    fn a_place_whose_token_has_ended_is_free_though_its_stream_still_hangs() {
        let streams = Arc::new(Streams::default());
        let hanging: Vec<_> = (0..8).map(|_| streams.enter(tenant(0), 0, 100)).collect();
        assert_eq!(refusal(streams.enter(tenant(0), 99, 200)), Kind::TooManyStreams);
        let next: Vec<_> = (0..8).map(|_| streams.enter(tenant(0), 100, 200).expect("a place")).collect();
        drop(hanging);
        assert_eq!(
            refusal(streams.enter(tenant(0), 101, 200)),
            Kind::TooManyStreams,
            "only its own is given back"
        );
        drop(next);
    }

    #[test]
    fn streams_that_hang_beyond_their_tokens_do_not_become_more_and_more() {
        let streams = Arc::new(Streams::default());
        let enter = |number, now_ms| streams.enter(tenant(number), now_ms, now_ms + 100);
        let mut hanging: Vec<_> = (0..8).map(|_| enter(0, 0).expect("a place")).collect();
        hanging.extend((0..8).map(|_| enter(0, 100).expect("the place of one that hangs")));
        assert_eq!(refusal(enter(0, 200)), Kind::TooManyStreams);
        let others: Vec<_> = (0..8).map(|_| enter(1, 200).expect("another tenant's place")).collect();
        hanging.pop();
        let again = enter(0, 200).expect("a place, now that one was closed");
        drop((others, again, hanging));
    }
}
