//! The stream of payments: a mixture of payers, alone or in bursts.
//!
//! It depends only on its seed. Must never read a clock: the sender adds the time.

use std::collections::VecDeque;

use serde_json::{Value, json};

use super::payer_kind::PayerKind;
use super::payers::Payers;
use super::random::Random;

/// A payment to send.
#[derive(Debug, Clone, PartialEq)]
pub struct Order {
    pub payer: PayerKind,
    /// The position in a burst, from 0.
    pub burst_place: u64,
    /// The time between the payer's request and the sending.
    delay_ms: u64,
    payment: Value,
}

impl Order {
    /// The request body of a payment that is sent at this time.
    pub fn body(&self, received_at_ms: u64) -> Value {
        let mut body = self.payment.clone();
        body["requested_at_ms"] = json!(received_at_ms.saturating_sub(self.delay_ms));
        body
    }

    #[cfg(test)]
    fn reference(&self) -> &str {
        self.payment["reference"].as_str().unwrap_or_default()
    }

    pub fn amount_minor(&self) -> u64 {
        self.payment["amount_minor"].as_u64().unwrap_or_default()
    }

    pub fn creditor_account(&self) -> &str {
        self.payment["creditor"]["account"]["iban"].as_str().unwrap_or_default()
    }
}

/// An endless stream of payments.
#[derive(Debug)]
pub struct Traffic {
    random: Random,
    payers: Payers,
    /// Part of every reference, so that the references differ between runs.
    tag: String,
    number: u64,
    burst: VecDeque<Order>,
}

impl Traffic {
    pub fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let tag = random.letters(6).to_ascii_uppercase();
        Self { random, payers: Payers::new(seed), tag, number: 0, burst: VecDeque::new() }
    }

    pub fn next(&mut self) -> Order {
        // Sometimes another payment is sent between the payments of a burst.
        if self.random.chance(700)
            && let Some(order) = self.burst.pop_front()
        {
            return order;
        }
        let payer = self.who();
        let payments = self.payers.payments(payer, &mut self.random);
        let mut orders: VecDeque<Order> = (0..)
            .zip(payments)
            .map(|(burst_place, payment)| self.order(payer, burst_place, payment))
            .collect();
        match orders.pop_front() {
            Some(first) => {
                self.burst.append(&mut orders);
                first
            }
            None => self.next(),
        }
    }

    /// Chooses the next payer. Bursts do not overlap.
    fn who(&mut self) -> PayerKind {
        let may_burst = self.burst.is_empty();
        let candidates = PayerKind::ALL.into_iter().filter(|payer| may_burst || !payer.bursts());
        let total: u64 = candidates.clone().map(PayerKind::weight).sum();
        let mut left = self.random.below(total);
        for payer in candidates {
            if left < payer.weight() {
                return payer;
            }
            left -= payer.weight();
        }
        PayerKind::Shopper
    }

    fn order(&mut self, payer: PayerKind, burst_place: u64, mut payment: Value) -> Order {
        self.number += 1;
        payment["reference"] = json!(format!("{}-{:07}", self.tag, self.number));
        Order { payer, burst_place, delay_ms: self.random.skewed(20, 4_000), payment }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;
    use crate::http::routes::payments::import_line::{self, AcceptedLines};

    const NOW_MS: u64 = 1_790_000_000_000;

    fn traffic(seed: u64) -> Vec<Order> {
        let mut traffic = Traffic::new(seed);
        (0..20_000).map(|_| traffic.next()).collect()
    }

    #[test]
    fn every_payment_is_read_by_the_api_and_every_kind_of_payer_occurs() {
        let orders = traffic(1);
        let mut counts: BTreeMap<PayerKind, u32> = BTreeMap::new();
        for order in &orders {
            *counts.entry(order.payer).or_default() += 1;
            let line = json!({"payment": order.body(NOW_MS), "received_at_ms": NOW_MS, "outcome": "approve"});
            let read = import_line::read(line.to_string().as_bytes(), NOW_MS, AcceptedLines::USUAL);
            assert!(read.as_ref().is_ok_and(|read| read.refused_now.is_empty()), "{line}: {read:?}");
        }
        for payer in PayerKind::ALL {
            assert!(counts.get(&payer).is_some_and(|count| *count > 100), "{}: {counts:?}", payer.name());
        }
        let references: BTreeSet<&str> = orders.iter().map(Order::reference).collect();
        assert_eq!(references.len(), orders.len(), "each has its own reference");
    }

    #[test]
    fn the_same_seed_gives_the_same_payments_and_another_seed_others() {
        assert!(traffic(3) == traffic(3));
        let (third, fourth) = (traffic(3), traffic(4));
        assert!(third.iter().zip(&fourth).all(|(a, b)| a.reference() != b.reference()));
    }

    #[test]
    fn a_card_tester_uses_many_cards_on_one_device() {
        let orders = traffic(5);
        let first = orders.iter().position(|order| order.payer == PayerKind::CardTester).expect("one");
        let device = &orders[first].payment["device"];
        let burst: Vec<&Order> =
            orders[first..first + 100].iter().filter(|order| order.payment["device"] == *device).collect();
        assert!(burst.len() >= 8, "{}", burst.len());
        let cards: BTreeSet<String> =
            burst.iter().map(|order| order.payment["card"]["fingerprint"].to_string()).collect();
        assert_eq!(cards.len(), burst.len());
    }
}
