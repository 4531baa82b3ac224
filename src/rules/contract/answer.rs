//! What a call into a plugin returns, in the same form for every version of the contract.

use crate::domain::selector::FactQuery;
use crate::domain::verdict::Reason;

/// A rule's answer to its settings, checked against the bounds.
#[derive(Debug)]
pub(in crate::rules) enum SettingsAnswer {
    Accepted { queries: Vec<FactQuery>, state: Vec<u8> },
    Refused(Vec<Reason>),
}

/// Why a call gave no answer.
#[derive(Debug)]
pub(in crate::rules) enum CallFault {
    /// The rule returned an error with this text.
    Rule(String),
    /// The answer is outside the bounds. The text names the bound.
    OutOfBounds(String),
    /// No instance could be made. Unless it trapped, the cause is outside the plugin.
    Instance(wasmtime::Error),
    /// The call trapped, or its answer could not be read.
    Engine(wasmtime::Error),
}

impl CallFault {
    pub(in crate::rules) fn into_error(self) -> Option<wasmtime::Error> {
        match self {
            Self::Engine(error) | Self::Instance(error) => Some(error),
            Self::Rule(_) | Self::OutOfBounds(_) => None,
        }
    }
}

impl From<wasmtime::Error> for CallFault {
    fn from(error: wasmtime::Error) -> Self {
        Self::Engine(error)
    }
}
