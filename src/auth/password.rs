//! Creates, hashes (argon2id, as PHC strings) and verifies client secrets.
//!
//! Must never hash on an async thread. A caller must not be able to tell an unknown client from
//! a wrong secret.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use argon2::password_hash::phc::PasswordHash;
use argon2::{Algorithm, Argon2, Params, PasswordHasher, PasswordVerifier, Version};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::spawn_blocking;
use tokio::time::timeout;
use zeroize::Zeroizing;

use super::AuthError;
use crate::domain::time::Randomness;

/// Lets secret scanners recognise a leaked client secret.
pub const CLIENT_SECRET_PREFIX: &str = "tgs_";

const MEMORY_KIB: u32 = 19_456;
const PASSES: u32 = 2;
const LANES: u32 = 1;
const SALT_BYTES: usize = 16;

/// A secret in plain text. It is never printed, and is wiped when dropped.
pub struct SecretText(Zeroizing<String>);

impl SecretText {
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// 256 random bits. The secret is shown once, and only its hash is stored.
    pub fn generate_for_client(randomness: &dyn Randomness) -> Self {
        let mut bytes = Zeroizing::new([0; 32]);
        randomness.fill(bytes.as_mut_slice());
        // Allocated at its final size: a string that grows leaves copies of the secret
        // behind.
        let mut text = Zeroizing::new(String::with_capacity(64));
        text.push_str(CLIENT_SECRET_PREFIX);
        URL_SAFE_NO_PAD.encode_string(bytes.as_slice(), &mut text);
        Self(text)
    }

    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretText(..)")
    }
}

/// Limits of concurrent hashing. Each hash takes a core for 13 ms and 19 MiB.
#[derive(Debug, Clone, Copy)]
pub struct HashingLimits {
    pub parallel: usize,
    /// How many may wait. The next one fails at once with [`AuthError::Busy`].
    pub waiting: usize,
    pub wait_ms: u64,
}

impl Default for HashingLimits {
    fn default() -> Self {
        Self { parallel: 2, waiting: 64, wait_ms: 2_000 }
    }
}

/// Hashes and verifies secrets on blocking threads, a bounded number at a time.
#[derive(Debug)]
pub struct SecretHasher {
    argon2: Argon2<'static>,
    /// The hash of a random secret, verified in place of the hash of an unknown client.
    decoy: Arc<str>,
    working: Arc<Semaphore>,
    admitted: Arc<Semaphore>,
    wait: Duration,
    computations: Arc<AtomicU64>,
}

impl SecretHasher {
    /// Takes as long as one hash, since it computes the decoy.
    pub fn new(limits: HashingLimits, randomness: &dyn Randomness) -> Result<Self, AuthError> {
        let params = Params::new(MEMORY_KIB, PASSES, LANES, None)
            .map_err(|_| AuthError::Cryptography("set up password hashing"))?;
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        let nobody = SecretText::generate_for_client(randomness);
        let decoy = compute_hash(&argon2, &nobody, salt(randomness))?.into();
        let parallel = limits.parallel.max(1);
        Ok(Self {
            argon2,
            decoy,
            working: Arc::new(Semaphore::new(parallel)),
            admitted: Arc::new(Semaphore::new(parallel.saturating_add(limits.waiting))),
            wait: Duration::from_millis(limits.wait_ms),
            computations: Arc::new(AtomicU64::new(0)),
        })
    }

    /// Returns the PHC string to store.
    pub async fn hash(&self, secret: SecretText, randomness: &dyn Randomness) -> Result<String, AuthError> {
        let argon2 = self.argon2.clone();
        let salt = salt(randomness);
        self.compute(move || compute_hash(&argon2, &secret, salt)).await
    }

    /// Whether the secret matches the stored hash. `None` stands for an unknown client: the
    /// result is false, after the same work.
    pub async fn verify(&self, secret: SecretText, stored: Option<&str>) -> Result<bool, AuthError> {
        let argon2 = self.argon2.clone();
        let known = stored.is_some();
        let hash = stored.map_or_else(|| self.decoy.clone(), Arc::from);
        let matches = self.compute(move || compute_verify(&argon2, &secret, &hash)).await?;
        Ok(matches && known)
    }

