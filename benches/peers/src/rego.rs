//! The rule in Rego with regorus: its interpreter, and its virtual machine reused for all payments.

use std::collections::BTreeMap;

use regorus::languages::rego::compiler::Compiler;
use regorus::rvm::vm::RegoVM;
use regorus::{CompiledPolicy, Engine, Value as Rego};
use tollgate::domain::payment::Payment;

use crate::fields::{Fields, InputFields, Value};
use crate::forms::{Form, FunctionForm};
use crate::small_rule::RuleDecision;

const DECISION: &str = "data.payments.decision";

pub fn interpreted(given: InputFields) -> Box<dyn Form> {
    let policy = compiled();
    FunctionForm::boxed(format!("regorus, its interpreter, {}", given.name()), move |payment| {
        decided(&policy.eval_with_input(input(payment, given)).expect("it decides"))
    })
}

pub fn on_virtual_machine(given: InputFields) -> Box<dyn Form> {
    let program = Compiler::compile_from_policy(&compiled(), &[DECISION]).expect("it compiles");
    let mut machine = RegoVM::new();
    machine.load_program(program);
    FunctionForm::boxed(format!("regorus, its virtual machine, {}", given.name()), move |payment| {
        machine.set_input(input(payment, given));
        decided(&machine.execute().expect("it decides"))
    })
}

fn compiled() -> CompiledPolicy {
    let mut engine = Engine::new();
    let text = include_str!("../policies/rule.rego");
    engine.add_policy("rule.rego".to_owned(), text.to_owned()).expect("the policy is right");
    engine.compile_with_entrypoint(&DECISION.into()).expect("it compiles")
}

fn input(payment: &Payment, given: InputFields) -> Rego {
    let pairs = Fields::of(payment, given).0.into_iter().map(|(name, value)| {
        let value = match value {
            Value::Number(number) => Rego::from(number),
            Value::Text(text) => Rego::from(&*text),
        };
        (Rego::from(name), value)
    });
    Rego::from(pairs.collect::<BTreeMap<Rego, Rego>>())
}

fn decided(answer: &Rego) -> RuleDecision {
    // Not `as_string`, which would create an error text if there is no code.
    let text = |name: &str| match &answer[name] {
        Rego::String(text) => Some(text.as_ref()),
        _ => None,
    };
    RuleDecision::new(text("verdict").expect("a verdict"), text("code"))
}
