//! What a candidate reuses of the record, and what it computes again.

use uuid::Uuid;

use super::*;
use crate::domain::decision::RevisionReference;
use crate::domain::fixtures;
use crate::domain::payment::PaymentId;
use crate::domain::plugin::Digest;
use crate::domain::ruleset::{DecisionPoint, PreparedRule, Revision, RuleEntry};
use crate::domain::selector::{Counting, FactQuery, Selector};
use crate::domain::verdict::{Evaluation, FailureClass, FailureOutcome, Reason, RuleResult, Verdict};

const LISTED: Fact = Fact::Listed(true);
const ABSENT: Fact = Fact::Absent;

fn engine() -> EngineId {
    EngineId("this".to_owned())
}

fn velocity(window_ms: u64) -> FactQuery {
    FactQuery::Velocity { selector: Selector::Customer, window_ms, counting: Counting::Submitted }
}

fn rule(name: &str, plugin: u8, state: u8, queries: &[FactQuery]) -> PreparedRule {
    let entry = RuleEntry {
        name: name.to_owned(),
        plugin: Digest([plugin; 32]),
        settings: "{}".to_owned(),
        on_failure: FailureOutcome::Review,
        overridable: false,
        mode: Mode::Live,
    };
    PreparedRule { entry, profile: Profile::Small, queries: queries.to_vec(), state: vec![state] }
}

fn ruleset(number: i32, rules: Vec<PreparedRule>) -> RunnableRuleset {
    RunnableRuleset::new(Revision {
        point: DecisionPoint::Payment,
        number,
        digest: Digest([number as u8; 32]),
        rules,
        note: String::new(),
        created_by: String::new(),
        created_at_ms: 0,
    })
}

fn ran(verdict: Verdict) -> RuleRun {
    RuleRun { result: RuleResult::Ran(Evaluation { verdict, notes: vec![] }), fuel_used: 7, elapsed_us: 1 }
}

fn rejects() -> RuleRun {
    let reason = Reason { code: "no".to_owned(), message: String::new(), field: None };
    ran(Verdict::Reject(vec![reason]))
}

fn payment() -> Payment {
    Payment { id: PaymentId(Uuid::from_u128(1)), received_at_ms: 9, order: fixtures::order() }
}

fn recorded(ruleset: &RunnableRuleset, facts: &[Fact], runs: Vec<RuleRun>) -> Evidence {
    evidence_of(&engine(), Arc::new(payment()), Some(ruleset), facts, runs).1
}

/// How many rules of the candidate have to run.
fn to_run(
    candidate: &RunnableRuleset,
    active: &RunnableRuleset,
    evidence: &Evidence,
    facts: &[Fact],
) -> usize {
    to_run_beside(&RulesetOverlap::new(candidate, Some(active)), candidate, evidence, facts)
}

fn to_run_beside(
    overlap: &RulesetOverlap,
    candidate: &RunnableRuleset,
    evidence: &Evidence,
    facts: &[Fact],
) -> usize {
    let mut trial = Trial::on_record(candidate, evidence, facts.to_vec(), overlap, &engine());
    let call = trial.call(TenantId(Uuid::nil()), Instant::now());
    call.map_or(0, |call| call.rules.len())
}

#[test]
fn facts_that_were_asked_for_then_are_found_wherever_they_stand_now() {
    let active =
        ruleset(1, vec![rule("a", 1, 0, &[velocity(1), velocity(2)]), rule("b", 2, 0, &[velocity(3)])]);
    let candidate = ruleset(2, vec![rule("x", 9, 0, &[velocity(3), velocity(4), velocity(1)])]);
    let counted = |count| Fact::Velocity { count, total_minor: 0 };
    let evidence =
        recorded(&active, &[counted(1), counted(2), counted(3)], vec![ran(Verdict::Pass), rejects()]);
    let overlap = RulesetOverlap::new(&candidate, Some(&active));
    assert_eq!(overlap.recorded_facts(&evidence), [Some(counted(3)), None, Some(counted(1))]);
    let compared_otherwise = Evidence { comparison_version: 1, ..evidence.clone() };
    assert_eq!(overlap.recorded_facts(&compared_otherwise), [None, None, None]);
    let without_a_value = recorded(&active, &[ABSENT; 3], vec![ran(Verdict::Pass), rejects()]);
    let without_a_value = Evidence { comparison_version: 1, ..without_a_value };
    assert_eq!(overlap.recorded_facts(&without_a_value), [Some(ABSENT), None, Some(ABSENT)]);
    let of_nothing = RulesetOverlap::new(&candidate, None);
    assert_eq!(of_nothing.recorded_facts(&evidence), [None, None, None]);
}

#[test]
fn only_rules_that_changed_or_were_given_something_else_run_again() {
    let queries = [velocity(1)];
    let active = ruleset(1, vec![rule("a", 1, 0, &queries), rule("b", 2, 0, &[])]);
    let evidence = recorded(&active, &[LISTED], vec![ran(Verdict::Pass), rejects()]);
    let same = ruleset(2, vec![rule("b", 2, 0, &[]), rule("renamed", 1, 0, &queries)]);
    assert_eq!(to_run(&same, &active, &evidence, &[LISTED]), 0);
    assert_eq!(to_run(&same, &active, &evidence, &[ABSENT]), 1, "another fact");
    let changed = ruleset(2, vec![rule("a", 1, 1, &queries), rule("b", 2, 0, &[])]);
    assert_eq!(to_run(&changed, &active, &evidence, &[LISTED]), 1, "another state");
    let mut large = rule("c", 3, 0, &[]);
    large.profile = Profile::Large;
    let with_large = ruleset(2, vec![rule("a", 1, 0, &queries), rule("b", 2, 0, &[]), large]);
    assert_eq!(to_run(&with_large, &active, &evidence, &[LISTED]), 3, "a shared budget");
    let other_engine = Evidence { engine: EngineId("other".to_owned()), ..evidence };
    assert_eq!(to_run(&same, &active, &other_engine, &[LISTED]), 2, "another engine");
}

