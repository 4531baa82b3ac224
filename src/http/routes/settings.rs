//! The settings of a tenant that its administrators change, a module for each.

pub mod retention;
