//! The root secret, the only secret outside of the database, and the keys derived from it.
//!
//! It comes from the configuration or from a file that only its owner can read. Must never
//! return the root secret itself, only keys for a purpose.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use aws_lc_rs::hkdf::{HKDF_SHA256, Salt};
use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use zeroize::Zeroizing;

use super::AuthError;
use crate::domain::time::Randomness;

pub const SECRET_BYTES: usize = 32;

/// More than any accepted text. Bounds what is read if the path is wrong.
const MAX_FILE_BYTES: u64 = 256;

/// Must never change: all derived keys, and all that they sealed, would become unreadable.
const SALT: &[u8] = b"tollgate root secret 1";

const ANY_PADDING: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
const BASE64: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, ANY_PADDING);
const BASE64_URL: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, ANY_PADDING);

/// What a derived key is used for. Keys of different purposes are independent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// The MAC of compiled plugins on disk.
    CompiledPlugins,
    /// The encryption of private signing keys in the database.
    SigningKeys,
    /// The signature of journal checkpoints.
    Checkpoints,
    /// The MAC of list cursors.
    Cursors,
    /// The keyed hash of a payment, by which a retry is recognised.
    RequestHashes,
    /// The MAC of refresh tokens, and of cookies by which a browser is recognised.
    RefreshTokens,
    /// The encryption of users' one-time password secrets in the database.
    SecondFactors,
    /// The encryption of the secrets with which tenants are clients of OpenID Connect providers.
    OpenidSecrets,
    /// The encryption of cookies of sign-ins that are under way at a provider.
    OpenidFlows,
}

impl Purpose {
    /// Must never change, like the salt.
    fn label(self) -> &'static [u8] {
        match self {
            Self::CompiledPlugins => b"compiled-plugins",
            Self::SigningKeys => b"signing-keys",
            Self::Checkpoints => b"checkpoints",
            Self::Cursors => b"cursors",
            Self::RequestHashes => b"request-hashes",
            Self::RefreshTokens => b"refresh-tokens",
            Self::SecondFactors => b"second-factors",
            Self::OpenidSecrets => b"openid-secrets",
            Self::OpenidFlows => b"openid-flows",
        }
    }
}

/// A key for one purpose. It is wiped when dropped.
#[derive(Clone)]
pub struct DerivedKey(Zeroizing<[u8; SECRET_BYTES]>);

impl DerivedKey {
    /// The bytes, for the cryptographic library only.
    pub fn expose(&self) -> &[u8; SECRET_BYTES] {
        &self.0
    }
}

impl fmt::Debug for DerivedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DerivedKey(..)")
    }
}

/// It is wiped when dropped.
pub struct RootSecret(Zeroizing<[u8; SECRET_BYTES]>);

impl fmt::Debug for RootSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RootSecret(..)")
    }
}

impl RootSecret {
    /// Reads hexadecimal or base64 text (both alphabets, with or without padding).
    pub fn from_text(text: &str) -> Result<Self, AuthError> {
        let bytes = decode(text.trim()).ok_or(AuthError::RootSecretText)?;
        if bytes.iter().all(|byte| *byte == bytes[0]) {
            return Err(AuthError::RootSecretNotRandom);
        }
        Ok(Self(bytes))
    }

