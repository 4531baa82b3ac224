//! Reads a parsed body member by member.
//!
//! All errors of a body are collected, each with its JSON pointer. Every text is searched for
//! card numbers. A value that an earlier release accepted is read even if it is refused now: the
//! caller decides what follows. An error must never repeat a value: it names what was expected
//! and the kind of value that was found.

mod errors;
mod place;
mod screening;

use std::collections::BTreeSet;

use crate::domain::card_check::UncheckedFields;
use crate::domain::card_number::holds_card_number;
use crate::domain::list::ListKinds;
use crate::http::request::codecs::Codec;
use crate::http::request::json::{Object, Value};
use crate::http::rfc3339::name_without_unit;
use errors::Errors;
pub use errors::{Screened, read, refused, screen};
pub use place::Place;

/// In characters. Longer keys are cut in pointers, since clients choose them.
const KEY_SHOWN_MAX: usize = 64;
/// In characters. Longer keys are refused before they are searched for card numbers.
const KEY_LENGTH_MAX: usize = 200;

/// What reading a body depends on, apart from the body.
#[derive(Debug, Clone, Copy)]
pub struct Context<'c> {
    /// The fields that are exempt from the check for card numbers.
    pub unchecked: UncheckedFields,
    pub now_ms: u64,
    /// Codes must be valid at this time: now, or when an imported payment was received.
    pub at_ms: u64,
    /// The kinds of the list that an entry is for. `None` for other bodies.
    pub list_kinds: Option<&'c ListKinds>,
}

impl Context<'_> {
    pub fn of(unchecked: UncheckedFields, now_ms: u64) -> Self {
        Self { unchecked, now_ms, at_ms: now_ms, list_kinds: None }
    }
}

/// The members of one object.
#[derive(Debug)]
pub struct Fields<'a> {
    object: &'a Object,
    pointer: String,
    errors: &'a Errors,
    context: Context<'a>,
    known: BTreeSet<&'static str>,
}

impl<'a> Fields<'a> {
    /// Reads a member. Null counts as absent, unless it means something to the codec.
    pub fn member<C: Codec>(&mut self, name: &'static str, codec: &C) -> Option<C::Value> {
        self.known.insert(name);
        match self.object.members.get(name) {
            Some(value) if *value != Value::Null => codec.read(self.place(name), value),
            found => {
                let absent = if found.is_some() { codec.null() } else { codec.absent() };
                if absent.is_none() {
                    self.error(name, "is required");
                }
                absent
            }
        }
    }

    /// Whether the member is present, valid or not.
    pub fn has(&self, name: &str) -> bool {
        self.value(name).is_some()
    }

    /// The member as written, valid or not. Null counts as absent. Its texts are not screened.
    pub fn value(&self, name: &str) -> Option<&'a Value> {
        self.object.members.get(name).filter(|value| **value != Value::Null)
    }

    /// Adds an error at a member, and for a time at the one of its two members that was sent.
    pub fn error(&self, name: &str, detail: impl Into<String>) {
        let notation = name_without_unit(name).filter(|notation| self.has(notation) && !self.has(name));
        self.place(notation.unwrap_or(name)).error(detail);
    }

    pub fn now_ms(&self) -> u64 {
        self.context.now_ms
    }

    /// Sets the time for the members that are read after this.
    pub fn set_time(&mut self, at_ms: u64) {
        self.context.at_ms = at_ms;
    }

    pub fn place<'p>(&'p self, name: &'p str) -> Place<'p> {
        Place::member(&self.pointer, name, self.errors, self.context)
    }

    fn refuse_the_rest(&self) {
        self.refuse_repeated();
        for key in self.object.members.keys().filter(|key| !self.known.contains(key.as_str())) {
            if self.screen_key(key, None) {
                self.error(key, "is not a known field");
            }
        }
    }

    pub fn refuse_repeated(&self) -> bool {
        for key in &self.object.repeated {
            self.error(key, "appears more than once in its object");
        }
        self.object.repeated.is_empty()
    }
}

fn is_too_long(key: &str) -> bool {
    key.chars().nth(KEY_LENGTH_MAX).is_some()
}

/// The part that a member adds to the pointer of its object. Empty if the key must not be shown.
fn step_to(key: &str) -> String {
    if is_too_long(key) || holds_card_number(key) {
        return String::new();
    }
    let shown: String = key.chars().take(KEY_SHOWN_MAX).collect();
    format!("/{}", shown.replace('~', "~0").replace('/', "~1"))
}

pub fn expected(what: &str, found: &Value) -> String {
    format!("expected {what}, found {}", found.kind())
}

/// Checks the length of a text, and that it is not blank and has no control characters.
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
