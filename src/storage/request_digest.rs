//! The digest of a parsed payment, by which a retry is recognised.
//!
//! Account, country and address are in canonical form, names and free text as written. It must
//! never change, since stored keys depend on it. A different encoding must be an additional digest.

use std::net::IpAddr;

use super::canonical::CanonicalHash;
use crate::domain::address::PostalAddress;
use crate::domain::party::{Account, Country, Party, UltimateParty};
use crate::domain::payment::{Card, ChargeBearer, PaymentOrder};
use crate::domain::plugin::Digest;
use crate::domain::signal::Signal;
use crate::domain::verdict::Outcome;

/// The digest of a submitted payment. Absent and empty members differ.
pub fn of_order(order: &PaymentOrder) -> Digest {
    let hash = CanonicalHash::new("tollgate payment order 1")
        .field(order.reference.as_bytes())
        .field(&order.amount.minor().to_be_bytes())
        .field(order.amount.currency().code().as_bytes())
        .field(order.method.name().as_bytes());
    let hash = party(party(hash, &order.debtor), &order.creditor);
    let hash = optional_text(optional_text(hash, order.customer.as_deref()), order.merchant.as_deref());
    let hash = optional_text(card(hash, order.card.as_ref()), order.device.as_deref());
    let hash = ip_address(hash, order.ip)
        .optional_field(order.requested_at_ms.map(u64::to_be_bytes).as_ref().map(<[u8; 8]>::as_slice));
    let hash = optional_text(optional_text(hash, order.purpose.as_deref()), order.remittance.as_deref());
    let hash = order
        .metadata
        .iter()
        .fold(count(hash, order.metadata.len()), |hash, (key, value)| text(text(hash, key), value));
    newer_members(hash, order).finish()
}

/// The members that earlier releases did not have. Each that is present adds its name and fields
/// whose number follows from themselves; an absent one adds nothing, so that a payment without them
/// keeps its digest.
fn newer_members(hash: CanonicalHash, order: &PaymentOrder) -> CanonicalHash {
    let verification = order.payee_verification.as_ref();
    let hash = member(hash, "debtor address", order.debtor.address.as_ref(), postal_address);
    let hash = member(hash, "creditor address", order.creditor.address.as_ref(), postal_address);
    let hash = member(hash, "ultimate debtor", order.ultimate_debtor.as_ref(), ultimate_party);
    let hash = member(hash, "ultimate creditor", order.ultimate_creditor.as_ref(), ultimate_party);
    let hash = member(hash, "intermediary agents", some(&order.intermediary_agents), texts);
    let hash = member(hash, "merchant category", order.merchant_category.as_deref(), text);
    let hash = member(hash, "end-to-end id", order.end_to_end_id.as_deref(), text);
    let hash = member(hash, "uetr", order.uetr.map(|uetr| uetr.to_string()).as_deref(), text);
    let hash = member(hash, "charge bearer", order.charge_bearer.map(ChargeBearer::name), text);
    let hash = member(hash, "payee match", verification.map(|it| it.outcome.name()), text);
    let suggested_name = verification.and_then(|it| it.suggested_name.as_deref());
    let hash = member(hash, "suggested name", suggested_name, text);
    member(hash, "signals", some(&order.signals), signals)
}

fn member<T>(
    hash: CanonicalHash,
    name: &str,
    value: Option<T>,
    encode: impl FnOnce(CanonicalHash, T) -> CanonicalHash,
) -> CanonicalHash {
    match value {
        None => hash,
        Some(value) => encode(hash.field(name.as_bytes()), value),
    }
}

/// `None` if there are no values.
fn some<T>(values: &[T]) -> Option<&[T]> {
    (!values.is_empty()).then_some(values)
}

fn text(hash: CanonicalHash, text: &str) -> CanonicalHash {
    hash.field(text.as_bytes())
}

fn texts(hash: CanonicalHash, texts: &[String]) -> CanonicalHash {
    texts.iter().fold(count(hash, texts.len()), |hash, item| text(hash, item))
}

fn count(hash: CanonicalHash, count: usize) -> CanonicalHash {
    hash.field(&(count as u64).to_be_bytes())
}

fn optional_text(hash: CanonicalHash, text: Option<&str>) -> CanonicalHash {
    hash.optional_field(text.map(str::as_bytes))
}

fn signals(hash: CanonicalHash, signals: &[(String, Signal)]) -> CanonicalHash {
    signals.iter().fold(count(hash, signals.len()), |hash, (name, signal)| {
        let hash = text(hash, name);
        match signal {
            Signal::Number(number) => hash.field(&[0]).field(&number.0.to_be_bytes()),
            Signal::Word(word) => text(hash.field(&[1]), word),
        }
    })
}

fn ultimate_party(hash: CanonicalHash, party: &UltimateParty) -> CanonicalHash {
    let hash = account(text(hash, &party.name), party.account.as_ref());
    let hash = optional_text(hash, party.country.as_ref().map(Country::as_str));
    match &party.address {
        None => hash.field(&[0]),
        Some(address) => postal_address(hash.field(&[1]), address),
    }
}

fn postal_address(hash: CanonicalHash, address: &PostalAddress) -> CanonicalHash {
    let before_the_town = [
        &address.department,
        &address.sub_department,
        &address.street_name,
        &address.building_number,
        &address.building_name,
        &address.floor,
        &address.post_box,
        &address.room,
        &address.post_code,
    ];
    let after_the_town = [&address.town_location_name, &address.district_name, &address.country_sub_division];
    let all = |hash, members: &[&Option<String>]| {
        members.iter().fold(hash, |hash, member| optional_text(hash, member.as_deref()))
    };
    let hash = all(text(all(hash, &before_the_town), &address.town_name), &after_the_town);
    texts(text(hash, address.country.as_str()), &address.address_lines)
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
    let hash = account(text(hash, &party.name), party.account.as_ref());
    let hash = optional_text(hash, party.bank.as_deref());
    optional_text(hash, party.country.as_ref().map(Country::as_str))
}

fn account(hash: CanonicalHash, account: Option<&Account>) -> CanonicalHash {
    match account {
        None => hash.field(&[0]),
        Some(Account::Iban(iban)) => text(hash.field(&[1]), iban.as_str()),
        Some(Account::Other(number)) => text(hash.field(&[2]), number),
    }
}

fn card(hash: CanonicalHash, card: Option<&Card>) -> CanonicalHash {
    let Some(card) = card else { return hash.field(&[0]) };
    let hash = optional_text(text(hash.field(&[1]), &card.fingerprint), card.bin.as_deref());
    optional_text(hash, card.country.as_ref().map(Country::as_str))
}

/// An IPv4-mapped IPv6 address equals the IPv4 address.
fn ip_address(hash: CanonicalHash, ip: Option<IpAddr>) -> CanonicalHash {
    match ip.map(|ip| ip.to_canonical()) {
        None => hash.field(&[0]),
        Some(IpAddr::V4(ip)) => hash.field(&ip.octets()),
        Some(IpAddr::V6(ip)) => hash.field(&ip.octets()),
    }
}

#[cfg(test)]
#[path = "request_digest/tests.rs"]
mod tests;
