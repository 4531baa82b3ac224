//! Which rules are to blame for a failure, or for a ruleset that missed its deadline.
//!
//! Only fuel and processor time count: a rule is never blamed for the fuel of other rules, nor for
//! a slow machine.

use crate::domain::decision::RuleEvidence;
use crate::domain::plugin::Profile;
use crate::domain::quarantine::Conduct;
use crate::domain::verdict::{FailureClass, RuleResult};
use crate::rules::{MissedDeadline, burns, computes_long, has_all_its_fuel};

/// How each rule of a decision behaved. `None` if its run says nothing about the rule.
pub fn of_decided(rules: &[RuleEvidence]) -> Vec<Option<Conduct>> {
    let mut spent = 0;
    let conduct = |rule: &RuleEvidence| {
        let result = rule.result.as_ref()?;
        own_conduct(rule.profile, result, rule.fuel_used, &mut spent)
    };
    rules.iter().map(conduct).collect()
}

/// How each rule that was called behaved, up to the one that was running at the deadline.
/// `profiles` are those of all rules that were called. If the tenant's own rules kept the engine
/// busy, every rule that used much fuel is to blame.
pub fn of_missed(missed: &MissedDeadline, profiles: &[Profile]) -> Vec<Option<Conduct>> {
    let mut spent = 0;
    let to_blame = missed.caused_by_tenant.then_some(Conduct::Failed(FailureClass::Deadline));
    let ended = missed.runs.iter().zip(profiles).map(|(run, profile)| {
        match own_conduct(*profile, &run.result, run.fuel_used, &mut spent) {
            Some(Conduct::Worked) if burns(*profile, run.fuel_used) => to_blame,
            conduct => conduct,
        }
    });
    let mut conducts: Vec<_> = ended.collect();
    let running = profiles.get(missed.runs.len());
    conducts.extend(running.map(|profile| to_blame.filter(|_| computes_long(*profile, missed.running_ms))));
    conducts
}

/// `spent` is the fuel that earlier rules used; this rule's is added to it.
fn own_conduct(profile: Profile, result: &RuleResult, fuel_used: u64, spent: &mut u64) -> Option<Conduct> {
    let had_all = has_all_its_fuel(profile, *spent);
    *spent = spent.saturating_add(fuel_used);
    let conduct = Conduct::of(result)?;
    let is_slowed = conduct == Conduct::Failed(FailureClass::Deadline) && !burns(profile, fuel_used);
    let is_starved = result.is_out_of_fuel() && !had_all;
    (!is_slowed && !is_starved).then_some(conduct)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::verdict::{Evaluation, Verdict};
    use crate::rules::RuleRun;

    const PASSED: Option<Conduct> = Some(Conduct::Worked);
    const OUT_OF_FUEL: Option<Conduct> = Some(Conduct::Failed(FailureClass::OutOfFuel));
    const TOO_LONG: Option<Conduct> = Some(Conduct::Failed(FailureClass::Deadline));

    fn passed(fuel_used: u64) -> RuleRun {
        let result = RuleResult::Ran(Evaluation { verdict: Verdict::Pass, notes: Vec::new() });
        RuleRun { result, fuel_used, elapsed_us: 900_000 }
    }

    fn failed(class: FailureClass, fuel_used: u64) -> RuleRun {
        let result = RuleResult::Failed { class, detail: String::new() };
        RuleRun { result, fuel_used, elapsed_us: 900_000 }
    }

    #[test]
    fn who_is_to_blame_when_a_ruleset_misses_its_deadline() {
        use Profile::{Large, Small};
        let (burner, out) = (passed(4_900_000), failed(FailureClass::OutOfFuel, 5_000_000));
        let cases = [
            ("nothing had begun", true, vec![], 0, vec![Small], vec![None]),
            (
                "one burned all, one is innocent",
                true,
                vec![passed(9_000), out.clone()],
                2,
                vec![Small; 3],
                vec![PASSED, OUT_OF_FUEL, None],
            ),
            (
                "burning without failing",
                true,
                vec![burner.clone(), passed(12_000)],
                40,
                vec![Small; 4],
                vec![TOO_LONG, PASSED, TOO_LONG],
            ),
            (
                "somebody else had the processors",
                false,
                vec![burner.clone(), out, passed(12_000)],
                150,
                vec![Small; 4],
                vec![None, OUT_OF_FUEL, PASSED, None],
            ),
            ("a large rule may burn more", true, vec![burner], 0, vec![Large], vec![PASSED]),
            (
                "others had burned its fuel",
                true,
                vec![passed(246_000_000), failed(FailureClass::OutOfFuel, 4_000_000)],
                0,
                vec![Large; 2],
                vec![TOO_LONG, None],
            ),
            (
                "the net below the fuel, on a slow machine and for a rule that burned",
                true,
                vec![failed(FailureClass::Deadline, 900_000), failed(FailureClass::Deadline, 1_000_000)],
                0,
                vec![Small; 2],
                vec![None, TOO_LONG],
            ),
        ];
        for (what, caused_by_tenant, runs, running_ms, profiles, expected) in cases {
            let missed = MissedDeadline { runs, running_ms, caused_by_tenant };
            assert_eq!(of_missed(&missed, &profiles), expected, "{what}");
        }
    }
}
