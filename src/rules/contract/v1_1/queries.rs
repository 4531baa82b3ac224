//! The queries of contract 1.1.0.
//!
//! They become canonical: the order of selectors, methods and outcomes has no meaning, and queries
//! that differ only in it must be equal.

use super::super::bounds::Violation;
use super::types;
use super::{counting_from, matching_from};
use crate::domain::aggregate::{AggregateQuery, Conversion, PaymentFilter};
use crate::domain::money::Currency;
use crate::domain::payment::Method;
use crate::domain::payment_event::EventKind;
use crate::domain::selector::{FactQuery, Selector, TableLookup};
use crate::domain::verdict::Outcome;

/// There are fewer methods and outcomes than this, so a longer list repeats some.
const ALTERNATIVES_MAX: usize = 8;

pub(super) fn query_from(query: types::FactQuery) -> Result<FactQuery, Violation> {
    Ok(match query {
        types::FactQuery::Listed(query) => FactQuery::Listed {
            list: query.list,
            selector: selector_from(query.selector),
            matching: matching_from(query.matching),
        },
        types::FactQuery::Velocity(query) => FactQuery::Velocity {
            selector: selector_from(query.selector),
            window_ms: query.window_ms,
            counting: counting_from(query.counting),
        },
        types::FactQuery::Aggregate(query) => FactQuery::Aggregate(Box::new(aggregate_from(query)?)),
        types::FactQuery::Table(query) => FactQuery::Table {
            table: query.table,
            selector: selector_from(query.selector),
            lookup: match query.lookup {
                types::TableLookup::Exact => TableLookup::Exact,
                types::TableLookup::LongestPrefix => TableLookup::LongestPrefix,
                types::TableLookup::Range => TableLookup::Range,
            },
        },
        types::FactQuery::Similar(query) => FactQuery::Similar {
            list: query.list,
            selector: selector_from(query.selector),
            score_at_least: query.score_at_least,
        },
    })
}

fn aggregate_from(query: types::AggregateQuery) -> Result<AggregateQuery, Violation> {
    let mut selectors: Vec<Selector> = query.selectors.into_iter().map(selector_from).collect();
    selectors.sort();
    Ok(AggregateQuery {
        selectors,
        window_ms: query.window_ms,
        filter: filter_from(query.filter)?,
        conversion: query.conversion.map(conversion_from).transpose()?,
        distinct: query.distinct.map(selector_from),
        first_and_last: query.first_and_last,
    })
}

fn filter_from(filter: types::PaymentFilter) -> Result<PaymentFilter, Violation> {
    Ok(PaymentFilter {
        amount_at_least: filter.amount_at_least,
        amount_below: filter.amount_below,
        methods: each_once("methods", filter.methods, method_from)?,
        outcomes: each_once("outcomes", filter.outcomes, outcome_from)?,
        event: filter.event.map(event_from),
    })
}

fn each_once<From, To: Ord>(
    what: &str,
    listed: Vec<From>,
    convert: impl Fn(From) -> To,
) -> Result<Vec<To>, Violation> {
    if listed.len() > ALTERNATIVES_MAX {
        return Err(format!("a filter of {} {what}, at most {ALTERNATIVES_MAX} are allowed", listed.len()));
    }
    let mut converted: Vec<To> = listed.into_iter().map(convert).collect();
    converted.sort();
    converted.dedup();
    Ok(converted)
}

fn conversion_from(conversion: types::Conversion) -> Result<Conversion, Violation> {
    let types::Conversion { table, currency } = conversion;
    let currency = Currency::parse(&currency)
        .map_err(|_| "a conversion to a currency that is not in ISO 4217".to_owned())?;
    Ok(Conversion { table, currency })
}

fn method_from(method: types::Method) -> Method {
    match method {
        types::Method::Card => Method::Card,
        types::Method::CreditTransfer => Method::CreditTransfer,
        types::Method::Instant => Method::Instant,
        types::Method::DirectDebit => Method::DirectDebit,
        types::Method::Wallet => Method::Wallet,
        types::Method::Other => Method::Other,
    }
}

fn outcome_from(outcome: types::Outcome) -> Outcome {
    match outcome {
        types::Outcome::Approve => Outcome::Approve,
        types::Outcome::Review => Outcome::Review,
        types::Outcome::Reject => Outcome::Reject,
    }
}

