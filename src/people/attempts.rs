//! Bounds attempts to sign in that fail: of one account, of one address, and of all together.
//!
//! Must never lock anybody out for good: delays are short, and an attempt that comes too early does
//! not count.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::auth::attempt_delays::{AttemptDelays, Growth};
use crate::domain::plugin::Digest;
use crate::domain::token_buckets::{Bucket, BucketAnswer, Rate};

/// For one account. A person who mistypes a few times feels nothing.
const OF_AN_ACCOUNT: Growth =
    Growth { free: 5, first: Duration::from_secs(1), most: Duration::from_secs(60) };

/// For one address, behind which many people may sit. Its bound is low, since behind a proxy that
/// is not configured all people have one address.
const OF_AN_ADDRESS: Growth =
    Growth { free: 50, first: Duration::from_secs(1), most: Duration::from_secs(30) };

/// For all together: an eighth of a core for hashing, so that clients can still sign in.
const OF_ALL_PER_S: std::num::NonZeroU32 = std::num::NonZeroU32::MIN.saturating_add(9);
const OF_ALL_BURST: u32 = 50;

/// Whoever tries must wait.
#[derive(Debug, Clone, Copy)]
pub(super) struct TooManyFailures {
    pub next_in: Duration,
}

#[derive(Debug)]
pub(super) struct Attempts {
    accounts: AttemptDelays<Digest>,
    addresses: AttemptDelays<IpAddr>,
    all_failing: Mutex<Bucket>,
}

impl Default for Attempts {
    fn default() -> Self {
        Self {
            accounts: AttemptDelays::new(OF_AN_ACCOUNT),
            addresses: AttemptDelays::new(OF_AN_ADDRESS),
            all_failing: Mutex::default(),
        }
    }
}

impl Attempts {
    /// Counts an attempt as failed. `give_back` takes that back.
    pub fn admit(
        &self,
        account: &Digest,
        address: Option<IpAddr>,
        now: Instant,
    ) -> Result<(), TooManyFailures> {
        let refused = |next_in| {
            metrics::counter!("tollgate_sign_ins_delayed_total").increment(1);
            TooManyFailures { next_in }
        };
        let address = address.map(network);
        self.accounts.admit(account, now).map_err(refused)?;
        if let Some(address) = &address
            && let Err(next_in) = self.addresses.admit(address, now)
        {
            self.accounts.take_back(account);
            return Err(refused(next_in));
        }
        let all = self.all_failing.lock().unwrap_or_else(PoisonError::into_inner).take(of_all(), now);
        if let BucketAnswer::Nothing { next_in } = all {
            self.accounts.take_back(account);
            address.inspect(|address| self.addresses.take_back(address));
            return Err(refused(next_in));
        }
        Ok(())
    }

    pub fn give_back(&self, account: Option<&Digest>, address: Option<IpAddr>, now: Instant) {
        account.inspect(|account| self.accounts.take_back(account));
        address.map(network).inspect(|address| self.addresses.take_back(address));
        self.all_failing.lock().unwrap_or_else(PoisonError::into_inner).give_back(of_all(), now);
    }

    /// After a success, earlier failures count no more.
    pub fn forget(&self, account: &Digest) {
        self.accounts.forget(account);
    }
}

fn of_all() -> Rate {
    Rate::per_second(OF_ALL_PER_S, OF_ALL_BURST)
}

/// Of IPv6 the network of one site: its addresses cost nothing.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
        address => address,
    }
}
