//! The rule as a plugin of Extism: JSON in, JSON out, as its kit for plugins
//! has it. Compiled once; re-used for all payments, or fresh for each. Without
//! WASI, fuel and time limit, which it could have.

use extism::{CompiledPlugin, Manifest, Plugin, PluginBuilder, Wasm};
use serde::Deserialize;
use tollgate::domain::payment::Payment;

use crate::fields::{Fields, Given};
use crate::forms::{Form, Plain};
use crate::small_rule::{Decided, SETTINGS};

const RULE: &[u8] = include_bytes!(env!("EXTISM_RULE"));

#[derive(Deserialize)]
struct Answer<'a> {
    verdict: &'a str,
    code: Option<&'a str>,
}

pub fn reused(given: Given) -> Box<dyn Form> {
    let mut plugin = instance(&compiled());
    Plain::boxed(format!("extism, plugin re-used, {}", given.name()), move |payment| {
        decide(&mut plugin, payment, given)
    })
}

pub fn fresh(given: Given) -> Box<dyn Form> {
    let compiled = compiled();
    Plain::boxed(format!("extism, fresh plugin, {}", given.name()), move |payment| {
        decide(&mut instance(&compiled), payment, given)
    })
}

fn compiled() -> CompiledPlugin {
    let manifest = Manifest::new([Wasm::data(RULE)]).with_config_key("settings", SETTINGS);
    PluginBuilder::new(manifest).with_wasi(false).with_cache_disabled().compile().expect("it compiles")
}

fn instance(compiled: &CompiledPlugin) -> Plugin {
    Plugin::new_from_compiled(compiled).expect("an instance")
}

fn decide(plugin: &mut Plugin, payment: &Payment, given: Given) -> Decided {
    let input = serde_json::to_vec(&Fields::of(payment, given)).expect("JSON");
    let answer: &[u8] = plugin.call("evaluate", input).expect("it decides");
    let answer: Answer<'_> = serde_json::from_slice(answer).expect("JSON");
    Decided::new(answer.verdict, answer.code)
}