#[test]
fn what_the_host_did_to_a_rule_is_never_taken_over() {
    let active = ruleset(1, vec![rule("a", 1, 0, &[])]);
    for (result, runs_again) in [
        (RuleResult::Failed { class: FailureClass::Trap, detail: String::new() }, 0),
        (RuleResult::Failed { class: FailureClass::Deadline, detail: String::new() }, 1),
        (RuleResult::Unavailable, 1),
        (RuleResult::Quarantined, 1),
    ] {
        let run = RuleRun { result, fuel_used: 0, elapsed_us: 0 };
        let evidence = recorded(&active, &[], vec![run.clone()]);
        assert_eq!(to_run(&active, &active, &evidence, &[]), runs_again, "{run:?}");
        let overlap = RulesetOverlap::new(&active, None);
        let mut trial = Trial::on_record(&active, &evidence, vec![], &overlap, &engine());
        assert!(trial.call(TenantId(Uuid::nil()), Instant::now()).is_some());
        let concluded = trial.conclude(&engine(), &active, vec![run.clone()]);
        assert_eq!(concluded.is_none(), runs_again == 1, "{run:?}");
    }
}

#[test]
fn a_small_rule_that_large_ones_left_no_fuel_runs_again() {
    let out_of_fuel = RuleResult::Failed { class: FailureClass::OutOfFuel, detail: String::new() };
    let starved = RuleRun { result: out_of_fuel, fuel_used: 0, elapsed_us: 0 };
    let candidate = ruleset(2, vec![rule("a", 1, 0, &[])]);
    let mut large = rule("large", 3, 0, &[]);
    large.profile = Profile::Large;
    let beside_large = ruleset(1, vec![large, rule("a", 1, 0, &[])]);
    let spent = |fuel_used| RuleRun { fuel_used, ..ran(Verdict::Pass) };
    let evidence = recorded(&beside_large, &[], vec![spent(249_000_000), starved.clone()]);
    assert_eq!(to_run(&candidate, &beside_large, &evidence, &[]), 1);
    let evidence = recorded(&beside_large, &[], vec![spent(249_000_000), ran(Verdict::Pass)]);
    assert_eq!(to_run(&candidate, &beside_large, &evidence, &[]), 0, "a verdict is the same on any fuel");
    let evidence = recorded(&beside_large, &[], vec![spent(7), starved]);
    assert_eq!(to_run(&candidate, &beside_large, &evidence, &[]), 0, "its own loop");
}

#[test]
fn what_the_host_did_stands_for_the_same_rule_where_it_is_compared_with_what_was_decided() {
    let active = ruleset(1, vec![rule("a", 1, 0, &[]), rule("twin", 1, 0, &[])]);
    let stopped = RuleResult::Failed { class: FailureClass::Deadline, detail: String::new() };
    for result in [RuleResult::Quarantined, RuleResult::Unavailable, stopped] {
        let run = RuleRun { result, fuel_used: 3, elapsed_us: 0 };
        let evidence = recorded(&active, &[], vec![ran(Verdict::Pass), run.clone()]);
        let to_run = |candidate: &RunnableRuleset| {
            let overlap = RulesetOverlap::new(candidate, Some(&active)).as_decided();
            to_run_beside(&overlap, candidate, &evidence, &[])
        };
        assert_eq!(to_run(&active), 0, "{run:?}");
        assert_eq!(to_run(&ruleset(2, vec![rule("twin", 1, 0, &[])])), 0, "{run:?} was that of its name");
        assert_eq!(
            to_run(&ruleset(2, vec![rule("twin", 1, 1, &[])])),
            1,
            "{run:?} is not that of another state"
        );
    }
}

#[test]
fn known_and_new_runs_are_folded_in_the_order_of_the_rules() {
    let active = ruleset(1, vec![rule("a", 1, 0, &[]), rule("b", 2, 0, &[])]);
    let evidence = recorded(&active, &[], vec![ran(Verdict::Pass), ran(Verdict::Pass)]);
    let candidate = ruleset(2, vec![rule("new", 3, 0, &[]), rule("b", 2, 0, &[])]);
    let overlap = RulesetOverlap::new(&candidate, Some(&active));
    let trial = Trial::on_record(&candidate, &evidence, vec![], &overlap, &engine());
    let (outcome, tried) = trial.conclude(&engine(), &candidate, vec![rejects()]).expect("concluded");
    assert_eq!(outcome, Outcome::Reject);
    let results: Vec<_> = tried.rules.iter().map(|rule| rule.result.clone()).collect();
    assert_eq!(results, [Some(rejects().result), Some(ran(Verdict::Pass).result)]);
    let revision = RevisionReference { number: 2, digest: Digest([2; 32]) };
    assert_eq!(tried.revision, Some(revision));
}
