//! Hostile rules with the real engine and the real compiler. The comment at the top of each fixture
//! says what it does. Each test checks the result, and that the next evaluation of a valid rule
//! works.

use std::time::Duration;

use tollgate::domain::plugin::{Digest, Profile};
use tollgate::domain::verdict::FailureClass::{
    self, InvalidAnswer, MemoryLimit, OutOfFuel, RuleError, StackOverflow, Trap, Unreachable,
};
use tollgate::domain::verdict::RuleResult;
use tollgate::rules::{AddPluginError, EngineError, PrepareError};

use super::harness::{Harness, component, tenant};
use super::passes;

/// Evaluates the fixture, checks the failure class, and returns the detail and the fuel.
pub async fn assert_fails(fixture: &str, class: FailureClass) -> (String, u64) {
    let harness = Harness::start();
    let good = harness.add("good").await;
    let hostile = harness.add(fixture).await;
    let runs = harness.evaluate(&[&good, &hostile, &good]).await.expect("the engine serves");
    assert_eq!((&runs[0].result, &runs[2].result), (&passes(), &passes()), "its neighbours");
    let after = harness.evaluate(&[&good]).await.expect("the engine serves");
    assert_eq!(after[0].result, passes(), "the next payment");
    match &runs[1].result {
        RuleResult::Failed { class: failed, detail } => {
            assert_eq!(*failed, class, "{detail}");
            assert!(detail.chars().count() <= 500, "{detail}");
            (detail.clone(), runs[1].fuel_used)
        }
        other => panic!("{fixture} did not fail: {other:?}"),
    }
}

pub async fn refusal(bytes: Vec<u8>) -> String {
    refusal_by(&Harness::start(), bytes).await
}

pub async fn refusal_by(harness: &Harness, bytes: Vec<u8>) -> String {
    let good = harness.add("good").await;
    let refused = harness.engine.add_plugin(bytes.into(), Profile::Large).await;
    let runs = harness.evaluate(&[&good]).await.expect("the engine serves");
    assert_eq!(runs[0].result, passes(), "the next payment");
    match refused {
        Err(AddPluginError::Refused(why)) => why,
        other => panic!("not refused: {other:?}"),
    }
}

#[tokio::test]
async fn a_rule_that_does_not_end_runs_out_of_fuel() {
    let (_, fuel) = assert_fails("endless_loop", OutOfFuel).await;
    assert!((4_900_000..=5_000_000).contains(&fuel), "{fuel}");
}

#[tokio::test]
async fn recorded_fuel_is_subtracted_from_the_budget_of_the_ruleset() {
    let harness = Harness::start();
    let plugin = harness.add("good").await;
    let mut call = harness.call(tenant(1), &[&plugin, &plugin], Duration::from_secs(60));
    call.rules[0].fuel_spent_before = Some(u64::MAX);
    call.rules[1].fuel_spent_before = Some(0);
    let runs = harness.engine.evaluate(call).await.expect("served");
    assert!(matches!(runs[0].result, RuleResult::Failed { class: OutOfFuel, .. }), "{runs:?}");
    assert!(matches!(runs[1].result, RuleResult::Ran(_)), "{runs:?}");
}

#[tokio::test]
async fn a_rule_with_slow_memory_accesses_runs_out_of_fuel() {
    assert_fails("slow_loads", OutOfFuel).await;
}

#[tokio::test]
async fn a_rule_that_clears_its_memory_endlessly_runs_out_of_fuel() {
    assert_fails("memory_fill", OutOfFuel).await;
}

#[tokio::test]
async fn a_rule_that_allocates_too_much_memory_is_stopped_at_its_limit() {
    let (detail, _) = assert_fails("memory_bomb", MemoryLimit).await;
    assert_eq!(detail, "it asked for more memory than it may have");
}

#[tokio::test]
async fn a_rule_may_be_refused_memory_by_its_own_declared_maximum() {
    let harness = Harness::start();
    let rule = harness.add("own_maximum").await;
    let runs = harness.evaluate(&[&rule]).await.expect("the engine serves");
    assert_eq!(runs[0].result, passes());
}

