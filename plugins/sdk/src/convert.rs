//! Conversions between the generated types of the contract and the types that
//! rules use.

use crate::bindings::tollgate::rules::types as wire;
use crate::{
    Account, Aggregate, AggregateQuery, Card, Cell, ChargeBearer, Conversion, Counting, DistinctCount,
    Evaluation, Fact, FactQuery, Matching, Method, Millionths, Money, Outcome, Party, PayeeMatch,
    PayeeVerification, Payment, PaymentEvent, PaymentFilter, PostalAddress, Reason, SeenPayment, Selector,
    Signal, SimilarEntry, TableLookup, TableRow, UltimateParty, Velocity, Verdict,
};

impl From<wire::Payment> for Payment {
    fn from(payment: wire::Payment) -> Self {
        Payment {
            id: payment.id,
            reference: payment.reference,
            amount: payment.amount.into(),
            debtor: payment.debtor.into(),
            creditor: payment.creditor.into(),
            ultimate_debtor: payment.ultimate_debtor.map(|party| Box::new(party.into())),
            ultimate_creditor: payment.ultimate_creditor.map(|party| Box::new(party.into())),
            intermediary_agents: payment.intermediary_agents,
            method: payment.method.into(),
            customer: payment.customer,
            merchant: payment.merchant,
            merchant_category: payment.merchant_category,
            card: payment.card.map(Card::from),
            device: payment.device,
            ip: payment.ip,
            received_at_ms: payment.received_at_ms,
            requested_at_ms: payment.requested_at_ms,
            purpose: payment.purpose,
            remittance: payment.remittance,
            end_to_end_id: payment.end_to_end_id,
            uetr: payment.uetr,
            charge_bearer: payment.charge_bearer.map(ChargeBearer::from),
            payee_verification: payment.payee_verification.map(PayeeVerification::from),
            metadata: payment.metadata,
            signals: payment.signals.into_iter().map(named_signal).collect(),
        }
    }
}

impl From<wire::Money> for Money {
    fn from(money: wire::Money) -> Self {
        Money { minor: money.minor, currency: money.currency, exponent: money.exponent }
    }
}

fn named_signal(signal: wire::Signal) -> (String, Signal) {
    let value = match signal.value {
        wire::SignalValue::Number(number) => Signal::Number(Millionths(number)),
        wire::SignalValue::Word(word) => Signal::Word(word),
    };
    (signal.name, value)
}

impl From<wire::Party> for Party {
    fn from(party: wire::Party) -> Self {
        Party {
            name: party.name,
            account: party.account.map(Account::from),
            bank: party.bank,
            country: party.country,
            address: party.address.map(|address| Box::new(address.into())),
        }
    }
}

impl From<wire::UltimateParty> for UltimateParty {
    fn from(party: wire::UltimateParty) -> Self {
        UltimateParty {
            name: party.name,
            account: party.account.map(Account::from),
            country: party.country,
            address: party.address.map(|address| Box::new(address.into())),
        }
    }
}

impl From<wire::Account> for Account {
    fn from(account: wire::Account) -> Self {
        match account {
            wire::Account::Iban(number) => Account::Iban(number),
            wire::Account::Other(number) => Account::Other(number),
        }
    }
}

impl From<wire::PostalAddress> for PostalAddress {
    fn from(address: wire::PostalAddress) -> Self {
        PostalAddress {
            department: address.department,
            sub_department: address.sub_department,
            street_name: address.street_name,
            building_number: address.building_number,
            building_name: address.building_name,
            floor: address.floor,
            post_box: address.post_box,
            room: address.room,
            post_code: address.post_code,
            town_name: address.town_name,
            town_location_name: address.town_location_name,
            district_name: address.district_name,
            country_sub_division: address.country_sub_division,
            country: address.country,
            address_lines: address.address_lines,
        }
    }
}

impl From<wire::ChargeBearer> for ChargeBearer {
    fn from(bearer: wire::ChargeBearer) -> Self {
        match bearer {
            wire::ChargeBearer::Debtor => ChargeBearer::Debtor,
            wire::ChargeBearer::Creditor => ChargeBearer::Creditor,
            wire::ChargeBearer::Shared => ChargeBearer::Shared,
            wire::ChargeBearer::ServiceLevel => ChargeBearer::ServiceLevel,
        }
    }
}

impl From<wire::PayeeVerification> for PayeeVerification {
    fn from(verification: wire::PayeeVerification) -> Self {
        let outcome = match verification.outcome {
            wire::PayeeMatch::Matches => PayeeMatch::Matches,
            wire::PayeeMatch::CloseMatch => PayeeMatch::CloseMatch,
            wire::PayeeMatch::NoMatch => PayeeMatch::NoMatch,
            wire::PayeeMatch::NotPossible => PayeeMatch::NotPossible,
        };
        PayeeVerification { outcome, suggested_name: verification.suggested_name }
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
            wire::Fact::Aggregate(aggregate) => Fact::Aggregate(Box::new(aggregate.into())),
            wire::Fact::Table(row) => Fact::Table(row.map(|row| {
                let cells = row.into_iter().map(|(column, cell)| (column, cell.into()));
                TableRow(cells.collect())
            })),
            wire::Fact::Similar(found) => {
                Fact::Similar(found.map(|found| SimilarEntry { entry: found.entry, score: found.score }))
            }
        }
    }
}

impl From<wire::AggregateFact> for Aggregate {
    fn from(fact: wire::AggregateFact) -> Self {
        let distinct = fact
            .distinct
            .map(|distinct| DistinctCount { count: distinct.count, is_lower_bound: distinct.is_lower_bound });
        Aggregate {
            count: fact.count,
            total_minor: fact.total_minor,
            overflowed: fact.overflowed,
            minimum_minor: fact.minimum_minor,
            maximum_minor: fact.maximum_minor,
            mean: fact.mean.map(Millionths),
            deviation: fact.deviation.map(Millionths),
            unconverted: fact.unconverted,
            distinct,
            first: fact.first.map(SeenPayment::from),
            last: fact.last.map(SeenPayment::from),
        }
    }
}

