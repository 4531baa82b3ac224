//! The keys under which the values of a payment are counted and found.
//!
//! Owns which values those are and how a key is made. A key is a hash, so that
//! the index holds no account and no name; it must never change for a released
//! version, or earlier payments drop out of every window.

use uuid::Uuid;

use super::canonical::CanonicalHash;
use crate::domain::comparison::ValueKind;
use crate::domain::payment::PaymentOrder;
use crate::domain::selector::Selector;
use crate::domain::tenant::TenantId;

/// The client's reference is no selector of the rule contract, but searched for like one.
const REFERENCE: &str = "reference";

const DAY_MS: i64 = 86_400_000;

/// The column `received_day`, by which the values of one day stay together: days
/// since 1970 by UTC.
pub fn day_of(at_ms: i64) -> i32 {
    i32::try_from(at_ms / DAY_MS).unwrap_or(i32::MAX)
}

/// Of a value in the form in which it is counted: the first 16 bytes of the hash. Its
/// version bits mean nothing.
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

/// The keys of one value of a payment. A payment is stored under one of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ValueKeys {
    /// Of the canonical form.
    pub own: Uuid,
    /// Of the value as it was written, under which earlier versions stored it; the
    /// same one where both are written alike.
    pub earlier: Uuid,
}

impl ValueKeys {
    pub fn of(tenant: TenantId, selector: &Selector, value: &str) -> Self {
        Self::named(tenant, &selector.name(), &selector.counted_form(value), value)
    }

    pub fn of_reference(tenant: TenantId, reference: &str) -> Self {
        Self::named(tenant, REFERENCE, &ValueKind::Text.form_of_value(reference), reference)
    }

    fn named(tenant: TenantId, selector: &str, form: &str, value: &str) -> Self {
        let own = value_key(tenant, selector, form);
        let earlier = if form == value { own } else { value_key(tenant, selector, value) };
        Self { own, earlier }
    }

    /// Each once.
    pub fn all(self) -> Vec<Uuid> {
        if self.own == self.earlier { vec![self.own] } else { vec![self.own, self.earlier] }
    }
}

/// What a payment can be counted by, each selector with its key.
pub fn selector_keys(tenant: TenantId, order: &PaymentOrder) -> Vec<(Selector, Uuid)> {
    let values = Selector::values(order).into_iter();
    values
        .map(|(selector, value)| {
            let key = ValueKeys::of(tenant, &selector, &value).own;
            (selector, key)
        })
        .collect()
}

/// Every key a payment is stored under.
pub fn value_keys(tenant: TenantId, order: &PaymentOrder) -> Vec<Uuid> {
    let selectors = selector_keys(tenant, order).into_iter().map(|(_, key)| key);
    selectors.chain([ValueKeys::of_reference(tenant, &order.reference).own]).collect()
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

    #[test]
    fn a_value_has_a_second_key_only_where_it_was_stored_under_another_one() {
        let tenant = TenantId(Uuid::from_u128(1));
        for (selector, value, form) in [
            (Selector::Customer, "c-1", "c-1"),
            (Selector::Customer, "c-1 ", "c-1"),
            (Selector::Ip, "::ffff:203.0.113.7", "203.0.113.7"),
            (Selector::DebtorBank, "deutdeff", "DEUTDEFFXXX"),
            (Selector::CreditorName, "Jos\u{e9} Garc\u{ed}a", "jose garcia"),
            // Nothing is left of its normal form.
            (Selector::CreditorName, "... !", "... !"),
            (Selector::Merchant, "\u{200b}", "\u{200b}"),
        ] {
            let keys = ValueKeys::of(tenant, &selector, value);
            assert_eq!(keys.own, value_key(tenant, &selector.name(), form), "{value:?}");
            assert_eq!(keys.earlier, value_key(tenant, &selector.name(), value), "{value:?}");
            assert_eq!(keys.all().len(), if form == value { 1 } else { 2 }, "{value:?}");
        }
    }
}
