//! What became of a payment after its decision.

use uuid::Uuid;

use super::payment::PaymentId;

/// By the word it is stored and told under.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EventKind {
    /// Somebody took the review on.
    Claimed,
    /// A review ended so.
    Approved,
    Rejected,
    /// Nobody decided the review in time.
    Expired,
    Cancelled,
    Settled,
    Failed,
    Refunded,
    Fraud,
}

impl EventKind {
    pub const ALL: [Self; 9] = [
        Self::Claimed,
        Self::Approved,
        Self::Rejected,
        Self::Expired,
        Self::Cancelled,
        Self::Settled,
        Self::Failed,
        Self::Refunded,
        Self::Fraud,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Claimed => "claimed",
            Self::Approved => "approved",
            Self::Rejected => "rejected",
            Self::Expired => "expired",
            Self::Cancelled => "cancelled",
            Self::Settled => "settled",
            Self::Failed => "failed",
            Self::Refunded => "refunded",
            Self::Fraud => "fraud",
        }
    }

    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// How much it says about what became of the payment; zero says nothing.
    fn weight(self) -> u8 {
        match self {
            Self::Claimed => 0,
            Self::Approved => 1,
            Self::Settled => 2,
            Self::Expired => 3,
            Self::Rejected => 4,
            Self::Cancelled => 5,
            Self::Failed => 6,
            Self::Refunded => 7,
            Self::Fraud => 8,
        }
    }
}

/// Of all that was told of a payment, in whatever order, the event that says
/// most about what became of it: money that came back says more than money that went.
pub fn label_of(kinds: impl Iterator<Item = EventKind>) -> Option<EventKind> {
    kinds.filter(|kind| kind.weight() > 0).max_by_key(|kind| kind.weight())
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PaymentEvent {
    pub id: Uuid,
    pub payment: PaymentId,
    pub kind: EventKind,
    /// When it happened, as told.
    pub at_ms: u64,
    /// When it was told.
    pub recorded_at_ms: u64,
    pub actor: String,
    /// Empty when there is none.
    pub note: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_read_back_from_its_name() {
        for kind in EventKind::ALL {
            assert_eq!(EventKind::parse(kind.name()), Some(kind));
        }
        assert_eq!(EventKind::parse("Fraud"), None);
    }

    #[test]
    fn what_says_more_wins_in_whatever_order_it_was_told() {
        use EventKind::{Approved, Cancelled, Claimed, Expired, Failed, Fraud, Refunded, Rejected, Settled};
        let strongest_first = [Fraud, Refunded, Failed, Cancelled, Rejected, Expired, Settled, Approved];
        for (place, strongest) in strongest_first.into_iter().enumerate() {
            let rest = &strongest_first[place..];
            assert_eq!(label_of(rest.iter().copied()), Some(strongest));
            assert_eq!(label_of(rest.iter().rev().copied().chain([Claimed])), Some(strongest));
        }
    }

    #[test]
    fn a_payment_that_was_only_claimed_has_no_label() {
        assert_eq!(label_of([].into_iter()), None);
        assert_eq!(label_of([EventKind::Claimed].into_iter()), None);
    }
}
