//! Contract 1.0.0. This module must never change what a released plugin is given or how its
//! answer is read: stored decisions are replayed through it.

use super::bounds::Violation;
use super::input::PaymentInput;
use super::unchanged::unchanged_conversions;
use super::{rule, v1_1};
use crate::domain;
use crate::domain::selector::{Fact, FactQuery, Selector};
use crate::rules::component::ContractVersion;

/// Only the types are used. The calls are in `rule`.
#[allow(missing_debug_implementations, dead_code)]
mod bindings {
    wasmtime::component::bindgen!({
        path: "plugins/wit/1.0.0",
        world: "payment-rule",
        exports: { default: async },
    });
}

use bindings::tollgate::rules::types;

pub(super) use types::Payment;
use types::{Account, Party};

pub(in crate::rules) struct Contract;

impl rule::Contract for Contract {
    const VERSION: ContractVersion = ContractVersion::V1_0_0;

    type Payment = Payment;
    type Fact = types::Fact;
    type Description = types::Description;
    type Prepared = types::Prepared;
    type Reason = types::Reason;
    type Evaluation = types::Evaluation;

    fn payment(input: &PaymentInput) -> &Payment {
        input.v1_0()
    }

    fn fact(fact: &Fact) -> types::Fact {
        match *fact {
            Fact::Listed(listed) => types::Fact::Listed(listed),
            Fact::Velocity { count, total_minor } => {
                types::Fact::Velocity(types::VelocityFact { count, total_minor })
            }
            // This version has no queries that others answer.
            Fact::Absent | Fact::Aggregate(_) | Fact::Table(_) | Fact::Similar(_) => types::Fact::Absent,
        }
    }

    fn description(description: types::Description) -> domain::plugin::Description {
        description_from(description)
    }

    fn prepared(prepared: types::Prepared) -> Result<(Vec<FactQuery>, Vec<u8>), Violation> {
        Ok((prepared.queries.into_iter().map(query_from).collect(), prepared.state))
    }

    fn reason(reason: types::Reason) -> domain::verdict::Reason {
        reason_from(reason)
    }

    fn evaluation(evaluation: types::Evaluation) -> domain::verdict::Evaluation {
        evaluation_from(evaluation)
    }
}

unchanged_conversions!();

/// The size of all texts whose length a client chooses.
pub(super) fn text_bytes(payment: &Payment) -> usize {
    let length = |text: &Option<String>| text.as_ref().map_or(0, String::len);
    let party = |party: &Party| {
        let account = match &party.account {
            Some(Account::Iban(number) | Account::Other(number)) => number.len(),
            None => 0,
        };
        party.name.len() + account + length(&party.bank)
    };
    let card = payment.card.as_ref().map_or(0, |card| card.fingerprint.len() + length(&card.bin));
    let optional =
        [&payment.customer, &payment.merchant, &payment.device, &payment.purpose, &payment.remittance];
    payment.reference.len()
        + party(&payment.debtor)
        + party(&payment.creditor)
        + card
        + optional.into_iter().map(length).sum::<usize>()
        + payment.metadata.iter().map(|(key, value)| key.len() + value.len()).sum::<usize>()
}

pub(super) fn payment_of(payment: &domain::payment::Payment) -> Payment {
    let order = &payment.order;
    Payment {
        id: payment.id.to_string(),
        reference: order.reference.clone(),
        amount: money_of(order.amount),
        debtor: party_of(&order.debtor),
        creditor: party_of(&order.creditor),
        method: method_of(order.method),
        customer: order.customer.clone(),
        merchant: order.merchant.clone(),
        card: order.card.as_ref().map(card_of),
        device: order.device.clone(),
        ip: order.ip.map(|ip| ip.to_string()),
        received_at_ms: payment.received_at_ms,
        requested_at_ms: order.requested_at_ms,
        purpose: order.purpose.clone(),
        remittance: order.remittance.clone(),
        metadata: order.metadata.clone(),
    }
}

fn party_of(party: &domain::party::Party) -> Party {
    Party {
        name: party.name.clone(),
        account: party.account.as_ref().map(account_of),
        bank: party.bank.clone(),
        country: party.country.as_ref().map(|country| country.as_str().to_owned()),
    }
}

/// The payment of a case file, without what this version does not have.
pub(super) fn payment_of_case(payment: &v1_1::Payment) -> Payment {
    let v1_1::Money { minor, currency, exponent } = payment.amount.clone();
    let method = match payment.method {
        v1_1::Method::Card => types::Method::Card,
        v1_1::Method::CreditTransfer => types::Method::CreditTransfer,
        v1_1::Method::Instant => types::Method::Instant,
        v1_1::Method::DirectDebit => types::Method::DirectDebit,
        v1_1::Method::Wallet => types::Method::Wallet,
        v1_1::Method::Other => types::Method::Other,
    };
    let card = payment.card.clone().map(|card| {
        let v1_1::Card { fingerprint, bin, country } = card;
        types::Card { fingerprint, bin, country }
    });
    Payment {
        id: payment.id.clone(),
        reference: payment.reference.clone(),
        amount: types::Money { minor, currency, exponent },
        debtor: party_of_case(&payment.debtor),
        creditor: party_of_case(&payment.creditor),
        method,
        customer: payment.customer.clone(),
        merchant: payment.merchant.clone(),
        card,
        device: payment.device.clone(),
        ip: payment.ip.clone(),
        received_at_ms: payment.received_at_ms,
        requested_at_ms: payment.requested_at_ms,
        purpose: payment.purpose.clone(),
        remittance: payment.remittance.clone(),
        metadata: payment.metadata.clone(),
    }
}

fn party_of_case(party: &v1_1::Party) -> Party {
    let account = party.account.clone().map(|account| match account {
        v1_1::Account::Iban(number) => Account::Iban(number),
        v1_1::Account::Other(number) => Account::Other(number),
    });
    Party { name: party.name.clone(), account, bank: party.bank.clone(), country: party.country.clone() }
}

fn query_from(query: types::FactQuery) -> FactQuery {
    match query {
        types::FactQuery::Listed(query) => FactQuery::Listed {
            list: query.list,
            selector: selector_from(query.selector),
            matching: matching_from(query.matching),
        },
        types::FactQuery::Velocity(query) => FactQuery::Velocity {
            selector: selector_from(query.selector),
            window_ms: query.window_ms,
            counting: counting_from(query.counting),
        },
    }
}

fn selector_from(selector: types::Selector) -> Selector {
    use types::Selector as From;
    match selector {
        From::DebtorAccount => Selector::DebtorAccount,
        From::CreditorAccount => Selector::CreditorAccount,
        From::DebtorName => Selector::DebtorName,
        From::CreditorName => Selector::CreditorName,
        From::DebtorBank => Selector::DebtorBank,
        From::CreditorBank => Selector::CreditorBank,
        From::DebtorCountry => Selector::DebtorCountry,
        From::CreditorCountry => Selector::CreditorCountry,
        From::Customer => Selector::Customer,
        From::Merchant => Selector::Merchant,
        From::Card => Selector::Card,
        From::Device => Selector::Device,
        From::Ip => Selector::Ip,
        From::Metadata(key) => Selector::Metadata(key),
    }
}
