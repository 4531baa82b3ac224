//! The label under which a report counts a payment, from the payment's events.

use serde::{Deserialize, Serialize};

/// The reported event of a payment that comes first in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Label {
    Fraud,
    Refunded,
    Failed,
    Cancelled,
    Rejected,
    Expired,
    Settled,
    Approved,
    /// No event was reported.
    None,
}

impl Label {
    /// In the order of precedence.
    pub const ALL: [Self; 9] = [
        Self::Fraud,
        Self::Refunded,
        Self::Failed,
        Self::Cancelled,
        Self::Rejected,
        Self::Expired,
        Self::Settled,
        Self::Approved,
        Self::None,
    ];

    /// The name of the event kind, or `none`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Fraud => "fraud",
            Self::Refunded => "refunded",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Rejected => "rejected",
            Self::Expired => "expired",
            Self::Settled => "settled",
            Self::Approved => "approved",
            Self::None => "none",
        }
    }

    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|label| label.name() == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::payment_event::EventKind;

    #[test]
    fn every_label_is_stored_and_read_by_its_name() {
        for label in Label::ALL {
            assert_eq!(serde_json::to_value(label).expect("JSON"), label.name());
            assert_eq!(Label::parse(label.name()), Some(label));
        }
    }

    #[test]
    fn every_event_except_a_claim_has_a_label() {
        for kind in EventKind::ALL {
            assert_eq!(Label::parse(kind.name()).is_none(), kind == EventKind::Claimed, "{kind:?}");
        }
    }
}
