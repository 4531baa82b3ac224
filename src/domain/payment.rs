//! Payments. They are parsed once, when they come in.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::money::Money;
use super::party::{Country, Party};

/// A UUIDv7. A payment and its decision have the same id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PaymentId(pub Uuid);

impl std::fmt::Display for PaymentId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Method {
    Card,
    CreditTransfer,
    Instant,
    DirectDebit,
    Wallet,
    Other,
}

impl Method {
    pub const ALL: [Self; 6] =
        [Self::Card, Self::CreditTransfer, Self::Instant, Self::DirectDebit, Self::Wallet, Self::Other];

    pub fn name(self) -> &'static str {
        match self {
            Self::Card => "card",
            Self::CreditTransfer => "credit_transfer",
            Self::Instant => "instant",
            Self::DirectDebit => "direct_debit",
            Self::Wallet => "wallet",
            Self::Other => "other",
        }
    }

    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|method| method.name() == name)
    }
}

const METADATA_KEY_LENGTH_MAX: usize = 40;

/// Checks a key of a payment's metadata. The error says what was expected.
pub fn metadata_key(key: &str) -> Result<(), &'static str> {
    let well_formed = (1..=METADATA_KEY_LENGTH_MAX).contains(&key.len())
        && key
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'_' | b'.' | b'-'));
    if well_formed { Ok(()) } else { Err("expected a key of 1 to 40 characters of a-z, 0-9, _, . and -") }
}

/// A card without its number: card numbers are refused in all texts of a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Card {
    pub fingerprint: String,
    pub bin: Option<String>,
    pub country: Option<Country>,
}

/// A payment as a client submits it, before it gets its id and time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PaymentOrder {
    pub reference: String,
    pub amount: Money,
    pub debtor: Party,
    pub creditor: Party,
    pub method: Method,
    pub customer: Option<String>,
    pub merchant: Option<String>,
    pub card: Option<Card>,
    pub device: Option<String>,
    pub ip: Option<IpAddr>,
    pub requested_at_ms: Option<u64>,
    pub purpose: Option<String>,
    pub remittance: Option<String>,
    /// In the order of the keys, each key once.
    pub metadata: Vec<(String, String)>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Payment {
    pub id: PaymentId,
    /// UTC milliseconds by the clock that all nodes share. An imported payment has its original
    /// time.
    pub received_at_ms: u64,
    pub order: PaymentOrder,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_method_is_read_back_from_its_name() {
        for method in Method::ALL {
            assert_eq!(Method::parse(method.name()), Some(method));
        }
    }
}
