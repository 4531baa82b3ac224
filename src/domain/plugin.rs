//! A plugin: a WebAssembly component, identified by the digest of its bytes.

use aws_lc_rs::digest::{self, Context, SHA256};
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// SHA-256.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Digest(pub [u8; 32]);

#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("expected a SHA-256 digest: 64 lower-case hexadecimal digits")]
pub struct DigestError;

impl Digest {
    pub fn of(bytes: &[u8]) -> Self {
        let mut own = Self([0; 32]);
        own.0.copy_from_slice(digest::digest(&SHA256, bytes).as_ref());
        own
    }

    pub fn parse(hex: &str) -> Result<Self, DigestError> {
        let mut bytes = [0; 32];
        if hex.len() != 64 || !hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(DigestError);
        }
        for (byte, pair) in bytes.iter_mut().zip(hex.as_bytes().chunks(2)) {
            let text = std::str::from_utf8(pair).map_err(|_| DigestError)?;
            *byte = u8::from_str_radix(text, 16).map_err(|_| DigestError)?;
        }
        Ok(Self(bytes))
    }

    /// The first bytes in hexadecimal, where a short name is enough.
    pub fn short(&self, bytes: usize) -> String {
        self.0.iter().take(bytes).map(|byte| format!("{byte:02x}")).collect()
    }
}

/// Computes the digest of bytes that come in parts.
pub struct DigestBuilder(Context);

impl std::fmt::Debug for DigestBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("DigestBuilder")
    }
}

impl Default for DigestBuilder {
    fn default() -> Self {
        Self(Context::new(&SHA256))
    }
}

impl DigestBuilder {
    pub fn with(mut self, bytes: &[u8]) -> Self {
        self.0.update(bytes);
        self
    }

    pub fn finish(self) -> Digest {
        let mut digest = Digest([0; 32]);
        digest.0.copy_from_slice(self.0.finish().as_ref());
        digest
    }
}

impl std::fmt::Display for Digest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl std::fmt::Debug for Digest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

/// The limits that a plugin runs under. The profile is chosen when the plugin is added, and stored
/// with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Profile {
    /// For compiled languages.
    Small,
    /// For languages with an interpreter.
    Large,
}

impl Profile {
    pub fn name(self) -> &'static str {
        match self {
            Self::Small => "small",
            Self::Large => "large",
        }
    }

    pub fn parse(name: &str) -> Option<Self> {
        [Self::Small, Self::Large].into_iter().find(|profile| profile.name() == name)
    }
}

/// What a plugin returned from `describe`. The texts are untrusted, and their lengths were checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Description {
    pub name: String,
    pub version: String,
    pub summary: String,
    /// JSON Schema of the settings, as JSON text.
    pub settings_schema: String,
}

/// A plugin that was inspected and compiled, and has described itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plugin {
    pub digest: Digest,
    pub size_bytes: u64,
    /// Version of the rule contract, such as `1.0.0`.
    pub contract: String,
    pub profile: Profile,
    pub description: Description,
    /// The names of its imports, which are types of the contract only.
    pub imports: Vec<String>,
    /// How long compiling took, or 0 if the compiled code was in the cache.
    pub compile_ms: u64,
}

/// The state of an upload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum UploadState {
    Waiting,
    Compiling,
    Ready,
    Refused,
}

impl UploadState {
    pub const ALL: [Self; 4] = [Self::Waiting, Self::Compiling, Self::Ready, Self::Refused];

    pub fn name(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Compiling => "compiling",
            Self::Ready => "ready",
            Self::Refused => "refused",
        }
    }

    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.name() == name)
    }
}

/// One value for small plugins and one for large ones, so that neither kind waits for the other.
#[derive(Debug, Default)]
pub struct ByProfile<T> {
    pub small: T,
    pub large: T,
}

impl<T> ByProfile<T> {
    pub fn of(&self, profile: Profile) -> &T {
        match profile {
            Profile::Small => &self.small,
            Profile::Large => &self.large,
        }
    }
}

/// The place of an unfinished upload in its queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueuePlace {
    /// How many uploads of the same tenant come first in this queue.
    pub ahead: u64,
    /// When a node started to compile it.
    pub started_at_ms: Option<u64>,
}

/// A plugin as one tenant sees it, from its upload on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TenantPlugin {
    pub digest: Digest,
    pub size_bytes: u64,
    pub state: UploadState,
    /// Why it was refused.
    pub why: Option<String>,
    /// Who uploaded it. `None` if it comes only from the shared folder.
    pub uploaded_by: Option<String>,
    pub uploaded_at_ms: Option<u64>,
    /// Set while it waits or is compiled.
    pub queue_place: Option<QueuePlace>,
    pub shared: bool,
    pub retired_at_ms: Option<u64>,
    /// Set once it is ready.
    pub plugin: Option<Plugin>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_read_back_from_its_hexadecimal_form() {
        let digest = Digest(std::array::from_fn(|place| place as u8 * 7));
        assert_eq!(Digest::parse(&digest.to_string()), Ok(digest));
        for hex in ["", "00", &"G".repeat(64), &"A".repeat(64), &"0".repeat(63), &"é".repeat(32)] {
            assert_eq!(Digest::parse(hex), Err(DigestError), "{hex}");
        }
    }
}
