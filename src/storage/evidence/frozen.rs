//! The stored types of the payload versions 1 and 2, and their conversion from and to the domain.
//!
//! They must never change. A type of the domain that appears here has the same bytes in all
//! versions; if it has to change, its present form must be copied here first.

use std::net::IpAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::domain::decision::{self, EngineId, Evidence, EvidenceVersion, RevisionReference};
use crate::domain::money::Money;
use crate::domain::party::{self, Account, Country};
use crate::domain::payment::{self, Card, Method, PaymentId};
use crate::domain::plugin::{Digest, Profile};
use crate::domain::ruleset::Mode;
use crate::domain::selector;
use crate::domain::verdict::{FailureOutcome, OutcomeReason, RuleResult};

/// Does not have the comparison version, which was always 1.
#[derive(Deserialize)]
pub(super) struct EvidenceV1 {
    payment: Payment,
    revision: Option<RevisionReference>,
    rules: Vec<RuleEvidence>,
    engine: EngineId,
    fold_version: u16,
    reasons: Vec<OutcomeReason>,
}

#[derive(Serialize, Deserialize)]
pub(super) struct EvidenceV2 {
    payment: Payment,
    revision: Option<RevisionReference>,
    rules: Vec<RuleEvidence>,
    engine: EngineId,
    fold_version: u16,
    reasons: Vec<OutcomeReason>,
    comparison_version: u16,
}

#[derive(Serialize, Deserialize)]
struct Payment {
    id: PaymentId,
    received_at_ms: u64,
    order: PaymentOrder,
}

#[derive(Serialize, Deserialize)]
struct PaymentOrder {
    reference: String,
    amount: Money,
    debtor: Party,
    creditor: Party,
    method: Method,
    customer: Option<String>,
    merchant: Option<String>,
    card: Option<Card>,
    device: Option<String>,
    ip: Option<IpAddr>,
    requested_at_ms: Option<u64>,
    purpose: Option<String>,
    remittance: Option<String>,
    metadata: Vec<(String, String)>,
}

#[derive(Serialize, Deserialize)]
struct Party {
    name: String,
    account: Option<Account>,
    bank: Option<String>,
    country: Option<Country>,
}

#[derive(Serialize, Deserialize)]
struct RuleEvidence {
    name: String,
    plugin: Digest,
    profile: Profile,
    on_failure: FailureOutcome,
    overridable: bool,
    mode: Mode,
    facts: Vec<Fact>,
    result: Option<RuleResult>,
    fuel_used: u64,
    elapsed_us: u32,
}

#[derive(Serialize, Deserialize)]
enum Fact {
    Absent,
    Listed(bool),
    Velocity { count: u64, total_minor: i64 },
}

impl From<EvidenceV1> for EvidenceV2 {
    fn from(stored: EvidenceV1) -> Self {
        let EvidenceV1 { payment, revision, rules, engine, fold_version, reasons } = stored;
        Self { payment, revision, rules, engine, fold_version, reasons, comparison_version: 1 }
    }
}

impl From<EvidenceV2> for Evidence {
    fn from(stored: EvidenceV2) -> Self {
        Self {
            payment: Arc::new(stored.payment.into()),
            revision: stored.revision,
            rules: stored.rules.into_iter().map(decision::RuleEvidence::from).collect(),
            engine: stored.engine,
            fold_version: stored.fold_version,
            reasons: stored.reasons,
            comparison_version: stored.comparison_version,
        }
    }
}

impl EvidenceV2 {
    /// `None` if the evidence has something that this version cannot hold.
    pub(super) fn of(evidence: &Evidence) -> Option<Self> {
        let payment = &*evidence.payment;
        if !EvidenceVersion::V2.lacks(&payment.order).is_empty() {
            return None;
        }
        Some(Self {
            payment: Payment {
                id: payment.id,
                received_at_ms: payment.received_at_ms,
                order: PaymentOrder::of(&payment.order),
            },
            revision: evidence.revision,
            rules: evidence.rules.iter().map(RuleEvidence::of).collect::<Option<_>>()?,
            engine: evidence.engine.clone(),
            fold_version: evidence.fold_version,
            reasons: evidence.reasons.clone(),
            comparison_version: evidence.comparison_version,
        })
    }
}