#[tokio::test]
async fn a_rule_that_allocates_too_many_table_entries_is_stopped_at_its_limit() {
    let (detail, _) = assert_fails("table_bomb", MemoryLimit).await;
    assert_eq!(detail, "it asked for more table than it may have");
}

#[tokio::test]
async fn endless_recursion_overflows_only_the_stack_of_the_rule() {
    assert_fails("deep_recursion", StackOverflow).await;
}

#[tokio::test]
async fn a_panic_of_a_rule_is_a_failure_of_the_class_unreachable() {
    assert_fails("unreachable", Unreachable).await;
}

#[tokio::test]
async fn a_rule_that_reads_outside_its_memory_traps() {
    let (detail, _) = assert_fails("out_of_bounds", Trap).await;
    assert!(detail.contains("out of bounds memory access"), "{detail}");
}

#[tokio::test]
async fn a_rule_that_divides_by_zero_traps() {
    let (detail, _) = assert_fails("division_by_zero", Trap).await;
    assert!(detail.contains("integer divide by zero"), "{detail}");
}

#[tokio::test]
async fn a_result_with_a_malformed_code_is_invalid() {
    let (detail, _) = assert_fails("bad_code", InvalidAnswer).await;
    assert!(detail.contains("a reason code that is not lower-case words"), "{detail}");
}

#[tokio::test]
async fn a_reject_without_a_reason_is_invalid() {
    let (detail, _) = assert_fails("reject_without_reason", InvalidAnswer).await;
    assert_eq!(detail, "the answer holds a reject without a reason");
}

#[tokio::test]
async fn a_message_that_is_too_long_is_invalid() {
    let (detail, _) = assert_fails("huge_message", InvalidAnswer).await;
    assert_eq!(detail, "the answer holds a message of 600000 characters, at most 500 are allowed");
}

#[tokio::test]
async fn an_error_text_that_is_too_long_is_cut_and_cleaned() {
    let (detail, _) = assert_fails("huge_error", RuleError).await;
    assert_eq!(detail, format!("a {}", "a".repeat(498)));
}

#[tokio::test]
async fn text_that_is_not_utf8_is_invalid() {
    assert_fails("bad_utf8", InvalidAnswer).await;
}

#[tokio::test]
async fn a_result_outside_the_memory_of_the_rule_is_invalid() {
    assert_fails("bad_pointer", InvalidAnswer).await;
}

#[tokio::test]
async fn half_a_gigabyte_of_overlapping_strings_is_not_copied() {
    let (detail, _) = assert_fails("overlapping_strings", InvalidAnswer).await;
    assert!(detail.contains("fuel allocated for hostcalls has been exhausted"), "{detail}");
}

#[tokio::test]
async fn a_start_function_that_does_not_end_runs_out_of_fuel() {
    let why = refusal(component("start_loop")).await;
    assert!(why.contains("describe function failed (out-of-fuel)"), "{why}");
}

#[tokio::test]
async fn a_malformed_description_is_refused() {
    let why = refusal(component("bad_description")).await;
    assert!(why.contains("(invalid-answer): the answer holds a name that is not lower-case words"), "{why}");
}

#[tokio::test]
async fn a_core_module_is_refused_with_advice() {
    let why = refusal(wat::parse_file("tests/hostile/core_module.wat").expect("valid")).await;
    assert!(why.contains("core WebAssembly module") && why.contains("tollgate plugin build"), "{why}");
}

#[tokio::test]
async fn a_component_with_an_import_is_refused_with_the_name_of_the_import() {
    let why = refusal(wat::parse_file("tests/hostile/forbidden_import.wat").expect("valid")).await;
    assert!(why.contains("wasi:clocks/wall-clock@0.2.0"), "{why}");
}

#[tokio::test]
async fn bytes_that_are_not_webassembly_are_refused() {
    let why = refusal(b"#!/bin/sh\nexit 0\n".to_vec()).await;
    assert_eq!(why, "this is not a WebAssembly binary");
}

#[tokio::test]
async fn a_component_that_does_not_implement_the_contract_is_refused() {
    let text = "(component (instance $rule) (export \"tollgate:rules/rule@1.0.0\" (instance $rule)))";
    let why = refusal(wat::parse_str(text).expect("valid")).await;
    assert!(why.contains("does not implement the rule contract"), "{why}");
    assert!(why.contains("describe, prepare, evaluate"), "{why}");
}

