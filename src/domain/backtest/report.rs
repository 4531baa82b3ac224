//! The report of a backtest. Its size is bounded.
//!
//! Counting decisions one by one must give the same report as merging the reports of their parts in
//! the same order.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::label::Label;
use crate::domain::verdict::{Outcome, OutcomeReason, RuleResult, Verdict};

/// How many examples of each change are kept. The newest decisions are counted first, so these are
/// the newest.
const EXAMPLES_MAX: usize = 100;
/// At least this many examples of each label are kept, since rare labels such as fraud matter most.
const EXAMPLES_OF_LABEL_MIN: usize = 10;
/// The most reason codes of an example.
const CODES_MAX: usize = 10;

/// Why a decision could not be compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReplayObstacle {
    Erased,
    /// Its evidence or its revision is damaged, or was written by a newer version.
    Unreadable,
    /// The host stopped a rule at each attempt. Such a result says nothing about the rule.
    HostFailure,
}

impl ReplayObstacle {
    pub fn name(self) -> &'static str {
        match self {
            Self::Erased => "erased",
            Self::Unreadable => "unreadable",
            Self::HostFailure => "host_failure",
        }
    }
}

/// Payments in one currency and their total amount.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct PaymentSum {
    pub count: u64,
    /// Saturates.
    pub amount_minor: i64,
}

impl PaymentSum {
    fn add(&mut self, other: Self) {
        self.count += other.count;
        self.amount_minor = self.amount_minor.saturating_add(other.amount_minor);
    }
}

/// Sums by currency.
pub type CurrencySums = BTreeMap<String, PaymentSum>;

/// `[was][would be]`, both in the order of [`Outcome`].
pub type OutcomeMatrix = [[CurrencySums; 3]; 3];

/// How often a rule returned each verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct VerdictCounts {
    pub pass: u64,
    pub allow: u64,
    pub review: u64,
    pub reject: u64,
    pub failed: u64,
}

/// The verdict of one rule without its reasons.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VerdictKind {
    Pass,
    Allow,
    Review,
    Reject,
    Failed,
}

impl From<&RuleResult> for VerdictKind {
    fn from(result: &RuleResult) -> Self {
        match result.verdict() {
            Some(Verdict::Pass) => Self::Pass,
            Some(Verdict::Allow(_)) => Self::Allow,
            Some(Verdict::Review(_)) => Self::Review,
            Some(Verdict::Reject(_)) => Self::Reject,
            None => Self::Failed,
        }
    }
}

impl VerdictCounts {
    pub fn count(&mut self, said: VerdictKind) {
        match said {
            VerdictKind::Pass => self.pass += 1,
            VerdictKind::Allow => self.allow += 1,
            VerdictKind::Review => self.review += 1,
            VerdictKind::Reject => self.reject += 1,
            VerdictKind::Failed => self.failed += 1,
        }
    }

    fn add(&mut self, other: Self) {
        self.pass += other.pass;
        self.allow += other.allow;
        self.review += other.review;
        self.reject += other.reject;
        self.failed += other.failed;
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct RuleTally {
    pub baseline: VerdictCounts,
    pub candidate: VerdictCounts,
    /// Payments on which both ran and gave different verdicts.
    pub changed: u64,
}

/// A payment whose outcome changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Example {
    pub payment: Uuid,
    pub amount_minor: i64,
    pub currency: String,
    pub label: Label,
    pub was_codes: Vec<String>,
    pub would_be_codes: Vec<String>,
}

/// One side of a comparison.
#[derive(Debug)]
pub struct ComparisonSide<'a> {
    pub outcome: Outcome,
    pub reasons: &'a [OutcomeReason],
    /// The verdicts of the rules that ran.
    pub rules: Vec<(&'a str, VerdictKind)>,
}

/// The comparison of one decision.
#[derive(Debug)]
pub struct DecisionComparison<'a> {
    pub payment: Uuid,
    pub amount_minor: i64,
    pub currency: &'a str,
    pub label: Label,
    pub was: ComparisonSide<'a>,
    pub would_be: ComparisonSide<'a>,
    /// Whether `was` is the recorded outcome. Its rules may then be of any revision, and those that
    /// the candidate does not have are counted together.
    pub was_recorded: bool,
    /// Whether facts had to be computed that were not recorded.
    pub partly_computed: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct BacktestReport {
    pub partly_computed: u64,
    pub not_replayable: BTreeMap<ReplayObstacle, u64>,
    pub by_label: BTreeMap<Label, OutcomeMatrix>,
    pub rules: BTreeMap<String, RuleTally>,
    /// The verdicts of recorded rules that the candidate does not have.
    pub other_rules: VerdictCounts,
    /// `[was][would be]`. Empty where both are equal.
    pub examples: [[Vec<Example>; 3]; 3],
}

impl BacktestReport {
    pub fn compared(&self) -> u64 {
        self.by_label.values().flatten().flatten().flat_map(BTreeMap::values).map(|sum| sum.count).sum()
    }

