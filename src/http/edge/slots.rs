//! How many requests are handled at once, in all and for each of those who send them.
//!
//! A slot is taken once the whole head is here, and a small body too, so whoever sends slowly has
//! none. Must never wait: without a free slot, a request is refused at once.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::domain::tenant::TenantId;
use crate::http::response::problem::{Problem, ProblemKind};

#[derive(Debug, Clone, Copy)]
pub struct SlotLimits {
    pub all: usize,
    /// Of one tenant.
    pub per_tenant: usize,
    /// Of one address, without a believed token.
    pub per_address: usize,
}

/// Who sends a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sender {
    Tenant(TenantId),
    /// Without a believed token.
    Address(IpAddr),
}

#[derive(Debug)]
pub struct Slots {
    limits: SlotLimits,
    taken: Mutex<TakenSlots>,
}

#[derive(Debug, Default)]
struct TakenSlots {
    all: usize,
    without_token: usize,
    by_tenant: HashMap<TenantId, usize>,
    by_address: HashMap<IpAddr, usize>,
}

/// The right to be handled, until it is dropped.
#[derive(Debug)]
pub struct Slot {
    slots: Arc<Slots>,
    sender: Sender,
}

/// Which limit was reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SlotLimit {
    All,
    WithoutToken,
    Tenant,
    Address,
}

impl Slots {
    pub fn new(limits: SlotLimits) -> Arc<Self> {
        for limit in SlotLimit::ALL {
            limit.counter().increment(0);
        }
        Arc::new(Self { limits, taken: Mutex::default() })
    }

    pub fn enter(self: &Arc<Self>, sender: Sender) -> Result<Slot, SlotLimit> {
        let mut taken = self.taken();
        if taken.all >= self.limits.all {
            return Err(SlotLimit::All);
        }
        match sender {
            Sender::Tenant(tenant) => {
                count(&mut taken.by_tenant, tenant, self.limits.per_tenant).ok_or(SlotLimit::Tenant)?;
            }
            Sender::Address(address) => {
                // The last half is for those who have a token.
                if taken.without_token >= self.limits.all.div_ceil(2) {
                    return Err(SlotLimit::WithoutToken);
                }
                count(&mut taken.by_address, address, self.limits.per_address).ok_or(SlotLimit::Address)?;
                taken.without_token += 1;
            }
        }
        taken.all += 1;
        Ok(Slot { slots: self.clone(), sender })
    }

    fn taken(&self) -> MutexGuard<'_, TakenSlots> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SlotLimit {
    const ALL: [Self; 4] = [Self::All, Self::WithoutToken, Self::Tenant, Self::Address];

    fn name(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::WithoutToken => "without_token",
            Self::Tenant => "tenant",
            Self::Address => "address",
        }
    }

    fn counter(self) -> metrics::Counter {
        metrics::counter!("http_requests_shed_total", "limit" => self.name())
    }

    /// Counts the refusal.
    pub fn refuse(self) -> Problem {
        self.counter().increment(1);
        let detail = match self {
            Self::All => "This node is already serving as many requests as it can.",
            Self::WithoutToken => "This node is already serving as many requests without a token as it can.",
            Self::Tenant => "This node is already serving as many requests of one tenant as it may.",
            Self::Address => {
                "This node is already serving as many requests without a token from one address as it may."
            }
        };
        Problem::new(ProblemKind::Busy, detail)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut taken = self.slots.taken();
        taken.all -= 1;
        match self.sender {
            Sender::Tenant(tenant) => leave(&mut taken.by_tenant, tenant),
            Sender::Address(address) => {
                taken.without_token -= 1;
                leave(&mut taken.by_address, address);
            }
        }
    }
}

/// `None` if there are `most` already.
fn count<K: Hash + Eq>(taken: &mut HashMap<K, usize>, key: K, most: usize) -> Option<()> {
    let own = taken.get(&key).copied().unwrap_or_default();
    if own >= most {
        return None;
    }
    taken.insert(key, own + 1);
    Some(())
}

fn leave<K: Hash + Eq>(taken: &mut HashMap<K, usize>, key: K) {
    match taken.get_mut(&key) {
        Some(own) if *own > 1 => *own -= 1,
        _ => _ = taken.remove(&key),
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use uuid::Uuid;

    use super::*;

    fn tenant(number: u128) -> Sender {
        Sender::Tenant(TenantId(Uuid::from_u128(number)))
    }

    fn address(last: u8) -> Sender {
        Sender::Address(Ipv4Addr::new(10, 0, 0, last).into())
    }

    #[test]
    fn nobody_takes_more_than_their_share_and_the_last_half_is_for_those_with_a_token() {
        let slots = Slots::new(SlotLimits { all: 8, per_tenant: 3, per_address: 2 });
        let enter = |sender| slots.enter(sender);
        let mut taken: Vec<Slot> = [address(1), address(1), address(2), address(3)]
            .map(|sender| enter(sender).expect("a slot"))
            .into();
        assert_eq!(enter(address(1)).expect_err("refused"), SlotLimit::WithoutToken);
        drop(taken.pop());
        assert_eq!(enter(address(1)).expect_err("refused"), SlotLimit::Address);
        taken.extend((0..3).map(|_| enter(tenant(1)).expect("a slot")));
        assert_eq!(enter(tenant(1)).expect_err("refused"), SlotLimit::Tenant);
        taken.extend((0..2).map(|_| enter(tenant(2)).expect("a slot")));
        assert_eq!(enter(tenant(2)).expect_err("refused"), SlotLimit::All);
        drop(taken);
        let left = slots.taken();
        assert_eq!((left.all, left.without_token), (0, 0));
        assert!(left.by_tenant.is_empty() && left.by_address.is_empty());
    }
}
