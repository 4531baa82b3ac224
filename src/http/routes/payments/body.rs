//! Reads a payment order from JSON.
//!
//! Checks only what needs no stored data: lengths, ranges and codes.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::Serialize;
use serde::ser::SerializeMap;
use utoipa::openapi::{OneOfBuilder, Ref, RefOr, Schema};

use crate::domain::card_check::CheckedField;
use crate::domain::card_number::{CARD_NUMBER_FOUND, account_holds_card_number};
use crate::domain::money::{AMOUNT_MINOR_MAX, Currency, Money, MoneyError};
use crate::domain::party::{Account, Country, Iban, Party, PartyError};
use crate::domain::payment::{Card, Method, PaymentOrder, metadata_key};
use crate::http::request::codecs::{
    Codec, Components, Integer, KeyForm, Member, Parsed, Text, currency, dictionary, integer, named, object,
    optional, parsed, text, time_ms,
};
use crate::http::request::declaration::{MemberSchemas, Words, body, described, named, shape};
use crate::http::request::fields::{Fields, Place};
use crate::http::request::json::Value;

const METADATA_KEYS_MAX: usize = 20;

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
        customer = optional(text(IDENTIFIER_LENGTH_MAX).checked(CheckedField::Customer)),
        merchant = optional(text(IDENTIFIER_LENGTH_MAX).checked(CheckedField::Merchant)),
        /// Only with the methods `card` and `wallet`. Must never contain a card number.
        card = optional(object::<Card>()),
        device = optional(text(128).checked(CheckedField::Device)),
        /// IPv4 or IPv6 address.
        #[example = "203.0.113.7"]
        ip = optional(ip_address()),
        /// When the payer requested the payment, in UTC milliseconds since 1970.
        requested_at_ms = optional(time_ms()),
        /// ISO 20022 external purpose code.
        #[example = "SALA"]
        purpose = optional(text(4)),
        remittance = optional(text(140).checked(CheckedField::Remittance)),
        /// At most 20 keys of 1 to 40 characters of `a-z 0-9 _ . -`, with values of 1 to 200 characters.
        metadata =
            dictionary(CheckedField::Metadata, METADATA_KEYS_MAX, METADATA_KEY, 200),
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

body! {
    for Party as "Party" {
        name = text(140),
        account = optional(AccountCodec),
        /// BIC or another bank identifier.
        bank = optional(text(35).checked(CheckedField::Bank)),
        /// ISO 3166-1 alpha-2 country code.
        #[example = "DE"]
        country = optional(country()),
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

fn country() -> Parsed<Country, PartyError> {
    let parsed = parsed(Country::parse_as_ever, |country| country.as_str().to_owned());
    parsed.pattern("^[A-Z]{2}$").refused_now(|country, at_ms| {
        Country::parse_at(country.as_str(), at_ms).err().map(|error| error.to_string())
    })
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

/// An object with exactly one of two members.
#[derive(Debug)]
struct AccountCodec;

impl AccountCodec {
    fn iban() -> Parsed<Iban, PartyError> {
        parsed(Iban::parse, |iban| iban.as_str().to_owned()).refused_now(|iban, _| {
            account_holds_card_number(iban.as_str()).then(|| CARD_NUMBER_FOUND.to_owned())
        })
    }

    fn other() -> Text {
        text(34).checked(CheckedField::AccountOther)
    }

    fn alternative(name: &str, codec: &impl Codec, words: &'static str) -> RefOr<Schema> {
        let mut members = MemberSchemas::default();
        members.add(name, codec, Words { description: words, example: None });
        members.finish("")
    }
}

impl Codec for AccountCodec {
    type Value = Account;

    fn read(&self, place: Place<'_>, value: &Value) -> Option<Account> {
        place.object(value, |fields| {
            let iban = fields.member("iban", &optional(Self::iban()));
            let other = fields.member("other", &optional(Self::other()));
            match (fields.has("iban"), fields.has("other")) {
                (true, true) => fields.error("other", "is only allowed without iban"),
                (false, false) => fields.error("iban", "either iban or other is required"),
                _ => {}
            }
            iban?.map(Account::Iban).or(other?.map(Account::Other))
        })
    }

    fn write<'v>(&'v self, value: &'v Account) -> Option<impl Serialize> {
        let name = match value {
            Account::Iban(_) => "iban",
            Account::Other(_) => "other",
        };
        Some(BTreeMap::from([(name, value.as_str())]))
    }

    fn schema(&self) -> RefOr<Schema> {
        Ref::from_schema_name("Account").into()
    }

    fn components(&self, components: &mut Components) {
        let alternatives = OneOfBuilder::new()
            .item(Self::alternative("iban", &Self::iban(), "ISO 13616 IBAN. Spaces are removed."))
            .item(Self::alternative("other", &Self::other(), "Any other account number."));
        components
            .push(("Account".to_owned(), described(alternatives.into(), "Exactly one of the two fields.")));
    }
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

impl From<&PaymentOrder> for PaymentShape {
    fn from(order: &PaymentOrder) -> Self {
        Self(order.clone())
    }
}

#[cfg(test)]
#[path = "body_tests.rs"]
mod tests;
