//! The use cases: what Tollgate does with payments, rules and rulesets.
//!
//! Owns the order of things: facts before rules, rules before the fold, the
//! journal before the answer. Must never know HTTP; SQL and Wasmtime stay
//! behind `storage` and the `RuleEngine` port.

pub mod active;
pub mod active_ruleset;
pub mod backtest;
pub mod card_checks;
pub mod checkpoints;
pub mod compile_turns;
mod conduct;
pub mod counts;
pub mod deployed;
pub mod diagnoses;
pub mod dry_run;
pub mod evaluate;
mod failure_window;
pub mod feed;
pub mod imports;
pub mod in_flight;
pub mod journal_clock;
pub mod nodes;
pub mod plugins;
pub mod quarantine;
pub mod query_checks;
pub mod replay;
pub mod rulesets;
pub mod shadow;
pub mod single_flight;
pub mod spool;
pub mod stages;
pub mod submit;
pub mod trial;
pub mod uploads;
pub mod verify;
