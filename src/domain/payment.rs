//! Payments. They are parsed once, when they come in.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use uuid::{Uuid, Variant, Version};

use super::money::Money;
use super::party::{Country, Party, UltimateParty};
use super::signal::Signal;

/// A UUIDv7. A payment and its decision have the same id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PaymentId(pub Uuid);

impl PaymentId {
    /// The time in the id, which is when the payment was received. A UUIDv7 begins with it, as 48
    /// bits of milliseconds.
    pub fn at_ms(self) -> u64 {
        (self.0.as_u128() >> 80) as u64
    }
}

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

/// Who pays the charges.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ChargeBearer {
    Debtor,
    Creditor,
    Shared,
    ServiceLevel,
}

impl ChargeBearer {
    pub const ALL: [Self; 4] = [Self::Debtor, Self::Creditor, Self::Shared, Self::ServiceLevel];

    /// The code of ISO 20022.
    pub fn name(self) -> &'static str {
        match self {
            Self::Debtor => "DEBT",
            Self::Creditor => "CRED",
            Self::Shared => "SHAR",
            Self::ServiceLevel => "SLEV",
        }
    }
}

/// What the payee's bank said about name and account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum PayeeMatch {
    Matches,
    CloseMatch,
    NoMatch,
    NotPossible,
}

impl PayeeMatch {
    pub const ALL: [Self; 4] = [Self::Matches, Self::CloseMatch, Self::NoMatch, Self::NotPossible];

    /// The code of the EPC's verification of payee.
    pub fn name(self) -> &'static str {
        match self {
            Self::Matches => "MTCH",
            Self::CloseMatch => "CMTC",
            Self::NoMatch => "NMTC",
            Self::NotPossible => "NOAP",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PayeeVerification {
    pub outcome: PayeeMatch,
    /// Only with a close match.
    pub suggested_name: Option<String>,
}

/// A unique end-to-end transaction reference: a UUIDv4 (RFC 4122).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Uetr(Uuid);

impl Uetr {
    /// Accepts upper case. The error says what was expected.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        // Uuid also reads other notations, which are not 36 characters long.
        let uuid = if text.len() == 36 { Uuid::try_parse(text).ok() } else { None };
        let well_formed = uuid.filter(|uuid| {
            uuid.get_version() == Some(Version::Random) && uuid.get_variant() == Variant::RFC4122
        });
        well_formed.map(Self).ok_or("expected a UETR: a UUID of version 4 with hyphens")
    }
}

impl std::fmt::Display for Uetr {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// A payment as a client submits it, before it gets its id and time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PaymentOrder {
    pub reference: String,
    pub amount: Money,
    pub debtor: Party,
    pub creditor: Party,
    pub ultimate_debtor: Option<UltimateParty>,
    pub ultimate_creditor: Option<UltimateParty>,
    /// In the order of the payment's way. At most three.
    pub intermediary_agents: Vec<String>,
    pub method: Method,
    pub customer: Option<String>,
    pub merchant: Option<String>,
    /// The four digits of ISO 18245.
    pub merchant_category: Option<String>,
    pub card: Option<Card>,
    pub device: Option<String>,
    pub ip: Option<IpAddr>,
    pub requested_at_ms: Option<u64>,
    pub purpose: Option<String>,
    pub remittance: Option<String>,
    pub end_to_end_id: Option<String>,
    pub uetr: Option<Uetr>,
    pub charge_bearer: Option<ChargeBearer>,
    pub payee_verification: Option<PayeeVerification>,
    /// In the order of the keys, each key once.
    pub metadata: Vec<(String, String)>,
    /// In the order of the names, each name once.
    pub signals: Vec<(String, Signal)>,
}

impl PaymentOrder {
    /// A payment without any optional value.
    pub fn of(
        reference: impl Into<String>,
        amount: Money,
        debtor: Party,
        creditor: Party,
        method: Method,
    ) -> Self {
        Self {
            reference: reference.into(),
            amount,
            debtor,
            creditor,
            ultimate_debtor: None,
            ultimate_creditor: None,
            intermediary_agents: vec![],
            method,
            customer: None,
            merchant: None,
            merchant_category: None,
            card: None,
            device: None,
            ip: None,
            requested_at_ms: None,
            purpose: None,
            remittance: None,
            end_to_end_id: None,
            uetr: None,
            charge_bearer: None,
            payee_verification: None,
            metadata: vec![],
            signals: vec![],
        }
    }
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

    #[test]
    fn a_uetr_is_a_uuid_of_version_4_and_kept_in_lower_case() {
        let expected = "eb6305c9-1f7f-49de-aed0-16487c27b42d";
        for text in [expected, "EB6305C9-1F7F-49DE-AED0-16487C27B42D"] {
            assert_eq!(Uetr::parse(text).expect(text).to_string(), expected);
        }
        for text in [
            "",
            "eb6305c91f7f49deaed016487c27b42d",
            "{eb6305c9-1f7f-49de-aed0-16487c27b42d}",
            "urn:uuid:eb6305c9-1f7f-49de-aed0-16487c27b42d",
            "eb6305c9-1f7f-49de-aed0-16487c27b42",
            "eb6305c9-1f7f-49de-aed0-16487c27b42g",
            "eb6305c9-1f7f-79de-aed0-16487c27b42d",
            "eb6305c9-1f7f-49de-2ed0-16487c27b42d",
            "00000000-0000-0000-0000-000000000000",
        ] {
            assert!(Uetr::parse(text).is_err(), "{text}");
        }
    }
}
