//! Reviews: payments that wait for a person, and what became of them.
//!
//! A review never changes the decision; it says what a person made of it.

use std::fmt;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::payment_event::EventKind;

/// The id of a decision, or one of its own if an event opened the review.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ReviewId(pub Uuid);

impl fmt::Display for ReviewId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReviewState {
    Open,
    /// A person works on it, until the claim ends.
    Claimed,
    Decided,
    /// Nobody decided in time.
    Expired,
}

impl ReviewState {
    pub const ALL: [Self; 4] = [Self::Open, Self::Claimed, Self::Decided, Self::Expired];

    pub fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Claimed => "claimed",
            Self::Decided => "decided",
            Self::Expired => "expired",
        }
    }

    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.name() == name)
    }
}

/// What opened a review.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReviewCause {
    Decision,
    Event,
}

impl ReviewCause {
    pub const ALL: [Self; 2] = [Self::Decision, Self::Event];

    pub fn name(self) -> &'static str {
        match self {
            Self::Decision => "decision",
            Self::Event => "event",
        }
    }

    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|cause| cause.name() == name)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReviewOutcome {
    Approve,
    Reject,
}

impl ReviewOutcome {
    pub const ALL: [Self; 2] = [Self::Approve, Self::Reject];

    pub fn name(self) -> &'static str {
        match self {
            Self::Approve => "approve",
            Self::Reject => "reject",
        }
    }

    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|outcome| outcome.name() == name)
    }
}

/// In characters.
pub const NOTE_LENGTH_MAX: usize = 2_000;

/// The lease of a tenant that has set nothing.
pub const LEASE_MIN_DEFAULT: u32 = 15;

pub const LEASE_MIN_MAX: u32 = 1_440;

/// A year.
pub const EXPIRES_AFTER_MIN_MAX: u32 = 525_600;

const MINUTE_MS: u64 = 60_000;

/// When a review that nobody decides ends by itself, whoever has claimed it, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReviewExpiry {
    pub after_min: u32,
    pub outcome: ReviewOutcome,
}

impl ReviewExpiry {
    pub fn after_ms(self) -> u64 {
        u64::from(self.after_min) * MINUTE_MS
    }
}

/// How a tenant reviews.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReviewSettings {
    /// For how long a claim holds before it must be renewed.
    pub lease_min: u32,
    /// `None` means never.
    pub expiry: Option<ReviewExpiry>,
    /// Events of these kinds open a review.
    pub event_kinds: Vec<EventKind>,
}

impl ReviewSettings {
    pub fn lease_ms(&self) -> u64 {
        u64::from(self.lease_min) * MINUTE_MS
    }
}

impl Default for ReviewSettings {
    fn default() -> Self {
        Self { lease_min: LEASE_MIN_DEFAULT, expiry: None, event_kinds: Vec::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_read_back() {
        for state in ReviewState::ALL {
            assert_eq!(ReviewState::parse(state.name()), Some(state));
        }
        for cause in ReviewCause::ALL {
            assert_eq!(ReviewCause::parse(cause.name()), Some(cause));
        }
        for outcome in ReviewOutcome::ALL {
            assert_eq!(ReviewOutcome::parse(outcome.name()), Some(outcome));
        }
    }
}
