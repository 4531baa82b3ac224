//! Tests of the stored form with golden bytes and with damaged bytes.

use super::*;
use crate::domain::decision::{EngineId, RuleEvidence};
use crate::domain::plugin::{Digest, Profile};
use crate::domain::ruleset::Mode;
use crate::domain::selector::Fact;
use crate::domain::verdict::{
    Evaluation, FailureClass, FailureOutcome, OutcomeReason, Reason, RuleResult, Verdict,
};

fn evidence() -> ShadowEvidence {
    let reason =
        Reason { code: "no".to_owned(), message: "No.".to_owned(), field: Some("/amount".to_owned()) };
    let rule = |name: &str, mode, result| RuleEvidence {
        name: name.to_owned(),
        plugin: Digest([9; 32]),
        profile: Profile::Small,
        on_failure: FailureOutcome::Review,
        overridable: true,
        mode,
        facts: vec![Fact::Absent, Fact::Velocity { count: 3, total_minor: 900 }],
        result: Some(result),
        fuel_used: 300,
        elapsed_us: 12,
    };
    let rejects = Evaluation { verdict: Verdict::Reject(vec![reason.clone()]), notes: vec!["n".to_owned()] };
    let failed = RuleResult::Failed { class: FailureClass::OutOfFuel, detail: "d".to_owned() };
    ShadowEvidence {
        engine: EngineId("e".to_owned()),
        fold_version: 2,
        rules: vec![rule("a", Mode::Shadow, RuleResult::Ran(rejects)), rule("b", Mode::Live, failed)],
        reasons: vec![OutcomeReason {
            rule: "a".to_owned(),
            verdict: "reject".to_owned(),
            reason,
            overridden: false,
        }],
    }
}

/// If this fails, stored runs can no longer be read. Add a payload version; do not change the
/// expected bytes.
#[test]
fn the_stored_form_of_version_1_never_changes() {
    let stored = encode(&evidence()).expect("encodes");
    let hex: String = stored.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(hex, include_str!("version_1.hex").trim());
    assert_eq!(decode(1, &stored).expect("decodes"), evidence());
}

#[test]
fn damaged_bytes_are_unreadable_and_never_panic() {
    let stored = encode(&evidence()).expect("encodes");
    for length in 0..stored.len() {
        assert!(decode(1, &stored[..length]).is_err(), "cut at {length}");
    }
    assert!(decode(1, &[stored.as_slice(), &[0]].concat()).is_err(), "a byte too many");
    assert!(decode(2, &stored).is_err(), "a version of the future");
}
