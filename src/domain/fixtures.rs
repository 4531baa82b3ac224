//! A payment for the tests of several modules, which they modify.

use super::money::{Currency, Money};
use super::party::Party;
use super::payment::{Method, PaymentOrder};

/// 1.00 EUR by wallet from Ann to Ann for the customer `c`, without any other optional value.
pub fn order() -> PaymentOrder {
    let party = Party { name: "Ann".into(), account: None, bank: None, country: None };
    PaymentOrder {
        reference: "r".into(),
        amount: Money::new(100, Currency::parse("EUR").expect("currency")).expect("amount"),
        debtor: party.clone(),
        creditor: party,
        method: Method::Wallet,
        customer: Some("c".into()),
        merchant: None,
        card: None,
        device: None,
        ip: None,
        requested_at_ms: None,
        purpose: None,
        remittance: None,
        metadata: vec![],
    }
}
