//! What rules say, and the fold that makes one outcome of it.

use serde::{Deserialize, Serialize};

/// The fold's version, recorded with every decision. A released fold is never
/// edited: a better one is a new function with the next number.
pub const FOLD_VERSION: u16 = 2;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reason {
    /// Lower-case words joined by hyphens, at most 64 characters.
    pub code: String,
    /// For people, at most 500 characters.
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
    /// For the evidence only.
    pub notes: Vec<String>,
}

/// From the mildest to the strictest, so that the strictest is the maximum.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Outcome {
    Approve,
    Review,
    Reject,
}

impl Outcome {
    /// As they are declared.
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

/// Why a rule gave no verdict. The deterministic classes come out the same when
/// they are computed again; the others are the host's doing and are recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum FailureClass {
    /// An `unreachable`: a panic of the rule's code.
    Unreachable,
    /// Any other trap of WebAssembly: bounds, division by zero, a bad indirect call.
    Trap,
    OutOfFuel,
    /// It asked for more memory or table than its profile allows.
    MemoryLimit,
    /// It answered with an error text of its own.
    RuleError,
    /// Its answer broke the contract: too large, malformed codes, not decodable.
    InvalidAnswer,
    /// Host: call stack exhausted; the depth depends on the compiled code.
    StackOverflow,
    /// Host: the wall-clock safety net.
    Deadline,
    /// Host: anything else, an instance that could not be made for one.
    Host,
}

impl FailureClass {
    /// As they are declared.
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

/// What became of one rule for one payment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum RuleResult {
    Ran(Evaluation),
    /// `detail` is for the rule's author and never decides anything.
    Failed {
        class: FailureClass,
        detail: String,
    },
    /// Not run: it failed too often before.
    Quarantined,
    /// Not run: its compiled code could not be had in time.
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

    /// The same for a run on another engine. Engines count fuel differently.
    pub fn is_reproducible_elsewhere(&self) -> bool {
        self.is_reproducible() && !self.is_out_of_fuel()
    }

    /// Whether two runs count as the same. The detail of a failure does not: its wording belongs
    /// to the engine.
    pub fn is_same_as(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Failed { class: one, .. }, Self::Failed { class: other, .. }) => one == other,
            (one, other) => one == other,
        }
    }
}

/// What an entry of the ruleset says its failure counts as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum FailureOutcome {
    Pass,
    Review,
    Reject,
}

impl FailureOutcome {
    pub fn name(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Review => "review",
            Self::Reject => "reject",
        }
    }

    pub fn parse(name: &str) -> Option<Self> {
        [Self::Pass, Self::Review, Self::Reject].into_iter().find(|outcome| outcome.name() == name)
    }
}

/// What the fold needs to know of one live rule.
#[derive(Debug, Clone, Copy)]
pub struct Vote<'a> {
    pub rule: &'a str,
    pub overridable: bool,
    pub on_failure: FailureOutcome,
    pub result: &'a RuleResult,
}

/// A reason together with the rule that gave it and what it pulled towards.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutcomeReason {
    /// Empty where the host itself is the author.
    pub rule: String,
    /// `allow`, `review` or `reject`.
    pub verdict: String,
    pub reason: Reason,
    /// An `allow` of another rule cancelled it.
    pub overridden: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FoldResult {
    pub outcome: Outcome,
    pub reasons: Vec<OutcomeReason>,
}

/// No active ruleset: a person must look.
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

/// The fold of a recorded version; nothing for one that this program does not know.
pub fn fold_of(version: u16) -> Option<fn(&[Vote<'_>]) -> FoldResult> {
    match version {
        1 => Some(fold_v1),
        2 => Some(fold_v2),
        _ => None,
    }
}

/// Fold version 1. Reviews and rejects of rules that are not overridable
/// stand; an `allow` cancels those of overridable rules only; then the
/// strictest wins. All reasons are kept, in the order of the rules.
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

/// Fold version 2: as the first, but a rule in quarantine pulls at least to
/// review, and no `allow` cancels that. Whoever could provoke its failures with
/// crafted payments must gain nothing by it.
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

/// The host's own reason for a rule that gave no verdict: says which rule and
/// why in words a client's developer understands, and nothing of its insides.
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
