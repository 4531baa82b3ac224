//! Selectors: the values of a payment that lists, tables and counts of earlier
//! payments use, with their JSON pointers and their names in messages.

use std::borrow::Cow;

use schemars::JsonSchema;
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize};

use crate::decimal::Signal;
use crate::party::{Account, Party, UltimateParty};
use crate::payment::{Method, Payment};

/// The API accepts no longer key.
const MAX_KEY_CHARS: usize = 40;

/// A value of a payment, such as `"debtor_account"` or `{"metadata": "key"}`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
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
        #[serde(deserialize_with = "payment_key")]
        #[schemars(regex(pattern = "^[a-z0-9_.-]{1,40}$"))]
        String,
    ),
    /// The account number of whoever the payer acts for.
    UltimateDebtorAccount,
    /// The account number of whoever the payee acts for.
    UltimateCreditorAccount,
    /// The name of whoever the payer acts for.
    UltimateDebtorName,
    /// The name of whoever the payee acts for.
    UltimateCreditorName,
    /// The name that the payee's bank suggested.
    SuggestedPayeeName,
    /// The first six or eight digits of the card.
    CardBin,
    /// The country of the card's issuer.
    CardCountry,
    /// The merchant's category code.
    MerchantCategory,
    /// The client's own reference.
    Reference,
    /// The end-to-end identification.
    EndToEndId,
    /// The unique end-to-end transaction reference.
    Uetr,
    /// The purpose code.
    Purpose,
    /// The remittance information.
    Remittance,
    /// The amount with its currency.
    Amount,
    /// The currency.
    Currency,
    /// The payment method.
    Method,
    /// The value of a signal.
    Signal(
        #[serde(deserialize_with = "payment_key")]
        #[schemars(regex(pattern = "^[a-z0-9_.-]{1,40}$"))]
        String,
    ),
}

impl Selector {
    /// Whether every payment has this value.
    pub fn is_always_given(&self) -> bool {
        use Selector::{Amount, CreditorName, Currency, DebtorName, Method, Reference};
        matches!(self, DebtorName | CreditorName | Reference | Amount | Currency | Method)
    }

    /// Whether the value is a name, so that similar names can be looked up.
    pub fn is_name(&self) -> bool {
        use Selector::{
            CreditorName, DebtorName, SuggestedPayeeName, UltimateCreditorName, UltimateDebtorName,
        };
        matches!(
            self,
            DebtorName | CreditorName | UltimateDebtorName | UltimateCreditorName | SuggestedPayeeName
        )
    }

    /// Whether earlier payments can be found by this value. Further selectors of an aggregate only
    /// leave out some of the payments that were found.
    pub fn finds_payments(&self) -> bool {
        !matches!(
            self,
            Selector::UltimateDebtorAccount
                | Selector::UltimateCreditorAccount
                | Selector::UltimateDebtorName
                | Selector::UltimateCreditorName
                | Selector::SuggestedPayeeName
                | Selector::CardBin
                | Selector::CardCountry
                | Selector::MerchantCategory
                | Selector::Purpose
                | Selector::Remittance
                | Selector::Amount
                | Selector::Currency
                | Selector::Method
                | Selector::Signal(_)
        )
    }

