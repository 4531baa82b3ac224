//! One call into a plugin: a fresh instance, its limits, and what became of
//! it. Must never re-use an instance, and never let the host's own words on a
//! payment into a failure's detail.

use std::sync::atomic::Ordering;

use wasmtime::{ResourceLimiter, Store, Trap, UpdateDeadline};

use super::contract::{Answer, Bound, CallFault, Request, failure_detail, payment_bytes};
use super::engine::{Sandbox, TICK_MS};
use super::limits::{HOSTCALL_FUEL, INPUT_BYTES_MAX, Limits};
use super::progress::ComputedMs;
use crate::domain::verdict::FailureClass;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) class: FailureClass,
    pub(super) detail: String,
}

impl Failure {
    fn new(class: FailureClass, detail: impl AsRef<str>) -> Self {
        Self { class, detail: failure_detail(detail.as_ref()) }
    }
}

pub(super) struct Called {
    pub(super) result: Result<Answer, Failure>,
    pub(super) fuel_used: u64,
}

/// What a store knows of its one call.
pub(super) struct CallState {
    memory_bytes_left: usize,
    table_elements_max: usize,
    ticks_left: u32,
    computed_ms: ComputedMs,
    /// Set by the limiter: its errors cannot be told apart afterwards.
    limit_hit: Option<&'static str>,
}

impl CallState {
    /// How much memory its instances hold.
    pub(super) fn memory_bytes(&self, limits: &Limits) -> usize {
        limits.memory_bytes.saturating_sub(self.memory_bytes_left)
    }

    fn new(limits: &Limits, computed_ms: ComputedMs) -> Self {
        Self {
            memory_bytes_left: limits.memory_bytes,
            table_elements_max: limits.table_elements,
            ticks_left: limits.computing_ms / TICK_MS,
            computed_ms,
            limit_hit: None,
        }
    }
}

/// Refusals are errors, not -1: a rule that asks for too much ends at once
/// instead of trying again.
impl ResourceLimiter for CallState {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let wanted = desired.saturating_sub(current);
        if wanted > self.memory_bytes_left {
            self.limit_hit = Some("memory");
            wasmtime::bail!("memory limit");
        }
        // This is asked first: what is beyond the memory's own maximum fails after it, and takes nothing.
        if maximum.is_none_or(|maximum| desired <= maximum) {
            self.memory_bytes_left -= wanted;
        }
        Ok(true)
    }

    fn table_growing(
        &mut self,
        _current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        if desired > self.table_elements_max {
            self.limit_hit = Some("table");
            wasmtime::bail!("table limit");
        }
        Ok(true)
    }
}

/// What is left after a call: its instances, and the error that stopped it.
pub(super) struct Left {
    pub(super) store: Store<CallState>,
    pub(super) error: Option<wasmtime::Error>,
}

/// Calls a plugin on a fresh instance under `fuel`. Lets go of the processor
/// with every tick of the epoch clock, and notes how long it has computed; dropping
/// the future ends the guest there.
pub(super) async fn call(
    sandbox: &Sandbox,
    plugin: &Bound,
    fuel: u64,
    computed_ms: &ComputedMs,
    request: Request<'_>,
) -> Called {
    call_and_keep(sandbox, plugin, fuel, computed_ms, request).await.0
}

/// As [`call`], and hands out what is left of the call.
pub(super) async fn call_and_keep(
    sandbox: &Sandbox,
    plugin: &Bound,
    fuel: u64,
    computed_ms: &ComputedMs,
    request: Request<'_>,
) -> (Called, Option<Left>) {
    let not_called = |detail: String| {
        (Called { result: Err(Failure::new(FailureClass::Host, detail)), fuel_used: 0 }, None)
    };
    if input_bytes(&request) > INPUT_BYTES_MAX {
        return not_called(format!("the input is above {INPUT_BYTES_MAX} bytes"));
    }
    let Ok(_slot) = sandbox.slots.acquire().await else {
        return not_called("shutting down".to_owned());
    };
    // Before anything is instantiated: a start function is the guest's code too.
    let mut store = Store::new(&sandbox.engine, CallState::new(sandbox.limits, computed_ms.clone()));
    store.limiter(|state| state);
    store.set_hostcall_fuel(HOSTCALL_FUEL);
    // Not 1: a short rule that happens to meet a tick is not sent to the back of the queue.
    store.set_epoch_deadline(2);
    store.epoch_deadline_callback(|mut context| {
        let state = context.data_mut();
        state.computed_ms.fetch_add(TICK_MS, Ordering::Relaxed);
        state.ticks_left = state.ticks_left.saturating_sub(1);
        Ok(if state.ticks_left == 0 { UpdateDeadline::Interrupt } else { UpdateDeadline::Yield(1) })
    });
    if let Err(error) = store.set_fuel(fuel) {
        return not_called(format!("{error:#}"));
    }
    let answer = plugin.call(&mut store, request).await;
    let fuel_left = store.get_fuel().unwrap_or(0);
    let (result, error) = match answer {
        Ok(Answer::Failed(text)) => (Err(Failure::new(FailureClass::RuleError, text)), None),
        Ok(answer) => (Ok(answer), None),
        Err(fault) => (Err(failure_of(&fault, store.data())), fault.into_error()),
    };
    let called = Called { result, fuel_used: fuel.saturating_sub(fuel_left) };
    (called, Some(Left { store, error }))
}

fn input_bytes(request: &Request<'_>) -> usize {
    match request {
        Request::Describe => 0,
        Request::Prepare { settings } => settings.len(),
        Request::Evaluate { input, facts, state } => payment_bytes(input) + size_of_val(*facts) + state.len(),
    }
}

fn failure_of(fault: &CallFault, state: &CallState) -> Failure {
    let (error, otherwise) = match fault {
        CallFault::Answer(wrong) => {
            return Failure::new(FailureClass::InvalidAnswer, format!("the answer holds {wrong}"));
        }
        CallFault::Host(detail) => return Failure::new(FailureClass::Host, detail),
        CallFault::Instance(error) => (error, FailureClass::Host),
        // Bad pointers, bad UTF-8, unknown variants, more bytes than may be moved.
        CallFault::Engine(error) => (error, FailureClass::InvalidAnswer),
    };
    if let Some(what) = state.limit_hit {
        return Failure::new(FailureClass::MemoryLimit, format!("it asked for more {what} than it may have"));
    }
    if let Some(trap) = error.downcast_ref::<Trap>() {
        return Failure::new(class_of(*trap), trap.to_string());
    }
    if error.is::<wasmtime::PoolConcurrencyLimitError>() || error.is::<std::io::Error>() {
        return Failure::new(FailureClass::Host, "no room for another instance");
    }
    Failure::new(otherwise, format!("{error:#}"))
}

fn class_of(trap: Trap) -> FailureClass {
    match trap {
        Trap::UnreachableCodeReached => FailureClass::Unreachable,
        Trap::OutOfFuel => FailureClass::OutOfFuel,
        Trap::StackOverflow => FailureClass::StackOverflow,
        Trap::Interrupt => FailureClass::Deadline,
        _ => FailureClass::Trap,
    }
}
