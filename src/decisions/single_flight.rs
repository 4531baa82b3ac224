//! Single flight: callers that ask for the same thing at the same time share one computation.
//!
//! Each computation is a task of its own. It goes on if the caller that started it has gone, and
//! all callers that wait get its result.

use std::collections::HashMap;
use std::collections::hash_map::Keys;
use std::convert::Infallible;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

/// The computations under way, by key.
#[derive(Debug)]
pub struct SingleFlight<K, V> {
    flights: Arc<Mutex<Flights<K, V>>>,
}

type Flights<K, V> = HashMap<K, watch::Receiver<Option<V>>>;

/// The keys of the computations under way.
pub type RunningKeys<'a, K, V> = Keys<'a, K, watch::Receiver<Option<V>>>;

/// One caller's share in a computation.
#[derive(Debug)]
pub struct Flight<V> {
    result: watch::Receiver<Option<V>>,
    joined: bool,
}

impl<V: Clone> Flight<V> {
    /// Whether another caller had started the computation before.
    pub fn has_joined(&self) -> bool {
        self.joined
    }

    /// `None` if the computation panicked, or the runtime shut down.
    pub async fn result(mut self) -> Option<V> {
        let result = self.result.wait_for(Option::is_some).await.ok()?;
        result.clone()
    }
}

impl<K, V> Default for SingleFlight<K, V> {
    fn default() -> Self {
        Self { flights: Arc::default() }
    }
}

impl<K, V> SingleFlight<K, V>
where
    K: Clone + Eq + Hash + Send + 'static,
    V: Clone + Send + Sync + 'static,
{
    /// Joins the computation of this key, or starts one.
    pub fn join_or_start<F>(&self, key: K, compute: impl FnOnce() -> F) -> Flight<V>
    where
        F: Future<Output = V> + Send + 'static,
    {
        let Ok(flight) = self.join_or_try_start(key, |_| Ok::<(), Infallible>(()), compute);
        flight
    }

    /// As [`Self::join_or_start`], but starts nothing if `admit` refuses.
    pub fn join_or_try_start<F, E>(
        &self,
        key: K,
        admit: impl FnOnce(RunningKeys<'_, K, V>) -> Result<(), E>,
        compute: impl FnOnce() -> F,
    ) -> Result<Flight<V>, E>
    where
        F: Future<Output = V> + Send + 'static,
    {
        let mut flights = lock(&self.flights);
        if let Some(result) = flights.get(&key) {
            return Ok(Flight { result: result.clone(), joined: true });
        }
        admit(flights.keys())?;
        let (sender, result) = watch::channel(None);
        flights.insert(key.clone(), result.clone());
        // A runtime that shuts down drops the task inside `spawn`, and that takes the lock again.
        drop(flights);
        let completion = FlightCompletion { entry: Entry { flights: self.flights.clone(), key }, sender };
        let compute = compute();
        tokio::spawn(async move { completion.complete(compute.await) });
        Ok(Flight { result, joined: false })
    }
}

/// The end of a computation. If it is dropped without a result, it removes the entry (the first
/// field) and then wakes the callers that wait.
struct FlightCompletion<K: Eq + Hash, V> {
    entry: Entry<K, V>,
    sender: watch::Sender<Option<V>>,
}

impl<K: Eq + Hash, V> FlightCompletion<K, V> {
    fn complete(self, value: V) {
        // The entry is removed first: a caller that comes after the result must start a new
        // computation.
        drop(self.entry);
        self.sender.send_replace(Some(value));
    }
}

struct Entry<K: Eq + Hash, V> {
    flights: Arc<Mutex<Flights<K, V>>>,
    key: K,
}

impl<K: Eq + Hash, V> Drop for Entry<K, V> {
    fn drop(&mut self) {
        lock(&self.flights).remove(&self.key);
    }
}

fn lock<K, V>(flights: &Mutex<Flights<K, V>>) -> MutexGuard<'_, Flights<K, V>> {
    flights.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use super::*;

    #[tokio::test]
    async fn the_second_caller_of_a_key_joins_the_first() {
        let flights = SingleFlight::default();
        let end = watch::Sender::new(());
        let mut ended = end.subscribe();
        let first = flights.join_or_start("key", || async move {
            let _ = ended.changed().await;
            1
        });
        let second = flights.join_or_start("key", pending);
        assert_eq!((first.has_joined(), second.has_joined()), (false, true));
        assert!(!flights.join_or_start("other", pending).has_joined());
        drop(first);
        drop(end);
        assert_eq!(second.result().await, Some(1), "the first caller has gone; the result is not lost");
        let next = flights.join_or_start("key", || ready(2));
        assert_eq!((next.has_joined(), next.result().await), (false, Some(2)));
    }

    #[tokio::test]
    async fn a_panic_wakes_those_who_wait_and_frees_the_key() {
        let flights = SingleFlight::<_, u8>::default();
        let failing = flights.join_or_start("key", || async { panic!("as intended") });
        assert_eq!(failing.result().await, None);
        assert!(!flights.join_or_start("key", || ready(1)).has_joined());
    }

    #[tokio::test]
    async fn a_computation_that_is_refused_is_not_started_and_one_under_way_is_joined() {
        let flights = SingleFlight::default();
        let first = flights.join_or_start("key", pending::<u8>);
        let none_beside = |running: RunningKeys<'_, &str, u8>| {
            if running.len() == 0 { Ok(()) } else { Err("full") }
        };
        let never = || async { panic!("it was refused") };
        assert_eq!(flights.join_or_try_start("other", none_beside, never).err(), Some("full"));
        assert!(flights.join_or_try_start("key", none_beside, never).is_ok());
        drop(first);
    }
}
