//! Reading a parsed body member by member.
//!
//! Owns the collecting of every error of a body at once, each with its JSON
//! pointer, and that no text comes in with a card number in it. What an earlier
//! release may have stored is read even if it is refused now: the caller decides.
//! Must never repeat a value: details say what was expected and what kind of thing
//! was found.

mod errors;
mod screening;

use std::collections::BTreeSet;
use std::fmt::Display;
use std::ops::RangeInclusive;

use crate::domain::card_check::CheckedField;
use crate::domain::card_number::holds_card_number;
use crate::http::request::json::{Object, Value};
use errors::Errors;
pub use errors::{Screened, read, refused, screen};
use screening::Screen;

/// Keys come from outside: longer ones are cut in pointers.
const KEY_SHOWN_MAX: usize = 64;
/// In characters; longer ones are refused before anything looks through them.
const KEY_LENGTH_MAX: usize = 200;

/// One object while it is read.
#[derive(Debug)]
pub struct Fields<'a> {
    object: &'a Object,
    pointer: String,
    errors: &'a Errors,
    known: BTreeSet<&'static str>,
}

impl<'a> Fields<'a> {
    pub fn error(&self, name: &str, detail: impl Into<String>) {
        self.errors.add(self.pointer_to(name), detail.into());
    }

    /// Refuses what may be stored already: it is an error of a new body alone.
    pub fn refuse_now(&self, name: &str, detail: impl Into<String>) {
        self.errors.refuse_now(self.pointer_to(name), detail.into());
    }

