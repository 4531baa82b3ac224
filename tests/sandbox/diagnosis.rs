//! Diagnoses of failed rules, on an engine apart from the live one.

use std::sync::Arc;

use tollgate::domain::plugin::Profile;
use tollgate::domain::verdict::FailureClass::{self, MemoryLimit, OutOfFuel, RuleError, Trap, Unreachable};
use tollgate::domain::verdict::RuleResult;
use tollgate::rules::component::from_core_module_with_names;
use tollgate::rules::{Diagnosis, FailedCall, RuleCall};

use super::harness::components::with_section;
use super::harness::{Harness, component, payment};

async fn diagnose(harness: &Harness, bytes: Vec<u8>) -> Diagnosis {
    let bytes: Arc<[u8]> = bytes.into();
    let plugin = harness
        .engine
        .add_plugin(bytes.clone(), Profile::Large)
        .await
        .expect("the plugin is accepted")
        .digest;
    let runs = harness.evaluate(&[&plugin]).await.expect("the engine serves");
    let rule = RuleCall {
        plugin,
        profile: Profile::Small,
        state: Arc::from([]),
        facts: vec![],
        fuel_spent_before: None,
    };
    let call = FailedCall::Evaluate { payment: Arc::new(payment()), rule };
    let diagnosis = harness.engine.diagnose(call, bytes).await.expect("it can be looked into");
    let diagnosis = diagnosis.expect("it fails again");
    let RuleResult::Failed { class, .. } = &runs[0].result else { panic!("{runs:?}") };
    assert_eq!((*class, runs[0].fuel_used), (diagnosis.class, diagnosis.fuel_used), "as the live one");
    diagnosis
}

#[tokio::test]
async fn each_kind_of_failure_has_a_diagnosis_with_its_limit_or_cause() {
    let harness = Harness::start();
    let kinds: [(&str, FailureClass, &str); 6] = [
        ("endless_loop", OutOfFuel, "all of its 5000000 units of fuel"),
        ("memory_bomb", MemoryLimit, "10485760 bytes of memory"),
        ("unreachable", Unreachable, "a panic"),
        ("out_of_bounds", Trap, "memory out of bounds"),
        ("division_by_zero", Trap, "divided by zero"),
        ("huge_error", RuleError, "an error with its own message"),
    ];
    for (fixture, class, expected_cause) in kinds {
        let diagnosis = diagnose(&harness, component(fixture)).await;
        assert_eq!(diagnosis.class, class, "{fixture}");
        assert!(diagnosis.cause.contains(expected_cause), "{fixture}: {diagnosis:?}");
        assert_eq!(diagnosis.said, None, "{fixture}");
        assert!(diagnosis.memory_bytes >= 65_536, "{fixture}: {diagnosis:?}");
        assert_eq!(diagnosis.frames.is_empty(), class == RuleError, "{fixture}: {diagnosis:?}");
    }
}

#[tokio::test]
async fn a_panic_message_is_shown_without_control_characters() {
    let diagnosis = diagnose(&Harness::start(), component("panic_message")).await;
    let output = "panicked at src/lib.rs:7:9: the list is empty [31m";
    assert_eq!(diagnosis.said.as_deref(), Some(output));
}

#[tokio::test]
async fn the_search_for_an_error_text_ends_in_a_memory_full_of_them() {
    // In the order in which the rule writes them: the lowest digit first.
    let text = |number: usize| {
        let digit = |place: usize| (number >> (3 * place)) & 7;
        format!("Error: {}{}{}{}0000", digit(0), digit(1), digit(2), digit(3))
    };
    let all: String = (0..4_096).map(text).collect();
    let harness = Harness::start();
    let cases: [(&str, Vec<u8>, Option<&str>); 3] = [
        ("none", Vec::new(), Some("Error: 00000000")),
        ("the first", text(0).into_bytes(), Some("Error: 10000000")),
        ("all, many times", all.repeat(40).into_bytes(), None),
    ];
    for (held, bytes, output) in cases {
        let plugin = with_section(component("many_errors"), &bytes);
        assert_eq!(diagnose(&harness, plugin).await.said.as_deref(), output, "the plugin holds {held}");
    }
}

#[tokio::test]
async fn functions_are_reported_with_the_names_in_the_plugin() {
    let source = std::fs::read_to_string("tests/hostile/panic_message.wat").expect("a fixture");
    let core = super::harness::components::core_module(&source);
    let named = from_core_module_with_names(&core).expect("a component");
    let frames = diagnose(&Harness::start(), named).await.frames;
    assert_eq!(frames[0].function, "judge", "{frames:?}");
    assert!(frames.len() > 1, "{frames:?}");
}

#[tokio::test]
async fn a_failure_to_read_settings_can_be_diagnosed() {
    let harness = Harness::start();
    let bytes: Arc<[u8]> = component("prepare_bomb").into();
    let plugin = harness
        .engine
        .add_plugin(bytes.clone(), Profile::Large)
        .await
        .expect("the plugin is accepted")
        .digest;
    let call = FailedCall::Prepare { plugin, settings: "{}".to_owned() };
    let diagnosis = harness.engine.diagnose(call, bytes).await.expect("it can be looked into");
    let diagnosis = diagnosis.expect("it fails again");
    assert!(diagnosis.class != FailureClass::Host, "{diagnosis:?}");
    assert!(!diagnosis.cause.is_empty());
}

#[tokio::test]
async fn a_call_that_succeeds_on_repetition_has_no_diagnosis() {
    let harness = Harness::start();
    let bytes: Arc<[u8]> = component("good").into();
    let plugin = harness
        .engine
        .add_plugin(bytes.clone(), Profile::Large)
        .await
        .expect("the plugin is accepted")
        .digest;
    let call = FailedCall::Prepare { plugin, settings: "{}".to_owned() };
    assert_eq!(harness.engine.diagnose(call, bytes).await, Ok(None));
}
