//! The payment that a rule judges.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};

use crate::decimal::Signal;
use crate::party::{Party, UltimateParty};

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
    /// Whoever the debtor acts for.
    #[serde(default)]
    pub ultimate_debtor: Option<Box<UltimateParty>>,
    /// Whoever the creditor acts for.
    #[serde(default)]
    pub ultimate_creditor: Option<Box<UltimateParty>>,
    /// The BICs or other identifiers of the banks in between, in the order of the payment's way.
    #[serde(default)]
    pub intermediary_agents: Vec<String>,
    /// The payment method.
    pub method: Method,
    /// The client's id of the customer.
    #[serde(default)]
    pub customer: Option<String>,
    /// The client's id of the merchant.
    #[serde(default)]
    pub merchant: Option<String>,
    /// The merchant's category: the four digits of ISO 18245.
    #[serde(default)]
    pub merchant_category: Option<String>,
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
    /// The end-to-end identification of ISO 20022.
    #[serde(default)]
    pub end_to_end_id: Option<String>,
    /// The unique end-to-end transaction reference, a UUIDv4.
    #[serde(default)]
    pub uetr: Option<String>,
    /// Who pays the charges.
    #[serde(default)]
    pub charge_bearer: Option<ChargeBearer>,
    /// What the payee's bank said about the creditor's name and account.
    #[serde(default)]
    pub payee_verification: Option<PayeeVerification>,
    /// The client's own keys and values, in the order of the keys.
    #[serde(default, deserialize_with = "pairs_by_key")]
    pub metadata: Vec<(String, String)>,
    /// What other systems of the client said about the payment, in the order of the names.
    #[serde(default, deserialize_with = "pairs_by_key")]
    pub signals: Vec<(String, Signal)>,
}

/// Who pays the charges.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ChargeBearer {
    /// The debtor (ISO 20022: DEBT).
    Debtor,
    /// The creditor (CRED).
    Creditor,
    /// Each their own (SHAR).
    Shared,
    /// As the service level says (SLEV).
    ServiceLevel,
}

/// What the payee's bank said about the creditor's name and account.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PayeeVerification {
    /// Whether they belong together.
    pub outcome: PayeeMatch,
    /// The name that the payee's bank suggested, for a close match.
    #[serde(default)]
    pub suggested_name: Option<String>,
}

/// Whether the creditor's name belongs to the account.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PayeeMatch {
    /// It does (EPC: MTCH).
    Matches,
    /// A similar name does (CMTC).
    CloseMatch,
    /// It does not (NMTC).
    NoMatch,
    /// The payee's bank could not say (NOAP).
    NotPossible,
}

/// The largest amount of a payment: 2^53-1 minor units.
pub const MAX_AMOUNT_MINOR: i64 = 9_007_199_254_740_991;

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
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
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

impl Payment {
    /// The signal with this name, if the payment has it.
    pub fn signal(&self, name: &str) -> Option<&Signal> {
        self.signals.iter().find(|(known, _)| known == name).map(|(_, signal)| signal)
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

fn pairs_by_key<'de, D, V>(source: D) -> Result<Vec<(String, V)>, D::Error>
where
    D: Deserializer<'de>,
    V: Deserialize<'de>,
{
    let pairs = BTreeMap::<String, V>::deserialize(source)?;
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
}
