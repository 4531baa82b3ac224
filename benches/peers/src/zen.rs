//! The rule as a compiled ZEN decision table.

use std::sync::Arc;

use futures::executor::block_on;
use zen_engine::model::DecisionContent;
use zen_engine::{DecisionEngine, Variable};

use crate::fields::{Fields, InputFields, Value};
use crate::forms::{Form, FunctionForm};
use crate::small_rule::RuleDecision;

pub fn form(given: InputFields) -> Box<dyn Form> {
    let content: DecisionContent =
        serde_json::from_str(include_str!("../policies/rule.jdm.json")).expect("a decision graph");
    let mut decision = DecisionEngine::default().create_decision(Arc::new(content)).expect("it is a graph");
    decision.compile();
    FunctionForm::boxed(format!("zen-engine, {}", given.name()), move |payment| {
        let pairs = Fields::of(payment, given).0.into_iter().map(|(name, value)| {
            let value = match value {
                Value::Number(number) => Variable::Number(number.into()),
                Value::Text(text) => Variable::String(Variable::key(&text)),
            };
            (Variable::key(name), value)
        });
        // This graph does not wait, so the future is ready at once.
        let answer = block_on(decision.evaluate(Variable::from_object(pairs.collect())));
        let result = answer.expect("it decides").result;
        let (verdict, code) = (result.dot("verdict"), result.dot("code"));
        let verdict = verdict.as_ref().and_then(Variable::as_str).expect("a verdict");
        RuleDecision::new(verdict, code.as_ref().and_then(Variable::as_str))
    })
}
