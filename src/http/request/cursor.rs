//! Cursors, which mark where the next page of a list begins. They are opaque to clients,
//! authenticated, and valid only for their tenant and query.

use aws_lc_rs::hmac::{HMAC_SHA256, Key, sign};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::auth::root_secret::SECRET_BYTES;
use crate::domain::tenant::TenantId;

/// Half of the MAC: 128 bits.
const TAG_BYTES: usize = 16;

pub struct CursorKey(Key);

impl std::fmt::Debug for CursorKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("CursorKey")
    }
}

impl CursorKey {
    pub fn new(key: [u8; SECRET_BYTES]) -> Self {
        Self(Key::new(HMAC_SHA256, &key))
    }

    /// `query` is the list and its filters, in a fixed order.
    pub fn seal(&self, tenant: TenantId, query: &str, position: &str) -> String {
        let mut bytes = self.tag(tenant, query, position).to_vec();
        bytes.extend_from_slice(position.as_bytes());
        URL_SAFE_NO_PAD.encode(bytes)
    }

    pub fn open(&self, tenant: TenantId, query: &str, cursor: &str) -> Option<String> {
        let bytes = URL_SAFE_NO_PAD.decode(cursor).ok()?;
        let (tag, position) = bytes.split_at_checked(TAG_BYTES)?;
        let position = String::from_utf8(position.to_vec()).ok()?;
        let expected = self.tag(tenant, query, &position);
        aws_lc_rs::constant_time::verify_slices_are_equal(tag, &expected).ok()?;
        Some(position)
    }

    fn tag(&self, tenant: TenantId, query: &str, position: &str) -> [u8; TAG_BYTES] {
        // With the length, no other query and position give the same message.
        let message = format!("{tenant} {} {query}{position}", query.len());
        let mut tag = [0; TAG_BYTES];
        tag.copy_from_slice(&sign(&self.0, message.as_bytes()).as_ref()[..TAG_BYTES]);
        tag
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn a_cursor_is_good_for_its_tenant_and_query_only() {
        let key = CursorKey::new([7; SECRET_BYTES]);
        let (tenant, other) = (TenantId(Uuid::from_u128(1)), TenantId(Uuid::from_u128(2)));
        let cursor = key.seal(tenant, "payments outcome=review", "42");
        assert_eq!(key.open(tenant, "payments outcome=review", &cursor).as_deref(), Some("42"));
        assert_eq!(key.open(other, "payments outcome=review", &cursor), None);
        assert_eq!(key.open(tenant, "payments outcome=reject", &cursor), None);
        assert_eq!(
            key.open(tenant, "payments outcome=review4", &key.seal(tenant, "payments outcome=review", "42")),
            None
        );
        for forged in ["", "AAAA", "not base64!", &cursor[1..], &format!("{cursor}AA")] {
            assert_eq!(key.open(tenant, "payments outcome=review", forged), None, "{forged}");
        }
    }
}