    /// The number of hashes that were computed since the start.
    pub fn computations(&self) -> u64 {
        self.computations.load(Ordering::Relaxed)
    }

    /// The permits move into the closure: if a caller gives up, its hash still counts until
    /// it ends.
    async fn compute<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, AuthError> + Send + 'static,
    ) -> Result<T, AuthError> {
        let permits = self.permits().await?;
        let computations = self.computations.clone();
        spawn_blocking(move || {
            let _until_done = permits;
            computations.fetch_add(1, Ordering::Relaxed);
            work()
        })
        .await
        .map_err(|_| AuthError::Cryptography("finish a password hash"))?
    }

    async fn permits(&self) -> Result<[OwnedSemaphorePermit; 2], AuthError> {
        let admitted = self.admitted.clone().try_acquire_owned().map_err(|_| AuthError::Busy)?;
        let waiting = timeout(self.wait, self.working.clone().acquire_owned());
        let working = waiting.await.map_err(|_| AuthError::Busy)?.map_err(|_| AuthError::Busy)?;
        Ok([working, admitted])
    }
}

fn salt(randomness: &dyn Randomness) -> [u8; SALT_BYTES] {
    let mut salt = [0; SALT_BYTES];
    randomness.fill(&mut salt);
    salt
}

fn compute_hash(
    argon2: &Argon2<'_>,
    secret: &SecretText,
    salt: [u8; SALT_BYTES],
) -> Result<String, AuthError> {
    let hash: PasswordHash = argon2
        .hash_password_with_salt(secret.expose().as_bytes(), &salt)
        .map_err(|_| AuthError::Cryptography("hash a password"))?;
    Ok(hash.to_string())
}

