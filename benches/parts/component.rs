//! The rule as a component on Tollgate's engine, as for payments: a fresh instance for each
//! evaluation, with all limits.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tollgate::domain::payment::{Method, Payment};
use tollgate::domain::plugin::Profile;
use tollgate::domain::tenant::TenantId;
use tollgate::domain::verdict::RuleResult;
use tollgate::rules::{EngineSettings, LocalEngine, RuleCall, RuleEngine, RuleRun, RulesetCall};
use uuid::Uuid;

use crate::forms::{Form, TURN};
use crate::small_rule::{COMPONENT, RuleDecision, SETTINGS, payment};

pub const WHOLE_CALL: &str = "ours, fresh instance, a whole call of the engine";
pub const ONE_OF_MANY: &str = "ours, fresh instance, one of twenty rules in a call";

/// The production engine with the prepared rule.
pub struct TollgateRule {
    engine: LocalEngine,
    rule: RuleCall,
    _cache: tempfile::TempDir,
}

impl TollgateRule {
    /// `exe` is a program that compiles plugins with the hidden command.
    pub async fn start(exe: PathBuf) -> Self {
        let cache = tempfile::tempdir().expect("a temporary folder");
        let engine = LocalEngine::start(&EngineSettings::new(exe, cache.path().to_owned(), [7; 32]));
        let engine = engine.expect("the engine starts");
        let plugin =
            engine.add_plugin(COMPONENT.into(), Profile::Large).await.expect("the plugin is accepted");
        let prepared = engine.prepare(plugin.digest, SETTINGS.to_owned()).await.expect("settings");
        let rule = RuleCall {
            plugin: plugin.digest,
            profile: prepared.profile,
            state: prepared.state.into(),
            facts: vec![],
            fuel_spent_before: None,
        };
        Self { engine, rule, _cache: cache }
    }

    pub fn state(&self) -> &[u8] {
        &self.rule.state
    }

    pub async fn evaluate(&self, tenant: u128, payment: &Arc<Payment>, rules: usize) -> Vec<RuleRun> {
        let call = RulesetCall {
            tenant: TenantId(Uuid::from_u128(tenant)),
            payment: payment.clone(),
            rules: vec![self.rule.clone(); rules],
            deadline: tokio::time::Instant::now() + Duration::from_secs(60),
        };
        self.engine.evaluate(call).await.expect("served")
    }
}

/// A ruleset of this many rules. It is evaluated with one call, which counts as this many
/// evaluations.
struct Ruleset<'a> {
    name: &'static str,
    rules: usize,
    ours: &'a TollgateRule,
    runtime: &'a tokio::runtime::Runtime,
}

impl Form for Ruleset<'_> {
    fn name(&self) -> &str {
        self.name
    }

    fn decide(&mut self, payment: &Arc<Payment>, times: usize) -> RuleDecision {
        self.runtime.block_on(async {
            let rules = self.rules.min(times);
            let mut last = self.ours.evaluate(1, payment, rules).await;
            for _ in 1..times / rules {
                last = self.ours.evaluate(1, payment, rules).await;
            }
            decided(last.pop().map(|run| run.result).expect("a run"))
        })
    }
}

fn decided(result: RuleResult) -> RuleDecision {
    let RuleResult::Ran(evaluation) = result else { panic!("the rule failed: {result:?}") };
    let verdict = &evaluation.verdict;
    RuleDecision::new(verdict.name(), verdict.reasons().first().map(|reason| reason.code.as_str()))
}

pub fn forms<'a>(ours: &'a TollgateRule, runtime: &'a tokio::runtime::Runtime) -> Vec<Box<dyn Form + 'a>> {
    vec![
        Box::new(Ruleset { name: WHOLE_CALL, rules: 1, ours, runtime }),
        Box::new(Ruleset { name: ONE_OF_MANY, rules: TURN, ours, runtime }),
    ]
}

/// Prints the evaluations per second of one thread and of two. Each has a fresh instance.
pub fn print_threads(ours: &TollgateRule) {
    const PERIOD: Duration = Duration::from_millis(400);
    let mut rates = [Vec::new(), Vec::new()];
    for _ in 0..9 {
        for (threads, rates) in (1..).zip(&mut rates) {
            let (count, stop) = (AtomicU64::new(0), AtomicBool::new(false));
            let started = Instant::now();
            std::thread::scope(|scope| {
                for tenant in 0..threads {
                    let (count, stop) = (&count, &stop);
                    scope.spawn(move || evaluate_until(ours, tenant, stop, count));
                }
                std::thread::sleep(PERIOD);
                stop.store(true, Ordering::Relaxed);
            });
            rates.push((count.load(Ordering::Relaxed) as f64 / started.elapsed().as_secs_f64()) as u64);
        }
    }
    let [one, two] = rates.map(|mut rates| {
        rates.sort();
        rates[rates.len() / 2]
    });
    println!(
        "one thread {one} evaluations/s, two at once {two}: {:.2} times as many",
        two as f64 / one as f64
    );
}

fn evaluate_until(ours: &TollgateRule, tenant: u128, stop: &AtomicBool, count: &AtomicU64) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let payment = payment(12_345, "EUR", Method::CreditTransfer);
    runtime.block_on(async {
        while !stop.load(Ordering::Relaxed) {
            ours.evaluate(tenant, &payment, TURN).await;
            count.fetch_add(TURN as u64, Ordering::Relaxed);
        }
    });
}
