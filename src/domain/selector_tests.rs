//! Tests of the names, kinds and values of selectors.

use super::*;
use crate::domain::fixtures;
use crate::domain::millionths::Millionths;
use crate::domain::party::{Iban, UltimateParty};
use crate::domain::payment::{Card, PayeeMatch, PayeeVerification, Uetr};

fn full() -> PaymentOrder {
    let text = |text: &str| Some(text.to_owned());
    let iban = Iban::parse("DE89370400440532013000").expect("an IBAN");
    let ultimate = |name: &str, account| UltimateParty {
        name: name.to_owned(),
        account: Some(account),
        country: None,
        address: None,
    };
    let outcome = PayeeMatch::CloseMatch;
    PaymentOrder {
        ultimate_debtor: Some(ultimate("Eve", Account::Iban(iban))),
        ultimate_creditor: Some(ultimate("Bob", Account::Other("7".to_owned()))),
        merchant_category: text("5411"),
        card: Some(Card {
            fingerprint: "f".to_owned(),
            bin: text("411111"),
            country: Country::parse("US").ok(),
        }),
        purpose: text("SALA"),
        remittance: text("June"),
        end_to_end_id: text("e2e-1"),
        uetr: Uetr::parse("EB6305C9-1F7F-49DE-AED0-16487C27B42D").ok(),
        payee_verification: Some(PayeeVerification { outcome, suggested_name: text("Anne") }),
        signals: vec![
            ("label".to_owned(), Signal::Word("high".to_owned())),
            ("score".to_owned(), Signal::Number(Millionths(500_000))),
        ],
        ..fixtures::order()
    }
}

#[test]
fn each_newer_selector_has_its_name_kind_and_value() {
    let signal = |name: &str| Selector::Signal(name.to_owned());
    for (selector, name, kind, value) in [
        (
            Selector::UltimateDebtorAccount,
            "ultimate_debtor_account",
            ValueKind::Account,
            "DE89370400440532013000",
        ),
        (Selector::UltimateCreditorAccount, "ultimate_creditor_account", ValueKind::Account, "7"),
        (Selector::UltimateDebtorName, "ultimate_debtor_name", ValueKind::Name, "Eve"),
        (Selector::UltimateCreditorName, "ultimate_creditor_name", ValueKind::Name, "Bob"),
        (Selector::SuggestedPayeeName, "suggested_payee_name", ValueKind::Name, "Anne"),
        (Selector::CardBin, "card_bin", ValueKind::Text, "411111"),
        (Selector::CardCountry, "card_country", ValueKind::Country, "US"),
        (Selector::MerchantCategory, "merchant_category", ValueKind::Text, "5411"),
        (Selector::Reference, "reference", ValueKind::Text, "r"),
        (Selector::EndToEndId, "end_to_end_id", ValueKind::Text, "e2e-1"),
        (Selector::Uetr, "uetr", ValueKind::Text, "eb6305c9-1f7f-49de-aed0-16487c27b42d"),
        (Selector::Purpose, "purpose", ValueKind::Text, "SALA"),
        (Selector::Remittance, "remittance", ValueKind::Text, "June"),
        (Selector::Amount, "amount", ValueKind::Text, "EUR 100"),
        (Selector::Currency, "currency", ValueKind::Text, "EUR"),
        (Selector::Method, "method", ValueKind::Text, "wallet"),
        (signal("label"), "signal:label", ValueKind::Text, "high"),
        (signal("score"), "signal:score", ValueKind::Text, "0.5"),
    ] {
        assert_eq!((selector.name().as_str(), selector.kind()), (name, kind));
        assert_eq!(selector.value_of(&full()).as_deref(), Some(value), "{name}");
    }
    assert_eq!(signal("other").value_of(&full()), None);
}

#[test]
fn a_payment_without_a_value_has_none() {
    let none = PaymentOrder { end_to_end_id: Some(NOT_PROVIDED.to_owned()), ..fixtures::order() };
    let has = |selector: &Selector| selector.value_of(&none).is_some();
    let present: Vec<String> = Selector::FIXED.iter().filter(|it| has(it)).map(Selector::name).collect();
    let expected = ["debtor_name", "creditor_name", "customer", "reference", "amount", "currency", "method"];
    assert_eq!(present, expected);
}
