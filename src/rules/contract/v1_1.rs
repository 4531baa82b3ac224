//! Contract 1.1.0. Once it is released, this module must never change what a released plugin is
//! given or how its answer is read: stored decisions are replayed through it.

mod facts;
mod payment;
mod queries;

use super::bounds::Violation;
use super::input::PaymentInput;
use super::rule;
use super::unchanged::unchanged_conversions;
use crate::domain;
use crate::domain::selector::{Fact, FactQuery};
use crate::rules::component::ContractVersion;

/// Only the types are used. The calls are in `rule`.
#[allow(missing_debug_implementations, dead_code)]
mod bindings {
    wasmtime::component::bindgen!({
        path: "plugins/wit/1.1.0",
        world: "payment-rule",
        exports: { default: async },
    });
}

use bindings::tollgate::rules::types;

pub(super) use payment::{payment_of, text_bytes};
pub(in crate::rules) use types::{
    Account, Card, ChargeBearer, Method, Money, Party, PayeeMatch, PayeeVerification, Payment, PostalAddress,
    Signal, SignalValue, UltimateParty,
};

pub(in crate::rules) struct Contract;

impl rule::Contract for Contract {
    const VERSION: ContractVersion = ContractVersion::V1_1_0;

    type Payment = Payment;
    type Fact = types::Fact;
    type Description = types::Description;
    type Prepared = types::Prepared;
    type Reason = types::Reason;
    type Evaluation = types::Evaluation;

    fn payment(input: &PaymentInput) -> &Payment {
        input.v1_1()
    }

    fn fact(fact: &Fact) -> types::Fact {
        facts::fact_of(fact)
    }

    fn description(description: types::Description) -> domain::plugin::Description {
        description_from(description)
    }

    fn prepared(prepared: types::Prepared) -> Result<(Vec<FactQuery>, Vec<u8>), Violation> {
        let queries = prepared.queries.into_iter().map(queries::query_from).collect::<Result<_, _>>()?;
        Ok((queries, prepared.state))
    }

    fn reason(reason: types::Reason) -> domain::verdict::Reason {
        reason_from(reason)
    }

    fn evaluation(evaluation: types::Evaluation) -> domain::verdict::Evaluation {
        evaluation_from(evaluation)
    }
}

unchanged_conversions!();
