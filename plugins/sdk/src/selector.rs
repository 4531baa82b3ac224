//! Selectors: the values of a payment that lists and velocity use, with their
//! JSON pointers and their names in messages.

use schemars::JsonSchema;
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize};

use crate::payment::{Party, Payment};

/// The API accepts no longer key.
const MAX_METADATA_KEY_CHARS: usize = 40;

/// A value of a payment, such as `"debtor_account"` or `{"metadata": "key"}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Selector {
    /// The payer's account number.
    DebtorAccount,
    /// The payee's account number.
    CreditorAccount,
    /// The payer's name.
    DebtorName,
    /// The payee's name.
    CreditorName,
    /// The payer's bank.
    DebtorBank,
    /// The payee's bank.
    CreditorBank,
    /// The payer's country.
    DebtorCountry,
    /// The payee's country.
    CreditorCountry,
    /// The client's id of the customer.
    Customer,
    /// The client's id of the merchant.
    Merchant,
    /// The fingerprint of the card.
    Card,
    /// The fingerprint of the payer's device.
    Device,
    /// The payer's IP address.
    Ip,
    /// The value of a metadata key.
    Metadata(
        #[serde(deserialize_with = "metadata_key")]
        #[schemars(regex(pattern = "^[a-z0-9_.-]{1,40}$"))]
        String,
    ),
}

impl Selector {
    /// Whether every payment has this value.
    pub fn is_always_given(&self) -> bool {
        matches!(self, Selector::DebtorName | Selector::CreditorName)
    }

    /// The payment's value, if it has one.
    pub fn value_in<'p>(&self, payment: &'p Payment) -> Option<&'p str> {
        match self {
            Selector::DebtorAccount => account_number(&payment.debtor),
            Selector::CreditorAccount => account_number(&payment.creditor),
            Selector::DebtorName => Some(&payment.debtor.name),
            Selector::CreditorName => Some(&payment.creditor.name),
            Selector::DebtorBank => payment.debtor.bank.as_deref(),
            Selector::CreditorBank => payment.creditor.bank.as_deref(),
            Selector::DebtorCountry => payment.debtor.country.as_deref(),
            Selector::CreditorCountry => payment.creditor.country.as_deref(),
            Selector::Customer => payment.customer.as_deref(),
            Selector::Merchant => payment.merchant.as_deref(),
            Selector::Card => payment.card.as_ref().map(|card| card.fingerprint.as_str()),
            Selector::Device => payment.device.as_deref(),
            Selector::Ip => payment.ip.as_deref(),
            Selector::Metadata(key) => {
                let pair = payment.metadata.iter().find(|(name, _)| name == key)?;
                Some(&pair.1)
            }
        }
    }

    /// The JSON pointer to the value in the submitted payment.
    pub fn field_in(&self, payment: &Payment) -> String {
        match self {
            Selector::DebtorAccount => account_field("/debtor/account", &payment.debtor),
            Selector::CreditorAccount => account_field("/creditor/account", &payment.creditor),
            Selector::DebtorName => "/debtor/name".to_owned(),
            Selector::CreditorName => "/creditor/name".to_owned(),
            Selector::DebtorBank => "/debtor/bank".to_owned(),
            Selector::CreditorBank => "/creditor/bank".to_owned(),
            Selector::DebtorCountry => "/debtor/country".to_owned(),
            Selector::CreditorCountry => "/creditor/country".to_owned(),
            Selector::Customer => "/customer".to_owned(),
            Selector::Merchant => "/merchant".to_owned(),
            Selector::Card => "/card/fingerprint".to_owned(),
            Selector::Device => "/device".to_owned(),
            Selector::Ip => "/ip".to_owned(),
            Selector::Metadata(key) => format!("/metadata/{}", pointer_step(key)),
        }
    }

    /// The name in messages, such as "the debtor's account".
    pub fn in_words(&self) -> String {
        let words = match self {
            Selector::DebtorAccount => "the debtor's account",
            Selector::CreditorAccount => "the creditor's account",
            Selector::DebtorName => "the debtor's name",
            Selector::CreditorName => "the creditor's name",
            Selector::DebtorBank => "the debtor's bank",
            Selector::CreditorBank => "the creditor's bank",
            Selector::DebtorCountry => "the debtor's country",
            Selector::CreditorCountry => "the creditor's country",
            Selector::Customer => "the customer",
            Selector::Merchant => "the merchant",
            Selector::Card => "the card",
            Selector::Device => "the device",
            Selector::Ip => "the IP address",
            Selector::Metadata(key) => return format!("the metadata value '{key}'"),
        };
        words.to_owned()
    }

    /// The name at the start of a message, such as "The debtor's account".
    pub fn at_the_start_of_a_sentence(&self) -> String {
        // All names begin with "the".
        let words = self.in_words();
        format!("T{}", words.get(1..).unwrap_or_default())
    }
}

/// Accepts only a key that a payment can have: no payment would match another.
fn metadata_key<'de, D: Deserializer<'de>>(source: D) -> Result<String, D::Error> {
    let key = String::deserialize(source)?;
    let known = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_.-".contains(&byte);
    if (1..=MAX_METADATA_KEY_CHARS).contains(&key.len()) && key.bytes().all(known) {
        return Ok(key);
    }
    Err(D::Error::custom("expected a metadata key, which has 1 to 40 characters of a-z, 0-9, _, . and -"))
}

/// One part of a JSON pointer (RFC 6901), with `~` and `/` escaped.
pub fn pointer_step(name: &str) -> String {
    let mut step = String::with_capacity(name.len());
    for character in name.chars() {
        match character {
            '~' => step.push_str("~0"),
            '/' => step.push_str("~1"),
            other => step.push(other),
        }
    }
    step
}

fn account_number(party: &Party) -> Option<&str> {
    party.account.as_ref().map(|account| account.number())
}

fn account_field(pointer: &str, party: &Party) -> String {
    match &party.account {
        Some(account) => format!("{pointer}/{}", account.kind()),
        None => pointer.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_selector_in_settings_is_a_word_or_a_metadata_key() {
        let parse = |text| serde_json::from_str::<Selector>(text);
        assert_eq!(parse(r#""debtor_account""#).ok(), Some(Selector::DebtorAccount));
        let key = Selector::Metadata("shop".to_owned());
        assert_eq!(parse(r#"{"metadata": "shop"}"#).ok(), Some(key));
        assert!(parse(r#""DebtorAccount""#).is_err());
        assert!(parse(r#"{"metadata": "Shop"}"#).is_err());
    }

    #[test]
    fn a_metadata_key_is_escaped_in_a_pointer() {
        assert_eq!(pointer_step("a/b~c"), "a~1b~0c");
    }
}
