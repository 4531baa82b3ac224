//! Which connections may stay, if there are too many.
//!
//! A connection belongs to its address until it has shown a believed token, and to the token's
//! tenant from then on. Connections without a believed token never take more than half of all
//! places, nor those of one address more than its share. A newer one takes the place of the one
//! that has waited longest without a complete request, so a flood drives out itself, and whoever
//! sends requests is served. If tenants have taken all places, the one with the most connections
//! gives up those that wait for a request, until an eighth is left to newer ones. Nothing here may
//! block, since every new connection passes through.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures::task::AtomicWaker;
use hashlink::{LinkedHashMap, LinkedHashSet};

use crate::domain::tenant::TenantId;

/// The log has at most one line about missing places in this time.
pub const TELL_EVERY: Duration = Duration::from_secs(10);

#[derive(Debug, Clone, Copy)]
pub struct PlaceLimits {
    pub connections: usize,
    /// Of one address, without a believed token.
    pub per_address: usize,
}

#[derive(Debug)]
pub struct Places {
    limits: PlaceLimits,
    taken: Mutex<Taken>,
}

/// What holds a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Holder {
    Address(IpAddr),
    Tenant(TenantId),
    /// A named proxy, whose connections carry the requests of many.
    Proxy,
}

#[derive(Debug, Default)]
struct Taken {
    next_number: u64,
    all: usize,
    without_token: usize,
    by_tenant: HashMap<TenantId, OfTenant>,
    by_address: HashMap<IpAddr, OfAddress>,
    /// Connections without a believed token and without a complete request, the longest first.
    waiting: LinkedHashMap<u64, Arc<Signal>>,
    /// Places that were missing since the log was told.
    missing: u64,
    told_at: Option<Instant>,
}

#[derive(Debug, Default)]
struct OfAddress {
    taken: usize,
    /// As in `Taken`, of this address.
    waiting: LinkedHashSet<u64>,
}

#[derive(Debug, Default)]
struct OfTenant {
    taken: usize,
    /// Connections that wait for a request, the longest first.
    waiting: LinkedHashMap<u64, Arc<Signal>>,
}

/// Tells a connection that it has to give way.
#[derive(Debug)]
struct Signal {
    address: IpAddr,
    gives_way: AtomicBool,
    waker: AtomicWaker,
}

/// The place of one connection, until it is dropped.
#[derive(Debug)]
pub struct Place {
    places: Arc<Places>,
    number: u64,
    /// Locked after `Places::taken`, if both are.
    holder: Mutex<Holder>,
    signal: Arc<Signal>,
}

impl Places {
    pub fn new(limits: PlaceLimits) -> Arc<Self> {
        let taken = Taken::default();
        taken.set_gauges();
        Arc::new(Self { limits, taken: Mutex::new(taken) })
    }

    /// `None` if every place is taken by connections that may stay.
    pub fn enter(self: &Arc<Self>, address: IpAddr, is_proxy: bool) -> Option<Arc<Place>> {
        let mut taken = self.taken();
        if !is_proxy && !self.make_room(&mut taken, address) {
            return None;
        }
        if is_proxy && !self.has_room(&mut taken) {
            return None;
        }
        let number = taken.next_number;
        taken.next_number += 1;
        let signal =
            Arc::new(Signal { address, gives_way: AtomicBool::new(false), waker: AtomicWaker::new() });
        let holder = if is_proxy {
            Holder::Proxy
        } else {
            taken.without_token += 1;
            taken.by_address.entry(address).or_default().taken += 1;
            taken.wait(number, &signal);
            Holder::Address(address)
        };
        taken.all += 1;
        taken.set_gauges();
        Some(Arc::new(Place { places: self.clone(), number, holder: Mutex::new(holder), signal }))
    }

    /// Half of all places, rounded up: what connections without a believed token may take, and what
    /// one tenant may take.
    fn half(&self) -> usize {
        self.limits.connections.div_ceil(2)
    }

    fn make_room(&self, taken: &mut Taken, address: IpAddr) -> bool {
        let of_address = taken.by_address.get(&address).map_or(0, |of_address| of_address.taken);
        if of_address >= self.limits.per_address {
            taken.tell();
            if !taken.drive_out_of(address) {
                return false;
            }
        }
        if taken.without_token >= self.half() {
            taken.tell();
            return taken.drive_out_any();
        }
        self.has_room(taken)
    }

