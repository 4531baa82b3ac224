//! Finds the workers: each address that a configured name has at the moment is one.
//!
//! A name that cannot be resolved for a while removes nobody. Which worker is asked is decided here
//! and nowhere else.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::future::join_all;
use hyper_util::rt::TokioIo;
use tokio::net::{UnixStream, lookup_host};
use tokio::time::{Instant, timeout};
use tokio_util::task::AbortOnDropHandle;
use tonic::transport::{Channel, Endpoint, Error, Uri};

use super::address::WorkerAddress;
use super::known_plugins::KnownPlugins;
use super::settings::{PeerIdentity, RemoteSettings, measure_workers};
use super::worker::Worker;
use crate::domain::plugin::Digest;

/// How often names are resolved again.
const RESOLVE_EVERY: Duration = Duration::from_secs(2);
const RESOLVE_WITHIN: Duration = Duration::from_secs(5);
const MEASURE_EVERY: Duration = Duration::from_millis(250);
const CONNECT_WITHIN: Duration = Duration::from_secs(1);
/// A worker that is gone without a word is noticed within the sum of these, and calls in progress
/// still have time to ask another.
const ALIVE_EVERY: Duration = Duration::from_millis(500);
const ALIVE_WITHIN: Duration = Duration::from_secs(1);

/// A worker, by how it is reached.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Place {
    Tcp(WorkerAddress, SocketAddr),
    Unix(PathBuf),
}

#[derive(Debug)]
struct Followed {
    worker: Arc<Worker>,
    _follows: AbortOnDropHandle<()>,
}

#[derive(Debug)]
pub(super) struct FoundWorkers {
    addresses: Vec<WorkerAddress>,
    identity: Option<PeerIdentity>,
    known: Arc<KnownPlugins>,
    all: Mutex<HashMap<Place, Followed>>,
    /// The same workers in a fixed order.
    listed: Mutex<Arc<[Arc<Worker>]>>,
    next: AtomicUsize,
}

impl FoundWorkers {
    /// Fails if the certificates cannot be used.
    pub(super) fn new(settings: &RemoteSettings, known: Arc<KnownPlugins>) -> Result<Self, Error> {
        if let Some(identity) = &settings.identity {
            endpoint(Uri::from_static("https://rules.invalid"))
                .tls_config(identity.of_client("rules.invalid"))?;
        }
        Ok(Self {
            addresses: settings.workers.clone(),
            identity: settings.identity.clone(),
            known,
            all: Mutex::default(),
            listed: Mutex::new(Arc::new([])),
            next: AtomicUsize::new(0),
        })
    }

    /// Resolves the names again and again.
    pub(super) async fn follow(self: Arc<Self>) {
        let mut told = HashMap::new();
        loop {
            // Together, so that a name server that hangs delays nobody else.
            let resolved = join_all(self.addresses.iter().map(|address| async move {
                let places = timeout(RESOLVE_WITHIN, places_of(address)).await;
                (address, places.unwrap_or_else(|_| Err("its name is not resolved in time".to_owned())))
            }));
            for (address, places) in resolved.await {
                match places.and_then(|places| self.replace(address, places)) {
                    Ok(()) => _ = told.remove(address),
                    Err(why) if told.get(address) == Some(&why) => {}
                    Err(why) => {
                        tracing::warn!(%address, why, "rule workers cannot be found");
                        told.insert(address, why);
                    }
                }
            }
            let resolve_at = Instant::now() + RESOLVE_EVERY;
            while Instant::now() < resolve_at {
                let listed = self.listed();
                measure_workers(listed.iter().filter(|worker| worker.is_well()).count(), listed.len());
                tokio::time::sleep(MEASURE_EVERY).await;
            }
        }
    }

    /// Replaces the workers of this address.
    fn replace(&self, address: &WorkerAddress, places: Vec<Place>) -> Result<(), String> {
        let belongs = |place: &Place| match place {
            Place::Tcp(of, _) => of == address,
            Place::Unix(path) => matches!(address, WorkerAddress::Unix(of) if of == path),
        };
        let mut all = self.all();
        all.retain(|place, _| !belongs(place) || places.contains(place));
        let mut failure = None;
        for place in places {
            if let Entry::Vacant(vacant) = all.entry(place) {
                match self.found(vacant.key()) {
                    Ok(followed) => _ = vacant.insert(followed),
                    Err(error) => failure = Some(error.to_string()),
                }
            }
        }
        let mut listed: Vec<Arc<Worker>> = all.values().map(|followed| followed.worker.clone()).collect();
        listed.sort_by(|one, other| one.name().cmp(other.name()));
        *self.listed.lock().unwrap_or_else(PoisonError::into_inner) = listed.into();
        failure.map_or(Ok(()), Err)
    }