    /// Reads the file, or creates it at the first start. Processes that start at the same
    /// time end up with the same secret.
    pub fn open_or_create(path: &Path, randomness: &dyn Randomness) -> Result<Self, AuthError> {
        let failed = |source| AuthError::RootSecretFile { path: path.to_owned(), source };
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                create(path, randomness).map_err(failed)?;
                File::open(path).map_err(failed)?
            }
            Err(error) => return Err(failed(error)),
        };
        // The metadata is that of the open file, not of the path, so that the file cannot be
        // replaced in between.
        let metadata = file.metadata().map_err(failed)?;
        if !metadata.is_file() || metadata.permissions().mode() & 0o077 != 0 {
            return Err(AuthError::RootSecretExposed(path.to_owned()));
        }
        let mut text = Zeroizing::new(String::with_capacity(MAX_FILE_BYTES as usize));
        file.take(MAX_FILE_BYTES).read_to_string(&mut text).map_err(failed)?;
        Self::from_text(&text).map_err(|error| match error {
            AuthError::RootSecretText => AuthError::RootSecretFileContent(path.to_owned()),
            other => other,
        })
    }

    pub fn derive(&self, purpose: Purpose) -> Result<DerivedKey, AuthError> {
        let failed = |_| AuthError::Cryptography("derive a key");
        let pseudo_random_key = Salt::new(HKDF_SHA256, SALT).extract(self.0.as_slice());
        let mut key = Zeroizing::new([0; SECRET_BYTES]);
        pseudo_random_key
            .expand(&[purpose.label()], HKDF_SHA256)
            .and_then(|output| output.fill(key.as_mut_slice()))
            .map_err(failed)?;
        Ok(DerivedKey(key))
    }
}

/// Writes a temporary file and links it to the path, so that no process reads a partial secret
/// and a crash leaves none behind.
fn create(path: &Path, randomness: &dyn Randomness) -> io::Result<()> {
    let mut secret = Zeroizing::new([0; SECRET_BYTES]);
    randomness.fill(secret.as_mut_slice());
    let mut text = Zeroizing::new(hexadecimal(secret.as_slice()));
    text.push('\n');

    let mut suffix = [0; 8];
    randomness.fill(&mut suffix);
    let beside = path.with_added_extension(hexadecimal(&suffix));
    let written = write_new(&beside, text.as_bytes()).and_then(|()| match fs::hard_link(&beside, path) {
        // Another process was faster. Its secret is used.
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        linked => linked,
    });
    let removed = match fs::remove_file(&beside) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    };
    written.and(removed)?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}

fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn hexadecimal(bytes: &[u8]) -> String {
    // Allocated at its final size: a string that grows leaves copies of the secret behind.
    let mut text = String::with_capacity(bytes.len() * 2 + 1);
    for byte in bytes {
        for digit in [byte >> 4, byte & 15] {
            text.push(char::from_digit(u32::from(digit), 16).unwrap_or_default());
        }
    }
    text
}

