//! The tests that need a real Postgres. One crate, so that there is one cluster.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod aggregates;
mod browser;
mod canary;
mod command_line;
mod crash;
mod documents;
mod facts;
mod failing_rules;
mod isolation;
mod journal;
mod lists;
mod log;
mod nodes;
mod oauth;
mod operations;
mod outage;
mod payments;
mod plugins;
mod private_server;
mod problems;
mod provisioning;
mod quarantine;
mod replay;
mod rulesets;
mod security;
mod shadow;
mod stopping;
mod support;
mod two_processes;
mod walls;
