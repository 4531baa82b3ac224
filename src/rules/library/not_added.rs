//! Why bytes did not become a plugin, as the library tells it apart.
//!
//! Owns what is the bytes' fault and what the machine's. Must never blame a plugin for the
//! latter: its author can do nothing about it.

use crate::domain::plugin::Profile;
use crate::rules::compile::CompileError;
use crate::rules::{AddPluginError, EngineError};

pub(super) enum NotAdded {
    /// The profile's limits do not hold it; a larger profile's may.
    TooLarge(String),
    Other(AddPluginError),
}

impl NotAdded {
    pub(super) fn too_large(profile: Profile, why: &wasmtime::Error) -> Self {
        Self::TooLarge(format!("the plugin does not fit the limits of {} plugins: {why:#}", profile.name()))
    }

    pub(super) fn unavailable(why: String) -> Self {
        Self::Other(AddPluginError::Engine(EngineError::Unavailable(why)))
    }
}

impl From<AddPluginError> for NotAdded {
    fn from(error: AddPluginError) -> Self {
        Self::Other(error)
    }
}

impl From<EngineError> for NotAdded {
    fn from(error: EngineError) -> Self {
        Self::Other(error.into())
    }
}

impl From<CompileError> for NotAdded {
    fn from(error: CompileError) -> Self {
        match error {
            // A larger profile compiles longer, but what needs that is no small plugin that grew:
            // refuse.
            CompileError::Invalid(_)
            | CompileError::CpuTime(_)
            | CompileError::Memory(_)
            | CompileError::TooLarge(_)
            | CompileError::Crashed(_) => Self::Other(AddPluginError::Refused(error.to_string())),
            CompileError::Host(why) => Self::unavailable(why),
        }
    }
}
