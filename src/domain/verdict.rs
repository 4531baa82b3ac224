//! Verdicts and results of rules, and the folds that combine them into one outcome.

use serde::{Deserialize, Serialize};

/// The current fold version, recorded with every decision. A released fold must never be edited: a
/// change is a new function with the next number.
pub const FOLD_VERSION: u16 = 2;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reason {
    /// Lower-case words joined by hyphens, at most 64 characters.
    pub code: String,
    /// A text for people, at most 500 characters.
    pub message: String,
    /// JSON pointer (RFC 6901).
    pub field: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verdict {
    Pass,
    Allow(Vec<Reason>),
    Review(Vec<Reason>),
    Reject(Vec<Reason>),
}

impl Verdict {
    pub fn name(&self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Allow(_) => "allow",
            Self::Review(_) => "review",
            Self::Reject(_) => "reject",
        }
    }

    pub fn is_allow(&self) -> bool {
        matches!(self, Self::Allow(_))
    }

    pub fn reasons(&self) -> &[Reason] {
        match self {
            Self::Pass => &[],
            Self::Allow(reasons) | Self::Review(reasons) | Self::Reject(reasons) => reasons,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evaluation {
    pub verdict: Verdict,
    /// They are stored with the evidence and decide nothing.
    pub notes: Vec<String>,
}

/// In the order of strictness, so that the maximum is the strictest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Outcome {
    Approve,
    Review,
    Reject,
}

impl Outcome {
    /// In the order of declaration.
    pub const ALL: [Self; 3] = [Self::Approve, Self::Review, Self::Reject];

    pub fn name(self) -> &'static str {
        match self {
            Self::Approve => "approve",
            Self::Review => "review",
            Self::Reject => "reject",
        }
    }

    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|outcome| outcome.name() == name)
    }
}

/// Why a rule gave no verdict. A deterministic failure is the same in every run. The host causes
/// the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum FailureClass {
    /// An `unreachable` instruction: a panic of the rule.
    Unreachable,
    /// Any other trap: an access out of bounds, a division by zero, a bad indirect call.
    Trap,
    OutOfFuel,
    /// It asked for more memory or table entries than its profile allows.
    MemoryLimit,
    /// It returned an error with a text.
    RuleError,
    /// Its answer violates the contract: it is too large or malformed, or cannot be decoded.
    InvalidAnswer,
    /// Host: the call stack is exhausted. The depth depends on the compiled code.
    StackOverflow,
    /// Host: it ran for too long.
    Deadline,
    /// Host: anything else, for example no instance could be made.
    Host,
}

impl FailureClass {
    /// In the order of declaration.
    pub const ALL: [Self; 9] = [
        Self::Unreachable,
        Self::Trap,
        Self::OutOfFuel,
        Self::MemoryLimit,
        Self::RuleError,
        Self::InvalidAnswer,
        Self::StackOverflow,
        Self::Deadline,
        Self::Host,
    ];

    pub fn is_deterministic(self) -> bool {
        !matches!(self, Self::StackOverflow | Self::Deadline | Self::Host)
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::Trap => "trap",
            Self::OutOfFuel => "out-of-fuel",
            Self::MemoryLimit => "memory-limit",
            Self::RuleError => "rule-error",
            Self::InvalidAnswer => "invalid-answer",
            Self::StackOverflow => "stack-overflow",
            Self::Deadline => "deadline",
            Self::Host => "host",
        }
    }
}

/// The result of one rule on one payment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum RuleResult {
    Ran(Evaluation),
    /// `detail` is for the rule's author and decides nothing.
    Failed {
        class: FailureClass,
        detail: String,
    },
    /// Not run, because it had failed too often.
    Quarantined,
    /// Not run, because its compiled code could not be loaded in time.
    Unavailable,
}

impl RuleResult {
    /// The verdict, the class of the failure, or why the rule was not run.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Ran(evaluation) => evaluation.verdict.name(),
            Self::Failed { class, .. } => class.name(),
            Self::Quarantined => "quarantined",
            Self::Unavailable => "unavailable",
        }
    }

    pub fn verdict(&self) -> Option<&Verdict> {
        match self {
            Self::Ran(evaluation) => Some(&evaluation.verdict),
            _ => None,
        }
    }

    pub fn failure_class(&self) -> Option<FailureClass> {
        match self {
            Self::Failed { class, .. } => Some(*class),
            _ => None,
        }
    }

    pub fn is_out_of_fuel(&self) -> bool {
        self.failure_class() == Some(FailureClass::OutOfFuel)
    }

    /// Whether the result depends on nothing but the rule and its input, so that another run on
    /// the same engine gives the same result. Any other result says nothing about the rule.
    pub fn is_reproducible(&self) -> bool {
        match self {
            Self::Ran(_) => true,
            Self::Failed { class, .. } => class.is_deterministic(),
            Self::Quarantined | Self::Unavailable => false,
        }
    }

    /// Like [`Self::is_reproducible`], for another engine. Engines count fuel differently.
    pub fn is_reproducible_elsewhere(&self) -> bool {
        self.is_reproducible() && !self.is_out_of_fuel()
    }

    /// Whether two results count as the same. The detail of a failure is not compared, since its
    /// wording comes from the engine.
    pub fn is_same_as(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Failed { class: one, .. }, Self::Failed { class: other, .. }) => one == other,
            (one, other) => one == other,
        }
    }
}

/// What a failure of a rule counts as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum FailureOutcome {
    Pass,
    Review,
    Reject,
}

impl FailureOutcome {
    pub const ALL: [Self; 3] = [Self::Pass, Self::Review, Self::Reject];

