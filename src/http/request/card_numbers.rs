//! Card numbers in headers and query parameters.
//!
//! A response or log line must never repeat a card number.

use std::sync::Arc;

use rocket::Request;

use crate::domain::card_check::{CheckedField, UncheckedFields};
use crate::domain::card_number::{CARD_NUMBER_FOUND, account_holds_card_number, holds_card_number};
use crate::domain::decision::IdempotencyKey;
use crate::http::edge::context::RequestContext;
use crate::http::request::fields;
use crate::http::response::problem::{PartError, Problem, ProblemKind};
use crate::http::services::Services;

/// The fields that the tenant has exempted from the check. Empty if the tenant is not known yet.
pub fn unchecked_of(request: &Request<'_>) -> UncheckedFields {
    let tenant = RequestContext::of(request).tenant.get();
    let services = request.rocket().state::<Arc<Services>>();
    tenant
        .zip(services)
        .map_or(UncheckedFields::NONE, |(tenant, services)| services.card_checks.unchecked(*tenant))
}

/// The field that a query parameter filters by.
fn searched_field(parameter: &str) -> Option<CheckedField> {
    match parameter {
        "reference" | "end_to_end_id" => Some(CheckedField::Reference),
        "account" => Some(CheckedField::AccountOther),
        "customer" => Some(CheckedField::Customer),
        "merchant" => Some(CheckedField::Merchant),
        "idempotency_key" => Some(CheckedField::IdempotencyKey),
        "value" => Some(CheckedField::ListValue),
        "key" => Some(CheckedField::TableValue),
        _ => None,
    }
}

/// Cursors are not checked: the server created their text.
pub fn parameter_holds_card_number(parameter: &str, value: &str, unchecked: UncheckedFields) -> bool {
    let checked = searched_field(parameter).is_none_or(|field| !unchecked.contains(field));
    let holds = match parameter {
        "cursor" => return false,
        // The value of a list or table may be an account: its kind is not known here.
        "account" | "key" | "value" => account_holds_card_number,
        _ => holds_card_number,
    };
    checked && holds(value)
}

pub fn key_error(key: &IdempotencyKey, unchecked: UncheckedFields) -> Option<PartError> {
    let found = !unchecked.contains(CheckedField::IdempotencyKey) && holds_card_number(key.as_str());
    found.then(|| outside_of_bodies("Idempotency-Key"))
}

pub fn outside_of_bodies(name: &str) -> PartError {
    PartError { pointer: None, parameter: Some(name.to_owned()), detail: CARD_NUMBER_FOUND.to_owned() }
}

/// The problem for a request whose only errors are values that are refused now. In a body these
/// need not be card numbers, so its problem is `InvalidBody`.
pub fn refused(errors: Vec<PartError>) -> Problem {
    if errors.iter().any(|error| error.pointer.is_some()) {
        return fields::refused(errors);
    }
    Problem::with_errors(
        ProblemKind::CardNumber,
        "The request contains what looks like a card number. Card numbers must never be sent.",
        errors,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistyped_iban_can_be_searched_for_and_a_card_number_cannot() {
        for (parameter, value, found) in [
            ("account", "CH3600762944632591062", false),
            ("account", "CH36 0076 2944 6325 9106 2", false),
            ("value", "CH3600762944632591062", false),
            ("account", "DE4111111111111111", true),
            ("account", "4111111111111111", true),
            ("value", "4111 1111 1111 1111", true),
            ("customer", "CH3600762944632591062", true),
        ] {
            let holds = parameter_holds_card_number(parameter, value, UncheckedFields::NONE);
            assert_eq!(holds, found, "{parameter}={value}");
        }
    }
}
