//! Events of a payment after its decision, as clients report them.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::payment::PaymentId;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum EventKind {
    /// A person started the review.
    Claimed,
    /// A person ended the review with approval.
    Approved,
    Rejected,
    /// The review was not decided in time.
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
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PaymentEvent {
    pub id: Uuid,
    pub payment: PaymentId,
    pub kind: EventKind,
    /// When it happened, according to the client.
    pub at_ms: u64,
    /// When it was recorded.
    pub recorded_at_ms: u64,
    pub actor: String,
    /// Empty if there is none.
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
}
