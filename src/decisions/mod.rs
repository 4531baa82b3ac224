//! The use cases: what Tollgate does with payments, rules and rulesets.
//!
//! Nothing here knows HTTP. SQL stays in `storage`, and Wasmtime behind the `RuleEngine` port.

pub mod backfill;
pub mod backtest;
pub mod card_checks;
pub mod checkpoints;
pub mod compile_turns;
mod conduct;
pub mod counted_store;
pub mod counts;
pub mod csv_records;
pub mod deployment;
pub mod deployments;
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
pub mod retention;
pub mod review_expiry;
pub mod reviews;
pub mod rulesets;
pub mod runnable_ruleset;
pub mod search_index;
pub mod shadow;
pub mod single_flight;
pub mod spool;
pub mod stages;
pub mod submit;
pub mod tables;
pub mod trial;
pub mod uploads;
pub mod verify;
