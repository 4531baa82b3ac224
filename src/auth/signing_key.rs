//! The Ed25519 keys that sign access tokens.
//!
//! A private key must never leave this module, except sealed or inside of the signing library.

use std::fmt;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{DecodingKey, EncodingKey};
use serde::Serialize;
use zeroize::Zeroizing;

use super::AuthError;
use super::sealed::Sealer;
use crate::domain::plugin::Digest;
use crate::domain::time::Randomness;

const SEED_BYTES: usize = 32;

/// A signing key as it is stored in the database.
#[derive(Clone, PartialEq, Eq)]
pub struct StoredSigningKey {
    /// The RFC 7638 thumbprint of the public key.
    pub kid: String,
    pub public_key: Vec<u8>,
    /// The private seed, sealed with the kid as associated data.
    pub sealed_private_key: Vec<u8>,
    pub created_at_ms: u64,
    /// From this time the key neither signs nor verifies. A rotation retires a key after its last
    /// token has expired, or at once if the key leaked.
    pub retired_at_ms: Option<u64>,
}

impl StoredSigningKey {
    pub fn generate(
        sealer: &Sealer,
        randomness: &dyn Randomness,
        created_at_ms: u64,
    ) -> Result<Self, AuthError> {
        let mut seed = Zeroizing::new([0; SEED_BYTES]);
        randomness.fill(seed.as_mut_slice());
        let pair = Ed25519KeyPair::from_seed_unchecked(seed.as_slice())
            .map_err(|_| AuthError::Cryptography("make a signing key"))?;
        let public_key = pair.public_key().as_ref().to_vec();
        let kid = thumbprint(&public_key);
        let sealed_private_key = sealer.seal(seed.as_slice(), &kid, randomness)?;
        Ok(Self { kid, public_key, sealed_private_key, created_at_ms, retired_at_ms: None })
    }
}

/// Does not show the private key, not even sealed.
impl fmt::Debug for StoredSigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoredSigningKey")
            .field("kid", &self.kid)
            .field("created_at_ms", &self.created_at_ms)
            .field("retired_at_ms", &self.retired_at_ms)
            .finish_non_exhaustive()
    }
}

/// A signing key in memory.
pub(super) struct SigningKey {
    pub(super) kid: String,
    pub(super) encoding: EncodingKey,
    pub(super) decoding: DecodingKey,
    pub(super) retired_at_ms: Option<u64>,
    public_key: Vec<u8>,
    created_at_ms: u64,
}

impl SigningKey {
    fn open(stored: &StoredSigningKey, sealer: &Sealer) -> Result<Self, AuthError> {
        let mismatch = |_| AuthError::SigningKey(stored.kid.clone());
        let seed = sealer.open(&stored.sealed_private_key, &stored.kid)?;
        // Fails if the public key does not belong to the seed.
        let pair = Ed25519KeyPair::from_seed_and_public_key(&seed, &stored.public_key).map_err(mismatch)?;
        if thumbprint(&stored.public_key) != stored.kid {
            return Err(AuthError::SigningKey(stored.kid.clone()));
        }
        let pkcs8 = pair.to_pkcs8().map_err(|_| AuthError::Cryptography("load a signing key"))?;
        Ok(Self {
            kid: stored.kid.clone(),
            encoding: EncodingKey::from_ed_der(pkcs8.as_ref()),
            decoding: DecodingKey::from_ed_der(&stored.public_key),
            retired_at_ms: stored.retired_at_ms,
            public_key: stored.public_key.clone(),
            created_at_ms: stored.created_at_ms,
        })
    }

    fn in_use(&self, now_ms: u64) -> bool {
        is_in_use(self.retired_at_ms, now_ms)
    }
}

fn is_in_use(retired_at_ms: Option<u64>, now_ms: u64) -> bool {
    retired_at_ms.is_none_or(|retired_at_ms| now_ms < retired_at_ms)
}

/// The keys in use. A rotation creates a new ring.
pub struct KeyRing(Vec<SigningKey>);

impl KeyRing {
    /// Does not open retired keys. At least one key must remain.
    pub fn open(stored: &[StoredSigningKey], sealer: &Sealer, now_ms: u64) -> Result<Self, AuthError> {
        let in_use = stored.iter().filter(|key| is_in_use(key.retired_at_ms, now_ms));
        let mut keys: Vec<_> = in_use.map(|key| SigningKey::open(key, sealer)).collect::<Result<_, _>>()?;
        if keys.is_empty() {
            return Err(AuthError::NoSigningKey);
        }
        // Keys of the same time are sorted by kid, so that all nodes sign with the same key.
        keys.sort_by(|a, b| (b.created_at_ms, &b.kid).cmp(&(a.created_at_ms, &a.kid)));
        Ok(Self(keys))
    }

    /// The newest key that is not retired.
    pub(super) fn signing(&self, now_ms: u64) -> Option<&SigningKey> {
        self.0.iter().find(|key| key.in_use(now_ms))
    }

    /// The key with this kid, if it is not retired.
    pub(super) fn verifying(&self, kid: &str, now_ms: u64) -> Option<&SigningKey> {
        self.0.iter().find(|key| key.kid == kid && key.in_use(now_ms))
    }

    /// The public keys that verify tokens.
    pub fn jwks(&self, now_ms: u64) -> JwkSet {
        JwkSet { keys: self.0.iter().filter(|key| key.in_use(now_ms)).map(Jwk::of).collect() }
    }
}

impl fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|key| &key.kid)).finish()
    }
}

/// A JWK set (RFC 7517) of public keys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct JwkSet {
    pub keys: Vec<Jwk>,
}

