//! The API and the page: Rocket, and every JSON shape.
//!
//! Owns routes, guards, problems, the edge and the OpenAPI document. Must
//! never decide anything of the trade, and never put payment data, tokens or
//! raw paths into a log.

mod answer;
mod body;
mod context;
pub mod cursor;
mod decisions;
mod documented;
pub mod edge;
mod evidence;
mod failure;
mod fields;
mod guard;
mod json;
mod lists;
mod oauth;
mod operations;
mod payment_body;
mod payments;
mod plugins;
mod problem;
mod query;
mod ruleset_shapes;
mod rulesets;
pub mod services;
