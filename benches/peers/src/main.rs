//! One small rule in Tollgate and in other rule engines, in one process and in
//! alternating turns. Prints one table; ends with an error where two forms do
//! not decide the same.
//!
//! What is inside of the timing, for every form: from the payment as Tollgate
//! holds it to a verdict with the code of its reason, so also making the input
//! that the engine wants, for each payment is new. What is not: parsing and
//! compiling policies. Where it was a question the peers have the advantage:
//! their settings stand in the text of the policy, their input is flat and, in
//! one form each, only the three fields that this rule reads; they run without
//! limits of time and memory, and answer without a message for people.

mod cedar;
mod extism_plugin;
mod fields;
mod rego;
mod zen;

#[path = "../../parts/bare_wasmtime.rs"]
mod bare_wasmtime;
#[path = "../../parts/component.rs"]
mod component;
#[path = "../../parts/forms.rs"]
mod forms;
#[path = "../../parts/one_rule.rs"]
mod one_rule;
#[path = "../../parts/small_rule.rs"]
mod small_rule;

mod contract {
    wasmtime::component::bindgen!({
        path: "../../plugins/wit",
        world: "payment-rule",
        exports: { default: async },
    });
}

use std::process::ExitCode;

use fields::Given;

fn main() -> ExitCode {
    // The engine compiles plugins in a child of its own program, which this is.
    if std::env::args().nth(1).is_some_and(|command| command == tollgate::rules::compile::COMMAND) {
        return tollgate::command::run();
    }
    let exe = std::env::current_exe().expect("this program has a path");
    one_rule::print(exe, |forms| {
        for given in [Given::WhatIsRead, Given::Everything] {
            forms.push(cedar::form(given));
            forms.push(zen::form(given));
            forms.push(rego::interpreted(given));
            forms.push(rego::on_virtual_machine(given));
            forms.push(extism_plugin::reused(given));
            forms.push(extism_plugin::fresh(given));
        }
    });
    ExitCode::SUCCESS
}
