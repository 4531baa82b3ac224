//! Tests of the encoding with golden digests, and with a change of each member of a payment.

use super::*;
use crate::domain::fixtures;
use crate::domain::money::{Currency, Money};
use crate::domain::party::{Country, Iban};
use crate::domain::payment::Method;

fn small() -> PaymentOrder {
    let party = |name: &str| Party { name: name.to_owned(), account: None, bank: None, country: None };
    PaymentOrder {
        reference: "r-1".to_owned(),
        amount: Money::new(1, Currency::parse("EUR").expect("EUR")).expect("an amount"),
        debtor: party("Ada"),
        creditor: party("Bob"),
        method: Method::Other,
        customer: None,
        ..fixtures::order()
    }
}

fn full() -> PaymentOrder {
    let country = |code| Some(Country::parse(code).expect("a country"));
    let text = |text: &str| Some(text.to_owned());
    PaymentOrder {
        debtor: Party {
            name: "José".to_owned(),
            account: Some(Account::Iban(Iban::parse("DE89370400440532013000").expect("an IBAN"))),
            bank: text("COBADEFF"),
            country: country("DE"),
        },
        creditor: Party {
            name: "Bob".to_owned(),
            account: Some(Account::Other("12-3".to_owned())),
            bank: None,
            country: country("FR"),
        },
        method: Method::Card,
        customer: text("c"),
        merchant: text("m"),
        card: Some(Card { fingerprint: "fp".to_owned(), bin: text("411111"), country: country("US") }),
        device: text("d"),
        ip: Some("203.0.113.7".parse().expect("an address")),
        requested_at_ms: Some(1_732_000_000_000),
        purpose: text("SALA"),
        remittance: text("June"),
        metadata: vec![("a".to_owned(), "1".to_owned()), ("b".to_owned(), "2".to_owned())],
        ..small()
    }
}

/// Retries of payments that an earlier release stored are recognised by these digests.
#[test]
fn the_digests_are_the_same_for_ever() {
    for (order, expected) in [
        (small(), "89b1289abbed32f45563c52adafde7e52e374a667d7c421d97b26f6c8b825d5f"),
        (full(), "a5dac62293fffa0d424e6acae5d66770f4ad9dadcc45136b741c08e63f2a27d8"),
    ] {
        assert_eq!(of_order(&order).to_string(), expected);
    }
    let imported = of_import(&full(), 946_684_800_000, Outcome::Reject);
    assert_eq!(imported.to_string(), "c5cb1b9b699d313aae00f97e262331a648c020fcd8680c2af0c493c29178e401");
}

#[test]
fn every_member_counts_and_an_absent_one_is_no_other() {
    let changes: [fn(&mut PaymentOrder); 24] = [
        |order| order.reference.push('x'),
        |order| order.amount = Money::new(2, order.amount.currency()).expect("an amount"),
        |order| order.amount = Money::new(1, Currency::parse("JPY").expect("JPY")).expect("an amount"),
        |order| order.method = Method::Wallet,
        |order| order.debtor.name.push('x'),
        |order| std::mem::swap(&mut order.debtor, &mut order.creditor),
        |order| order.debtor.account = None,
        |order| order.debtor.account = Some(Account::Other("DE89370400440532013000".to_owned())),
        |order| order.creditor.bank = Some("COBADEFF".to_owned()),
        |order| order.creditor.country = None,
        |order| order.customer = None,
        |order| order.merchant = order.customer.take(),
        |order| order.card = None,
        |order| order.card.as_mut().expect("a card").bin = None,
        |order| order.card.as_mut().expect("a card").country = None,
        |order| order.device = None,
        |order| order.ip = None,
        |order| order.requested_at_ms = None,
        |order| order.purpose = order.remittance.take(),
        |order| order.remittance = None,
        |order| order.metadata.clear(),
        |order| drop(order.metadata.pop()),
        |order| order.metadata[0].1.push('x'),
        |order| order.metadata[0].0.push('x'),
    ];
    let mut digests: Vec<String> = vec![of_order(&full()).to_string()];
    for change in changes {
        let mut order = full();
        change(&mut order);
        digests.push(of_order(&order).to_string());
    }
    let count = digests.len();
    digests.sort();
    digests.dedup();
    assert_eq!(digests.len(), count);
}

#[test]
fn an_address_is_the_same_in_either_family() {
    let mapped = PaymentOrder { ip: Some("::ffff:203.0.113.7".parse().expect("an address")), ..full() };
    assert_eq!(of_order(&mapped), of_order(&full()));
}
