//! Reads bodies and query parameters, and reports every error with its field.

pub(super) mod accept;
pub(super) mod body;
pub(super) mod card_numbers;
pub(super) mod codecs;
pub mod cursor;
pub(super) mod declaration;
pub(super) mod fields;
pub(super) mod json;
pub mod line_error;
pub(super) mod query;
pub(super) mod received;
