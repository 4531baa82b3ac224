//! The settings of a tenant that its administrators change, a module for each.
//!
//! A setting on which other people rely must not be changed without asking whether it needs a second
//! person.

pub mod openid;
pub mod retention;
pub mod reviews;
pub mod second_person;
