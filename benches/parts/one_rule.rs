//! The benchmark of one small rule in all its forms.

use std::path::PathBuf;

use tollgate::domain::payment::Method;

use crate::bare_wasmtime::{self, BareWasmtime};
use crate::component::{self, TollgateRule};
use crate::forms::{self, Form};
use crate::small_rule::payment;

/// `exe` is a program that compiles plugins with the hidden command. `add` adds further forms.
pub fn print(exe: PathBuf, add: impl FnOnce(&mut Vec<Box<dyn Form>>)) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let ours = runtime.block_on(TollgateRule::start(exe));
    let bare = BareWasmtime::new(ours.state().to_vec());
    let example = payment(12_345, "EUR", Method::CreditTransfer);
    let runs = runtime.block_on(ours.evaluate(1, &example, 1));
    let fuel_used = runtime.block_on(bare.fuel_used(&example));
    assert_eq!(fuel_used, runs[0].fuel_used, "the settings of the bare form are not the engine's");
    let mut all = forms::native();
    let mut more = Vec::new();
    add(&mut more);
    all.extend(component::forms(&ours, &runtime));
    all.extend(bare_wasmtime::forms(&bare, &runtime));
    all.extend(more);
    forms::must_agree(&mut all);
    forms::print_table(&mut all, component::WHOLE_CALL);
    println!("fuel of an evaluation: {fuel_used}");
    component::print_threads(&ours);
}
