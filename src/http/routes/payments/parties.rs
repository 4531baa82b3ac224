//! Reads the parties of a payment from JSON: names, accounts, banks and postal addresses.
//!
//! Whether an account, a bank or a place exists is for the rules to judge.

use std::collections::BTreeMap;

use serde::Serialize;
use utoipa::openapi::{OneOfBuilder, Ref, RefOr, Schema};

use crate::domain::address::PostalAddress;
use crate::domain::card_check::CheckedField;
use crate::domain::card_number::{CARD_NUMBER_FOUND, account_holds_card_number};
use crate::domain::party::{Account, Country, Iban, Party, PartyError, UltimateParty};
use crate::http::request::codecs::{
    Codec, Components, Parsed, Text, any_items, object, optional, parsed, text,
};
use crate::http::request::declaration::{MemberSchemas, Words, body, described};
use crate::http::request::fields::Place;
use crate::http::request::json::Value;

/// The length of Max140Text in ISO 20022.
pub const NAME_LENGTH_MAX: usize = 140;

const ADDRESS_LINES_MAX: usize = 2;

body! {
    for Party as "Party" {
        name = text(NAME_LENGTH_MAX),
        account = optional(AccountCodec),
        /// BIC or another bank identifier.
        bank = optional(bank()),
        /// ISO 3166-1 alpha-2 country code.
        #[example = "DE"]
        country = optional(country()),
        address = optional(object::<PostalAddress>()),
    }
}

body! {
    for UltimateParty as "UltimateParty" {
        name = text(NAME_LENGTH_MAX),
        account = optional(AccountCodec),
        /// ISO 3166-1 alpha-2 country code.
        #[example = "DE"]
        country = optional(country()),
        address = optional(object::<PostalAddress>()),
    }
}

body! {
    /// The postal address of ISO 20022 in structured or hybrid form. An address of lines alone is not
    /// accepted.
    for PostalAddress as "PostalAddress" {
        department = optional(text(70)),
        sub_department = optional(text(70)),
        street_name = optional(text(70)),
        building_number = optional(text(16)),
        building_name = optional(text(35)),
        floor = optional(text(70)),
        post_box = optional(text(16)),
        room = optional(text(70)),
        post_code = optional(text(16)),
        town_name = text(35),
        town_location_name = optional(text(35)),
        district_name = optional(text(35)),
        country_sub_division = optional(text(35)),
        /// ISO 3166-1 alpha-2 country code.
        #[example = "DE"]
        country = country(),
        /// What the other members do not hold.
        address_lines = any_items(text(70), ADDRESS_LINES_MAX),
    }
    check |fields| {
        if fields.has("address_lines") && !(fields.has("town_name") && fields.has("country")) {
            fields.error(
                "address_lines",
                "is only allowed with town_name and country: an address of lines alone is no longer accepted",
            );
        }
    }
}

pub fn bank() -> Text {
    text(35).checked(CheckedField::Bank)
}

pub fn country() -> Parsed<Country, PartyError> {
    let parsed = parsed(Country::parse_as_ever, |country| country.as_str().to_owned());
    parsed.pattern("^[A-Z]{2}$").refused_now(|country, at_ms| {
        Country::parse_at(country.as_str(), at_ms).err().map(|error| error.to_string())
    })
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
