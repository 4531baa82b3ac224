//! The error of one line in a file of lines. Must never contain a value.

use crate::http::request::json::SyntaxError;
use crate::http::response::problem::PartError;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LineError {
    /// JSON pointer. Empty for the whole line.
    pub pointer: String,
    pub detail: String,
}

impl LineError {
    pub fn whole(detail: impl Into<String>) -> Self {
        Self { pointer: String::new(), detail: detail.into() }
    }
}

impl From<PartError> for LineError {
    fn from(error: PartError) -> Self {
        Self { pointer: error.pointer.unwrap_or_default(), detail: error.detail }
    }
}

impl From<SyntaxError> for LineError {
    fn from(error: SyntaxError) -> Self {
        Self::whole(format!("expected JSON: {} at column {}", error.what, error.column))
    }
}
