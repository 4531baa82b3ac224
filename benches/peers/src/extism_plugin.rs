//! The rule as an Extism plugin. Input and output are JSON, as in its plugin kit. The plugin is
//! compiled once. One form reuses an instance for all payments, and another creates one for each.
//! The optional WASI, fuel and time limit are off.

use extism::{CompiledPlugin, Manifest, Plugin, PluginBuilder, Wasm};
use serde::Deserialize;
use tollgate::domain::payment::Payment;

use crate::fields::{Fields, InputFields};
use crate::forms::{Form, FunctionForm};
use crate::small_rule::{RuleDecision, SETTINGS};

const RULE: &[u8] = include_bytes!(env!("EXTISM_RULE"));

#[derive(Deserialize)]
struct PluginOutput<'a> {
    verdict: &'a str,
    code: Option<&'a str>,
}

pub fn reused(given: InputFields) -> Box<dyn Form> {
    let mut plugin = instance(&compiled());
    FunctionForm::boxed(format!("extism, plugin re-used, {}", given.name()), move |payment| {
        decide(&mut plugin, payment, given)
    })
}

pub fn fresh(given: InputFields) -> Box<dyn Form> {
    let compiled = compiled();
    FunctionForm::boxed(format!("extism, fresh plugin, {}", given.name()), move |payment| {
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

fn decide(plugin: &mut Plugin, payment: &Payment, given: InputFields) -> RuleDecision {
    let input = serde_json::to_vec(&Fields::of(payment, given)).expect("JSON");
    let answer: &[u8] = plugin.call("evaluate", input).expect("it decides");
    let answer: PluginOutput<'_> = serde_json::from_slice(answer).expect("JSON");
    RuleDecision::new(answer.verdict, answer.code)
}
