//! What rules say, and the fold that makes one outcome of it.

use serde::{Deserialize, Serialize};

/// The fold's version, recorded with every decision. A released fold is never
/// edited: a better one is a new function with the next number.
pub const FOLD_VERSION: u16 = 1;

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
    pub fn name(self) -> &'static str {
        match self {
            Self::Approve => "approve",
            Self::Review => "review",
            Self::Reject => "reject",
        }
    }

    pub fn parse(name: &str) -> Option<Self> {
        [Self::Approve, Self::Review, Self::Reject].into_iter().find(|outcome| outcome.name() == name)
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
pub struct Folded {
    pub outcome: Outcome,
    pub reasons: Vec<OutcomeReason>,
}

/// No active ruleset: a person must look.
pub fn no_active_ruleset() -> Folded {
    let reason = Reason {
        code: "no-active-ruleset".to_owned(),
        message: "No ruleset is active for payments, so this one waits for review.".to_owned(),
        field: None,
    };
    Folded {
        outcome: Outcome::Review,
        reasons: vec![OutcomeReason {
            rule: String::new(),
            verdict: Outcome::Review.name().to_owned(),
            reason,
            overridden: false,
        }],
    }
}

/// Fold version 1. Reviews and rejects of rules that are not overridable
/// stand; an `allow` cancels those of overridable rules only; then the
/// strictest wins. All reasons are kept, in the order of the rules.
pub fn fold_v1(votes: &[Vote<'_>]) -> Folded {
    let allowed = votes
        .iter()
        .any(|vote| matches!(vote.result, RuleResult::Ran(Evaluation { verdict: Verdict::Allow(_), .. })));
    let mut folded = Folded { outcome: Outcome::Approve, reasons: Vec::new() };
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
mod tests {
    use super::*;

    fn reason(code: &str) -> Reason {
        Reason { code: code.to_owned(), message: String::new(), field: None }
    }

    fn ran(verdict: &str) -> RuleResult {
        let verdict = match verdict {
            "pass" => Verdict::Pass,
            "allow" => Verdict::Allow(vec![reason("allow")]),
            "review" => Verdict::Review(vec![reason("review")]),
            "reject" => Verdict::Reject(vec![reason("reject")]),
            other => panic!("no verdict {other}"),
        };
        RuleResult::Ran(Evaluation { verdict, notes: vec![] })
    }

    /// Each rule is `verdict` or `fails:<failure outcome>`, with `?` behind it when overridable.
    fn outcome_of(rules: &[&str]) -> Outcome {
        let parsed: Vec<_> = rules
            .iter()
            .map(|text| {
                let (text, overridable) = text.strip_suffix('?').map_or((*text, false), |text| (text, true));
                match text.strip_prefix("fails:") {
                    Some(outcome) => {
                        let failed =
                            RuleResult::Failed { class: FailureClass::OutOfFuel, detail: String::new() };
                        (failed, overridable, FailureOutcome::parse(outcome).expect("failure outcome"))
                    }
                    None => (ran(text), overridable, FailureOutcome::Review),
                }
            })
            .collect();
        let votes: Vec<_> = parsed
            .iter()
            .map(|(result, overridable, on_failure)| Vote {
                rule: "r",
                overridable: *overridable,
                on_failure: *on_failure,
                result,
            })
            .collect();
        fold_v1(&votes).outcome
    }

    #[test]
    fn the_strictest_verdict_that_is_not_overridden_wins() {
        use Outcome::{Approve, Reject, Review};
        let table: &[(&[&str], Outcome)] = &[
            (&[], Approve),
            (&["pass"], Approve),
            (&["allow"], Approve),
            (&["review"], Review),
            (&["reject"], Reject),
            (&["pass", "review"], Review),
            (&["review", "reject"], Reject),
            (&["reject", "review"], Reject),
            (&["review?"], Review),
            (&["reject?"], Reject),
            (&["allow", "review"], Review),
            (&["allow", "reject"], Reject),
            (&["allow", "review?"], Approve),
            (&["reject?", "allow"], Approve),
            (&["allow", "reject?", "review"], Review),
            (&["allow", "review?", "reject"], Reject),
            (&["fails:pass"], Approve),
            (&["fails:review"], Review),
            (&["fails:reject"], Reject),
            (&["fails:reject?", "allow"], Approve),
            (&["fails:reject", "allow"], Reject),
            (&["fails:review?", "pass"], Review),
        ];
        for (rules, expected) in table {
            assert_eq!(outcome_of(rules), *expected, "{rules:?}");
        }
    }

    #[test]
    fn all_reasons_are_kept_and_say_whether_they_were_overridden() {
        let (allow, review, reject) = (ran("allow"), ran("review"), ran("reject"));
        let vote = |rule, overridable, result| Vote {
            rule,
            overridable,
            on_failure: FailureOutcome::Review,
            result,
        };
        let folded = fold_v1(&[
            vote("friends", false, &allow),
            vote("size", true, &review),
            vote("law", false, &reject),
        ]);
        let told: Vec<_> =
            folded.reasons.iter().map(|r| (r.rule.as_str(), r.verdict.as_str(), r.overridden)).collect();
        assert_eq!(told, [("friends", "allow", false), ("size", "review", true), ("law", "reject", false)]);
        assert_eq!(folded.outcome, Outcome::Reject);
    }

    /// Reasons are compared on replay, so their words belong to the released fold.
    #[test]
    fn the_reasons_of_fold_version_1_never_change() {
        use FailureClass::{Deadline, Host, InvalidAnswer, MemoryLimit, OutOfFuel, RuleError};
        use FailureClass::{StackOverflow, Trap, Unreachable};
        let failed = |class| RuleResult::Failed { class, detail: String::new() };
        for (result, why) in [
            (failed(Unreachable), "stopped itself in the middle of its work"),
            (failed(Trap), "did something the sandbox forbids"),
            (failed(OutOfFuel), "used up its computing budget"),
            (failed(MemoryLimit), "asked for more memory than it may have"),
            (failed(RuleError), "reported that it cannot judge this payment"),
            (failed(InvalidAnswer), "gave an answer that the rule contract does not allow"),
            (failed(StackOverflow), "called itself too deeply"),
            (failed(Deadline), "took too long"),
            (failed(Host), "could not be run"),
            (RuleResult::Quarantined, "is in quarantine because it failed too often"),
            (RuleResult::Unavailable, "is not ready to run yet"),
        ] {
            let (on_failure, overridable, rule) = (FailureOutcome::Review, false, "r");
            let folded = fold_v1(&[Vote { rule, overridable, on_failure, result: &result }]);
            let found = &folded.reasons[0];
            assert_eq!((found.rule.as_str(), found.verdict.as_str()), ("r", "review"));
            assert_eq!((found.reason.code.as_str(), &found.reason.field), ("rule-failed", &None));
            assert_eq!(found.reason.message, format!("The rule r {why}."));
        }
        let nothing = &no_active_ruleset().reasons[0];
        assert_eq!((nothing.rule.as_str(), nothing.verdict.as_str()), ("", "review"));
        assert_eq!(nothing.reason.code, "no-active-ruleset");
        let message = "No ruleset is active for payments, so this one waits for review.";
        assert_eq!(nothing.reason.message, message);
    }

    #[test]
    fn a_failed_rule_gives_a_reason_that_names_it_and_why() {
        let failed =
            RuleResult::Failed { class: FailureClass::OutOfFuel, detail: "secret insides".to_owned() };
        let vote = Vote {
            rule: "velocity",
            overridable: false,
            on_failure: FailureOutcome::Review,
            result: &failed,
        };
        let folded = fold_v1(&[vote]);
        assert_eq!(folded.reasons[0].reason.code, "rule-failed");
        assert_eq!(folded.reasons[0].reason.message, "The rule velocity used up its computing budget.");
    }
}
