//! Tests of the encoding with golden digests, and with a change of each member of a payment.

use super::*;
use crate::domain::millionths::Millionths;
use crate::domain::money::{Currency, Money};
use crate::domain::party::{Country, Iban};
use crate::domain::payment::{Method, PayeeMatch, PayeeVerification, Uetr};

fn small() -> PaymentOrder {
    let amount = Money::new(1, Currency::parse("EUR").expect("EUR")).expect("an amount");
    PaymentOrder::of("r-1", amount, Party::named("Ada"), Party::named("Bob"), Method::Other)
}

fn full() -> PaymentOrder {
    let country = |code| Some(Country::parse(code).expect("a country"));
    let text = |text: &str| Some(text.to_owned());
    PaymentOrder {
        debtor: Party {
            account: Some(Account::Iban(Iban::parse("DE89370400440532013000").expect("an IBAN"))),
            bank: text("COBADEFF"),
            country: country("DE"),
            ..Party::named("José")
        },
        creditor: Party {
            account: Some(Account::Other("12-3".to_owned())),
            country: country("FR"),
            ..Party::named("Bob")
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

/// A payment with every member.
fn newest() -> PaymentOrder {
    let text = |text: &str| Some(text.to_owned());
    let address = || PostalAddress {
        department: text("a"),
        sub_department: text("b"),
        street_name: text("c"),
        building_number: text("d"),
        building_name: text("e"),
        floor: text("f"),
        post_box: text("g"),
        room: text("h"),
        post_code: text("i"),
        town_name: "j".to_owned(),
        town_location_name: text("k"),
        district_name: text("l"),
        country_sub_division: text("m"),
        country: Country::parse("DE").expect("a country"),
        address_lines: vec!["n".to_owned(), "o".to_owned()],
    };
    let ultimate = |name: &str| UltimateParty {
        name: name.to_owned(),
        account: Some(Account::Other("7".to_owned())),
        country: Some(Country::parse("GB").expect("a country")),
        address: Some(address()),
    };
    let mut order = full();
    order.debtor.address = Some(address());
    order.creditor.address = Some(PostalAddress { address_lines: vec![], ..address() });
    order.ultimate_debtor = Some(ultimate("Ann"));
    order.ultimate_creditor = Some(ultimate("Eve"));
    order.intermediary_agents = vec!["x".to_owned(), "y".to_owned()];
    order.merchant_category = text("5411");
    order.end_to_end_id = text("e2e");
    order.uetr = Uetr::parse("eb6305c9-1f7f-49de-aed0-16487c27b42d").ok();
    order.charge_bearer = Some(ChargeBearer::Shared);
    let outcome = PayeeMatch::CloseMatch;
    order.payee_verification = Some(PayeeVerification { outcome, suggested_name: text("Bo") });
    order.signals = vec![
        ("s".to_owned(), Signal::Number(Millionths(1_000_000))),
        ("t".to_owned(), Signal::Word("1".to_owned())),
    ];
    order
}

/// Retries of payments that an earlier release stored are recognised by these digests.
#[test]
fn the_digests_are_the_same_for_ever() {
    for (order, expected) in [
        (small(), "89b1289abbed32f45563c52adafde7e52e374a667d7c421d97b26f6c8b825d5f"),
        (full(), "a5dac62293fffa0d424e6acae5d66770f4ad9dadcc45136b741c08e63f2a27d8"),
        (newest(), "6d58e839828220ac376b6211ec9c22b77958986a5f8b3697f7b60b0e18a88d2a"),
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
    assert_all_differ(&changes, full);
}

#[test]
fn every_newer_member_counts_and_no_value_can_pass_for_another() {
    fn address(order: &mut PaymentOrder) -> &mut PostalAddress {
        order.debtor.address.as_mut().expect("an address")
    }
    fn ultimate(order: &mut PaymentOrder) -> &mut UltimateParty {
        order.ultimate_debtor.as_mut().expect("a party")
    }
    fn verification(order: &mut PaymentOrder) -> &mut PayeeVerification {
        order.payee_verification.as_mut().expect("a verification")
    }
    let changes: [fn(&mut PaymentOrder); 47] = [
        |order| order.debtor.address = None,
        |order| order.creditor.address = None,
        |order| std::mem::swap(&mut order.debtor.address, &mut order.creditor.address),
        |order| address(order).department = None,
        |order| address(order).sub_department = None,
        |order| address(order).sub_department = address(order).department.take(),
        |order| address(order).street_name = None,
        |order| address(order).building_number = None,
        |order| address(order).building_name = None,
        |order| address(order).floor = None,
        |order| address(order).post_box = None,
        |order| address(order).room = None,
        |order| address(order).post_code = None,
        |order| address(order).town_name.push('x'),
        |order| address(order).town_location_name = None,
        |order| address(order).district_name = None,
        |order| address(order).country_sub_division = None,
        |order| address(order).country = Country::parse("FR").expect("a country"),
        |order| address(order).address_lines.clear(),
        |order| drop(address(order).address_lines.pop()),
        |order| address(order).address_lines = vec!["no".to_owned()],
        |order| order.ultimate_debtor = None,
        |order| order.ultimate_creditor = None,
        |order| order.ultimate_creditor = order.ultimate_debtor.take(),
        |order| std::mem::swap(&mut order.ultimate_debtor, &mut order.ultimate_creditor),
        |order| ultimate(order).account = None,
        |order| ultimate(order).country = None,
        |order| ultimate(order).address = None,
        |order| order.intermediary_agents.clear(),
        |order| order.intermediary_agents.reverse(),
        |order| order.intermediary_agents = vec!["xy".to_owned()],
        |order| order.intermediary_agents.push("z".to_owned()),
        |order| order.merchant_category = None,
        |order| order.end_to_end_id = None,
        |order| order.end_to_end_id = order.merchant_category.take(),
        |order| order.uetr = None,
        |order| order.charge_bearer = None,
        |order| order.charge_bearer = Some(ChargeBearer::Debtor),
        |order| order.payee_verification = None,
        |order| verification(order).suggested_name = None,
        |order| verification(order).outcome = PayeeMatch::NoMatch,
        |order| order.signals.clear(),
        |order| drop(order.signals.pop()),
        |order| order.signals[0].0.push('x'),
        |order| order.signals[0].1 = Signal::Number(Millionths(1)),
        |order| order.signals[0].1 = Signal::Word("1".to_owned()),
        |order| order.signals[1].1 = Signal::Number(Millionths(1_000_000)),
    ];
    assert_all_differ(&changes, newest);
}

fn assert_all_differ(changes: &[fn(&mut PaymentOrder)], order: fn() -> PaymentOrder) {
    let mut digests: Vec<String> = vec![of_order(&order()).to_string()];
    for change in changes {
        let mut order = order();
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
