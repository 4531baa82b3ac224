//! The payment that a rule judges.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};

/// A payment as Tollgate parsed it from the client's request.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Payment {
    /// A UUIDv7 that Tollgate assigns.
    pub id: String,
    /// The client's own reference.
    pub reference: String,
    /// The amount.
    pub amount: Money,
    /// The payer.
    pub debtor: Party,
    /// The payee.
    pub creditor: Party,
    /// The payment method.
    pub method: Method,
    /// The client's id of the customer.
    #[serde(default)]
    pub customer: Option<String>,
    /// The client's id of the merchant.
    #[serde(default)]
    pub merchant: Option<String>,
    /// The card, if there is one.
    #[serde(default)]
    pub card: Option<Card>,
    /// The fingerprint of the payer's device.
    #[serde(default)]
    pub device: Option<String>,
    /// The payer's IPv4 or IPv6 address in its canonical text form.
    #[serde(default)]
    pub ip: Option<String>,
    /// When Tollgate received it, in UTC milliseconds since 1970. A rule has no other clock.
    pub received_at_ms: u64,
    /// When the payer requested it, if the client reports that.
    #[serde(default)]
    pub requested_at_ms: Option<u64>,
    /// The ISO 20022 external purpose code.
    #[serde(default)]
    pub purpose: Option<String>,
    /// Unstructured remittance information.
    #[serde(default)]
    pub remittance: Option<String>,
    /// The client's own keys and values, in the order of the keys.
    #[serde(default, deserialize_with = "pairs_by_key")]
    pub metadata: Vec<(String, String)>,
}

/// An amount in minor units (cents, for EUR).
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Money {
    /// 1 to 2^53-1.
    pub minor: i64,
    /// The ISO 4217 code in capital letters.
    pub currency: String,
    /// Digits after the decimal point.
    pub exponent: u8,
}

/// The debtor or the creditor of a payment.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Party {
    /// The name as the client wrote it.
    pub name: String,
    /// The account.
    #[serde(default)]
    pub account: Option<Account>,
    /// The bank's BIC or other identifier, as the client wrote it.
    #[serde(default)]
    pub bank: Option<String>,
    /// The ISO 3166-1 alpha-2 code in capital letters.
    #[serde(default)]
    pub country: Option<String>,
}

/// An account number.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Account {
    /// An IBAN in electronic format. Length and check digits are not verified.
    Iban(String),
    /// Any other account number, as the client wrote it.
    Other(String),
}

/// A card, without its number.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Card {
    /// The platform's token for the card.
    pub fingerprint: String,
    /// The first six or eight digits.
    #[serde(default)]
    pub bin: Option<String>,
    /// The issuer's country as an ISO 3166-1 alpha-2 code.
    #[serde(default)]
    pub country: Option<String>,
}

/// How a payment is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// A card payment.
    Card,
    /// A credit transfer that is not instant.
    CreditTransfer,
    /// A credit transfer that is final within seconds.
    Instant,
    /// A direct debit.
    DirectDebit,
    /// A wallet payment.
    Wallet,
    /// Any other method.
    Other,
}

impl Method {
    /// Every method.
    pub const ALL: [Method; 6] = [
        Method::Card,
        Method::CreditTransfer,
        Method::Instant,
        Method::DirectDebit,
        Method::Wallet,
        Method::Other,
    ];

    /// The name in messages, such as "credit transfers".
    pub fn plural(self) -> &'static str {
        match self {
            Method::Card => "card payments",
            Method::CreditTransfer => "credit transfers",
            Method::Instant => "instant transfers",
            Method::DirectDebit => "direct debits",
            Method::Wallet => "wallet payments",
            Method::Other => "payments by other methods",
        }
    }
}

impl Account {
    /// The number, of either kind.
    pub fn number(&self) -> &str {
        match self {
            Account::Iban(number) | Account::Other(number) => number,
        }
    }

    /// For messages: the last four characters of a number of at least eight, and
    /// none of a shorter one.
    pub fn masked(&self) -> String {
        let number = self.number();
        let length = number.chars().count();
        if length < 8 {
            return "…".to_owned();
        }
        let end: String = number.chars().skip(length - 4).collect();
        format!("…{end}")
    }

    /// The last part of the JSON pointer to it: `iban` or `other`.
    pub fn kind(&self) -> &'static str {
        match self {
            Account::Iban(_) => "iban",
            Account::Other(_) => "other",
        }
    }
}

impl Money {
    /// The amount in messages, such as "1250.00 EUR".
    pub fn in_words(&self) -> String {
        amount_in_words(self.minor, &self.currency, self.exponent)
    }
}

/// An amount in messages, such as "1250.00 EUR".
pub fn amount_in_words(minor: i64, currency: &str, exponent: u8) -> String {
    let digits = minor.unsigned_abs().to_string();
    let sign = if minor < 0 { "-" } else { "" };
    let decimals = usize::from(exponent);
    let padded = format!("{digits:0>width$}", width = decimals + 1);
    let (whole, fraction) = padded.split_at(padded.len() - decimals);
    let point = if decimals == 0 { "" } else { "." };
    format!("{sign}{whole}{point}{fraction} {currency}")
}

fn pairs_by_key<'de, D: Deserializer<'de>>(source: D) -> Result<Vec<(String, String)>, D::Error> {
    let pairs = BTreeMap::<String, String>::deserialize(source)?;
    Ok(pairs.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_amount_is_written_with_the_decimals_of_its_currency() {
        assert_eq!(amount_in_words(125_000, "EUR", 2), "1250.00 EUR");
        assert_eq!(amount_in_words(5, "EUR", 2), "0.05 EUR");
        assert_eq!(amount_in_words(5, "JPY", 0), "5 JPY");
        assert_eq!(amount_in_words(-1_500, "KWD", 3), "-1.500 KWD");
    }

    #[test]
    fn a_masked_account_shows_at_most_its_last_four_characters() {
        let iban = Account::Iban("GB29NWBK60161331926819".to_owned());
        assert_eq!(iban.masked(), "…6819");
        assert_eq!(Account::Other("12345".to_owned()).masked(), "…");
    }
}