impl From<wire::SeenPayment> for SeenPayment {
    fn from(seen: wire::SeenPayment) -> Self {
        let outcome = match seen.outcome {
            wire::Outcome::Approve => Outcome::Approve,
            wire::Outcome::Review => Outcome::Review,
            wire::Outcome::Reject => Outcome::Reject,
        };
        SeenPayment {
            received_at_ms: seen.received_at_ms,
            amount: seen.amount.into(),
            outcome,
            debtor_country: seen.debtor_country,
            creditor_country: seen.creditor_country,
        }
    }
}

impl From<wire::Cell> for Cell {
    fn from(cell: wire::Cell) -> Self {
        match cell {
            wire::Cell::Text(text) => Cell::Text(text),
            wire::Cell::Integer(integer) => Cell::Integer(integer),
            wire::Cell::Number(number) => Cell::Number(Millionths(number)),
            wire::Cell::Flag(flag) => Cell::Flag(flag),
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
            FactQuery::Aggregate(query) => wire::FactQuery::Aggregate(query.into()),
            FactQuery::Table { table, selector, lookup } => wire::FactQuery::Table(wire::TableQuery {
                table,
                selector: selector.into(),
                lookup: lookup.into(),
            }),
            FactQuery::Similar { list, selector, score_at_least } => {
                wire::FactQuery::Similar(wire::SimilarQuery {
                    list,
                    selector: selector.into(),
                    score_at_least,
                })
            }
        }
    }
}

impl From<AggregateQuery> for wire::AggregateQuery {
    fn from(query: AggregateQuery) -> Self {
        wire::AggregateQuery {
            selectors: query.selectors.into_iter().map(wire::Selector::from).collect(),
            window_ms: query.window_ms,
            filter: query.filter.into(),
            conversion: query
                .conversion
                .map(|Conversion { table, currency }| wire::Conversion { table, currency }),
            distinct: query.distinct.map(wire::Selector::from),
            first_and_last: query.first_and_last,
        }
    }
}

impl From<PaymentFilter> for wire::PaymentFilter {
    fn from(filter: PaymentFilter) -> Self {
        wire::PaymentFilter {
            amount_at_least: filter.amount_at_least,
            amount_below: filter.amount_below,
            methods: filter.methods.into_iter().map(wire::Method::from).collect(),
            outcomes: filter.outcomes.into_iter().map(wire::Outcome::from).collect(),
            event: filter.event.map(wire::PaymentEvent::from),
        }
    }
}

impl From<Method> for wire::Method {
    fn from(method: Method) -> Self {
        match method {
            Method::Card => wire::Method::Card,
            Method::CreditTransfer => wire::Method::CreditTransfer,
            Method::Instant => wire::Method::Instant,
            Method::DirectDebit => wire::Method::DirectDebit,
            Method::Wallet => wire::Method::Wallet,
            Method::Other => wire::Method::Other,
        }
    }
}

impl From<Outcome> for wire::Outcome {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Approve => wire::Outcome::Approve,
            Outcome::Review => wire::Outcome::Review,
            Outcome::Reject => wire::Outcome::Reject,
        }
    }
}

impl From<PaymentEvent> for wire::PaymentEvent {
    fn from(event: PaymentEvent) -> Self {
        match event {
            PaymentEvent::Claimed => wire::PaymentEvent::Claimed,
            PaymentEvent::Approved => wire::PaymentEvent::Approved,
            PaymentEvent::Rejected => wire::PaymentEvent::Rejected,
            PaymentEvent::Expired => wire::PaymentEvent::Expired,
            PaymentEvent::Cancelled => wire::PaymentEvent::Cancelled,
            PaymentEvent::Settled => wire::PaymentEvent::Settled,
            PaymentEvent::Failed => wire::PaymentEvent::Failed,
            PaymentEvent::Refunded => wire::PaymentEvent::Refunded,
            PaymentEvent::Fraud => wire::PaymentEvent::Fraud,
        }
    }
}

impl From<TableLookup> for wire::TableLookup {
    fn from(lookup: TableLookup) -> Self {
        match lookup {
            TableLookup::Exact => wire::TableLookup::Exact,
            TableLookup::LongestPrefix => wire::TableLookup::LongestPrefix,
            TableLookup::Range => wire::TableLookup::Range,
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
            Selector::UltimateDebtorAccount => wire::Selector::UltimateDebtorAccount,
            Selector::UltimateCreditorAccount => wire::Selector::UltimateCreditorAccount,
            Selector::UltimateDebtorName => wire::Selector::UltimateDebtorName,
            Selector::UltimateCreditorName => wire::Selector::UltimateCreditorName,
            Selector::SuggestedPayeeName => wire::Selector::SuggestedPayeeName,
            Selector::CardBin => wire::Selector::CardBin,
            Selector::CardCountry => wire::Selector::CardCountry,
            Selector::MerchantCategory => wire::Selector::MerchantCategory,
            Selector::Reference => wire::Selector::Reference,
            Selector::EndToEndId => wire::Selector::EndToEndId,
            Selector::Uetr => wire::Selector::Uetr,
            Selector::Purpose => wire::Selector::Purpose,
            Selector::Remittance => wire::Selector::Remittance,
            Selector::Amount => wire::Selector::Amount,
            Selector::Currency => wire::Selector::Currency,
            Selector::Method => wire::Selector::Method,
            Selector::Signal(name) => wire::Selector::Signal(name),
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
