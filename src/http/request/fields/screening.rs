//! Every text that comes in is looked through for card numbers.
//!
//! Owns the two places where a text can stand in a body: values and keys. Must
//! never refuse by itself: whoever reads the body decides.

use std::collections::BTreeSet;

use super::{Fields, KEY_LENGTH_MAX, expected, is_too_long};
use crate::domain::card_check::CheckedField;
use crate::domain::card_number::{CARD_NUMBER_FOUND, account_holds_card_number, holds_card_number};
use crate::http::request::json::Value;

/// A key is the client's own text as well.
const CARD_NUMBER_IN_A_KEY: &str = "has a key that looks like a card number; card numbers must never be sent";

/// How a text is looked through.
#[derive(Clone, Copy)]
pub(super) struct Screen {
    /// Where an operator may switch the check off.
    field: Option<CheckedField>,
    holds_card_number: fn(&str) -> bool,
}

impl Screen {
    pub(super) fn of(field: Option<CheckedField>) -> Self {
        Self { field, holds_card_number }
    }

    pub(super) fn of_account(field: CheckedField) -> Self {
        Self { field: Some(field), holds_card_number: account_holds_card_number }
    }
}

impl Fields<'_> {
    /// Notes a card number and reads on: the caller decides what becomes of the body.
    pub(super) fn screen_text(&self, name: &str, text: &str, screen: Screen) {
        if self.is_checked(screen.field) && (screen.holds_card_number)(text) {
            self.refuse_now(name, CARD_NUMBER_FOUND);
        }
    }

    fn is_checked(&self, field: Option<CheckedField>) -> bool {
        field.is_none_or(|field| !self.errors.unchecked.contains(field))
    }

    /// Any object, as canonical JSON text. Keys may not repeat at any depth, and neither
    /// a text nor a number in it may hold a card number.
    pub fn any_object(&mut self, name: &'static str) -> Option<String> {
        let value = self.required(name)?;
        let Value::Object(_) = value else {
            self.error(name, expected("an object", value));
            return None;
        };
        let pointer = self.pointer_to(name);
        self.look_inside(value, &pointer).then(|| value.canonical())
    }

    fn look_inside(&self, value: &Value, pointer: &str) -> bool {
        match value {
            Value::Object(object) => {
                let here = Fields {
                    object,
                    pointer: pointer.to_owned(),
                    errors: self.errors,
                    known: BTreeSet::new(),
                };
                let inside = object.members.iter().fold(true, |good, (key, value)| {
                    let fits = here.screen_key(key, None);
                    self.look_inside(value, &here.pointer_to(key)) && fits && good
                });
                here.refuse_repeated() && inside
            }
            Value::Array(items) => items.iter().enumerate().fold(true, |good, (place, item)| {
                self.look_inside(item, &format!("{pointer}/{place}")) && good
            }),
            Value::Text(text) => self.look_through(text, pointer),
            // As it would be stored.
            Value::Integer(_) | Value::Float(_) => self.look_through(&value.canonical(), pointer),
            Value::Null | Value::Bool(_) => true,
        }
    }

    fn look_through(&self, text: &str, pointer: &str) -> bool {
        if holds_card_number(text) {
            self.errors.refuse_now(pointer.to_owned(), CARD_NUMBER_FOUND.to_owned());
        }
        true
    }

    /// A key is told by the object it stands in, since a pointer would repeat it. Answers
    /// whether it is short enough to be one.
    pub(super) fn screen_key(&self, key: &str, field: Option<CheckedField>) -> bool {
        if is_too_long(key) {
            let detail = format!("has a key longer than {KEY_LENGTH_MAX} characters");
            self.errors.add(self.pointer.clone(), detail);
            return false;
        }
        if self.is_checked(field) && holds_card_number(key) {
            self.errors.refuse_now(self.pointer.clone(), CARD_NUMBER_IN_A_KEY.to_owned());
        }
        true
    }
}
