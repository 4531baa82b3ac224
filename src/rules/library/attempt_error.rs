//! Why a plugin could not be added under one profile.
//!
//! Failures of the machine must not be reported as faults of the plugin: its author could do
//! nothing about them.

use crate::domain::plugin::Profile;
use crate::rules::compile::CompileError;
use crate::rules::{AddPluginError, EngineError};

pub(super) enum AddAttemptError {
    /// The plugin exceeds the limits of the profile. A larger profile may be enough.
    TooLarge(String),
    Other(AddPluginError),
}

impl AddAttemptError {
    pub(super) fn too_large(profile: Profile, why: &wasmtime::Error) -> Self {
        Self::TooLarge(format!("the plugin does not fit the limits of {} plugins: {why:#}", profile.name()))
    }

    pub(super) fn unavailable(why: String) -> Self {
        Self::Other(AddPluginError::Engine(EngineError::Unavailable(why)))
    }
}

impl From<AddPluginError> for AddAttemptError {
    fn from(error: AddPluginError) -> Self {
        Self::Other(error)
    }
}

impl From<EngineError> for AddAttemptError {
    fn from(error: EngineError) -> Self {
        Self::Other(error.into())
    }
}

impl From<CompileError> for AddAttemptError {
    fn from(error: CompileError) -> Self {
        match error {
            // The large profile has higher limits for compiling, but a small plugin that needs them
            // is not an interpreter. It is refused.
            CompileError::Invalid(_)
            | CompileError::CpuTime(_)
            | CompileError::Memory(_)
            | CompileError::TooLarge(_)
            | CompileError::Crashed(_) => Self::Other(AddPluginError::Refused(error.to_string())),
            CompileError::Host(why) => Self::unavailable(why),
        }
    }
}
