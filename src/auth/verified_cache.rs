//! A cache of verified tokens. It saves a signature check (31 to 51 µs) on most requests.
//!
//! Must never return a token outside of the time in which it is valid, and never grow beyond its
//! bound.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, PoisonError};

use super::verified_token::VerifiedToken;
use crate::domain::plugin::Digest;

/// The digest of a token. The tokens themselves are not kept, so they cannot leak from memory.
pub(super) type Fingerprint = [u8; 32];

pub(super) fn fingerprint(token: &str) -> Fingerprint {
    Digest::of(token.as_bytes()).0
}

#[derive(Debug, Clone, Copy)]
pub(super) struct CachedToken {
    pub(super) token: VerifiedToken,
    pub(super) valid_from_ms: u64,
    /// From this time the token is refused: its expiry plus the leeway, or the retirement of its
    /// key.
    pub(super) valid_until_ms: u64,
}

#[derive(Default)]
struct Generations {
    young: HashMap<Fingerprint, CachedToken>,
    old: HashMap<Fingerprint, CachedToken>,
}

/// Has two generations. A full young generation becomes the old one, and the previous old one is
/// dropped. A token that is used moves to the young generation. Every step takes constant time.
pub(super) struct VerifiedCache {
    generations: Mutex<Generations>,
    generation_size: usize,
}

impl VerifiedCache {
    pub(super) fn new(capacity: usize) -> Self {
        Self { generations: Mutex::default(), generation_size: (capacity / 2).max(1) }
    }

    pub(super) fn get(&self, fingerprint: &Fingerprint, now_ms: u64) -> Option<VerifiedToken> {
        let mut generations = self.generations.lock().unwrap_or_else(PoisonError::into_inner);
        let young = generations.young.get(fingerprint).copied();
        let found = young.or_else(|| generations.old.get(fingerprint).copied())?;
        if now_ms >= found.valid_until_ms {
            generations.young.remove(fingerprint);
            generations.old.remove(fingerprint);
            return None;
        }
        if young.is_none() {
            self.put(&mut generations, *fingerprint, found);
        }
        (found.valid_from_ms <= now_ms).then_some(found.token)
    }

    pub(super) fn insert(&self, fingerprint: Fingerprint, verified: CachedToken) {
        let mut generations = self.generations.lock().unwrap_or_else(PoisonError::into_inner);
        self.put(&mut generations, fingerprint, verified);
    }

    fn put(&self, generations: &mut Generations, fingerprint: Fingerprint, verified: CachedToken) {
        if generations.young.len() >= self.generation_size {
            generations.old = std::mem::take(&mut generations.young);
        }
        generations.young.insert(fingerprint, verified);
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        let generations = self.generations.lock().expect("not poisoned");
        generations.young.len() + generations.old.len()
    }
}

impl fmt::Debug for VerifiedCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VerifiedCache")
            .field("generation_size", &self.generation_size)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::auth::scope::ScopeSet;
    use crate::auth::verified_token::Subject;
    use crate::domain::tenant::{ClientId, TenantId};

    fn verified(id: u128) -> CachedToken {
        let token = VerifiedToken {
            tenant: TenantId(Uuid::nil()),
            subject: Subject::Client { id: ClientId(Uuid::nil()), generation: 0 },
            scopes: ScopeSet::EMPTY,
            expires_at_ms: 200,
            requests_per_s: None,
            certificate: None,
            id: Uuid::from_u128(id),
        };
        CachedToken { token, valid_from_ms: 100, valid_until_ms: 200 }
    }

    #[test]
    fn it_answers_only_while_the_token_is_valid_and_forgets_it_at_expiry() {
        let cache = VerifiedCache::new(10);
        let key = fingerprint("token");
        cache.insert(key, verified(1));
        assert!(cache.get(&key, 99).is_none());
        assert!(cache.get(&key, 100).is_some() && cache.get(&key, 199).is_some());
        assert!(cache.get(&key, 200).is_none());
        assert_eq!(cache.len(), 0);
        assert!(cache.get(&key, 150).is_none(), "a clock set back does not bring it back");
    }

    #[test]
    fn it_stays_within_its_bound_and_keeps_what_is_used() {
        let cache = VerifiedCache::new(10);
        let used = fingerprint("used");
        cache.insert(used, verified(0));
        for number in 1..1000 {
            cache.insert(fingerprint(&number.to_string()), verified(number));
            assert_eq!(cache.get(&used, 150).map(|token| token.id), Some(Uuid::nil()), "after {number}");
            assert!(cache.len() <= 10);
        }
        assert!(cache.get(&fingerprint("1"), 150).is_none());
    }
}
