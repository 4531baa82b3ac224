//! The folds, as tables, and the texts of their reasons.

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

/// Each rule is `<verdict>` or `fails:<failure outcome>`, followed by `?` if it is overridable.
fn outcome_of(rules: &[&str]) -> Outcome {
    let parsed: Vec<_> = rules
        .iter()
        .map(|text| {
            let (text, overridable) = text.strip_suffix('?').map_or((*text, false), |text| (text, true));
            match text.strip_prefix("fails:") {
                Some(outcome) => {
                    let failed = RuleResult::Failed { class: FailureClass::OutOfFuel, detail: String::new() };
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
    let vote =
        |rule, overridable, result| Vote { rule, overridable, on_failure: FailureOutcome::Review, result };
    let folded =
        fold_v1(&[vote("friends", false, &allow), vote("size", true, &review), vote("law", false, &reject)]);
    let found: Vec<_> =
        folded.reasons.iter().map(|r| (r.rule.as_str(), r.verdict.as_str(), r.overridden)).collect();
    assert_eq!(found, [("friends", "allow", false), ("size", "review", true), ("law", "reject", false)]);
    assert_eq!(folded.outcome, Outcome::Reject);
}

/// A replay compares reasons, so their texts are part of the released fold.
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
    let failed = RuleResult::Failed { class: FailureClass::OutOfFuel, detail: "secret insides".to_owned() };
    let vote =
        Vote { rule: "velocity", overridable: false, on_failure: FailureOutcome::Review, result: &failed };
    let folded = fold_v1(&[vote]);
    assert_eq!(folded.reasons[0].reason.code, "rule-failed");
    assert_eq!(folded.reasons[0].reason.message, "The rule velocity used up its computing budget.");
}

#[test]
fn a_rule_in_quarantine_waits_for_review_at_least_and_nobody_cancels_it() {
    use FailureOutcome::{Pass, Reject, Review};
    let (allow, quarantined) = (ran("allow"), RuleResult::Quarantined);
    for (on_failure, first, second) in [
        (Pass, Outcome::Approve, Outcome::Review),
        (Review, Outcome::Approve, Outcome::Review),
        (Reject, Outcome::Approve, Outcome::Reject),
    ] {
        let votes = [
            Vote { rule: "friends", overridable: false, on_failure: Review, result: &allow },
            Vote { rule: "broken", overridable: true, on_failure, result: &quarantined },
        ];
        assert_eq!(fold_v1(&votes).outcome, first, "the first fold stays as it was");
        let folded = fold_v2(&votes);
        assert_eq!(folded.outcome, second);
        let found = folded.reasons.iter().find(|reason| reason.rule == "broken").expect("its reason");
        assert_eq!((found.overridden, found.verdict.as_str()), (false, second.name()));
    }
}

#[test]
fn without_a_quarantine_both_folds_say_the_same() {
    let (allow, review, reject) = (ran("allow"), ran("review"), ran("reject"));
    let failed = RuleResult::Failed { class: FailureClass::Trap, detail: String::new() };
    for result in [&allow, &review, &reject, &failed] {
        for (overridable, on_failure) in [(true, FailureOutcome::Pass), (false, FailureOutcome::Reject)] {
            let votes = [
                Vote { rule: "a", overridable, on_failure, result },
                Vote { rule: "b", overridable: false, on_failure, result: &allow },
            ];
            assert_eq!(fold_v1(&votes), fold_v2(&votes));
        }
    }
}