    /// How many compared decisions would have another outcome.
    pub fn changed(&self) -> u64 {
        let count = |cell: &CurrencySums| cell.values().map(|sum| sum.count).sum::<u64>();
        let matrices = self.by_label.values();
        let cells = matrices.flat_map(|matrix| {
            (0..3).flat_map(move |was| (0..3).map(move |would_be| (was, would_be, &matrix[was][would_be])))
        });
        cells.filter(|(was, would_be, _)| was != would_be).map(|(_, _, cell)| count(cell)).sum()
    }

    /// The share of the compared decisions that changed, rounded up: 0 means no change at all.
    /// `None` if no decision was compared.
    pub fn changed_ten_thousandths(&self) -> Option<u64> {
        let compared = self.compared();
        (compared > 0).then(|| self.changed().saturating_mul(10_000).div_ceil(compared))
    }

    /// All labels together.
    pub fn overall(&self) -> OutcomeMatrix {
        let mut overall = OutcomeMatrix::default();
        self.by_label.values().for_each(|matrix| add_matrix(&mut overall, matrix));
        overall
    }

    pub fn count_not_replayable(&mut self, why: ReplayObstacle) {
        *self.not_replayable.entry(why).or_default() += 1;
    }

    pub fn count(&mut self, case: DecisionComparison<'_>) {
        self.partly_computed += u64::from(case.partly_computed);
        let (was, would_be) = (case.was.outcome as usize, case.would_be.outcome as usize);
        let cell = &mut self.by_label.entry(case.label).or_default()[was][would_be];
        let sum = PaymentSum { count: 1, amount_minor: case.amount_minor };
        match cell.get_mut(case.currency) {
            Some(known) => known.add(sum),
            None => drop(cell.insert(case.currency.to_owned(), sum)),
        }
        self.count_rules(&case);
        if was != would_be && has_room(&self.examples[was][would_be], case.label) {
            self.examples[was][would_be].push(Example {
                payment: case.payment,
                amount_minor: case.amount_minor,
                currency: case.currency.to_owned(),
                label: case.label,
                was_codes: codes(case.was.reasons),
                would_be_codes: codes(case.would_be.reasons),
            });
        }
    }

    fn count_rules(&mut self, case: &DecisionComparison<'_>) {
        let said_by = |side: &ComparisonSide<'_>, name: &str| {
            side.rules.iter().find(|(known, _)| *known == name).map(|(_, said)| *said)
        };
        for (name, said) in &case.would_be.rules {
            let changed = said_by(&case.was, name).is_some_and(|before| before != *said);
            let tally = self.tally(name);
            tally.candidate.count(*said);
            tally.changed += u64::from(changed);
        }
        for (name, said) in &case.was.rules {
            if case.was_recorded && said_by(&case.would_be, name).is_none() {
                self.other_rules.count(*said);
            } else {
                self.tally(name).baseline.count(*said);
            }
        }
    }

    fn tally(&mut self, name: &str) -> &mut RuleTally {
        self.rules.entry(name.to_owned()).or_default()
    }

