//! Quarantine: a live rule that fails too often is not run until a person lifts the quarantine.

use uuid::Uuid;

use super::plugin::Digest;
use super::ruleset::DecisionPoint;
use super::verdict::{FailureClass, RuleResult};

/// Identifies a rule by what it does, so that a new revision with the same rule does not end its
/// quarantine.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RuleIdentity {
    pub point: DecisionPoint,
    pub rule: String,
    /// SHA-256 over the plugin and its prepared settings.
    pub binding: Digest,
}

/// When a rule goes into quarantine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QuarantineThreshold {
    pub failures_min: u32,
    /// The share of failures among the runs in the window.
    pub share_percent: u32,
    pub window_ms: u64,
}

/// The runs of a rule in the window.
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

/// What a result says about the rule itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Conduct {
    Worked,
    Failed(FailureClass),
}

impl Conduct {
    /// `None` if the host could not run the rule, or the rule was not run.
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
    /// The revision that decided when the quarantine was opened.
    pub revision: i32,
    pub failures: u64,
    /// The runs in the window, including the failures.
    pub runs: u64,
    /// The name of the failure class.
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
