//! A rule's result in the format of case files, so that an author can copy it into one.

use serde_json::{Value, json};

use super::format::Expectation;
use crate::domain::aggregate::{AggregateQuery, Conversion, PaymentFilter};
use crate::domain::selector::{FactQuery, Selector};
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
        object([
            ("code", Some(json!(code))),
            ("message", Some(json!(message))),
            ("field", field.as_ref().map(|field| json!(field))),
        ])
    });
    shown.collect()
}

pub(super) fn queries_shown(queries: &[FactQuery]) -> Value {
    queries.iter().map(query_shown).collect()
}

fn query_shown(query: &FactQuery) -> Value {
    match query {
        FactQuery::Listed { list, selector, matching } => {
            json!({"listed": {"list": list, "selector": selector_shown(selector), "matching": matching.name()}})
        }
        FactQuery::Velocity { selector, window_ms, counting } => {
            let (selector, counting) = (selector_shown(selector), counting.name());
            json!({"velocity": {"selector": selector, "window_ms": window_ms, "counting": counting}})
        }
        FactQuery::Aggregate(query) => json!({"aggregate": aggregate_shown(query)}),
        FactQuery::Table { table, selector, lookup } => {
            json!({"table": {"table": table, "selector": selector_shown(selector), "lookup": lookup.name()}})
        }
        FactQuery::Similar { list, selector, score_at_least } => {
            let selector = selector_shown(selector);
            json!({"similar": {"list": list, "selector": selector, "score_at_least": score_at_least}})
        }
    }
}

fn aggregate_shown(query: &AggregateQuery) -> Value {
    let selectors: Vec<Value> = query.selectors.iter().map(selector_shown).collect();
    let conversion = query
        .conversion
        .as_ref()
        .map(|Conversion { table, currency }| json!({"table": table, "currency": currency.code()}));
    object([
        ("selectors", Some(json!(selectors))),
        ("window_ms", Some(json!(query.window_ms))),
        ("filter", filter_shown(&query.filter)),
        ("conversion", conversion),
        ("distinct", query.distinct.as_ref().map(selector_shown)),
        ("first_and_last", query.first_and_last.then_some(json!(true))),
    ])
}

fn filter_shown(filter: &PaymentFilter) -> Option<Value> {
    let names = |names: Vec<&'static str>| if names.is_empty() { None } else { Some(json!(names)) };
    let shown = object([
        ("amount_at_least", filter.amount_at_least.map(|amount| json!(amount))),
        ("amount_below", filter.amount_below.map(|amount| json!(amount))),
        ("methods", names(filter.methods.iter().map(|method| method.name()).collect())),
        ("outcomes", names(filter.outcomes.iter().map(|outcome| outcome.name()).collect())),
        ("event", filter.event.map(|event| json!(event.name()))),
    ]);
    (*filter != PaymentFilter::default()).then_some(shown)
}

/// An object of the members that have a value.
fn object<const N: usize>(members: [(&str, Option<Value>); N]) -> Value {
    let given = members.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
    Value::Object(given.collect())
}

fn selector_shown(selector: &Selector) -> Value {
    match selector {
        Selector::Metadata(key) => json!({"metadata": key}),
        Selector::Signal(name) => json!({"signal": name}),
        other => json!(other.name()),
    }
}
