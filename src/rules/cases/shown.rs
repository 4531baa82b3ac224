//! A rule's result in the format of case files, so that an author can copy it into one.

use serde_json::{Map, Value, json};

use super::format::Expectation;
use crate::domain::selector::{Counting, FactQuery, Selector};
use crate::domain::verdict::{Evaluation, Reason, RuleResult};

impl Expectation {
    pub(super) fn shown(&self) -> Value {
        match self {
            Self::Evaluation { verdict, reasons, .. } => json!({"verdict": verdict, "reasons": reasons}),
            Self::Failure(text) => json!({"failure": text}),
            Self::RefusedSettings(reasons) => json!({"refused_settings": reasons}),
        }
    }
}

pub(super) fn result_shown(result: &RuleResult) -> Value {
    match result {
        RuleResult::Ran(evaluation) => evaluation_shown(evaluation),
        RuleResult::Failed { class, detail } => json!({"failure": detail, "class": class.name()}),
        RuleResult::Quarantined | RuleResult::Unavailable => json!("the plugin could not be run"),
    }
}

pub(super) fn evaluation_shown(evaluation: &Evaluation) -> Value {
    let Evaluation { verdict, notes } = evaluation;
    json!({"verdict": verdict.name(), "reasons": reasons_shown(verdict.reasons()), "notes": notes})
}

pub(super) fn reasons_shown(reasons: &[Reason]) -> Value {
    let shown = reasons.iter().map(|Reason { code, message, field }| {
        let mut shown =
            Map::from_iter([("code".to_owned(), json!(code)), ("message".to_owned(), json!(message))]);
        shown.extend(field.as_ref().map(|field| ("field".to_owned(), json!(field))));
        Value::Object(shown)
    });
    shown.collect()
}

pub(super) fn queries_shown(queries: &[FactQuery]) -> Value {
    let shown = queries.iter().map(|query| match query {
        FactQuery::Listed { list, selector, matching } => {
            json!({"listed": {"list": list, "selector": selector_shown(selector), "matching": matching.name()}})
        }
        FactQuery::Velocity { selector, window_ms, counting } => {
            let counting = match counting {
                Counting::Submitted => "submitted",
                Counting::Approved => "approved",
            };
            let selector = selector_shown(selector);
            json!({"velocity": {"selector": selector, "window_ms": window_ms, "counting": counting}})
        }
        other => json!(format!("{other:?}")),
    });
    shown.collect()
}

fn selector_shown(selector: &Selector) -> Value {
    match selector {
        Selector::Metadata(key) => json!({"metadata": key}),
        Selector::Signal(name) => json!({"signal": name}),
        other => json!(other.name()),
    }
}
