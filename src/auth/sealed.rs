//! Encrypts small secrets for storage: a version byte, a nonce, and the AES-256-GCM ciphertext
//! with its tag.
//!
//! A secret must always be sealed with associated data, so that the sealed value cannot be moved to
//! another row.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use zeroize::Zeroizing;

use super::AuthError;
use super::root_secret::DerivedKey;
use crate::domain::time::Randomness;

const VERSION: u8 = 1;

/// Seals and opens secrets with one key. Nonces are random. That is safe for billions of values,
/// and a node seals only a few.
#[derive(Debug)]
pub struct Sealer(LessSafeKey);

impl Sealer {
    pub fn new(key: &DerivedKey) -> Result<Self, AuthError> {
        let key = UnboundKey::new(&AES_256_GCM, key.expose())
            .map_err(|_| AuthError::Cryptography("load a sealing key"))?;
        Ok(Self(LessSafeKey::new(key)))
    }

    pub fn seal(
        &self,
        secret: &[u8],
        associated_data: &str,
        randomness: &dyn Randomness,
    ) -> Result<Vec<u8>, AuthError> {
        let mut nonce = [0; NONCE_LEN];
        randomness.fill(&mut nonce);
        // Encrypted in place. The capacity is enough for the tag, so the plain text is
        // never copied.
        let mut text = Vec::with_capacity(secret.len() + AES_256_GCM.tag_len());
        text.extend_from_slice(secret);
        self.0
            .seal_in_place_append_tag(
                Nonce::assume_unique_for_key(nonce),
                bound_to(associated_data),
                &mut text,
            )
            .map_err(|_| AuthError::Cryptography("seal a secret"))?;
        Ok([&[VERSION], nonce.as_slice(), text.as_slice()].concat())
    }

    pub fn open(&self, sealed: &[u8], associated_data: &str) -> Result<Zeroizing<Vec<u8>>, AuthError> {
        let (version, rest) = sealed.split_first().ok_or(AuthError::Sealed)?;
        let (nonce, text) = rest.split_first_chunk::<NONCE_LEN>().ok_or(AuthError::Sealed)?;
        if *version != VERSION {
            return Err(AuthError::Sealed);
        }
        let mut buffer = Zeroizing::new(text.to_vec());
        let length = self
            .0
            .open_in_place(Nonce::assume_unique_for_key(*nonce), bound_to(associated_data), &mut buffer)
            .map_err(|_| AuthError::Sealed)?
            .len();
        buffer.truncate(length);
        Ok(buffer)
    }
}

/// Includes the version, so that a later format cannot be read as this one.
fn bound_to(associated_data: &str) -> Aad<Vec<u8>> {
    Aad::from([&[VERSION], associated_data.as_bytes()].concat())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::fixtures::{CountingRandomness, sealer};

    #[test]
    fn a_sealed_secret_opens_for_its_owner_only() {
        let sealed = sealer(1).seal(b"a secret", "key-1", &CountingRandomness::default()).expect("sealed");
        assert!(!sealed.windows(8).any(|window| window == b"a secret"));
        assert_eq!(sealer(1).open(&sealed, "key-1").expect("opens").as_slice(), b"a secret");
        assert!(matches!(sealer(1).open(&sealed, "key-2"), Err(AuthError::Sealed)), "another row");
        assert!(matches!(sealer(2).open(&sealed, "key-1"), Err(AuthError::Sealed)), "another root secret");
    }

    #[test]
    fn every_changed_or_missing_byte_is_noticed() {
        let sealed = sealer(1).seal(b"a secret", "key-1", &CountingRandomness::default()).expect("sealed");
        for position in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[position] ^= 1;
            assert!(sealer(1).open(&changed, "key-1").is_err(), "byte {position} changed");
            assert!(sealer(1).open(&sealed[..position], "key-1").is_err(), "cut at {position}");
        }
    }

    #[test]
    fn the_same_secret_never_seals_the_same_way_twice() {
        let randomness = CountingRandomness::default();
        let [first, second] = [(); 2].map(|()| sealer(1).seal(b"s", "k", &randomness).expect("sealed"));
        assert_ne!(first, second);
    }
}