    /// Adds the report of the decisions that follow.
    pub fn merge(&mut self, next: Self) {
        self.partly_computed += next.partly_computed;
        self.other_rules.add(next.other_rules);
        for (why, count) in next.not_replayable {
            *self.not_replayable.entry(why).or_default() += count;
        }
        for (label, matrix) in &next.by_label {
            add_matrix(self.by_label.entry(*label).or_default(), matrix);
        }
        for (name, more) in next.rules {
            let tally = self.rules.entry(name).or_default();
            tally.baseline.add(more.baseline);
            tally.candidate.add(more.candidate);
            tally.changed += more.changed;
        }
        let cells = self.examples.iter_mut().flatten().zip(next.examples.into_iter().flatten());
        for (kept, more) in cells {
            for example in more {
                if has_room(kept, example.label) {
                    kept.push(example);
                }
            }
        }
    }
}

fn has_room(kept: &[Example], label: Label) -> bool {
    let of_label = || kept.iter().filter(|example| example.label == label).count();
    kept.len() < EXAMPLES_MAX || of_label() < EXAMPLES_OF_LABEL_MIN
}

fn add_matrix(matrix: &mut OutcomeMatrix, more: &OutcomeMatrix) {
    for (cell, more) in matrix.iter_mut().flatten().zip(more.iter().flatten()) {
        for (currency, sum) in more {
            cell.entry(currency.clone()).or_default().add(*sum);
        }
    }
}

/// The codes in the order of the reasons, each once.
fn codes(reasons: &[OutcomeReason]) -> Vec<String> {
    let mut codes: Vec<String> = Vec::new();
    for reason in reasons.iter().filter(|reason| !reason.overridden) {
        if codes.len() < CODES_MAX && !codes.contains(&reason.reason.code) {
            codes.push(reason.reason.code.clone());
        }
    }
    codes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(report: &mut BacktestReport, number: u64) {
        let label = if number % 25 == 3 { Label::Fraud } else { Label::None };
        let was = if number.is_multiple_of(3) { Outcome::Approve } else { Outcome::Review };
        let gone = format!("rule-{number}");
        let side = |outcome, name, said| ComparisonSide {
            outcome,
            reasons: &[],
            rules: vec![("same", said), (name, said)],
        };
        report.count(DecisionComparison {
            payment: Uuid::from_u128(number.into()),
            amount_minor: i64::MAX / 100,
            currency: if number.is_multiple_of(2) { "EUR" } else { "USD" },
            label,
            was: side(was, &gone, VerdictKind::Pass),
            would_be: side(Outcome::Review, "new", VerdictKind::Review),
            was_recorded: true,
            partly_computed: number.is_multiple_of(7),
        });
    }

    #[test]
    fn the_parts_of_a_report_merge_into_the_whole_wherever_it_was_cut() {
        let mut whole = BacktestReport::default();
        (0..1_000).for_each(|number| count(&mut whole, number));
        for part in [1, 7, 128, 999] {
            let mut merged = BacktestReport::default();
            for first in (0..1_000).step_by(part) {
                let mut next = BacktestReport::default();
                (first..(first + part as u64).min(1_000)).for_each(|number| count(&mut next, number));
                merged.merge(next);
            }
            assert_eq!(merged, whole, "{part}");
        }
        let examples = &whole.examples[0][1];
        assert_eq!(examples.iter().filter(|example| example.label == Label::Fraud).count(), 10);
        assert!(examples.len() < EXAMPLES_MAX + EXAMPLES_OF_LABEL_MIN);
        assert_eq!((whole.compared(), whole.changed()), (1_000, 334));
        assert_eq!(whole.changed_ten_thousandths(), Some(3_340));
        assert_eq!((whole.rules.len(), whole.other_rules.pass), (2, 1_000));
        assert_eq!((whole.rules["same"].changed, whole.rules["new"].changed), (1_000, 0));
    }

    #[test]
    fn a_stored_report_is_read_back() {
        let mut report = BacktestReport::default();
        (0..20).for_each(|number| count(&mut report, number));
        report.count_not_replayable(ReplayObstacle::HostFailure);
        let stored = serde_json::to_string(&report).expect("JSON");
        assert_eq!(serde_json::from_str::<BacktestReport>(&stored).expect("a report"), report);
    }
}