    pub fn name(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Review => "review",
            Self::Reject => "reject",
        }
    }

    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|outcome| outcome.name() == name)
    }
}

/// One live rule for the fold.
#[derive(Debug, Clone, Copy)]
pub struct Vote<'a> {
    pub rule: &'a str,
    pub overridable: bool,
    pub on_failure: FailureOutcome,
    pub result: &'a RuleResult,
}

/// A reason, with the rule that gave it and the rule's verdict.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutcomeReason {
    /// Empty if the host itself gave the reason.
    pub rule: String,
    /// `allow`, `review` or `reject`. `pass` if the rule failed and that counts as a pass.
    pub verdict: String,
    pub reason: Reason,
    /// Whether the `allow` of another rule cancelled it.
    pub overridden: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FoldResult {
    pub outcome: Outcome,
    pub reasons: Vec<OutcomeReason>,
}

/// The outcome without an active ruleset.
pub fn no_active_ruleset() -> FoldResult {
    let reason = Reason {
        code: "no-active-ruleset".to_owned(),
        message: "No ruleset is active for payments, so this one waits for review.".to_owned(),
        field: None,
    };
    FoldResult {
        outcome: Outcome::Review,
        reasons: vec![OutcomeReason {
            rule: String::new(),
            verdict: Outcome::Review.name().to_owned(),
            reason,
            overridden: false,
        }],
    }
}

/// The fold of a recorded version. `None` if this program does not know the version.
pub fn fold_of(version: u16) -> Option<fn(&[Vote<'_>]) -> FoldResult> {
    match version {
        1 => Some(fold_v1),
        2 => Some(fold_v2),
        _ => None,
    }
}

/// Fold version 1. Reviews and rejects of rules that are not overridable stand. An `allow` cancels
/// only those of overridable rules. Of what remains, the strictest wins. All reasons are kept, in
/// the order of the rules.
pub fn fold_v1(votes: &[Vote<'_>]) -> FoldResult {
    let allowed = votes.iter().any(|vote| vote.result.verdict().is_some_and(Verdict::is_allow));
    let mut folded = FoldResult { outcome: Outcome::Approve, reasons: Vec::new() };
    for vote in votes {
        let (pull, reasons) = pull_of(vote);
        let overridden = allowed && vote.overridable && pull > Outcome::Approve;
        if !overridden {
            folded.outcome = folded.outcome.max(pull);
        }
        let verdict = match (vote.result, pull) {
            (RuleResult::Ran(evaluation), _) => evaluation.verdict.name(),
            (_, Outcome::Approve) => "pass",
            (_, stricter) => stricter.name(),
        };
        folded.reasons.extend(reasons.into_iter().map(|reason| OutcomeReason {
            rule: vote.rule.to_owned(),
            verdict: verdict.to_owned(),
            reason,
            overridden,
        }));
    }
    folded
}

/// Fold version 2: like version 1, but a rule in quarantine gives at least review, and no `allow`
/// cancels that. Otherwise an attacker could gain from making a rule fail with crafted payments.
pub fn fold_v2(votes: &[Vote<'_>]) -> FoldResult {
    fold_v1(&votes.iter().map(strict_in_quarantine).collect::<Vec<_>>())
}

fn strict_in_quarantine<'a>(vote: &Vote<'a>) -> Vote<'a> {
    if *vote.result != RuleResult::Quarantined {
        return *vote;
    }
    let on_failure = match vote.on_failure {
        FailureOutcome::Pass | FailureOutcome::Review => FailureOutcome::Review,
        FailureOutcome::Reject => FailureOutcome::Reject,
    };
    Vote { overridable: false, on_failure, ..*vote }
}

fn pull_of(vote: &Vote<'_>) -> (Outcome, Vec<Reason>) {
    match vote.result {
        RuleResult::Ran(Evaluation { verdict, .. }) => {
            let pull = match verdict {
                Verdict::Pass | Verdict::Allow(_) => Outcome::Approve,
                Verdict::Review(_) => Outcome::Review,
                Verdict::Reject(_) => Outcome::Reject,
            };
            (pull, verdict.reasons().to_vec())
        }
        failed => {
            let pull = match vote.on_failure {
                FailureOutcome::Pass => Outcome::Approve,
                FailureOutcome::Review => Outcome::Review,
                FailureOutcome::Reject => Outcome::Reject,
            };
            (pull, vec![failure_reason(vote.rule, failed)])
        }
    }
}

/// The host's reason for a rule that gave no verdict. Clients see it, so it must not contain the
/// failure's detail.
fn failure_reason(rule: &str, result: &RuleResult) -> Reason {
    let why = match result {
        RuleResult::Ran(_) => "gave a verdict",
        RuleResult::Quarantined => "is in quarantine because it failed too often",
        RuleResult::Unavailable => "is not ready to run yet",
        RuleResult::Failed { class, .. } => match class {
            FailureClass::Unreachable => "stopped itself in the middle of its work",
            FailureClass::Trap => "did something the sandbox forbids",
            FailureClass::OutOfFuel => "used up its computing budget",
            FailureClass::MemoryLimit => "asked for more memory than it may have",
            FailureClass::RuleError => "reported that it cannot judge this payment",
            FailureClass::InvalidAnswer => "gave an answer that the rule contract does not allow",
            FailureClass::StackOverflow => "called itself too deeply",
            FailureClass::Deadline => "took too long",
            FailureClass::Host => "could not be run",
        },
    };
    Reason { code: "rule-failed".to_owned(), message: format!("The rule {rule} {why}."), field: None }
}

#[cfg(test)]
#[path = "verdict_tests.rs"]
mod tests;
