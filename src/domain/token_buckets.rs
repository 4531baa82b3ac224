//! Token buckets, which limit the rate of requests and their bursts. Callers pass the time, so that
//! tests control it.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hash};
use std::num::NonZeroU32;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Each shard has its own lock, so that a sweep blocks only a few callers.
const SHARDS: usize = 16;

/// With fewer buckets, a sweep is not worth its time.
const SWEEP_FROM: usize = 64;

/// One token is added in each interval, up to `burst` tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    interval: Duration,
    burst: u32,
}

impl Rate {
    /// The burst is at least the number of tokens in a second.
    pub fn per_second(tokens: NonZeroU32, burst: u32) -> Self {
        Self { interval: Duration::from_secs(1) / tokens.get(), burst: burst.max(tokens.get()) }
    }

    pub fn burst(self) -> u32 {
        self.burst
    }

    /// The time from empty to full.
    pub fn window(self) -> Duration {
        self.interval * self.burst
    }

    /// The time in which this many tokens are added.
    pub fn time_of(self, tokens: u32) -> Duration {
        self.interval * tokens
    }
}

/// The result of taking a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BucketAnswer {
    Token { left: u32 },
    Nothing { next_in: Duration },
}

/// Only the time at which the bucket will be full again is stored. A full bucket is the same as no
/// bucket.
#[derive(Debug, Clone, Copy, Default)]
pub struct Bucket {
    full_at: Option<Instant>,
}

impl Bucket {
    pub fn take(&mut self, rate: Rate, now: Instant) -> BucketAnswer {
        // The rate may have changed. Nobody waits longer than the present rate requires.
        let missing = self.missing(now).min(rate.window());
        let with_one_less = missing + rate.interval;
        match rate.window().checked_sub(with_one_less) {
            Some(rest) => {
                self.full_at = Some(now + with_one_less);
                let left = rest.as_nanos() / rate.interval.as_nanos().max(1);
                BucketAnswer::Token { left: u32::try_from(left).unwrap_or(u32::MAX) }
            }
            None => BucketAnswer::Nothing { next_in: with_one_less - rate.window() },
        }
    }

    pub fn give_back(&mut self, rate: Rate, now: Instant) {
        self.full_at = Some(now + self.missing(now).saturating_sub(rate.interval));
    }

    fn is_full(&self, now: Instant) -> bool {
        self.missing(now).is_zero()
    }

    fn missing(&self, now: Instant) -> Duration {
        self.full_at.map_or(Duration::ZERO, |full_at| full_at.saturating_duration_since(now))
    }
}

#[derive(Debug)]
struct Shard<K> {
    buckets: HashMap<K, Bucket>,
    sweep_from: usize,
}

/// A bucket for each key that was used recently.
#[derive(Debug)]
pub struct TokenBuckets<K> {
    shards: [Mutex<Shard<K>>; SHARDS],
    shard_of: RandomState,
    of_a_shard_max: usize,
}

impl<K: Hash + Eq> TokenBuckets<K> {
    pub fn new(most: usize) -> Self {
        let shard = |_| Mutex::new(Shard { buckets: HashMap::new(), sweep_from: SWEEP_FROM });
        Self {
            shards: std::array::from_fn(shard),
            shard_of: RandomState::new(),
            of_a_shard_max: (most / SHARDS).max(1),
        }
    }

    /// If there is no room for another key, the request is allowed and the key is not remembered. A
    /// large number of keys must not lock anybody out.
    pub fn take(&self, key: K, rate: Rate, now: Instant) -> BucketAnswer {
        let mut shard = self.shard(&key);
        if let Some(bucket) = shard.buckets.get_mut(&key) {
            return bucket.take(rate, now);
        }
        let mut bucket = Bucket::default();
        let taken = bucket.take(rate, now);
        if shard.has_room(now, self.of_a_shard_max) {
            shard.buckets.insert(key, bucket);
        }
        taken
    }

    pub fn give_back(&self, key: &K, rate: Rate, now: Instant) {
        if let Some(bucket) = self.shard(key).buckets.get_mut(key) {
            bucket.give_back(rate, now);
        }
    }

    fn shard(&self, key: &K) -> MutexGuard<'_, Shard<K>> {
        // The remainder is below the number of shards, so the cast loses nothing.
        let number = (self.shard_of.hash_one(key) % SHARDS as u64) as usize;
        self.shards[number].lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().expect("not poisoned").buckets.len()).sum()
    }
}

