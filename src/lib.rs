//! Tollgate decides payments by rules that are sandboxed plugins.

pub mod auth;
pub mod domain;
pub mod rules;
pub mod world;
