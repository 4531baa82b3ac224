//! The messages of `proto/tollgate/rules/v1`, and their conversion to and from the types of the
//! rule engine.
//!
//! Whatever arrives was written by another process, perhaps of another version: reading it may fail,
//! and must never panic.

pub(super) mod answers;
mod calls;
mod plugins;

use prost::bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;
use tonic::Status;

use crate::domain::plugin::{Digest, Profile};

pub use generated::*;

#[allow(clippy::all, missing_debug_implementations)]
mod generated {
    tonic::include_proto!("tollgate.rules.v1");
}

/// Describes the service to clients that ask by reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/rules-descriptors.bin"));

/// The version of the evidence whose types payments, facts and queries have in messages. Processes of
/// different ones do not ask each other.
pub const FORMAT: u32 = 3;

/// Where a request names the start of the worker that is meant.
pub const START_KEY: &str = "tollgate-worker-start-bin";

/// A message that does not fit its definition: it comes from another version, or is forged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("a message cannot be read: {0}")]
pub struct UnreadableMessage(pub &'static str);

impl From<UnreadableMessage> for Status {
    fn from(error: UnreadableMessage) -> Self {
        Self::invalid_argument(error.to_string())
    }
}

fn packed<T: Serialize>(value: &T) -> Bytes {
    postcard::to_stdvec(value).expect("plain data").into()
}

/// All of the bytes, or nothing.
fn unpacked<T: DeserializeOwned>(bytes: &[u8], what: &'static str) -> Result<T, UnreadableMessage> {
    match postcard::take_from_bytes(bytes) {
        Ok((value, [])) => Ok(value),
        _ => Err(UnreadableMessage(what)),
    }
}

pub fn digest_bytes(digest: Digest) -> Bytes {
    Bytes::copy_from_slice(&digest.0)
}

pub fn digest_of(bytes: &[u8]) -> Result<Digest, UnreadableMessage> {
    bytes.try_into().map(Digest).map_err(|_| UnreadableMessage("a digest does not have 32 bytes"))
}

pub fn profile_number(profile: Profile) -> i32 {
    let named = match profile {
        Profile::Small => generated::Profile::Small,
        Profile::Large => generated::Profile::Large,
    };
    named.into()
}

pub fn profile_of(number: i32) -> Result<Profile, UnreadableMessage> {
    match generated::Profile::try_from(number) {
        Ok(generated::Profile::Small) => Ok(Profile::Small),
        Ok(generated::Profile::Large) => Ok(Profile::Large),
        Ok(generated::Profile::Unspecified) | Err(_) => Err(UnreadableMessage("an unknown profile")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::decision::EvidenceVersion;

    #[test]
    fn the_format_is_the_newest_version_of_evidence() {
        assert_eq!(i64::from(FORMAT), i64::from(EvidenceVersion::V3.number()));
        assert!(EvidenceVersion::try_from(4).is_err(), "a newer version needs another format");
    }
}
