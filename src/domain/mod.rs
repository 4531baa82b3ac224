//! The types of payments, rules, verdicts and decisions, which all other modules use.
//!
//! Some computations here must give the same results for ever: the folds, the values of selectors,
//! and the forms in which values are compared. For that reason this module must not read a clock, a
//! file or a random number.

pub mod actor;
pub mod address;
pub mod aggregate;
pub mod audit;
pub mod backtest;
pub mod card_check;
pub mod card_number;
pub mod checkpoint;
pub mod client_certificate;
pub mod comparison;
pub mod corrected_time;
pub mod country;
pub mod decision;
pub mod duration_counts;
pub mod fair_queue;
#[cfg(test)]
pub mod fixtures;
pub mod line_format;
pub mod list;
pub mod millionths;
pub mod money;
pub mod openid;
pub mod outcome_counts;
pub mod party;
pub mod payment;
pub mod payment_event;
pub mod plugin;
pub mod proposal;
pub mod quarantine;
pub mod quotas;
pub mod rates;
pub mod reference;
pub mod removal;
pub mod retention;
pub mod review;
pub mod revocation;
pub mod rule_report;
pub mod ruleset;
pub mod selector;
pub mod series;
pub mod shadow;
pub mod signal;
pub mod similar_names;
pub mod table;
pub mod tenant;
pub mod text;
pub mod time;
pub mod token_buckets;
pub mod user;
pub mod verdict;
pub mod web_origin;
