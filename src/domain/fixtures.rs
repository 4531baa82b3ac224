//! A payment that the tests of several rooms vary.
//!
//! Must never be built into the program, nor hold what only one test needs.

use super::money::{Currency, Money};
use super::party::Party;
use super::payment::{Method, PaymentOrder};

/// 1.00 EUR by wallet from Ann to Ann for the customer `c`, with nothing that may be absent.
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
