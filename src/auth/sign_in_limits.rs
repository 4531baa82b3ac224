//! Limits failed sign-ins, because each attempt costs a password hash, the most expensive work
//! that a stranger can cause.
//!
//! Only failures count. An attempt takes its tokens before the secret is verified, since otherwise
//! many concurrent attempts would all be admitted. It gets them back unless it fails. An attempt
//! needs a token from each of two buckets:
//!
//! - one for each client id, so that guesses at one client do not affect others;
//! - one for all ids together, because ids can be invented, and each has a bucket of its own.
//!
//! Anybody who knows a client's id can empty its bucket. So that this does not lock out the client,
//! a secret that was right before is recognised and needs no tokens from these buckets. Only a
//! client that this node has not seen since its start competes with an attacker. It gets in within
//! a second after the attack ends.
//!
//! A recognised client has a third, wider bucket, which nobody without the secret can use. It
//! keeps a client that signs in for every request from blocking password hashing for the
//! others.
//!
//! This module never decides that a secret is right. [`super::password::SecretHasher`] does, for
//! each admitted attempt.

use std::collections::HashMap;
use std::fmt;
use std::num::NonZeroU32;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::hmac;

use super::password::SecretText;
use crate::domain::tenant::ClientId;
use crate::domain::time::Randomness;
use crate::domain::token_buckets::{Bucket, BucketAnswer, Rate, TokenBuckets};

/// Enough for a client that was started with an old secret to keep trying until somebody reads its
/// log.
const OF_A_CLIENT_BURST: u32 = 20;
const OF_A_CLIENT_PER_S: NonZeroU32 = NonZeroU32::MIN;

/// Fewer than may wait for a hash, so that recognised clients find a place.
const OF_ALL_BURST: u32 = 50;
/// An eighth of a core.
const OF_ALL_PER_S: NonZeroU32 = NonZeroU32::MIN.saturating_add(9);

const OF_THE_RECOGNISED_BURST: u32 = 200;
/// An eighth of a core.
const OF_THE_RECOGNISED_PER_S: NonZeroU32 = OF_ALL_PER_S;

/// Entries live for seconds, and the bucket of all ids keeps their number below this.
const FAILING_MAX: usize = 10_000;
/// About 100 bytes each. Only existing clients are stored.
const RECOGNISED_MAX: usize = 20_000;

pub struct SignInLimits {
    of_a_client: Rate,
    of_all: Rate,
    of_the_recognised: Rate,
    signing_in: TokenBuckets<ClientId>,
    failing: TokenBuckets<ClientId>,
    all_failing: Mutex<Bucket>,
    /// The MAC of the secret that was right last. The secret itself is not kept, so it
    /// cannot leak from memory.
    recognised: Mutex<HashMap<ClientId, hmac::Tag>>,
    key: hmac::Key,
}

/// An admitted attempt. It counts as failed unless its result is recorded, so a client cannot
/// avoid the count by disconnecting.
#[derive(Debug)]
#[must_use = "the result of a sign-in must be recorded"]
pub struct SignInAttempt {
    client: ClientId,
    mac: hmac::Tag,
    recognised: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignInResult {
    Right,
    Wrong,
    /// There is no result, because of an internal error.
    None,
}

impl SignInLimits {
    pub fn new(randomness: &dyn Randomness) -> Self {
        let mut key = [0; 32];
        randomness.fill(&mut key);
        Self {
            of_a_client: Rate::per_second(OF_A_CLIENT_PER_S, OF_A_CLIENT_BURST),
            of_all: Rate::per_second(OF_ALL_PER_S, OF_ALL_BURST),
            of_the_recognised: Rate::per_second(OF_THE_RECOGNISED_PER_S, OF_THE_RECOGNISED_BURST),
            signing_in: TokenBuckets::new(RECOGNISED_MAX),
            failing: TokenBuckets::new(FAILING_MAX),
            all_failing: Mutex::default(),
            recognised: Mutex::default(),
            key: hmac::Key::new(hmac::HMAC_SHA256, &key),
        }
    }

    /// The error is the time until the next attempt can be admitted.
    pub fn admit(
        &self,
        client: ClientId,
        secret: &SecretText,
        now: Instant,
    ) -> Result<SignInAttempt, Duration> {
        let mac = self.mac(client, secret);
        let known = self.recognised().get(&client).copied();
        let recognised =
            known.is_some_and(|known| verify_slices_are_equal(known.as_ref(), mac.as_ref()).is_ok());
        if recognised {
            if let BucketAnswer::Nothing { next_in } =
                self.signing_in.take(client, self.of_the_recognised, now)
            {
                return Err(next_in);
            }
        } else {
            if let BucketAnswer::Nothing { next_in } = self.failing.take(client, self.of_a_client, now) {
                return Err(next_in);
            }
            if let BucketAnswer::Nothing { next_in } = self.all_failing().take(self.of_all, now) {
                self.failing.give_back(&client, self.of_a_client, now);
                return Err(next_in);
            }
        }
        Ok(SignInAttempt { client, mac, recognised })
    }

