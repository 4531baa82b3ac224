//! Counters of decisions, for the metrics.
//!
//! No label may name a tenant, a rule or a plugin: each value would be a time series that never ends.

use metrics::Counter;

use crate::domain::decision::Decision;
use crate::domain::verdict::{FailureClass, Outcome};

const RESULTS: [&str; 7] = ["pass", "allow", "review", "reject", "failed", "quarantined", "unavailable"];

/// Registered at the start, so that every series exists before the first decision.
#[derive(Debug)]
pub struct DecisionCounts {
    outcomes: [Counter; Outcome::ALL.len()],
    results: [Counter; RESULTS.len()],
    failures: [Counter; FailureClass::ALL.len()],
}

impl Default for DecisionCounts {
    fn default() -> Self {
        Self {
            outcomes: Outcome::ALL
                .map(|outcome| metrics::counter!("tollgate_decisions_total", "outcome" => outcome.name())),
            results: RESULTS.map(|result| metrics::counter!("tollgate_rule_runs_total", "result" => result)),
            failures: FailureClass::ALL
                .map(|class| metrics::counter!("tollgate_rule_failures_total", "class" => class.name())),
        }
    }
}

impl DecisionCounts {
    /// Counts a decision that was stored for the first time.
    pub fn count(&self, decision: &Decision) {
        self.outcomes[decision.outcome as usize].increment(1);
        // A rule in shadow mode has no result.
        for result in decision.evidence.rules.iter().filter_map(|rule| rule.result.as_ref()) {
            let name = match result.failure_class() {
                Some(class) => {
                    self.failures[class as usize].increment(1);
                    "failed"
                }
                None => result.name(),
            };
            if let Some(place) = RESULTS.iter().position(|result| *result == name) {
                self.results[place].increment(1);
            }
        }
    }
}