    /// The member, if it is there; null counts as absent.
    fn find(&mut self, name: &'static str) -> Option<&'a Value> {
        self.known.insert(name);
        self.object.members.get(name).filter(|value| **value != Value::Null)
    }

    /// Whether the member is there, right or wrong.
    pub fn has(&self, name: &str) -> bool {
        self.object.members.get(name).is_some_and(|value| *value != Value::Null)
    }

    fn required(&mut self, name: &'static str) -> Option<&'a Value> {
        let found = self.find(name);
        if found.is_none() {
            self.error(name, "is required");
        }
        found
    }

    /// Text of 1 to `length_max` characters, without control characters or a card number.
    pub fn text(&mut self, name: &'static str, length_max: usize) -> Option<String> {
        let value = self.required(name)?;
        self.text_of(name, value, length_max, Screen::of(None))
    }

    pub fn optional_text(&mut self, name: &'static str, length_max: usize) -> Option<String> {
        let value = self.find(name)?;
        self.text_of(name, value, length_max, Screen::of(None))
    }

    /// Text that an operator may let look like a card number.
    pub fn identifier(
        &mut self,
        field: CheckedField,
        name: &'static str,
        length_max: usize,
    ) -> Option<String> {
        let value = self.required(name)?;
        self.text_of(name, value, length_max, Screen::of(Some(field)))
    }

    /// The same for what may be an IBAN.
    pub fn account_identifier(
        &mut self,
        field: CheckedField,
        name: &'static str,
        length_max: usize,
    ) -> Option<String> {
        let value = self.required(name)?;
        self.text_of(name, value, length_max, Screen::of_account(field))
    }

    pub fn optional_identifier(
        &mut self,
        field: CheckedField,
        name: &'static str,
        length_max: usize,
    ) -> Option<String> {
        let value = self.find(name)?;
        self.text_of(name, value, length_max, Screen::of(Some(field)))
    }

    fn text_of(&self, name: &str, value: &Value, length_max: usize, screen: Screen) -> Option<String> {
        let Value::Text(text) = value else {
            self.error(name, expected("text", value));
            return None;
        };
        if let Some(detail) = text_error(text, length_max) {
            self.error(name, detail);
            return None;
        }
        self.screen_text(name, text, screen);
        Some(text.clone())
    }

    /// Text that `parse` understands; its error says what was expected.
    pub fn parsed<T, E: Display>(
        &mut self,
        name: &'static str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        let value = self.required(name)?;
        self.parsed_of(name, value, None, parse)
    }

    pub fn optional_parsed<T, E: Display>(
        &mut self,
        name: &'static str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        let value = self.find(name)?;
        self.parsed_of(name, value, None, parse)
    }

    pub fn optional_parsed_identifier<T, E: Display>(
        &mut self,
        field: CheckedField,
        name: &'static str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        let value = self.find(name)?;
        self.parsed_of(name, value, Some(field), parse)
    }

    /// Text that `parse` understands as any release did; `refusal` says why it is refused
    /// now, a card number in it included.
    pub fn parsed_as_ever<T, E: Display>(
        &mut self,
        name: &'static str,
        parse: impl FnOnce(&str) -> Result<T, E>,
        refusal: impl FnOnce(&T) -> Option<String>,
    ) -> Option<T> {
        let value = self.required(name)?;
        self.parsed_as_ever_of(name, value, parse, refusal)
    }

    pub fn optional_parsed_as_ever<T, E: Display>(
        &mut self,
        name: &'static str,
        parse: impl FnOnce(&str) -> Result<T, E>,
        refusal: impl FnOnce(&T) -> Option<String>,
    ) -> Option<T> {
        let value = self.find(name)?;
        self.parsed_as_ever_of(name, value, parse, refusal)
    }

    fn parsed_as_ever_of<T, E: Display>(
        &self,
        name: &str,
        value: &Value,
        parse: impl FnOnce(&str) -> Result<T, E>,
        refusal: impl FnOnce(&T) -> Option<String>,
    ) -> Option<T> {
        let parsed = self.parsed_unscreened_of(name, value, parse)?;
        if let Some(detail) = refusal(&parsed) {
            self.refuse_now(name, detail);
        }
        Some(parsed)
    }

    fn parsed_of<T, E: Display>(
        &self,
        name: &str,
        value: &Value,
        field: Option<CheckedField>,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        let parsed = self.parsed_unscreened_of(name, value, parse)?;
        if let Value::Text(text) = value {
            self.screen_text(name, text, Screen::of(field));
        }
        Some(parsed)
    }

    fn parsed_unscreened_of<T, E: Display>(
        &self,
        name: &str,
        value: &Value,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        let Value::Text(text) = value else {
            self.error(name, expected("text", value));
            return None;
        };
        parse(text).map_err(|error| self.error(name, error.to_string())).ok()
    }

    pub fn integer(&mut self, name: &'static str, range: RangeInclusive<i64>) -> Option<i64> {
        let value = self.required(name)?;
        self.integer_of(name, value, range)
    }

    pub fn optional_integer(&mut self, name: &'static str, range: RangeInclusive<i64>) -> Option<i64> {
        let value = self.find(name)?;
        self.integer_of(name, value, range)
    }

    fn integer_of(&self, name: &str, value: &Value, range: RangeInclusive<i64>) -> Option<i64> {
        let wanted = format!("a whole number from {} to {}", range.start(), range.end());
        let Value::Integer(number) = value else {
            self.error(name, expected(&wanted, value));
            return None;
        };
        let inside = i64::try_from(*number).ok().filter(|number| range.contains(number));
        if inside.is_none() {
            self.error(name, format!("expected {wanted}"));
        }
        inside
    }

    /// A percentage with at most two decimals, as ten-thousandths within `range`.
    pub fn percent(&mut self, name: &'static str, range: RangeInclusive<u16>) -> Option<u16> {
        let hundredth = |ten_thousandths: u16| f64::from(ten_thousandths) / 100.0;
        let (least, most) = (hundredth(*range.start()), hundredth(*range.end()));
        let wanted = format!("a number from {least} to {most} with at most two decimals");
        let value = self.required(name)?;
        let percent = match value {
            Value::Integer(number) => i32::try_from(*number).map_or(f64::INFINITY, f64::from),
            Value::Float(number) => *number,
            other => {
                self.error(name, expected(&wanted, other));
                return None;
            }
        };
        let found = range.clone().find(|ten_thousandths| hundredth(*ten_thousandths) == percent);
        if found.is_none() {
            self.error(name, format!("expected {wanted}"));
        }
        found
    }

    pub fn flag(&mut self, name: &'static str, default: bool) -> bool {
        match self.find(name) {
            None => default,
            Some(Value::Bool(value)) => *value,
            Some(other) => {
                self.error(name, expected("true or false", other));
                default
            }
        }
    }

    pub fn nested<T>(
        &mut self,
        name: &'static str,
        read: impl FnOnce(&mut Fields<'_>) -> Option<T>,
    ) -> Option<T> {
        let value = self.required(name)?;
        self.errors.object(value, self.pointer_to(name), read)
    }

    pub fn optional_nested<T>(
        &mut self,
        name: &'static str,
        read: impl FnOnce(&mut Fields<'_>) -> Option<T>,
    ) -> Option<T> {
        let value = self.find(name)?;
        self.errors.object(value, self.pointer_to(name), read)
    }

    /// An array of objects. What is wrong in one does not hide the others.
    pub fn each<T>(
        &mut self,
        name: &'static str,
        count_max: usize,
        read: impl FnMut(&mut Fields<'_>) -> Option<T>,
    ) -> Option<Vec<T>> {
        let value = self.required(name)?;
        self.each_of(name, value, count_max, read)
    }

    /// The same; nothing where it is absent.
    pub fn optional_each<T>(
        &mut self,
        name: &'static str,
        count_max: usize,
        read: impl FnMut(&mut Fields<'_>) -> Option<T>,
    ) -> Option<Vec<T>> {
        match self.find(name) {
            Some(value) => self.each_of(name, value, count_max, read),
            None => Some(Vec::new()),
        }
    }

    fn each_of<T>(
        &self,
        name: &str,
        value: &Value,
        count_max: usize,
        mut read: impl FnMut(&mut Fields<'_>) -> Option<T>,
    ) -> Option<Vec<T>> {
        let Value::Array(items) = value else {
            self.error(name, expected("an array", value));
            return None;
        };
        if items.len() > count_max {
            self.error(name, format!("expected at most {count_max} items"));
            return None;
        }
        let pointer = self.pointer_to(name);
        let read_all = items
            .iter()
            .enumerate()
            .map(|(place, item)| self.errors.object(item, format!("{pointer}/{place}"), &mut read));
        // Collected twice, so that a bad item does not end the reading.
        read_all.collect::<Vec<_>>().into_iter().collect()
    }

    /// An object of the client's own keys, each with a text.
    pub fn dictionary(
        &mut self,
        field: CheckedField,
        name: &'static str,
        count_max: usize,
        is_key: impl Fn(&str) -> Result<(), &'static str>,
        value_length_max: usize,
    ) -> Option<Vec<(String, String)>> {
        let value = self.find(name)?;
        let pointer = self.pointer_to(name);
        let Value::Object(object) = value else {
            self.error(name, expected("an object", value));
            return None;
        };
        if object.members.len() > count_max {
            self.error(name, format!("expected at most {count_max} keys"));
            return None;
        }
        let dictionary = Fields { object, pointer, errors: self.errors, known: BTreeSet::new() };
        dictionary.refuse_repeated();
        let read_all = object.members.iter().map(|(key, value)| {
            let key_good = dictionary.screen_key(key, Some(field))
                && is_key(key).map_err(|detail| dictionary.error(key, detail)).is_ok();
            let text = dictionary.text_of(key, value, value_length_max, Screen::of(Some(field)))?;
            key_good.then(|| (key.clone(), text))
        });
        read_all.collect::<Vec<_>>().into_iter().collect()
    }

    fn refuse_the_rest(&self) {
        self.refuse_repeated();
        for key in self.object.members.keys().filter(|key| !self.known.contains(key.as_str())) {
            if self.screen_key(key, None) {
                self.error(key, "is not a known field");
            }
        }
    }

    fn refuse_repeated(&self) -> bool {
        for key in &self.object.repeated {
            self.error(key, "appears more than once in its object");
        }
        self.object.repeated.is_empty()
    }

    fn pointer_to(&self, key: &str) -> String {
        if is_too_long(key) || holds_card_number(key) {
            return self.pointer.clone();
        }
        let shown: String = key.chars().take(KEY_SHOWN_MAX).collect();
        format!("{}/{}", self.pointer, shown.replace('~', "~0").replace('/', "~1"))
    }
}

fn is_too_long(key: &str) -> bool {
    key.chars().nth(KEY_LENGTH_MAX).is_some()
}

fn expected(what: &str, found: &Value) -> String {
    format!("expected {what}, found {}", found.kind())
}

/// What is wrong with a text, if anything is.
pub fn text_error(text: &str, length_max: usize) -> Option<String> {
    let length = text.chars().count();
    if !(1..=length_max).contains(&length) || text.trim().is_empty() {
        return Some(format!("expected text of 1 to {length_max} characters"));
    }
    text.chars().any(char::is_control).then(|| "expected text without control characters".to_owned())
}

#[cfg(test)]
#[path = "fields_tests.rs"]
mod tests;
