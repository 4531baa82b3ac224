//! The trade, pure: what payments, rules, verdicts and decisions are.
//!
//! Owns the words every other room speaks and the computations that must come
//! out the same for ever (the fold, the selector values and the forms they are
//! compared in). Must never know Rocket, sqlx or Wasmtime, and never read a clock, a
//! file or a random number.

pub mod audit;
pub mod backtest;
pub mod card_check;
pub mod card_number;
pub mod checkpoint;
pub mod comparison;
pub mod corrected_time;
pub mod country;
pub mod decision;
pub mod fair_queue;
#[cfg(test)]
pub mod fixtures;
pub mod list;
pub mod money;
pub mod party;
pub mod payment;
pub mod payment_event;
pub mod plugin;
pub mod quarantine;
pub mod quotas;
pub mod ruleset;
pub mod selector;
pub mod shadow;
pub mod tenant;
pub mod text;
pub mod time;
pub mod token_buckets;
pub mod verdict;
