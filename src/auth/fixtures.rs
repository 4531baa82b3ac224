//! Fixed keys and a predictable random source, for the unit tests of this room.

use std::sync::atomic::{AtomicU64, Ordering};

use super::root_secret::{Purpose, RootSecret};
use super::sealed::Sealer;
use super::signing_key::StoredSigningKey;
use crate::domain::plugin::Digest;
use crate::domain::time::Randomness;

pub const NOW_MS: u64 = 1_800_000_000_000;

/// A counter: the bytes never repeat within a test, and are the same in every run.
#[derive(Debug, Default)]
pub struct CountingRandomness(AtomicU64);

impl CountingRandomness {
    pub const fn new() -> Self {
        Self(AtomicU64::new(0))
    }
}

impl Randomness for CountingRandomness {
    fn fill(&self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(32) {
            let count = self.0.fetch_add(1, Ordering::SeqCst);
            chunk.copy_from_slice(&Digest::of(&count.to_le_bytes()).0[..chunk.len()]);
        }
    }
}

pub fn sealer(root: u8) -> Sealer {
    let text = format!("{root:02x}{}", "ab".repeat(31));
    let secret = RootSecret::from_text(&text).expect("a root secret");
    Sealer::new(&secret.derive(Purpose::SigningKeys).expect("derives")).expect("a key")
}

/// Signing key number `number`, created `number` milliseconds after `NOW_MS`.
pub fn stored_key(number: u64) -> StoredSigningKey {
    let randomness = CountingRandomness(AtomicU64::new(number * 1000));
    StoredSigningKey::generate(&sealer(1), &randomness, NOW_MS + number).expect("generated")
}
