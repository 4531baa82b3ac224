//! The events that follow a payment, and what another system decided.
//!
//! The probabilities depend on the payer, the outcome and the random numbers only.

use super::payer_kind::PayerKind;
use super::random::Random;
use super::traffic::Order;

const MINUTE_MS: u64 = 60_000;
const HOUR_MS: u64 = 60 * MINUTE_MS;
const DAY_MS: u64 = 24 * HOUR_MS;

/// The account that is blocked on the demonstration's lists.
const BLOCKED: &str = "GB33BUKB20201555555555";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DemoEvent {
    /// The API's name of the kind.
    pub kind: &'static str,
    /// The time since the decision.
    pub after_ms: u64,
    pub note: &'static str,
}

/// What a system without Tollgate's rules might have decided. It checks amounts and blocked
/// accounts, and approves many payments that turn out to be fraud.
pub fn past_outcome(order: &Order, random: &mut Random) -> &'static str {
    if order.payer == PayerKind::TypingError || order.creditor_account() == BLOCKED {
        return "reject";
    }
    match order.payer {
        PayerKind::CardTester if random.chance(250) => "reject",
        PayerKind::Mule if random.chance(200) => "review",
        _ if order.amount_minor() > 5_000_000 => "reject",
        _ if order.amount_minor() > 1_500_000 => "review",
        _ if random.chance(8) => "review",
        _ => "approve",
    }
}

/// The events that follow, in the order of their times.
pub fn aftermath(payer: PayerKind, outcome: &str, random: &mut Random) -> Vec<DemoEvent> {
    let mut happenings = Vec::new();
    let mut since_ms = 0;
    if outcome == "review" {
        let suspect = matches!(payer, PayerKind::CardTester | PayerKind::Mule);
        since_ms = random.skewed(2 * MINUTE_MS, 20 * HOUR_MS);
        let (kind, note) = match random.below(1_000) {
            0..30 => ("expired", "not reviewed in time"),
            30..800 if suspect => ("rejected", "the pattern is known"),
            30..120 => ("rejected", "the payer did not confirm"),
            _ => ("approved", "the payer confirmed"),
        };
        happenings.push(DemoEvent { kind, after_ms: since_ms, note });
        if kind != "approved" {
            return happenings;
        }
    } else if outcome != "approve" {
        return happenings;
    }
    let mut add = |kind, after_ms, note| happenings.push(DemoEvent { kind, after_ms, note });
    if random.chance(12) {
        add("failed", since_ms + random.between(1_000, HOUR_MS), "the bank returned it");
        return happenings;
    }
    if random.chance(4) {
        add("cancelled", since_ms + random.between(1_000, 10 * MINUTE_MS), "by the payer");
        return happenings;
    }
    let settled_ms = since_ms + random.skewed(2_000, 2 * DAY_MS);
    add("settled", settled_ms, "");
    let fraud_per_mille = match payer {
        PayerKind::CardTester => 850,
        PayerKind::Mule => 650,
        PayerKind::Shopper | PayerKind::Traveller => 6,
        _ => 1,
    };
    if random.chance(fraud_per_mille) {
        add("fraud", settled_ms + random.between(HOUR_MS, 20 * DAY_MS), "reported by the payer");
    } else if matches!(payer, PayerKind::Shopper | PayerKind::Subscription | PayerKind::Traveller)
        && random.chance(35)
    {
        add("refunded", settled_ms + random.between(HOUR_MS, 14 * DAY_MS), "goods sent back");
    }
    happenings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn share(payer: PayerKind, outcome: &str, kind: &str) -> usize {
        let mut random = Random::new(1);
        (0..1_000)
            .filter(|_| aftermath(payer, outcome, &mut random).iter().any(|happening| happening.kind == kind))
            .count()
    }

    #[test]
    fn most_is_settled_and_most_of_a_card_testers_is_fraud() {
        assert!(share(PayerKind::Shopper, "approve", "settled") > 950);
        assert!((1..100).contains(&share(PayerKind::Shopper, "approve", "refunded")));
        assert!((1..30).contains(&share(PayerKind::Shopper, "approve", "fraud")));
        assert!(share(PayerKind::CardTester, "approve", "fraud") > 700);
        assert!(share(PayerKind::Invoice, "review", "approved") > 750);
        assert!(share(PayerKind::Mule, "review", "rejected") > 600);
        assert_eq!(aftermath(PayerKind::Listed, "reject", &mut Random::new(1)), []);
    }
}
