//! What the rules of a revision did in a sample of its decisions: verdicts, costs, the last failure.
//!
//! Percentiles are of the decisions in the sample, by nearest rank. They must not be estimated.

use super::backtest::report::VerdictCounts;
use super::decision::{Evidence, RuleEvidence};
use super::payment::PaymentId;
use super::verdict::{FailureClass, RuleResult};

/// What one rule did in the sample.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleReport {
    pub rule: String,
    /// The verdicts of its runs, and how many of them failed.
    pub verdicts: VerdictCounts,
    /// How often it was not run: in quarantine, or because it could not be loaded in time.
    pub not_run: u64,
    /// `None` if it never ran.
    pub costs: Option<RuleCosts>,
    pub last_failure: Option<RuleFailure>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RuleCosts {
    pub elapsed_us_p50: u32,
    pub elapsed_us_p99: u32,
    pub fuel_p50: u64,
    pub fuel_p99: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleFailure {
    pub payment: PaymentId,
    pub received_at_ms: u64,
    pub class: FailureClass,
    pub detail: String,
}

/// Counts decisions, the newest first.
#[derive(Debug, Default)]
pub struct RuleSample {
    rules: Vec<RuleRuns>,
}

#[derive(Debug, Default)]
struct RuleRuns {
    rule: String,
    verdicts: VerdictCounts,
    not_run: u64,
    elapsed_us: Vec<u32>,
    fuel: Vec<u64>,
    last_failure: Option<RuleFailure>,
}

impl RuleSample {
    pub fn add(&mut self, payment: PaymentId, evidence: Evidence) {
        let received_at_ms = evidence.payment.received_at_ms;
        for rule in evidence.rules {
            let RuleEvidence { name, result: Some(result), fuel_used, elapsed_us, .. } = rule else {
                continue;
            };
            let runs = self.runs_of(name);
            if matches!(result, RuleResult::Quarantined | RuleResult::Unavailable) {
                runs.not_run += 1;
                continue;
            }
            runs.verdicts.count((&result).into());
            runs.elapsed_us.push(elapsed_us);
            runs.fuel.push(fuel_used);
            if let (RuleResult::Failed { class, detail }, None) = (result, &runs.last_failure) {
                runs.last_failure = Some(RuleFailure { payment, received_at_ms, class, detail });
            }
        }
    }

    fn runs_of(&mut self, rule: String) -> &mut RuleRuns {
        let place = self.rules.iter().position(|known| known.rule == rule).unwrap_or_else(|| {
            self.rules.push(RuleRuns { rule, ..RuleRuns::default() });
            self.rules.len() - 1
        });
        &mut self.rules[place]
    }

    /// The reports in the order of the rules in the newest decision.
    pub fn reports(self) -> Vec<RuleReport> {
        self.rules.into_iter().map(RuleRuns::report).collect()
    }
}

impl RuleRuns {
    fn report(mut self) -> RuleReport {
        self.elapsed_us.sort_unstable();
        self.fuel.sort_unstable();
        let costs = || {
            Some(RuleCosts {
                elapsed_us_p50: percentile(&self.elapsed_us, 50)?,
                elapsed_us_p99: percentile(&self.elapsed_us, 99)?,
                fuel_p50: percentile(&self.fuel, 50)?,
                fuel_p99: percentile(&self.fuel, 99)?,
            })
        };
        let costs = costs();
        let Self { rule, verdicts, not_run, last_failure, .. } = self;
        RuleReport { rule, verdicts, not_run, costs, last_failure }
    }
}

/// The smallest value that at least this share of all values does not exceed.
fn percentile<T: Copy>(sorted: &[T], percent: usize) -> Option<T> {
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted.get(rank.saturating_sub(1)).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_the_value_of_its_nearest_rank() {
        let hundred: Vec<u32> = (1..=100).collect();
        for (sorted, percent, expected) in [
            (&hundred[..], 50, Some(50)),
            (&hundred[..], 99, Some(99)),
            (&hundred[..10], 99, Some(10)),
            (&hundred[..1], 50, Some(1)),
            (&hundred[..2], 50, Some(1)),
            (&[], 99, None),
        ] {
            assert_eq!(percentile(sorted, percent), expected, "{percent} of {}", sorted.len());
        }
    }
}
