//! The cost of rules: `cargo bench --features jemalloc --bench rules`. It prints figures and
//! asserts nothing, since they depend on the machine.

#![allow(clippy::print_stdout)]

#[path = "parts/allocator.rs"]
mod allocator;
#[path = "parts/bare_wasmtime.rs"]
mod bare_wasmtime;
#[path = "parts/component.rs"]
mod component;
#[path = "parts/forms.rs"]
mod forms;
/// Shared with the comparison of other engines, which uses more of it.
#[path = "parts/one_rule.rs"]
mod one_rule;
#[path = "parts/small_rule.rs"]
mod small_rule;

#[allow(missing_debug_implementations)]
mod contract {
    wasmtime::component::bindgen!({
        path: "plugins/wit/1.0.0",
        world: "payment-rule",
        exports: { default: async },
    });
}

/// Shared with the tests. Some of it is unused here.
#[allow(dead_code)]
#[path = "../tests/sandbox/components.rs"]
pub mod components;
#[path = "../tests/sandbox/local.rs"]
mod engine;
#[allow(dead_code)]
#[path = "../tests/sandbox/harness.rs"]
mod harness;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use harness::{Harness, tenant};
use tollgate::domain::plugin::{Digest, Profile};
use tollgate::domain::selector::{Fact, FactQuery};
use tollgate::rules::{RuleCall, RulesetCall};

const ROUNDS: usize = 2_000;
const RULES: usize = 50;

fn main() {
    one_rule::print(env!("CARGO_BIN_EXE_tollgate").into(), |_| {});
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(rulesets());
}

async fn rulesets() {
    let harness = Harness::start();
    println!("engine {} with {} MB resident", harness.engine.id().0, resident_mb());
    for name in ["amount-limits", "account-check", "party-lists", "velocity"] {
        let folder = Path::new("plugins").join(name);
        compiled(&harness, name, &folder, &folder.join(format!("{name}.wasm"))).await;
        let released = format!("tests/released/1.0.0/{name}.wasm");
        compiled(&harness, &format!("{name} of contract 1.0.0"), &folder, Path::new(&released)).await;
    }
    let good = harness.add("good").await;
    report(&harness, "good.wat (the floor)", bare(good)).await;
    println!("{} MB resident", resident_mb());
    for name in ["endless_loop", "slow_loads", "memory_fill", "memory_bomb", "table_bomb", "deep_recursion"] {
        hostile(&harness, name).await;
    }
    hostile(&harness, "overlapping_strings").await;
    neighbour(&harness).await;
    println!("{} MB resident", resident_mb());
}

fn bare(plugin: Digest) -> RuleCall {
    let (profile, state) = (Profile::Small, Arc::from([]));
    RuleCall { plugin, profile, state, facts: vec![], fuel_spent_before: None }
}

/// A component with the settings of the first case file in the rule's folder.
async fn compiled(harness: &Harness, name: &str, folder: &Path, component: &Path) {
    let Ok(bytes) = std::fs::read(component) else {
        return println!("{name}: not built");
    };
    let added =
        harness.engine.add_plugin(bytes.into(), Profile::Large).await.expect("the plugin is accepted");
    println!("{name}: {} bytes, compiled in {} ms", added.size_bytes, added.compile_ms);
    let cases = std::fs::read_dir(folder.join("cases")).expect("cases").next().expect("a file of cases");
    let text = std::fs::read_to_string(cases.expect("an entry").path()).expect("it can be read");
    let file: serde_json::Value = serde_json::from_str(&text).expect("a case file");
    let prepared =
        harness.engine.prepare(added.digest, file["settings"].to_string()).await.expect("settings");
    let facts = prepared.queries.iter().map(|query| match query {
        FactQuery::Listed { .. } => Fact::Listed(false),
        FactQuery::Velocity { .. } => Fact::Velocity { count: 3, total_minor: 1000 },
        FactQuery::Aggregate(_) => Fact::Aggregate(Box::default()),
        FactQuery::Table { .. } => Fact::Table(None),
        FactQuery::Similar { .. } => Fact::Similar(None),
    });
    let rule = RuleCall {
        plugin: added.digest,
        profile: prepared.profile,
        facts: facts.collect(),
        state: prepared.state.into(),
        fuel_spent_before: None,
    };
    report(harness, name, rule).await;
}

/// The cost of a call with one rule, and of each further rule.
async fn report(harness: &Harness, name: &str, rule: RuleCall) {
    let one = median_us(harness, vec![rule.clone()]).await;
    let many = median_us(harness, vec![rule.clone(); RULES]).await;
    let runs = harness.engine.evaluate(call(harness, vec![rule])).await.expect("served");
    let each = (many - one) / (RULES - 1) as f64;
    println!(
        "{name}: {one:.1} us a call, {each:.1} us a rule, fuel {}, {:?}",
        runs[0].fuel_used, runs[0].result
    );
}

async fn median_us(harness: &Harness, rules: Vec<RuleCall>) -> f64 {
    let mut times = Vec::with_capacity(ROUNDS);
    for _ in 0..ROUNDS {
        let call = call(harness, rules.clone());
        let started = Instant::now();
        harness.engine.evaluate(call).await.expect("served");
        times.push(started.elapsed());
    }
    times.sort();
    times[ROUNDS / 2].as_secs_f64() * 1e6
}

fn call(harness: &Harness, rules: Vec<RuleCall>) -> RulesetCall {
    RulesetCall { rules, ..harness.call(tenant(1), &[], Duration::from_secs(60)) }
}

async fn hostile(harness: &Harness, name: &str) {
    let plugin = harness.add(name).await;
    for rules in [1, RULES] {
        let started = Instant::now();
        let runs = harness.engine.evaluate(call(harness, vec![bare(plugin); rules])).await.expect("served");
        println!("{name} x {rules}: {:.2} ms, {:?}", started.elapsed().as_secs_f64() * 1e3, runs[0].result);
    }
}

/// A quiet tenant beside a tenant that floods the engine with endless rules.
async fn neighbour(harness: &Harness) {
    let good = harness.add("good").await;
    let endless = harness.add("endless_loop").await;
    let engine = &harness.engine;
    for flooding in [0, 64] {
        let flood = futures::future::join_all((0..flooding).map(|_| async {
            for _ in 0..10 {
                let call = harness.call(tenant(2), &[&endless; 10], Duration::from_secs(60));
                engine.evaluate(call).await.expect("served");
            }
        }));
        let light = async {
            let mut times = Vec::new();
            for _ in 0..300 {
                let started = Instant::now();
                let call = harness.call(tenant(1), &[&good; 10], Duration::from_secs(60));
                engine.evaluate(call).await.expect("served");
                times.push(started.elapsed());
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            times.sort();
            times
        };
        let mut flood = Box::pin(flood);
        let times = tokio::select! {
            times = light => times,
            _ = &mut flood, if flooding > 0 => return println!("the flood ended first"),
        };
        println!(
            "a light tenant beside {flooding} endless calls: median {:?}, p99 {:?}",
            times[times.len() / 2],
            times[times.len() * 99 / 100]
        );
    }
}

fn resident_mb() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: u64 = statm.split(' ').nth(1).and_then(|pages| pages.parse().ok()).unwrap_or(0);
    pages * 4 / 1024
}