    fn found(&self, place: &Place) -> Result<Followed, Error> {
        let (name, channel) = match place {
            Place::Unix(path) => (format!("unix:{}", path.display()), unix_channel(path.clone())),
            Place::Tcp(address, found) => {
                (format!("{address} ({})", found.ip()), tcp_channel(address, *found, self.identity.as_ref())?)
            }
        };
        let worker = Arc::new(Worker::new(name, channel));
        let (follower, known) = (worker.clone(), self.known.clone());
        let follows = AbortOnDropHandle::new(tokio::spawn(async move { follower.follow(&known).await }));
        Ok(Followed { worker, _follows: follows })
    }

    pub(super) fn listed(&self) -> Arc<[Arc<Worker>]> {
        self.listed.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn well(&self) -> Vec<Arc<Worker>> {
        self.listed().iter().filter(|worker| worker.is_well()).cloned().collect()
    }

    /// Whether waiting for a moment may help if there is no worker to choose.
    pub(super) fn may_return(&self) -> bool {
        self.listed().iter().any(|worker| worker.may_return())
    }

    /// The less busy one of two workers that are well and have the plugins; others each time. `None` if
    /// there is no such worker besides `tried`.
    pub(super) fn choose(&self, plugins: &[Digest], tried: &[Arc<Worker>]) -> Option<Arc<Worker>> {
        let listed = self.listed();
        let first = self.next.fetch_add(1, Ordering::Relaxed);
        let is_tried = |worker: &Arc<Worker>| tried.iter().any(|other| Arc::ptr_eq(other, worker));
        let mut candidates = (0..listed.len())
            .map(|step| &listed[first.wrapping_add(step) % listed.len()])
            .filter(|worker| worker.is_well() && !is_tried(worker) && worker.has_plugins(plugins));
        let one = candidates.next()?;
        let chosen = match candidates.next() {
            Some(other) if other.in_progress() < one.in_progress() => other,
            _ => one,
        };
        Some(chosen.clone())
    }

    fn all(&self) -> MutexGuard<'_, HashMap<Place, Followed>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where an address leads at the moment.
async fn places_of(address: &WorkerAddress) -> Result<Vec<Place>, String> {
    let (host, port, has_tls) = match address {
        WorkerAddress::Unix(path) => return Ok(vec![Place::Unix(path.clone())]),
        WorkerAddress::Tcp { host, port, has_tls } => (host.as_str(), *port, *has_tls),
    };
    let found = lookup_host((host, port)).await.map_err(|error| error.to_string())?;
    // Whatever a name server says: without TLS, payments stay on this machine.
    let may_be_asked = |found: &SocketAddr| has_tls || found.ip().is_loopback();
    Ok(found.filter(may_be_asked).map(|found| Place::Tcp(address.clone(), found)).collect())
}

fn endpoint(uri: Uri) -> Endpoint {
    Channel::builder(uri)
        .connect_timeout(CONNECT_WITHIN)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(ALIVE_EVERY)
        .keep_alive_timeout(ALIVE_WITHIN)
        .keep_alive_while_idle(true)
}

/// Connects when it is first used, and again whenever the connection is lost.
fn tcp_channel(
    address: &WorkerAddress,
    found: SocketAddr,
    identity: Option<&PeerIdentity>,
) -> Result<Channel, Error> {
    let (scheme, name) = match address {
        WorkerAddress::Tcp { host, has_tls: true, .. } => ("https", Some(host)),
        WorkerAddress::Tcp { .. } | WorkerAddress::Unix(_) => ("http", None),
    };
    let uri = format!("{scheme}://{found}").parse().expect("an address is a URI");
    let mut endpoint = endpoint(uri);
    if let (Some(name), Some(identity)) = (name, identity) {
        endpoint = endpoint.tls_config(identity.of_client(name).timeout(CONNECT_WITHIN))?;
    }
    Ok(endpoint.connect_lazy())
}

fn unix_channel(path: PathBuf) -> Channel {
    // Only the path counts. The name is what requests have as their authority.
    let endpoint = endpoint(Uri::from_static("http://rules.invalid"));
    endpoint.connect_with_connector_lazy(tower::service_fn(move |_: Uri| {
        let path = path.clone();
        async move { UnixStream::connect(path).await.map(TokioIo::new) }
    }))
}
