//! The rule contract from the host's side: one module for each released version, which converts
//! between its own types and the domain. Every answer is checked against the same bounds.

mod answer;
mod bounds;
pub mod v1;

pub(super) use answer::{CallFault, SettingsAnswer};
pub(super) use bounds::plain_detail as failure_detail;

use std::sync::{Arc, OnceLock};

use wasmtime::Store;
use wasmtime::component::{Component, Linker};

use super::call_state::CallState;
use super::component::ContractVersion;
use crate::domain::payment::Payment;
use crate::domain::plugin::Description;
use crate::domain::selector::Fact;
use crate::domain::verdict::Evaluation;

/// Part of the engine's id. It must rise whenever a bound changes.
pub(super) const BOUNDS_VERSION: u32 = 2;

/// A payment as rules get it.
pub enum PaymentInput {
    /// Converted at the first rule that needs it, once for a whole ruleset.
    Domain { payment: Arc<Payment>, v1: OnceLock<v1::Payment> },
    /// From a case file, which may contain what a domain payment cannot.
    V1(v1::Payment),
}

impl PaymentInput {
    pub fn of(payment: Arc<Payment>) -> Self {
        Self::Domain { payment, v1: OnceLock::new() }
    }

    fn v1(&self) -> &v1::Payment {
        match self {
            Self::Domain { payment, v1 } => v1.get_or_init(|| v1::payment_of(payment)),
            Self::V1(payment) => payment,
        }
    }

    /// The size of all texts whose length a client chooses.
    pub(super) fn text_bytes(&self) -> usize {
        v1::text_bytes(self.v1())
    }
}

/// A compiled plugin of one contract version, ready for instances of it.
pub(super) enum LinkedPlugin {
    V1(v1::Rule),
}

impl LinkedPlugin {
    /// The linker must be empty, so that a plugin that imports anything is refused.
    pub(super) fn new(
        version: ContractVersion,
        linker: &Linker<CallState>,
        component: &Component,
    ) -> wasmtime::Result<Self> {
        let linked = linker.instantiate_pre(component)?;
        match version {
            ContractVersion::V1_0_0 => v1::Rule::new(linked).map(Self::V1),
        }
    }

    pub(super) async fn describe(&self, store: &mut Store<CallState>) -> Result<Description, CallFault> {
        match self {
            Self::V1(rule) => rule.describe(store).await,
        }
    }

    pub(super) async fn prepare(
        &self,
        store: &mut Store<CallState>,
        settings: &str,
    ) -> Result<SettingsAnswer, CallFault> {
        match self {
            Self::V1(rule) => rule.prepare(store, settings).await,
        }
    }

    pub(super) async fn evaluate(
        &self,
        store: &mut Store<CallState>,
        input: &PaymentInput,
        facts: &[Fact],
        state: &[u8],
    ) -> Result<Evaluation, CallFault> {
        match self {
            Self::V1(rule) => rule.evaluate(store, input.v1(), facts, state).await,
        }
    }
}
