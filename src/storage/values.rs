//! The keys under which the values of a payment are counted and found.
//!
//! Owns which values those are and how a key is made. A key is a hash, so that
//! the index holds no account and no name; it must never change for a released
//! version, or earlier payments drop out of every window.

use uuid::Uuid;

use super::canonical::CanonicalHash;
use crate::domain::payment::PaymentOrder;
use crate::domain::selector::Selector;
use crate::domain::tenant::TenantId;

/// The client's reference is no selector of the rule contract, but searched for like one.
pub const REFERENCE: &str = "reference";

const DAY_MS: i64 = 86_400_000;

/// The column `received_day`, by which the values of one day stay together: days
/// since 1970 by UTC.
pub fn day_of(at_ms: i64) -> i32 {
    i32::try_from(at_ms / DAY_MS).unwrap_or(i32::MAX)
}

/// The first 16 bytes of the hash. Its version bits mean nothing.
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

/// What a payment can be counted by, each selector with its key.
pub fn selector_keys(tenant: TenantId, order: &PaymentOrder) -> Vec<(Selector, Uuid)> {
    let values = Selector::values(order).into_iter();
    values
        .map(|(selector, value)| {
            let key = value_key(tenant, &selector.name(), &value);
            (selector, key)
        })
        .collect()
}

/// Every key a payment is stored under.
pub fn value_keys(tenant: TenantId, order: &PaymentOrder) -> Vec<Uuid> {
    let selectors = selector_keys(tenant, order).into_iter().map(|(_, key)| key);
    selectors.chain([value_key(tenant, REFERENCE, &order.reference)]).collect()
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
