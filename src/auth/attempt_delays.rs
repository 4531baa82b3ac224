//! Delays after wrong passwords, which grow with each.
//!
//! An attempt that comes too early is refused and does not count, so nobody can extend the delay of
//! somebody else, and a delay never exceeds its bound: no person is locked out for good.
//!
//! This module never decides that a password is right.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How delays grow.
#[derive(Debug, Clone, Copy)]
pub struct Growth {
    /// This many failures cause no delay.
    pub free: u32,
    /// The delay after the first failure that causes one. It doubles with each further one.
    pub first: Duration,
    pub most: Duration,
}

impl Growth {
    fn after(self, failures: u32) -> Duration {
        match failures.checked_sub(self.free) {
            None | Some(0) => Duration::ZERO,
            Some(counted) => {
                let factor = 1_u32.checked_shl(counted - 1).unwrap_or(u32::MAX);
                self.first.saturating_mul(factor).min(self.most)
            }
        }
    }
}

/// Failures are forgotten after this long without another.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(3_600);

/// About 100 bytes each. Beyond this, the keys that may try again soonest are dropped.
const KEYS_MAX: usize = 50_000;

#[derive(Debug, Clone, Copy)]
struct Failures {
    count: u32,
    next_at: Instant,
    last_at: Instant,
}

#[derive(Debug)]
pub struct AttemptDelays<K> {
    growth: Growth,
    failures: Mutex<HashMap<K, Failures>>,
}

impl<K: Hash + Eq + Clone> AttemptDelays<K> {
    pub fn new(growth: Growth) -> Self {
        Self { growth, failures: Mutex::default() }
    }

    /// Counts an attempt as failed, before its password is checked: many attempts at once must not
    /// all be admitted. The error is the time until the next one.
    pub fn admit(&self, key: &K, now: Instant) -> Result<(), Duration> {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        let known = failures.get(key).copied().filter(|known| now < known.last_at + FORGOTTEN_AFTER);
        if let Some(known) = known
            && now < known.next_at
        {
            return Err(known.next_at - now);
        }
        if known.is_none() && failures.len() >= KEYS_MAX {
            make_room(&mut failures, now);
        }
        let count = known.map_or(0, |known| known.count).saturating_add(1);
        let next_at = now + self.growth.after(count);
        failures.insert(key.clone(), Failures { count, next_at, last_at: now });
        Ok(())
    }

    /// Takes back the attempt that was admitted last: it was right, or could not be judged.
    pub fn take_back(&self, key: &K) {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = failures.get_mut(key) {
            known.count -= 1;
            known.next_at = known.last_at;
            if known.count == 0 {
                failures.remove(key);
            }
        }
    }

    /// The password was right: what happened before does not count any more.
    pub fn forget(&self, key: &K) {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
    }
}

/// Keys can be invented, so some are dropped rather than the newest refused.
fn make_room<K: Hash + Eq + Clone>(failures: &mut HashMap<K, Failures>, now: Instant) {
    failures.retain(|_, known| now < known.last_at + FORGOTTEN_AFTER && now < known.next_at);
    while failures.len() >= KEYS_MAX {
        let Some(soonest) = failures.iter().min_by_key(|(_, known)| known.next_at) else { return };
        let soonest = soonest.0.clone();
        failures.remove(&soonest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GROWTH: Growth = Growth { free: 2, first: Duration::from_secs(1), most: Duration::from_secs(8) };

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn delays_double_up_to_their_bound() {
        let (delays, mut now) = (AttemptDelays::new(GROWTH), Instant::now());
        let mut waited = Vec::new();
        for _ in 0..8 {
            delays.admit(&"ann", now).expect("admitted");
            let wait = delays.failures.lock().expect("a lock")["ann"].next_at - now;
            waited.push(wait.as_secs());
            now += wait;
        }
        assert_eq!(waited, [0, 0, 1, 2, 4, 8, 8, 8]);
    }

    #[test]
    fn an_early_attempt_does_not_extend_the_delay() {
        let (delays, now) = (AttemptDelays::new(GROWTH), Instant::now());
        (0..3).for_each(|_| delays.admit(&"ann", now).expect("admitted"));
        for _ in 0..1_000 {
            assert_eq!(delays.admit(&"ann", now), Err(seconds(1)));
        }
        delays.admit(&"ann", now + seconds(1)).expect("admitted");
        delays.admit(&"bob", now).expect("somebody else does not feel it");
    }

    #[test]
    fn a_right_password_and_an_hour_of_peace_end_the_delay() {
        let (delays, now) = (AttemptDelays::new(GROWTH), Instant::now());
        let fail = |now| while delays.admit(&"ann", now).is_ok() {};
        fail(now);
        delays.forget(&"ann");
        delays.admit(&"ann", now).expect("forgotten");
        fail(now);
        delays.admit(&"ann", now + FORGOTTEN_AFTER).expect("forgotten");
        delays.admit(&"ann", now + FORGOTTEN_AFTER).expect("the first failure causes no delay");
    }

    #[test]
    fn an_attempt_that_was_taken_back_does_not_count() {
        let (delays, now) = (AttemptDelays::new(GROWTH), Instant::now());
        for _ in 0..100 {
            delays.admit(&"ann", now).expect("admitted");
            delays.take_back(&"ann");
        }
    }

    #[test]
    fn invented_names_use_a_bounded_amount_of_memory() {
        let (delays, now) = (AttemptDelays::new(GROWTH), Instant::now());
        for name in 0..KEYS_MAX * 2 {
            delays.admit(&name, now).expect("admitted");
        }
        assert!(delays.failures.lock().expect("a lock").len() <= KEYS_MAX);
    }
}
