//! A small rule: its settings, payments with different results, and the rule in plain Rust, with
//! which all other forms are compared.
//!
//! An instant transfer in EUR above 15,000.00 is rejected. Any other payment in EUR is reviewed
//! above 10,000.00 and rejected above 50,000.00. A payment in another currency is reviewed. This is
//! the rule `amount-limits` with these settings.

use std::sync::Arc;

use serde::Deserialize;
use tollgate::domain::money::{Currency, Money};
use tollgate::domain::party::{Account, Country, Iban, Party};
use tollgate::domain::payment::{Method, Payment, PaymentId, PaymentOrder};
use uuid::Uuid;

pub const SETTINGS: &str = r#"{"limits": [
    {"currency": "EUR", "review_above_minor": 1000000, "maximum_minor": 5000000},
    {"currency": "EUR", "method": "instant", "maximum_minor": 1500000}
], "without_limit": "review"}"#;

/// The component as it was released for contract 1.0.0, which the bare forms call directly.
pub const COMPONENT: &[u8] = include_bytes!("../../tests/released/1.0.0/amount-limits.wasm");

/// The result of a form of the rule. The code is that of the reason, if there is one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleDecision {
    pub verdict: String,
    pub code: Option<String>,
}

impl RuleDecision {
    pub fn new(verdict: &str, code: Option<&str>) -> Self {
        Self { verdict: verdict.to_owned(), code: code.map(str::to_owned) }
    }
}

/// Payments on both sides of every bound, with their expected results.
pub fn examples() -> Vec<(Arc<Payment>, RuleDecision)> {
    let passes = RuleDecision::new("pass", None);
    let reviewed = RuleDecision::new("review", Some("amount-above-review-threshold"));
    let rejected = RuleDecision::new("reject", Some("amount-above-maximum"));
    let unknown = RuleDecision::new("review", Some("amount-without-limit"));
    vec![
        (payment(1_000_000, "EUR", Method::CreditTransfer), passes.clone()),
        (payment(1_000_001, "EUR", Method::CreditTransfer), reviewed.clone()),
        (payment(5_000_000, "EUR", Method::DirectDebit), reviewed),
        (payment(5_000_001, "EUR", Method::CreditTransfer), rejected.clone()),
        (payment(1_500_000, "EUR", Method::Instant), passes),
        (payment(1_500_001, "EUR", Method::Instant), rejected),
        (payment(1, "CHF", Method::Instant), unknown),
    ]
}

pub fn payment(minor: i64, currency: &str, method: Method) -> Arc<Payment> {
    let party = |name: &str, iban: &str, bank: &str| Party {
        account: Some(Account::Iban(Iban::parse(iban).expect("an IBAN"))),
        bank: Some(bank.to_owned()),
        country: Some(Country::parse(&iban[..2]).expect("a country")),
        ..Party::named(name)
    };
    let amount = Money::new(minor, Currency::parse(currency).expect("a currency")).expect("an amount");
    let debtor = party("Ada Lovelace", "DE89370400440532013000", "COBADEFFXXX");
    let creditor = party("Grace Hopper", "FR1420041010050500013M02606", "PSSTFRPPPAR");
    Arc::new(Payment {
        id: PaymentId(Uuid::from_u128(0x0193_9c5e_0000_7000_8000_0000_0000_0001)),
        received_at_ms: 1_793_000_000_000,
        order: PaymentOrder {
            customer: Some("customer-4711".to_owned()),
            device: Some("fp-9f8a7b".to_owned()),
            ip: Some([192, 0, 2, 7].into()),
            remittance: Some("Invoice 117 of October".to_owned()),
            metadata: vec![("order".to_owned(), "7".to_owned())],
            ..PaymentOrder::of("invoice-2026-000117", amount, debtor, creditor, method)
        },
    })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    limits: Vec<Limit>,
    without_limit: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Limit {
    currency: Option<String>,
    method: Option<String>,
    review_above_minor: Option<i64>,
    maximum_minor: Option<i64>,
}

impl Limits {
    pub fn parse(settings: &str) -> Self {
        serde_json::from_str(settings).expect("the settings are right")
    }

    pub fn decide(&self, payment: &Payment) -> RuleDecision {
        let order = &payment.order;
        let (currency, method) = (order.amount.currency(), order.method.name());
        let holding = self.limits.iter().filter(|limit| {
            limit.currency.as_deref().is_none_or(|code| code == currency.code())
                && limit.method.as_deref().is_none_or(|name| name == method)
        });
        let Some(limit) = holding.max_by_key(|limit| (limit.currency.is_some(), limit.method.is_some()))
        else {
            return RuleDecision::new(&self.without_limit, Some("amount-without-limit"));
        };
        let above = |bound: Option<i64>| bound.is_some_and(|bound| order.amount.minor() > bound);
        if above(limit.maximum_minor) {
            RuleDecision::new("reject", Some("amount-above-maximum"))
        } else if above(limit.review_above_minor) {
            RuleDecision::new("review", Some("amount-above-review-threshold"))
        } else {
            RuleDecision::new("pass", None)
        }
    }
}
