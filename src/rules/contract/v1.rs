//! Contract 1.0.0. This module must never change what a released plugin is given or how its
//! answer is read: stored decisions are replayed through it.

use wasmtime::Store;
use wasmtime::component::{ComponentExportIndex, InstancePre};

use super::answer::{CallFault, SettingsAnswer};
use super::bounds;
use crate::domain;
use crate::rules::call_state::CallState;
use crate::rules::component::ContractVersion;

#[allow(missing_debug_implementations)]
mod bindings {
    wasmtime::component::bindgen!({
        path: "plugins/wit/1.0.0",
        world: "payment-rule",
        exports: { default: async },
    });
}

use bindings::tollgate::rules::types;
use bindings::{PaymentRule, PaymentRulePre};

pub(in crate::rules) use types::{Account, Card, Method, Money, Party, Payment};

/// A plugin of this version, ready for instances of it.
pub(in crate::rules) struct Rule {
    plugin: PaymentRulePre<CallState>,
    evaluate: ComponentExportIndex,
}

impl Rule {
    pub(super) fn new(linked: InstancePre<CallState>) -> wasmtime::Result<Self> {
        let component = linked.component();
        let evaluate = component
            .get_export_index(None, ContractVersion::V1_0_0.export_name())
            .and_then(|rule| component.get_export_index(Some(&rule), "evaluate"))
            .ok_or_else(|| wasmtime::format_err!("it exports no `evaluate`"))?;
        Ok(Self { plugin: PaymentRulePre::new(linked)?, evaluate })
    }

    pub(super) async fn describe(
        &self,
        store: &mut Store<CallState>,
    ) -> Result<domain::plugin::Description, CallFault> {
        let instance = self.instance(store).await?;
        let types::Description { name, version, summary, settings_schema } =
            instance.tollgate_rules_rule().call_describe(store).await?;
        bounds::description(domain::plugin::Description { name, version, summary, settings_schema })
            .map_err(CallFault::OutOfBounds)
    }

    pub(super) async fn prepare(
        &self,
        store: &mut Store<CallState>,
        settings: &str,
    ) -> Result<SettingsAnswer, CallFault> {
        let instance = self.instance(store).await?;
        match instance.tollgate_rules_rule().call_prepare(store, settings).await? {
            Ok(types::Prepared { queries, state }) => {
                let queries: Vec<_> = queries.into_iter().map(query_from).collect();
                bounds::prepared(&queries, &state).map(|()| SettingsAnswer::Accepted { queries, state })
            }
            Err(reasons) => {
                bounds::refusal(reasons.into_iter().map(reason_from).collect()).map(SettingsAnswer::Refused)
            }
        }
        .map_err(CallFault::OutOfBounds)
    }

    /// Looks up only this function. The generated code would check the types of all three functions
    /// for every instance, which takes a twentieth of an evaluation.
    pub(super) async fn evaluate(
        &self,
        store: &mut Store<CallState>,
        payment: &Payment,
        facts: &[domain::selector::Fact],
        state: &[u8],
    ) -> Result<domain::verdict::Evaluation, CallFault> {
        type Parameters<'a> = (&'a Payment, &'a [types::Fact], &'a [u8]);
        type Results = (Result<types::Evaluation, String>,);
        let linked = self.plugin.instance_pre();
        let instance = linked.instantiate_async(&mut *store).await.map_err(CallFault::Instance)?;
        let function = instance
            .get_typed_func::<Parameters<'_>, Results>(&mut *store, &self.evaluate)
            .map_err(CallFault::Instance)?;
        let facts: Vec<types::Fact> = facts.iter().map(fact_of).collect();
        let (answer,) = function.call_async(store, (payment, &facts, state)).await?;
        let evaluation = answer.map_err(CallFault::Rule)?;
        bounds::evaluation(evaluation_from(evaluation)).map_err(CallFault::OutOfBounds)
    }

    async fn instance(&self, store: &mut Store<CallState>) -> Result<PaymentRule, CallFault> {
        self.plugin.instantiate_async(store).await.map_err(CallFault::Instance)
    }
}

/// The size of all texts whose length a client chooses.
pub(super) fn text_bytes(payment: &Payment) -> usize {
    let length = |text: &Option<String>| text.as_ref().map_or(0, String::len);
    let party = |party: &Party| {
        let account = match &party.account {
            Some(Account::Iban(number) | Account::Other(number)) => number.len(),
            None => 0,
        };
        party.name.len() + account + length(&party.bank)
    };
    let card = payment.card.as_ref().map_or(0, |card| card.fingerprint.len() + length(&card.bin));
    let optional =
        [&payment.customer, &payment.merchant, &payment.device, &payment.purpose, &payment.remittance];
    payment.reference.len()
        + party(&payment.debtor)
        + party(&payment.creditor)
        + card
        + optional.into_iter().map(length).sum::<usize>()
        + payment.metadata.iter().map(|(key, value)| key.len() + value.len()).sum::<usize>()
}