/// An Ed25519 public key (RFC 8037).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Jwk {
    pub kty: &'static str,
    pub crv: &'static str,
    #[serde(rename = "use")]
    pub usage: &'static str,
    pub alg: &'static str,
    pub kid: String,
    pub x: String,
}

impl Jwk {
    fn of(key: &SigningKey) -> Self {
        Self::of_public_key(&key.public_key, key.kid.clone())
    }

    pub(super) fn of_public_key(public_key: &[u8], kid: String) -> Self {
        let x = URL_SAFE_NO_PAD.encode(public_key);
        Self { kty: "OKP", crv: "Ed25519", usage: "sig", alg: "EdDSA", kid, x }
    }
}

/// RFC 7638: the SHA-256 of the required members, in order, without spaces.
pub(super) fn thumbprint(public_key: &[u8]) -> String {
    let x = URL_SAFE_NO_PAD.encode(public_key);
    let members = format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{x}"}}"#);
    URL_SAFE_NO_PAD.encode(Digest::of(members.as_bytes()).0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::fixtures::{CountingRandomness, NOW_MS, sealer, stored_key};

    #[test]
    fn the_thumbprint_is_that_of_rfc_8037_appendix_a_3() {
        let x = URL_SAFE_NO_PAD.decode("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo").expect("decodes");
        assert_eq!(thumbprint(&x), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
    }

    #[test]
    fn the_newest_key_signs_and_all_that_are_not_retired_verify() {
        let mut keys = [stored_key(1), stored_key(2), stored_key(3)];
        keys[2].retired_at_ms = Some(NOW_MS);
        keys[1].retired_at_ms = Some(NOW_MS + 1000);
        let ring = KeyRing::open(&keys, &sealer(1), NOW_MS).expect("opens");
        let signing = |now_ms| ring.signing(now_ms).map(|key| key.kid.clone());
        assert_eq!(signing(NOW_MS), Some(keys[1].kid.clone()));
        assert_eq!(signing(NOW_MS + 1000), Some(keys[0].kid.clone()), "the newer one has retired");
        assert!(ring.verifying(&keys[0].kid, NOW_MS).is_some());
        assert!(ring.verifying(&keys[1].kid, NOW_MS + 999).is_some());
        assert!(ring.verifying(&keys[1].kid, NOW_MS + 1000).is_none());
        assert!(ring.verifying(&keys[2].kid, NOW_MS).is_none());
        assert_eq!(ring.jwks(NOW_MS).keys.len(), 2);
        assert_eq!(ring.jwks(NOW_MS + 1000).keys.len(), 1);
    }

    #[test]
    fn a_ring_without_a_key_in_use_is_refused() {
        let mut key = stored_key(1);
        key.retired_at_ms = Some(NOW_MS);
        for keys in [vec![], vec![key]] {
            let refused = KeyRing::open(&keys, &sealer(1), NOW_MS);
            assert!(matches!(refused, Err(AuthError::NoSigningKey)));
        }
    }

    #[test]
    fn the_published_key_has_the_members_of_rfc_8037_and_nothing_private() {
        let key = stored_key(1);
        let ring = KeyRing::open(std::slice::from_ref(&key), &sealer(1), NOW_MS).expect("opens");
        let published = serde_json::to_value(ring.jwks(NOW_MS)).expect("JSON");
        let x = URL_SAFE_NO_PAD.encode(&key.public_key);
        let expected = serde_json::json!({ "keys": [
            { "kty": "OKP", "crv": "Ed25519", "use": "sig", "alg": "EdDSA", "kid": key.kid, "x": x }
        ] });
        assert_eq!(published, expected);
    }

    #[test]
    fn a_key_sealed_under_another_root_secret_does_not_open() {
        let opened = KeyRing::open(&[stored_key(1)], &sealer(2), NOW_MS);
        assert!(matches!(opened, Err(AuthError::Sealed)));
    }

    #[test]
    fn a_row_whose_parts_belong_to_different_keys_does_not_open() {
        let (key, other) = (stored_key(1), stored_key(2));
        let swaps = [
            StoredSigningKey { kid: other.kid.clone(), ..key.clone() },
            StoredSigningKey { public_key: other.public_key.clone(), ..key.clone() },
            StoredSigningKey { sealed_private_key: other.sealed_private_key.clone(), ..key.clone() },
            StoredSigningKey { public_key: vec![1, 2, 3], ..key },
        ];
        for swapped in swaps {
            assert!(KeyRing::open(&[swapped], &sealer(1), NOW_MS).is_err());
        }
    }

    #[test]
    fn a_key_under_a_name_of_its_own_choice_does_not_open() {
        let mut key = stored_key(1);
        let seed = sealer(1).open(&key.sealed_private_key, &key.kid).expect("opens");
        key.kid = "chosen".to_owned();
        key.sealed_private_key =
            sealer(1).seal(&seed, &key.kid, &CountingRandomness::default()).expect("sealed");
        let opened = KeyRing::open(&[key], &sealer(1), NOW_MS);
        assert!(matches!(opened, Err(AuthError::SigningKey(kid)) if kid == "chosen"));
    }

    #[test]
    fn neither_stored_nor_opened_keys_print_more_than_their_ids() {
        let key = stored_key(1);
        let ring = KeyRing::open(std::slice::from_ref(&key), &sealer(1), NOW_MS).expect("opens");
        assert_eq!(format!("{ring:?}"), format!("[{:?}]", key.kid));
        assert!(!format!("{key:?}").contains("private"));
        assert_eq!(format!("{:?}", sealer(1)).matches("ab").count(), 0);
    }
}
