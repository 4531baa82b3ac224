//! Rulesets: the rules of a tenant for a decision point, in immutable revisions.

use serde::{Deserialize, Serialize};

use super::plugin::{Digest, Profile};
use super::selector::FactQuery;
use super::verdict::FailureOutcome;

/// The most rules of one revision: with the fuel of a rule it bounds a decision.
pub const RULES_MAX: usize = 50;

/// The most different questions that the rules of one revision may ask. Each
/// payment asks them all, and one by prefix compares with up to 140 texts.
pub const QUERIES_MAX: usize = 128;

/// Where a ruleset decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum DecisionPoint {
    Payment,
}

impl DecisionPoint {
    pub fn name(self) -> &'static str {
        match self {
            Self::Payment => "payment",
        }
    }

    pub fn parse(name: &str) -> Option<Self> {
        (name == Self::Payment.name()).then_some(Self::Payment)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Mode {
    Live,
    /// Facts are fetched and kept, the outcome is not touched.
    Shadow,
}

impl Mode {
    pub fn name(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Shadow => "shadow",
        }
    }

    pub fn parse(name: &str) -> Option<Self> {
        [Self::Live, Self::Shadow].into_iter().find(|mode| mode.name() == name)
    }
}

/// A plugin bound into a ruleset, as the administrator wrote it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleEntry {
    /// Unique in its revision: lower-case words joined by hyphens, at most 64 characters.
    pub name: String,
    pub plugin: Digest,
    /// JSON text.
    pub settings: String,
    pub on_failure: FailureOutcome,
    pub overridable: bool,
    pub mode: Mode,
}

/// An entry with what the rule's own `prepare` made of its settings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PreparedRule {
    pub entry: RuleEntry,
    pub profile: Profile,
    pub queries: Vec<FactQuery>,
    pub state: Vec<u8>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revision {
    pub point: DecisionPoint,
    /// From 1, per tenant and decision point.
    pub number: i32,
    /// Of the stored form of `rules`.
    pub digest: Digest,
    pub rules: Vec<PreparedRule>,
    pub note: String,
    pub created_by: String,
    pub created_at_ms: u64,
}

/// One line of the append-only activation log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Activation {
    /// Rises over all tenants; nodes poll it.
    pub sequence: i64,
    pub point: DecisionPoint,
    pub revision: i32,
    pub activated_by: String,
    pub activated_at_ms: u64,
}

/// Lower-case words of letters and digits joined by hyphens, at most 64 characters.
pub fn is_slug(text: &str) -> bool {
    text.len() <= 64
        && text.split('-').all(|word| {
            !word.is_empty() && word.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slug_is_lower_case_words_joined_by_hyphens() {
        for (text, expected) in [
            ("velocity", true),
            ("card-velocity-24h", true),
            ("", false),
            ("-a", false),
            ("a--b", false),
            ("Velocity", false),
            ("a_b", false),
        ] {
            assert_eq!(is_slug(text), expected, "{text}");
        }
        assert!(!is_slug(&"a".repeat(65)));
    }
}
