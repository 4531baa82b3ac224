//! Conversions between the generated types of the contract and the types that
//! rules use.

use crate::bindings::tollgate::rules::types as wire;
use crate::{
    Account, Card, Counting, Evaluation, Fact, FactQuery, Matching, Method, Money, Party, Payment, Reason,
    Selector, Velocity, Verdict,
};

impl From<wire::Payment> for Payment {
    fn from(payment: wire::Payment) -> Self {
        Payment {
            id: payment.id,
            reference: payment.reference,
            amount: Money {
                minor: payment.amount.minor,
                currency: payment.amount.currency,
                exponent: payment.amount.exponent,
            },
            debtor: payment.debtor.into(),
            creditor: payment.creditor.into(),
            method: payment.method.into(),
            customer: payment.customer,
            merchant: payment.merchant,
            card: payment.card.map(Card::from),
            device: payment.device,
            ip: payment.ip,
            received_at_ms: payment.received_at_ms,
            requested_at_ms: payment.requested_at_ms,
            purpose: payment.purpose,
            remittance: payment.remittance,
            metadata: payment.metadata,
        }
    }
}

impl From<wire::Party> for Party {
    fn from(party: wire::Party) -> Self {
        let account = party.account.map(|account| match account {
            wire::Account::Iban(number) => Account::Iban(number),
            wire::Account::Other(number) => Account::Other(number),
        });
        Party { name: party.name, account, bank: party.bank, country: party.country }
    }
}

impl From<wire::Card> for Card {
    fn from(card: wire::Card) -> Self {
        Card { fingerprint: card.fingerprint, bin: card.bin, country: card.country }
    }
}

impl From<wire::Method> for Method {
    fn from(method: wire::Method) -> Self {
        match method {
            wire::Method::Card => Method::Card,
            wire::Method::CreditTransfer => Method::CreditTransfer,
            wire::Method::Instant => Method::Instant,
            wire::Method::DirectDebit => Method::DirectDebit,
            wire::Method::Wallet => Method::Wallet,
            wire::Method::Other => Method::Other,
        }
    }
}

impl From<wire::Fact> for Fact {
    fn from(fact: wire::Fact) -> Self {
        match fact {
            wire::Fact::Absent => Fact::Absent,
            wire::Fact::Listed(listed) => Fact::Listed(listed),
            wire::Fact::Velocity(velocity) => {
                Fact::Velocity(Velocity { count: velocity.count, total_minor: velocity.total_minor })
            }
        }
    }
}

impl From<FactQuery> for wire::FactQuery {
    fn from(query: FactQuery) -> Self {
        match query {
            FactQuery::Listed { list, selector, matching } => wire::FactQuery::Listed(wire::ListedQuery {
                list,
                selector: selector.into(),
                matching: matching.into(),
            }),
            FactQuery::Velocity { selector, window_ms, counting } => {
                wire::FactQuery::Velocity(wire::VelocityQuery {
                    selector: selector.into(),
                    window_ms,
                    counting: counting.into(),
                })
            }
        }
    }
}

impl From<Selector> for wire::Selector {
    fn from(selector: Selector) -> Self {
        match selector {
            Selector::DebtorAccount => wire::Selector::DebtorAccount,
            Selector::CreditorAccount => wire::Selector::CreditorAccount,
            Selector::DebtorName => wire::Selector::DebtorName,
            Selector::CreditorName => wire::Selector::CreditorName,
            Selector::DebtorBank => wire::Selector::DebtorBank,
            Selector::CreditorBank => wire::Selector::CreditorBank,
            Selector::DebtorCountry => wire::Selector::DebtorCountry,
            Selector::CreditorCountry => wire::Selector::CreditorCountry,
            Selector::Customer => wire::Selector::Customer,
            Selector::Merchant => wire::Selector::Merchant,
            Selector::Card => wire::Selector::Card,
            Selector::Device => wire::Selector::Device,
            Selector::Ip => wire::Selector::Ip,
            Selector::Metadata(key) => wire::Selector::Metadata(key),
        }
    }
}

impl From<Matching> for wire::Matching {
    fn from(matching: Matching) -> Self {
        match matching {
            Matching::Exact => wire::Matching::Exact,
            Matching::Prefix => wire::Matching::Prefix,
            Matching::NormalizedName => wire::Matching::NormalizedName,
        }
    }
}

impl From<Counting> for wire::Counting {
    fn from(counting: Counting) -> Self {
        match counting {
            Counting::Submitted => wire::Counting::Submitted,
            Counting::Approved => wire::Counting::Approved,
        }
    }
}

impl From<Reason> for wire::Reason {
    fn from(reason: Reason) -> Self {
        wire::Reason { code: reason.code, message: reason.message, field: reason.field }
    }
}

impl From<Evaluation> for wire::Evaluation {
    fn from(evaluation: Evaluation) -> Self {
        let verdict = match evaluation.verdict {
            Verdict::Pass => wire::Verdict::Pass,
            Verdict::Allow(reasons) => wire::Verdict::Allow(contract_reasons(reasons)),
            Verdict::Review(reasons) => wire::Verdict::Review(contract_reasons(reasons)),
            Verdict::Reject(reasons) => wire::Verdict::Reject(contract_reasons(reasons)),
        };
        let notes = evaluation.notes.into_iter().take(MAX_TEXTS).collect();
        wire::Evaluation { verdict, notes }
    }
}

/// The contract's limit on reasons, and on notes.
const MAX_TEXTS: usize = 32;

/// The reasons in the contract's type. Reasons beyond the limit are dropped.
pub(crate) fn contract_reasons(reasons: Vec<Reason>) -> Vec<wire::Reason> {
    reasons.into_iter().take(MAX_TEXTS).map(wire::Reason::from).collect()
}
