//! Quarantine: a live rule that fails too often is not run until a person lifts it.

use uuid::Uuid;

use super::plugin::Digest;
use super::ruleset::DecisionPoint;
use super::verdict::{FailureClass, RuleResult};

/// A rule as what it is: a new revision with the same one is not set free unseen.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RuleIdentity {
    pub point: DecisionPoint,
    pub rule: String,
    /// SHA-256 over the plugin and its prepared settings.
    pub binding: Digest,
}

/// From when on a rule counts as broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QuarantineThreshold {
    pub failures_min: u32,
    /// Of the runs in the window.
    pub share_percent: u32,
    pub window_ms: u64,
}

/// What a rule did within the window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RunCounts {
    pub runs: u32,
    pub failures: u32,
}

impl QuarantineThreshold {
    pub fn is_reached(&self, record: RunCounts) -> bool {
        let (failures, runs) = (u64::from(record.failures), u64::from(record.runs));
        record.failures >= self.failures_min && failures * 100 >= runs * u64::from(self.share_percent)
    }
}

/// What a result says about the rule itself. What the host did to it, or that it
/// was not run at all, says nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Conduct {
    Worked,
    Failed(FailureClass),
}

impl Conduct {
    /// `None` if the host could not run the rule, or if it was not run at all.
    pub fn of(result: &RuleResult) -> Option<Self> {
        match result {
            RuleResult::Ran(_) => Some(Self::Worked),
            RuleResult::Failed { class: FailureClass::Host, .. } => None,
            RuleResult::Failed { class, .. } => Some(Self::Failed(*class)),
            RuleResult::Quarantined | RuleResult::Unavailable => None,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quarantine {
    pub id: Uuid,
    pub identity: RuleIdentity,
    /// The revision that decided when it was opened.
    pub revision: i32,
    pub failures: u64,
    /// In the window, the failures among them.
    pub runs: u64,
    /// Its class by name.
    pub last_failure: String,
    pub opened_at_ms: u64,
    pub lifted: Option<QuarantineLift>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuarantineLift {
    pub at_ms: u64,
    pub by: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_the_number_and_the_share_of_failures_must_be_reached() {
        let threshold = QuarantineThreshold { failures_min: 20, share_percent: 50, window_ms: 60_000 };
        for (failures, runs, reached) in [
            (0, 0, false),
            (19, 19, false),
            (20, 20, true),
            (20, 40, true),
            (20, 41, false),
            (500, 1_000, true),
        ] {
            assert_eq!(threshold.is_reached(RunCounts { runs, failures }), reached, "{failures} of {runs}");
        }
    }
}