/// Uses the parameters of the stored hash, so that older hashes remain valid.
fn compute_verify(argon2: &Argon2<'_>, secret: &SecretText, hash: &str) -> Result<bool, AuthError> {
    use argon2::password_hash::Error;
    let parsed = PasswordHash::new(hash).map_err(|_| AuthError::StoredHash)?;
    // Without a salt or a hash, the library would return false without computing one.
    if parsed.salt.is_none() || parsed.hash.is_none() {
        return Err(AuthError::StoredHash);
    }
    match argon2.verify_password(secret.expose().as_bytes(), &parsed) {
        Ok(()) => Ok(true),
        Err(Error::PasswordInvalid) => Ok(false),
        Err(_) => Err(AuthError::StoredHash),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::fixtures::CountingRandomness;

    static RANDOMNESS: CountingRandomness = CountingRandomness::new();

    fn hasher(limits: HashingLimits) -> SecretHasher {
        SecretHasher::new(limits, &CountingRandomness::default()).expect("a hasher")
    }

    fn secret(text: &str) -> SecretText {
        SecretText::new(text.to_owned())
    }

    #[tokio::test]
    async fn only_the_hashed_secret_verifies() {
        let hasher = hasher(HashingLimits::default());
        let stored = hasher.hash(secret("tr0ub4dor&3"), &RANDOMNESS).await.expect("hashed");
        assert!(stored.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{stored}");
        assert!(hasher.verify(secret("tr0ub4dor&3"), Some(&stored)).await.expect("checked"));
        assert!(!hasher.verify(secret("tr0ub4dor&4"), Some(&stored)).await.expect("checked"));
        assert!(!hasher.verify(secret(""), Some(&stored)).await.expect("checked"));
        assert_ne!(hasher.hash(secret("tr0ub4dor&3"), &RANDOMNESS).await.expect("hashed"), stored, "salted");
    }

    #[tokio::test]
    async fn an_unknown_name_costs_the_same_work_as_a_wrong_secret() {
        let hasher = hasher(HashingLimits::default());
        let stored = hasher.hash(secret("right"), &RANDOMNESS).await.expect("hashed");
        for known in [Some(stored.as_str()), None] {
            let before = hasher.computations();
            assert!(!hasher.verify(secret("wrong"), known).await.expect("checked"));
            assert_eq!(hasher.computations(), before + 1, "one hash for {known:?}");
        }
        let cost = |hash: &str| hash.rsplitn(3, '$').last().map(str::to_owned);
        assert_eq!(cost(&hasher.decoy), cost(&stored), "with the same parameters");
    }

    #[tokio::test]
    async fn an_unknown_name_is_refused_even_with_the_secret_of_the_decoy() {
        let hasher = hasher(HashingLimits::default());
        let foreseen = || SecretText::generate_for_client(&CountingRandomness::default());
        assert!(hasher.verify(foreseen(), Some(&hasher.decoy)).await.expect("checked"));
        assert!(!hasher.verify(foreseen(), None).await.expect("checked"));
    }

    #[tokio::test]
    async fn a_hash_of_older_parameters_still_verifies() {
        let params = Params::new(64, 1, 1, None).expect("parameters");
        let older = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        let stored = compute_hash(&older, &secret("right"), [7; SALT_BYTES]).expect("hashed");
        let hasher = hasher(HashingLimits::default());
        assert!(hasher.verify(secret("right"), Some(&stored)).await.expect("checked"));
        assert!(!hasher.verify(secret("wrong"), Some(&stored)).await.expect("checked"));
    }

    #[tokio::test]
    async fn a_stored_hash_that_cannot_be_read_is_an_error_and_not_a_wrong_secret() {
        let hasher = hasher(HashingLimits::default());
        let cost = "$argon2id$v=19$m=19456,t=2,p=1";
        let cut = [format!("{cost}$"), format!("{cost}$c2FsdHNhbHQ"), cost.to_owned()];
        let foreign = ["", "plain", "$pbkdf2$c2FsdHNhbHQ$aGFzaGhhc2g"].map(str::to_owned);
        for stored in cut.iter().chain(&foreign) {
            let checked = hasher.verify(secret("any"), Some(stored)).await;
            assert!(matches!(checked, Err(AuthError::StoredHash)), "{stored}: {checked:?}");
        }
    }

    #[tokio::test]
    async fn those_who_find_no_room_are_told_so() {
        let hasher = hasher(HashingLimits { parallel: 1, waiting: 1, wait_ms: 1 });
        let working = hasher.permits().await.expect("the first works");
        let waited = hasher.verify(secret("any"), None).await;
        assert!(matches!(waited, Err(AuthError::Busy)), "waited in vain");
        let _waiting = hasher.admitted.clone().try_acquire_owned().expect("one may wait");
        assert!(
            matches!(hasher.hash(secret("any"), &RANDOMNESS).await, Err(AuthError::Busy)),
            "no room to wait"
        );
        drop(working);
        hasher.hash(secret("any"), &RANDOMNESS).await.expect("room again");
    }

    #[tokio::test]
    async fn a_caller_that_gives_up_keeps_its_place_until_the_hash_is_done() {
        let hasher = Arc::new(hasher(HashingLimits { parallel: 1, waiting: 0, wait_ms: 1 }));
        let (release, released) = std::sync::mpsc::channel::<()>();
        let (started, has_started) = tokio::sync::oneshot::channel::<()>();
        let busy = hasher.clone();
        let caller = tokio::spawn(async move {
            busy.compute(move || {
                started.send(()).ok();
                released.recv().ok();
                Ok(())
            })
            .await
        });
        has_started.await.expect("started");
        caller.abort();
        assert!(caller.await.expect_err("gave up").is_cancelled());
        assert!(matches!(hasher.verify(secret("any"), None).await, Err(AuthError::Busy)));
        release.send(()).expect("still running");
    }

    #[test]
    fn client_secrets_are_recognisable_long_and_never_printed() {
        let randomness = CountingRandomness::default();
        let [first, second] = [(); 2].map(|()| SecretText::generate_for_client(&randomness));
        assert!(first.expose().starts_with("tgs_"));
        assert_eq!(first.expose().len(), 4 + 43);
        assert_ne!(first.expose(), second.expose());
        assert_eq!(format!("{first:?}"), "SecretText(..)");
    }
}
