//! The rule contract as the host speaks it: one module per released version,
//! each converting between its own shapes and the domain, and one set of
//! bounds that every answer is held to. Must never let an answer out unchecked.

mod bounds;
pub mod v1;

pub(super) use bounds::detail as failure_detail;

use std::sync::OnceLock;

use wasmtime::Store;
use wasmtime::component::{Component, Linker};

use super::component::ContractVersion;
use super::sandbox::CallState;
use crate::domain::payment::Payment;
use crate::domain::plugin::Description;
use crate::domain::selector::{Fact, FactQuery};
use crate::domain::verdict::{Evaluation, Reason};

/// What the contract adds to the engine's id: raised whenever a bound changes.
pub(super) const BOUNDS_VERSION: u32 = 2;

/// A payment in the form each version wants it, converted once for a whole ruleset.
pub struct Input {
    payment: InputPayment,
    v1: OnceLock<v1::Payment>,
}

enum InputPayment {
    Domain(std::sync::Arc<Payment>),
    /// Given in the shape of a contract already, for a case that no domain payment can hold.
    Contract,
}

impl Input {
    pub fn of(payment: std::sync::Arc<Payment>) -> Self {
        Self { payment: InputPayment::Domain(payment), v1: OnceLock::new() }
    }

    pub fn from_v1(payment: v1::Payment) -> Self {
        Self { payment: InputPayment::Contract, v1: OnceLock::from(payment) }
    }

    fn v1(&self) -> Result<&v1::Payment, CallFault> {
        match &self.payment {
            InputPayment::Domain(payment) => Ok(self.v1.get_or_init(|| v1::payment_of(payment))),
            InputPayment::Contract => {
                self.v1.get().ok_or_else(|| CallFault::Host("the payment has another version".to_owned()))
            }
        }
    }
}

pub(super) enum Request<'a> {
    Describe,
    Prepare { settings: &'a str },
    Evaluate { input: &'a Input, facts: &'a [Fact], state: &'a [u8] },
}

/// Checked against the bounds; nothing of it is trusted beyond its size and form.
#[derive(Debug)]
pub(super) enum Answer {
    Described(Description),
    Prepared {
        queries: Vec<FactQuery>,
        state: Vec<u8>,
    },
    Refused(Vec<Reason>),
    Evaluated(Evaluation),
    /// The rule's own words on why it cannot judge.
    Failed(String),
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum CallFault {
    Engine(wasmtime::Error),
    /// The answer is outside the bounds; says which.
    Answer(String),
    /// No instance could be made, for a reason outside of the plugin unless it trapped.
    Instance(wasmtime::Error),
    Host(String),
}

impl CallFault {
    pub(super) fn into_error(self) -> Option<wasmtime::Error> {
        match self {
            Self::Engine(error) | Self::Instance(error) => Some(error),
            Self::Answer(_) | Self::Host(_) => None,
        }
    }
}

impl From<wasmtime::Error> for CallFault {
    fn from(error: wasmtime::Error) -> Self {
        Self::Engine(error)
    }
}

/// A compiled plugin, linked to nothing and tied to its version of the contract.
pub(super) enum Bound {
    V1(v1::Rule),
}

impl Bound {
    /// The linker is empty: what imports anything does not bind.
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

    /// One call on a fresh instance. Limits of the store are the caller's business.
    pub(super) async fn call(
        &self,
        store: &mut Store<CallState>,
        request: Request<'_>,
    ) -> Result<Answer, CallFault> {
        match self {
            Self::V1(rule) => v1::call(rule, store, request).await,
        }
    }
}

/// How much text the payment brings.
pub(super) fn payment_bytes(input: &Input) -> usize {
    input.v1().map_or(0, v1::text_bytes)
}
