//! Authenticates clients and users: secrets, password hashes, signing keys, access and refresh
//! tokens, one-time passwords.
//!
//! Does not depend on the database or HTTP: keys and hashes are passed as plain data. A `Debug`, a
//! `Display` or an error must never contain a secret.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

pub mod attempt_delays;
pub mod checkpoint;
#[cfg(test)]
mod fixtures;
mod form;
pub mod oauth;
pub mod one_time_link;
pub mod one_time_password;
pub mod openid_flow;
pub mod password;
pub mod recovery_code;
pub mod refresh_token;
pub mod revoked;
pub mod root_secret;
pub mod scope;
pub mod sealed;
pub mod sign_in_limits;
pub mod signing_key;
pub mod token;
mod verified_cache;
mod verified_token;

/// An error of this node. For the reasons to refuse a caller, see [`token::TokenError`] and
/// [`oauth::OAuthError`].
#[derive(Debug, Error)]
pub enum AuthError {
    #[error("the root secret must be 32 random bytes, written as 64 hexadecimal digits or base64")]
    RootSecretText,
    #[error("the root secret is one byte repeated, so it is not random")]
    RootSecretNotRandom,
    #[error("the root secret file {} must be a regular file that only its owner can read (mode \
             0600)", .0.display())]
    RootSecretExposed(PathBuf),
    #[error("the root secret file {} does not contain a root secret: expected 32 bytes as 64 hexadecimal \
             digits or base64", .0.display())]
    RootSecretFileContent(PathBuf),
    #[error("the root secret file {} cannot be used", path.display())]
    RootSecretFile { path: PathBuf, source: io::Error },
    #[error(
        "a sealed value cannot be opened: it was changed, belongs elsewhere or was sealed with another root \
         secret"
    )]
    Sealed,
    #[error("the stored signing key {0} does not match its id")]
    SigningKey(String),
    #[error("there is no signing key in use")]
    NoSigningKey,
    #[error("the lifetime of access tokens must be 300 to 600 seconds, not {0}")]
    TokenLifetime(u64),
    #[error("too many passwords are being checked")]
    Busy,
    #[error("a stored password hash cannot be read")]
    StoredHash,
    #[error("the cryptographic library failed to {0}")]
    Cryptography(&'static str),
}
