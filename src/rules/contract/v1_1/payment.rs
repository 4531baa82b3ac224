//! The payment of contract 1.1.0, and its size.
//!
//! A text whose length a client chooses must be in both functions, or the bound of a call's input
//! does not hold.

use super::types::{
    Account, ChargeBearer, Party, PayeeMatch, PayeeVerification, Payment, PostalAddress, Signal, SignalValue,
    UltimateParty,
};
use super::{account_of, card_of, method_of, money_of};
use crate::domain;
use crate::domain::party::Country;

pub(in crate::rules::contract) fn payment_of(payment: &domain::payment::Payment) -> Payment {
    let order = &payment.order;
    Payment {
        id: payment.id.to_string(),
        reference: order.reference.clone(),
        amount: money_of(order.amount),
        debtor: party_of(&order.debtor),
        creditor: party_of(&order.creditor),
        ultimate_debtor: order.ultimate_debtor.as_ref().map(ultimate_party_of),
        ultimate_creditor: order.ultimate_creditor.as_ref().map(ultimate_party_of),
        intermediary_agents: order.intermediary_agents.clone(),
        method: method_of(order.method),
        customer: order.customer.clone(),
        merchant: order.merchant.clone(),
        merchant_category: order.merchant_category.clone(),
        card: order.card.as_ref().map(card_of),
        device: order.device.clone(),
        ip: order.ip.map(|ip| ip.to_string()),
        received_at_ms: payment.received_at_ms,
        requested_at_ms: order.requested_at_ms,
        purpose: order.purpose.clone(),
        remittance: order.remittance.clone(),
        end_to_end_id: order.end_to_end_id.clone(),
        uetr: order.uetr.map(|uetr| uetr.to_string()),
        charge_bearer: order.charge_bearer.map(charge_bearer_of),
        payee_verification: order.payee_verification.as_ref().map(payee_verification_of),
        metadata: order.metadata.clone(),
        signals: order.signals.iter().map(|(name, signal)| signal_of(name, signal)).collect(),
    }
}

fn party_of(party: &domain::party::Party) -> Party {
    Party {
        name: party.name.clone(),
        account: party.account.as_ref().map(account_of),
        bank: party.bank.clone(),
        country: party.country.as_ref().map(country_of),
        address: party.address.as_ref().map(address_of),
    }
}

fn ultimate_party_of(party: &domain::party::UltimateParty) -> UltimateParty {
    UltimateParty {
        name: party.name.clone(),
        account: party.account.as_ref().map(account_of),
        country: party.country.as_ref().map(country_of),
        address: party.address.as_ref().map(address_of),
    }
}

fn address_of(address: &domain::address::PostalAddress) -> PostalAddress {
    PostalAddress {
        department: address.department.clone(),
        sub_department: address.sub_department.clone(),
        street_name: address.street_name.clone(),
        building_number: address.building_number.clone(),
        building_name: address.building_name.clone(),
        floor: address.floor.clone(),
        post_box: address.post_box.clone(),
        room: address.room.clone(),
        post_code: address.post_code.clone(),
        town_name: address.town_name.clone(),
        town_location_name: address.town_location_name.clone(),
        district_name: address.district_name.clone(),
        country_sub_division: address.country_sub_division.clone(),
        country: country_of(&address.country),
        address_lines: address.address_lines.clone(),
    }
}

fn country_of(country: &Country) -> String {
    country.as_str().to_owned()
}

fn charge_bearer_of(bearer: domain::payment::ChargeBearer) -> ChargeBearer {
    use domain::payment::ChargeBearer as From;
    match bearer {
        From::Debtor => ChargeBearer::Debtor,
        From::Creditor => ChargeBearer::Creditor,
        From::Shared => ChargeBearer::Shared,
        From::ServiceLevel => ChargeBearer::ServiceLevel,
    }
}

fn payee_verification_of(verification: &domain::payment::PayeeVerification) -> PayeeVerification {
    use domain::payment::PayeeMatch as From;
    PayeeVerification {
        outcome: match verification.outcome {
            From::Matches => PayeeMatch::Matches,
            From::CloseMatch => PayeeMatch::CloseMatch,
            From::NoMatch => PayeeMatch::NoMatch,
            From::NotPossible => PayeeMatch::NotPossible,
        },
        suggested_name: verification.suggested_name.clone(),
    }
}

fn signal_of(name: &str, signal: &domain::signal::Signal) -> Signal {
    use domain::signal::Signal as From;
    let value = match signal {
        From::Number(number) => SignalValue::Number(number.0),
        From::Word(word) => SignalValue::Word(word.clone()),
    };
    Signal { name: name.to_owned(), value }
}

/// The size of all texts whose length a client chooses.
pub(in crate::rules::contract) fn text_bytes(payment: &Payment) -> usize {
    let optional = [
        &payment.customer,
        &payment.merchant,
        &payment.device,
        &payment.purpose,
        &payment.remittance,
        &payment.end_to_end_id,
    ];
    let card = payment.card.as_ref().map_or(0, |card| card.fingerprint.len() + length(&card.bin));
    let ultimate = [&payment.ultimate_debtor, &payment.ultimate_creditor].into_iter().flatten();
    let verification = payment.payee_verification.as_ref();
    let signal = |signal: &Signal| match &signal.value {
        SignalValue::Number(_) => signal.name.len(),
        SignalValue::Word(word) => signal.name.len() + word.len(),
    };
    payment.reference.len()
        + [&payment.debtor, &payment.creditor].into_iter().map(party_bytes).sum::<usize>()
        + ultimate.map(ultimate_party_bytes).sum::<usize>()
        + lengths(&payment.intermediary_agents)
        + card
        + optional.into_iter().map(length).sum::<usize>()
        + verification.map_or(0, |verification| length(&verification.suggested_name))
        + payment.metadata.iter().map(|(key, value)| key.len() + value.len()).sum::<usize>()
        + payment.signals.iter().map(signal).sum::<usize>()
}

fn party_bytes(party: &Party) -> usize {
    party.name.len() + account_bytes(&party.account) + length(&party.bank) + address_bytes(&party.address)
}

fn ultimate_party_bytes(party: &UltimateParty) -> usize {
    party.name.len() + account_bytes(&party.account) + address_bytes(&party.address)
}

fn account_bytes(account: &Option<Account>) -> usize {
    match account {
        Some(Account::Iban(number) | Account::Other(number)) => number.len(),
        None => 0,
    }
}

fn address_bytes(address: &Option<PostalAddress>) -> usize {
    let Some(address) = address else { return 0 };
    let optional = [
        &address.department,
        &address.sub_department,
        &address.street_name,
        &address.building_number,
        &address.building_name,
        &address.floor,
        &address.post_box,
        &address.room,
        &address.post_code,
        &address.town_location_name,
        &address.district_name,
        &address.country_sub_division,
    ];
    address.town_name.len()
        + optional.into_iter().map(length).sum::<usize>()
        + lengths(&address.address_lines)
}

fn length(text: &Option<String>) -> usize {
    text.as_ref().map_or(0, String::len)
}

fn lengths(texts: &[String]) -> usize {
    texts.iter().map(String::len).sum()
}
