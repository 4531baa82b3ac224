//! The body of a submitted payment, and what makes it a payment order.
//!
//! Owns the JSON shape and the checks that need no knowledge but the form:
//! lengths, ranges, codes. Must never let a value into an error.

use std::net::IpAddr;

use serde::Serialize;
use utoipa::ToSchema;

use crate::domain::card_check::CheckedField;
use crate::domain::card_number::{CARD_NUMBER_FOUND, account_holds_card_number};
use crate::domain::money::{AMOUNT_MINOR_MAX, Currency, Money};
use crate::domain::party::{Account, Country, Iban, Party};
use crate::domain::payment::{Card, Method, PaymentOrder, metadata_key};
use crate::http::request::body::JsonBody;
use crate::http::request::fields::{Fields, Screened};
use crate::http::request::query::TIME_MS_MAX;
use crate::http::response::problem::Problem;

const METADATA_KEYS_MAX: usize = 20;

/// Text of ISO 20022's Max35Text.
const REFERENCE_LENGTH_MAX: usize = 35;

/// A payment as submitted by a client.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = PaymentOrder)]
pub struct PaymentShape {
    /// The client's own reference for the payment.
    #[schema(min_length = 1, max_length = 35, example = "INV-2026-001")]
    pub reference: String,
    /// In minor units of the currency: 12.34 EUR is 1234.
    #[schema(minimum = 1, maximum = 9_007_199_254_740_991_i64, example = 1234)]
    pub amount_minor: i64,
    /// ISO 4217 currency code.
    #[schema(example = "EUR")]
    pub currency: String,
    pub method: MethodShape,
    pub debtor: PartyShape,
    pub creditor: PartyShape,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 64)]
    pub customer: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 64)]
    pub merchant: Option<String>,
    /// Only with the methods `card` and `wallet`. Must never contain a card number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub card: Option<CardShape>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 128)]
    pub device: Option<String>,
    /// IPv4 or IPv6 address.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "203.0.113.7")]
    pub ip: Option<String>,
    /// When the payer requested the payment, in UTC milliseconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requested_at_ms: Option<u64>,
    /// ISO 20022 external purpose code.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 4, example = "SALA")]
    pub purpose: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 140)]
    pub remittance: Option<String>,
    /// At most 20 keys of 1 to 40 characters of `a-z 0-9 _ . -`, with values of 1 to 200 characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metadata: Option<std::collections::BTreeMap<String, String>>,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Method)]
#[serde(rename_all = "snake_case")]
pub enum MethodShape {
    Card,
    CreditTransfer,
    Instant,
    DirectDebit,
    Wallet,
    Other,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Party)]
pub struct PartyShape {
    #[schema(min_length = 1, max_length = 140)]
    pub name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub account: Option<AccountShape>,
    /// BIC or another bank identifier.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 35)]
    pub bank: Option<String>,
    /// ISO 3166-1 alpha-2 country code.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "DE")]
    pub country: Option<String>,
}

/// Exactly one of the two fields.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Account)]
#[serde(rename_all = "snake_case")]
pub enum AccountShape {
    /// ISO 13616 IBAN. Spaces are removed.
    Iban(String),
    /// 1 to 34 characters.
    Other(String),
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Card)]
pub struct CardShape {
    /// The client's own stable token for the card, in ASCII characters.
    #[schema(min_length = 1, max_length = 64)]
    pub fingerprint: String,
    /// The first 6 or 8 digits of the card number.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(pattern = "^([0-9]{6}|[0-9]{8})$")]
    pub bin: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub country: Option<String>,
}

/// Reads a payment order of this moment; all errors of the body come at once.
pub fn payment_order(body: &JsonBody, now_ms: u64) -> Result<Screened<PaymentOrder>, Problem> {
    body.screen(|fields| order(fields, now_ms))
}

/// The same, wherever the payment stands in a body. Codes are those of its time.
pub fn order(fields: &mut Fields<'_>, at_ms: u64) -> Option<PaymentOrder> {
    let reference = fields.identifier(CheckedField::Reference, "reference", REFERENCE_LENGTH_MAX);
    let minor = fields.integer("amount_minor", 1..=AMOUNT_MINOR_MAX);
    let currency = fields.parsed_as_ever("currency", Currency::parse, |currency| {
        Currency::parse_at(currency.code(), at_ms).err().map(|error| error.to_string())
    });
    let method = fields.parsed("method", |name| Method::parse(name).ok_or(method_names()));
    let debtor = fields.nested("debtor", |fields| party(fields, at_ms));
    let creditor = fields.nested("creditor", |fields| party(fields, at_ms));
    let customer = fields.optional_identifier(CheckedField::Customer, "customer", 64);
    let merchant = fields.optional_identifier(CheckedField::Merchant, "merchant", 64);
    let card = fields.optional_nested("card", |fields| card(fields, at_ms));
    let device = fields.optional_identifier(CheckedField::Device, "device", 128);
    let ip = fields
        .optional_parsed("ip", |text| text.parse::<IpAddr>().map_err(|_| "expected an IPv4 or IPv6 address"));
    let requested_at_ms = fields.optional_integer("requested_at_ms", 0..=TIME_MS_MAX.cast_signed());
    let purpose = fields.optional_text("purpose", 4);
    let remittance = fields.optional_identifier(CheckedField::Remittance, "remittance", 140);
    let metadata =
        fields.dictionary(CheckedField::Metadata, "metadata", METADATA_KEYS_MAX, metadata_key, 200);
    if card.is_some() && method.is_some_and(|method| !matches!(method, Method::Card | Method::Wallet)) {
        fields.error("card", "is only allowed with the methods card and wallet");
    }
    Some(PaymentOrder {
        reference: reference?,
        amount: Money::new(minor?, currency?).ok()?,
        debtor: debtor?,
        creditor: creditor?,
        method: method?,
        customer,
        merchant,
        card,
        device,
        ip,
        requested_at_ms: requested_at_ms.map(i64::cast_unsigned),
        purpose,
        remittance,
        metadata: metadata.unwrap_or_default(),
    })
}