    fn has_room(&self, taken: &mut Taken) -> bool {
        if taken.all < self.limits.connections {
            return true;
        }
        taken.tell();
        let few_are_new = taken.without_token < self.limits.connections.div_ceil(8);
        (few_are_new && taken.drive_out_of_largest_tenant()) || taken.drive_out_any()
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Taken {
    fn wait(&mut self, number: u64, signal: &Arc<Signal>) {
        self.waiting.insert(number, signal.clone());
        if let Some(of_address) = self.by_address.get_mut(&signal.address) {
            of_address.waiting.insert(number);
        }
    }

    /// Returns whether the connection was waiting.
    fn no_longer_waits(&mut self, number: u64, address: IpAddr) -> bool {
        if let Some(of_address) = self.by_address.get_mut(&address) {
            of_address.waiting.remove(&number);
        }
        self.waiting.remove(&number).is_some()
    }

    /// One line for many: a flood must not fill the log.
    fn tell(&mut self) {
        self.missing += 1;
        if self.told_at.is_none_or(|at| at.elapsed() >= TELL_EVERY) {
            let (open, without_token, missing) = (self.all, self.without_token, self.missing);
            tracing::warn!(open, without_token, missing, "there are more connections than places for them");
            (self.told_at, self.missing) = (Some(Instant::now()), 0);
        }
    }

    fn drive_out_any(&mut self) -> bool {
        let longest = self.waiting.front().map(|(number, signal)| (*number, signal.address));
        longest.is_some_and(|(number, address)| self.drive_out(number, address))
    }

    fn drive_out_of(&mut self, address: IpAddr) -> bool {
        let longest =
            self.by_address.get(&address).and_then(|of_address| of_address.waiting.front().copied());
        longest.is_some_and(|number| self.drive_out(number, address))
    }

    /// Frees the place at once, although the connection closes a moment later.
    fn drive_out(&mut self, number: u64, address: IpAddr) -> bool {
        let Some(signal) = self.waiting.get(&number).cloned() else { return false };
        self.no_longer_waits(number, address);
        self.free(Holder::Address(address));
        signal.give_way();
        true
    }

    fn drive_out_of_largest_tenant(&mut self) -> bool {
        let waiting = self.by_tenant.iter_mut().filter(|(_, of_tenant)| !of_tenant.waiting.is_empty());
        let Some((tenant, largest)) = waiting.max_by_key(|(_, of_tenant)| of_tenant.taken) else {
            return false;
        };
        let (tenant, longest) = (*tenant, largest.waiting.pop_front());
        self.free(Holder::Tenant(tenant));
        if let Some((_, signal)) = longest {
            signal.give_way();
        }
        true
    }

    fn free(&mut self, holder: Holder) {
        self.all -= 1;
        match holder {
            Holder::Address(address) => {
                self.without_token -= 1;
                if let Some(of_address) = self.by_address.get_mut(&address) {
                    of_address.taken -= 1;
                    if of_address.taken == 0 {
                        self.by_address.remove(&address);
                    }
                }
            }
            Holder::Tenant(tenant) => {
                if let Some(of_tenant) = self.by_tenant.get_mut(&tenant) {
                    of_tenant.taken -= 1;
                    if of_tenant.taken == 0 {
                        self.by_tenant.remove(&tenant);
                    }
                }
            }
            Holder::Proxy => {}
        }
    }

    fn set_gauges(&self) {
        let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        metrics::gauge!("connections_open", "token" => "none").set(number(self.without_token));
        metrics::gauge!("connections_open", "token" => "believed").set(number(self.all - self.without_token));
    }
}

impl Signal {
    fn give_way(&self) {
        self.gives_way.store(true, Ordering::Release);
        self.waker.wake();
    }
}

impl Place {
    /// Whether this connection has to close. If not, the task of `context` is woken once it has to.
    pub fn gave_way(&self, context: &mut Context<'_>) -> bool {
        // Registered before it is read, so that no signal is missed.
        self.signal.waker.register(context.waker());
        self.signal.gives_way.load(Ordering::Acquire)
    }

    /// Waits until this connection has to close.
    pub async fn giving_way(&self) {
        std::future::poll_fn(|context| if self.gave_way(context) { Poll::Ready(()) } else { Poll::Pending })
            .await;
    }

    /// A complete request is here. While it is answered, the connection does not give way.
    pub fn is_answered(&self) {
        self.no_longer_waits(&mut self.places.taken());
    }

    /// The answer is on its way. A stream of a tenant is still being answered.
    pub fn waits_again(&self, is_streamed: bool) {
        let mut taken = self.places.taken();
        if self.signal.gives_way.load(Ordering::Acquire) {
            return;
        }
        match self.holder_now() {
            Holder::Address(_) => taken.wait(self.number, &self.signal),
            Holder::Tenant(tenant) if !is_streamed => {
                if let Some(of_tenant) = taken.by_tenant.get_mut(&tenant) {
                    of_tenant.waiting.insert(self.number, self.signal.clone());
                }
            }
            Holder::Tenant(_) | Holder::Proxy => {}
        }
    }

    fn no_longer_waits(&self, taken: &mut Taken) {
        match self.holder_now() {
            Holder::Address(address) => _ = taken.no_longer_waits(self.number, address),
            Holder::Tenant(tenant) => {
                if let Some(of_tenant) = taken.by_tenant.get_mut(&tenant) {
                    of_tenant.waiting.remove(&self.number);
                }
            }
            Holder::Proxy => {}
        }
    }

    /// The connection has shown a token of this tenant. If the tenant has its share already, the
    /// connection stays one of those that give way.
    pub fn believe(&self, tenant: TenantId) {
        if !matches!(self.holder_now(), Holder::Address(_)) {
            return;
        }
        let mut taken = self.places.taken();
        let mut holder = self.holder();
        let Holder::Address(address) = *holder else { return };
        let of_tenant = taken.by_tenant.get(&tenant).map_or(0, |of_tenant| of_tenant.taken);
        if of_tenant >= self.places.half() || self.signal.gives_way.load(Ordering::Acquire) {
            return;
        }
        taken.no_longer_waits(self.number, address);
        taken.free(Holder::Address(address));
        taken.all += 1;
        taken.by_tenant.entry(tenant).or_default().taken += 1;
        taken.set_gauges();
        *holder = Holder::Tenant(tenant);
    }

    fn holder_now(&self) -> Holder {
        *self.holder()
    }

    fn holder(&self) -> MutexGuard<'_, Holder> {
        self.holder.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.taken();
        // Whoever was driven out has lost its place already.
        if !self.signal.gives_way.load(Ordering::Acquire) {
            self.no_longer_waits(&mut taken);
            taken.free(self.holder_now());
        }
        taken.set_gauges();
    }
}

#[cfg(test)]
#[path = "places_tests.rs"]
mod tests;