pub(super) fn payment_of(payment: &domain::payment::Payment) -> Payment {
    let order = &payment.order;
    Payment {
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
        card: order.card.as_ref().map(|card| Card {
            fingerprint: card.fingerprint.clone(),
            bin: card.bin.clone(),
            country: card.country.as_ref().map(|country| country.as_str().to_owned()),
        }),
        device: order.device.clone(),
        ip: order.ip.map(|ip| ip.to_string()),
        received_at_ms: payment.received_at_ms,
        requested_at_ms: order.requested_at_ms,
        purpose: order.purpose.clone(),
        remittance: order.remittance.clone(),
        metadata: order.metadata.clone(),
    }
}

fn party_of(party: &domain::party::Party) -> Party {
    Party {
        name: party.name.clone(),
        account: party.account.as_ref().map(|account| match account {
            domain::party::Account::Iban(iban) => Account::Iban(iban.as_str().to_owned()),
            domain::party::Account::Other(number) => Account::Other(number.clone()),
        }),
        bank: party.bank.clone(),
        country: party.country.as_ref().map(|country| country.as_str().to_owned()),
    }
}

fn method_of(method: domain::payment::Method) -> Method {
    use domain::payment::Method as From;
    match method {
        From::Card => Method::Card,
        From::CreditTransfer => Method::CreditTransfer,
        From::Instant => Method::Instant,
        From::DirectDebit => Method::DirectDebit,
        From::Wallet => Method::Wallet,
        From::Other => Method::Other,
    }
}

fn fact_of(fact: &domain::selector::Fact) -> types::Fact {
    use domain::selector::Fact as From;
    match *fact {
        From::Listed(listed) => types::Fact::Listed(listed),
        From::Velocity { count, total_minor } => {
            types::Fact::Velocity(types::VelocityFact { count, total_minor })
        }
        // This version has no queries that others answer.
        From::Absent | From::Aggregate(_) | From::Table(_) | From::Similar(_) => types::Fact::Absent,
    }
}

fn evaluation_from(evaluation: types::Evaluation) -> domain::verdict::Evaluation {
    use domain::verdict::Verdict;
    let reasons = |list: Vec<types::Reason>| list.into_iter().map(reason_from).collect();
    let verdict = match evaluation.verdict {
        types::Verdict::Pass => Verdict::Pass,
        types::Verdict::Allow(list) => Verdict::Allow(reasons(list)),
        types::Verdict::Review(list) => Verdict::Review(reasons(list)),
        types::Verdict::Reject(list) => Verdict::Reject(reasons(list)),
    };
    domain::verdict::Evaluation { verdict, notes: evaluation.notes }
}

fn reason_from(reason: types::Reason) -> domain::verdict::Reason {
    domain::verdict::Reason { code: reason.code, message: reason.message, field: reason.field }
}

fn query_from(query: types::FactQuery) -> domain::selector::FactQuery {
    use domain::selector::{Counting, FactQuery, Matching};
    match query {
        types::FactQuery::Listed(query) => FactQuery::Listed {
            list: query.list,
            selector: selector_from(query.selector),
            matching: match query.matching {
                types::Matching::Exact => Matching::Exact,
                types::Matching::Prefix => Matching::Prefix,
                types::Matching::NormalizedName => Matching::NormalizedName,
            },
        },
        types::FactQuery::Velocity(query) => FactQuery::Velocity {
            selector: selector_from(query.selector),
            window_ms: query.window_ms,
            counting: match query.counting {
                types::Counting::Submitted => Counting::Submitted,
                types::Counting::Approved => Counting::Approved,
            },
        },
    }
}

fn selector_from(selector: types::Selector) -> domain::selector::Selector {
    use domain::selector::Selector as To;
    use types::Selector as From;
    match selector {
        From::DebtorAccount => To::DebtorAccount,
        From::CreditorAccount => To::CreditorAccount,
        From::DebtorName => To::DebtorName,
        From::CreditorName => To::CreditorName,
        From::DebtorBank => To::DebtorBank,
        From::CreditorBank => To::CreditorBank,
        From::DebtorCountry => To::DebtorCountry,
        From::CreditorCountry => To::CreditorCountry,
        From::Customer => To::Customer,
        From::Merchant => To::Merchant,
        From::Card => To::Card,
        From::Device => To::Device,
        From::Ip => To::Ip,
        From::Metadata(key) => To::Metadata(key),
    }
}
