//! Searches every key and value of a body for card numbers.
//!
//! A card number is an error that only refuses new bodies, so reading continues.

use super::{Fields, KEY_LENGTH_MAX, Place, is_too_long};
use crate::domain::card_check::CheckedField;
use crate::domain::card_number::{CARD_NUMBER_FOUND, account_holds_card_number, holds_card_number};
use crate::http::request::json::Value;

/// The error for a card number in a key.
const CARD_NUMBER_IN_A_KEY: &str = "has a key that looks like a card number; card numbers must never be sent";

impl Place<'_> {
    /// Adds an error if the text contains a card number. `field` must be given if operators can
    /// exempt it from the check.
    pub fn screen(&self, text: &str, field: Option<CheckedField>) {
        if self.is_checked(field) && holds_card_number(text) {
            self.refuse_now(CARD_NUMBER_FOUND);
        }
    }

    /// Like `screen`, for a text that may be an IBAN.
    pub fn screen_account(&self, text: &str, field: CheckedField) {
        if self.is_checked(Some(field)) && account_holds_card_number(text) {
            self.refuse_now(CARD_NUMBER_FOUND);
        }
    }

    /// Screens a value at every depth. Returns whether all keys are short enough and none repeats.
    pub fn screen_nested(&self, value: &Value) -> bool {
        match value {
            Value::Object(object) => {
                let here = self.fields(object);
                let inside = object.members.iter().fold(true, |good, (key, value)| {
                    let fits = here.screen_key(key, None);
                    here.place(key).screen_nested(value) && fits && good
                });
                here.refuse_repeated() && inside
            }
            Value::Array(items) => {
                let pointer = self.pointer();
                items
                    .iter()
                    .enumerate()
                    .fold(true, |good, (index, item)| self.item(&pointer, index).screen_nested(item) && good)
            }
            Value::Text(text) => {
                self.screen(text, None);
                true
            }
            // Screened in the form that would be stored.
            Value::Integer(_) | Value::Float(_) => {
                self.screen(&value.canonical(), None);
                true
            }
            Value::Null | Value::Bool(_) => true,
        }
    }
}

impl Fields<'_> {
    /// Returns whether the key is short enough. Errors have the pointer of the object, since a
    /// pointer to the member would repeat the key.
    pub fn screen_key(&self, key: &str, field: Option<CheckedField>) -> bool {
        if is_too_long(key) {
            let detail = format!("has a key longer than {KEY_LENGTH_MAX} characters");
            self.errors.add(self.pointer.clone(), detail);
            return false;
        }
        if self.place(key).is_checked(field) && holds_card_number(key) {
            self.errors.refuse_now(self.pointer.clone(), CARD_NUMBER_IN_A_KEY.to_owned());
        }
        true
    }
}
