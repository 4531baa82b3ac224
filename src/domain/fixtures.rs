//! A payment for the tests of several modules, which they modify.

use super::money::{Currency, Money};
use super::party::Party;
use super::payment::{Method, PaymentOrder};

/// 1.00 EUR by wallet from Ann to Ann for the customer `c`, without any other optional value.
pub fn order() -> PaymentOrder {
    let amount = Money::new(100, Currency::parse("EUR").expect("currency")).expect("amount");
    let ann = Party::named("Ann");
    PaymentOrder {
        customer: Some("c".into()),
        ..PaymentOrder::of("r", amount, ann.clone(), ann, Method::Wallet)
    }
}
