//! Every text that comes in is looked through for card numbers.
//!
//! Owns the two places where a text can stand in a body: values and keys. Must
//! never refuse by itself: whoever reads the body decides.

use std::collections::BTreeSet;

use super::{Fields, expected};
use crate::domain::card_check::CheckedField;
use crate::domain::card_number::{CARD_NUMBER_FOUND, holds_card_number};
use crate::http::json::Value;

/// A key is the client's own text as well.
const CARD_NUMBER_IN_A_KEY: &str = "has a key that looks like a card number, which must never be sent";

impl Fields<'_> {
    /// Notes a card number and reads on: the caller decides what becomes of the body.
    pub(super) fn screen_text(&self, name: &str, text: &str, field: Option<CheckedField>) {
        let checked = field.is_none_or(|field| !self.errors.unchecked.contains(field));
        if checked && holds_card_number(text) {
            self.errors.tell(self.pointer_to(name), CARD_NUMBER_FOUND.to_owned());
        }
    }

    /// Any object, as canonical JSON text. Keys may not repeat at any depth, and no
    /// text in it may hold a card number.
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
                    here.screen_key(key, None);
                    self.look_inside(value, &here.pointer_to(key)) && good
                });
                here.refuse_repeated() && inside
            }
            Value::Array(items) => items.iter().enumerate().fold(true, |good, (place, item)| {
                self.look_inside(item, &format!("{pointer}/{place}")) && good
            }),
            Value::Text(text) if holds_card_number(text) => {
                self.errors.tell(pointer.to_owned(), CARD_NUMBER_FOUND.to_owned());
                true
            }
            _ => true,
        }
    }

    /// A key is told by the object it stands in, since a pointer would repeat it.
    pub(super) fn screen_key(&self, key: &str, field: Option<CheckedField>) {
        let checked = field.is_none_or(|field| !self.errors.unchecked.contains(field));
        if checked && holds_card_number(key) {
            self.errors.tell(self.pointer.clone(), CARD_NUMBER_IN_A_KEY.to_owned());
        }
    }
}