fn method_names() -> String {
    format!("expected one of {}", Method::ALL.map(Method::name).join(", "))
}

fn party(fields: &mut Fields<'_>, at_ms: u64) -> Option<Party> {
    let name = fields.text("name", 140);
    let account = fields.optional_nested("account", account);
    let bank = fields.optional_identifier(CheckedField::Bank, "bank", 35);
    let country = country(fields, at_ms);
    Some(Party { name: name?, account, bank, country })
}

fn country(fields: &mut Fields<'_>, at_ms: u64) -> Option<Country> {
    fields.optional_parsed_as_ever("country", Country::parse_as_ever, |country| {
        Country::parse_at(country.as_str(), at_ms).err().map(|error| error.to_string())
    })
}

fn account(fields: &mut Fields<'_>) -> Option<Account> {
    let iban = fields.optional_parsed_as_ever("iban", Iban::parse, |iban| {
        account_holds_card_number(iban.as_str()).then(|| CARD_NUMBER_FOUND.to_owned())
    });
    let iban = iban.map(Account::Iban);
    let other = fields.optional_identifier(CheckedField::AccountOther, "other", 34).map(Account::Other);
    match (iban, other) {
        (Some(account), None) | (None, Some(account)) => Some(account),
        (Some(_), Some(_)) => {
            fields.error("other", "is only allowed without iban");
            None
        }
        (None, None) => {
            if !fields.has("iban") && !fields.has("other") {
                fields.error("iban", "either iban or other is required");
            }
            None
        }
    }
}

fn card(fields: &mut Fields<'_>, at_ms: u64) -> Option<Card> {
    let fingerprint = fields.text("fingerprint", 64);
    // Other scripts have digits too, and spaces that are none of ours.
    if fingerprint.as_deref().is_some_and(|text| !text.is_ascii()) {
        fields.refuse_now("fingerprint", "expected ASCII characters");
    }
    let bin = fields.optional_parsed("bin", |text| {
        let well_formed = matches!(text.len(), 6 | 8) && text.bytes().all(|b| b.is_ascii_digit());
        if well_formed {
            Ok(text.to_owned())
        } else {
            Err("expected the first 6 or 8 digits of the card number")
        }
    });
    let country = country(fields, at_ms);
    Some(Card { fingerprint: fingerprint?, bin, country })
}

impl From<&PaymentOrder> for PaymentShape {
    fn from(order: &PaymentOrder) -> Self {
        Self {
            reference: order.reference.clone(),
            amount_minor: order.amount.minor(),
            currency: order.amount.currency().code().to_owned(),
            method: order.method.into(),
            debtor: (&order.debtor).into(),
            creditor: (&order.creditor).into(),
            customer: order.customer.clone(),
            merchant: order.merchant.clone(),
            card: order.card.as_ref().map(|card| CardShape {
                fingerprint: card.fingerprint.clone(),
                bin: card.bin.clone(),
                country: card.country.as_ref().map(|country| country.as_str().to_owned()),
            }),
            device: order.device.clone(),
            ip: order.ip.map(|ip| ip.to_string()),
            requested_at_ms: order.requested_at_ms,
            purpose: order.purpose.clone(),
            remittance: order.remittance.clone(),
            metadata: (!order.metadata.is_empty()).then(|| order.metadata.iter().cloned().collect()),
        }
    }
}

impl From<Method> for MethodShape {
    fn from(method: Method) -> Self {
        match method {
            Method::Card => Self::Card,
            Method::CreditTransfer => Self::CreditTransfer,
            Method::Instant => Self::Instant,
            Method::DirectDebit => Self::DirectDebit,
            Method::Wallet => Self::Wallet,
            Method::Other => Self::Other,
        }
    }
}

impl From<&Party> for PartyShape {
    fn from(party: &Party) -> Self {
        Self {
            name: party.name.clone(),
            account: party.account.as_ref().map(|account| match account {
                Account::Iban(iban) => AccountShape::Iban(iban.as_str().to_owned()),
                Account::Other(number) => AccountShape::Other(number.clone()),
            }),
            bank: party.bank.clone(),
            country: party.country.as_ref().map(|country| country.as_str().to_owned()),
        }
    }
}

#[cfg(test)]
#[path = "body_tests.rs"]
mod tests;
