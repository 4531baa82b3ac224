//! The tests that need a real Postgres. One crate, so that there is one cluster.
#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test that cannot go on has failed, and may say why"
)]

mod activation;
mod aggregates;
mod audit;
mod backtests;
mod browser;
mod canary;
mod card_numbers;
mod clocks;
mod command_line;
mod comparison;
mod compile_turns;
mod crash;
mod database_errors;
mod database_tls;
mod demo;
mod diagnoses;
mod documented_answers;
mod documented_bounds;
mod documents;
mod dry_runs;
mod facts;
mod failing_rules;
mod feed;
mod import;
mod in_flight;
mod intake;
mod isolation;
mod journal;
mod lists;
mod log;
mod metrics_page;
mod nodes;
mod oauth;
mod operations;
mod outage;
mod payment_events;
mod payments;
mod plugins;
mod private_server;
mod problems;
mod protocol;
mod provisioning;
mod quarantine;
mod quotas;
mod rate_limits;
mod replay;
mod retries;
mod rulesets;
mod security;
mod sessions;
mod shadow;
mod silence;
mod stopping;
mod story;
mod support;
mod two_processes;
mod unread;
mod uploads;
mod verify;
mod walls;