    pub fn settle(&self, attempt: SignInAttempt, judgement: SignInResult, now: Instant) {
        let SignInAttempt { client, mac, recognised } = attempt;
        if judgement != SignInResult::Wrong && !recognised {
            self.failing.give_back(&client, self.of_a_client, now);
            self.all_failing().give_back(self.of_all, now);
        }
        match judgement {
            SignInResult::Right if !recognised => {
                let mut known = self.recognised();
                // The whole map is cleared: recognition matters only during an attack.
                if known.len() >= RECOGNISED_MAX {
                    known.clear();
                }
                known.insert(client, mac);
            }
            // The client was disabled, or its secret was changed.
            SignInResult::Wrong if recognised => {
                self.recognised().remove(&client);
            }
            _ => {}
        }
    }

    fn mac(&self, client: ClientId, secret: &SecretText) -> hmac::Tag {
        let mut context = hmac::Context::with_key(&self.key);
        context.update(client.0.as_bytes());
        context.update(secret.expose().as_bytes());
        context.sign()
    }

    fn recognised(&self) -> MutexGuard<'_, HashMap<ClientId, hmac::Tag>> {
        self.recognised.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn all_failing(&self) -> MutexGuard<'_, Bucket> {
        self.all_failing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for SignInLimits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SignInLimits")
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::auth::fixtures::CountingRandomness;

    fn limits() -> SignInLimits {
        SignInLimits::new(&CountingRandomness::default())
    }

    fn client(number: u128) -> ClientId {
        ClientId(Uuid::from_u128(number))
    }

    fn attempt(limits: &SignInLimits, id: u128, secret: &str, judgement: SignInResult, now: Instant) -> bool {
        match limits.admit(client(id), &SecretText::new(secret.to_owned()), now) {
            Ok(attempt) => {
                limits.settle(attempt, judgement, now);
                true
            }
            Err(_) => false,
        }
    }

    #[test]
    fn failures_of_a_client_are_bounded_and_another_client_does_not_feel_them() {
        let (limits, now) = (limits(), Instant::now());
        let fail = |id, now| attempt(&limits, id, "wrong", SignInResult::Wrong, now);
        assert_eq!((0..100).filter(|_| fail(1, now)).count(), OF_A_CLIENT_BURST as usize);
        assert!(fail(2, now));
        let refused = limits.admit(client(1), &SecretText::new("wrong".to_owned()), now);
        assert_eq!(refused.expect_err("refused"), Duration::from_secs(1));
        assert!(fail(1, now + Duration::from_secs(1)) && !fail(1, now + Duration::from_secs(1)));
    }

    #[test]
    fn invented_ids_are_bounded_together() {
        let (limits, now) = (limits(), Instant::now());
        let fail = |id, now| attempt(&limits, id, "wrong", SignInResult::Wrong, now);
        assert_eq!((0..1_000).filter(|id| fail(*id, now)).count(), OF_ALL_BURST as usize);
        let later = now + Duration::from_secs(2);
        assert_eq!((1_000..2_000).filter(|id| fail(*id, later)).count(), 20);
    }

    #[test]
    fn right_secrets_and_our_own_failures_do_not_count() {
        let (limits, now) = (limits(), Instant::now());
        for id in 2..1_000 {
            assert!(attempt(&limits, 1, "right", SignInResult::None, now));
            assert!(attempt(&limits, id, "right", SignInResult::Right, now));
        }
    }

    #[test]
    fn a_client_that_signs_in_all_the_time_is_slowed_and_no_other() {
        let (limits, now) = (limits(), Instant::now());
        let sign_in = |id| attempt(&limits, id, "right", SignInResult::Right, now);
        assert_eq!((0..1_000).filter(|_| sign_in(1)).count(), 1 + OF_THE_RECOGNISED_BURST as usize);
        assert!(sign_in(2) && sign_in(2));
        assert!(attempt(&limits, 1, "right", SignInResult::Right, now + Duration::from_millis(100)));
    }

    #[test]
    fn many_attempts_at_once_are_counted_before_they_are_judged() {
        let (limits, now) = (limits(), Instant::now());
        let secret = || SecretText::new("wrong".to_owned());
        let admitted: Vec<_> =
            (0..100).filter_map(|_| limits.admit(client(1), &secret(), now).ok()).collect();
        assert_eq!(admitted.len(), OF_A_CLIENT_BURST as usize);
        drop(admitted);
        assert!(limits.admit(client(1), &secret(), now).is_err(), "hanging up gives nothing back");
    }

    #[test]
    fn who_was_right_before_gets_in_whatever_others_try_until_the_secret_is_wrong() {
        let (limits, now) = (limits(), Instant::now());
        assert!(attempt(&limits, 1, "right", SignInResult::Right, now));
        while attempt(&limits, 1, "wrong", SignInResult::Wrong, now) {}
        for id in 2..1_000 {
            attempt(&limits, id, "wrong", SignInResult::Wrong, now);
        }
        for _ in 0..100 {
            assert!(attempt(&limits, 1, "right", SignInResult::Right, now));
        }
        assert!(!attempt(&limits, 2, "right", SignInResult::Right, now), "recognised for its own id only");
        assert!(attempt(&limits, 1, "right", SignInResult::Wrong, now), "it was changed");
        assert!(!attempt(&limits, 1, "right", SignInResult::Wrong, now), "and is not recognised any more");
    }
}
