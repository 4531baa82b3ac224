//! The canonical hash over several fields, behind value keys, decision digests and batch hashes.
//!
//! SHA-256 over a domain name and each field, each preceded by its length in 8 big-endian bytes. So
//! different lists of fields never give the same input. Must never change: stored rows depend on it.

use crate::domain::plugin::Digest;

/// The fields are gathered and hashed at once: a hash that is computed in parts costs more than all of
/// its short fields.
pub(super) struct CanonicalHash(Vec<u8>);

/// Most hashes are of less.
const BYTES: usize = 256;

impl CanonicalHash {
    /// The domain separates hashes of different purposes.
    pub(super) fn new(domain: &str) -> Self {
        Self(Vec::with_capacity(BYTES)).field(domain.as_bytes())
    }

    pub(super) fn field(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(&(bytes.len() as u64).to_be_bytes());
        self.0.extend_from_slice(bytes);
        self
    }

    /// An absent field differs from any present field.
    pub(super) fn optional_field(self, bytes: Option<&[u8]>) -> Self {
        match bytes {
            None => self.field(&[0]),
            Some(bytes) => self.field(&[1]).field(bytes),
        }
    }

    pub(super) fn finish(self) -> Digest {
        Digest::of(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moving_a_byte_between_fields_changes_the_hash() {
        let one = CanonicalHash::new("d").field(b"ab").field(b"c").finish();
        let other = CanonicalHash::new("d").field(b"a").field(b"bc").finish();
        assert_ne!(one, other);
        assert_ne!(one, CanonicalHash::new("e").field(b"ab").field(b"c").finish());
    }

    #[test]
    fn an_absent_field_is_not_an_empty_one() {
        let absent = CanonicalHash::new("d").optional_field(None).finish();
        let empty = CanonicalHash::new("d").optional_field(Some(b"")).finish();
        assert_ne!(absent, empty);
    }
}
