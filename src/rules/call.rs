//! One call into a plugin: a fresh instance, its limits, and the result.
//!
//! An instance must never be used twice: a rule could keep data of one payment for the next. The
//! detail of a failure is stored with the decision, so it must contain no text of the payment,
//! except in what the rule itself returned.

use std::sync::atomic::Ordering;

use tokio::sync::SemaphorePermit;
use wasmtime::{Store, Trap, UpdateDeadline};

use super::call_state::CallState;
use super::contract::{CallFault, LinkedPlugin, PaymentInput, SettingsAnswer, facts_bytes, failure_detail};
use super::engine::Sandbox;
use super::limits::{HOSTCALL_FUEL, INPUT_BYTES_MAX, TICK_MS};
use super::progress::ComputedMs;
use crate::domain::plugin::Description;
use crate::domain::selector::Fact;
use crate::domain::verdict::{Evaluation, FailureClass};

/// A plugin to call once, and what the call may use. Dropping the future of a call ends the guest.
pub(super) struct Call<'a> {
    pub(super) sandbox: &'a Sandbox,
    pub(super) plugin: &'a LinkedPlugin,
    pub(super) fuel: u64,
    /// Rises with every tick of the epoch clock while the guest computes.
    pub(super) computed_ms: ComputedMs,
}

pub(super) struct CallOutcome<'a, T> {
    pub(super) result: Result<T, CallFailure>,
    pub(super) fuel_used: u64,
    /// `None` if the guest was not called at all.
    pub(super) instance: Option<CallInstance<'a>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct CallFailure {
    pub(super) class: FailureClass,
    pub(super) detail: String,
}

/// The store with the instances of one call, and the error that ended the call. Fields are dropped
/// in this order: the slot must become free only after the store.
pub(super) struct CallInstance<'a> {
    pub(super) store: Store<CallState>,
    pub(super) error: Option<wasmtime::Error>,
    _slot: SemaphorePermit<'a>,
}

impl<'a> Call<'a> {
    pub(super) async fn describe(self) -> CallOutcome<'a, Description> {
        let mut instance = match self.begin(0).await {
            Ok(instance) => instance,
            Err(failure) => return CallOutcome::not_called(failure),
        };
        let answer = self.plugin.describe(&mut instance.store).await;
        self.end(instance, answer)
    }

    pub(super) async fn prepare(self, settings: &str) -> CallOutcome<'a, SettingsAnswer> {
        let mut instance = match self.begin(settings.len()).await {
            Ok(instance) => instance,
            Err(failure) => return CallOutcome::not_called(failure),
        };
        let answer = self.plugin.prepare(&mut instance.store, settings).await;
        self.end(instance, answer)
    }

    pub(super) async fn evaluate(
        self,
        input: &PaymentInput,
        facts: &[Fact],
        state: &[u8],
    ) -> CallOutcome<'a, Evaluation> {
        let input_bytes = self.plugin.payment_bytes(input) + facts_bytes(facts) + state.len();
        let mut instance = match self.begin(input_bytes).await {
            Ok(instance) => instance,
            Err(failure) => return CallOutcome::not_called(failure),
        };
        let answer = self.plugin.evaluate(&mut instance.store, input, facts, state).await;
        self.end(instance, answer)
    }

    /// A store with its limits set, before any code of the guest runs: a start function is guest
    /// code too.
    async fn begin(&self, input_bytes: usize) -> Result<CallInstance<'a>, CallFailure> {
        let host = |detail: String| CallFailure::new(FailureClass::Host, detail);
        if input_bytes > INPUT_BYTES_MAX {
            return Err(host(format!("the input is above {INPUT_BYTES_MAX} bytes")));
        }
        let slot = self.sandbox.slots.acquire().await.map_err(|_| host("shutting down".to_owned()))?;
        let state = CallState::new(self.sandbox.limits, self.computed_ms.clone());
        let mut store = Store::new(&self.sandbox.engine, state);
        store.limiter(|state| state);
        store.set_hostcall_fuel(HOSTCALL_FUEL);
        // Not 1: a short rule that runs during a tick would go to the end of the queue.
        store.set_epoch_deadline(2);
        store.epoch_deadline_callback(|mut context| {
            let state = context.data_mut();
            state.computed_ms.fetch_add(TICK_MS, Ordering::Relaxed);
            state.ticks_left = state.ticks_left.saturating_sub(1);
            Ok(if state.ticks_left == 0 { UpdateDeadline::Interrupt } else { UpdateDeadline::Yield(1) })
        });
        store.set_fuel(self.fuel).map_err(|error| host(format!("{error:#}")))?;
        Ok(CallInstance { store, error: None, _slot: slot })
    }

    fn end<T>(&self, mut instance: CallInstance<'a>, answer: Result<T, CallFault>) -> CallOutcome<'a, T> {
        let fuel_used = self.fuel.saturating_sub(instance.store.get_fuel().unwrap_or(0));
        let result = answer.map_err(|fault| {
            let failure = CallFailure::of(&fault, instance.store.data());
            instance.error = fault.into_error();
            failure
        });
        CallOutcome { result, fuel_used, instance: Some(instance) }
    }
}

impl<T> CallOutcome<'_, T> {
    fn not_called(failure: CallFailure) -> Self {
        Self { result: Err(failure), fuel_used: 0, instance: None }
    }
}

impl CallFailure {
    fn new(class: FailureClass, detail: impl AsRef<str>) -> Self {
        Self { class, detail: failure_detail(detail.as_ref()) }
    }

    fn of(fault: &CallFault, state: &CallState) -> Self {
        let (error, class) = match fault {
            CallFault::Rule(text) => return Self::new(FailureClass::RuleError, text),
            CallFault::OutOfBounds(violation) => {
                return Self::new(FailureClass::InvalidAnswer, format!("the answer holds {violation}"));
            }
            CallFault::Instance(error) => (error, FailureClass::Host),
            // Bad pointers, bad UTF-8, unknown variants, or more bytes than a call may move.
            CallFault::Engine(error) => (error, FailureClass::InvalidAnswer),
        };
        if let Some(what) = state.limit_hit {
            return Self::new(
                FailureClass::MemoryLimit,
                format!("it asked for more {what} than it may have"),
            );
        }
        if let Some(trap) = error.downcast_ref::<Trap>() {
            return Self::new(class_of(*trap), trap.to_string());
        }
        if error.is::<wasmtime::PoolConcurrencyLimitError>() || error.is::<std::io::Error>() {
            return Self::new(FailureClass::Host, "no room for another instance");
        }
        Self::new(class, format!("{error:#}"))
    }
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
