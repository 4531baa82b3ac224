//! The errors of a body, collected while it is read.
//!
//! There are two kinds of errors. A body with an error of the first kind was always invalid. The
//! other kind only refuses new bodies: such a body may be stored, since it was valid before a
//! check or a code changed, or while an operator had switched a check off.

use std::cell::{Cell, RefCell};

use super::{Context, Fields, Place};
use crate::http::request::json::Value;
use crate::http::response::problem::{ERRORS_MAX, PartError, Problem, ProblemKind};

/// The content of a body, and the reasons to refuse it unless it is already stored: card numbers,
/// and codes that are no longer assigned.
#[derive(Debug, PartialEq)]
pub struct Screened<T> {
    pub value: T,
    pub refused_now: Vec<PartError>,
}

/// Reads the whole body, and collects all errors.
pub fn read<T>(
    root: &Value,
    context: Context<'_>,
    read: impl FnOnce(&mut Fields<'_>) -> Option<T>,
) -> Result<T, Problem> {
    let Screened { value, refused_now } = screen(root, context, read)?;
    if refused_now.is_empty() { Ok(value) } else { Err(refused(refused_now)) }
}

/// Like `read`, for a caller that checks whether the content is already stored.
pub fn screen<T>(
    root: &Value,
    context: Context<'_>,
    read: impl FnOnce(&mut Fields<'_>) -> Option<T>,
) -> Result<Screened<T>, Problem> {
    let errors = Errors::default();
    let value = Place::root(&errors, context).object(root, read);
    let (told, was_always_invalid) = (errors.told.into_inner(), errors.was_always_invalid.get());
    match value {
        Some(value) if !was_always_invalid => Ok(Screened { value, refused_now: told }),
        _ => Err(refused(told)),
    }
}

pub fn refused(errors: Vec<PartError>) -> Problem {
    Problem::with_errors(ProblemKind::InvalidBody, "The body has errors.", errors)
}

#[derive(Debug, Default)]
pub(super) struct Errors {
    told: RefCell<Vec<PartError>>,
    /// Whether there is an error that every release would have reported.
    was_always_invalid: Cell<bool>,
}

impl Errors {
    pub(super) fn add(&self, pointer: String, detail: String) {
        self.was_always_invalid.set(true);
        self.refuse_now(pointer, detail);
    }

    pub(super) fn refuse_now(&self, pointer: String, detail: String) {
        let mut told = self.told.borrow_mut();
        if told.len() < ERRORS_MAX {
            told.push(PartError { pointer: Some(pointer), parameter: None, detail });
        }
    }
}
