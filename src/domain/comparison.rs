//! How values of payments are compared: each kind of value has one canonical form, for payments and
//! for list entries.
//!
//! A form is used only as a key. Values are stored, shown and given to rules as the client wrote
//! them. A change of any form needs a new [`COMPARISON_VERSION`].

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::party::{Bic, Country, Iban};
use super::text::{electronic, tidy};

pub use names::normalized_name;
pub use network::Network;

mod names;
mod network;

/// Recorded with each decision, since facts of another version may be different now. Version 1
/// compared values as they were written.
pub const COMPARISON_VERSION: u16 = 2;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum ValueKind {
    Account,
    Name,
    Bank,
    Country,
    Ip,
    Customer,
    Merchant,
    Device,
    Card,
    Text,
}

/// Why a text has no form of its kind, so that it can never match.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum FormError {
    #[error("expected a value that can be seen: this has only spaces or invisible characters")]
    NothingToSee,
    #[error("expected an account: this has only spaces, dashes or invisible characters")]
    NoAccount,
    #[error(
        "expected a BIC or another bank identifier: this has only spaces, dashes or invisible characters"
    )]
    NoBank,
    #[error("expected a country code of two letters (ISO 3166-1 alpha-2)")]
    NoCountry,
    #[error("expected an IP address such as 203.0.113.7 or a network such as 203.0.113.0/24")]
    NoAddress,
}

impl ValueKind {
    pub const ALL: [Self; 10] = [
        Self::Account,
        Self::Name,
        Self::Bank,
        Self::Country,
        Self::Ip,
        Self::Customer,
        Self::Merchant,
        Self::Device,
        Self::Card,
        Self::Text,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Account => "account",
            Self::Name => "name",
            Self::Bank => "bank",
            Self::Country => "country",
            Self::Ip => "ip",
            Self::Customer => "customer",
            Self::Merchant => "merchant",
            Self::Device => "device",
            Self::Card => "card",
            Self::Text => "text",
        }
    }

    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// The form in which a text is compared with other values of this kind.
    pub fn form(self, text: &str) -> Result<String, FormError> {
        match self {
            Self::Account => some(electronic(text), FormError::NoAccount),
            Self::Bank => match Bic::parse(text) {
                Ok(bic) => Ok(bic.as_str().to_owned()),
                Err(_) => some(electronic(text), FormError::NoBank),
            },
            Self::Country => {
                let country = Country::parse(&electronic(text)).map_err(|_| FormError::NoCountry)?;
                Ok(country.as_str().to_owned())
            }
            Self::Ip => match Network::parse(text) {
                Some(network) => Ok(network.to_string()),
                None => Err(FormError::NoAddress),
            },
            Self::Name | Self::Customer | Self::Merchant | Self::Device | Self::Card | Self::Text => {
                some(tidy(text), FormError::NothingToSee)
            }
        }
    }

    /// The form of a payment's value. A value without a form is compared as it was written, so that
    /// it is still counted.
    pub fn form_of_value(self, value: &str) -> String {
        self.form(value).unwrap_or_else(|_| value.to_owned())
    }

    /// The forms of all list entries that cover a value with this form: the form itself, and
    /// - for an address, all networks that contain it,
    /// - for a head office, its BIC of eight characters, since entries of an earlier version may
    ///   have only that form,
    /// - for an IBAN with its label in front, the IBAN alone, since entries are stored without it.
    pub fn forms_that_cover(self, form: String) -> Vec<String> {
        let other = match self {
            Self::Ip => return form.parse::<IpAddr>().map_or_else(|_| vec![form], Network::all_of),
            Self::Bank => Bic::parse(&form).ok().and_then(|bic| bic.of_head_office().map(str::to_owned)),
            Self::Account => Iban::after_label(&form).map(|iban| iban.as_str().to_owned()),
            _ => None,
        };
        std::iter::once(form).chain(other).collect()
    }
}

fn some(form: String, otherwise: FormError) -> Result<String, FormError> {
    if form.is_empty() { Err(otherwise) } else { Ok(form) }
}

#[cfg(test)]
#[path = "comparison/tests.rs"]
mod tests;
