//! The parties of a payment, their accounts and banks.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::address::PostalAddress;
use super::country::{is_assigned, was_assigned_at};
use super::text::electronic;

#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PartyError {
    #[error("expected an IBAN: two letters, two digits, then 8 to 30 letters or digits")]
    MalformedIban,
    #[error(
        "expected a BIC: 8 or 11 letters and digits, with the two-letter country code at the fifth character"
    )]
    MalformedBic,
    #[error("expected an upper-case ISO 3166-1 alpha-2 country code, for example DE")]
    UnknownCountry,
}

/// A well-formed IBAN (ISO 13616) in electronic format. A rule checks the length for its country
/// and the check digits, so a mistyped IBAN leads to a decision with a reason and not to a refused
/// request.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Iban(String);

impl Iban {
    /// Also accepts printed and copied forms: it removes spaces, dashes and invisible characters,
    /// and converts letters to upper case.
    pub fn parse(text: &str) -> Result<Self, PartyError> {
        let electronic = electronic(text);
        let bytes = electronic.as_bytes();
        let well_formed = (12..=34).contains(&bytes.len())
            && bytes[..2].iter().all(u8::is_ascii_uppercase)
            && bytes[2..4].iter().all(u8::is_ascii_digit)
            && bytes[4..].iter().all(u8::is_ascii_alphanumeric);
        if well_formed { Ok(Self(electronic)) } else { Err(PartyError::MalformedIban) }
    }

    /// The IBAN after the label `IBAN`, which people copy together. The check digits must be right,
    /// since other account numbers may begin with these letters.
    pub fn after_label(text: &str) -> Option<Self> {
        let electronic = electronic(text);
        let iban = Self::parse(electronic.strip_prefix("IBAN")?.trim_start_matches([':', '.'])).ok()?;
        let characters: Vec<char> = iban.0.chars().collect();
        is_checked_by_97(&characters).then_some(iban)
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Whether an identifier passes the MOD 97-10 check of ISO/IEC 7064. Its third and fourth
/// characters are the check digits.
pub(super) fn is_checked_by_97(characters: &[char]) -> bool {
    let turned = characters[4..].iter().chain(&characters[..4]);
    let remainder = turned.filter_map(|c| c.to_digit(36)).fold(0, |remainder, value| {
        let shift = if value < 10 { 10 } else { 100 };
        (remainder * shift + value) % 97
    });
    remainder == 1
}

/// The characters of a BIC without the branch.
const BANK_LENGTH: usize = 8;

const HEAD_OFFICE: &str = "XXX";

/// A well-formed BIC (ISO 9362) of eleven characters. Whether the bank and the country exist is not
/// checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bic(String);

impl Bic {
    /// Accepts the same spellings as [`Iban::parse`]. A BIC of eight characters is the head office,
    /// branch `XXX`.
    pub fn parse(text: &str) -> Result<Self, PartyError> {
        let mut electronic = electronic(text);
        let bytes = electronic.as_bytes();
        let well_formed = matches!(bytes.len(), 8 | 11)
            && bytes.iter().all(u8::is_ascii_alphanumeric)
            && bytes[4..6].iter().all(u8::is_ascii_uppercase);
        if !well_formed {
            return Err(PartyError::MalformedBic);
        }
        if electronic.len() == BANK_LENGTH {
            electronic.push_str(HEAD_OFFICE);
        }
        Ok(Self(electronic))
    }

    /// The head office of the bank if the form begins with a bank's BIC.
    pub fn head_office_of(form: &str) -> Option<Self> {
        Self::parse(form.get(..BANK_LENGTH)?).ok()
    }

    /// The BIC of eight characters if this is a head office.
    pub fn of_head_office(&self) -> Option<&str> {
        self.0.strip_suffix(HEAD_OFFICE)
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A country code of ISO 3166-1 alpha-2, or XK for Kosovo. A stored payment may have another code,
/// since earlier releases accepted any two letters.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Country(String);

impl Country {
    pub fn parse(text: &str) -> Result<Self, PartyError> {
        if is_assigned(text) { Ok(Self(text.to_owned())) } else { Err(PartyError::UnknownCountry) }
    }

    /// Also accepts codes that were assigned at this time.
    pub fn parse_at(text: &str, at_ms: u64) -> Result<Self, PartyError> {
        if was_assigned_at(text, at_ms) { Ok(Self(text.to_owned())) } else { Err(PartyError::UnknownCountry) }
    }

    /// Accepts what earlier releases accepted. Only for finding stored payments.
    pub fn parse_as_ever(text: &str) -> Result<Self, PartyError> {
        let well_formed = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_uppercase());
        if well_formed { Ok(Self(text.to_owned())) } else { Err(PartyError::UnknownCountry) }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Account {
    Iban(Iban),
    Other(String),
}

impl Account {
    pub fn as_str(&self) -> &str {
        match self {
            Self::Iban(iban) => iban.as_str(),
            Self::Other(number) => number,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Party {
    pub name: String,
    pub account: Option<Account>,
    /// BIC (ISO 9362) or another identifier, as the client wrote it.
    pub bank: Option<String>,
    pub country: Option<Country>,
    pub address: Option<PostalAddress>,
}

impl Party {
    /// A party of which only the name is known.
    pub fn named(name: impl Into<String>) -> Self {
        Self { name: name.into(), account: None, bank: None, country: None, address: None }
    }
}

/// Whoever a debtor or a creditor acts for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UltimateParty {
    pub name: String,
    pub account: Option<Account>,
    pub country: Option<Country>,
    pub address: Option<PostalAddress>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_iban_is_read_as_people_write_it_and_kept_in_electronic_form() {
        for text in [
            "DE89370400440532013000",
            "de89 3704 0044 0532 0130 00",
            "DE89\u{a0}3704\u{a0}0044\u{a0}0532\u{a0}0130\u{a0}00",
            "DE89-3704-0044-0532-0130-00",
            "DE89\u{2013}3704\u{2011}0044\u{2212}0532 0130\t00",
            "\u{feff}DE89370400440\u{200b}532013000\u{2069}",
            "ｄｅ８９３７０４００４４０５３２０１３０００",
        ] {
            assert_eq!(Iban::parse(text).expect("well-formed").as_str(), "DE89370400440532013000", "{text}");
        }
    }

    #[test]
    fn a_bic_of_eight_characters_stands_for_its_head_office() {
        for (text, expected) in [
            ("DEUTDEFF", "DEUTDEFFXXX"),
            ("deut de ff", "DEUTDEFFXXX"),
            ("DEUT-DE-FF-XXX", "DEUTDEFFXXX"),
            ("\u{a0}DEUTDEFF500", "DEUTDEFF500"),
            ("A1B2GB2L", "A1B2GB2LXXX"),
        ] {
            assert_eq!(Bic::parse(text).expect("well-formed").as_str(), expected, "{text}");
        }
        for text in
            ["", "DEUTDEF", "DEUTDEFF5", "DEUTDEFF50", "DEUTDEFF5000", "DEUT1EFF", "DEUTDEFÄ", "37040044"]
        {
            assert_eq!(Bic::parse(text), Err(PartyError::MalformedBic), "{text}");
        }
    }

    #[test]
    fn what_cannot_be_an_iban_is_refused() {
        for text in [
            "",
            "DE",
            "1E89370400440532013000",
            "DEX9370400440532013000",
            "DE89/3704/0044/0532",
            "DE89.3704.0044.0532",
            "ДЕ89370400440532013000",
            "DE8937040044053201300012345678901234",
        ] {
            assert_eq!(Iban::parse(text), Err(PartyError::MalformedIban), "{text}");
        }
    }
}
