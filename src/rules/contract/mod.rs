//! The rule contract from the host's side: one module for each released version, which converts
//! between its own types and the domain. Every answer is checked against the same bounds.

mod answer;
mod bounds;
mod input;
mod rule;
mod unchanged;
mod v1_0;
pub mod v1_1;

pub(super) use answer::{CallFault, SettingsAnswer};
pub(super) use bounds::plain_detail as failure_detail;
pub use input::PaymentInput;
pub(super) use input::facts_bytes;

use wasmtime::Store;
use wasmtime::component::{Component, Linker};

use super::call_state::CallState;
use super::component::ContractVersion;
use crate::domain::plugin::Description;
use crate::domain::selector::Fact;
use crate::domain::verdict::Evaluation;
use rule::Rule;

/// Part of the engine's id. It must rise whenever a bound of a released contract changes. The
/// bounds of a new contract do not count: no stored decision depends on them yet.
pub(super) const BOUNDS_VERSION: u32 = 2;

/// A compiled plugin of one contract version, ready for instances of it.
pub(super) enum LinkedPlugin {
    V1_0(Rule<v1_0::Contract>),
    V1_1(Rule<v1_1::Contract>),
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
            ContractVersion::V1_0_0 => Rule::new(linked).map(Self::V1_0),
            ContractVersion::V1_1_0 => Rule::new(linked).map(Self::V1_1),
        }
    }

    /// The size of all texts of the payment whose length a client chooses, as this plugin gets it.
    pub(super) fn payment_bytes(&self, input: &PaymentInput) -> usize {
        match self {
            Self::V1_0(_) => v1_0::text_bytes(input.v1_0()),
            Self::V1_1(_) => v1_1::text_bytes(input.v1_1()),
        }
    }

    pub(super) async fn describe(&self, store: &mut Store<CallState>) -> Result<Description, CallFault> {
        match self {
            Self::V1_0(rule) => rule.describe(store).await,
            Self::V1_1(rule) => rule.describe(store).await,
        }
    }

    pub(super) async fn prepare(
        &self,
        store: &mut Store<CallState>,
        settings: &str,
    ) -> Result<SettingsAnswer, CallFault> {
        match self {
            Self::V1_0(rule) => rule.prepare(store, settings).await,
            Self::V1_1(rule) => rule.prepare(store, settings).await,
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
            Self::V1_0(rule) => rule.evaluate(store, input, facts, state).await,
            Self::V1_1(rule) => rule.evaluate(store, input, facts, state).await,
        }
    }
}
