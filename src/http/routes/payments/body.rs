//! Reads a payment order from JSON.
//!
//! Checks only what needs no stored data: lengths, ranges and codes.

use std::net::IpAddr;

use serde::ser::SerializeMap;

use crate::domain::card_check::CheckedField;
use crate::domain::decision::EvidenceVersion;
use crate::domain::money::{AMOUNT_MINOR_MAX, Currency, Money, MoneyError};
use crate::domain::party::{Party, UltimateParty};
use crate::domain::payment::{
    Card, ChargeBearer, Method, PayeeMatch, PayeeVerification, PaymentOrder, Uetr, metadata_key,
};
use crate::http::request::codecs::{
    Components, Integer, KeyForm, Member, Parsed, Text, any_items, currency, dictionary, integer, named,
    object, optional, optional_time, parsed, text,
};
use crate::http::request::declaration::{MemberSchemas, Words, body, named, shape};
use crate::http::request::fields::Fields;
use crate::http::response::problem::PartError;
use crate::http::routes::payments::parties::{NAME_LENGTH_MAX, bank, country};
use crate::http::routes::payments::signals::SignalCodec;

const METADATA_KEYS_MAX: usize = 20;

const SIGNALS_MAX: usize = 32;

const INTERMEDIARY_AGENTS_MAX: usize = 3;

const METADATA_KEY: KeyForm = KeyForm { check: metadata_key, pattern: "^[a-z0-9_.-]{1,40}$" };

/// The length of Max35Text in ISO 20022.
pub const REFERENCE_LENGTH_MAX: usize = 35;

/// The longest identifier of a customer, merchant or card.
pub const IDENTIFIER_LENGTH_MAX: usize = 64;

body! {
    /// A payment as submitted by a client.
    for PaymentOrder as "PaymentOrder" {
        /// The client's own reference for the payment.
        #[example = "INV-2026-001"]
        reference = text(REFERENCE_LENGTH_MAX).checked(CheckedField::Reference),
        amount = AmountMembers,
        method = named::<MethodShape>(),
        debtor = object::<Party>(),
        creditor = object::<Party>(),
        /// Whoever the debtor acts for.
        ultimate_debtor = optional(object::<UltimateParty>()),
        /// Whoever the creditor acts for.
        ultimate_creditor = optional(object::<UltimateParty>()),
        /// BICs or other identifiers of the banks in between, in the order of the payment's way.
        intermediary_agents = any_items(bank(), INTERMEDIARY_AGENTS_MAX),
        customer = optional(text(IDENTIFIER_LENGTH_MAX).checked(CheckedField::Customer)),
        merchant = optional(text(IDENTIFIER_LENGTH_MAX).checked(CheckedField::Merchant)),
        /// The merchant's category code of ISO 18245.
        #[example = "5411"]
        merchant_category = optional(merchant_category()),
        /// Only with the methods `card` and `wallet`. Must never contain a card number.
        card = optional(object::<Card>()),
        device = optional(text(128).checked(CheckedField::Device)),
        /// IPv4 or IPv6 address.
        #[example = "203.0.113.7"]
        ip = optional(ip_address()),
        /// When the payer requested the payment, in UTC milliseconds since 1970.
        requested_at_ms = optional_time(),
        /// ISO 20022 external purpose code.
        #[example = "SALA"]
        purpose = optional(text(4)),
        remittance = optional(text(140).checked(CheckedField::Remittance)),
        /// The end-to-end identification of ISO 20022. `NOTPROVIDED` is allowed.
        end_to_end_id = optional(text(REFERENCE_LENGTH_MAX).checked(CheckedField::Reference)),
        /// The unique end-to-end transaction reference: a UUID of version 4. It is shown in lower case.
        #[example = "eb6305c9-1f7f-49de-aed0-16487c27b42d"]
        uetr = optional(uetr()),
        /// Who pays the charges.
        charge_bearer = optional(named::<ChargeBearerShape>()),
        /// What the payee's bank said about the creditor's name and account.
        payee_verification = optional(object::<PayeeVerification>()),
        /// At most 20 keys of 1 to 40 characters of `a-z 0-9 _ . -`, with values of 1 to 200 characters.
        metadata =
            dictionary(Some(CheckedField::Metadata), METADATA_KEYS_MAX, METADATA_KEY, metadata_value()),
        /// What another system of the client said about the payment, such as the score of a model: at
        /// most 32 names of 1 to 40 characters of `a-z 0-9 _ . -`. A value is a word of 1 to 64
        /// characters, or a number from -1000000000 to 1000000000 with at most 6 decimals.
        signals = dictionary(None, SIGNALS_MAX, METADATA_KEY, SignalCodec),
    }
    check |fields, method| {
        if fields.has("card") && !matches!(method, Method::Card | Method::Wallet) {
            fields.error("card", "is only allowed with the methods card and wallet");
        }
    }
}

shape! {
    pub struct PaymentShape(PaymentOrder);
}

named! {
    pub struct MethodShape(Method) as "Method";
}

