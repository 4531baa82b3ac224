//! Tollgate decides payments by rules that are sandboxed plugins.

pub mod config;
pub mod domain;
pub mod rules;
pub mod storage;
pub mod telemetry;