impl<K: Hash + Eq> Shard<K> {
    /// Removes full buckets once their number has doubled since the last sweep, so that the cost
    /// for each new key is constant.
    fn has_room(&mut self, now: Instant, most: usize) -> bool {
        if self.buckets.len() >= self.sweep_from.min(most) {
            self.buckets.retain(|_, bucket| !bucket.is_full(now));
            self.sweep_from = (self.buckets.len() * 2).max(SWEEP_FROM);
        }
        self.buckets.len() < most
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn per_second(tokens: u32, burst: u32) -> Rate {
        Rate::per_second(NonZeroU32::new(tokens).expect("not zero"), burst)
    }

    fn ms(count: u64) -> Duration {
        Duration::from_millis(count)
    }

    const fn left(left: u32) -> BucketAnswer {
        BucketAnswer::Token { left }
    }

    const fn in_ms(count: u64) -> BucketAnswer {
        BucketAnswer::Nothing { next_in: Duration::from_millis(count) }
    }

    #[test]
    fn a_bucket_gives_its_burst_then_its_rate_and_says_how_long_to_wait() {
        /// The results at these milliseconds.
        type Steps<'a> = &'a [(u64, BucketAnswer)];
        let cases: [(&str, Rate, Steps<'_>); 6] = [
            (
                "while the clock stands still only the burst is given",
                per_second(2, 3),
                &[(0, left(2)), (0, left(1)), (0, left(0)), (0, in_ms(500)), (0, in_ms(500))],
            ),
            (
                "tokens come one by one",
                per_second(2, 2),
                &[(0, left(1)), (0, left(0)), (200, in_ms(300)), (500, left(0)), (500, in_ms(500))],
            ),
            (
                "it fills up to its burst and no further",
                per_second(10, 10),
                &[(0, left(9)), (50, left(8)), (3_600_000, left(9)), (3_600_000, left(8))],
            ),
            ("half a token is none", per_second(1, 2), &[(0, left(1)), (500, left(0)), (999, in_ms(1))]),
            (
                "asking in vain costs nothing",
                per_second(1, 1),
                &[(0, left(0)), (900, in_ms(100)), (1_000, left(0))],
            ),
            ("a burst is a second's worth at least", per_second(4, 0), &[(0, left(3)), (0, left(2))]),
        ];
        let start = Instant::now();
        for (what, rate, steps) in cases {
            let mut bucket = Bucket::default();
            for (number, (at_ms, expected)) in steps.iter().enumerate() {
                assert_eq!(bucket.take(rate, start + ms(*at_ms)), *expected, "{what}, step {number}");
            }
        }
    }

    #[test]
    fn a_moment_before_the_last_one_gives_nothing_for_free() {
        let (rate, start) = (per_second(1, 1), Instant::now() + ms(10_000));
        let mut bucket = Bucket::default();
        assert_eq!(bucket.take(rate, start), left(0));
        assert_eq!(bucket.take(rate, start - ms(5_000)), in_ms(1_000));
        assert_eq!(bucket.take(rate, start + ms(1_000)), left(0));
    }

    #[test]
    fn a_key_with_a_higher_rate_does_not_wait_for_the_lower_one() {
        let (slow, fast, start) = (per_second(1, 100), per_second(100, 100), Instant::now());
        let mut bucket = Bucket::default();
        while bucket.take(slow, start) != in_ms(1_000) {}
        assert_eq!(bucket.take(fast, start), in_ms(10));
        assert_eq!(bucket.take(slow, start + ms(100_000)), left(99));
    }

    #[test]
    fn what_is_given_back_can_be_taken_again_and_never_more() {
        let (rate, now) = (per_second(1, 2), Instant::now());
        let buckets = TokenBuckets::new(100);
        for _ in 0..5 {
            assert_eq!(buckets.take("key", rate, now), left(1));
            buckets.give_back(&"key", rate, now);
        }
        buckets.give_back(&"key", rate, now);
        buckets.give_back(&"nobody", rate, now);
        assert_eq!([(); 3].map(|()| buckets.take("key", rate, now)), [left(1), left(0), in_ms(1_000)]);
        assert_eq!(buckets.take("other", rate, now), left(1), "each key has its own");
    }

    #[test]
    fn buckets_that_are_full_again_are_forgotten() {
        let (rate, start) = (per_second(1, 1), Instant::now());
        let buckets = TokenBuckets::new(1_000_000);
        for second in 0..50_u64 {
            for number in 0..1_000_u64 {
                buckets.take((second, number), rate, start + ms(second * 1_000));
            }
        }
        assert!(buckets.len() <= 3_000, "{} of 50000", buckets.len());
    }

    #[test]
    fn memory_is_bounded_and_a_key_without_a_place_is_allowed() {
        let (rate, now) = (per_second(1, 1), Instant::now());
        let buckets = TokenBuckets::new(320);
        let taken = (0..10_000).map(|number| buckets.take(number, rate, now));
        assert!(taken.into_iter().all(|taken| taken == left(0)));
        assert_eq!(buckets.len(), 320);
        let remembered =
            (0..10_000).filter(|number| buckets.take(*number, rate, now) == in_ms(1_000)).count();
        assert_eq!(remembered, 320);
        let later = now + ms(1_000);
        for number in 20_000..20_100 {
            buckets.take(number, rate, later);
        }
        assert!(buckets.len() <= 320);
        assert_eq!(buckets.take(20_000, rate, later), in_ms(1_000), "there is room again");
    }
}
