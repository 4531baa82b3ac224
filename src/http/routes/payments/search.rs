//! The parameters of the search for payments.
//!
//! A value must be compared in the form in which payments have it, so nothing is changed here.

use uuid::Uuid;

use crate::domain::decision::Origin;
use crate::domain::money::{AMOUNT_MINOR_MAX, Currency};
use crate::domain::payment::{Method, Uetr};
use crate::domain::payment_event::EventKind;
use crate::domain::selector::Selector;
use crate::domain::tenant::ClientId;
use crate::domain::verdict::Outcome;
use crate::http::request::query::Query;
use crate::http::routes::payments::body::{IDENTIFIER_LENGTH_MAX, REFERENCE_LENGTH_MAX};
use crate::storage::decisions::DecisionFilter;
use crate::storage::search::SearchOrder;

const ACCOUNT_LENGTH_MAX: usize = 64;
const REASON_LENGTH_MAX: usize = 64;

pub(super) fn filter_of(query: &mut Query) -> DecisionFilter {
    let outcome = |name: &str| Outcome::parse(name).ok_or("expected approve, review or reject");
    let order = |name: &str| match name {
        "newest" => Ok(SearchOrder::Newest),
        "oldest" => Ok(SearchOrder::Oldest),
        _ => Err("expected newest or oldest"),
    };
    let values = values_of(query);
    DecisionFilter {
        outcomes: query.list("outcome", outcome),
        from_ms: query.time_ms("from_ms"),
        to_ms: query.time_ms("to_ms"),
        account: query.text("account", ACCOUNT_LENGTH_MAX),
        values,
        currency: query.parsed("currency", Currency::parse).map(|currency| currency.code().to_owned()),
        method: one_of(query, "method", Method::parse, Method::ALL.map(Method::name)),
        amount_at_least_minor: query.parsed("amount_at_least", amount_minor),
        amount_below_minor: query.parsed("amount_below", amount_minor),
        client: query
            .parsed("client_id", |text| Uuid::try_parse(text).map(ClientId).map_err(|_| "expected a UUID")),
        revision: query.parsed("revision", revision),
        origin: one_of(query, "origin", Origin::parse, Origin::ALL.map(Origin::name)),
        reason: query.text("reason", REASON_LENGTH_MAX),
        event: one_of(query, "event", EventKind::parse, EventKind::ALL.map(EventKind::name)),
        order: query.parsed("order", order).unwrap_or_default(),
        position: None,
        limit: 0,
    }
}

fn values_of(query: &mut Query) -> Vec<(Selector, String)> {
    let mut values = Vec::new();
    for (name, selector) in
        [("customer", Selector::Customer), ("merchant", Selector::Merchant), ("card", Selector::Card)]
    {
        values.extend(query.text(name, IDENTIFIER_LENGTH_MAX).map(|value| (selector, value)));
    }
    for (name, selector) in [("reference", Selector::Reference), ("end_to_end_id", Selector::EndToEndId)] {
        values.extend(query.text(name, REFERENCE_LENGTH_MAX).map(|value| (selector, value)));
    }
    let uetr = query.parsed("uetr", Uetr::parse);
    values.extend(uetr.map(|uetr| (Selector::Uetr, uetr.to_string())));
    values
}

fn one_of<T, const N: usize>(
    query: &mut Query,
    parameter: &str,
    parse: impl Fn(&str) -> Option<T>,
    names: [&str; N],
) -> Option<T> {
    let expected = || format!("expected one of {}", names.join(", "));
    query.parsed(parameter, |text| parse(text).ok_or_else(expected))
}

pub fn amount_minor(text: &str) -> Result<i64, String> {
    let amount = text.parse().ok().filter(|amount| (0..=AMOUNT_MINOR_MAX).contains(amount));
    amount.ok_or_else(|| format!("expected minor units, a whole number from 0 to {AMOUNT_MINOR_MAX}"))
}

fn revision(text: &str) -> Result<i32, &'static str> {
    text.parse().ok().filter(|number| *number > 0).ok_or("expected the number of a revision")
}
