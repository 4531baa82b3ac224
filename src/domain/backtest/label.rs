//! What a payment is counted under in a report: what became of it.
//!
//! Owns which of several things that were told says most.

use serde::{Deserialize, Serialize};

/// What became of a payment: of all that was told, what says most.
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
    /// Nothing was told.
    None,
}

impl Label {
    /// What says more stands first.
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

    /// The kind of event that gives it, and `none`.
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
    fn everything_that_can_be_told_has_a_label_but_a_claim() {
        for kind in EventKind::ALL {
            assert_eq!(Label::parse(kind.name()).is_none(), kind == EventKind::Claimed, "{kind:?}");
        }
    }
}
