//! The component with Wasmtime alone. It has the engine's settings, limits, fuel and epoch clock,
//! but not Tollgate's plugin library, queue and checks of results.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tollgate::domain::payment::{Method, Payment};
use wasmtime::component::{Component, Linker};
use wasmtime::{
    Config, Enabled, Engine, InstanceAllocationStrategy, OperatorCost, PoolingAllocationConfig,
    ResourceLimiter, Store, UpdateDeadline,
};

use crate::contract::exports::tollgate::rules::rule;
use crate::contract::tollgate::rules::types;
use crate::contract::{PaymentRule, PaymentRulePre};
use crate::forms::Form;
use crate::small_rule::{COMPONENT, RuleDecision, payment};

const FUEL: u64 = 5_000_000;

pub const FRESH: &str = "ours, fresh instance, by Wasmtime alone";
pub const REUSED: &str = "ours, instance re-used, by Wasmtime alone";

pub struct InstanceLimits {
    memory_bytes_left: usize,
    ticks_left: u32,
}

impl ResourceLimiter for InstanceLimits {
    fn memory_growing(&mut self, from: usize, to: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        let wanted = to.saturating_sub(from);
        self.memory_bytes_left = self.memory_bytes_left.saturating_sub(wanted);
        Ok(self.memory_bytes_left > 0)
    }

    fn table_growing(&mut self, _: usize, to: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        Ok(to <= 20_000)
    }
}

pub struct BareWasmtime {
    engine: Engine,
    rule: PaymentRulePre<InstanceLimits>,
    /// The result of `prepare`.
    state: Vec<u8>,
    clock: Arc<AtomicBool>,
}

impl BareWasmtime {
    pub fn new(state: Vec<u8>) -> Self {
        let engine = Engine::new(&config()).expect("an engine");
        let component = Component::new(&engine, COMPONENT).expect("it compiles");
        let linked = Linker::new(&engine).instantiate_pre(&component).expect("it imports nothing");
        let rule = PaymentRulePre::new(linked).expect("it is a rule");
        let clock = Arc::new(AtomicBool::new(true));
        std::thread::spawn({
            let (engine, clock) = (engine.clone(), clock.clone());
            move || {
                while clock.load(Ordering::Relaxed) {
                    std::thread::sleep(Duration::from_millis(1));
                    engine.increment_epoch();
                }
            }
        });
        Self { engine, rule, state, clock }
    }

    async fn instance(&self) -> (Store<InstanceLimits>, PaymentRule) {
        let limits = InstanceLimits { memory_bytes_left: 10 << 20, ticks_left: 200 };
        let mut store = Store::new(&self.engine, limits);
        store.limiter(|limits| limits);
        store.set_hostcall_fuel(1 << 20);
        store.epoch_deadline_callback(|mut context| {
            let limits = context.data_mut();
            limits.ticks_left = limits.ticks_left.saturating_sub(1);
            Ok(if limits.ticks_left == 0 { UpdateDeadline::Interrupt } else { UpdateDeadline::Yield(1) })
        });
        store.set_epoch_deadline(2);
        store.set_fuel(FUEL).expect("fuel is on");
        let instance = self.rule.instantiate_async(&mut store).await.expect("an instance");
        (store, instance)
    }

    async fn call(
        &self,
        store: &mut Store<InstanceLimits>,
        rule: &PaymentRule,
        payment: &rule::Payment,
    ) -> rule::Evaluation {
        let answer = rule.tollgate_rules_rule().call_evaluate(&mut *store, payment, &[], &self.state).await;
        answer.expect("it ends").expect("it judges")
    }

    /// Fuel of one evaluation on a fresh instance.
    pub async fn fuel_used(&self, of: &Payment) -> u64 {
        let (mut store, rule) = self.instance().await;
        self.call(&mut store, &rule, &payment_of(of)).await;
        FUEL - store.get_fuel().expect("fuel is on")
    }
}

impl Drop for BareWasmtime {
    fn drop(&mut self) {
        self.clock.store(false, Ordering::Relaxed);
    }
}

pub fn forms<'a>(bare: &'a BareWasmtime, runtime: &'a tokio::runtime::Runtime) -> Vec<Box<dyn Form + 'a>> {
    vec![
        Box::new(FreshInstances { bare, runtime }),
        Box::new(ReusedInstance { bare, runtime, instance: None }),
    ]
}

struct FreshInstances<'a> {
    bare: &'a BareWasmtime,
    runtime: &'a tokio::runtime::Runtime,
}

impl Form for FreshInstances<'_> {
    fn name(&self) -> &str {
        FRESH
    }

    fn decide(&mut self, payment: &Arc<Payment>, times: usize) -> RuleDecision {
        let bare = self.bare;
        self.runtime.block_on(async {
            let payment = payment_of(payment);
            let mut last = None;
            for _ in 0..times {
                let (mut store, rule) = bare.instance().await;
                last = Some(bare.call(&mut store, &rule, &payment).await);
            }
            decided(last.expect("one evaluation at least"))
        })
    }
}

