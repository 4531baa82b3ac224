//! Who pays and who is paid: parties, their accounts and banks.

use serde::{Deserialize, Serialize};
use thiserror::Error;

#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PartyError {
    #[error("expected an IBAN: two letters, two digits, then 8 to 30 letters or digits")]
    MalformedIban,
    #[error("expected a country code of two upper-case letters (ISO 3166-1 alpha-2)")]
    MalformedCountry,
}

/// A well-formed IBAN (ISO 13616) in electronic format. Its country's length
/// and check digits are the business of a rule, so that a mistyped IBAN is
/// answered by a decision with a reason rather than by a refused request.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Iban(String);

impl Iban {
    /// Accepts the printed form too: spaces are dropped, letters made upper case.
    pub fn parse(text: &str) -> Result<Self, PartyError> {
        let electronic: String = text.chars().filter(|c| *c != ' ').collect::<String>().to_ascii_uppercase();
        let bytes = electronic.as_bytes();
        let well_formed = (12..=34).contains(&bytes.len())
            && bytes[..2].iter().all(u8::is_ascii_uppercase)
            && bytes[2..4].iter().all(u8::is_ascii_digit)
            && bytes[4..].iter().all(u8::is_ascii_alphanumeric);
        if well_formed { Ok(Self(electronic)) } else { Err(PartyError::MalformedIban) }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// ISO 3166-1 alpha-2 by form; the list of assigned codes changes too often to be a type.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Country(String);

impl Country {
    pub fn parse(text: &str) -> Result<Self, PartyError> {
        if text.len() == 2 && text.bytes().all(|b| b.is_ascii_uppercase()) {
            Ok(Self(text.to_owned()))
        } else {
            Err(PartyError::MalformedCountry)
        }
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
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_iban_is_read_in_printed_form_and_kept_in_electronic_form() {
        let iban = Iban::parse("de89 3704 0044 0532 0130 00").expect("well-formed");
        assert_eq!(iban.as_str(), "DE89370400440532013000");
    }

    #[test]
    fn what_cannot_be_an_iban_is_refused() {
        for text in [
            "",
            "DE",
            "1E89370400440532013000",
            "DEX9370400440532013000",
            "DE89-3704-0044-0532",
            "DE8937040044053201300012345678901234",
        ] {
            assert_eq!(Iban::parse(text), Err(PartyError::MalformedIban), "{text}");
        }
    }
}
