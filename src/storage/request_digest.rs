//! The digest of a parsed payment, by which a retry is recognised.
//!
//! Account, country and address are in canonical form, names and free text as written. It must
//! never change, since stored keys depend on it. A different encoding must be an additional digest.

use std::net::IpAddr;

use super::canonical::CanonicalHash;
use crate::domain::party::{Account, Party};
use crate::domain::payment::{Card, PaymentOrder};
use crate::domain::plugin::Digest;
use crate::domain::verdict::Outcome;

/// The digest of a submitted payment. Absent and empty members differ.
pub fn of_order(order: &PaymentOrder) -> Digest {
    let hash = CanonicalHash::new("tollgate payment order 1")
        .field(order.reference.as_bytes())
        .field(&order.amount.minor().to_be_bytes())
        .field(order.amount.currency().code().as_bytes())
        .field(order.method.name().as_bytes());
    let hash = party(party(hash, &order.debtor), &order.creditor)
        .optional_field(order.customer.as_deref().map(str::as_bytes))
        .optional_field(order.merchant.as_deref().map(str::as_bytes));
    let hash = card(hash, order.card.as_ref()).optional_field(order.device.as_deref().map(str::as_bytes));
    let hash = address(hash, order.ip)
        .optional_field(order.requested_at_ms.map(u64::to_be_bytes).as_ref().map(<[u8; 8]>::as_slice))
        .optional_field(order.purpose.as_deref().map(str::as_bytes))
        .optional_field(order.remittance.as_deref().map(str::as_bytes))
        .field(&(order.metadata.len() as u64).to_be_bytes());
    let metadata = order.metadata.iter();
    metadata.fold(hash, |hash, (key, value)| hash.field(key.as_bytes()).field(value.as_bytes())).finish()
}

/// The digest of an imported payment. Its events are left out: later imports may add some.
pub fn of_import(order: &PaymentOrder, received_at_ms: u64, outcome: Outcome) -> Digest {
    CanonicalHash::new("tollgate imported payment 1")
        .field(&of_order(order).0)
        .field(&received_at_ms.to_be_bytes())
        .field(outcome.name().as_bytes())
        .finish()
}

fn party(hash: CanonicalHash, party: &Party) -> CanonicalHash {
    let hash = hash.field(party.name.as_bytes());
    let hash = match &party.account {
        None => hash.field(&[0]),
        Some(Account::Iban(iban)) => hash.field(&[1]).field(iban.as_str().as_bytes()),
        Some(Account::Other(number)) => hash.field(&[2]).field(number.as_bytes()),
    };
    hash.optional_field(party.bank.as_deref().map(str::as_bytes))
        .optional_field(party.country.as_ref().map(|country| country.as_str().as_bytes()))
}

fn card(hash: CanonicalHash, card: Option<&Card>) -> CanonicalHash {
    let Some(card) = card else { return hash.field(&[0]) };
    hash.field(&[1])
        .field(card.fingerprint.as_bytes())
        .optional_field(card.bin.as_deref().map(str::as_bytes))
        .optional_field(card.country.as_ref().map(|country| country.as_str().as_bytes()))
}

/// An IPv4-mapped IPv6 address equals the IPv4 address.
fn address(hash: CanonicalHash, ip: Option<IpAddr>) -> CanonicalHash {
    match ip.map(|ip| ip.to_canonical()) {
        None => hash.field(&[0]),
        Some(IpAddr::V4(ip)) => hash.field(&ip.octets()),
        Some(IpAddr::V6(ip)) => hash.field(&ip.octets()),
    }
}

#[cfg(test)]
#[path = "request_digest/tests.rs"]
mod tests;