fn event_from(event: types::PaymentEvent) -> EventKind {
    use types::PaymentEvent as From;
    match event {
        From::Claimed => EventKind::Claimed,
        From::Approved => EventKind::Approved,
        From::Rejected => EventKind::Rejected,
        From::Expired => EventKind::Expired,
        From::Cancelled => EventKind::Cancelled,
        From::Settled => EventKind::Settled,
        From::Failed => EventKind::Failed,
        From::Refunded => EventKind::Refunded,
        From::Fraud => EventKind::Fraud,
    }
}

fn selector_from(selector: types::Selector) -> Selector {
    use types::Selector as From;
    match selector {
        From::DebtorAccount => Selector::DebtorAccount,
        From::CreditorAccount => Selector::CreditorAccount,
        From::DebtorName => Selector::DebtorName,
        From::CreditorName => Selector::CreditorName,
        From::DebtorBank => Selector::DebtorBank,
        From::CreditorBank => Selector::CreditorBank,
        From::DebtorCountry => Selector::DebtorCountry,
        From::CreditorCountry => Selector::CreditorCountry,
        From::Customer => Selector::Customer,
        From::Merchant => Selector::Merchant,
        From::Card => Selector::Card,
        From::Device => Selector::Device,
        From::Ip => Selector::Ip,
        From::Metadata(key) => Selector::Metadata(key),
        From::UltimateDebtorAccount => Selector::UltimateDebtorAccount,
        From::UltimateCreditorAccount => Selector::UltimateCreditorAccount,
        From::UltimateDebtorName => Selector::UltimateDebtorName,
        From::UltimateCreditorName => Selector::UltimateCreditorName,
        From::SuggestedPayeeName => Selector::SuggestedPayeeName,
        From::CardBin => Selector::CardBin,
        From::CardCountry => Selector::CardCountry,
        From::MerchantCategory => Selector::MerchantCategory,
        From::Reference => Selector::Reference,
        From::EndToEndId => Selector::EndToEndId,
        From::Uetr => Selector::Uetr,
        From::Purpose => Selector::Purpose,
        From::Remittance => Selector::Remittance,
        From::Amount => Selector::Amount,
        From::Currency => Selector::Currency,
        From::Method => Selector::Method,
        From::Signal(name) => Selector::Signal(name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn aggregate(change: impl FnOnce(&mut types::AggregateQuery)) -> Result<FactQuery, Violation> {
        let mut query = types::AggregateQuery {
            selectors: vec![types::Selector::Ip, types::Selector::DebtorAccount],
            window_ms: 1,
            filter: types::PaymentFilter {
                amount_at_least: None,
                amount_below: None,
                methods: vec![],
                outcomes: vec![],
                event: None,
            },
            conversion: None,
            distinct: None,
            first_and_last: false,
        };
        change(&mut query);
        query_from(types::FactQuery::Aggregate(query))
    }

    #[test]
    fn an_aggregate_has_one_form_whatever_the_order_of_its_parts() {
        let one = aggregate(|query| {
            query.filter.methods = vec![types::Method::Wallet, types::Method::Card];
            query.filter.outcomes = vec![types::Outcome::Review, types::Outcome::Approve];
        });
        let other = aggregate(|query| {
            query.selectors.reverse();
            query.filter.methods = vec![types::Method::Card, types::Method::Wallet, types::Method::Card];
            query.filter.outcomes = vec![types::Outcome::Approve, types::Outcome::Review];
        });
        assert_eq!(one, other);
        let Ok(FactQuery::Aggregate(query)) = one else { panic!("{one:?}") };
        assert_eq!(query.selectors, [Selector::DebtorAccount, Selector::Ip]);
        assert_eq!(query.filter.methods, [Method::Card, Method::Wallet]);
        assert_eq!(query.filter.outcomes, [Outcome::Approve, Outcome::Review]);
    }

    #[test]
    fn a_selector_twice_stays_so_that_the_bounds_refuse_it() {
        let query = aggregate(|query| query.selectors = vec![types::Selector::Ip, types::Selector::Ip]);
        let Ok(FactQuery::Aggregate(query)) = query else { panic!("{query:?}") };
        assert_eq!(query.selectors, [Selector::Ip, Selector::Ip]);
    }

    #[test]
    fn long_filters_and_unknown_currencies_are_refused() {
        let methods = aggregate(|query| query.filter.methods = vec![types::Method::Card; 9]);
        assert_eq!(methods, Err("a filter of 9 methods, at most 8 are allowed".to_owned()));
        for currency in ["", "eur", "XYZ"] {
            let (table, currency) = ("rates".to_owned(), currency.to_owned());
            let query = aggregate(|query| query.conversion = Some(types::Conversion { table, currency }));
            assert_eq!(query, Err("a conversion to a currency that is not in ISO 4217".to_owned()));
        }
    }
}