fn decode(text: &str) -> Option<Zeroizing<[u8; SECRET_BYTES]>> {
    let mut bytes = Zeroizing::new([0; SECRET_BYTES]);
    if text.len() == SECRET_BYTES * 2 {
        for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            let [high, low] = [pair[0], pair[1]].map(|digit| char::from(digit).to_digit(16));
            *byte = u8::try_from(high? * 16 + low?).ok()?;
        }
        return Some(bytes);
    }
    // Base64 of 32 bytes has 43 characters, or 44 with padding. The buffer has room for either.
    if !(43..=44).contains(&text.len()) {
        return None;
    }
    let mut buffer = Zeroizing::new([0; 36]);
    let length = BASE64
        .decode_slice(text, buffer.as_mut_slice())
        .or_else(|_| BASE64_URL.decode_slice(text, buffer.as_mut_slice()))
        .ok()?;
    if length != SECRET_BYTES {
        return None;
    }
    bytes.copy_from_slice(&buffer[..SECRET_BYTES]);
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::fixtures::CountingRandomness;

    const HEX: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
    const PADDED: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

    fn cursor_key(secret: &RootSecret) -> String {
        hexadecimal(secret.derive(Purpose::Cursors).expect("derives").expose())
    }

    #[test]
    fn hexadecimal_and_base64_text_name_the_same_secret() {
        let expected = cursor_key(&RootSecret::from_text(HEX).expect("hexadecimal"));
        for text in [PADDED, PADDED.trim_end_matches('='), &HEX.to_uppercase(), &format!(" {HEX}\n")] {
            assert_eq!(cursor_key(&RootSecret::from_text(text).expect(text)), expected);
        }
        let high = [0xfb_u8, 0xff, 0xfe].repeat(11)[..32].to_vec();
        let [standard, url] = [BASE64.encode(&high), BASE64_URL.encode(&high)];
        assert_ne!(standard, url);
        let [standard, url] = [standard, url].map(|text| RootSecret::from_text(&text).expect("base64"));
        assert_eq!(cursor_key(&standard), cursor_key(&url));
    }

    #[test]
    fn text_that_is_no_secret_is_refused_without_repeating_it() {
        for text in
            ["", "correct horse battery staple", &HEX[2..], &format!("{HEX}00"), &"zz".repeat(32), "é"]
        {
            let error = RootSecret::from_text(text).expect_err(text);
            assert!(matches!(error, AuthError::RootSecretText), "{text}");
            assert!(error.to_string().contains("64 hexadecimal digits"));
        }
        let zeros = RootSecret::from_text(&"00".repeat(32));
        assert!(matches!(zeros, Err(AuthError::RootSecretNotRandom)));
    }

    #[test]
    fn derived_keys_are_those_of_the_first_release() {
        let secret = RootSecret::from_text(HEX).expect("a secret");
        let derived = |purpose| hexadecimal(secret.derive(purpose).expect("derives").expose());
        let pinned = [
            (Purpose::CompiledPlugins, "1dc613cad80241dad2bd430ce041c5f2d5bbeea4628ea481c2cb9d2c3c05d9c5"),
            (Purpose::SigningKeys, "b1774c85c9e132090021f24fadb5118618f680c0333178b00c4c982ac80d1028"),
            (Purpose::Checkpoints, "b157aea4bbb4c20d991015c025649dd9fb07c000551fe79c2bcec83e91593873"),
            (Purpose::Cursors, "8049f5e3938cf0e4bec1c484f949de4e693d04af7a2a5e44e62d9f0bd66473d8"),
            (Purpose::RequestHashes, "a52efd2d8f7cebd006049b51a1f132e1d541dc790e06f66bd3e5b2e15f1bfa8a"),
        ];
        for (purpose, key) in pinned {
            assert_eq!(derived(purpose), key, "{purpose:?}");
        }
    }

    #[test]
    fn neither_the_secret_nor_a_key_is_printed() {
        let secret = RootSecret::from_text(HEX).expect("a secret");
        assert_eq!(format!("{secret:?}"), "RootSecret(..)");
        assert_eq!(format!("{:?}", secret.derive(Purpose::Cursors)), "Ok(DerivedKey(..))");
    }

    #[test]
    fn the_first_start_makes_a_file_that_later_starts_read() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("root-secret");
        let randomness = CountingRandomness::default();
        let made = RootSecret::open_or_create(&path, &randomness).expect("made");
        let read = RootSecret::open_or_create(&path, &randomness).expect("read");
        assert_eq!(cursor_key(&made), cursor_key(&read));
        assert_eq!(fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(folder.path()).expect("listed").count(), 1, "nothing is left beside it");
    }

    #[test]
    fn processes_that_start_together_share_one_secret() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("root-secret");
        let randomness = CountingRandomness::default();
        let keys: Vec<String> = std::thread::scope(|scope| {
            let open = || cursor_key(&RootSecret::open_or_create(&path, &randomness).expect("opened"));
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(open)).collect();
            threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
        });
        assert!(keys.iter().all(|key| *key == keys[0]));
    }

    #[test]
    fn a_file_that_others_can_read_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("root-secret");
        fs::write(&path, HEX).expect("written");
        for mode in [0o640, 0o604, 0o620, 0o601] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("changed");
            let refused = RootSecret::open_or_create(&path, &CountingRandomness::default());
            assert!(matches!(refused, Err(AuthError::RootSecretExposed(_))), "{mode:o}");
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).expect("changed");
        RootSecret::open_or_create(&path, &CountingRandomness::default()).expect("read-only is private too");
    }

    #[test]
    fn a_file_with_something_else_in_it_is_never_overwritten() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("root-secret");
        write_new(&path, b"not a secret").expect("written");
        let refused = RootSecret::open_or_create(&path, &CountingRandomness::default());
        assert!(matches!(refused, Err(AuthError::RootSecretFileContent(_))));
        assert_eq!(fs::read(&path).expect("still there"), b"not a secret");
    }
}
