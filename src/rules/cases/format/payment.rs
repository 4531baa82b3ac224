//! The payment of a case, in the form of the newest contract.
//!
//! Nothing is checked but types: a case may need a payment that the API refuses.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::decimal::{DecimalForm, DecimalOrText};
use crate::rules::contract::v1_1 as contract;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PaymentForm {
    id: String,
    reference: String,
    amount: MoneyForm,
    debtor: PartyForm,
    creditor: PartyForm,
    ultimate_debtor: Option<UltimatePartyForm>,
    ultimate_creditor: Option<UltimatePartyForm>,
    #[serde(default)]
    intermediary_agents: Vec<String>,
    method: MethodForm,
    customer: Option<String>,
    merchant: Option<String>,
    merchant_category: Option<String>,
    card: Option<CardForm>,
    device: Option<String>,
    ip: Option<String>,
    received_at_ms: u64,
    requested_at_ms: Option<u64>,
    purpose: Option<String>,
    remittance: Option<String>,
    end_to_end_id: Option<String>,
    uetr: Option<String>,
    charge_bearer: Option<ChargeBearerForm>,
    payee_verification: Option<PayeeVerificationForm>,
    #[serde(default)]
    metadata: BTreeMap<String, String>,
    #[serde(default)]
    signals: BTreeMap<String, DecimalOrText>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MoneyForm {
    minor: i64,
    currency: String,
    exponent: u8,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PartyForm {
    name: String,
    account: Option<AccountForm>,
    bank: Option<String>,
    country: Option<String>,
    address: Option<PostalAddressForm>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct UltimatePartyForm {
    name: String,
    account: Option<AccountForm>,
    country: Option<String>,
    address: Option<PostalAddressForm>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PostalAddressForm {
    department: Option<String>,
    sub_department: Option<String>,
    street_name: Option<String>,
    building_number: Option<String>,
    building_name: Option<String>,
    floor: Option<String>,
    post_box: Option<String>,
    room: Option<String>,
    post_code: Option<String>,
    town_name: String,
    town_location_name: Option<String>,
    district_name: Option<String>,
    country_sub_division: Option<String>,
    country: String,
    #[serde(default)]
    address_lines: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum AccountForm {
    Iban(String),
    Other(String),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CardForm {
    fingerprint: String,
    bin: Option<String>,
    country: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum MethodForm {
    Card,
    CreditTransfer,
    Instant,
    DirectDebit,
    Wallet,
    Other,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum ChargeBearerForm {
    Debtor,
    Creditor,
    Shared,
    ServiceLevel,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PayeeVerificationForm {
    outcome: PayeeMatchForm,
    suggested_name: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum PayeeMatchForm {
    Matches,
    CloseMatch,
    NoMatch,
    NotPossible,
}

impl PaymentForm {
    pub(super) fn into_contract(self) -> contract::Payment {
        let MoneyForm { minor, currency, exponent } = self.amount;
        let signals = self.signals.into_iter();
        contract::Payment {
            id: self.id,
            reference: self.reference,
            amount: contract::Money { minor, currency, exponent },
            debtor: self.debtor.into_contract(),
            creditor: self.creditor.into_contract(),
            ultimate_debtor: self.ultimate_debtor.map(UltimatePartyForm::into_contract),
            ultimate_creditor: self.ultimate_creditor.map(UltimatePartyForm::into_contract),
            intermediary_agents: self.intermediary_agents,
            method: self.method.into_contract(),
            customer: self.customer,
            merchant: self.merchant,
            merchant_category: self.merchant_category,
            card: self.card.map(CardForm::into_contract),
            device: self.device,
            ip: self.ip,
            received_at_ms: self.received_at_ms,
            requested_at_ms: self.requested_at_ms,
            purpose: self.purpose,
            remittance: self.remittance,
            end_to_end_id: self.end_to_end_id,
            uetr: self.uetr,
            charge_bearer: self.charge_bearer.map(ChargeBearerForm::into_contract),
            payee_verification: self.payee_verification.map(PayeeVerificationForm::into_contract),
            metadata: self.metadata.into_iter().collect(),
            signals: signals.map(|(name, value)| signal(name, value)).collect(),
        }
    }
}

fn signal(name: String, value: DecimalOrText) -> contract::Signal {
    let value = match value {
        DecimalOrText::Decimal(DecimalForm(number)) => contract::SignalValue::Number(number.0),
        DecimalOrText::Text(word) => contract::SignalValue::Word(word),
    };
    contract::Signal { name, value }
}

impl PartyForm {
    fn into_contract(self) -> contract::Party {
        contract::Party {
            name: self.name,
            account: self.account.map(AccountForm::into_contract),
            bank: self.bank,
            country: self.country,
            address: self.address.map(PostalAddressForm::into_contract),
        }
    }
}

impl UltimatePartyForm {
    fn into_contract(self) -> contract::UltimateParty {
        contract::UltimateParty {
            name: self.name,
            account: self.account.map(AccountForm::into_contract),
            country: self.country,
            address: self.address.map(PostalAddressForm::into_contract),
        }
    }
}

impl PostalAddressForm {
    fn into_contract(self) -> contract::PostalAddress {
        contract::PostalAddress {
            department: self.department,
            sub_department: self.sub_department,
            street_name: self.street_name,
            building_number: self.building_number,
            building_name: self.building_name,
            floor: self.floor,
            post_box: self.post_box,
            room: self.room,
            post_code: self.post_code,
            town_name: self.town_name,
            town_location_name: self.town_location_name,
            district_name: self.district_name,
            country_sub_division: self.country_sub_division,
            country: self.country,
            address_lines: self.address_lines,
        }
    }
}

impl AccountForm {
    fn into_contract(self) -> contract::Account {
        match self {
            Self::Iban(number) => contract::Account::Iban(number),
            Self::Other(number) => contract::Account::Other(number),
        }
    }
}

impl CardForm {
    fn into_contract(self) -> contract::Card {
        let Self { fingerprint, bin, country } = self;
        contract::Card { fingerprint, bin, country }
    }
}

impl MethodForm {
    fn into_contract(self) -> contract::Method {
        match self {
            Self::Card => contract::Method::Card,
            Self::CreditTransfer => contract::Method::CreditTransfer,
            Self::Instant => contract::Method::Instant,
            Self::DirectDebit => contract::Method::DirectDebit,
            Self::Wallet => contract::Method::Wallet,
            Self::Other => contract::Method::Other,
        }
    }
}

impl ChargeBearerForm {
    fn into_contract(self) -> contract::ChargeBearer {
        match self {
            Self::Debtor => contract::ChargeBearer::Debtor,
            Self::Creditor => contract::ChargeBearer::Creditor,
            Self::Shared => contract::ChargeBearer::Shared,
            Self::ServiceLevel => contract::ChargeBearer::ServiceLevel,
        }
    }
}

impl PayeeVerificationForm {
    fn into_contract(self) -> contract::PayeeVerification {
        let outcome = match self.outcome {
            PayeeMatchForm::Matches => contract::PayeeMatch::Matches,
            PayeeMatchForm::CloseMatch => contract::PayeeMatch::CloseMatch,
            PayeeMatchForm::NoMatch => contract::PayeeMatch::NoMatch,
            PayeeMatchForm::NotPossible => contract::PayeeMatch::NotPossible,
        };
        contract::PayeeVerification { outcome, suggested_name: self.suggested_name }
    }
}