named! {
    /// ISO 20022: the debtor, the creditor, both, or as the service level says.
    pub struct ChargeBearerShape(ChargeBearer) as "ChargeBearer";
}

named! {
    /// The name matches, matches closely, does not match, or could not be verified.
    pub struct PayeeMatchShape(PayeeMatch) as "PayeeMatch";
}

body! {
    for PayeeVerification as "PayeeVerification" {
        outcome = named::<PayeeMatchShape>(),
        /// Only with the outcome `CMTC`: the name that the payee's bank suggested.
        suggested_name = optional(text(NAME_LENGTH_MAX)),
    }
    check |fields, outcome| {
        if fields.has("suggested_name") && *outcome != PayeeMatch::CloseMatch {
            fields.error("suggested_name", "is only allowed with the outcome CMTC");
        }
    }
}

body! {
    for Card as "Card" {
        /// The client's own stable token for the card, in ASCII characters.
        fingerprint = text(IDENTIFIER_LENGTH_MAX).ascii(),
        /// The first 6 or 8 digits of the card number.
        bin = optional(bin()),
        country = optional(country()),
    }
}

fn current_currency() -> Parsed<Currency, MoneyError> {
    currency().refused_now(|currency, at_ms| {
        Currency::parse_at(currency.code(), at_ms).err().map(|error| error.to_string())
    })
}

fn metadata_value() -> Text {
    text(200).checked(CheckedField::Metadata)
}

fn merchant_category() -> Parsed<String, &'static str> {
    fn parse(text: &str) -> Result<String, &'static str> {
        let well_formed = text.len() == 4 && text.bytes().all(|b| b.is_ascii_digit());
        if well_formed {
            Ok(text.to_owned())
        } else {
            Err("expected the four digits of a category of ISO 18245")
        }
    }
    parsed(parse, String::clone).pattern("^[0-9]{4}$")
}

fn uetr() -> Parsed<Uetr, &'static str> {
    parsed(Uetr::parse, Uetr::to_string)
        .pattern("^[0-9A-Fa-f]{8}-[0-9A-Fa-f]{4}-4[0-9A-Fa-f]{3}-[89ABab][0-9A-Fa-f]{3}-[0-9A-Fa-f]{12}$")
}

fn ip_address() -> Parsed<IpAddr, &'static str> {
    parsed(|text| text.parse().map_err(|_| "expected an IPv4 or IPv6 address"), IpAddr::to_string)
}

fn bin() -> Parsed<String, &'static str> {
    fn parse(text: &str) -> Result<String, &'static str> {
        let well_formed = matches!(text.len(), 6 | 8) && text.bytes().all(|b| b.is_ascii_digit());
        if well_formed {
            Ok(text.to_owned())
        } else {
            Err("expected the first 6 or 8 digits of the card number")
        }
    }
    parsed(parse, String::clone).pattern("^([0-9]{6}|[0-9]{8})$")
}

/// An amount, which is two members of the payment: the number and the currency.
struct AmountMembers;

impl AmountMembers {
    fn minor() -> Integer<i64> {
        integer(1..=AMOUNT_MINOR_MAX)
    }
}

impl Member for AmountMembers {
    type Value = Money;

    fn read_from(&self, _: &'static str, fields: &mut Fields<'_>) -> Option<Money> {
        let minor = fields.member("amount_minor", &Self::minor());
        let currency = fields.member("currency", &current_currency());
        Money::new(minor?, currency?).ok()
    }

    fn write_to<M: SerializeMap>(
        &self,
        _: &'static str,
        amount: &Money,
        map: &mut M,
    ) -> Result<(), M::Error> {
        map.serialize_entry("amount_minor", &amount.minor())?;
        map.serialize_entry("currency", amount.currency().code())
    }

    fn describe_in(&self, _: &'static str, _: Words, members: &mut MemberSchemas) {
        let description = "In minor units of the currency: 12.34 EUR is 1234.";
        members.add("amount_minor", &Self::minor(), Words { description, example: Some(1234.into()) });
        let description = "ISO 4217 currency code.";
        members.add("currency", &current_currency(), Words { description, example: Some("EUR".into()) });
    }

    fn components_of(&self, _: &mut Components) {}
}

/// The errors of a payment for the members that nodes do not store yet. `place` is the payment's
/// JSON pointer.
pub fn not_stored_yet(version: EvidenceVersion, order: &PaymentOrder, place: &str) -> Vec<PartError> {
    let detail = "is not accepted yet, since the nodes of this service are being upgraded; send it again after \
                  the upgrade";
    let error = |member: &str| PartError {
        pointer: Some(format!("{place}{member}")),
        parameter: None,
        detail: detail.to_owned(),
    };
    version.lacks(order).into_iter().map(error).collect()
}

impl From<&PaymentOrder> for PaymentShape {
    fn from(order: &PaymentOrder) -> Self {
        Self(order.clone())
    }
}

#[cfg(test)]
#[path = "body_tests.rs"]
mod tests;
