//! The keys by which nodes of the release before count and find a payment.
//!
//! A key is a hash, so that the index contains no accounts and names. How it is computed must
//! never change, or earlier payments would no longer be counted.

use uuid::Uuid;

use super::canonical::CanonicalHash;
use crate::domain::payment::PaymentOrder;
use crate::domain::selector::Selector;
use crate::domain::tenant::TenantId;

pub(super) const DAY_MS: i64 = 86_400_000;

/// The value of the column `received_day`: days since 1970 in UTC. The index begins with it, so
/// that the values of a day are close together.
pub fn day_of(at_ms: i64) -> i32 {
    i32::try_from(at_ms / DAY_MS).unwrap_or(i32::MAX)
}

/// The first 16 bytes of the hash of a value in canonical form. Not a valid UUID: its version
/// bits have no meaning.
pub fn value_key(tenant: TenantId, selector: &str, value: &str) -> Uuid {
    let hash = CanonicalHash::new("tollgate payment value 1")
        .field(tenant.0.as_bytes())
        .field(selector.as_bytes())
        .field(value.as_bytes())
        .finish();
    let mut key = [0; 16];
    key.copy_from_slice(&hash.0[..16]);
    Uuid::from_bytes(key)
}

/// The keys of the values that nodes of the release before count and find a payment by.
pub fn value_keys(tenant: TenantId, order: &PaymentOrder) -> Vec<Uuid> {
    let values = Selector::searched_values(order).into_iter();
    values
        .map(|(selector, value)| value_key(tenant, &selector.name(), &selector.counted_form(&value)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_depends_on_tenant_selector_and_value_and_never_changes() {
        let (one, other) = (TenantId(Uuid::from_u128(1)), TenantId(Uuid::from_u128(2)));
        let key = value_key(one, "customer", "c-1");
        assert_eq!(key.to_string(), "661944f0-2714-ce86-b4d0-e6f65e5f5b84");
        assert_ne!(key, value_key(other, "customer", "c-1"));
        assert_ne!(key, value_key(one, "merchant", "c-1"));
        assert_ne!(key, value_key(one, "customer", "c-2"));
    }
}
