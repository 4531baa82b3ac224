//! Compares a small rule in Tollgate and in other rule engines, in one process and in turns. Prints
//! one table. Ends with an error if two forms decide differently.
//!
//! The measured time is from a payment in Tollgate's form to a verdict with the code of its reason.
//! It includes making the engine's input, which is new for each payment. It does not include
//! parsing and compiling policies.
//!
//! In doubtful cases the other engines have the advantage. Their settings are part of the policy
//! text. Their input is flat and, in one form of each, has only the three fields that this rule
//! reads. They run without limits on time and memory, and return no messages for people.

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
        path: "../../plugins/wit/1.0.0",
        world: "payment-rule",
        exports: { default: async },
    });
}

use std::process::ExitCode;

use fields::InputFields;

fn main() -> ExitCode {
    // The engine compiles plugins in a child process of its own program, which is this one.
    if std::env::args().nth(1).is_some_and(|command| command == tollgate::rules::compile::COMMAND) {
        return tollgate::command::run();
    }
    let exe = std::env::current_exe().expect("this program has a path");
    one_rule::print(exe, |forms| {
        for given in [InputFields::UsedFields, InputFields::Everything] {
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