impl From<Payment> for payment::Payment {
    fn from(stored: Payment) -> Self {
        let Payment { id, received_at_ms, order } = stored;
        Self { id, received_at_ms, order: order.into() }
    }
}

impl From<PaymentOrder> for payment::PaymentOrder {
    fn from(stored: PaymentOrder) -> Self {
        let (debtor, creditor) = (stored.debtor.into(), stored.creditor.into());
        Self {
            customer: stored.customer,
            merchant: stored.merchant,
            card: stored.card,
            device: stored.device,
            ip: stored.ip,
            requested_at_ms: stored.requested_at_ms,
            purpose: stored.purpose,
            remittance: stored.remittance,
            metadata: stored.metadata,
            ..Self::of(stored.reference, stored.amount, debtor, creditor, stored.method)
        }
    }
}

impl PaymentOrder {
    fn of(order: &payment::PaymentOrder) -> Self {
        Self {
            reference: order.reference.clone(),
            amount: order.amount,
            debtor: Party::of(&order.debtor),
            creditor: Party::of(&order.creditor),
            method: order.method,
            customer: order.customer.clone(),
            merchant: order.merchant.clone(),
            card: order.card.clone(),
            device: order.device.clone(),
            ip: order.ip,
            requested_at_ms: order.requested_at_ms,
            purpose: order.purpose.clone(),
            remittance: order.remittance.clone(),
            metadata: order.metadata.clone(),
        }
    }
}

impl From<Party> for party::Party {
    fn from(stored: Party) -> Self {
        let Party { name, account, bank, country } = stored;
        Self { account, bank, country, ..Self::named(name) }
    }
}

impl Party {
    fn of(party: &party::Party) -> Self {
        Self {
            name: party.name.clone(),
            account: party.account.clone(),
            bank: party.bank.clone(),
            country: party.country.clone(),
        }
    }
}

impl From<RuleEvidence> for decision::RuleEvidence {
    fn from(stored: RuleEvidence) -> Self {
        Self {
            name: stored.name,
            plugin: stored.plugin,
            profile: stored.profile,
            on_failure: stored.on_failure,
            overridable: stored.overridable,
            mode: stored.mode,
            facts: stored.facts.into_iter().map(selector::Fact::from).collect(),
            result: stored.result,
            fuel_used: stored.fuel_used,
            elapsed_us: stored.elapsed_us,
        }
    }
}

impl RuleEvidence {
    fn of(rule: &decision::RuleEvidence) -> Option<Self> {
        Some(Self {
            name: rule.name.clone(),
            plugin: rule.plugin,
            profile: rule.profile,
            on_failure: rule.on_failure,
            overridable: rule.overridable,
            mode: rule.mode,
            facts: rule.facts.iter().map(Fact::of).collect::<Option<_>>()?,
            result: rule.result.clone(),
            fuel_used: rule.fuel_used,
            elapsed_us: rule.elapsed_us,
        })
    }
}

impl From<Fact> for selector::Fact {
    fn from(stored: Fact) -> Self {
        match stored {
            Fact::Absent => Self::Absent,
            Fact::Listed(listed) => Self::Listed(listed),
            Fact::Velocity { count, total_minor } => Self::Velocity { count, total_minor },
        }
    }
}

impl Fact {
    /// `None` for a kind of fact that came after version 2.
    fn of(fact: &selector::Fact) -> Option<Self> {
        match *fact {
            selector::Fact::Absent => Some(Self::Absent),
            selector::Fact::Listed(listed) => Some(Self::Listed(listed)),
            selector::Fact::Velocity { count, total_minor } => Some(Self::Velocity { count, total_minor }),
            selector::Fact::Aggregate(_) | selector::Fact::Table(_) | selector::Fact::Similar(_) => None,
        }
    }
}