/// One instance per turn. It cannot be used longer, since the rule never frees memory.
struct ReusedInstance<'a> {
    bare: &'a BareWasmtime,
    runtime: &'a tokio::runtime::Runtime,
    instance: Option<(Store<InstanceLimits>, PaymentRule)>,
}

impl Form for ReusedInstance<'_> {
    fn name(&self) -> &str {
        REUSED
    }

    fn ready(&mut self) {
        self.instance = Some(self.runtime.block_on(self.bare.instance()));
        self.decide(&payment(1, "EUR", Method::CreditTransfer), 1);
    }

    fn decide(&mut self, payment: &Arc<Payment>, times: usize) -> RuleDecision {
        let (store, rule) = self.instance.as_mut().expect("a turn begins with `ready`");
        let bare = self.bare;
        self.runtime.block_on(async {
            let payment = payment_of(payment);
            let mut last = None;
            for _ in 0..times {
                store.set_epoch_deadline(2);
                store.set_fuel(FUEL).expect("fuel is on");
                last = Some(bare.call(store, rule, &payment).await);
            }
            decided(last.expect("one evaluation at least"))
        })
    }
}

fn decided(evaluation: rule::Evaluation) -> RuleDecision {
    let (verdict, reasons) = match &evaluation.verdict {
        types::Verdict::Pass => ("pass", &[][..]),
        types::Verdict::Allow(reasons) => ("allow", &reasons[..]),
        types::Verdict::Review(reasons) => ("review", &reasons[..]),
        types::Verdict::Reject(reasons) => ("reject", &reasons[..]),
    };
    RuleDecision::new(verdict, reasons.first().map(|reason| reason.code.as_str()))
}

/// The configuration of the engine for small rules with one page of memory. A check that both use
/// the same fuel detects differences.
fn config() -> Config {
    let mut cost = OperatorCost::new();
    cost.variable.memory_copy_per_byte = 1;
    cost.variable.memory_fill_per_byte = 1;
    cost.variable.memory_init_per_byte = 1;
    cost.variable.memory_grow_per_page = 200;
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(64)
        .total_core_instances(64 * 16)
        .total_memories(64 * 2)
        .total_tables(64 * 10)
        .total_stacks(64)
        .max_memory_size(10 << 20)
        .table_elements(20_000)
        .max_memories_per_component(2)
        .max_tables_per_component(10)
        .max_core_instances_per_component(16)
        .max_unused_warm_slots(64 * 2)
        .linear_memory_keep_resident(256 << 10)
        .table_keep_resident(16 << 10)
        .pagemap_scan(Enabled::No);
    let mut config = Config::new();
    config
        .consume_fuel(true)
        .operator_cost(cost)
        .epoch_interruption(true)
        .cranelift_nan_canonicalization(true)
        .wasm_relaxed_simd(false)
        .relaxed_simd_deterministic(true)
        .concurrency_support(false)
        .wasm_memory64(false)
        .wasm_tail_call(false)
        .max_wasm_stack(512 << 10)
        .async_stack_size(1 << 20)
        .memory_reservation(4 << 30)
        .memory_guard_size(32 << 20)
        .wasm_backtrace_max_frames(None)
        .generate_address_map(false)
        .native_unwind_info(false)
        .allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    config
}

fn payment_of(payment: &Payment) -> rule::Payment {
    use tollgate::domain::party;
    use types::{Account, Money, Party};
    let order = &payment.order;
    let party_of = |party: &party::Party| Party {
        name: party.name.clone(),
        account: party.account.as_ref().map(|account| match account {
            party::Account::Iban(iban) => Account::Iban(iban.as_str().to_owned()),
            party::Account::Other(number) => Account::Other(number.clone()),
        }),
        bank: party.bank.clone(),
        country: party.country.as_ref().map(|country| country.as_str().to_owned()),
    };
    rule::Payment {
        id: payment.id.to_string(),
        reference: order.reference.clone(),
        amount: Money {
            minor: order.amount.minor(),
            currency: order.amount.currency().code().to_owned(),
            exponent: order.amount.currency().exponent(),
        },
        debtor: party_of(&order.debtor),
        creditor: party_of(&order.creditor),
        method: method_of(order.method),
        customer: order.customer.clone(),
        merchant: order.merchant.clone(),
        // None of the examples is a card payment.
        card: None,
        device: order.device.clone(),
        ip: order.ip.map(|ip| ip.to_string()),
        received_at_ms: payment.received_at_ms,
        requested_at_ms: order.requested_at_ms,
        purpose: order.purpose.clone(),
        remittance: order.remittance.clone(),
        metadata: order.metadata.clone(),
    }
}

fn method_of(method: Method) -> types::Method {
    use types::Method as To;
    match method {
        Method::Card => To::Card,
        Method::CreditTransfer => To::CreditTransfer,
        Method::Instant => To::Instant,
        Method::DirectDebit => To::DirectDebit,
        Method::Wallet => To::Wallet,
        Method::Other => To::Other,
    }
}
