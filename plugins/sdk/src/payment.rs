//! Owns the payment as a rule sees it. Must never judge it: that is the
//! rule's own business.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};

/// One payment, as the client submitted it and Tollgate parsed it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Payment {
    /// Given by Tollgate: UUIDv7.
    pub id: String,
    /// The client's own reference.
    pub reference: String,
    /// What is paid.
    pub amount: Money,
    /// Who pays.
    pub debtor: Party,
    /// Who is paid.
    pub creditor: Party,
    /// How it is paid.
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
    /// When Tollgate received it: UTC milliseconds since 1970. The only clock.
    pub received_at_ms: u64,
    /// When the payer asked for it, if the client says.
    #[serde(default)]
    pub requested_at_ms: Option<u64>,
    /// ISO 20022 external purpose code.
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
    /// ISO 4217 alphabetic code, upper case.
    pub currency: String,
    /// Digits after the decimal point.
    pub exponent: u8,
}

/// One side of a payment.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Party {
    /// As the client wrote it.
    pub name: String,
    /// The account paid from or to.
    #[serde(default)]
    pub account: Option<Account>,
    /// The bank's BIC or other identifier, as the client wrote it.
    #[serde(default)]
    pub bank: Option<String>,
    /// ISO 3166-1 alpha-2, upper case.
    #[serde(default)]
    pub country: Option<String>,
}

/// An account number.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Account {
    /// Electronic format; neither length nor check digits are verified.
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
    /// The issuer's country, ISO 3166-1 alpha-2.
    #[serde(default)]
    pub country: Option<String>,
}

/// How a payment is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// A card payment.
    Card,
    /// A credit transfer that is settled in the banks' own time.
    CreditTransfer,
    /// A credit transfer that is final within seconds.
    Instant,
    /// A direct debit.
    DirectDebit,
    /// A wallet.
    Wallet,
    /// Anything else.
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

    /// For messages: "credit transfers".
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
    /// The number, whatever its kind.
    pub fn number(&self) -> &str {
        match self {
            Account::Iban(number) | Account::Other(number) => number,
        }
    }

    /// For messages: the last four characters of a number that keeps at least
    /// as many hidden, never the whole.
    pub fn masked(&self) -> String {
        let number = self.number();
        let length = number.chars().count();
        if length < 8 {
            return "…".to_owned();
        }
        let end: String = number.chars().skip(length - 4).collect();
        format!("…{end}")
    }

    /// The last step of the JSON pointer to it: `iban` or `other`.
    pub fn kind(&self) -> &'static str {
        match self {
            Account::Iban(_) => "iban",
            Account::Other(_) => "other",
        }
    }
}

impl Money {
    /// For messages: "1250.00 EUR".
    pub fn in_words(&self) -> String {
        amount_in_words(self.minor, &self.currency, self.exponent)
    }
}

/// An amount for messages, "1250.00 EUR": a limit reads like the payment it is held against.
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
    fn an_amount_reads_with_the_decimals_of_its_currency() {
        assert_eq!(amount_in_words(125_000, "EUR", 2), "1250.00 EUR");
        assert_eq!(amount_in_words(5, "EUR", 2), "0.05 EUR");
        assert_eq!(amount_in_words(5, "JPY", 0), "5 JPY");
        assert_eq!(amount_in_words(-1_500, "KWD", 3), "-1.500 KWD");
    }

    #[test]
    fn a_masked_account_never_shows_more_than_its_last_four_characters() {
        let iban = Account::Iban("GB29NWBK60161331926819".to_owned());
        assert_eq!(iban.masked(), "…6819");
        assert_eq!(Account::Other("12345".to_owned()).masked(), "…");
    }
}
