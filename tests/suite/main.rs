//! The tests that need a real Postgres. One crate, so that there is one cluster.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod activation;
mod aggregates;
mod audit;
mod browser;
mod command_line;
mod crash;
mod demo;
mod documents;
mod dry_runs;
mod facts;
mod failing_rules;
mod feed;
mod import;
mod isolation;
mod journal;
mod lists;
mod log;
mod nodes;
mod oauth;
mod operations;
mod outage;
mod payment_events;
mod payments;
mod plugins;
mod private_server;
mod problems;
mod provisioning;
mod replay;
mod rulesets;
mod security;
mod stopping;
mod support;
mod two_processes;
mod verify;
mod walls;
