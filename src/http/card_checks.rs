//! Card numbers outside of bodies, and which fields a tenant has unchecked.
//!
//! Owns how headers and query parameters with a card number are refused. Must
//! never repeat one: neither in an answer nor in the log.

use std::sync::Arc;

use rocket::Request;

use super::context::RequestContext;
use super::problem::{Kind, PartError, Problem};
use super::services::Services;
use crate::domain::card_check::{CheckedField, Unchecked};
use crate::domain::card_number::{CARD_NUMBER_FOUND, holds_card_number};
use crate::domain::decision::IdempotencyKey;

/// For an unknown tenant every field is checked.
pub fn unchecked_of(request: &Request<'_>) -> Unchecked {
    let tenant = RequestContext::of(request).tenant.get();
    let services = request.rocket().state::<Arc<Services>>();
    tenant.zip(services).map_or(Unchecked::NONE, |(tenant, services)| services.card_checks.unchecked(*tenant))
}

/// The field that a query parameter asks for by its value.
fn asked_field(parameter: &str) -> Option<CheckedField> {
    match parameter {
        "reference" => Some(CheckedField::Reference),
        "account" => Some(CheckedField::AccountOther),
        "customer" => Some(CheckedField::Customer),
        "merchant" => Some(CheckedField::Merchant),
        "idempotency_key" => Some(CheckedField::IdempotencyKey),
        "value" => Some(CheckedField::ListValue),
        _ => None,
    }
}

/// Cursors are not checked: Tollgate itself made their text.
pub fn parameter_holds_card_number(parameter: &str, value: &str, unchecked: Unchecked) -> bool {
    let checked = asked_field(parameter).is_none_or(|field| !unchecked.contains(field));
    parameter != "cursor" && checked && holds_card_number(value)
}

pub fn key_error(key: &IdempotencyKey, unchecked: Unchecked) -> Option<PartError> {
    let found = !unchecked.contains(CheckedField::IdempotencyKey) && holds_card_number(key.as_str());
    found.then(|| outside_of_bodies("Idempotency-Key"))
}

pub fn outside_of_bodies(name: &str) -> PartError {
    PartError { pointer: None, parameter: Some(name.to_owned()), detail: CARD_NUMBER_FOUND.to_owned() }
}

/// The problem of a request in which nothing else is wrong.
pub fn refused(errors: Vec<PartError>) -> Problem {
    let in_body = errors.iter().any(|error| error.pointer.is_some());
    let kind = if in_body { Kind::InvalidBody } else { Kind::CardNumber };
    Problem::with_errors(kind, "What looks like a card number must never be sent.", errors)
}
