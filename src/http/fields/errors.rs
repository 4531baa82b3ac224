//! What is wrong with a body, collected while it is read.
//!
//! Owns the difference between a body that is wrong and one that would be right
//! but for its card numbers. Must never hold a value.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;

use super::{Fields, expected};
use crate::domain::card_check::Unchecked;
use crate::http::json::Value;
use crate::http::problem::{ERRORS_MAX, Kind, PartError, Problem};

/// What was read, and where it holds card numbers.
#[derive(Debug, PartialEq)]
pub struct Screened<T> {
    pub value: T,
    pub card_numbers: Vec<PartError>,
}

/// Reads the whole body. All errors are found before the answer.
pub fn read<T>(
    root: &Value,
    unchecked: Unchecked,
    read: impl FnOnce(&mut Fields<'_>) -> Option<T>,
) -> Result<T, Problem> {
    let Screened { value, card_numbers } = screen(root, unchecked, read)?;
    if card_numbers.is_empty() { Ok(value) } else { Err(refused(card_numbers)) }
}

/// The same, for a caller that needs the content even if card numbers are all that is wrong.
pub fn screen<T>(
    root: &Value,
    unchecked: Unchecked,
    read: impl FnOnce(&mut Fields<'_>) -> Option<T>,
) -> Result<Screened<T>, Problem> {
    let errors = Errors { unchecked, ..Errors::default() };
    let value = errors.object(root, String::new(), read);
    let (told, is_wrong) = (errors.told.into_inner(), errors.is_wrong.get());
    match value {
        Some(value) if !is_wrong => Ok(Screened { value, card_numbers: told }),
        _ => Err(refused(told)),
    }
}

fn refused(errors: Vec<PartError>) -> Problem {
    Problem::with_errors(Kind::InvalidBody, "The body has errors.", errors)
}

#[derive(Debug, Default)]
pub(super) struct Errors {
    told: RefCell<Vec<PartError>>,
    /// Whether more than card numbers is wrong.
    is_wrong: Cell<bool>,
    pub(super) unchecked: Unchecked,
}

impl Errors {
    pub(super) fn add(&self, pointer: String, detail: String) {
        self.is_wrong.set(true);
        self.tell(pointer, detail);
    }

    pub(super) fn tell(&self, pointer: String, detail: String) {
        let mut told = self.told.borrow_mut();
        if told.len() < ERRORS_MAX {
            told.push(PartError { pointer: Some(pointer), parameter: None, detail });
        }
    }

    pub(super) fn object<T>(
        &self,
        value: &Value,
        pointer: String,
        read: impl FnOnce(&mut Fields<'_>) -> Option<T>,
    ) -> Option<T> {
        let Value::Object(object) = value else {
            self.add(pointer, expected("an object", value));
            return None;
        };
        let mut fields = Fields { object, pointer, errors: self, known: BTreeSet::new() };
        let value = read(&mut fields);
        fields.refuse_the_rest();
        value
    }
}
