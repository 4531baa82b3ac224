//! Signals: what another system of the client said about a payment, such as the score of a model.
//!
//! Their names have the form of metadata keys. What a signal means is up to the tenant's rules.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::millionths::Millionths;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Signal {
    Number(Millionths),
    Word(String),
}

/// The text under which payments with this signal are kept together.
impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => number.fmt(f),
            Self::Word(word) => f.write_str(word),
        }
    }
}