    /// The payment's value, if it has one.
    pub fn value_in<'p>(&self, payment: &'p Payment) -> Option<Cow<'p, str>> {
        let (debtor, creditor) = (&payment.debtor, &payment.creditor);
        let ultimate_debtor = payment.ultimate_debtor.as_ref();
        let ultimate_creditor = payment.ultimate_creditor.as_ref();
        let value = match self {
            Selector::DebtorAccount => debtor.account.as_ref()?.number(),
            Selector::CreditorAccount => creditor.account.as_ref()?.number(),
            Selector::DebtorName => &debtor.name,
            Selector::CreditorName => &creditor.name,
            Selector::DebtorBank => debtor.bank.as_ref()?,
            Selector::CreditorBank => creditor.bank.as_ref()?,
            Selector::DebtorCountry => debtor.country.as_ref()?,
            Selector::CreditorCountry => creditor.country.as_ref()?,
            Selector::Customer => payment.customer.as_ref()?,
            Selector::Merchant => payment.merchant.as_ref()?,
            Selector::Card => &payment.card.as_ref()?.fingerprint,
            Selector::Device => payment.device.as_ref()?,
            Selector::Ip => payment.ip.as_ref()?,
            Selector::Metadata(key) => &payment.metadata.iter().find(|(name, _)| name == key)?.1,
            Selector::UltimateDebtorAccount => ultimate_debtor?.account.as_ref()?.number(),
            Selector::UltimateCreditorAccount => ultimate_creditor?.account.as_ref()?.number(),
            Selector::UltimateDebtorName => &ultimate_debtor?.name,
            Selector::UltimateCreditorName => &ultimate_creditor?.name,
            Selector::SuggestedPayeeName => payment.payee_verification.as_ref()?.suggested_name.as_ref()?,
            Selector::CardBin => payment.card.as_ref()?.bin.as_ref()?,
            Selector::CardCountry => payment.card.as_ref()?.country.as_ref()?,
            Selector::MerchantCategory => payment.merchant_category.as_ref()?,
            Selector::Reference => &payment.reference,
            Selector::EndToEndId => payment.end_to_end_id.as_ref()?,
            Selector::Uetr => payment.uetr.as_ref()?,
            Selector::Purpose => payment.purpose.as_ref()?,
            Selector::Remittance => payment.remittance.as_ref()?,
            Selector::Amount => {
                return Some(format!("{} {}", payment.amount.currency, payment.amount.minor).into());
            }
            Selector::Currency => &payment.amount.currency,
            Selector::Method => method_name(payment.method),
            Selector::Signal(name) => match payment.signal(name)? {
                Signal::Number(number) => return Some(number.to_string().into()),
                Signal::Word(word) => word,
            },
        };
        Some(value.into())
    }

    /// The JSON pointer to the value in the submitted payment.
    pub fn field_in(&self, payment: &Payment) -> String {
        match self {
            Selector::DebtorAccount => account_field("/debtor", &payment.debtor),
            Selector::CreditorAccount => account_field("/creditor", &payment.creditor),
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
            Selector::UltimateDebtorAccount => {
                ultimate_account_field("/ultimate_debtor", payment.ultimate_debtor.as_deref())
            }
            Selector::UltimateCreditorAccount => {
                ultimate_account_field("/ultimate_creditor", payment.ultimate_creditor.as_deref())
            }
            Selector::UltimateDebtorName => "/ultimate_debtor/name".to_owned(),
            Selector::UltimateCreditorName => "/ultimate_creditor/name".to_owned(),
            Selector::SuggestedPayeeName => "/payee_verification/suggested_name".to_owned(),
            Selector::CardBin => "/card/bin".to_owned(),
            Selector::CardCountry => "/card/country".to_owned(),
            Selector::MerchantCategory => "/merchant_category".to_owned(),
            Selector::Reference => "/reference".to_owned(),
            Selector::EndToEndId => "/end_to_end_id".to_owned(),
            Selector::Uetr => "/uetr".to_owned(),
            Selector::Purpose => "/purpose".to_owned(),
            Selector::Remittance => "/remittance".to_owned(),
            Selector::Amount => "/amount_minor".to_owned(),
            Selector::Currency => "/currency".to_owned(),
            Selector::Method => "/method".to_owned(),
            Selector::Signal(name) => format!("/signals/{}", pointer_step(name)),
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
            Selector::UltimateDebtorAccount => "the ultimate debtor's account",
            Selector::UltimateCreditorAccount => "the ultimate creditor's account",
            Selector::UltimateDebtorName => "the ultimate debtor's name",
            Selector::UltimateCreditorName => "the ultimate creditor's name",
            Selector::SuggestedPayeeName => "the name suggested by the payee's bank",
            Selector::CardBin => "the card's first digits",
            Selector::CardCountry => "the card's country",
            Selector::MerchantCategory => "the merchant's category",
            Selector::Reference => "the reference",
            Selector::EndToEndId => "the end-to-end identification",
            Selector::Uetr => "the UETR",
            Selector::Purpose => "the purpose",
            Selector::Remittance => "the remittance information",
            Selector::Amount => "the amount",
            Selector::Currency => "the currency",
            Selector::Method => "the payment method",
            Selector::Signal(name) => return format!("the signal '{name}'"),
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

/// By what a payer is recognised.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Payer {
    /// The debtor's account.
    #[default]
    DebtorAccount,
    /// The client's id of the customer, whichever account is used.
    Customer,
}

impl Payer {
    /// The value by which earlier payments of the payer are found.
    pub fn selector(self) -> Selector {
        match self {
            Payer::DebtorAccount => Selector::DebtorAccount,
            Payer::Customer => Selector::Customer,
        }
    }
}

/// The first of the selectors for which the payment has no value.
pub fn first_missing<'s>(selectors: &'s [Selector], payment: &Payment) -> Option<&'s Selector> {
    selectors.iter().find(|selector| selector.value_in(payment).is_none())
}

/// Accepts only a key of metadata or a name of a signal that a payment can have: no payment would
/// match another.
fn payment_key<'de, D: Deserializer<'de>>(source: D) -> Result<String, D::Error> {
    let key = String::deserialize(source)?;
    let known = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_.-".contains(&byte);
    if (1..=MAX_KEY_CHARS).contains(&key.len()) && key.bytes().all(known) {
        return Ok(key);
    }
    Err(D::Error::custom(
        "expected a key of metadata or the name of a signal, which has 1 to 40 characters of a-z, 0-9, _, . and -",
    ))
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

fn account_field(party_field: &str, party: &Party) -> String {
    field_of_account(party_field, party.account.as_ref())
}

fn ultimate_account_field(party_field: &str, party: Option<&UltimateParty>) -> String {
    field_of_account(party_field, party.and_then(|party| party.account.as_ref()))
}

fn field_of_account(party_field: &str, account: Option<&Account>) -> String {
    match account {
        Some(account) => format!("{party_field}/account/{}", account.kind()),
        None => format!("{party_field}/account"),
    }
}

/// The name in the API.
fn method_name(method: Method) -> &'static str {
    match method {
        Method::Card => "card",
        Method::CreditTransfer => "credit_transfer",
        Method::Instant => "instant",
        Method::DirectDebit => "direct_debit",
        Method::Wallet => "wallet",
        Method::Other => "other",
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
        let signal = Selector::Signal("risk".to_owned());
        assert_eq!(parse(r#"{"signal": "risk"}"#).ok(), Some(signal));
        assert!(parse(r#""DebtorAccount""#).is_err());
        assert!(parse(r#"{"metadata": "Shop"}"#).is_err());
    }

    #[test]
    fn a_metadata_key_is_escaped_in_a_pointer() {
        assert_eq!(pointer_step("a/b~c"), "a~1b~0c");
    }
}
