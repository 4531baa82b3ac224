//! The place of a value in a body: its pointer, and the errors that are added there.

use std::collections::BTreeSet;

use super::{Context, Errors, Fields, expected, step_to};
use crate::domain::card_check::CheckedField;
use crate::domain::list::ListKinds;
use crate::http::request::json::{Object, Value};

#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    /// The pointer of the object or array that contains the value.
    parent: &'a str,
    step: Step<'a>,
    errors: &'a Errors,
    context: Context<'a>,
}

#[derive(Debug, Clone, Copy)]
enum Step<'a> {
    /// The body itself.
    Root,
    Member(&'a str),
    Item(usize),
}

impl<'a> Place<'a> {
    pub(super) fn root(errors: &'a Errors, context: Context<'a>) -> Self {
        Self { parent: "", step: Step::Root, errors, context }
    }

    pub(super) fn member(parent: &'a str, name: &'a str, errors: &'a Errors, context: Context<'a>) -> Self {
        Self { parent, step: Step::Member(name), errors, context }
    }

    /// An item of the array at this place. `pointer` is that of the array.
    pub fn item<'p>(&'p self, pointer: &'p str, index: usize) -> Place<'p> {
        Place { parent: pointer, step: Step::Item(index), ..*self }
    }

    pub fn pointer(&self) -> String {
        match self.step {
            Step::Root => String::new(),
            Step::Member(name) => format!("{}{}", self.parent, step_to(name)),
            Step::Item(index) => format!("{}/{index}", self.parent),
        }
    }

    pub fn error(&self, detail: impl Into<String>) {
        self.errors.add(self.pointer(), detail.into());
    }

    /// Adds an error that only refuses new bodies: the value may already be stored.
    pub fn refuse_now(&self, detail: impl Into<String>) {
        self.errors.refuse_now(self.pointer(), detail.into());
    }

    pub fn now_ms(&self) -> u64 {
        self.context.now_ms
    }

    pub fn at_ms(&self) -> u64 {
        self.context.at_ms
    }

    pub fn list_kinds(&self) -> Option<&'a ListKinds> {
        self.context.list_kinds
    }

    pub fn is_checked(&self, field: Option<CheckedField>) -> bool {
        field.is_none_or(|field| !self.context.unchecked.contains(field))
    }

    pub fn text<'v>(&self, value: &'v Value) -> Option<&'v str> {
        let Value::Text(text) = value else {
            self.error(expected("text", value));
            return None;
        };
        Some(text)
    }

    pub fn object<T>(&self, value: &Value, read: impl FnOnce(&mut Fields<'_>) -> Option<T>) -> Option<T> {
        let Value::Object(object) = value else {
            self.error(expected("an object", value));
            return None;
        };
        let mut fields = self.fields(object);
        let value = read(&mut fields);
        fields.refuse_the_rest();
        value
    }

    pub fn fields<'p>(&'p self, object: &'p Object) -> Fields<'p> {
        Fields {
            object,
            pointer: self.pointer(),
            errors: self.errors,
            context: self.context,
            known: BTreeSet::new(),
        }
    }
}