#[tokio::test]
async fn a_rule_that_asks_for_too_many_facts_is_refused() {
    let harness = Harness::start();
    let digest = harness.add("prepare_bomb").await;
    let prepared = harness.engine.prepare(digest, "{}".to_owned()).await;
    let detail = "the answer holds 1000 queries, at most 32 are allowed".to_owned();
    assert_eq!(prepared, Err(PrepareError::Failed { class: InvalidAnswer, detail }));
}

#[tokio::test]
async fn input_that_is_too_large_for_a_rule_is_a_failure_of_the_host() {
    let harness = Harness::start();
    let good = harness.add("good").await;
    let mut call = harness.call(tenant(1), &[&good, &good], Duration::from_secs(60));
    call.rules[0].state = vec![0; (1 << 20) + 1].into();
    let runs = harness.engine.evaluate(call).await.expect("the engine serves");
    let detail = "the input is above 1048576 bytes".to_owned();
    assert_eq!(runs[0].result, RuleResult::Failed { class: FailureClass::Host, detail });
    assert_eq!(runs[1].result, passes());
}

#[tokio::test]
async fn a_plugin_that_is_not_loaded_is_unavailable_and_the_other_rules_run() {
    let harness = Harness::start();
    let good = harness.add("good").await;
    let unknown = Digest([9; 32]);
    let runs = harness.evaluate(&[&good, &unknown, &good]).await.expect("the engine serves");
    let results: Vec<_> = runs.into_iter().map(|run| run.result).collect();
    assert_eq!(results, [passes(), RuleResult::Unavailable, passes()]);
    let prepared = harness.engine.prepare(unknown, "{}".to_owned()).await;
    assert_eq!(prepared, Err(PrepareError::UnknownPlugin(unknown)));
}

#[tokio::test]
async fn the_same_input_gives_the_same_results_and_the_same_fuel() {
    let harness = Harness::start();
    let mut rules = Vec::new();
    for fixture in ["good", "endless_loop", "unreachable", "bad_code", "huge_error", "memory_bomb"] {
        rules.push(harness.add(fixture).await);
    }
    let rules: Vec<&Digest> = rules.iter().collect();
    let mut seen = Vec::new();
    for _ in 0..3 {
        let runs = harness.evaluate(&rules).await.expect("the engine serves");
        seen.push(runs.into_iter().map(|run| (run.result, run.fuel_used)).collect::<Vec<_>>());
    }
    assert_eq!(seen[0], seen[1]);
    assert_eq!(seen[1], seen[2]);
}

#[tokio::test]
async fn a_call_that_misses_its_deadline_is_abandoned_and_later_calls_of_the_tenant_work() {
    let harness = Harness::start();
    let good = harness.add("good").await;
    let endless = harness.add("endless_loop").await;
    let call = harness.call(tenant(1), &[&endless; 50], Duration::from_millis(5));
    let missed = harness.engine.evaluate(call).await;
    assert!(matches!(missed, Err(EngineError::Deadline(_))), "{missed:?}");
    let runs = harness.evaluate(&[&good]).await.expect("the engine serves");
    assert_eq!(runs[0].result, passes());
}

#[tokio::test]
async fn a_tenant_that_floods_the_engine_gets_busy_and_other_tenants_are_served() {
    let harness = Harness::with(|settings| {
        settings.tenant_concurrency = 1;
        settings.tenant_waiting_max = 1;
    });
    let good = harness.add("good").await;
    let endless = harness.add("endless_loop").await;
    let flood = (0..8).map(|_| {
        let call = harness.call(tenant(1), &[&endless; 10], Duration::from_secs(60));
        harness.engine.evaluate(call)
    });
    let light = harness.engine.evaluate(harness.call(tenant(2), &[&good], Duration::from_secs(60)));
    let (flooded, light) = futures::join!(futures::future::join_all(flood), light);
    let busy = flooded.iter().filter(|result| **result == Err(EngineError::Busy)).count();
    assert_eq!(busy, 6, "one runs, one waits");
    assert_eq!(light.expect("served")[0].result, passes());
}
